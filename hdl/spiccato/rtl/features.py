"""What the program knows of each input value, read as the beats come.

Which model a packet is for is known with its first beat only, so the features of all first beats lie in a memory of
their own. The others lie in two, odd beats and even ones, which take turns: which comes next is two bits for every few
bits of the word, and all that an arriving beat decides at once. The addresses follow a cycle later, from registers, for
the turn after the next.
"""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from ..isa.load import feature_word
from .broadcast import batches, copies, equal_register
from .memory import DistributedRam
from .part import Part, place
from .words import layout

__all__ = ["Features"]

#: Odd beats and even ones.
_BANKS = 2


class Features(Part):
    """The feature words of the beat that is taken.

    Attributes
    ----------
    model : in, cycle 0, of a packet's first beat
    take : in, cycle 0; twice, from registers of their own if it comes from registers
    ends : in, cycle 0, with ``take``, twice: it is the packet's last beat
    feature : out, cycle 1
    clear : in, twice as well: the next beat is a packet's first; not in the same cycle as ``take``, nor the one before
    w_en, w_addr, w_data : in, program load, address {model, beat}; written ``load_latency`` cycles later
    """

    load_latency = 1

    def __init__(self, config, beat_bits):
        self.config, self.beat_bits = config, beat_bits
        self.addr_bits = config.model_bits + beat_bits
        super().__init__(
            "features",
            {
                "model": In(config.model_bits),
                "take": In(2),
                "ends": In(2),
                "feature": Out(data.ArrayLayout(layout(feature_word), config.beat_values)),
                "clear": In(2),
                "w_en": In(1),
                "w_addr": In(self.addr_bits),
                "w_data": In(feature_word.size * config.beat_values),
            },
        )

    def elaborate(self, platform):
        m = Module()
        reach, width, model_bits = self.config.stages.reach.registers, len(self.w_data), self.config.model_bits
        slice_bits = max(bits for bits in range(1, reach + 1) if width % bits == 0)
        slices = width // slice_bits
        # An odd or an even beat's number without its lowest bit; of a packet of one beat there are none.
        pair_bits = max(1, self.beat_bits - 1)

        # Where the next beat's lie: for each slice, and for what follows from it.
        inside, turn = equal_register("inside", 2), equal_register("turn", 2)
        next_inside, next_turn = Signal(2), Signal(2)
        m.d.comb += [
            next_inside.eq(((inside & ~self.take) | (self.take & ~self.ends)) & ~self.clear),
            next_turn.eq((turn ^ (self.take & inside)) & next_inside),
        ]
        m.d.sync += [inside.eq(next_inside), turn.eq(next_turn)]
        insides, turns = copies(m, "inside_of", next_inside[0], slices), copies(m, "turn_of", next_turn[0], slices)

        # The memory that had its turn goes on to the next of its beats, all begin anew when a packet has ended.
        per_group = max(1, reach // (pair_bits + model_bits))
        groups = [range(begin, min(begin + per_group, slices)) for begin in range(0, slices, per_group)]
        pairs: list[list] = [[], []]
        models = []
        begins = {}
        for number, group in enumerate(groups):
            took = [
                copies(m, f"took_{bank}_{number}", self.take[1] & inside[1] & (turn[1] == bank), 1)[0]
                for bank in range(_BANKS)
            ]
            for i in group:
                model = equal_register(f"model_{i}", model_bits)
                with m.If(~insides[i]):
                    m.d.sync += model.eq(self.model)
                models.append(model)
                for bank in range(_BANKS):
                    pair = equal_register(f"pair_{bank}_{i}", pair_bits)
                    with m.If(took[bank]):
                        m.d.sync += pair.eq(pair + 1)
                    pairs[bank].append(pair)
                    # Even beats from 2 on.
                    begins[pair.name] = bank
        parts = batches([pair for bank in pairs for pair in bank], reach)
        for leaf, part in zip(copies(m, "begin", ~next_inside[1], len(parts)), parts):
            with m.If(leaf):
                m.d.sync += [pair.eq(begins[pair.name]) for pair in part]

        w_data = Signal.like(self.w_data, reset_less=True)
        m.d.sync += w_data.eq(self.w_data)
        w_beat, w_model = self.w_addr[: self.beat_bits], self.w_addr[self.beat_bits :]
        w_first = copies(m, "write_first", self.w_en & (w_beat == 0), slices)
        w_banks = [
            copies(m, f"write_{bank}", self.w_en & (w_beat != 0) & (w_beat[0] == 1 - bank), slices)
            for bank in range(_BANKS)
        ]
        w_addr = copies(m, "write_at", Cat((w_beat >> 1)[:pair_bits], w_model), slices)
        feature = Signal(width, reset_less=True)
        for i in range(slices):
            bits = slice(i * slice_bits, (i + 1) * slice_bits)
            first = place(
                m, f"slice_{i}_first", DistributedRam("ram_first_features", width=slice_bits, depth=1 << model_bits)
            )
            m.d.comb += [
                first.w_en.eq(w_first[i]),
                first.w_addr.eq(w_addr[i][pair_bits:]),
                first.w_data.eq(w_data[bits]),
                first.r_addr.eq(self.model),
            ]
            read = []
            for bank in range(_BANKS):
                memory = place(
                    m,
                    f"slice_{i}_{bank}",
                    DistributedRam("ram_features", width=slice_bits, depth=1 << pair_bits + model_bits),
                )
                m.d.comb += [
                    memory.w_en.eq(w_banks[bank][i]),
                    memory.w_addr.eq(w_addr[i]),
                    memory.w_data.eq(w_data[bits]),
                    memory.r_addr.eq(Cat(pairs[bank][i], models[i])),
                ]
                read.append(memory.r_data)
            m.d.sync += feature[bits].eq(Mux(insides[i], Mux(turns[i], read[1], read[0]), first.r_data))
        m.d.comb += self.feature.as_value().eq(Cat(feature))
        return m

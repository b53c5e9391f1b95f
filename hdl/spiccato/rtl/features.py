"""What the program knows of each input value, read as the beats come.

The memory exists twice, and beats take turns: which of the two comes next is one bit for every few bits of the word,
and all that an arriving beat decides at once. The addresses follow a cycle later, from registers, for the turn after
the next.
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


class Features(Part):
    """The feature words of the beat that is taken.

    Attributes
    ----------
    take : in, cycle 0; twice, from registers of their own if it comes from registers
    feature : out, cycle 1
    last : in, constant while beats come: number of a packet's last beat
    clear : in, twice as well: the next beat is a packet's first; not in the same cycle as ``take``
    w_en, w_addr, w_data : in, program load; written ``load_latency`` cycles later
    """

    load_latency = 1

    def __init__(self, config, addr_bits):
        self.config, self.addr_bits = config, addr_bits
        super().__init__(
            "features",
            {
                "take": In(2),
                "feature": Out(data.ArrayLayout(layout(feature_word), config.beat_values)),
                "last": In(addr_bits),
                "clear": In(2),
                "w_en": In(1),
                "w_addr": In(addr_bits),
                "w_data": In(feature_word.size * config.beat_values),
            },
        )

    def elaborate(self, platform):
        m = Module()
        reach, addr_bits, width = self.config.stages.reach.registers, self.addr_bits, len(self.w_data)
        slice_bits = max(bits for bits in range(1, reach + 1) if width % bits == 0)
        slices = width // slice_bits

        # Where the turns stand: for each slice, and for what follows from it.
        turn, next_turn = equal_register("turn", 2), Signal(2)
        m.d.comb += next_turn.eq((turn ^ self.take) & ~self.clear)
        m.d.sync += turn.eq(next_turn)
        turns = copies(m, "turn_of", next_turn[0], slices)

        # The memory that had its turn goes on to the beat after the other one's.
        pointers = max(1, reach // addr_bits - 1)
        groups = [range(begin, min(begin + pointers, slices)) for begin in range(0, slices, pointers)]
        lasts = copies(m, "last", self.last, len(groups))
        second, third = (Signal(addr_bits, name=name, reset_less=True) for name in ("second", "third"))
        m.d.sync += [second.eq(lasts[0] != 0), third.eq(Mux(lasts[0] > 1, 2, 0))]
        addresses: list[list] = [[], []]
        cleared, values = [], {}
        for number, (group, last) in enumerate(zip(groups, lasts)):
            following = equal_register(f"following_{number}", addr_bits)
            took = [copies(m, f"took_{bank}_{number}", self.take[1] & (turn[1] == bank), 1)[0] for bank in range(2)]
            for bank, first in enumerate((0, second)):
                for i in group:
                    address = equal_register(f"address_{bank}_{i}", addr_bits)
                    with m.If(took[bank]):
                        m.d.sync += address.eq(following)
                    addresses[bank].append(address)
                    cleared.append(address)
                    values[address.name] = first
            # Without an adder: as few bits are quicker in look-up tables alone.
            plus_1 = Cat(~following[0], *(following[i] ^ following[:i].all() for i in range(1, addr_bits)))
            with m.If(took[0] | took[1]):
                m.d.sync += following.eq(Mux(following == last, 0, plus_1))
            cleared.append(following)
            values[following.name] = third
        parts = batches(cleared, reach)
        for leaf, part in zip(copies(m, "clear", self.clear[1], len(parts)), parts):
            with m.If(leaf):
                m.d.sync += [register.eq(values[register.name]) for register in part]

        w_data = Signal.like(self.w_data, reset_less=True)
        m.d.sync += w_data.eq(self.w_data)
        w_en, w_addr = copies(m, "write", self.w_en, slices), copies(m, "write_at", self.w_addr, slices)
        feature = Signal(width, reset_less=True)
        for i in range(slices):
            bits = slice(i * slice_bits, (i + 1) * slice_bits)
            read = []
            for bank in range(2):
                memory = place(
                    m, f"slice_{i}_{bank}", DistributedRam("ram_features", width=slice_bits, depth=1 << addr_bits)
                )
                m.d.comb += [
                    memory.w_en.eq(w_en[i]),
                    memory.w_addr.eq(w_addr[i]),
                    memory.w_data.eq(w_data[bits]),
                    memory.r_addr.eq(addresses[bank][i]),
                ]
                read.append(memory.r_data)
            m.d.sync += feature[bits].eq(Mux(turns[i], read[1], read[0]))
        m.d.comb += self.feature.as_value().eq(Cat(feature))
        return m

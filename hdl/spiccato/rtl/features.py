"""What the program knows of each input value, there before the beats come.

A beat's features are in registers when it arrives, whatever it turns out to be: those of any model's first two beats
(the early ones), and of the next even beat and the next odd one. So all that an arriving beat decides at once is which
of them count, two bits and the model's number for every few lanes, known a cycle later; and that the next one of its
kind is fetched. These (the inner ones) lie in two memories, even beats and odd ones: while one beat is added to, the
other kind's features are read.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from ..families import FAMILIES
from ..isa.load import feature_word
from .broadcast import DelayLine, batches, copies, equal_register
from .memory import DistributedRam
from .part import Part, place
from .words import layout

__all__ = ["PARITIES", "Features", "choice_layout"]

#: Even beats and odd ones.
PARITIES = 2


def choice_layout(config):
    """Which features are a beat's: early or ``inner`` ones, of ``odd`` beats or even ones, early ones of a model."""
    return data.StructLayout({"inner": 1, "odd": 1, "model": config.model_bits})


class Features(Part):
    """The features that an arriving beat can have, and which they are.

    Parameters
    ----------
    config : Config
    beat_bits : int
        Of a beat's number.
    choices : int
        How often ``choice`` is there, from registers of its own.

    Attributes
    ----------
    model : in, cycle 0, of a packet's first beat; as often as ``choice`` and the addresses need it, from registers of
        their own if it comes from registers, as ``take`` is three times
    take : in, cycle 0: a beat is taken
    ends : in, cycle 0, with ``take``: it is the packet's last beat
    clear : in: the next beat is a packet's first; not in the same cycle as ``take``
    early : out, of beats 0 and 1, of each model; constant while packets are taken
    inner : out, cycles 0 and 1, of the other beats: the even one, the odd one
    choice : out, cycle 1
    w_en, w_addr, w_data : in, program load, address {model, beat}; written ``load_latency`` cycles later
    """

    #: Decoded, then copied.
    load_latency = 2

    def __init__(self, config, beat_bits, choices):
        self.config, self.beat_bits, self.choices = config, beat_bits, choices
        self.addr_bits = config.model_bits + beat_bits
        words = data.ArrayLayout(layout(feature_word), config.beat_values)
        super().__init__(
            "features",
            {
                "model": In(config.model_bits).array(1 + -(-choices // config.stages.reach.registers)),
                "take": In(1 + PARITIES),
                "ends": In(1),
                "clear": In(1),
                "early": Out(words).array(PARITIES, config.models),
                "inner": Out(words).array(PARITIES),
                "choice": Out(choice_layout(config)).array(choices),
                "w_en": In(1),
                "w_addr": In(self.addr_bits),
                "w_data": In(feature_word.size * config.beat_values),
            },
        )

    @property
    def _slice_bits(self):
        """Bits of the memories whose address is one register."""
        reach, shape = self.config.stages.reach, FAMILIES[self.config.family].distributed
        width, deep = len(self.w_data), -(-(1 << self._pair_bits + self.config.model_bits) // shape.depth)
        return max(
            bits
            for bits in range(1, reach.registers + 1)
            if width % bits == 0 and (bits == 1 or -(-bits // shape.width) * deep <= reach.blocks)
        )

    @property
    def _pair_bits(self):
        """Bits of a beat's number without the lowest one."""
        return max(1, self.beat_bits - 1)

    def elaborate(self, platform):
        m = Module()
        reach, model_bits, pair_bits = self.config.stages.reach.registers, self.config.model_bits, self._pair_bits
        width, slice_bits = len(self.w_data), self._slice_bits
        slices = [slice(low, low + slice_bits) for low in range(0, width, slice_bits)]
        *for_choices, for_address = self.model
        take, *bank_takes = self.take

        # Which beat is awaited: none of its packet came yet, one, more; an odd or an even one.
        inside = Signal()
        next_inside = Signal()
        goes_on = ~(take & self.ends) & ~self.clear
        m.d.comb += next_inside.eq((inside | take) & goes_on)
        m.d.sync += inside.eq(next_inside)

        # As often as there is need of them: each reaches itself, too.
        per_state = reach - 1
        fetch_registers = PARITIES * (len(slices) + 1)
        inners = [equal_register(f"inner_{i}_state", resettable=True) for i in range(-(-self.choices // per_state))]
        odds = [
            equal_register(f"odd_{i}_state", resettable=True)
            for i in range(-(-(self.choices + fetch_registers) // per_state))
        ]
        m.d.sync += [inner.eq((inner | (take & inside)) & goes_on) for inner in inners]
        m.d.sync += [odd.eq((odd ^ take) & goes_on) for odd in odds]
        for i, choice in enumerate(self.choice):
            for name, states in (("inner", inners), ("odd", odds)):
                m.d.comb += choice[name].eq(copies(m, f"choice_{name}_{i}", states[i // per_state], 1)[0])

        # Model: follows the port until a packet has begun. Odd beats' features are not fetched before the second beat.
        models = [equal_register(f"choice_model_{i}", model_bits) for i in range(self.choices)]
        held = equal_register("held_model", model_bits)
        address_models = [
            [equal_register(f"even_model_{i}", model_bits) for i in range(len(slices))],
            copies(m, "odd_model", held, len(slices)),
        ]
        for name, ports, registers in (
            ("choice", for_choices, models),
            ("address", [for_address], [held, *address_models[0]]),
        ):
            follows = [register.eq(ports[i // reach]) for i, register in enumerate(registers)]
            parts = batches(follows, reach, bits=lambda _: model_bits)
            for leaf, part in zip(copies(m, f"follow_{name}", ~next_inside, len(parts)), parts):
                with m.If(leaf):
                    m.d.sync += part
        m.d.comb += [choice.model.eq(model) for choice, model in zip(self.choice, models)]

        # Beats are fetched two ahead, even ones from a packet's first on, odd ones from its second: those begin a cycle
        # later. A counter, and what it is for some slices' addresses.
        fetches, addresses = [], []
        per_counter = reach // pair_bits - 1
        counters = range(0, len(slices), per_counter)
        for parity in range(PARITIES):
            *enables, fetched = (
                copies(m, f"fetch_{parity}_{i}", bank_takes[parity] & (odds[use // per_state] == parity), 1)[0]
                for i, use in enumerate(range(self.choices + parity, self.choices + fetch_registers, PARITIES))
            )
            fetches.append(enables)
            steps = copies(m, f"step_{parity}", fetched & inside, len(counters))
            begins = copies(m, f"begin_{parity}", ~inside if parity else ~next_inside, len(counters))
            pairs = []
            for number, (step, begin) in enumerate(zip(steps, begins)):
                pair = equal_register(f"counter_{parity}_{number}", pair_bits)
                next_pair = Signal.like(pair, name=f"next_pair_{parity}_{number}")
                m.d.comb += next_pair.eq(Mux(begin, 1, pair + step))
                m.d.sync += pair.eq(next_pair)
                count = min(per_counter, len(slices) - counters[number])
                pairs += copies(m, f"pair_{parity}_{number}", next_pair, count)
            addresses.append([Cat(pair, model) for pair, model in zip(pairs, address_models[parity])])

        # Program load.
        w_beat, w_model = self.w_addr[: self.beat_bits], self.w_addr[self.beat_bits :]
        w_pair = Cat(w_beat[1:], Const(0, 1))[:pair_bits]

        def write_enables(name, hit):
            """Of the slices."""
            decoded = Signal(name=f"{name}_1", reset_less=True)
            m.d.sync += decoded.eq(self.w_en & hit)
            return DelayLine(m, name, decoded, 1).spread(self.load_latency, len(slices))

        w_data = DelayLine(m, "write_data", self.w_data).at(self.load_latency)
        w_addr = DelayLine(m, "write_at", Cat(w_pair, w_model)).spread(self.load_latency, PARITIES * len(slices))
        for parity in range(PARITIES):
            of_parity = w_beat[0] == parity
            for model in range(self.config.models):
                early = Signal(width, name=f"loaded_{parity}_{model}", reset_less=True)
                hit = of_parity & (w_pair == 0) & (w_model == model)
                for bits, enable in zip(slices, write_enables(f"write_early_{parity}_{model}", hit)):
                    with m.If(enable):
                        m.d.sync += early[bits].eq(w_data[bits])
                m.d.comb += self.early[parity][model].as_value().eq(early)
            feature = Signal(width, name=f"fetched_{parity}", reset_less=True)
            w_en = write_enables(f"write_{parity}", of_parity & (w_pair != 0))
            for i, bits in enumerate(slices):
                memory = place(
                    m,
                    f"slice_{i}_{parity}",
                    DistributedRam("ram_features", width=self._slice_bits, depth=1 << pair_bits + model_bits),
                )
                m.d.comb += [
                    memory.w_en.eq(w_en[i]),
                    memory.w_addr.eq(w_addr[PARITIES * i + parity]),
                    memory.w_data.eq(w_data[bits]),
                    memory.r_addr.eq(addresses[parity][i]),
                ]
                with m.If(fetches[parity][i]):
                    m.d.sync += feature[bits].eq(memory.r_data)
            m.d.comb += self.inner[parity].as_value().eq(feature)
        return m

"""One value's way from floating point to the mantissa of a vector block; :mod:`.ingress` tells the arithmetic."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..isa.load import feature_word
from ..numbers import (
    ADJUST_BITS,
    EXPONENT_BITS,
    EXPONENT_RANGE,
    EXPONENT_STEP,
    EXPONENT_STEP_BITS,
    FLOAT_EXPONENT_BITS,
    MANTISSA_BITS,
    VECTOR_BITS,
)
from .broadcast import DelayLine, copies
from .features import PARITIES, choice_layout
from .part import Part
from .words import layout

__all__ = ["GROUPS", "CodedInputLane", "InputLane"]

#: Groups of exponents that a block can have.
GROUPS = 1 << EXPONENT_BITS


class InputLane(Part):
    """One value's way to a mantissa. Cycles counted from the one in which it arrives (0).

    Parameters
    ----------
    config : Config
    merged : int
        How often ``groups`` is there, from registers of its own.
    holds : int
        How many signals keep the lane's value for the rest of its block: 0, 1, or 2 for fewer registers each. A lane
        with any takes what comes with even beats only, or with odd ones.
    wait : int
        Cycles that the block's largest group takes on top.

    Attributes
    ----------
    value : in, cycle 0
    early, inner : in, features that it may have, see :class:`.features.Features`: cycles 0 and 1
    choice : in, cycle 1: which it has
    blank : in, cycle 1: there is no value, it counts as zero
    hold : in, cycle 1: keep the value that came before (``holds`` times; only if there are any)
    groups : out, cycle 2, thermometer code of the group: bit j - 1 tells group >= j
    nan, saturated : out, cycle 2, of what arrived, kept or not
    largest : in, cycle 3 + ``wait``, thermometer code of the block
    mantissa : out, cycle 5 + ``wait``
    """

    #: Register bits that a bit of ``largest`` reaches.
    steps = MANTISSA_BITS // EXPONENT_STEP + 1
    #: What the registers that ``groups`` come from reach beside them.
    own_reach = MANTISSA_BITS
    _name = "input_lane"
    _more: dict[str, wiring.Member] = {}

    def __init__(self, config, *, merged, holds, wait):
        self.config, self.merged, self.holds, self.wait = config, merged, holds, wait
        #: Kinds of beats whose values it takes.
        self.parities = 1 if holds else PARITIES
        word = layout(feature_word)
        super().__init__(
            f"{self._name}_held" if holds else self._name,
            {
                "value": In(config.io_bits),
                "early": In(word).array(self.parities, config.models),
                "inner": In(word).array(self.parities),
                "choice": In(choice_layout(config)),
                "blank": In(1),
                **({"hold": In(holds)} if holds else {}),
                "groups": Out(data.ArrayLayout(GROUPS - 1, merged)),
                "nan": Out(1),
                "saturated": Out(1),
                "largest": In(GROUPS - 1),
                "mantissa": Out(signed(VECTOR_BITS)),
                **self._more,
            },
        )

    @staticmethod
    def choice_reach(merged):
        """Register bits that a bit of ``choice`` reaches: over and group, live; position and both marks."""
        return (1 + merged) * (1 + EXPONENT_BITS) + merged + EXPONENT_STEP_BITS + 2

    def elaborate(self, platform):
        m = Module()
        m_bits = self.config.io_bits - 1 - FLOAT_EXPONENT_BITS
        m_in, e_in, sign_in = self.value[:m_bits], self.value[m_bits:-1], self.value[-1]

        # Cycle 1: exponent in the program's range, for all features that it may be; and whether it counts anywhere.
        def sum_of(name, feature):
            q = Signal(ADJUST_BITS + 1, name=f"{name}_1", reset_less=True)
            m.d.sync += q.eq(e_in + feature.adjust)
            return q

        early = [
            [sum_of(f"q_{parity}_{number}", feature) for number, feature in enumerate(self.early[parity])]
            for parity in range(self.parities)
        ]
        inner = [sum_of(f"q_{parity}_inner", self.inner[parity]) for parity in range(self.parities)]
        nan_1 = Signal(reset_less=True)
        none_1 = Signal(reset_less=True)
        nan = e_in.all() & m_in.any()
        m.d.sync += [nan_1.eq(nan), none_1.eq(nan | ~e_in.any())]
        fraction_1, sign_1 = (
            DelayLine(m, name, value, 0).at(1) for name, value in (("fraction", m_in), ("sign", sign_in))
        )

        def chosen(early, inner):
            """What counts of those that there are."""
            kinds = [Mux(self.choice.inner, one, Array(ones)[self.choice.model]) for ones, one in zip(early, inner)]
            return Mux(self.choice.odd, kinds[1], kinds[0]) if self.parities > 1 else kinds[0]

        # Cycle 2: the sum it is; once for the mantissa, and for the groups that are merged.
        q = Signal(ADJUST_BITS + 1)
        enable = Signal()
        off = Signal()
        live = Signal()
        over = Signal()
        m.d.comb += [
            q.eq(chosen(early, inner)),
            enable.eq(chosen([[f.enable for f in ones] for ones in self.early], [one.enable for one in self.inner])),
            off.eq(~enable | none_1 | self.blank),
            live.eq(q[len(q) - 2 :].any() & ~off),
            over.eq(q[-1] | (q[-2] & q[EXPONENT_RANGE.bit_length() - 1 : -2].any())),
        ]
        position, group = q[:EXPONENT_STEP_BITS], q[EXPONENT_STEP_BITS:][:EXPONENT_BITS]

        def taking(number):
            """While the lane is to take what comes."""
            return m.If(~self.hold[number] if self.holds else Const(1))

        position_2 = Signal(EXPONENT_STEP_BITS, reset_less=True)
        fraction_2 = Signal(m_bits, reset_less=True)
        sign_2 = Signal(reset_less=True)
        with taking(0):
            (over_2,), (group_2,) = copies(m, "over", over, 1), copies(m, "group", group, 1)
            m.d.sync += [position_2.eq(position), fraction_2.eq(fraction_1), sign_2.eq(sign_1)]
        with taking(-1):
            lives, overs, groups = (
                copies(m, f"{name}_merged", value, self.merged)
                for name, value in (("live", live), ("over", over), ("group", group))
            )
        for number, (its_live, its_over, its_group) in enumerate(zip(lives, overs, groups)):
            reached = (its_over | (its_group >= j) for j in range(1, GROUPS))
            m.d.comb += self.groups[number].eq(Cat(its_live & bit for bit in reached))
        nan_2 = Signal(reset_less=True)
        saturated_2 = Signal(reset_less=True)
        m.d.sync += [nan_2.eq(nan_1 & enable & ~self.blank), saturated_2.eq(over)]
        with m.If(off):
            m.d.sync += saturated_2.eq(0)
        m.d.comb += [self.nan.eq(nan_2), self.saturated.eq(saturated_2)]

        # Cycle 3: mantissa at its position in the group.
        group_3 = Signal(EXPONENT_BITS, reset_less=True)
        mantissa_3 = Signal(MANTISSA_BITS, reset_less=True)
        significand = Cat(fraction_2, 1)
        keep = MANTISSA_BITS - EXPONENT_STEP + 1
        if len(significand) < keep:
            significand = Cat(Signal(keep - len(significand), name="padding"), significand)
        m.d.sync += [
            group_3.eq(group_2 | over_2.replicate(EXPONENT_BITS)),
            mantissa_3.eq(((significand << position_2) >> (len(significand) - keep)) | over_2.replicate(MANTISSA_BITS)),
        ]
        with m.If(~lives[0]):
            m.d.sync += mantissa_3.eq(0)

        # Next: how many groups below the largest, and what the mantissa is for each answer: shifted, rounded, signed.
        known = 3 + self.wait
        group_known, mantissa_known = (
            DelayLine(m, name, value, 3).at(known) for name, value in (("group", group_3), ("mantissa", mantissa_3))
        )
        signs = copies(m, "sign_known", DelayLine(m, "sign", sign_2, 2).at(known - 1), 2)
        distance = Signal(self.steps, reset_less=True)
        below = [Signal(name=f"larger_by_{k}") for k in range(self.steps)]
        m.d.comb += [
            bit.eq(Array([self.largest[g + k] if g + k < GROUPS - 1 else 0 for g in range(GROUPS)])[group_known])
            for k, bit in enumerate(below)
        ]
        m.d.sync += distance.eq(Cat(below))
        if self._more:
            self._code(m, mantissa_known, distance[0])
        answers = []
        for k in range(self.steps):
            shift = EXPONENT_STEP * k
            sign = signs[k in (1, 2)]
            # Rounding can carry once.
            answer = Signal(signed(MANTISSA_BITS - shift + 1 + (k > 0)), name=f"below_by_{k}", reset_less=True)
            shifted = Cat(mantissa_known[shift:], 0) ^ sign.replicate(MANTISSA_BITS - shift + 1)
            m.d.sync += answer.eq(shifted.as_signed() + ((mantissa_known[shift - 1] if k else 0) ^ sign))
            answers.append(answer)

        # Last: which it is. The lowest group of all leaves nothing.
        mantissa = Signal(signed(VECTOR_BITS), reset_less=True)
        m.d.sync += mantissa.eq(answers[0])
        for k in range(self.steps):
            with m.If(distance[k]):
                m.d.sync += mantissa.eq(answers[k + 1] if k + 1 < self.steps else 0)
        m.d.comb += self.mantissa.eq(mantissa)
        return m

    def _code(self, m, mantissa_3, larger_4):
        """What an extended lane tells of its value, from signals of the cycles in their names, ``wait`` less."""
        raise NotImplementedError


class CodedInputLane(InputLane):
    """One value's way to a mantissa, that also tells how far within the block's largest group the value is.

    Attributes
    ----------
    code : out, cycle 4 + ``wait``: bit j tells that the value is of the largest group, at position j or a higher one
    """

    _name = "coded_input_lane"
    _more = {"code": Out(EXPONENT_STEP)}

    def _code(self, m, mantissa_3, larger_4):
        # The leading one is among the top bits: at the value's position in its group.
        top = mantissa_3[-EXPONENT_STEP:]
        reached = Signal(EXPONENT_STEP, name="reached_4", reset_less=True)
        m.d.sync += reached.eq(Cat(top[j:].any() for j in range(EXPONENT_STEP)))
        m.d.comb += self.code.eq(reached & ~larger_4.replicate(EXPONENT_STEP))

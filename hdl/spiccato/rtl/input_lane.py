"""One value's way from floating point to the mantissa of a vector block; :mod:`.ingress` tells the arithmetic."""

from amaranth.hdl import Array, Cat, Const, Module, Signal, signed
from amaranth.lib import data
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
from .part import Part
from .words import layout

__all__ = ["GROUPS", "InputLane"]

#: Groups of exponents that a block can have.
GROUPS = 1 << EXPONENT_BITS


class InputLane(Part):
    """One value's way to a mantissa. Cycles counted from the one in which it arrives (0).

    Parameters
    ----------
    io_bits : int
    merged : int
        How often ``groups`` is there, from registers of its own: 1 or 2.
    holds : int
        How many signals keep the lane's value for the rest of its block: 0, 1, or 2 for fewer registers each.
    wait : int
        Cycles that the block's largest group takes on top.

    Attributes
    ----------
    value, feature : in, cycle 0
    blank : in, cycle 0: there is no value, it counts as zero
    hold : in, cycle 0: keep the value that came before (``holds`` times; only if there are any)
    groups : out, cycle 1, thermometer code of the group: bit j - 1 tells group >= j
    nan, saturated : out, cycle 1, of what arrived, kept or not
    largest : in, cycle 2 + ``wait``, thermometer code of the block
    mantissa : out, cycle 4 + ``wait``
    """

    #: Register bits that a bit of ``largest`` reaches.
    steps = MANTISSA_BITS // EXPONENT_STEP + 1
    #: What the registers that ``groups`` come from reach beside them.
    own_reach = MANTISSA_BITS

    def __init__(self, io_bits, *, merged, holds, wait):
        self.io_bits, self.merged, self.holds, self.wait = io_bits, merged, holds, wait
        super().__init__(
            "input_lane_held" if holds else "input_lane",
            {
                "value": In(io_bits),
                "feature": In(layout(feature_word)),
                "blank": In(1),
                **({"hold": In(holds)} if holds else {}),
                "groups": Out(data.ArrayLayout(GROUPS - 1, merged)),
                "nan": Out(1),
                "saturated": Out(1),
                "largest": In(GROUPS - 1),
                "mantissa": Out(signed(VECTOR_BITS)),
            },
        )

    def elaborate(self, platform):
        m = Module()
        m_bits = self.io_bits - 1 - FLOAT_EXPONENT_BITS
        m_in, e_in, sign_in = self.value[:m_bits], self.value[m_bits:-1], self.value[-1]

        # Cycle 1: exponent in the program's range; once for the mantissa, and for the groups that are merged.
        q = Signal(ADJUST_BITS + 1)
        special = Signal()
        off = Signal()
        live = Signal()
        over = Signal()
        m.d.comb += [
            q.eq(e_in + self.feature.adjust),
            special.eq(e_in.all()),
            off.eq(~self.feature.enable | ~e_in.any() | (special & m_in.any()) | self.blank),
            live.eq(q[len(q) - 2 :].any()),
            over.eq(q[-1] | (q[-2] & q[EXPONENT_RANGE.bit_length() - 1 : -2].any())),
        ]
        position, group = q[:EXPONENT_STEP_BITS], q[EXPONENT_STEP_BITS:][:EXPONENT_BITS]

        def taking(number):
            """While the lane is to take what comes."""
            return m.If(~self.hold[number] if self.holds else Const(1))

        # Cleared when the value does not count: with no more logic behind the addition, by an input of their own, which
        # only registers have that have no equal ones. So the second one is the first one's complement.
        live_1 = Signal(reset_less=True)
        dead_1 = [Signal(name="dead_1", reset_less=True)] if self.merged > 1 else []
        position_1 = Signal(EXPONENT_STEP_BITS, reset_less=True)
        fraction_1 = Signal(m_bits, reset_less=True)
        sign_1 = Signal(reset_less=True)
        with taking(0):
            (over_1,), (group_1,) = copies(m, "over", over, 1), copies(m, "group", group, 1)
            m.d.sync += [position_1.eq(position), fraction_1.eq(m_in), sign_1.eq(sign_in)]
        with taking(-1):
            overs, groups = copies(m, "over_merged", over, self.merged), copies(m, "group_merged", group, self.merged)
            m.d.sync += [live_1.eq(live), *(bit.eq(~live) for bit in dead_1)]
            with m.If(off):
                m.d.sync += [live_1.eq(0), *(bit.eq(1) for bit in dead_1)]
        for number, its_live in enumerate((live_1, *(~bit for bit in dead_1))):
            reached = (overs[number] | (groups[number] >= j) for j in range(1, GROUPS))
            m.d.comb += self.groups[number].eq(Cat(its_live & bit for bit in reached))
        nan_1, saturated_1 = Signal(reset_less=True), Signal(reset_less=True)
        m.d.sync += [nan_1.eq(special & m_in.any() & self.feature.enable & ~self.blank), saturated_1.eq(over)]
        with m.If(off):
            m.d.sync += saturated_1.eq(0)
        m.d.comb += [self.nan.eq(nan_1), self.saturated.eq(saturated_1)]

        # Cycle 2: mantissa at its position in the group.
        group_2 = Signal(EXPONENT_BITS, reset_less=True)
        mantissa_2 = Signal(MANTISSA_BITS, reset_less=True)
        significand = Cat(fraction_1, 1)
        keep = MANTISSA_BITS - EXPONENT_STEP + 1
        if len(significand) < keep:
            significand = Cat(Signal(keep - len(significand), name="padding"), significand)
        m.d.sync += [
            group_2.eq(group_1 | over_1.replicate(EXPONENT_BITS)),
            mantissa_2.eq(((significand << position_1) >> (len(significand) - keep)) | over_1.replicate(MANTISSA_BITS)),
        ]
        with m.If(~live_1):
            m.d.sync += mantissa_2.eq(0)

        # Next: how many groups below the largest, and what the mantissa is for each answer: shifted, rounded, signed.
        known = 2 + self.wait
        group_known, mantissa_known = (
            DelayLine(m, name, value, 2).at(known) for name, value in (("group", group_2), ("mantissa", mantissa_2))
        )
        signs = copies(m, "sign_known", DelayLine(m, "sign", sign_1, 1).at(known - 1), 2)
        below_3 = Signal(self.steps, reset_less=True)
        below = [Signal(name=f"larger_by_{k}") for k in range(self.steps)]
        m.d.comb += [
            bit.eq(Array([self.largest[g + k] if g + k < GROUPS - 1 else 0 for g in range(GROUPS)])[group_known])
            for k, bit in enumerate(below)
        ]
        m.d.sync += below_3.eq(Cat(below))
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
            with m.If(below_3[k]):
                m.d.sync += mantissa.eq(answers[k + 1] if k + 1 < self.steps else 0)
        m.d.comb += self.mantissa.eq(mantissa)
        return m

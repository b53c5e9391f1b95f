"""One value's way from floating point to the mantissa of a vector block; :mod:`.ingress` tells the arithmetic."""

from amaranth.hdl import Array, Cat, Module, Signal, signed
from amaranth.lib.wiring import In, Out

from ..isa.load import feature_word
from ..numbers import (
    ADJUST_BITS,
    EXPONENT_BITS,
    EXPONENT_RANGE,
    EXPONENT_STEP,
    FLOAT_EXPONENT_BITS,
    MANTISSA_BITS,
    VECTOR_BITS,
)
from .part import Part
from .words import layout

__all__ = ["GROUPS", "InputLane"]

#: Groups of exponents that a block can have.
GROUPS = 1 << EXPONENT_BITS


class InputLane(Part):
    """One value's way to a mantissa. Cycles as ingress counts them, the beat register being cycle 1.

    Attributes
    ----------
    value, feature, load : in, cycle 1 (``load`` low: the lane keeps its value, for blocks of two beats)
    groups : out, cycle 2, thermometer code of the group: bit j - 1 tells group >= j
    nan, saturated : out, cycle 2
    largest : in, cycle 3, thermometer code of the block
    mantissa : out, cycle 5, not registered here
    """

    def __init__(self, io_bits):
        self.io_bits = io_bits
        super().__init__(
            "input_lane",
            {
                "value": In(io_bits),
                "feature": In(layout(feature_word)),
                "load": In(1),
                "groups": Out(GROUPS - 1),
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

        # Cycle 2: exponent in the program's range.
        q = Signal(ADJUST_BITS + 1)
        in_range = q[len(q) - 2 :].any()
        over = q[-1] | (q[-2] & q[EXPONENT_RANGE.bit_length() - 1 : -2].any())
        special = Signal()
        off = Signal()
        m.d.comb += [
            q.eq(e_in + self.feature.adjust),
            special.eq(e_in.all()),
            off.eq(~self.feature.enable | ~e_in.any() | (special & m_in.any())),
        ]
        live_2 = Signal(reset_less=True)
        over_2 = Signal(reset_less=True)
        q_2 = Signal(range(EXPONENT_RANGE), reset_less=True)
        fraction_2 = Signal(m_bits, reset_less=True)
        sign_2 = Signal(reset_less=True)
        with m.If(self.load):
            m.d.sync += [live_2.eq(in_range), over_2.eq(over), q_2.eq(q), fraction_2.eq(m_in), sign_2.eq(sign_in)]
            with m.If(off):
                m.d.sync += live_2.eq(0)
        group_2, position_2 = q_2[2:], q_2[:2]
        # Marks are of this beat only, whatever the lane keeps.
        m.d.sync += [self.nan.eq(self.load & special & m_in.any() & self.feature.enable), self.saturated.eq(over)]
        with m.If(off | ~self.load):
            m.d.sync += self.saturated.eq(0)
        m.d.comb += self.groups.eq(Cat(live_2 & (over_2 | (group_2 >= j)) for j in range(1, GROUPS)))

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
        with m.If(~live_2):
            m.d.sync += mantissa_3.eq(0)
        sign_3 = Signal(reset_less=True)
        m.d.sync += sign_3.eq(sign_2)

        # Cycle 4: how many groups below the largest.
        steps = MANTISSA_BITS // EXPONENT_STEP + 1
        below_4 = Signal(steps, reset_less=True)
        mantissa_4 = Signal(MANTISSA_BITS, reset_less=True)
        sign_4 = Signal(reset_less=True)
        below = [Signal(name=f"larger_by_{k}") for k in range(steps)]
        m.d.comb += [
            bit.eq(Array([self.largest[g + k] if g + k < GROUPS - 1 else 0 for g in range(GROUPS)])[group_3])
            for k, bit in enumerate(below)
        ]
        m.d.sync += [below_4.eq(Cat(below)), mantissa_4.eq(mantissa_3), sign_4.eq(sign_3)]

        # Cycle 5: shifted, with the bit below for rounding.
        mantissa_5 = Signal(MANTISSA_BITS, reset_less=True)
        round_5 = Signal(reset_less=True)
        sign_5 = Signal(reset_less=True)
        m.d.sync += [sign_5.eq(sign_4), mantissa_5.eq(mantissa_4), round_5.eq(0)]
        for k in range(steps):
            with m.If(below_4[k]):
                shift = EXPONENT_STEP * (k + 1)
                m.d.sync += [
                    mantissa_5.eq(mantissa_4 >> shift),
                    round_5.eq(mantissa_4[shift - 1] if shift <= MANTISSA_BITS else 0),
                ]
        m.d.comb += self.mantissa.eq((mantissa_5 ^ sign_5.replicate(VECTOR_BITS)).as_signed() + (round_5 ^ sign_5))
        return m

"""One value's way from an accumulator's sum to floating point.

Negative sums are treated in one's complement: their magnitude is one unit of the 48-bit sum short, far below what
the output format resolves, and no carry chain is spent on it.
"""

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib.wiring import In, Out

from ..formats import mantissa_bits
from ..numbers import ACC_BITS, FLOAT_BIAS, FLOAT_EXPONENT_BITS
from .part import Part

__all__ = ["OutputLane"]

GROUP_BITS = 4
GROUPS = ACC_BITS // GROUP_BITS
#: Bits of the magnitude that ``sign`` decides, beside what it decides about all of them.
_SIGN_PLACES = 16


class OutputLane(Part):
    """A 48-bit sum to bfloat16 or float32, in ``latency`` cycles; no handshake.

    Attributes
    ----------
    sum : in, signed 48, with ``frac_bits`` fraction bits given by ``exponent``
    sign : in, of ``sum``: its top bit from a register of its own, which has less to drive
    exponent : in, cycle ``exponent_cycle``: 127 - frac_bits
    blank : in, cycle ``exponent_cycle``: zero instead
    value : out
    """

    latency = 4
    exponent_cycle = latency - 1

    def __init__(self, io_bits):
        self.io_bits = io_bits
        self.m_bits = io_bits - 1 - FLOAT_EXPONENT_BITS
        super().__init__(
            "output_lane",
            {
                "sum": In(signed(ACC_BITS)),
                "sign": In(1),
                "exponent": In(FLOAT_EXPONENT_BITS),
                "blank": In(1),
                "value": Out(io_bits),
            },
        )

    @staticmethod
    def compute(sums, frac_bits, io_format):
        """Integer model: sums (any shape, int64) to bit patterns (int64)."""
        m_bits = mantissa_bits(io_format)
        sums = np.asarray(sums, dtype=np.int64)
        negative = sums < 0
        magnitude = np.where(negative, ~sums, sums)
        lead = np.frexp(np.maximum(magnitude, 1).astype(np.float64))[1].astype(np.int64) - 1
        # One bit more than the significand, for rounding; bits below are cut off.
        shift = lead - m_bits - 1
        window = np.where(shift >= 0, magnitude >> np.maximum(shift, 0), magnitude << np.maximum(-shift, 0))
        rounded = (window + 1) >> 1
        exponent = FLOAT_BIAS - frac_bits + lead - 1
        bits = (exponent << m_bits) + rounded
        return np.where(magnitude == 0, 0, bits) | (negative.astype(np.int64) << (m_bits + FLOAT_EXPONENT_BITS))

    def elaborate(self, platform):
        m = Module()

        # Stage 1: one's complement magnitude; bit k tells that group k or a higher one is not zero.
        magnitude = Signal(ACC_BITS, reset_less=True)
        at_least = Signal(GROUPS, reset_less=True)
        sign_1 = Signal(reset_less=True)
        # Either register of the sign has a part of it: see :class:`spiccato.families.Reach`.
        signs = Cat(self.sign.replicate(_SIGN_PLACES), self.sum[-1].replicate(ACC_BITS - _SIGN_PLACES))
        places = self.sum[:-1] ^ self.sign.replicate(ACC_BITS - 1)
        m.d.sync += [
            magnitude.eq(self.sum ^ signs),
            at_least.eq(Cat(places[GROUP_BITS * k :].any() for k in range(GROUPS))),
            sign_1.eq(self.sign),
        ]

        # Stage 2: the bits from the leading group down: the group, the rest of the significand, one for rounding.
        window_bits = GROUP_BITS + self.m_bits + 1
        window = Signal(window_bits, reset_less=True)
        group = Signal(range(GROUPS), reset_less=True)
        sign_2 = Signal(reset_less=True)
        zero_2 = Signal(reset_less=True)
        padded = Cat(Signal(window_bits, name="padding"), magnitude)
        leading = [at_least[k] & (~at_least[k + 1] if k + 1 < GROUPS else 1) for k in range(GROUPS)]
        merged_window, merged_group = 0, 0
        for k in range(GROUPS):
            top = window_bits + GROUP_BITS * (k + 1)
            merged_window |= padded[top - window_bits : top] & leading[k].replicate(window_bits)
            merged_group |= leading[k].replicate(len(group)) & k
        m.d.sync += [window.eq(merged_window), group.eq(merged_group), sign_2.eq(sign_1), zero_2.eq(~at_least[0])]

        # Stage 3: the leading one at the top of the window.
        position = Signal(range(GROUP_BITS))
        m.d.comb += position.eq(Mux(window[-1], 3, Mux(window[-2], 2, Mux(window[-3], 1, 0))))
        exact_bits = self.m_bits + 2
        normal = Signal(exact_bits, reset_less=True)
        lead = Signal(len(group) + len(position), reset_less=True)
        sign_3 = Signal(reset_less=True)
        zero_3 = Signal(reset_less=True)
        m.d.sync += [normal.eq(window >> position), lead.eq(Cat(position, group)), sign_3.eq(sign_2), zero_3.eq(zero_2)]

        # Stage 4: the leading one is implied; a carry out of the fraction goes on into the exponent.
        value = Signal(self.io_bits, name="value_4", reset_less=True)
        with m.If(zero_3 | self.blank):
            m.d.sync += value[:-1].eq(0)
        with m.Else():
            fraction = normal[1 : self.m_bits + 1]
            # The rounding bit enters as the carry into the lowest place.
            carry = normal[0]
            m.d.sync += value[:-1].eq(
                (Cat(carry, fraction, lead) + Cat(carry, Const(0, self.m_bits), self.exponent)) >> 1
            )
        m.d.sync += value[-1].eq(sign_3 & ~self.blank)
        m.d.comb += self.value.eq(value)
        return m

"""Accumulation of row sums: alignment and addition for one row. The accumulator file is the core's."""

import numpy as np
from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib.wiring import In, Out

from ..numbers import ACC_BITS, ALIGN_LEFT, SHIFT_BITS, row_sum_bits
from .broadcast import copies
from .part import Part

__all__ = ["RowAccumulator"]


class RowAccumulator(Part):
    """Shift a row sum into the accumulator's frame and add it, one a cycle.

    Alignment comes before accumulation, so that every term is an integer in one frame and the order of terms
    cannot change the result.

    Attributes
    ----------
    sum : in, signed, with ``shift`` (0..63): adds ``(sum << 24) >> shift``
    operand : in, ``add_offset`` cycles after ``sum``; what to add to when ``load`` is set, else the register itself
    load, enable : in, ``select_lead`` cycles ahead of ``operand``; without ``enable`` the register holds
    value : out, signed 48, ``latency`` cycles after ``sum``
    """

    add_offset = 1
    latency = add_offset + 1
    #: Each row keeps a copy of the selects, which go to all of its bits.
    select_lead = 1

    def __init__(self, block):
        self.sum_bits = row_sum_bits(block)
        super().__init__(
            "row_accumulator",
            {
                "sum": In(signed(self.sum_bits)),
                "shift": In(SHIFT_BITS),
                "operand": In(signed(ACC_BITS)),
                "load": In(1),
                "enable": In(1),
                "value": Out(signed(ACC_BITS)),
            },
        )

    @staticmethod
    def align(sums, shift):
        """Integer model of the alignment (floor), any shape; ``sums`` below 2**39 in magnitude."""
        # The left shift would overflow 64 bits for no sum that fits 40 bits, the widest row sum.
        return (np.asarray(sums, dtype=np.int64) << ALIGN_LEFT) >> shift

    def elaborate(self, platform):
        m = Module()
        # Wide enough for any sum at any shift; what a valid program shifts in fits the accumulator.
        shifted = (self.sum << ALIGN_LEFT) >> self.shift
        aligned = Signal(signed(ACC_BITS), reset_less=True)
        m.d.sync += aligned.eq(shifted)
        (load,), (enable,) = copies(m, "load", self.load, 1), copies(m, "enable", self.enable, 1)
        value = Signal.like(self.value, reset_less=True)
        with m.If(enable):
            m.d.sync += value.eq(Mux(load, self.operand, value) + aligned)
        m.d.comb += self.value.eq(value)
        return m

"""Accumulation of row sums: alignment and addition for one row. The accumulator file is the core's."""

import numpy as np
from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib.wiring import In, Out

from ..numbers import ACC_BITS, ALIGN_LEFT
from .broadcast import copies
from .part import Part
from .sum_shift import SumShift

__all__ = ["RowAccumulator"]


class RowAccumulator(Part):
    """Shift a row sum into the accumulator's frame and add it, one a cycle.

    Alignment comes before accumulation, so that every term is an integer in one frame and the order of terms
    cannot change the result.

    Attributes
    ----------
    sum_SLICE : in, signed, with ``shift_SLICE`` (0..63): adds ``(sum << left) >> shift``; equal for all slices. Left is
        24 for sums of 16- and 18-bit operands, and more by what others' lack. With ``coarse_shift`` what the row's
        shift leaves of the sum for each slice, and the rest of the shift (0..15)
    operand : in, ``add_offset`` cycles after the sum; what to add to when ``load`` is set, else the register itself
    load, enable : in, ``select_lead`` cycles ahead of ``operand``; without ``enable`` the register holds
    value : out, signed 48, ``latency`` cycles after the sum
    """

    add_offset = 1
    latency = add_offset + 1
    #: Each row keeps copies of the selects, which go to all of its bits.
    select_lead = 1

    def __init__(self, config):
        self._shift = SumShift(config)
        self.slices = self._shift.slices
        super().__init__(
            "row_accumulator",
            {
                **{f"sum_{i}": In(self._shift.shape) for i in range(self.slices)},
                **{f"shift_{i}": In(self._shift.fine_bits) for i in range(self.slices)},
                "operand": In(signed(ACC_BITS)),
                "load": In(1),
                "enable": In(1),
                "value": Out(signed(ACC_BITS)),
            },
        )

    @staticmethod
    def align(sums, shift, left=ALIGN_LEFT):
        """Integer model of the alignment (floor), any shape; what is shifted out of 64 bits is lost."""
        right = np.asarray(shift, dtype=np.int64) - left
        return (np.asarray(sums, dtype=np.int64) << np.maximum(-right, 0)) >> np.maximum(right, 0)

    def elaborate(self, platform):
        m = Module()
        load, enable = (copies(m, name, getattr(self, name), self.slices) for name in ("load", "enable"))
        aligned, chosen, values = [], [], []
        for i in range(self.slices):
            old = self.operand.as_unsigned()[self._shift.bits(i)]
            aligned.append(Signal(len(old), name=f"aligned_{i}", reset_less=True))
            m.d.sync += aligned[i].eq(self._shift.fine(getattr(self, f"sum_{i}"), getattr(self, f"shift_{i}"), i))
            values.append(Signal(len(old), name=f"value_{i}", reset_less=True))
            chosen.append(Mux(load[i], old, values[i]))
        total = Signal(ACC_BITS)
        m.d.comb += [total.eq(Cat(chosen) + Cat(aligned)), self.value.eq(Cat(values))]
        for i in range(self.slices):
            with m.If(enable[i]):
                m.d.sync += values[i].eq(total[self._shift.bits(i)])
        return m

"""One row of the matrix-vector unit: a dot product of ``block`` weights and ``block`` vector elements."""

import numpy as np
from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from ..numbers import INT8_BITS, VECTOR_BITS, WEIGHT_BITS, row_sum_bits
from .accumulator import accumulator_slices
from .broadcast import copies
from .dsp import Multiply, MultiplyPair, Registers
from .part import Part, place

__all__ = ["DotProductRow"]


class DotProductRow(Part):
    """Dot product, one result a cycle, no handshake.

    Stages: the DSP block's operand registers (8-bit weights are widened in front of them), its product registers if
    the profile has them, and its result register, then one adder level a cycle.

    Attributes
    ----------
    vector : in, ``block`` signed 18-bit elements
    weights : in, ``block`` signed 16-bit mantissas, or pairs of 8-bit mantissas (``int8``)
    int8, high : in, ``select_lead`` cycles ahead of the others
        Take the low or high byte of each weight lane as an 8-bit mantissa, widened to ``mantissa * 256``.
    sum_COPY : out, signed, exact; a copy for each slice of the accumulator
    """

    #: Each row keeps a copy of the selects, which go to all of its lanes.
    select_lead = 1

    def __init__(self, config):
        self.block, self.adds_products = config.block, config.adds_products
        self._registers = Registers(operands=True, product=config.stages.row_product_register)
        self.reach, self.copies = config.stages.reach.blocks, accumulator_slices(config)
        super().__init__(
            "dot_product_row",
            {
                "vector": In(data.ArrayLayout(signed(VECTOR_BITS), self.block)),
                "weights": In(data.ArrayLayout(WEIGHT_BITS, self.block)),
                "int8": In(1),
                "high": In(1),
                **{f"sum_{i}": Out(signed(row_sum_bits(self.block))) for i in range(self.copies)},
            },
        )

    def _stage(self):
        """A new DSP stage, as each lane or pair of lanes has one."""
        weight, element = signed(WEIGHT_BITS), signed(VECTOR_BITS)
        return (MultiplyPair if self.adds_products else Multiply)(weight, element, registers=self._registers)

    @property
    def latency(self):
        """Cycles from the inputs to ``sum``."""
        products = self.block // 2 if self.adds_products else self.block
        return self._stage().latency + (products - 1).bit_length()

    @staticmethod
    def widen(weights, int8, high):
        """Integer model of the weight lanes: raw 16-bit words (any integer dtype) to signed mantissas (int16)."""
        words = np.asarray(weights).astype(np.int16)
        if not np.any(int8):
            return words
        return np.where(int8, np.where(high, words & ~0xFF, words << INT8_BITS), words)

    def elaborate(self, platform):
        m = Module()
        number = -(-self.block // self.reach)
        int8, high = (copies(m, name, getattr(self, name), number) for name in ("int8", "high"))
        w = [Signal(signed(WEIGHT_BITS), name=f"w_{i}") for i in range(self.block)]
        for i in range(self.block):
            low_byte, high_byte = self.weights[i][:INT8_BITS], self.weights[i][INT8_BITS:]
            m.d.comb += [
                w[i][INT8_BITS:].eq(Mux(int8[i % number] & ~high[i % number], low_byte, high_byte)),
                w[i][:INT8_BITS].eq(Mux(int8[i % number], 0, low_byte)),
            ]
        x, terms = self.vector, []
        if self.adds_products:
            for i in range(0, self.block, 2):
                dsp = place(m, f"pair_{i // 2}", self._stage())
                m.d.comb += [dsp.a0.eq(w[i]), dsp.b0.eq(x[i]), dsp.a1.eq(w[i + 1]), dsp.b1.eq(x[i + 1])]
                terms.append(dsp.p)
        else:
            for i in range(self.block):
                dsp = place(m, f"product_{i}", self._stage())
                m.d.comb += [dsp.a.eq(w[i]), dsp.b.eq(x[i])]
                terms.append(dsp.p)
        level = 0
        while len(terms) > 2:
            sums = []
            for i in range(0, len(terms), 2):
                sums.append(Signal(signed(len(terms[i]) + 1), name=f"sum_{level}_{i // 2}", reset_less=True))
                m.d.sync += sums[-1].eq(terms[i] + terms[i + 1])
            terms, level = sums, level + 1
        total = Signal(signed(len(terms[0]) + 1))
        m.d.comb += total.eq(terms[0] + terms[1])
        for i, copy in enumerate(copies(m, "sum", total, self.copies)):
            m.d.comb += getattr(self, f"sum_{i}").eq(copy)
        return m

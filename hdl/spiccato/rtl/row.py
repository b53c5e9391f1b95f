"""One row of the matrix-vector unit: a dot product of ``columns`` weights and as many vector elements."""

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from ..numbers import FACTOR_BITS, INT8_BITS
from .broadcast import DelayLine, copies, equal_register
from .dsp import SUMS, Multiply, Registers
from .part import Part, place
from .sum_shift import COARSE_BITS, SumShift

__all__ = ["DotProductRow"]


class DotProductRow(Part):
    """Dot product, one result a cycle, no handshake.

    Stages: the DSP block's operand registers (8-bit weights are widened in front of them), its product registers if
    the profile has them, and its result register, then one adder level a cycle. Sums of 9x9 products are short, so that
    three are added at a time (:func:`carry_save`); a last stage multiplies theirs by the row's factor. Behind the last
    adder, where the profile says so, sums are shifted by multiples of 16 (:class:`.sum_shift.SumShift`).

    Attributes
    ----------
    vector : in, ``columns`` signed elements, of 18 bits, or 9 with 9x9 multipliers
    weights : in, ``columns`` signed mantissas, of 16 bits, or pairs of 8-bit mantissas (``int8``); of 8 or 9 bits with
        9x9 multipliers. ``weight_lead`` cycles ahead of the vector
    int8, high : in, ``select_lead`` cycles ahead of the weights; not with 9x9 multipliers
        Take the low or high byte of each weight lane as an 8-bit mantissa, widened to ``mantissa * 256``.
    factor_COPY : in, a cycle before the sum; only with 9x9 multipliers
    coarse_COPY : in, a cycle before the sum; only with ``coarse_shift``
    sum_COPY : out, signed, exact, with 9x9 multipliers times 4 + factor; a copy for each slice of the accumulator, or
        with ``coarse_shift`` what is left for it
    """

    #: Each row keeps a copy of the selects, which go to all of its lanes.
    select_lead = 1

    def __init__(self, config):
        self.columns, self.narrow, self.products = config.columns, config.narrow, config.row_products
        self.weight, self.element = (signed(bits) for bits in config.operands)
        self._exact = signed(config.operands.sum_bits(config.columns))
        self._sum = signed(config.row_sum_bits)
        #: Terms that an adder adds.
        self._adds = 3 if self.narrow else 2
        self._registers = Registers(operands=True, product=config.stages.row_product_register)
        #: The profile may have a register between what widens the weights and the DSP block's own.
        self.weight_lead = int(config.stages.weight_register)
        self._shift, reach = SumShift(config), config.stages.reach
        self.copies = self._shift.slices
        #: Of the lanes' widening, a copy for so many lanes.
        self._widened_lanes = max(1, reach.registers // self.weight.width) if self.weight_lead else reach.blocks
        super().__init__(
            "dot_product_row",
            {
                "vector": In(data.ArrayLayout(self.element, self.columns)),
                "weights": In(data.ArrayLayout(self.weight.width, self.columns)),
                **({} if self.narrow else {"int8": In(1), "high": In(1)}),
                **{f"factor_{i}": In(FACTOR_BITS) for i in range(self.copies * self.narrow)},
                **{f"coarse_{i}": In(COARSE_BITS) for i in range(self.copies * bool(self._shift.coarse_bits))},
                **{f"sum_{i}": Out(self._shift.shape) for i in range(self.copies)},
            },
        )

    def _stage(self):
        """A new DSP stage, as each lane, or so many lanes as a block adds the products of, has one."""
        return SUMS.get(self.products, Multiply)(self.weight, self.element, registers=self._registers)

    @property
    def latency(self):
        """Cycles from the inputs to ``sum``."""
        terms, levels = -(-self.columns // self.products), 1
        while terms > self._adds:
            terms, levels = -(-terms // self._adds), levels + 1
        return self._stage().latency + levels + self.narrow

    @staticmethod
    def widen(weights, int8, high):
        """Integer model of the weight lanes: raw 16-bit words (any integer dtype) to signed mantissas (int16)."""
        words = np.asarray(weights).astype(np.int16)
        if not np.any(int8):
            return words
        return np.where(int8, np.where(high, words & ~0xFF, words << INT8_BITS), words)

    def elaborate(self, platform):
        m = Module()
        w = [Signal(self.weight, name=f"w_{i}") for i in range(self.columns)]
        if self.narrow:
            m.d.comb += [lane.eq(self.weights[i]) for i, lane in enumerate(w)]
        else:
            self._widened(m, w)
        w = [DelayLine(m, f"weight_{i}", lane).at(self.weight_lead) for i, lane in enumerate(w)]
        x, terms = self.vector, []
        if self.products > 1:
            for i in range(0, self.columns, self.products):
                dsp = place(m, f"{SUMS[self.products].short_name}_{i // self.products}", self._stage())
                for k, (a, b) in enumerate(dsp.factors, i):
                    # The last one's may be fewer.
                    m.d.comb += [a.eq(w[k]), b.eq(x[k])] if k < self.columns else [a.eq(Const(0)), b.eq(Const(0))]
                terms.append(dsp.p)
        else:
            for i in range(self.columns):
                dsp = place(m, f"product_{i}", self._stage())
                m.d.comb += [dsp.a.eq(w[i]), dsp.b.eq(x[i])]
                terms.append(dsp.p)
        level = 0
        while len(terms) > self._adds:
            sums = []
            for i in range(0, len(terms), self._adds):
                added = terms[i : i + self._adds]
                width = len(terms[i]) + (self._adds - 1).bit_length()
                name = f"sum_{level}_{i // self._adds}"
                sums.append(Signal(signed(width), name=name, reset_less=True))
                m.d.sync += sums[-1].eq(_added(m, name, added, width))
            terms, level = sums, level + 1
        total = Signal(self._exact)
        m.d.comb += total.eq(_added(m, "total", terms, len(total)))
        if self.narrow:
            self._scale(m, total)
        else:
            self._give(m, {f"sum_{i}": total for i in range(self.copies)})
        return m

    def _give(self, m, totals):
        """Registers, by name, of what each slice of the accumulator gets of the sum."""
        for i, (name, total) in enumerate(totals.items()):
            register = equal_register(name, self._shift.shape)
            if self._shift.coarse_bits:
                total = self._shift.coarse(total, getattr(self, f"coarse_{i}"))
            m.d.sync += register.eq(total)
            m.d.comb += getattr(self, f"sum_{i}").eq(register)

    def _scale(self, m, total):
        """Give the sum times 4 + factor."""
        exact, scaled = Signal(self._exact, name="exact", reset_less=True), {}
        m.d.sync += exact.eq(total)
        for i in range(self.copies):
            ones, twos = (Mux(bit, exact, 0) for bit in getattr(self, f"factor_{i}"))
            value = Signal(self._sum, name=f"scaled_value_{i}")
            terms = exact << FACTOR_BITS, ones, twos << 1
            m.d.comb += value.eq(_added(m, f"scaled_{i}", terms, len(value)))
            scaled[f"scaled_{i}_0"] = value
        self._give(m, scaled)

    def _widened(self, m, w):
        """Weight lanes as mantissas: 16 bits, or a byte in the upper half."""
        number = -(-self.columns // self._widened_lanes)
        int8, high = (copies(m, name, getattr(self, name), number) for name in ("int8", "high"))
        for i, lane in enumerate(w):
            low_byte, high_byte = self.weights[i][:INT8_BITS], self.weights[i][INT8_BITS:]
            m.d.comb += [
                lane[INT8_BITS:].eq(Mux(int8[i % number] & ~high[i % number], low_byte, high_byte)),
                lane[:INT8_BITS].eq(Mux(int8[i % number], 0, low_byte)),
            ]


def _added(m, name, terms, bits):
    """The sum of up to three signed terms, which fits ``bits`` bits: one adder."""
    if len(terms) > 2:
        terms = carry_save(m, name, terms, bits)
    return sum(terms[1:], terms[0])


def carry_save(m, name, terms, bits):
    """Two numbers of ``bits`` bits with the sum of three signed ones, by a single level of logic in front of an adder.

    Returns
    -------
    list of two Values
        Modulo ``2**bits``.
    """
    a, b, c = (Cat(term, term[-1].replicate(bits - len(term))) for term in terms)
    ones, carries = (Signal(bits, name=f"{name}_{what}") for what in ("ones", "carries"))
    m.d.comb += [ones.eq(a ^ b ^ c), carries.eq(((a & b) | (a & c) | (b & c)) << 1)]
    return [ones, carries]

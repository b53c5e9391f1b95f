"""The cell unit: from one hidden unit's four finished accumulators to its new c and h."""

import numpy as np
from amaranth.hdl import Module, Mux, Signal, signed, unsigned

from ..numbers import (
    C_BITS,
    C_FRAC_BITS,
    C_SUM_FRAC_BITS,
    GATE_FRAC,
    GATE_FRAC_BITS,
    SIGMOID_BITS,
    TANH_BITS,
    VECTOR_BITS,
    saturate,
)
from .activation import ActivationTable, Interpolate, argument_bits
from .broadcast import DelayLine, copies
from .dsp import Multiply, MultiplyAdd, Registers
from .epilogue import Epilogue, register
from .memory import Rom
from .part import place

__all__ = ["CellUnit"]

_HALF_C = 1 << (C_SUM_FRAC_BITS - C_FRAC_BITS - 1)
_HALF_H = 1 << (GATE_FRAC - 1)
_GATE, _TANH, _C = unsigned(SIGMOID_BITS), signed(TANH_BITS), signed(C_BITS)
_C_SUM_BITS = SIGMOID_BITS + C_BITS + 1


@register
class CellUnit(Epilogue):
    """LSTM cell update, one hidden unit a cycle, no handshake.

    It computes::

        i, f, o = sigmoid(acc)   g = tanh(acc)
        c = f * c_old + i * g    h = o * tanh(c)

    Attributes
    ----------
    acc_i, acc_f, acc_g, acc_o : in, signed 48, 26 fraction bits; i, f and o hold z/2
    c_old : in, signed 27, 17 fraction bits, ``gate_latency`` cycles after the accumulators
    c : out, ``c_latency`` cycles after the accumulators
    h : out, signed 18, 17 fraction bits, ``latency`` cycles after the accumulators
    """

    name = "lstm"
    sums = "ifgo"
    has_state = True

    def __init__(self, config):
        stages = config.stages
        self._reach = stages.reach.registers
        self._argument_registers = int(stages.table_address_register)
        registers = Registers(operands=stages.operand_register, product=stages.product_register)
        self._line_registers = Registers(operands=stages.table_word_register, product=stages.product_register)
        self._product_ig = MultiplyAdd(
            "gate_product",
            a=_GATE,
            b=_TANH,
            c_const=_HALF_C,
            p_shift=0,
            p_bits=SIGMOID_BITS + TANH_BITS,
            registers=registers,
        )
        self._product_fc = Multiply(_GATE, _C, registers=registers)
        self._product_h = MultiplyAdd(
            "output_product",
            a=_GATE,
            b=_TANH,
            c_const=_HALF_H,
            p_shift=GATE_FRAC,
            p_bits=VECTOR_BITS,
            registers=registers,
        )
        self.gate_latency = self._argument_registers + Rom.latency + Interpolate("tanh", self._line_registers).latency
        #: The sum of the products; tanh starts from it, beside the saturation of c.
        self._sum_cycle = self.gate_latency + self._product_fc.latency + 1
        self.c_latency = self._sum_cycle + 1
        self.latency = self._sum_cycle + self.gate_latency + self._product_h.latency
        super().__init__("cell_unit")

    @staticmethod
    def compute(acc, c_old):
        """Integer model: ``acc`` (4, ...) in gate order i, f, g, o and ``c_old`` (...), to ``(c, h)``."""
        i, f, o = (ActivationTable.compute("sigmoid", acc[k], GATE_FRAC_BITS) for k in (0, 1, 3))
        g = ActivationTable.compute("tanh", acc[2], GATE_FRAC_BITS)
        c_sum = i * g + _HALF_C + f * np.asarray(c_old, dtype=np.int64)
        c = saturate(c_sum >> (C_SUM_FRAC_BITS - C_FRAC_BITS), C_BITS)
        tanh_c = ActivationTable.compute("tanh", c_sum, C_SUM_FRAC_BITS)
        return c, (o * tanh_c + _HALF_H) >> GATE_FRAC

    def elaborate(self, platform):
        m = Module()
        tanh = place(m, "tanh_table", ActivationTable("tanh", 2))
        sigmoid = place(m, "sigmoid_table", ActivationTable("sigmoid", 2))
        sigmoid_o = place(m, "sigmoid_table_o", ActivationTable("sigmoid", 1))

        def activate(function, name, argument, frac_bits, address, word, start):
            index, fraction = ActivationTable.saturated_argument(m, argument, frac_bits, name)
            known = start + self._argument_registers
            line = place(m, f"line_{name}", Interpolate(function, self._line_registers))
            m.d.comb += [
                address.eq(DelayLine(m, f"index_{name}", index, start).at(known)),
                line.word.eq(word),
                line.fraction.eq(DelayLine(m, f"fraction_{name}", fraction, start).at(known + Rom.latency)),
            ]
            return line.value

        i = activate("sigmoid", "i", self.acc_i, GATE_FRAC_BITS, sigmoid.addr0, sigmoid.data0, 0)
        f = activate("sigmoid", "f", self.acc_f, GATE_FRAC_BITS, sigmoid.addr1, sigmoid.data1, 0)
        g = activate("tanh", "g", self.acc_g, GATE_FRAC_BITS, tanh.addr0, tanh.data0, 0)
        o = activate("sigmoid", "o", self.acc_o, GATE_FRAC_BITS, sigmoid_o.addr0, sigmoid_o.data0, 0)

        product_ig = place(m, "product_ig", self._product_ig)
        product_fc = place(m, "product_fc", self._product_fc)
        m.d.comb += [product_ig.a.eq(i), product_ig.b.eq(g), product_fc.a.eq(f), product_fc.b.eq(self.c_old)]
        total = Signal(signed(_C_SUM_BITS))
        m.d.comb += total.eq(product_ig.p + product_fc.p)
        # Its sign decides on all bits of c and of the table's argument.
        c_sum, *others = copies(m, "c_sum", total, 1 + (C_BITS + argument_bits > self._reach))
        tanh_argument = [c_sum, *others][-1]

        wide_c = c_sum[C_SUM_FRAC_BITS - C_FRAC_BITS :].as_signed()
        fits = (wide_c[C_BITS - 1 :].all()) | ~(wide_c[C_BITS - 1 :].any())
        c = Signal.like(self.c, reset_less=True)
        m.d.sync += c.eq(Mux(fits, wide_c[:C_BITS], Mux(wide_c[-1], 1 << (C_BITS - 1), (1 << (C_BITS - 1)) - 1)))
        m.d.comb += self.c.eq(c)

        tanh_c = activate("tanh", "c", tanh_argument, C_SUM_FRAC_BITS, tanh.addr1, tanh.data1, self._sum_cycle)
        product_h = place(m, "product_h", self._product_h)
        m.d.comb += [
            product_h.a.eq(DelayLine(m, "o", o, self.gate_latency).at(self.latency - product_h.latency)),
            product_h.b.eq(tanh_c),
            self.h.eq(product_h.p),
        ]
        return m

"""The cell unit: from a lane's four finished accumulators to new c and h, of an LSTM, a GRU or a dense layer."""

import functools

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib.wiring import In, Out

from ..isa.activation import DENSE_FIELDS
from ..numbers import (
    ACC_BITS,
    C_BITS,
    C_FRAC_BITS,
    C_SUM_FRAC_BITS,
    GATE_FRAC,
    GATE_FRAC_BITS,
    GATES,
    REMAINDER_BITS,
    SIGMOID_BITS,
    TANH_BITS,
    VECTOR_BITS,
    saturate,
)
from .activation import Activation, ActivationTable, argument_bits
from .broadcast import DelayLine, chosen, copies, slices
from .dense import DenseTable, DenseUnit
from .dsp import Multiply, MultiplyAdd, Registers, saturated
from .epilogue import Epilogue, register
from .part import place

__all__ = ["CellUnit", "HALF_N", "HALF_REMAINDER", "N_BITS", "ONE", "UPDATE_SHIFT"]

_HALF_C = 1 << (C_SUM_FRAC_BITS - C_FRAC_BITS - 1)
_HALF_H = 1 << (GATE_FRAC - 1)
_GATE, _TANH, _C = unsigned(SIGMOID_BITS), signed(TANH_BITS), signed(C_BITS)
_C_SUM_BITS = SIGMOID_BITS + C_BITS + 1
#: A GRU's input part of n: so many bits of its sum that the recurrent part can be added.
N_BITS = _C_SUM_BITS - 1 - (C_SUM_FRAC_BITS - GATE_FRAC_BITS)
HALF_N = 1 << (GATE_FRAC_BITS - C_FRAC_BITS - 1)
#: (1 - z) n + z h in products of 17 fraction bits, and what of it is kept.
_UPDATE_BITS = SIGMOID_BITS + VECTOR_BITS
UPDATE_SHIFT = GATE_FRAC - REMAINDER_BITS
HALF_REMAINDER = 1 << (REMAINDER_BITS - 1)
ONE = 1 << GATE_FRAC


@register
class CellUnit(Epilogue):
    """Cell update, one hidden unit a cycle, no handshake.

    It computes::

        i, f, o = sigmoid(acc)   g = tanh(acc)
        c = f * c_old + i * g    h = o * tanh(c)

    With ``gru``, if the configuration has it, another product and the same tables, interpolations and products as::

        z, r = sigmoid(acc_i), sigmoid(acc_f)
        n = tanh(acc_g + r * acc_o)    h = (1 - z) * n + z * h_old

    where h_old is ``c_old``: h, and the remainder below it that rounding has left. With ``dense``, if the configuration
    has it, the accumulators are a unit each: their h come one after the other from :class:`.dense.DenseUnit`, by way of
    the last product, so that h has one register whatever it is of.

    Attributes
    ----------
    acc_i, acc_f, acc_g, acc_o : in, signed 48, 26 fraction bits; i, f and an LSTM's o hold z/2
    gru : in, with the accumulators: they are a GRU's; only if the configuration has it
    dense, and settings : in, with the accumulators, as :class:`.dense.DenseUnit` has them; likewise
    saturated : out, the dense unit's; likewise
    TABLE_addr, TABLE_word : out, in: of the ``tables``, if the configuration has other epilogues than the LSTM's
    c_old : in, signed 27, 17 fraction bits, ``gate_latency`` cycles after the accumulators
    c : out, ``c_latency`` cycles after the accumulators
    h : out, signed 18, 17 fraction bits, ``latency`` cycles after the accumulators
    """

    name = "lstm"
    sums = "ifgo"
    has_state = True

    def __init__(self, config):
        self._gru = "gru" in config.epilogues
        self._dense = DenseUnit(config) if "dense" in config.epilogues else None
        self.selects = [name for name in ("gru", "dense") if name in config.epilogues]
        #: Beside the dense units' tables, two units share that of o.
        self.tables = {} if self._dense is None else {"o": self._o_table, "dense": DenseTable}
        if self._dense is not None:
            self.saturated_latency = self._dense.saturated_latency
        stages = config.stages
        self._reach = stages.reach.registers
        registers = Registers(operands=stages.operand_register, product=stages.product_register)
        self._activation = Activation(stages)
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
        if self._gru:
            # z h_old, the remainder, and half of what is rounded away.
            self._product_zh = MultiplyAdd(
                "update_product",
                a=_GATE,
                b=signed(VECTOR_BITS),
                c=unsigned(REMAINDER_BITS),
                c_shift=UPDATE_SHIFT,
                p_shift=0,
                p_bits=_UPDATE_BITS,
                registers=registers,
            )
        if self.selects:
            self._product_h = MultiplyAdd(
                "output_sum",
                a=_GATE,
                b=_TANH,
                c=signed(_UPDATE_BITS),
                p_shift=UPDATE_SHIFT,
                p_bits=C_BITS,
                registers=registers,
            )
        else:
            self._product_h = MultiplyAdd(
                "output_product",
                a=_GATE,
                b=_TANH,
                c_const=_HALF_H,
                p_shift=GATE_FRAC,
                p_bits=VECTOR_BITS,
                registers=registers,
            )
        #: i, f, g and o.
        self._gates = self._activation.latency
        #: The sum of the products; tanh starts from it, beside the saturation of c.
        self._sum_cycle = self._gates + self._product_fc.latency + 1
        self.latency = self._sum_cycle + self._gates + self._product_h.latency
        if self._gru:
            # What f or r is multiplied with is chosen in front of a register. A GRU's state is h.
            self.gate_latency, self.c_latency = self._gates - 1, self.latency
        else:
            self.gate_latency, self.c_latency = self._gates, self._sum_cycle + 1
        super().__init__(
            "cell_unit", CellUnit.members() | ({"gru": In(1)} if self._gru else {}) | self._dense_members()
        )

    def _dense_members(self):
        """Ports that are there for the dense unit."""
        if self._dense is None:
            return {}
        ports = self._dense.signature.members
        tables = {name: table(1) for name, table in self.tables.items()}
        return {name: ports[name] for name in ("dense", *DENSE_FIELDS, "saturated")} | {
            f"{name}_{what}": direction(bits)
            for name, rom in tables.items()
            for what, direction, bits in (("addr", Out, rom.addr_bits), ("word", In, rom.width))
        }

    @staticmethod
    def _o_table(ports):
        return ActivationTable("sigmoid", ports)

    @staticmethod
    def compute(acc, c_old, **settings):
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
        if "o" in self.tables:
            o_addr, o_word = self.o_addr, self.o_word
        else:
            sigmoid_o = place(m, "sigmoid_table_o", self._o_table(1))
            o_addr, o_word = sigmoid_o.addr0, sigmoid_o.data0

        activate = functools.partial(self._activation.place, m)
        i = activate("sigmoid", "i", self.acc_i, GATE_FRAC_BITS, sigmoid.addr0, sigmoid.data0, 0)
        f = activate("sigmoid", "f", self.acc_f, GATE_FRAC_BITS, sigmoid.addr1, sigmoid.data1, 0)
        g = activate("tanh", "g", self.acc_g, GATE_FRAC_BITS, tanh.addr0, tanh.data0, 0)
        o = activate("sigmoid", "o", self.acc_o, GATE_FRAC_BITS, o_addr, o_word, 0)

        product_ig = place(m, "product_ig", self._product_ig)
        product_fc = place(m, "product_fc", self._product_fc)
        gru = DelayLine(m, "is_gru", self.gru) if self._gru else None
        m.d.comb += [
            product_ig.a.eq(i),
            product_ig.b.eq(g),
            product_fc.a.eq(f),
            product_fc.b.eq(self.c_old if gru is None else self._second_factor(m, gru)),
        ]
        total = Signal(signed(_C_SUM_BITS))
        addend = product_ig.p if gru is None else self._addend(m, gru, product_ig.p)
        m.d.comb += total.eq(addend + product_fc.p)
        # Its sign decides on all bits of c and of the table's argument.
        c_sum, *others = copies(m, "c_sum", total, 1 + (C_BITS + argument_bits > self._reach))
        tanh_argument = [c_sum, *others][-1]

        wide_c = c_sum[C_SUM_FRAC_BITS - C_FRAC_BITS :].as_signed()
        fits = (wide_c[C_BITS - 1 :].all()) | ~(wide_c[C_BITS - 1 :].any())
        c = Signal.like(self.c, reset_less=True)
        m.d.sync += c.eq(Mux(fits, wide_c[:C_BITS], Mux(wide_c[-1], 1 << (C_BITS - 1), (1 << (C_BITS - 1)) - 1)))

        tanh_c = activate("tanh", "c", tanh_argument, C_SUM_FRAC_BITS, tanh.addr1, tanh.data1, self._sum_cycle)
        product_h = place(m, "product_h", self._product_h)
        last = self.latency - product_h.latency
        if not self.selects:
            m.d.comb += [
                product_h.a.eq(DelayLine(m, "o", o, self._gates).at(last)),
                product_h.b.eq(tanh_c),
                self.h.eq(product_h.p),
                self.c.eq(c),
            ]
            return m

        weight, kept = DelayLine(m, "o", o, self._gates), None
        if gru is not None:
            weight, kept = self._update(m, gru, i, o)
        m.d.comb += product_h.b.eq(tanh_c)
        self._last_product(m, product_h, last, weight, kept)
        new_c = c
        if gru is not None:
            lstm_c = DelayLine(m, "lstm_c", c, self._sum_cycle + 1).at(self.latency)
            new_c = self._chosen(gru, self.latency, "c_of_gru", product_h.p ^ HALF_REMAINDER, lstm_c).as_signed()
        m.d.comb += [self.h.eq(product_h.p[REMAINDER_BITS:].as_signed()), self.c.eq(new_c)]
        return m

    def _update(self, m, gru, z, o):
        """What tanh's result is multiplied with, and what is added: o and half of what is cut, or 1 - z and z h_old."""
        complement = gru.spread(self._gates, 2, "weight_of_gru")
        weight = Signal(_GATE, name="n_weight", reset_less=True)
        m.d.sync += weight.eq(Mux(complement[0], ONE, o) - Mux(complement[1], z, 0))
        product_zh = place(m, "product_zh", self._product_zh)
        state = DelayLine(m, "h_old", self.c_old, self.gate_latency).at(self._gates)
        m.d.comb += [
            product_zh.a.eq(z),
            product_zh.b.eq(state[REMAINDER_BITS:].as_signed()),
            product_zh.c.eq(state[:REMAINDER_BITS] ^ HALF_REMAINDER),
        ]
        known = self._gates + product_zh.latency
        kept = Signal(signed(_UPDATE_BITS), name="kept", reset_less=True)
        half = Const(_HALF_H, _UPDATE_BITS)
        m.d.sync += kept.eq(self._chosen(gru, known, "kept_of_gru", product_zh.p, half).as_signed())
        return DelayLine(m, "n_weight", weight, self._gates + 1), DelayLine(m, "kept", kept, known + 1)

    def _last_product(self, m, product_h, last, weight, kept):
        """Feed the last product's factor and addend, in cycle ``last``: those of a cell, or 0 and a dense unit's h."""
        if self._dense is None:
            m.d.comb += [product_h.a.eq(weight.at(last)), product_h.c.eq(kept.at(last))]
            return
        unit = place(m, "dense_unit", self._dense)
        rows = zip(range(GATES), self.sums)
        m.d.comb += [
            *(getattr(unit, f"acc_{row}").eq(getattr(self, f"acc_{name}")) for row, name in rows),
            *(getattr(unit, name).eq(getattr(self, name)) for name in ("dense", *DENSE_FIELDS)),
            self.dense_addr.eq(unit.table_addr),
            unit.table_word.eq(self.dense_word),
            self.saturated.eq(unit.saturated),
        ]
        finished = DelayLine(m, "dense_finished", self.dense[0])
        due = DelayLine(m, "dense_due", Cat(finished.at(last - 2 + turn) for turn in range(GATES)).any(), last - 2)
        dense_h = DelayLine(m, "dense_h", unit.h, unit.latency).at(last - 1)
        addend = Const(_HALF_H, _UPDATE_BITS) if kept is None else kept.at(last - 1)
        factor, added = (
            Signal(_GATE, name="last_factor", reset_less=True),
            Signal(signed(_UPDATE_BITS), name="last_addend", reset_less=True),
        )
        aligned = Cat(Const(0, GATE_FRAC), dense_h)
        m.d.sync += [
            factor.eq(
                chosen(due, last - 1, "factor_of_dense", Const(0, SIGMOID_BITS), weight.at(last - 1), self._reach)
            ),
            added.eq(
                chosen(due, last - 1, "addend_of_dense", Cat(aligned, dense_h[-1]), addend, self._reach).as_signed()
            ),
        ]
        m.d.comb += [product_h.a.eq(factor), product_h.c.eq(added)]

    def _second_factor(self, m, gru):
        """What f or r is multiplied with: c, or a GRU's recurrent part of n, rounded and saturated to c's format."""
        rounded = Signal(signed(ACC_BITS + 1 - (GATE_FRAC_BITS - C_FRAC_BITS)), name="n_rounded", reset_less=True)
        recurrent = Signal(_C, name="n_recurrent", reset_less=True)
        m.d.sync += [
            rounded.eq((self.acc_o + HALF_N) >> (GATE_FRAC_BITS - C_FRAC_BITS)),
            recurrent.eq(saturated(rounded, C_BITS)),
        ]
        factor = Signal(_C, name="second_factor", reset_less=True)
        known = DelayLine(m, "n_recurrent", recurrent, 2).at(self.gate_latency)
        m.d.sync += factor.eq(self._chosen(gru, self.gate_latency, "factor_of_gru", known, self.c_old).as_signed())
        return factor

    def _addend(self, m, gru, product):
        """What is added to that product: i g, or a GRU's input part of n."""
        # A register ahead: the sum's top bits reach a table's argument already.
        low = DelayLine(m, "sum_g", self.acc_g[: N_BITS - 1]).at(1)
        parts = slices(N_BITS, self._reach)
        from_input = Signal(signed(N_BITS), name="n_input", reset_less=True)
        for bits, top in zip(parts, copies(m, "sum_g_top", self.acc_g[N_BITS - 1 :], len(parts))):
            m.d.sync += from_input[bits].eq(saturated(Cat(low, top).as_signed(), N_BITS)[bits])
        cycle = self._gates + self._product_fc.latency
        aligned = Signal(signed(_C_SUM_BITS), name="n_aligned")
        other = Signal(signed(_C_SUM_BITS), name="lstm_addend")
        m.d.comb += [
            aligned.eq(DelayLine(m, "n_input", from_input, 2).at(cycle) << (C_SUM_FRAC_BITS - GATE_FRAC_BITS)),
            other.eq(product),
        ]
        return self._chosen(gru, cycle, "addend_of_gru", aligned, other).as_signed()

    def _chosen(self, gru, cycle, name, if_gru, otherwise):
        # Half the reach: some of what follows has copies.
        return chosen(gru, cycle, name, if_gru, otherwise, self._reach // 2)

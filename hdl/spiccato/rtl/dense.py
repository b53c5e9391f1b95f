"""The dense unit: from a lane's four finished accumulators, each a unit's, to their h, one a cycle."""

import functools
import math

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib.wiring import In, Out

from ..isa.activation import DENSE_FIELDS, FACTOR_FRAC_BITS, Function
from ..isa.word import Word
from ..numbers import ACC_BITS, DENSE_BITS, DENSE_FRAC_BITS, GATE_FRAC_BITS, GATES, H_FRAC_BITS, VECTOR_BITS, saturate
from .broadcast import DelayLine, batches
from .dsp import MultiplyAdd, Registers, saturated
from .memory import Rom
from .part import Part, place

__all__ = ["DenseTable", "DenseUnit"]

_CUT = GATE_FRAC_BITS - DENSE_FRAC_BITS
#: The table, of u in [0, 8) in 512 segments: one function behind the other.
_INDEX_BITS, _RANGE_BITS = 9, 3
_SECTION_BITS = 2
_MAGNITUDE_BITS = DENSE_FRAC_BITS + _RANGE_BITS
_FRACTION_BITS = _MAGNITUDE_BITS - _INDEX_BITS
_BASE_BITS, _BASE_FRAC, _SLOPE_BITS = 23, 22, 17
#: Results have one fraction bit more than h: tanh is twice a sigmoid, less 1.
_TABLE_FRAC = H_FRAC_BITS + 1
_TABLE_BITS = _TABLE_FRAC + 1
_TABLE_SHIFT = _BASE_FRAC + _FRACTION_BITS - _TABLE_FRAC
_ONE = 1 << _TABLE_FRAC
_SCALED_CUT = DENSE_FRAC_BITS - H_FRAC_BITS
_SCALED_HALF = 1 << (_SCALED_CUT - 1)
_FACTOR = unsigned(FACTOR_FRAC_BITS + 1)
#: Of what is added to a product of factor and h.
_ADDEND_SHIFT = FACTOR_FRAC_BITS + H_FRAC_BITS - _TABLE_FRAC
#: Half of what h is a multiple of, beside a product.
_HALF = 1
#: Which section of the table others than the first are for.
_SECTIONS = {Function.ELU: 1, Function.GELU: 2}
#: Functions whose scaled sums count only from 0 on.
_ONE_SIDED = (Function.RELU, Function.ELU)


@functools.cache
def _table():
    """Integer arrays (base, slope) of sigmoid(2 u), exp(-u) and a normal distribution, as in :mod:`.activation`."""
    width = 2.0**_RANGE_BITS / (1 << _INDEX_BITS)
    start = np.arange(1 << _INDEX_BITS) * width
    bases, slopes = [], []
    error_function = np.vectorize(math.erf, otypes=[np.float64])
    functions = (
        lambda u: 1 / (1 + np.exp(-2 * u)),
        lambda u: np.exp(-u),
        lambda u: (1 + error_function(u / np.sqrt(2))) / 2,
    )
    for function in functions:
        left, middle, right = (function(start + part * width) for part in (0, 0.5, 1))
        shift = (middle - (left + right) / 2) / 2
        slope = np.rint((right - left) * 2.0**_BASE_FRAC).astype(np.int64)
        base = np.rint((left + shift + 0.5 * 2.0**-_TABLE_FRAC) * 2.0**_BASE_FRAC).astype(np.int64)
        # No result is above 1.
        highest = ((_ONE + 1) << (_BASE_FRAC - _TABLE_FRAC)) - 1
        bases.append(np.minimum(base, highest - np.maximum(slope, 0)))
        slopes.append(slope)
    return np.concatenate(bases), np.concatenate(slopes)


class DenseTable(Rom):
    """What a dense unit looks up, with ``ports`` read ports. Latency as :class:`~.memory.Rom`."""

    def __init__(self, ports):
        base, slope = _table()
        words = (base << _SLOPE_BITS) | (slope & ((1 << _SLOPE_BITS) - 1))
        super().__init__(f"rom_dense_{ports}", contents=words, width=_BASE_BITS + _SLOPE_BITS, ports=ports)


class DenseUnit(Part):
    """Activation functions of four units, no handshake; slots are at least four cycles apart.

    The accumulators, saturated, are kept, and take their turns: one a cycle becomes h by the slot's function
    (:class:`~spiccato.isa.activation.Function`). A sum is scaled by a power of two, and goes to a table with an
    interpolation; a second product is for the factor, or for both together.

    Attributes
    ----------
    acc_0 .. acc_3 : in, signed 48, 26 fraction bits
    dense : in, equal bits, with the accumulators: take them; a single one if the profile has a ``capture_register``
    function, shift, factor, marks : in, with the accumulators, as the issue word has them
    table_addr : out
    table_word : in, ``DenseTable.latency`` cycles later, from a :class:`DenseTable`
    h : out, signed 18, 17 fraction bits: that of row k ``latency + k`` cycles after the accumulators
    saturated : out, ``saturated_latency + k`` cycles after the accumulators: its scaled sum was beyond what h can hold
    """

    def __init__(self, config):
        stages = config.stages
        self._reach = stages.reach.registers
        self._argument_registers = int(stages.table_address_register)
        registers = Registers(operands=stages.operand_register, product=stages.product_register)
        line_registers = Registers(operands=stages.table_word_register, product=stages.product_register)
        self._line = MultiplyAdd(
            "dense_line",
            a=signed(_SLOPE_BITS),
            b=unsigned(_FRACTION_BITS),
            c=unsigned(_BASE_BITS),
            c_shift=_FRACTION_BITS,
            p_shift=_TABLE_SHIFT,
            p_bits=_TABLE_BITS + 1,
            registers=line_registers,
        )
        self._product = MultiplyAdd(
            "dense_product",
            a=_FACTOR,
            b=signed(VECTOR_BITS),
            c=signed(_TABLE_BITS),
            c_shift=_ADDEND_SHIFT,
            p_shift=FACTOR_FRAC_BITS,
            p_bits=VECTOR_BITS,
            registers=registers,
        )
        #: Cycle of the accumulators at the registers that keep them.
        self._capture = int(stages.capture_register)
        # The row whose turn it is; its table's result; both as they go to the product; and h.
        self._turn = self._capture + 1
        self._looked_up = self._turn + self._argument_registers + Rom.latency + self._line.latency
        self._chosen = self._looked_up + 2
        self.latency = self._chosen + self._product.latency
        #: Scaled, rounded, saturated.
        self._scaled = self._turn + 3
        self.saturated_latency = self._scaled + 1
        fields = Word(DENSE_FIELDS)
        sizes = [Const(0, DENSE_BITS + 1)] * GATES + [Const(0, field.width) for field in fields]
        self._takes = len(batches(sizes, self._reach))
        addr_bits = _INDEX_BITS + _SECTION_BITS
        super().__init__(
            "dense_unit",
            {
                **{f"acc_{row}": In(signed(ACC_BITS)) for row in range(GATES)},
                "dense": In(1 if self._capture else self._takes),
                **{field.name: In(field.width) for field in fields},
                "table_addr": Out(addr_bits),
                "table_word": In(_BASE_BITS + _SLOPE_BITS),
                "h": Out(signed(VECTOR_BITS)),
                "saturated": Out(1),
            },
        )

    @staticmethod
    def compute(acc, *, function, shift, factor):
        """Integer model: ``acc`` (4, ...) and a slot's settings to h (4, ...)."""
        u = saturate(np.asarray(acc) >> _CUT, DENSE_BITS)
        negative = u < 0
        scaled = saturate(((u >> shift) + _SCALED_HALF) >> _SCALED_CUT, VECTOR_BITS)
        magnitude = np.minimum(np.where(negative, ~u, u), (1 << _MAGNITUDE_BITS) - 1)
        base, slope = _table()
        index = (magnitude >> _FRACTION_BITS) + (_SECTIONS.get(Function(function), 0) << _INDEX_BITS)
        fraction = magnitude & ((1 << _FRACTION_BITS) - 1)
        looked_up = ((base[index] << _FRACTION_BITS) + slope[index] * fraction) >> _TABLE_SHIFT
        sigmoid = np.where(negative, _ONE - looked_up, looked_up)
        straight = scaled << 1
        product = np.zeros_like(u)
        match function:
            case Function.LINEAR:
                addend = straight
            case Function.RELU:
                addend = np.where(negative, 0, straight)
            case Function.SIGMOID:
                addend = np.minimum(sigmoid, _ONE - 1)
            case Function.TANH:
                addend = np.minimum(2 * sigmoid - _ONE, _ONE - 1)
            case Function.SILU | Function.GELU:
                product, addend = (sigmoid >> 1) * scaled, _HALF
            case _:
                second = (looked_up - _ONE) >> 1 if function == Function.ELU else scaled
                product = np.where(negative, factor * second, 0)
                addend = np.where(negative, _HALF, straight)
        return (product + (addend << _ADDEND_SHIFT)) >> FACTOR_FRAC_BITS

    @staticmethod
    def saturates(acc, *, function, shift, marks):
        """Integer model: whether a scaled sum that counts is beyond what h can hold."""
        exact = np.asarray(acc) >> _CUT
        u = saturate(exact, DENSE_BITS)
        rounded = ((u >> shift) + _SCALED_HALF) >> _SCALED_CUT
        beyond = (u != exact) | (rounded != saturate(rounded, VECTOR_BITS))
        counts = u >= 0 if function in _ONE_SIDED else True
        return bool(marks and (beyond & counts).any())

    def elaborate(self, platform):
        m = Module()
        argument, beyond = self._turns(m)
        negative = argument[-1]
        function = DelayLine(m, "function", self._kept["function"], self._turn)
        signs = DelayLine(m, "negative", negative, self._turn)

        # Scaled, rounded, saturated.
        shifted = Signal.like(argument, name="shifted", reset_less=True)
        rounded = Signal(signed(DENSE_BITS + 1 - _SCALED_CUT), reset_less=True)
        scaled = Signal(signed(VECTOR_BITS), reset_less=True)
        is_beyond = Signal(name="is_beyond", reset_less=True)
        top = rounded[VECTOR_BITS - 1 :]
        m.d.sync += [
            shifted.eq(argument >> self._kept["shift"]),
            rounded.eq((shifted + _SCALED_HALF) >> _SCALED_CUT),
            scaled.eq(saturated(rounded, VECTOR_BITS)),
            is_beyond.eq(~(top.all() | ~top.any()) | DelayLine(m, "beyond", beyond, self._turn).at(self._scaled - 1)),
        ]
        marks = DelayLine(m, "marks", self._kept["marks"], self._turn).at(self._scaled)
        one_sided = Cat(function.at(self._scaled) == one for one in _ONE_SIDED).any()
        mark = Signal(name="mark", reset_less=True)
        m.d.sync += mark.eq(is_beyond & marks & ~(one_sided & signs.at(self._scaled)))
        m.d.comb += self.saturated.eq(mark)

        now = function.at(self._turn)
        section = Cat(now == one for one in sorted(_SECTIONS, key=_SECTIONS.__getitem__))
        looked_up = self._look_up(m, argument, section)
        at = self._looked_up
        sigmoid = Signal(_TABLE_BITS, reset_less=True)
        fall = Signal(signed(VECTOR_BITS), reset_less=True)
        m.d.sync += [
            # A negative sum's is 1 less that of the magnitude.
            sigmoid.eq((looked_up ^ signs.at(at).replicate(_TABLE_BITS)) + Mux(signs.at(at), _ONE + 1, 0)),
            fall.eq(Mux(looked_up[-1], 0, Cat(looked_up[1:-1], 1).as_signed())),
        ]
        straight = DelayLine(m, "scaled", scaled, self._scaled).at(at + 1)
        self._choose(m, at + 1, function, signs, straight, sigmoid, fall)
        return m

    def _turns(self, m):
        """Keep the sums and the settings; the sum whose turn it is, and whether it was beyond its range."""
        rows = [Signal(DENSE_BITS + 1, name=f"kept_{row}", reset_less=True) for row in range(GATES)]
        fields = Word(DENSE_FIELDS)
        self._kept = {field.name: Signal(field.width, name=f"kept_{field.name}", reset_less=True) for field in fields}
        new = []
        for row in range(GATES):
            cut = DelayLine(m, f"captured_{row}", getattr(self, f"acc_{row}")[_CUT:]).at(self._capture).as_signed()
            top = cut[DENSE_BITS - 1 :]
            new.append(Cat(saturated(cut, DENSE_BITS).as_unsigned(), top.any() & ~top.all()))
        following = [*rows[1:], Const(0, DENSE_BITS + 1)]
        settings = [DelayLine(m, name, getattr(self, name)).at(self._capture) for name in self._kept]
        takes = DelayLine(m, "take", self.dense).spread(self._capture, self._takes) if self._capture else self.dense
        registers = [*rows, *self._kept.values()]
        changes = iter(zip([*new, *settings], [*following, *self._kept.values()]))
        for take, batch in zip(takes, batches(registers, self._reach)):
            for kept, (taken, otherwise) in zip(batch, changes):
                m.d.sync += kept.eq(Mux(take, taken, otherwise))
        return rows[0][:DENSE_BITS].as_signed(), rows[0][-1]

    def _look_up(self, m, argument, section):
        """A section's result for a sum's magnitude, in cycle ``_looked_up``."""
        magnitude = (argument ^ argument[-1].replicate(DENSE_BITS))[: DENSE_BITS - 1]
        over = magnitude[_MAGNITUDE_BITS:].any()
        within = Signal(_MAGNITUDE_BITS, name="within")
        m.d.comb += within.eq(Mux(over, (1 << _MAGNITUDE_BITS) - 1, magnitude[:_MAGNITUDE_BITS]))
        known = self._turn + self._argument_registers
        address = Cat(within[_FRACTION_BITS:], section)
        line = place(m, "line", self._line)
        fraction = DelayLine(m, "fraction", within[:_FRACTION_BITS], self._turn).at(known + Rom.latency)
        m.d.comb += [
            self.table_addr.eq(DelayLine(m, "index", address, self._turn).at(known)),
            line.a.eq(self.table_word[:_SLOPE_BITS].as_signed()),
            line.b.eq(fraction),
            line.c.eq(self.table_word[_SLOPE_BITS:]),
        ]
        return line.p[:_TABLE_BITS]

    def _choose(self, m, cycle, function, signs, straight, sigmoid, fall):
        """The product and what is added to it, by the function, and h."""
        functions, negatives = (line.spread(cycle, 3, name) for line, name in ((function, "chosen"), (signs, "sign")))
        product = place(m, "product", self._product)
        a, b, d = (
            Signal.like(getattr(product, port), name=f"product_{port}_chosen", reset_less=True) for port in "abc"
        )
        factor = DelayLine(m, "factor", self._kept["factor"], self._turn).at(cycle)
        with m.Switch(functions[0]):
            with m.Case(Function.LEAKY, Function.ELU):
                m.d.sync += a.eq(Mux(negatives[0], factor, 0))
            with m.Case(Function.SILU, Function.GELU):
                m.d.sync += a.eq(sigmoid[1:])
            with m.Default():
                m.d.sync += a.eq(0)
        m.d.sync += b.eq(Mux(functions[1] == Function.ELU, fall, straight))
        largest = _ONE - 1
        doubled = Cat(Const(0, 1), straight).as_signed()
        with m.Switch(functions[2]):
            with m.Case(Function.LINEAR):
                m.d.sync += d.eq(doubled)
            with m.Case(Function.RELU):
                m.d.sync += d.eq(Mux(negatives[2], 0, doubled))
            with m.Case(Function.SIGMOID):
                m.d.sync += d.eq(Mux(sigmoid[-1], largest, sigmoid))
            with m.Case(Function.TANH):
                twice = Cat(Const(0, 1), sigmoid[: _TABLE_FRAC - 1], ~sigmoid[_TABLE_FRAC - 1]).as_signed()
                m.d.sync += d.eq(Mux(sigmoid[-1], largest, twice))
            with m.Case(Function.SILU, Function.GELU):
                m.d.sync += d.eq(_HALF)
            with m.Default():
                m.d.sync += d.eq(Mux(negatives[2], _HALF, doubled))
        m.d.comb += [product.a.eq(a), product.b.eq(b), product.c.eq(d), self.h.eq(product.p)]

"""Sigmoid and tanh: piecewise linear, from a table.

A function is tabled on [-8, 8) in 1024 segments of 1/64, in two's-complement order, so that a fixed-point argument
addresses it directly, with neither absolute value nor symmetry to undo. Sigmoid rows are accumulated as z/2, hence
the second table is sigmoid(2 u). Each line is shifted by half of its mid-segment error, which halves the largest
error. A word of 40 bits (one word of an M20K) holds the value at the segment's start and the slope.
"""

import functools
from collections.abc import Callable

import numpy as np
from amaranth.hdl import Module, Mux, Signal, signed, unsigned
from amaranth.lib.wiring import In, Out
from numpy.typing import NDArray

from ..numbers import GATE_FRAC, SIGMOID_BITS, TANH_BITS
from .broadcast import DelayLine
from .dsp import RESULT_ONLY, MultiplyAdd, Registers
from .memory import Rom
from .part import Part, place

__all__ = ["Activation", "ActivationTable", "Interpolate", "argument_bits"]

INDEX_BITS = 10
FRACTION_BITS = 13
BASE_BITS = 23
BASE_FRAC = 22
SLOPE_BITS = 17
#: Bits of an argument below the binary point: 16 segments' worth of index are 1/64 each.
ARGUMENT_FRAC = 6 + FRACTION_BITS
argument_bits = INDEX_BITS + FRACTION_BITS
OUTPUT_SHIFT = BASE_FRAC + FRACTION_BITS - GATE_FRAC
#: Largest results: sigmoid reaches 1, tanh stays in its signed format.
_MAXIMUM = {"tanh": (1 << GATE_FRAC) - 1, "sigmoid": 1 << GATE_FRAC}

_FUNCTIONS: dict[str, Callable[[NDArray], NDArray]] = {
    "tanh": np.tanh,
    "sigmoid": lambda half: 1 / (1 + np.exp(-2 * half)),
}


@functools.cache
def _table(function):
    """Integer arrays (base, slope), indexed by the segment number as an unsigned 10-bit word."""
    f = _FUNCTIONS[function]
    segment = np.arange(1 << INDEX_BITS)
    start = np.where(segment >= 1 << (INDEX_BITS - 1), segment - (1 << INDEX_BITS), segment) / 64
    left, middle, right = f(start), f(start + 1 / 128), f(start + 1 / 64)
    shift = (middle - (left + right) / 2) / 2
    rounding = 0.5 * 2.0**-GATE_FRAC
    slope = np.rint((right - left) * 2.0**BASE_FRAC).astype(np.int64)
    base = np.rint((left + shift + rounding) * 2.0**BASE_FRAC).astype(np.int64)
    full = (1 << FRACTION_BITS) - 1
    highest = ((_MAXIMUM[function] + 1) << OUTPUT_SHIFT) - 1
    base = np.minimum(base, (highest - slope * full) >> FRACTION_BITS)
    low = -(1 << (BASE_BITS - 1)) if function == "tanh" else 0
    return np.clip(base, low, low + (1 << BASE_BITS) - 1), slope


class ActivationTable(Rom):
    """The table of one function with ``ports`` read ports. Latency as :class:`~.memory.Rom`."""

    def __init__(self, function, ports):
        base, slope = _table(function)
        words = ((base & ((1 << BASE_BITS) - 1)) << SLOPE_BITS) | slope
        super().__init__(f"rom_{function}_{ports}", contents=words, width=BASE_BITS + SLOPE_BITS, ports=ports)

    @staticmethod
    def argument(value, frac_bits):
        """Integer model: fixed-point ``value`` (``frac_bits`` fraction bits) to (index, fraction), saturating."""
        reduced = np.asarray(value, dtype=np.int64) >> (frac_bits - ARGUMENT_FRAC)
        half = 1 << (argument_bits - 1)
        reduced = np.clip(reduced, -half, half - 1) & ((1 << argument_bits) - 1)
        return reduced >> FRACTION_BITS, reduced & ((1 << FRACTION_BITS) - 1)

    @staticmethod
    def compute(function, value, frac_bits):
        """Integer model of table and interpolation: gate values with 17 fraction bits."""
        base, slope = _table(function)
        index, fraction = ActivationTable.argument(value, frac_bits)
        return ((base[index] << FRACTION_BITS) + slope[index] * fraction) >> OUTPUT_SHIFT

    @staticmethod
    def saturated_argument(m, value, frac_bits, name):
        """Hardware of :meth:`argument`: (index, fraction) of a signed value, at most three LUT levels."""
        low = frac_bits - ARGUMENT_FRAC
        reduced = value[low : low + argument_bits]
        sign, top = value[-1], value[low + argument_bits - 1 :]
        overflow = Signal(name=f"{name}_overflow")
        limit = Signal(argument_bits, name=f"{name}_limit")
        argument = Signal(argument_bits, name=f"{name}_argument")
        m.d.comb += [
            overflow.eq(top.any() & ~top.all()),
            limit.eq(Mux(sign, 1 << (argument_bits - 1), (1 << (argument_bits - 1)) - 1)),
            argument.eq(Mux(overflow, limit, reduced)),
        ]
        return argument[FRACTION_BITS:], argument[:FRACTION_BITS]


class Interpolate(Part):
    """From a word of a function's table and the argument's fraction to the value, with one DSP stage.

    Attributes
    ----------
    word : in, 40
    fraction : in, 13
    value : out, 18 bits with 17 fraction bits, signed for tanh and unsigned for sigmoid
    """

    def __init__(self, function, registers=RESULT_ONLY):
        self.function = function
        self.line = MultiplyAdd(
            "interpolate_line",
            a=unsigned(SLOPE_BITS),
            b=unsigned(FRACTION_BITS),
            c=signed(BASE_BITS + 1),
            c_shift=FRACTION_BITS,
            p_shift=OUTPUT_SHIFT,
            p_bits=TANH_BITS,
            registers=registers,
        )
        shape = signed(TANH_BITS) if function == "tanh" else unsigned(SIGMOID_BITS)
        super().__init__(
            f"interpolate_{function}",
            {"word": In(BASE_BITS + SLOPE_BITS), "fraction": In(FRACTION_BITS), "value": Out(shape)},
        )

    @property
    def latency(self):
        """Cycles from the word to the value."""
        return self.line.latency

    def elaborate(self, platform):
        m = Module()
        line = place(m, "line", self.line)
        base = self.word[SLOPE_BITS:]
        m.d.comb += [
            line.a.eq(self.word[:SLOPE_BITS]),
            line.b.eq(self.fraction),
            line.c.eq(base.as_signed() if self.function == "tanh" else base),
            self.value.eq(line.p),
        ]
        return m


class Activation:
    """An argument's way to its value, within a part: saturation, table and interpolation.

    Attributes
    ----------
    latency : int
        Cycles from the argument to the value.
    """

    def __init__(self, stages):
        self._line_registers = Registers(operands=stages.table_word_register, product=stages.product_register)
        self._argument_registers = int(stages.table_address_register)
        self.latency = self._argument_registers + Rom.latency + Interpolate("tanh", self._line_registers).latency

    def place(self, m, function, name, argument, frac_bits, address, word, start):
        """Make the hardware.

        Parameters
        ----------
        m : Module
        function : str
        name : str
            Of the signals.
        argument : Value
            Signed, with ``frac_bits`` fraction bits.
        frac_bits : int
        address, word : Value
            Of a port of the function's table.
        start : int
            Cycle in which ``argument`` is valid.

        Returns
        -------
        Value
            As :class:`Interpolate` has it, ``latency`` cycles later.
        """
        index, fraction = ActivationTable.saturated_argument(m, argument, frac_bits, name)
        asked = start + self._argument_registers
        line = place(m, f"line_{name}", Interpolate(function, self._line_registers))
        m.d.comb += [
            address.eq(DelayLine(m, f"index_{name}", index, start).at(asked)),
            line.word.eq(word),
            line.fraction.eq(DelayLine(m, f"fraction_{name}", fraction, start).at(asked + Rom.latency)),
        ]
        return line.value

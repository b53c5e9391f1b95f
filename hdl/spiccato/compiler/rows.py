"""From real weights to integers: mantissas, row shifts and biases. The features' scales are :mod:`.scales`.

A row of a matrix is ``mantissa * 2^(exponent - 15)`` with one exponent; rows of 9x9 multipliers have a factor of 1,
1.25, 1.5 or 1.75 as well. The accumulator of a gate row holds ``z * 2^26`` (z/2 for the sigmoid rows: their tables are
of sigmoid(2 u)). A row sum T of mantissas with h (17 fraction bits) is in units of
``2^(exponent - 32)``, so it is added as ``T * 2^(exponent - 6) = (T << 24) >> (30 - exponent)``. With x, whose block
exponent 0 (the largest) stands for mantissas in units of ``2^(cap - 16)``, the shift is ``29 - exponent - cap``. One
more for sigmoid rows. ``cap`` is the largest exponent of an input that the program accepts without saturation; it is
chosen so that no input can overflow an accumulator.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..config import WIDE, Config
from ..errors import FitError
from ..isa.issue import VectorFrom
from ..layers import LoweredLayer
from ..numbers import (
    ACC_BITS,
    ALIGN_LEFT,
    FACTOR_BITS,
    FLOAT_BIAS,
    GATE_FRAC_BITS,
    H_FRAC_BITS,
    LOW_BITS,
    MANTISSA_BITS,
    SHIFT_BITS,
    SHIFT_MAX,
    WEIGHT_BITS,
    WEIGHT_FRAC_BITS,
)
from .feedback import fed_back, row_errors

__all__ = [
    "GATE_LIMIT",
    "QuantisedMatrix",
    "check_row_range",
    "format_bits",
    "halved_rows",
    "output_frac_bits",
    "quantise_matrix",
    "row_bias",
    "row_point",
]

#: Smaller scales that are tried for a row besides the one that holds its largest weight.
_SMALLER = 1
#: Sums stay below this fraction of the accumulator's range, whatever the input.
_HEADROOM_BITS = 2
#: log2 of the largest gate argument that may be accumulated.
GATE_LIMIT = ACC_BITS - 1 - GATE_FRAC_BITS - _HEADROOM_BITS


#: Smaller than any weight that a row shift can keep a bit of.
_TINY = 2.0**-200
#: Scales are numbered by quarters of octaves: n stands for 2^(n // 4) times 1, 1.25, 1.5 or 1.75.
_QUARTERS = 1 << FACTOR_BITS


@dataclass(frozen=True)
class QuantisedMatrix:
    """A matrix in integers.

    Attributes
    ----------
    mantissas : int32 (slots, cores, block, blocks, columns)
    stored : uint8 (slots, cores, block)
        Row shifts, and in the bits above the factors of rows that have one.
    scales : float64 (slots, cores, block)
        What a mantissa of full scale stands for.
    """

    mantissas: NDArray[np.int32]
    stored: NDArray[np.uint8]
    scales: NDArray[np.float64]


def format_bits(config: Config, weight_format: str) -> int:
    """Bits of a weight's mantissa in a format."""
    return config.operands.weight + LOW_BITS if weight_format == WIDE else int(weight_format.removeprefix("int"))


def _scales(numbers):
    """The scales of these numbers."""
    return np.ldexp(1 + numbers % _QUARTERS / _QUARTERS, numbers // _QUARTERS)


def _mantissas(weights, numbers, bits):
    """Weights (..., blocks, columns), or (..., columns), in units of a mantissa of these bits, for each row's scale."""
    units = np.ldexp(_scales(numbers), 1 - bits)
    return weights / units.reshape(units.shape + (1,) * (weights.ndim - units.ndim))


def _holding(magnitude, bits, step):
    """Number of the smallest scale, of every ``step``-th one, by which a weight's mantissa is not too large."""
    magnitude = np.maximum(magnitude, _TINY)
    numbers = _QUARTERS * (np.frexp(magnitude)[1].astype(np.int64) - 1) + step
    for _ in range(_QUARTERS // step):
        numbers += step * (np.rint(_mantissas(magnitude, numbers, bits)) >= 1 << (bits - 1))
    return numbers


def _exact(weights, numbers, point, bits, step):
    """Numbers of scales: a row's own, or the next larger one by which all its mantissas are whole, if there is one.

    A scale of 1.25 times a power of two holds a weight of 1, and is finer than 2, but only by 2 there is nothing to
    round: of rows of few different weights, which were quantised before, or of a matrix that only selects.
    """
    found, open_rows = numbers.copy(), np.ones(numbers.shape, dtype=bool)
    for more in range(0, _QUARTERS, step):
        values = _mantissas(weights, numbers + more, bits)
        in_range = (numbers + more) // _QUARTERS <= point
        exact = open_rows & in_range & (values == np.rint(values)).all(axis=(3, 4))
        found, open_rows = np.where(exact, numbers + more, found), open_rows & ~exact
    return found


def quantise_matrix(weights, point, bits, name, *, width=WEIGHT_BITS, fine=False, low_bits=0, moments=None):
    """Quantise a dealt-out matrix.

    Parameters
    ----------
    weights : float array (slots, cores, block, blocks, columns)
    point : int array (slots, cores, block)
        Row shift of a row with exponent 0; shifts are ``point - exponent``.
    bits : int
        Of a mantissa.
    name : str
        For messages.
    width : int
        Bits that mantissas are widened to.
    fine : bool
        Rows have factors beside their powers of two.
    low_bits : int
        Of these bits, those of a lower half: the upper half, rounded, has the others.
    moments : float array (blocks * columns, blocks * columns), optional
        Mean products of the inputs, by which fewer than 16 bits are rounded (:mod:`.feedback`). A row whose largest
        weights are better cut off than all others coarser gets a smaller scale then.

    Raises
    ------
    FitError
        If a weight is too large for any shift.
    """
    step, least = 1 if fine else _QUARTERS, _QUARTERS * (point.astype(np.int64) - SHIFT_MAX)
    largest = np.abs(weights).max(axis=(3, 4))
    # A row too small for the largest shift keeps fewer bits: they would be shifted out anyway.
    numbers = np.maximum(np.where(largest > 0, _holding(largest, bits - low_bits, step), least), least)
    numbers = _exact(weights, numbers, point, bits, step)
    if (point - numbers // _QUARTERS).min() < 0:
        raise FitError(f"{name}: a weight of magnitude {largest.max():.3g} is beyond the accumulators' range")
    if moments is None or bits >= WEIGHT_BITS:
        mantissas = np.rint(_mantissas(weights, numbers, bits))
        # Above, the upper half would be one too large.
        top = (1 << (bits - 1)) - 1 - (1 << low_bits >> 1)
        mantissas = np.clip(mantissas, -top, top)
    else:
        mantissas, numbers = _fed_back(weights, numbers, least, step, bits, moments)
    shifts, factors = point - numbers // _QUARTERS, numbers % _QUARTERS
    stored = (shifts + (factors << SHIFT_BITS)).astype(np.uint8)
    return QuantisedMatrix(mantissas.astype(np.int32) << (width - bits), stored, _scales(numbers))


def _fed_back(weights, numbers, least, step, bits, moments):
    """Mantissas, and numbers of scales, of least error: those that hold a row's largest weight, or smaller ones."""
    flat = weights.reshape(-1, len(moments))

    def rounded(less):
        """Mantissas, numbers of scales and errors of rows whose scales are so many steps smaller."""
        tried = np.maximum(numbers - less * step, least).reshape(-1)
        values = _mantissas(flat, tried, bits)
        mantissas = fed_back(values, moments, (1 << (bits - 1)) - 1)
        return mantissas, tried, row_errors(mantissas - values, moments) * _scales(tried) ** 2

    mantissas, used, errors = rounded(0)
    for less in range(1, _SMALLER + 1):
        others, tried, new_errors = rounded(less)
        better = new_errors < errors
        mantissas = np.where(better[:, None], others, mantissas)
        used, errors = np.where(better, tried, used), np.where(better, new_errors, errors)
    return mantissas.reshape(weights.shape), used.reshape(numbers.shape)


def halved_rows(rows: Sequence[str], shape: tuple[int, ...]) -> NDArray[np.int64]:
    """1 for rows whose sums are halved, those of sigmoid, and 0 for others.

    Parameters
    ----------
    rows : sequence of str
        The functions of a unit's rows (:attr:`spiccato.layers.Layer.rows`).
    shape : tuple of int
        Of the result; ends with rows, those of a unit next to each other.
    """
    halved = [int(function == "sigmoid") for function in rows]
    return np.broadcast_to(np.resize(halved, shape[-1]), shape).astype(np.int64)


def row_point(
    rows: Sequence[str], shape: tuple[int, ...], frac_bits: int, vector_from: VectorFrom, cap: int
) -> NDArray[np.int64]:
    """Row shifts of rows of exponent 0, for :func:`quantise_matrix`.

    Parameters
    ----------
    rows, shape
        As for :func:`halved_rows`.
    frac_bits : int
        Fraction bits of the sums, before they are halved.
    vector_from : VectorFrom
        What the matrix is multiplied with.
    cap : int
        Largest exponent of x.
    """
    unit = ALIGN_LEFT + WEIGHT_FRAC_BITS - frac_bits
    unit += MANTISSA_BITS - 1 - cap if vector_from is VectorFrom.X else H_FRAC_BITS
    return unit + halved_rows(rows, shape)


def row_bias(rows: Sequence[str], bias: NDArray, frac_bits: int, terms: int) -> NDArray[np.int64]:
    """Biases (slots, cores, block) to accumulator integers; ``terms`` row sums will be added to each.

    Alignment rounds each term down, half a unit on average: the bias takes that back.
    """
    return np.rint(np.ldexp(bias, frac_bits - halved_rows(rows, bias.shape))).astype(np.int64) + terms // 2


def check_row_range(layer: LoweredLayer, *, network_input: bool, name: str) -> None:
    """Refuse a layer whose weights, biases and initial h could overflow an accumulator of 26 fraction bits.

    Weights of the network's input do not count: the inputs are capped (:mod:`.scales`).
    """
    sums = np.abs(layer.bias)
    if layer.recurrent is not None:
        # An initial h may be beyond what a layer's own results are.
        h = np.ones(layer.units) if layer.initial_h is None else np.maximum(np.abs(layer.initial_h), 1)
        sums = np.abs(layer.recurrent) @ h + sums
    if not network_input:
        sums = sums + np.abs(layer.input).sum(axis=2)
    largest = sums.max()
    if largest >= 2.0**GATE_LIMIT:
        raise FitError(
            f"{name}: a row's weights and bias sum to {largest:.3g}; at most {2.0**GATE_LIMIT:.3g} "
            "fits the accumulators"
        )


def output_frac_bits(weight, bias, name):
    """Fraction bits of the output sums: as many as keep every possible output in the accumulator."""
    largest = (np.abs(weight).sum(axis=1) + np.abs(bias)).max()
    frac_bits = ACC_BITS - 1 - _HEADROOM_BITS - (np.frexp(largest)[1] if largest > 0 else 0)
    # Small weights: their shift is largest, big ones smallest.
    widest = ALIGN_LEFT + WEIGHT_FRAC_BITS + H_FRAC_BITS - int(np.frexp(np.abs(weight).max())[1]) - 1
    frac_bits = int(min(frac_bits, widest))
    # The format's largest exponent has to hold whatever the accumulator may.
    if not ACC_BITS - 1 - FLOAT_BIAS <= frac_bits <= 100:
        raise FitError(f"{name}: outputs up to {largest:.3g} are beyond the output format")
    return frac_bits

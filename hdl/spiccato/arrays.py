"""Arrays that callers give: one place that says which are taken, for weights, inputs and bit patterns alike."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import InputError, ModelError, SpiccatoError

__all__ = ["bit_array", "fixed_array", "real_array"]


def real_array(
    value: ArrayLike,
    shape: tuple[int | str, ...],
    name: str,
    *,
    empty: bool = False,
    finite: bool = True,
    error: type[SpiccatoError] = InputError,
) -> NDArray[np.float64]:
    """``value`` in float64, unless it has another shape or holds something else than real numbers.

    Parameters
    ----------
    value : array of floating-point numbers or integers, or nested sequences of them
    shape : tuple of int or str
        Sizes that it has to have; a word is any size, and is what messages call it.
    name : str
        What messages begin with: the array's name, or where it comes from and a colon.
    empty : bool
        Whether a size with a word may be 0.
    finite : bool
        Whether NaN and infinity are refused.
    error : subclass of SpiccatoError
        What is raised.

    Raises
    ------
    InputError, or ``error``
        In one line: the shape and the one expected, what it holds, or the index of the first bad value.
    """
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as reason:  # rows of different lengths; other packages' tensors
        raise error(f"{name} is not an array of real numbers: {str(reason).splitlines()[0]}") from None
    if array.dtype.kind not in "fiu":
        raise error(f"{name} holds {array.dtype}; expected real numbers")
    if np.ma.is_masked(value):
        raise error(f"{name} is masked in places; every value must be there")
    if array.ndim != len(shape) or any(
        have < (not empty) if isinstance(want, str) else have != want for have, want in zip(array.shape, shape)
    ):
        expected = f"({', '.join(map(str, shape))}{',' * (len(shape) == 1)})"
        some = ", none of them 0" * (0 in array.shape and not empty)
        raise error(f"{name} has shape {array.shape}; expected {expected}{some}")
    array = array.astype(np.float64)
    if finite and not np.isfinite(array).all():
        index = np.unravel_index(np.argmin(np.isfinite(array)), array.shape)
        where = f"{name}{' ' * name.endswith(':')}[{', '.join(map(str, index))}]"
        raise error(f"{where} is {array[index]}; every value must be finite")
    return array


def fixed_array(name: str, value: ArrayLike | None, shape: tuple[int | str, ...]) -> NDArray[np.float64]:
    """A read-only float64 copy of a model's array ``value`` as :func:`real_array` takes it.

    None is zeros, if all sizes of ``shape`` are given.

    Raises
    ------
    ModelError
        As :func:`real_array` tells.
    """
    sizes = [size for size in shape if isinstance(size, int)]
    given: Any = np.zeros(sizes) if value is None and len(sizes) == len(shape) else value
    array = real_array(given, shape, name, error=ModelError).copy(order="C")
    array.flags.writeable = False
    return array


def bit_array(value: ArrayLike, count: int, bits: int, name: str) -> NDArray[np.int64]:
    """Bit patterns (``count``,) of ``bits`` bits, as unsigned integers in int64; InputError for anything else."""
    array = np.asarray(value)
    if array.dtype.kind not in "iu":
        raise InputError(f"{name} holds {array.dtype}; expected bit patterns, which are integers")
    if array.shape != (count,):
        raise InputError(f"{name} has shape {array.shape}; expected ({count},)")
    if array.size and not 0 <= int(array.min()) <= int(array.max()) < 1 << bits:
        raise InputError(f"{name} has values outside 0..{(1 << bits) - 1}, the bit patterns of {bits} bits")
    return array.astype(np.int64)

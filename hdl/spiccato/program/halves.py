"""From h and c as they are read back to the state that they lead to."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ProgramError
from ..numbers import C_BITS, SHIFT_MAX, VECTOR_BITS
from ..rtl.accumulator import RowAccumulator
from ..rtl.alignment import Alignment
from .model import Model
from .state import State
from .tiles import row_scales, tiles

__all__ = ["recurrent_sums", "state_of"]


def state_of(model: Model, h: Sequence[ArrayLike], c: Sequence[ArrayLike]) -> State:
    """The state that an inference of ``model`` leaves whose results are ``h`` and whose cell states are ``c``.

    Parameters
    ----------
    h, c : sequences of integer arrays (units,), one for each layer but the linear one
        As read back: 17 fraction bits, 18 and 27 bits wide. Of layers without a cell state c is empty.

    Raises
    ------
    ProgramError
        If there are not as many layers or units as the model has, or a value is out of range.
    """
    h_arrays, c_arrays = (
        _state_arrays(model, name, values, sizes, bits)
        for name, values, sizes, bits in (
            ("h", h, [layer.units for layer in model.layers], VECTOR_BITS),
            ("c", c, [layer.cells for layer in model.layers], C_BITS),
        )
    )
    kept_h = model.dealt(h_arrays) if model.config.keep_h else None
    return State(model.digest, recurrent_sums(model, h_arrays), model.dealt(c_arrays), kept_h)


def _state_arrays(model, name, values, sizes, bits):
    values = [np.asarray(value) for value in values]
    shapes, wanted = [value.shape for value in values], [(size,) for size in sizes]
    if shapes != wanted:
        raise ProgramError(f"state of model {model.name!r}: {name} has shapes {shapes}, the layers have {wanted}")
    for number, value in enumerate(values):
        if value.dtype.kind not in "iu" or (value >> (bits - 1) != value >> 63).any():
            raise ProgramError(
                f"state of model {model.name!r}: {name} of layer {number} has to hold integers of "
                f"{bits} bits, as they are read back"
            )
    return [value.astype(np.int64) for value in values]


def recurrent_sums(model: Model, h: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Sums (state slots, cores, block) of biases and W_hh h, as an inference leaves them for the next one.

    Of h wider than the hardware's own, too, as long as the sums are within the accumulators' range.
    """
    config, fields = model.config, model.decode()
    vectors = np.zeros((config.vector_blocks, config.columns), dtype=np.int64)
    for layer, values in zip(model.layers, h):
        vectors.reshape(-1)[config.columns * layer.first_block :][: layer.units] = values
    exponents = np.zeros(config.vector_blocks, dtype=np.int64)
    if config.narrow:
        vectors, exponents = Alignment.compute(vectors, Alignment.positions(vectors))
    sums = np.zeros((model.state_slots, config.cores, config.block), dtype=np.int64)
    for layer in model.layers:
        if layer.recurrent:
            sums[layer.all_slots] = model.biases[layer.all_slots]
    for word in np.flatnonzero((fields["valid"] == 1) & (fields["recurrent"] == 1)):
        (tile,) = tiles(model, fields, np.array([word]))
        slot, block = fields["slot"][word], fields["vector"][word]
        shifts, factors = row_scales(config, model.shifts[1, slot])
        products = factors * (tile.astype(np.int64) @ vectors[block])
        shifts = np.minimum(shifts + exponents[block], SHIFT_MAX)
        sums[slot] += RowAccumulator.align(products, shifts, config.align_left)
    return sums

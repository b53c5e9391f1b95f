"""What issue words name, as the rows get it: tiles of weights, and the scales of rows."""

import numpy as np
from numpy.typing import NDArray

from ..config import Config
from ..numbers import FACTOR_BITS, SHIFT_BITS, SHIFT_MAX
from ..rtl.row import DotProductRow
from .model import Model

__all__ = ["row_scales", "tiles"]


def tiles(model: Model, fields: dict[str, NDArray[np.int64]], words: NDArray[np.int64]) -> NDArray[np.int16]:
    """Mantissas (n, cores, block, columns) of issue words number ``words`` (n,), decoded to ``fields``."""
    stored = model.weights[:, fields["weight"][words]].swapaxes(0, 1)
    if model.config.narrow:
        return stored
    int8, high = (fields[name][words][:, None, None, None] == 1 for name in ("int8", "high"))
    return DotProductRow.widen(stored, int8, high)


def row_scales(config: Config, stored: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of rows' scales as they are stored, any shape: the shifts, and what sums are multiplied with before."""
    values = stored.astype(np.int64)
    if not config.narrow:
        return values, np.ones_like(values)
    return values & SHIFT_MAX, (1 << FACTOR_BITS) + (values >> SHIFT_BITS)

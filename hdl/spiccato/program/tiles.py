"""The tiles of weights that issue words name, as the rows get them."""

import numpy as np
from numpy.typing import NDArray

from ..rtl.row import DotProductRow
from .model import Model

__all__ = ["tiles"]


def tiles(model: Model, fields: dict[str, NDArray[np.int64]], words: NDArray[np.int64]) -> NDArray[np.int16]:
    """Mantissas (n, cores, block, columns) of issue words number ``words`` (n,), decoded to ``fields``."""
    stored = model.weights[:, fields["weight"][words]].swapaxes(0, 1)
    if model.config.narrow:
        return stored
    int8, high = (fields[name][words][:, None, None, None] == 1 for name in ("int8", "high"))
    return DotProductRow.widen(stored, int8, high)

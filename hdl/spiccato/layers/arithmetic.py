"""What layers compute with in float64, and where other arithmetic may round."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["EXACT", "Array", "Rounding", "sigmoid"]

Array = NDArray[np.float64]


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)) of any shape, without overflow for any x."""
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, e) / (1 + e)


class Rounding:
    """Called by a layer's ``step`` with what a machine of its own number formats would round; this one does not."""

    def activation(self, values: Array) -> Array:
        """Results of an activation function within a layer."""
        return values

    def cell(self, values: Array) -> Array:
        """The cell state c."""
        return values

    def vector(self, values: Array) -> Array:
        """The layer's results, if the next layer or the next timestep reads them as a vector."""
        return values


EXACT = Rounding()

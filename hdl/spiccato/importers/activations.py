"""Activation functions as frameworks have them, in terms of those that layers have.

What differs by constants only (SELU, a clip between any limits) is an activation between constants, which become part
of the layers around it.
"""

import math
from typing import NamedTuple

import numpy as np

from ..errors import ModelError
from ..layers import ACTIVATIONS, DenseLayer, Layer, LinearLayer

__all__ = ["Function", "clip", "function_named"]

#: Of the SELU function, as its authors give them.
_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805
#: Names without underscores and in lower case -> names of layers' activations.
_NAMES = {name.replace("_", ""): name for name in ACTIVATIONS} | {
    "linear": "identity",
    "hardtanh": "hard_tanh",
    "swish": "silu",
}


class Function(NamedTuple):
    """outer * f(inner * (x + inner_offset)) + outer_offset.

    Attributes
    ----------
    name : str
        f, in :data:`spiccato.layers.ACTIVATIONS`.
    alpha : float or None
        Its parameter; None: its own.
    """

    name: str
    alpha: float | None = None
    inner: float = 1.0
    inner_offset: float = 0.0
    outer: float = 1.0
    outer_offset: float = 0.0

    def behind(self, layer: Layer) -> list[Layer]:
        """``layer``, and then this function, as layers."""
        if self.name == "identity":
            return [layer]
        kept: list[Layer] = [] if isinstance(layer, LinearLayer) else [layer]
        sums = layer if isinstance(layer, LinearLayer) else LinearLayer.identity(layer.output_size)
        scaled = self.inner * sums.weight, self.inner * (sums.bias + self.inner_offset)
        layers = [*kept, DenseLayer(*scaled, self.name, self.alpha)]
        if (self.outer, self.outer_offset) != (1.0, 0.0):
            size = layer.output_size
            layers.append(LinearLayer(self.outer * np.eye(size), np.full(size, self.outer_offset)))
        return layers


def clip(low: float | None, high: float | None) -> Function:
    """Values between two limits, each of which may be None or infinite.

    Raises
    ------
    ModelError
        The limits are not finite numbers in order.
    """
    low = None if low is None or low == -math.inf else float(low)
    high = None if high is None or high == math.inf else float(high)
    if any(limit is not None and not math.isfinite(limit) for limit in (low, high)):
        raise ModelError(f"limits {low} and {high} are not supported; supported: finite ones")
    if low is None or high is None:
        if low is not None:
            return Function("relu", inner_offset=-low, outer_offset=low)
        return Function("identity") if high is None else Function("relu", None, -1.0, -high, -1.0, high)
    if low >= high:
        raise ModelError(f"limits {low:g} and {high:g} are not supported; supported: the lower one first")
    if (low, high) == (0.0, 6.0):
        return Function("relu6")
    half, middle = (high - low) / 2, (high + low) / 2
    return Function("hard_tanh", None, 1 / half, -middle, half, middle)


def function_named(name: str, alpha: float | None = None, beta: float | None = None) -> Function | None:
    """The function of a framework's name and parameters; None if there is none like it.

    Parameters
    ----------
    name : str
        In any case, with underscores or without.
    alpha : float, optional
        Of leaky_relu, elu, selu, celu and hard_sigmoid.
    beta : float, optional
        Of selu, the factor; of hard_sigmoid, the offset.

    Raises
    ------
    ModelError
        The parameters are none that the activation may have.
    """
    key = name.replace("_", "").lower()
    if key == "selu":
        return Function("elu", _SELU_ALPHA if alpha is None else alpha, outer=_SELU_SCALE if beta is None else beta)
    if key == "celu":
        scale = 1.0 if alpha is None else alpha
        if not scale > 0:
            raise ModelError(f"alpha={scale:g} is not supported; supported: positive numbers")
        return Function("elu", None, inner=1 / scale, outer=scale)
    if key not in _NAMES:
        return None
    if key == "hardsigmoid" and beta is not None:
        return Function(_NAMES[key], alpha, inner_offset=(beta - 0.5) / alpha if alpha else 0.0)
    return Function(_NAMES[key], alpha)

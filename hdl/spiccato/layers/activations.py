"""Activation functions of dense layers, by name."""

from collections.abc import Callable
from dataclasses import dataclass
from math import erf, inf

import numpy as np

from ..errors import ModelError
from .arithmetic import Array, sigmoid

__all__ = ["ACTIVATIONS", "Activation", "activation_named"]


@dataclass(frozen=True)
class Activation:
    """A function of one real number.

    Attributes
    ----------
    name : str
        As in :data:`ACTIVATIONS`.
    function : callable
        (x, alpha) to results, of any shape, in float64.
    alpha : float or None
        Its parameter unless told otherwise; None: it has none.
    low, high : float
        Between which its results are, whatever alpha; infinite where they are not bounded.
    homogeneous : bool
        f(a x) = a f(x) for all positive a.
    """

    name: str
    function: Callable[[Array, float], Array]
    alpha: float | None = None
    low: float = -inf
    high: float = inf
    homogeneous: bool = False

    @property
    def bounded(self) -> bool:
        """Results are finite whatever the argument."""
        return self.low > -inf and self.high < inf

    def __call__(self, x: Array, alpha: float | None = None) -> Array:
        """Results for ``x`` of any shape."""
        used = self.alpha if alpha is None else alpha
        return self.function(x, 0.0 if used is None else used)


def _gelu(x: Array, _alpha: float) -> Array:
    return x * (1 + np.vectorize(erf, otypes=[np.float64])(x / np.sqrt(2))) / 2


#: Activation functions by name. hard_sigmoid is ``clip(alpha x + 1/2, 0, 1)``; gelu is the exact one, with erf.
ACTIVATIONS: dict[str, Activation] = {
    one.name: one
    for one in (
        Activation("identity", lambda x, _: x, homogeneous=True),
        Activation("relu", lambda x, _: np.maximum(x, 0), homogeneous=True),
        Activation("leaky_relu", lambda x, slope: np.where(x > 0, x, slope * x), 0.01, homogeneous=True),
        Activation("relu6", lambda x, _: np.clip(x, 0, 6), low=0, high=6),
        Activation("elu", lambda x, alpha: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0))), 1.0),
        Activation("sigmoid", lambda x, _: sigmoid(x), low=0, high=1),
        Activation("tanh", lambda x, _: np.tanh(x), low=-1, high=1),
        Activation("hard_sigmoid", lambda x, slope: np.clip(slope * x + 0.5, 0, 1), 1 / 6, low=0, high=1),
        Activation("hard_tanh", lambda x, _: np.clip(x, -1, 1), low=-1, high=1),
        Activation("gelu", _gelu),
        Activation("silu", lambda x, _: x * sigmoid(x)),
    )
}


def activation_named(name: str) -> Activation:
    """The activation of a name.

    Raises
    ------
    ModelError
        If there is none.
    """
    if name not in ACTIVATIONS:
        raise ModelError(f"there is no activation {name!r}; known: {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]

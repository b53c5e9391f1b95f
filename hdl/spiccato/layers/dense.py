"""The dense layer: a linear layer and an activation function."""

import math
from dataclasses import dataclass
from typing import ClassVar, Self

from ..arrays import fixed_array
from ..errors import ModelError
from .activations import Activation, activation_named
from .arithmetic import EXACT, Array, Rounding
from .layer import Layer, LoweredLayer, Step, register, set_fields
from .linear import LinearLayer

__all__ = ["DenseLayer"]


@register
@dataclass(frozen=True, eq=False)
class DenseLayer(Layer):
    """One dense layer, y = f(weight @ x + bias), with I inputs and O outputs.

    Parameters
    ----------
    weight : (O, I)
        Kept, like the bias, as a read-only float64 copy.
    bias : (O,)
        None counts as zeros.
    activation : str
        f: a name in :data:`spiccato.layers.ACTIVATIONS`.
    alpha : float or None
        f's parameter, if it has one: the slope of ``leaky_relu`` below zero and of ``hard_sigmoid``, the factor of
        ``elu`` below zero. None: what is usual.

    Raises
    ------
    ModelError
        A shape that does not fit, a value that is not finite, an unknown activation, or a parameter that it has not.
    """

    weight: Array
    bias: Array = None  # type: ignore[assignment]  # an array once constructed
    activation: str = "identity"
    alpha: float | None = None

    kind: ClassVar[str] = "dense"
    title: ClassVar[str] = "dense layer"
    module: ClassVar[str] = "dense"
    rows: ClassVar[tuple[str, ...]] = ("linear",)
    epilogue: ClassVar[str | None] = "dense"

    def __post_init__(self) -> None:
        weight = fixed_array("weight", self.weight, ("outputs", "inputs"))
        function = activation_named(self.activation)
        if self.alpha is not None and function.alpha is None:
            raise ModelError(f"alpha is {self.alpha!r}; activation {self.activation!r} has no parameter")
        alpha = function.alpha if self.alpha is None else self.alpha
        if alpha is not None and not (isinstance(alpha, (int, float)) and math.isfinite(alpha) and alpha >= 0):
            raise ModelError(f"alpha of activation {self.activation!r} is {alpha!r}; it must be a number from 0 on")
        set_fields(
            self,
            weight=weight,
            bias=fixed_array("bias", self.bias, (weight.shape[0],)),
            alpha=None if alpha is None else float(alpha),
        )

    @property
    def function(self) -> Activation:
        """f."""
        return activation_named(self.activation)

    @property
    def input_size(self) -> int:
        """I, the number of inputs."""
        return self.weight.shape[1]

    @property
    def output_size(self) -> int:
        """O, the number of outputs."""
        return self.weight.shape[0]

    @property
    def matrices(self) -> dict[str, Array]:
        return {"W": self.weight}

    @property
    def linear(self) -> LinearLayer | None:
        return LinearLayer(self.weight, self.bias) if self.activation == "identity" else None

    def after(self, first: LinearLayer) -> Self:
        weight = self.weight @ first.weight
        return type(self)(weight, self.weight @ first.bias + self.bias, self.activation, self.alpha)

    def tensors(self, number: int) -> dict[str, Array]:
        return self.arrays()

    def step(self, x: Array, h: Array, c: Array, rounding: Rounding = EXACT) -> Step:
        y = rounding.vector(self.function(self.weight @ x + self.bias, self.alpha))
        return Step(y[None], y, c)

    def lowered(self) -> LoweredLayer:
        return LoweredLayer(
            DenseLayer, self.weight[:, None], None, self.bias[:, None], activation=(self.activation, self.alpha)
        )

    @classmethod
    def from_lowered(cls, lowered: LoweredLayer) -> Self:
        return cls(lowered.input[:, 0], lowered.bias[:, 0], *(lowered.activation or ()))

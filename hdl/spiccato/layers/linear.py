"""The linear layer. Its sums are the network's outputs, or it is multiplied out with what follows."""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from ..arrays import fixed_array
from .arithmetic import EXACT, Array, Rounding
from .layer import Layer, LoweredLayer, Step, register, set_fields

__all__ = ["LinearLayer"]


@register
@dataclass(frozen=True, eq=False)
class LinearLayer(Layer):
    """One linear layer, y = weight @ x + bias, with I inputs and O outputs.

    Parameters
    ----------
    weight : (O, I)
        Kept, like the bias, as a read-only float64 copy.
    bias : (O,)
        None counts as zeros.

    Raises
    ------
    ModelError
        A shape that does not fit, or a value that is not finite.
    """

    weight: Array
    bias: Array = None  # type: ignore[assignment]  # an array once constructed

    kind: ClassVar[str] = "linear"
    title: ClassVar[str] = "linear layer"
    module: ClassVar[str] = "fc"
    rows: ClassVar[tuple[str, ...]] = ("linear",)
    epilogue: ClassVar[str | None] = None

    def __post_init__(self) -> None:
        weight = fixed_array("weight", self.weight, ("outputs", "inputs"))
        set_fields(self, weight=weight, bias=fixed_array("bias", self.bias, (weight.shape[0],)))

    @classmethod
    def identity(cls, size: int) -> Self:
        """The layer that changes nothing."""
        return cls(np.eye(size))

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
    def linear(self) -> "LinearLayer":
        return self

    def after(self, first: "LinearLayer") -> Self:
        return type(self)(self.weight @ first.weight, self.weight @ first.bias + self.bias)

    def tensors(self, number: int) -> dict[str, Array]:
        return self.arrays()

    def step(self, x: Array, h: Array, c: Array, rounding: Rounding = EXACT) -> Step:
        y = self.weight @ x + self.bias
        return Step(y[None], y, c)

    def lowered(self) -> LoweredLayer:
        return LoweredLayer(LinearLayer, self.weight[:, None], None, self.bias[:, None])

    @classmethod
    def from_lowered(cls, lowered: LoweredLayer) -> Self:
        return cls(lowered.input[:, 0], lowered.bias[:, 0])

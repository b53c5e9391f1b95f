"""The LSTM layer."""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from ..arrays import fixed_array
from ..errors import ModelError
from .arithmetic import EXACT, Array, Rounding, sigmoid
from .layer import Layer, LoweredLayer, Step, register, set_fields
from .linear import LinearLayer

__all__ = ["LSTMLayer"]


@register
@dataclass(frozen=True, eq=False)
class LSTMLayer(Layer):
    """One LSTM layer with H units and I inputs, in PyTorch's layout.

    With s the sigmoid function::

        i = s(W_ii x + b_ii + W_hi h + b_hi)        f = s(W_if x + b_if + W_hf h + b_hf)
        g = tanh(W_ig x + b_ig + W_hg h + b_hg)     o = s(W_io x + b_io + W_ho h + b_ho)
        c' = f c + i g                              h' = o tanh(c')

    The 4H rows of weights and biases are the gates i, f, g, o (input, forget, cell, output), H rows each.
    The arrays are kept as read-only float64 copies.

    Parameters
    ----------
    weight_ih : (4H, I)
        Applied to the layer's input x(t).
    weight_hh : (4H, H)
        Applied to the layer's previous output h(t-1).
    bias_ih, bias_hh : (4H,)
        Both added; None counts as zeros.
    h0, c0 : (H,)
        h and c that a sequence starts from; None counts as zeros, and stays None.

    Raises
    ------
    ModelError
        A shape that does not fit, or a value that is not finite.
    """

    weight_ih: Array
    weight_hh: Array
    bias_ih: Array = None  # type: ignore[assignment]  # an array once constructed
    bias_hh: Array = None  # type: ignore[assignment]
    h0: Array | None = None
    c0: Array | None = None

    kind: ClassVar[str] = "lstm"
    title: ClassVar[str] = "LSTM layer"
    module: ClassVar[str] = "lstm"
    rows: ClassVar[tuple[str, ...]] = ("sigmoid", "sigmoid", "tanh", "sigmoid")
    epilogue: ClassVar[str | None] = "lstm"
    recurrent: ClassVar[bool] = True
    has_state: ClassVar[bool] = True

    def __post_init__(self) -> None:
        weight_hh = fixed_array("weight_hh", self.weight_hh, ("4 x hidden", "hidden"))
        hidden = weight_hh.shape[1]
        if weight_hh.shape[0] != 4 * hidden:
            hints = {1: " (1 gate would be an RNN, which is not supported)", 3: " (3 gates would be a GRU)"}
            hint = hints.get(weight_hh.shape[0] / hidden, "")
            raise ModelError(f"weight_hh has shape {weight_hh.shape}; expected ({4 * hidden}, {hidden}): 4 gates{hint}")
        set_fields(
            self,
            weight_ih=fixed_array("weight_ih", self.weight_ih, (4 * hidden, "inputs")),
            weight_hh=weight_hh,
            bias_ih=fixed_array("bias_ih", self.bias_ih, (4 * hidden,)),
            bias_hh=fixed_array("bias_hh", self.bias_hh, (4 * hidden,)),
            **{
                name: fixed_array(name, array, (hidden,))
                for name, array in (("h0", self.h0), ("c0", self.c0))
                if array is not None
            },
        )

    @property
    def input_size(self) -> int:
        """I, the number of inputs."""
        return self.weight_ih.shape[1]

    @property
    def hidden_size(self) -> int:
        """H, the number of units and of outputs."""
        return self.weight_hh.shape[1]

    @property
    def output_size(self) -> int:
        """The same as ``hidden_size``."""
        return self.hidden_size

    @property
    def initial_state(self) -> tuple[Array, Array]:
        h, c = (np.zeros(self.hidden_size) if array is None else array for array in (self.h0, self.c0))
        return h, c

    @property
    def matrices(self) -> dict[str, Array]:
        return {"W_ih": self.weight_ih, "W_hh": self.weight_hh}

    def after(self, first: LinearLayer) -> Self:
        bias = self.bias_ih + self.weight_ih @ first.bias
        return type(self)(self.weight_ih @ first.weight, self.weight_hh, bias, self.bias_hh, self.h0, self.c0)

    def joins(self, before: Layer) -> bool:
        return isinstance(before, LSTMLayer) and before.hidden_size == self.hidden_size

    def tensors(self, number: int) -> dict[str, Array]:
        return {f"{name}_l{number}": array for name, array in self.arrays().items()}

    def step(self, x: Array, h: Array, c: Array, rounding: Rounding = EXACT) -> Step:
        sums = self.weight_ih @ x + self.bias_ih + self.weight_hh @ h + self.bias_hh
        i, f, g, o = np.split(sums, 4)
        rows = rounding.activation(np.array([sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)]))
        i, f, g, o = rows
        c = rounding.cell(f * c + i * g)
        return Step(rows, rounding.vector(o * np.tanh(c)), c)

    def lowered(self) -> LoweredLayer:
        return LoweredLayer(
            LSTMLayer,
            _unit_rows(self.weight_ih),
            _unit_rows(self.weight_hh),
            _unit_rows(self.bias_ih + self.bias_hh),
            self.h0,
            self.c0,
        )

    @classmethod
    def from_lowered(cls, lowered: LoweredLayer) -> Self:
        assert lowered.recurrent is not None
        return cls(
            _gate_rows(lowered.input),
            _gate_rows(lowered.recurrent),
            _gate_rows(lowered.bias),
            h0=lowered.initial_h,
            c0=lowered.initial_c,
        )


def _unit_rows(array: Array) -> Array:
    """PyTorch's (4H, ...) as (H, 4, ...): the gates of a unit next to each other."""
    return array.reshape(4, -1, *array.shape[1:]).swapaxes(0, 1)


def _gate_rows(array: Array) -> Array:
    """The inverse of :func:`_unit_rows`."""
    return array.swapaxes(0, 1).reshape(-1, *array.shape[2:])

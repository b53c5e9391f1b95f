"""The GRU layer."""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from ..arrays import fixed_array
from ..errors import ModelError
from .arithmetic import EXACT, Array, Rounding, sigmoid
from .layer import Layer, LoweredLayer, Step, register, set_fields
from .linear import LinearLayer

__all__ = ["GRULayer"]

_GATES = 3


@register
@dataclass(frozen=True, eq=False)
class GRULayer(Layer):
    """One GRU layer with H units and I inputs, in PyTorch's form and layout.

    With s the sigmoid function::

        r = s(W_ir x + b_ir + W_hr h + b_hr)        z = s(W_iz x + b_iz + W_hz h + b_hz)
        n = tanh(W_in x + b_in + r (W_hn h + b_hn))
        h' = (1 - z) n + z h

    The reset gate r acts behind the recurrent product (``linear_before_reset=1`` of ONNX, ``reset_after=True`` of
    Keras). The other form, ``W_hn (r h)``, is none that the accelerator computes: its recurrent product would wait for
    r, which waits for the input.

    The 3H rows of weights and biases are the gates r, z, n (reset, update, new), H rows each. The arrays are kept as
    read-only float64 copies. What c is of other layers is h of the previous step here.

    Parameters
    ----------
    weight_ih : (3H, I)
        Applied to the layer's input x(t).
    weight_hh : (3H, H)
        Applied to the layer's previous output h(t-1).
    bias_ih, bias_hh : (3H,)
        None counts as zeros.
    h0 : (H,)
        h that a sequence starts from; None counts as zeros, and stays None.

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

    kind: ClassVar[str] = "gru"
    title: ClassVar[str] = "GRU layer"
    module: ClassVar[str] = "gru"
    #: Of z, r, the input's part of n, and the recurrent part of n: in the places of an LSTM's i, f, g and o.
    rows: ClassVar[tuple[str, ...]] = ("sigmoid", "sigmoid", "tanh", "linear")
    epilogue: ClassVar[str | None] = "gru"
    recurrent: ClassVar[bool] = True
    has_state: ClassVar[bool] = True
    state_is_h: ClassVar[bool] = True

    def __post_init__(self) -> None:
        weight_hh = fixed_array("weight_hh", self.weight_hh, ("3 x hidden", "hidden"))
        hidden = weight_hh.shape[1]
        if weight_hh.shape[0] != _GATES * hidden:
            hints = {1: " (1 gate would be an RNN, which is not supported)", 4: " (4 gates would be an LSTM)"}
            hint = hints.get(weight_hh.shape[0] / hidden, "")
            raise ModelError(
                f"weight_hh has shape {weight_hh.shape}; expected ({_GATES * hidden}, {hidden}): 3 gates{hint}"
            )
        set_fields(
            self,
            weight_ih=fixed_array("weight_ih", self.weight_ih, (_GATES * hidden, "inputs")),
            weight_hh=weight_hh,
            bias_ih=fixed_array("bias_ih", self.bias_ih, (_GATES * hidden,)),
            bias_hh=fixed_array("bias_hh", self.bias_hh, (_GATES * hidden,)),
            **({} if self.h0 is None else {"h0": fixed_array("h0", self.h0, (hidden,))}),
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
        h = np.zeros(self.hidden_size) if self.h0 is None else self.h0
        return h, h

    @property
    def matrices(self) -> dict[str, Array]:
        return {"W_ih": self.weight_ih, "W_hh": self.weight_hh}

    def after(self, first: LinearLayer) -> Self:
        bias = self.bias_ih + self.weight_ih @ first.bias
        return type(self)(self.weight_ih @ first.weight, self.weight_hh, bias, self.bias_hh, self.h0)

    def joins(self, before: Layer) -> bool:
        return isinstance(before, GRULayer) and before.hidden_size == self.hidden_size

    def tensors(self, number: int) -> dict[str, Array]:
        return {f"{name}_l{number}": array for name, array in self.arrays().items()}

    def step(self, x: Array, h: Array, c: Array, rounding: Rounding = EXACT) -> Step:
        from_x = np.split(self.weight_ih @ x + self.bias_ih, _GATES)
        from_h = np.split(self.weight_hh @ h + self.bias_hh, _GATES)
        r, z = rounding.activation(sigmoid(np.array([from_x[0] + from_h[0], from_x[1] + from_h[1]])))
        n = rounding.activation(np.tanh(from_x[2] + r * from_h[2]))
        c = rounding.cell((1 - z) * n + z * c)
        return Step(np.array([z, r, n, from_h[2]]), rounding.vector(c), c)

    def lowered(self) -> LoweredLayer:
        bias = _gates(self.bias_ih + self.bias_hh)
        parts_of_n = [_gates(one)[_N] for one in (self.bias_ih, self.bias_hh)]
        return LoweredLayer(
            GRULayer,
            _unit_rows(self.weight_ih, recurrent=False),
            _unit_rows(self.weight_hh, recurrent=True),
            np.stack([bias[_Z], bias[_R], *parts_of_n], axis=1),
            initial_h=self.h0,
            initial_c=self.h0,
        )

    @classmethod
    def from_lowered(cls, lowered: LoweredLayer) -> Self:
        assert lowered.recurrent is not None
        z, r, n_input, n_recurrent = lowered.bias.T
        # r and z have one bias.
        nothing = np.zeros_like(r)
        return cls(
            np.concatenate([lowered.input[:, k] for k in (1, 0, 2)]),
            np.concatenate([lowered.recurrent[:, k] for k in (1, 0, 3)]),
            np.concatenate([r, z, n_input]),
            np.concatenate([nothing, nothing, n_recurrent]),
            h0=lowered.initial_h,
        )


#: PyTorch's order of the gates.
_R, _Z, _N = range(_GATES)


def _gates(array: Array) -> Array:
    """PyTorch's (3H, ...) as (3, H, ...)."""
    return array.reshape(_GATES, -1, *array.shape[1:])


def _unit_rows(array: Array, *, recurrent: bool) -> Array:
    """PyTorch's (3H, ...) as (H, 4, ...): rows z, r and n twice, its part of the input and the recurrent one."""
    gates = _gates(array)
    nothing = np.zeros_like(gates[_N])
    parts_of_n = [nothing, gates[_N]] if recurrent else [gates[_N], nothing]
    return np.stack([gates[_Z], gates[_R], *parts_of_n], axis=1)

"""Trained networks: a stack of LSTM layers followed by linear layers.

Everything is checked here, once, on the way in. A `Network` that exists is complete, finite and its
shapes chain, so that nothing behind it (compiler, models, benches) checks again.
"""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .arrays import real_array
from .errors import SpiccatoError

__all__ = ["LSTMLayer", "LinearLayer", "ModelError", "Network"]

Array = NDArray[np.float64]


class ModelError(SpiccatoError):
    """A model that cannot be used. The message is one line: what is wrong, where, what would be right."""


def _array(name: str, value: ArrayLike, shape: tuple[int | str, ...]) -> Array:
    """A read-only float64 copy of `value` that is finite and has `shape` (a word: any size from 1 on).

    Raises
    ------
    ModelError
        As :func:`spiccato.arrays.real_array`.
    """
    array = np.array(real_array(value, shape, name, error=ModelError), order="C")
    array.flags.writeable = False
    return array


def _bias(name: str, value: ArrayLike | None, size: int) -> Array:
    """`value` as in `_array`; zeros for None."""
    return _array(name, np.zeros(size) if value is None else value, (size,))


@dataclass(frozen=True, eq=False)
class LSTMLayer:
    """One LSTM layer with H units and I inputs, in PyTorch's layout.

    The 4H rows of weights and biases are the gates i, f, g, o (input, forget, cell, output), H rows each.
    The arrays are kept as read-only float64 copies.

    Parameters
    ----------
    weight_ih
        (4H, I), applied to the layer's input x(t).
    weight_hh
        (4H, H), applied to the layer's previous output h(t-1).
    bias_ih, bias_hh
        (4H,), both added; None counts as zeros.

    Raises
    ------
    ModelError
        A shape that does not fit, or a value that is not finite.
    """

    weight_ih: Array
    weight_hh: Array
    bias_ih: Array = None  # type: ignore[assignment]  # an array once constructed
    bias_hh: Array = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        weight_hh = _array("weight_hh", self.weight_hh, ("4 x hidden", "hidden"))
        hidden = weight_hh.shape[1]
        if weight_hh.shape[0] != 4 * hidden:
            cell = {1: "1 gate would be an RNN", 3: "3 gates would be a GRU"}.get(weight_hh.shape[0] / hidden)
            hint = f" ({cell}, which is not supported)" if cell else ""
            raise ModelError(f"weight_hh has shape {weight_hh.shape}; expected ({4 * hidden}, {hidden}): 4 gates{hint}")
        _set(
            self,
            weight_ih=_array("weight_ih", self.weight_ih, (4 * hidden, "inputs")),
            weight_hh=weight_hh,
            bias_ih=_bias("bias_ih", self.bias_ih, 4 * hidden),
            bias_hh=_bias("bias_hh", self.bias_hh, 4 * hidden),
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
        """The same as `hidden_size`."""
        return self.hidden_size

    @property
    def parameters(self) -> int:
        """Number of weights and biases, both bias vectors included."""
        return self.weight_ih.size + self.weight_hh.size + self.bias_ih.size + self.bias_hh.size


@dataclass(frozen=True, eq=False)
class LinearLayer:
    """One linear layer, y = weight @ x + bias, with I inputs and O outputs.

    Parameters
    ----------
    weight
        (O, I). Kept, like the bias, as a read-only float64 copy.
    bias
        (O,); None counts as zeros.

    Raises
    ------
    ModelError
        A shape that does not fit, or a value that is not finite.
    """

    weight: Array
    bias: Array = None  # type: ignore[assignment]  # an array once constructed

    def __post_init__(self) -> None:
        weight = _array("weight", self.weight, ("outputs", "inputs"))
        _set(self, weight=weight, bias=_bias("bias", self.bias, weight.shape[0]))

    @property
    def input_size(self) -> int:
        """I, the number of inputs."""
        return self.weight.shape[1]

    @property
    def output_size(self) -> int:
        """O, the number of outputs."""
        return self.weight.shape[0]

    @property
    def parameters(self) -> int:
        """Number of weights and biases."""
        return self.weight.size + self.bias.size


def _set(instance: object, **fields: Any) -> None:
    """Assign fields of a frozen dataclass; only for use in `__post_init__`."""
    for name, value in fields.items():
        object.__setattr__(instance, name, value)


@dataclass(frozen=True, eq=False)
class Network:
    """LSTM layers, each fed by the one before, then linear layers with nothing in between.

    Parameters
    ----------
    lstm
        One layer or more.
    linear
        Any number of layers; with none the output is h of the last LSTM layer.
    name
        What reports call it.
    calibration
        (steps, input_size) typical inputs in time order, from which the input features' scales are taken; None if
        there are none.
    origin
        One line on what was stated or assumed when the network was taken from tensors that do not tell how they
        belong together; None if nothing was.

    Raises
    ------
    ModelError
        No LSTM layer, sizes that do not chain, or a bad calibration array.
    """

    lstm: tuple[LSTMLayer, ...]
    linear: tuple[LinearLayer, ...] = ()
    name: str = "network"
    calibration: Array | None = None
    origin: str | None = None

    def __post_init__(self) -> None:
        _set(self, lstm=tuple(self.lstm), linear=tuple(self.linear))
        if not self.lstm:
            raise ModelError(f"network '{self.name}' has no LSTM layer; at least one is needed")
        labels = [f"LSTM layer {k}" for k in range(len(self.lstm))]
        labels += [f"linear layer {k}" for k in range(len(self.linear))]
        for (before, source), (after, sink) in itertools.pairwise(zip(labels, self._layers)):
            if source.output_size != sink.input_size:
                raise ModelError(
                    f"{after} takes {sink.input_size} inputs; expected {source.output_size}, the outputs of {before}"
                )
        if self.calibration is not None:
            _set(self, calibration=_array("calibration", self.calibration, ("steps", self.input_size)))

    @property
    def _layers(self) -> tuple[LSTMLayer | LinearLayer, ...]:
        return *self.lstm, *self.linear

    @property
    def input_size(self) -> int:
        """Number of input features."""
        return self.lstm[0].input_size

    @property
    def output_size(self) -> int:
        """Number of outputs."""
        return self._layers[-1].output_size

    @property
    def parameters(self) -> int:
        """Number of weights and biases; both bias vectors of an LSTM layer count, as PyTorch counts."""
        return sum(layer.parameters for layer in self._layers)

    def output_map(self) -> tuple[Array, Array]:
        """The linear layers as one: (W, b) with y = W @ h + b for h of the last LSTM layer.

        Returns
        -------
        (Array, Array)
            W of shape (output_size, H) and b of shape (output_size,), multiplied out in float64; identity and zeros
            when there is no linear layer.
        """
        weight = np.eye(self.lstm[-1].hidden_size)
        bias = np.zeros(self.lstm[-1].hidden_size)
        for layer in self.linear:
            weight, bias = layer.weight @ weight, layer.weight @ bias + layer.bias
        return weight, bias

    def to_state_dict(self) -> dict[str, Array]:
        """Tensors under PyTorch's names, module after module as data passes through them.

        Successive LSTM layers of equal size are one module that nn.LSTM can load: `lstm` or, where sizes change,
        `lstm0`, `lstm1`, ... The linear layer is `fc`; several are `fc0`, `fc1`, ...
        """
        runs = [list(run) for _, run in itertools.groupby(self.lstm, lambda layer: layer.hidden_size)]
        tensors = {}
        for k, run in enumerate(runs):
            module = "lstm" if len(runs) == 1 else f"lstm{k}"
            for index, layer in enumerate(run):
                for field in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                    tensors[f"{module}.{field}_l{index}"] = getattr(layer, field)
        for k, linear in enumerate(self.linear):
            module = "fc" if len(self.linear) == 1 else f"fc{k}"
            tensors |= {f"{module}.weight": linear.weight, f"{module}.bias": linear.bias}
        if self.calibration is not None:
            tensors["calibration"] = self.calibration
        return tensors

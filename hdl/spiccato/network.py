"""Trained networks: a stack of LSTM layers followed by linear layers, and their files.

Everything is checked here, once, on the way in. A `Network` that exists is complete, finite and its
shapes chain, so that nothing behind it (compiler, models, benches) checks again.
"""

import itertools
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import ArrayLike, NDArray

from .arrays import real_array
from .errors import SpiccatoError
from .files import write_whole

__all__ = [
    "LSTMLayer",
    "LinearLayer",
    "ModelError",
    "Network",
    "load_safetensors",
    "network_from_state_dict",
    "save_safetensors",
]

Array = NDArray[np.float64]
Layer = TypeVar("Layer", "LSTMLayer", "LinearLayer")

SUPPORTED = "nn.LSTM layers (one direction, no projection), then nn.Linear layers, and 'calibration'"

_LSTM_TENSOR = re.compile(
    r"(?:(?P<module>.+)\.)?(?P<field>(?:weight|bias)_(?:ih|hh|hr))"
    r"_l(?P<layer>0|[1-9]\d*)(?P<reverse>_reverse)?"
)
_LINEAR_TENSOR = re.compile(r"(?:(?P<module>.+)\.)?(?P<field>weight|bias)")

# Safetensors names of the accepted data types; None is bfloat16, which numpy does not have.
_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": None}


class ModelError(SpiccatoError):
    """A model that cannot be used. The message is one line: what is wrong, where, what would be right."""


def _array(name: str, value: ArrayLike, shape: tuple[int | str, ...]) -> Array:
    """A read-only float64 copy of `value` that is finite and has `shape` (a word: any size from 1 on).

    Raises:
        ModelError: as :func:`spiccato.arrays.real_array`.
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

    Parameters:
        weight_ih: (4H, I), applied to the layer's input x(t).
        weight_hh: (4H, H), applied to the layer's previous output h(t-1).
        bias_ih, bias_hh: (4H,), both added; None counts as zeros.

    Raises:
        ModelError: a shape that does not fit, or a value that is not finite.
    """

    weight_ih: Array
    weight_hh: Array
    bias_ih: Array = None  # type: ignore[assignment]  # an array once constructed
    bias_hh: Array = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        weight_hh = _array("weight_hh", self.weight_hh, ("4 x hidden", "hidden"))
        hidden = weight_hh.shape[1]
        if weight_hh.shape[0] != 4 * hidden:
            hint = " (3 gates would be a GRU, which is not supported)" * (weight_hh.shape[0] == 3 * hidden)
            raise ModelError(
                f"weight_hh has shape {weight_hh.shape}; expected ({4 * hidden}, {hidden}): 4 gates{hint}"
            )
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

    Parameters:
        weight: (O, I). Kept, like the bias, as a read-only float64 copy.
        bias: (O,); None counts as zeros.

    Raises:
        ModelError: a shape that does not fit, or a value that is not finite.
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

    Parameters:
        lstm: one layer or more.
        linear: any number of layers; with none the output is h of the last LSTM layer.
        name: what reports call it.
        calibration: (steps, input_size) typical inputs in time order, from which the input features'
            scales are taken; None if there are none.

    Raises:
        ModelError: no LSTM layer, sizes that do not chain, or a bad calibration array.
    """

    lstm: tuple[LSTMLayer, ...]
    linear: tuple[LinearLayer, ...] = ()
    name: str = "network"
    calibration: Array | None = None

    def __post_init__(self) -> None:
        _set(self, lstm=tuple(self.lstm), linear=tuple(self.linear))
        if not self.lstm:
            raise ModelError(f"network '{self.name}' has no LSTM layer; at least one is needed")
        labels = [f"LSTM layer {k}" for k in range(len(self.lstm))]
        labels += [f"linear layer {k}" for k in range(len(self.linear))]
        for (before, source), (after, sink) in itertools.pairwise(zip(labels, self._layers)):
            if source.output_size != sink.input_size:
                raise ModelError(
                    f"{after} takes {sink.input_size} inputs; expected {source.output_size}, "
                    f"the outputs of {before}"
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

        Returns:
            W of shape (output_size, H) and b of shape (output_size,), multiplied out in float64;
            identity and zeros when there is no linear layer.
        """
        weight = np.eye(self.lstm[-1].hidden_size)
        bias = np.zeros(self.lstm[-1].hidden_size)
        for layer in self.linear:
            weight, bias = layer.weight @ weight, layer.weight @ bias + layer.bias
        return weight, bias

    def to_state_dict(self) -> dict[str, Array]:
        """Tensors under PyTorch's names; `network_from_state_dict` is the inverse.

        LSTM layers of equal size are one module `lstm` that nn.LSTM can load; layers of different sizes are
        modules `lstm0`, `lstm1`, ... The linear layer is `fc`; several are `fc0`, `fc1`, ...
        """
        uniform = len({layer.hidden_size for layer in self.lstm}) == 1
        tensors = {}
        for k, layer in enumerate(self.lstm):
            module, index = ("lstm", k) if uniform else (f"lstm{k}", 0)
            for field in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                tensors[f"{module}.{field}_l{index}"] = getattr(layer, field)
        for k, linear in enumerate(self.linear):
            module = "fc" if len(self.linear) == 1 else f"fc{k}"
            tensors |= {f"{module}.weight": linear.weight, f"{module}.bias": linear.bias}
        if self.calibration is not None:
            tensors["calibration"] = self.calibration
        return tensors


def network_from_state_dict(tensors: Mapping[str, ArrayLike], name: str = "network") -> Network:
    """The network in a PyTorch state dict.

    The LSTM may be one nn.LSTM with several layers (`lstm.weight_ih_l0`, ...), or several modules of
    different sizes (`lstm1.weight_ih_l0`, `lstm2.weight_ih_l0`, ...), under any module names; so may the
    linear layers (`fc.weight`, `fc.bias`, ...). Modules whose names differ in numbers only come in the order
    of these numbers (2 before 10), others in the one order in which their sizes chain. Missing biases are
    zeros. A tensor `calibration` becomes `Network.calibration`. Activation functions leave nothing in a state
    dict: the caller vouches that there are none between linear layers.

    Parameters:
        tensors: PyTorch name -> array of floating-point numbers.
        name: the network's name.

    Raises:
        ModelError: naming the tensor that is missing, unknown, of a wrong shape or type, or not finite.
    """
    lstm_fields: dict[str, dict[int, dict[str, NDArray[Any]]]] = {}
    linear_fields: dict[str, dict[str, NDArray[Any]]] = {}
    calibration = None
    for key, value in tensors.items():
        array = np.asarray(value)
        if array.dtype.kind != "f":
            raise ModelError(f"tensor '{key}' has type {array.dtype}; expected floating-point numbers")
        if key == "calibration":
            calibration = array
        elif match := _LSTM_TENSOR.fullmatch(key):
            if match["reverse"]:
                raise ModelError(f"tensor '{key}' is of a bidirectional LSTM; supported: {SUPPORTED}")
            if match["field"].endswith("hr"):
                raise ModelError(f"tensor '{key}' is of an LSTM with proj_size; supported: {SUPPORTED}")
            layers = lstm_fields.setdefault(match["module"] or "", {})
            layers.setdefault(int(match["layer"]), {})[match["field"]] = array
        elif match := _LINEAR_TENSOR.fullmatch(key):
            if match["field"] == "weight" and array.ndim != 2:
                raise ModelError(
                    f"tensor '{key}' has shape {array.shape}; expected (outputs, inputs) of an nn.Linear; "
                    f"supported: {SUPPORTED}"
                )
            linear_fields.setdefault(match["module"] or "", {})[match["field"]] = array
        else:
            raise ModelError(f"tensor '{key}' of shape {array.shape} is unknown; supported: {SUPPORTED}")

    lstm = _in_order("LSTM", {module: _lstm_module(module, lstm_fields[module]) for module in lstm_fields})
    linear = _in_order(
        "linear",
        {module: [_layer(LinearLayer, module, "", linear_fields[module])] for module in linear_fields},
        lstm[-1].output_size if lstm else None,
    )
    return Network(lstm, linear, name, calibration)


def _lstm_module(module: str, layers: Mapping[int, Mapping[str, NDArray[Any]]]) -> list[LSTMLayer]:
    """The layers of one nn.LSTM, from layer number -> field -> array."""
    if missing := set(range(len(layers))) - set(layers):
        raise ModelError(f"tensor '{_dotted(module, 'weight_ih')}_l{min(missing)}' is missing")
    return [_layer(LSTMLayer, module, f"_l{k}", layers[k]) for k in sorted(layers)]


def _layer(kind: type[Layer], module: str, suffix: str, fields: Mapping[str, NDArray[Any]]) -> Layer:
    """`kind(**fields)`, its errors quoting the tensors' full names."""
    for field in ("weight",) if kind is LinearLayer else ("weight_ih", "weight_hh"):
        if field not in fields:
            raise ModelError(f"tensor '{_dotted(module, field)}{suffix}' is missing")
    try:
        return kind(**fields)
    except ModelError as error:
        # The message starts with the field's name: make that the tensor's.
        message = re.sub(r"\w+", lambda m: f"tensor '{_dotted(module, m[0])}{suffix}'", str(error), count=1)
        raise ModelError(message) from None


def _dotted(module: str, field: str) -> str:
    return f"{module}.{field}" if module else field


def _natural(text: str) -> list[Any]:
    """Sort key that orders numbers inside text by value: every second part is a number."""
    return [int(part) if k % 2 else part for k, part in enumerate(re.split(r"(\d+)", text))]


def _in_order(
    what: str, modules: Mapping[str, Sequence[Layer]], inputs: int | None = None
) -> tuple[Layer, ...]:
    """The layers of all modules in the order in which data passes through them.

    Files keep no order (safetensors sorts by name), so it has to follow from numbers in the names or, failing
    that, from the sizes: a guess could be wrong and go unnoticed.

    Parameters:
        what: kind of modules, for messages.
        modules: module name -> its layers.
        inputs: size of what the first module reads, if known.
    """
    if len({re.sub(r"\d+", "", module) for module in modules}) <= 1:
        order = sorted(modules, key=_natural)
    else:
        orders = list(itertools.islice(_chains(modules, inputs), 2))
        if len(orders) != 1:
            names = ", ".join(f"'{module}'" for module in sorted(modules))
            reason = "several orders fit" if orders else "no order fits"
            raise ModelError(f"{what} modules {names}: {reason} their sizes; number the names in order")
        order = orders[0]
    return tuple(layer for module in order for layer in modules[module])


def _chains(modules: Mapping[str, Sequence[Layer]], inputs: int | None) -> Iterator[list[str]]:
    """All orders of `modules` in which every module has as many inputs as the one before has outputs."""
    if not modules:
        yield []
    for module, layers in modules.items():
        if inputs in (None, layers[0].input_size):
            rest = {other: modules[other] for other in modules if other != module}
            for tail in _chains(rest, layers[-1].output_size):
                yield [module] + tail


def load_safetensors(path: str | os.PathLike[str]) -> Network:
    """The network in a safetensors file of PyTorch names, named after the file.

    Weights may be bfloat16, float16, float32 or float64.

    Raises:
        ModelError: the file cannot be read, is damaged, or `network_from_state_dict` refuses its content; the
            message starts with the path.
    """
    path = Path(path)
    try:
        entries = safetensors.deserialize(path.read_bytes())
        tensors = {key: _decode(key, entry) for key, entry in entries}
        return network_from_state_dict(tensors, path.stem)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from None
    except safetensors.SafetensorError as error:
        raise ModelError(f"{path}: not a complete safetensors file: {error}") from None
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None


def _decode(key: str, entry: Mapping[str, Any]) -> NDArray[Any]:
    """One entry of `safetensors.deserialize` as an array."""
    if entry["dtype"] not in _DTYPES:
        raise ModelError(f"tensor '{key}' has type {entry['dtype']}; expected one of {', '.join(_DTYPES)}")
    dtype = _DTYPES[entry["dtype"]]
    if dtype is None:
        # A bfloat16 is the upper half of a float32.
        array = (np.frombuffer(entry["data"], "<u2").astype("<u4") << 16).view("<f4")
    else:
        array = np.frombuffer(entry["data"], dtype)
    return array.reshape(entry["shape"])


def save_safetensors(network: Network, path: str | os.PathLike[str]) -> None:
    """Write `network.to_state_dict()` to `path`; `load_safetensors` reads back exactly the same values.

    A tensor is stored as float32 where that is exact, otherwise as float64. The file appears complete or not
    at all: it is written under another name in the same folder, then renamed.

    Raises:
        ModelError: the file cannot be written.
    """
    data = safetensors.numpy.save({key: _smallest(a) for key, a in network.to_state_dict().items()})
    try:
        write_whole(path, data)
    except OSError as error:
        raise ModelError(f"{path}: cannot be written: {error.strerror}") from None


def _smallest(array: Array) -> NDArray[Any]:
    """`array` as float32 if no value changes, else as it is."""
    with np.errstate(over="ignore"):
        narrow = array.astype(np.float32)
    return narrow if np.array_equal(narrow, array) else array

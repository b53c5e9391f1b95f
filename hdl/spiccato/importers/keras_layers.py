"""What single layers of Keras do with labels (:mod:`.stages`)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError
from ..layers import GRULayer, LinearLayer, LSTMLayer
from .activations import Function, clip, function_named
from .chain import Chain
from .elementwise import added, applied, multiplied
from .keras_graph import SUPPORTED, Layer, sums_of
from .reasons import reason_of
from .stages import Names
from .streaming import Labels, one_for_all

__all__ = ["RECURRENT", "apply", "is_passive", "with_kernel"]

#: Layers that change nothing when a model is used.
_PASSIVE = {
    "InputLayer",
    "Dropout",
    "SpatialDropout1D",
    "GaussianDropout",
    "GaussianNoise",
    "ActivityRegularization",
    "Identity",
}
RECURRENT = ("LSTM", "GRU")
#: What recurrent layers must be configured to, where a file says it.
_RECURRENT_SETTINGS = {
    "activation": "tanh",
    "recurrent_activation": "sigmoid",
    "go_backwards": False,
    "time_major": False,
}
#: Slopes below zero where the configuration has none: of the function, and of the layer.
_LEAKY_FUNCTION, _LEAKY_LAYER = 0.2, 0.3
#: Slope of the hard sigmoid in Keras 2.
_OLD_HARD_SIGMOID = 0.2

Arrays = list[NDArray[Any]]


def unwrapped(layer: Layer) -> tuple[str, dict[str, Any]]:
    """(kind, settings) of a layer, or of the one that a TimeDistributed applies at every step."""
    if layer.kind != "TimeDistributed":
        return layer.kind, layer.settings
    inner = layer.settings.get("layer", {})
    return inner.get("class_name", layer.kind), inner.get("config", {})


def is_passive(layer: Layer) -> bool:
    """Whether a layer gives what it reads."""
    kind, settings = unwrapped(layer)
    return kind in _PASSIVE or (kind, settings.get("activation")) == ("Activation", "linear")


def with_kernel(layer: Layer, arrays: Arrays) -> bool:
    """Whether a layer's weights tell how many features it reads."""
    return unwrapped(layer)[0] in (*RECURRENT, "Dense") and bool(arrays) and arrays[0].ndim == 2


def apply(chain: Chain, layer: Layer, name: str, arrays: Arrays, given: list[Labels], is_old: bool) -> list[Labels]:
    """The results of a layer on what it reads.

    Parameters
    ----------
    name : str
        What a cut calls the layer.
    is_old : bool
        Whether the model is of Keras 2.
    """
    if layer.keywords:
        raise ModelError(
            f"{layer.place} is called with {', '.join(layer.keywords)}; supported: constant initial states "
            "of recurrent layers, in models of Keras 3"
        )
    if is_passive(layer):
        return given[:1]
    kind, settings = unwrapped(layer)
    try:
        if len(given) > 1:
            return [_of_several(chain, layer, kind, settings, given)]
        if kind in RECURRENT:
            return _recurrent(chain, layer, arrays, given[0])
        if kind == "Dense":
            return [_dense(chain, layer, name, settings, arrays, given[0], is_old)]
        if kind == "Flatten":
            return [given[0].reshape(len(given[0]), -1)]
        if kind == "GetItem":
            return [given[0][tuple(map(_index, _listed(layer.arguments[1])))]]
        if (function := _function(kind, settings, arrays, is_old)) is not None:
            return [applied(chain, layer.place, name, given[0], function)]
        factor, offset = _constants(layer, kind, settings, arrays, given[0].ndim)
        return [chain.constants(layer.place, layer.names[-1], given[0], factor, offset)]
    except (ModelError, IndexError, TypeError) as error:
        reason = error if isinstance(error, ModelError) else f"is not supported ({error})"
        text = str(reason)
        kind_of_error = type(error) if isinstance(error, ModelError) else ModelError
        raise kind_of_error(text if text.startswith(layer.place) else f"{layer.place}: {text}") from None


def _of_several(chain: Chain, layer: Layer, kind: str, settings: dict[str, Any], given: list[Labels]) -> Labels:
    if kind == "Concatenate":
        return np.concatenate(given, axis=settings.get("axis", -1))
    if len(given) == 2 and kind in ("Add", "Subtract"):
        return added(chain, layer.place, layer.names[-1], *given, sign=1.0 if kind == "Add" else -1.0)
    if len(given) == 2 and kind == "Multiply":
        return multiplied(chain, layer.place, layer.names[-1], *given)
    read = ", ".join(repr(names[-1]) for names, _ in layer.sources)
    raise ModelError(f"{layer.place} reads {read}; supported: {SUPPORTED}")


def _recurrent(chain: Chain, layer: Layer, arrays: Arrays, labels: Labels) -> list[Labels]:
    settings = layer.settings
    _require(settings, _RECURRENT_SETTINGS)
    kernel, recurrent, bias = _tensors(arrays, settings, 2)
    states = ("h", "c") if layer.kind == "LSTM" else ("h",)
    initial: dict[str, Any] = dict(zip((f"{state}0" for state in states), _initial_state(layer, states)))
    made: LSTMLayer | GRULayer
    if layer.kind == "LSTM":
        # Keras has PyTorch's order of gates, matrices transposed, and one bias.
        made = LSTMLayer(kernel.T, recurrent.T, bias, **initial)
    else:
        if not settings.get("reset_after", bias is None or np.ndim(bias) == 2):
            raise ModelError(
                "reset_after=False, whose reset gate needs h before the recurrent product, is not supported; "
                "supported: reset_after=True"
            )
        biases = (None, None) if bias is None else np.asarray(bias).reshape(2, -1)
        gates: list[Any] = [_gates(array) for array in (kernel.T, recurrent.T, *biases)]
        made = GRULayer(*gates, **initial)
    by_step = labels.transpose(1, 0, 2) if labels.ndim == 3 else labels
    h, c = chain.recurrent(layer.place, layer.names[-1], by_step, made, dict.fromkeys(states))
    results = [h.transpose(1, 0, 2) if settings.get("return_sequences") else h[-1]]
    if settings.get("return_state"):
        results += [h[-1], *([] if c is None else [c])]
    return results


def _gates(array: NDArray[Any] | None) -> NDArray[Any] | None:
    """Rows of Keras' gate order z, r, h of a GRU in PyTorch's, r, z, n."""
    if array is None or len(array) % 3:
        return array  # refused by the layer, which knows how to say it
    return array.reshape(3, -1, *array.shape[1:])[[1, 0, 2]].reshape(array.shape)


def _initial_state(layer: Layer, states: tuple[str, ...]) -> list[NDArray[np.float64] | None]:
    """h and c that a recurrent layer starts from; None for zeros."""
    if layer.initial_state is None:
        return [None] * len(states)
    given = layer.initial_state if isinstance(layer.initial_state, list) else [layer.initial_state]
    values = [
        value["config"]["value"]
        for value in given
        if isinstance(value, dict) and value.get("class_name") in ("__numpy__", "__tensor__")
    ]
    if len(values) != len(states):
        count = {1: "one constant array", 2: "two constant arrays"}[len(states)]
        raise ModelError(f"initial_state is not supported; supported: {count}")
    arrays = (np.atleast_2d(np.asarray(value, dtype=np.float64)) for value in values)
    return [one_for_all(layer.place, f"initial {kind}", array) for kind, array in zip(states, arrays)]


def _dense(
    chain: Chain, layer: Layer, name: str, settings: dict[str, Any], arrays: Arrays, labels: Labels, is_old: bool
) -> Labels:
    activation = settings.get("activation", "linear")
    kernel, bias = _tensors(arrays, settings, 1)
    is_linear = activation in ("linear", None)
    if not is_linear:
        chain.names = Names(name, sums_of(name))
    labels = chain.linear(layer.place, layer.names[-1], labels, LinearLayer(kernel.T, bias))
    if is_linear:
        return labels
    if chain.cut.end == sums_of(name):
        chain.finish(labels)
    chain.names = Names(None, name)
    function = _activation(activation, is_old)
    if function is None:
        reason = reason_of(str(activation))
        raise ModelError(f"activation={activation!r} is not supported{f' ({reason})' if reason else ''}")
    return applied(chain, layer.place, layer.names[-1], labels, function)


def _activation(activation: Any, is_old: bool) -> Function | None:
    """The function that a configuration names, or describes as a layer; None if there is none like it."""
    if isinstance(activation, dict):
        kind, settings = activation.get("class_name", ""), activation.get("config", {})
        return _function(kind, settings, [], is_old) if isinstance(settings, dict) else _activation(settings, is_old)
    if activation == "leaky_relu":
        return function_named(activation, _LEAKY_FUNCTION)
    if activation == "hard_sigmoid" and is_old:
        return function_named(activation, _OLD_HARD_SIGMOID)
    return function_named(str(activation))


def _function(kind: str, settings: dict[str, Any], arrays: Arrays, is_old: bool) -> Function | None:
    """The function that a layer applies to every element; None if it is none."""
    if kind == "Activation":
        function = _activation(settings.get("activation"), is_old)
        if function is None:
            reason = reason_of(str(settings.get("activation")))
            raise ModelError(
                f"activation={settings.get('activation')!r} is not supported{f' ({reason})' if reason else ''}"
            )
        return function
    if kind == "ReLU":
        return _relu(settings)
    if kind == "LeakyReLU":
        return Function("leaky_relu", float(settings.get("negative_slope", settings.get("alpha", _LEAKY_LAYER))))
    if kind == "ELU":
        return function_named("elu", float(settings.get("alpha", 1.0)))
    if kind == "PReLU" and arrays:
        slopes = np.unique(arrays[0])
        if len(slopes) != 1:
            raise ModelError("slopes of each feature are not supported; supported: one for all")
        return Function("leaky_relu", float(slopes[0]))
    return None


def _relu(settings: dict[str, Any]) -> Function:
    slope, highest = settings.get("negative_slope") or 0.0, settings.get("max_value")
    if settings.get("threshold"):
        raise ModelError(f"threshold={settings['threshold']} is not supported; supported: 0")
    if highest is None:
        return Function("leaky_relu", float(slope)) if slope else Function("relu")
    if slope:
        raise ModelError(f"negative_slope={slope} with max_value={highest} is not supported; supported: one of them")
    return clip(0.0, float(highest))


def _constants(layer: Layer, kind: str, settings: dict[str, Any], arrays: Arrays, ndim: int) -> tuple[Any, Any]:
    """Factor and offset that a layer applies, if it does no more."""
    if kind == "Rescaling":
        return np.asarray(settings.get("scale", 1.0)), np.asarray(settings.get("offset", 0.0))
    if kind in ("Normalization", "BatchNormalization"):
        axes = settings.get("axis", -1)
        axes = axes if isinstance(axes, (list, tuple)) else [axes]
        if set(axes) - {-1, ndim - 1, None}:
            raise ModelError(f"axis={axes} is not supported; supported: -1, the features")
    if kind == "Normalization":
        given: list[Any] = [settings.get("mean"), settings.get("variance")]
        if given[0] is None:
            if len(arrays) < 2:
                raise ModelError("has neither mean nor variance; adapt it to data first")
            given = arrays[:2]
        mean, variance = (np.asarray(array, dtype=np.float64).reshape(-1) for array in given)
        deviation = np.maximum(np.sqrt(variance), 1e-7)  # as Keras bounds it
        return (deviation, mean) if settings.get("invert") else (1 / deviation, -mean / deviation)
    if kind == "BatchNormalization":
        scale, center = settings.get("scale", True), settings.get("center", True)
        if len(arrays) != 2 + bool(scale) + bool(center):
            raise ModelError(f"{len(arrays)} arrays of weights; expected {2 + scale + center}")
        *own, mean, variance = (np.asarray(array, dtype=np.float64) for array in arrays)
        factor = (own[0] if scale else 1.0) / np.sqrt(variance + settings.get("epsilon", 1e-3))
        return factor, (own[-1] if center else 0.0) - mean * factor
    tensor, number = layer.arguments if len(layer.arguments) == 2 else (None, None)
    reversed_ = isinstance(tensor, (int, float))
    number = tensor if reversed_ else number
    if isinstance(number, (int, float)) and not isinstance(number, bool):
        if kind == "Add":
            return 1.0, number
        if kind == "Subtract":
            return (-1.0, number) if reversed_ else (1.0, -number)
        if kind == "Multiply":
            return number, 0.0
        if kind in ("Divide", "TrueDivide") and not reversed_ and number:
            return 1 / number, 0.0
    reason = reason_of(kind)
    raise ModelError(f"is not supported{f' ({reason})' if reason else ''}; supported: {SUPPORTED}")


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _index(value: Any) -> int | slice:
    """An index of a subscription, as Keras writes it."""
    if isinstance(value, dict) and value.get("class_name") == "__slice__":
        return slice(*(value["config"][key] for key in ("start", "stop", "step")))
    if isinstance(value, int):
        return value
    raise TypeError(f"index {value!r}")


def _require(settings: dict[str, Any], wanted: dict[str, Any]) -> None:
    for key, value in wanted.items():
        if settings.get(key, value) != value:
            raise ModelError(f"{key}={settings[key]!r} is not supported; supported: {value!r}")


def _tensors(tensors: Arrays, settings: dict[str, Any], weights: int) -> list[Any]:
    """``weights`` matrices and the bias, or None in its place."""
    biases = bool(settings.get("use_bias", True))
    if len(tensors) != weights + biases:
        raise ModelError(
            f"{len(tensors)} arrays of weights; expected {weights + biases}; supported: models that "
            "are built, .keras files of Keras 3, .h5 files of Keras 2 and 3"
        )
    return [*tensors] if biases else [*tensors, None]

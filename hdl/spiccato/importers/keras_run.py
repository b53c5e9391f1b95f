"""One run of the layers of a Keras model on labels (:mod:`.chain`)."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError
from ..layers import LinearLayer, LSTMLayer
from ..network import Network
from .chain import Chain, Labels
from .streaming import TAKEN_AS_STATE, one_for_all

__all__ = ["SUPPORTED", "Layer", "run_layers"]

SUPPORTED = "LSTM layers, then Dense layers with linear activation, in one chain"

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
#: What the layers must be configured to, where a file says it.
_LSTM_SETTINGS = {"activation": "tanh", "recurrent_activation": "sigmoid", "go_backwards": False, "time_major": False}
_DENSE_SETTINGS = {"activation": "linear"}


@dataclass(frozen=True)
class Layer:
    """A layer of a model, or of a model inside it.

    ``names`` are those of the models around it and its own; ``group`` is where a .keras file keeps its weights;
    ``result`` is the number of the result that it reads of the layer before, ``arguments`` what else it gets, and
    ``initial_state`` the constants that an LSTM layer starts from, as the file has them.
    """

    kind: str
    settings: dict[str, Any]
    names: tuple[str, ...]
    group: str
    result: int
    arguments: list[Any]
    initial_state: list[Any] | None = None

    @property
    def place(self) -> str:
        return f"layer '{self.names[-1]}' ({self.kind})"


def run_layers(
    layers: list[tuple[Layer, list[NDArray[Any]]]], outputs: list[int], name: str, steps: int, sequences: int
) -> Network:
    """The network, from a run on labels (sequences, steps, features)."""
    chain = Chain()
    shape = layers[0][0].settings.get("batch_shape") or layers[0][0].settings.get("batch_input_shape") or []
    features = None
    if len(shape) == 3:
        steps, features = shape[1] or steps, shape[2]
    results: list[Labels] | None = None  # those of an unsupported layer, and the input: made for the layer that reads
    before, shortened = "", ""
    for number, (layer, arrays) in enumerate(layers):
        try:
            if results is None and not _is_passive(layer):
                features = features or _features(layers[number:])
                if features is None and before:
                    raise chain.refusal()
                shape = sequences, steps, features or 1
                results = [chain.foreign(before, shape) if before else chain.input(shape)]
            if results is not None:
                results = _apply(chain, layer, arrays, results, shortened)
        except ModelError as error:
            chain.refuse(error)
            results, before, features, shortened = None, layer.place, None, ""
            continue
        if layer.kind == "LSTM":
            shortened = "" if layer.settings.get("return_sequences") else layer.place
    if chain.refused:
        raise chain.refusal()
    if results is None:
        raise ModelError(f"the model's layers change nothing; supported: {SUPPORTED}")
    stateful = [layer for layer, _ in layers if layer.kind == "LSTM" and layer.settings.get("stateful")]
    if anew := [layer for layer, _ in layers if layer.kind == "LSTM" and layer not in stateful] if stateful else []:
        raise ModelError(
            f"{anew[0].place} starts anew at every call, {stateful[0].place} has stateful=True; supported: all LSTM "
            "layers with it, or none"
        )
    network = chain.network({f"{layers[-1][0].names[-1]}{f' {k}' * bool(k)}": results[k] for k in outputs}, name)
    names = ", ".join(f"h and c of '{layer.names[-1]}'" for layer in stateful)
    return replace(network, origin=f"{TAKEN_AS_STATE}: {names}") if stateful else network


def _features(layers: list[tuple[Layer, list[NDArray[Any]]]]) -> int | None:
    """What the first of the layers with a kernel reads."""
    return next(
        (
            len(arrays[0])
            for layer, arrays in layers
            if layer.kind in ("LSTM", "Dense", "TimeDistributed") and arrays and arrays[0].ndim == 2
        ),
        None,
    )


def _is_passive(layer: Layer) -> bool:
    settings = layer.settings.get("layer", {}) if layer.kind == "TimeDistributed" else {"class_name": layer.kind}
    return settings.get("class_name") in _PASSIVE or (layer.kind, layer.settings.get("activation")) == (
        "Activation",
        "linear",
    )


def _apply(
    chain: Chain, layer: Layer, arrays: list[NDArray[Any]], results: list[Labels], shortened: str
) -> list[Labels]:
    """The results of a layer on those of the layer before.

    ``shortened`` is the last LSTM layer if it gives its last step only.
    """
    place, name, settings = layer.place, layer.names[-1], layer.settings
    if layer.result >= len(results):
        raise ModelError(f"{place} reads result {layer.result} of the layer before, which has {len(results)}")
    labels = results[layer.result]
    if _is_passive(layer):
        return [labels]
    try:
        if layer.kind == "LSTM":
            if shortened:
                raise ModelError(f"follows {shortened}, which has return_sequences=False; supported: {SUPPORTED}")
            _require(settings, _LSTM_SETTINGS)
            # Keras has PyTorch's order of gates, matrices transposed, and one bias.
            kernel, recurrent, bias = _tensors(arrays, settings, 2)
            h0, c0 = _initial_state(layer)
            lstm = LSTMLayer(kernel.T, recurrent.T, bias, h0=h0, c0=c0)
            h, c = chain.lstm(place, name, labels.transpose(1, 0, 2) if labels.ndim == 3 else labels, lstm)
            result = h.transpose(1, 0, 2) if settings.get("return_sequences") else h[-1]
            return [result, h[-1], c] if settings.get("return_state") else [result]
        elif layer.kind == "Dense" or (layer.kind, settings.get("layer", {}).get("class_name")) == (
            "TimeDistributed",
            "Dense",
        ):
            inner = settings["layer"]["config"] if layer.kind == "TimeDistributed" else settings
            _require(inner, _DENSE_SETTINGS)
            kernel, bias = _tensors(arrays, inner, 1)
            return [chain.linear(place, name, labels, LinearLayer(kernel.T, bias))]
        elif layer.kind == "Flatten":
            return [labels.reshape(len(labels), -1)]
        elif layer.kind == "GetItem":
            return [labels[tuple(map(_index, _listed(layer.arguments[1])))]]
        else:
            factor, offset = _constants(layer, arrays, labels.ndim)
            return [chain.constants(place, name, labels, factor, offset)]
    except (ModelError, IndexError, TypeError) as error:
        reason = error if isinstance(error, ModelError) else f"is not supported ({error})"
        text = str(reason)
        raise ModelError(text if text.startswith(place) else f"{place}: {text}") from None


def _initial_state(layer: Layer) -> list[NDArray[np.float64] | None]:
    """h and c that an LSTM layer starts from; None for zeros."""
    if layer.initial_state is None:
        return [None, None]
    values = [
        value["config"]["value"]
        for value in layer.initial_state
        if isinstance(value, dict) and value.get("class_name") in ("__numpy__", "__tensor__")
    ]
    if len(values) != 2:
        raise ModelError("initial_state is not supported; supported: two constant arrays")
    arrays = (np.atleast_2d(np.asarray(value, dtype=np.float64)) for value in values)
    return [one_for_all(layer.place, f"initial {kind}", array) for kind, array in zip("hc", arrays)]


def _constants(layer: Layer, arrays: list[NDArray[Any]], ndim: int) -> tuple[Any, Any]:
    """Factor and offset that a layer applies, if it does no more."""
    settings = layer.settings
    if layer.kind == "Rescaling":
        return np.asarray(settings.get("scale", 1.0)), np.asarray(settings.get("offset", 0.0))
    if layer.kind in ("Normalization", "BatchNormalization"):
        axes = settings.get("axis", -1)
        axes = axes if isinstance(axes, (list, tuple)) else [axes]
        if set(axes) - {-1, ndim - 1, None}:
            raise ModelError(f"axis={axes} is not supported; supported: -1, the features")
    if layer.kind == "Normalization":
        given: list[Any] = [settings.get("mean"), settings.get("variance")]
        if given[0] is None:
            if len(arrays) < 2:
                raise ModelError("has neither mean nor variance; adapt it to data first")
            given = arrays[:2]
        mean, variance = (np.asarray(array, dtype=np.float64).reshape(-1) for array in given)
        deviation = np.maximum(np.sqrt(variance), 1e-7)  # as Keras bounds it
        return (deviation, mean) if settings.get("invert") else (1 / deviation, -mean / deviation)
    if layer.kind == "BatchNormalization":
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
        if layer.kind == "Add":
            return 1.0, number
        if layer.kind == "Subtract":
            return (-1.0, number) if reversed_ else (1.0, -number)
        if layer.kind == "Multiply":
            return number, 0.0
        if layer.kind in ("Divide", "TrueDivide") and not reversed_ and number:
            return 1 / number, 0.0
    raise ModelError(f"is not supported; supported: {SUPPORTED}")


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


def _tensors(tensors, settings, weights):
    """``weights`` matrices and the bias, or None in its place."""
    biases = bool(settings.get("use_bias", True))
    if len(tensors) != weights + biases:
        raise ModelError(
            f"{len(tensors)} arrays of weights; expected {weights + biases}; supported: models that "
            "are built, .keras files of Keras 3, .h5 files of Keras 2 and 3"
        )
    return [*tensors] if biases else [*tensors, None]

"""Networks from Keras models in .keras and .h5 files: LSTM layers, then Dense layers, one after the other.

The files are read without Keras: the model's configuration is JSON, the weights are HDF5.
"""

import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ..network import LinearLayer, LSTMLayer, ModelError, Network

__all__ = ["load"]

SUPPORTED = "LSTM layers, then Dense layers with linear activation, in one chain"

#: Layers that change nothing when a model is used.
_PASSIVE = {"InputLayer", "Dropout", "SpatialDropout1D", "GaussianDropout", "GaussianNoise", "ActivityRegularization"}
#: What the layers must be configured to, where a file says it.
_LSTM_SETTINGS = {"activation": "tanh", "recurrent_activation": "sigmoid", "go_backwards": False, "return_state": False}
_DENSE_SETTINGS = {"activation": "linear"}


def load(path: Path) -> Network:
    """The network in a .keras file (Keras 3) or a whole model's .h5 file (Keras 2 and 3)."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                config = json.loads(archive.read("config.json"))
                with h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as file:
                    return _network(config, _weights(file), path.stem)
        with h5py.File(path) as file:
            if "model_config" not in file.attrs:
                raise ModelError("holds weights without the model; save the whole model: model.save('model.keras')")
            return _network(json.loads(file.attrs["model_config"]), _legacy_weights(file["model_weights"]), path.stem)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"not a Keras model: {str(error).strip().splitlines()[0]}") from None


def _weights(file: h5py.File):
    """A function that gives the arrays of a layer from the weights in a .keras file.

    Keras calls a layer's group after its class, and numbers those of the same class in the model's order.
    """
    counts: dict[str, int] = {}

    def arrays(layer: dict[str, Any], path: str) -> list[np.ndarray]:
        kind = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", layer["class_name"]).lower()
        number = counts.get(kind, 0)
        counts[kind] = number + 1
        group = file.get(f"layers/{kind}{f'_{number}' * bool(number)}/{path}vars")
        return [] if group is None else [group[key][()] for key in sorted(group, key=int)]

    return arrays


def _legacy_weights(group: h5py.Group):
    """The same for a .h5 file, which has a group by the name of each layer."""

    def arrays(layer: dict[str, Any], _path: str) -> list[np.ndarray]:
        own = group.get(layer["config"]["name"])
        return [] if own is None else [own[name][()] for name in own.attrs["weight_names"]]

    return arrays


def _network(config: dict[str, Any], arrays, name: str) -> Network:
    lstm: list[LSTMLayer] = []
    linear: list[LinearLayer] = []
    steps_end = None
    for layer in _chain(config):
        kind, settings = layer["class_name"], layer["config"]
        inner, path = layer, "cell/" if kind == "LSTM" else ""
        if kind == "TimeDistributed":
            inner, path = settings["layer"], "layer/"
        place = f"layer '{settings.get('name')}' ({kind})"
        tensors = arrays(layer, path)
        try:
            if kind == "LSTM":
                if linear or steps_end:
                    raise ModelError(f"follows {steps_end or 'a Dense layer'}; supported: {SUPPORTED}")
                _require(settings, _LSTM_SETTINGS)
                steps_end = None if settings.get("return_sequences") else f"{place}, which has return_sequences=False"
                lstm.append(_lstm(tensors, settings))
            elif inner["class_name"] == "Dense":
                if not lstm:
                    raise ModelError(f"comes before any LSTM layer; supported: {SUPPORTED}")
                _require(inner["config"], _DENSE_SETTINGS)
                kernel, bias = _tensors(tensors, inner["config"], 1)
                linear.append(LinearLayer(kernel.T, bias))
            elif kind not in _PASSIVE and (kind, settings.get("activation")) != ("Activation", "linear"):
                raise ModelError(f"is not supported; supported: {SUPPORTED}")
        except ModelError as error:
            raise ModelError(f"{place}: {error}") from None
    return Network(tuple(lstm), tuple(linear), name)


def _chain(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The layers of a model in their order, each of which reads what the one before gives.

    They are in this order in the file: Keras sorts them.
    """
    kind = config.get("class_name")
    if kind not in ("Sequential", "Functional", "Model"):
        raise ModelError(f"the model is a {kind}; supported: Sequential and Functional models")
    layers = config["config"]["layers"] if isinstance(config["config"], dict) else config["config"]
    before = None
    for layer in layers:
        if kind != "Sequential":
            place = f"layer '{layer['name']}' ({layer['class_name']})"
            sources = sorted(set(_sources(layer["inbound_nodes"])))
            if len(layer["inbound_nodes"]) > 1 or sources != ([] if before is None else [before]):
                raise ModelError(f"{place} reads {', '.join(map(repr, sources)) or 'an input of its own'}"
                                 f"{' in several places' * (len(layer['inbound_nodes']) > 1)}; supported: {SUPPORTED}")
            before = layer["name"]
        yield layer
    if kind != "Sequential":
        results = _names(config["config"]["output_layers"])
        if results != [before]:
            raise ModelError(f"the model gives the results of {', '.join(map(repr, results))}; supported: only that of "
                             f"'{before}', its last layer")


def _sources(nodes: Any) -> Iterator[str]:
    """Names of the layers that the nodes of a Functional model read."""
    if isinstance(nodes, dict):
        if "keras_history" in nodes:
            yield nodes["keras_history"][0]
        for value in nodes.values():
            yield from _sources(value)
    elif isinstance(nodes, list):
        # Keras 2: [layer, node, tensor, arguments].
        if len(nodes) == 4 and isinstance(nodes[0], str) and isinstance(nodes[1], int):
            yield nodes[0]
        for value in nodes:
            yield from _sources(value)


def _names(outputs: list[Any]) -> list[str]:
    """Names in ["head", 0, 0] or [["head", 0, 0], ...]."""
    return [outputs[0]] if outputs and isinstance(outputs[0], str) else [entry[0] for entry in outputs]


def _require(settings: dict[str, Any], wanted: dict[str, Any]) -> None:
    for key, value in wanted.items():
        if settings.get(key, value) != value:
            raise ModelError(f"{key}={settings[key]!r} is not supported; supported: {value!r}")


def _tensors(tensors, settings, weights):
    """``weights`` matrices and the bias, or None in its place."""
    biases = bool(settings.get("use_bias", True))
    if len(tensors) != weights + biases:
        raise ModelError(f"the file has {len(tensors)} arrays of weights for it; expected {weights + biases}; "
                         "supported: .keras files of Keras 3, .h5 files of Keras 2 and 3")
    return [*tensors] if biases else [*tensors, None]


def _lstm(tensors, settings) -> LSTMLayer:
    """Keras has PyTorch's order of gates, matrices transposed, and one bias."""
    kernel, recurrent, bias = _tensors(tensors, settings, 2)
    return LSTMLayer(kernel.T, recurrent.T, bias)

"""Networks from Keras models, in .keras and .h5 files and in memory: LSTM layers, then Dense layers.

The files are read without Keras: the model's configuration is JSON, the weights are HDF5. The layers, one after the
other, are run on labels (:mod:`.keras_run`).
"""

import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError
from ..network import Network
from .chain import SIZES, confirm
from .keras_run import SUPPORTED, Layer, run_layers

__all__ = ["load", "convert"]

#: Classes of models, which may be layers of another model.
MODELS = {"Sequential", "Functional", "Model"}

#: What may follow the data where an LSTM layer is called.
_LSTM_ARGUMENTS = ("initial_state", "mask", "training")

Arrays = Callable[[Layer], list[NDArray[Any]]]


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
        raise ModelError(f"not a Keras model: {_first_line(error)}") from None


def convert(model: Any) -> Network:
    """The network in a Keras model in memory, named as the model is.

    Parameters
    ----------
    model
        An object with Keras' ``to_json``, ``layers`` and, for each of these, ``name`` and ``get_weights``.
    """
    kind = type(model).__name__
    try:
        config = json.loads(model.to_json())
        layers = dict(_members(model, ()))
    except Exception as error:  # of any kind: a model's class may be the user's
        raise ModelError(
            f"the configuration of the model, a {kind}, cannot be read: {_first_line(error)}; supported: "
            "Sequential and Functional models"
        ) from None

    def arrays(layer: Layer) -> list[NDArray[Any]]:
        own = layers.get(layer.names)
        return [] if own is None else [np.asarray(array) for array in own.get_weights()]

    return _network(config, arrays, str(getattr(model, "name", kind)))


def _members(model: Any, outer: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """(names, layer) of all layers, those of models inside included."""
    for layer in model.layers:
        names = (*outer, layer.name)
        yield names, layer
        if type(layer).__name__ in MODELS:
            yield from _members(layer, names)


def _weights(file: h5py.File) -> Arrays:
    """A function that gives the arrays of a layer from the weights in a .keras file."""

    def arrays(layer: Layer) -> list[NDArray[Any]]:
        inner = {"LSTM": "cell/", "TimeDistributed": "layer/"}.get(layer.kind, "")
        group = file.get(f"{layer.group}/{inner}vars")
        return [] if group is None else [group[key][()] for key in sorted(group, key=int)]

    return arrays


def _legacy_weights(group: h5py.Group) -> Arrays:
    """The same for a .h5 file, which has a group by the name of each layer of the outermost model."""

    def arrays(layer: Layer) -> list[NDArray[Any]]:
        own = group.get(layer.names[0])
        if own is None:
            return []
        inside = layer.names[1:]
        names = [name.decode() if isinstance(name, bytes) else name for name in own.attrs["weight_names"]]
        return [own[name][()] for name in names if not inside or f"/{inside[-1]}/" in f"/{name}"]

    return arrays


def _network(config: dict[str, Any], arrays: Arrays, name: str) -> Network:
    layers = [(layer, arrays(layer)) for layer in _chain(config)]
    if not layers:
        raise ModelError(f"the model has no layer; supported: {SUPPORTED}")
    outputs = [number for _, number in _outputs(config)]

    def run(sizes):
        return run_layers(layers, outputs, name, *sizes)

    network = run(SIZES[0])
    confirm(network, run, SIZES[0], [lambda steps, sequences: (steps, sequences)])
    return network


def _chain(config: dict[str, Any], outer: tuple[str, ...] = (), group: str = "layers") -> Iterator[Layer]:
    """The layers of a model in their order, each of which reads what the one before gives.

    A model inside another counts as its layers. They are in this order in the file: Keras sorts them. In a .keras file,
    Keras calls a layer's group after its class, and numbers those of the same class.
    """
    model = config.get("class_name")
    if model not in MODELS:
        raise ModelError(f"the model is a {model}; supported: Sequential and Functional models")
    layers = config["config"]["layers"] if isinstance(config["config"], dict) else config["config"]
    before = None
    counts: dict[str, int] = {}
    for layer in layers:
        kind, settings = layer["class_name"], layer["config"]
        own = str(settings.get("name") if isinstance(settings, dict) else layer.get("name"))
        number = 0
        arguments: list[Any] = []
        initial_state: list[Any] | None = None
        if model != "Sequential":
            own = str(layer["name"])
            nodes = layer["inbound_nodes"]
            sources = sorted(set(_sources(nodes)))
            if len(nodes) > 1 or [source for source, _ in sources] != ([] if before is None else [before]):
                names = ", ".join(repr(source) for source, _ in sources)
                raise ModelError(
                    f"layer '{own}' ({kind}) reads {names or 'an input of its own'}"
                    f"{' in several places' * (len(nodes) > 1)}; supported: {SUPPORTED}"
                )
            number = sources[0][1] if sources else 0
            arguments = nodes[0].get("args", []) if nodes and isinstance(nodes[0], dict) else []
            keywords = _keywords(nodes)
            if kind == "LSTM" and nodes and isinstance(nodes[0], dict):
                keywords |= dict(zip(_LSTM_ARGUMENTS, arguments[1:]))
                initial_state = keywords.pop("initial_state", None)
            if keywords:
                raise ModelError(
                    f"layer '{own}' ({kind}) is called with {', '.join(keywords)}; supported: constant initial states "
                    "of LSTM layers, in models of Keras 3"
                )
            before = own
        stem = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", kind).lower()
        count = counts.get(stem, 0)
        counts[stem] = count + 1
        place = f"{group}/{stem}{f'_{count}' * bool(count)}"
        if kind in MODELS:
            inside = list(_chain(layer, (*outer, own), f"{place}/layers"))
            inside[:1] = [replace(first, result=number) for first in inside[:1]]
            if any(output for _, output in _outputs(layer)):
                raise ModelError(f"layer '{own}' ({kind}) gives states; supported: its result")
            yield from inside
        else:
            yield Layer(kind, settings, (*outer, own), place, number, arguments, initial_state)
    if before is not None:
        results = list(dict.fromkeys(source for source, _ in _outputs(config)))
        if results != [before]:
            raise ModelError(
                f"the model gives the results of {', '.join(map(repr, results))}; supported: only that of "
                f"'{before}', its last layer"
            )


def _outputs(config: dict[str, Any]) -> list[tuple[str, int]]:
    """(layer, number of its result) of what a model gives; (the last layer, 0) of a Sequential model is ("", 0)."""
    if config["class_name"] == "Sequential":
        return [("", 0)]
    outputs = config["config"]["output_layers"]
    # ["head", 0, 0] or [["head", 0, 0], ...]
    return [(entry[0], entry[2]) for entry in ([outputs] if outputs and isinstance(outputs[0], str) else outputs)]


def _keywords(nodes: Any) -> dict[str, Any]:
    """What a layer is called with by keyword, but for what is left at its default and for results of other layers."""
    calls: list[dict[str, Any]] = []
    for call in nodes:
        # Keras 2: [[layer, node, tensor, arguments], ...]
        calls += [call.get("kwargs", {})] if isinstance(call, dict) else [entry[3] for entry in call if len(entry) == 4]
    return {
        key: value
        for call in calls
        for key, value in call.items()
        if value is not None and value is not False and not list(_sources(value))
    }


def _sources(nodes: Any) -> Iterator[tuple[str, int]]:
    """(layer, number of its result) that the nodes of a Functional model read."""
    if isinstance(nodes, dict):
        if "keras_history" in nodes:
            yield nodes["keras_history"][0], nodes["keras_history"][2]
        for value in nodes.values():
            yield from _sources(value)
    elif isinstance(nodes, list):
        # Keras 2: [layer, node, tensor, arguments].
        if len(nodes) == 4 and isinstance(nodes[0], str) and isinstance(nodes[1], int):
            yield nodes[0], nodes[2]
        for value in nodes:
            yield from _sources(value)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]

"""Networks from Keras models, in .keras and .h5 files and in memory.

The files are read without Keras: the model's configuration is JSON (:mod:`.keras_graph`), the weights are HDF5. The
layers are run on labels (:mod:`.keras_run`).
"""

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError
from ..network import Network
from .confirm import SIZES, confirm
from .cut import WHOLE, Cut
from .keras_graph import MODELS, SUPPORTED, Layer, cut_names, expanded, sums_of
from .keras_run import Model, run_model

__all__ = ["load", "convert"]

#: Versions before this one differ in what names mean.
_PRESENT = 3

Arrays = Callable[[Layer], list[NDArray[Any]]]


def load(path: Path, cut: Cut = WHOLE) -> Network:
    """The network in a .keras file (Keras 3) or a whole model's .h5 file (Keras 2 and 3), or in a part of it.

    Parameters
    ----------
    path : Path
    cut : Cut
        The part that is taken, from and to layers by their names.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                config = json.loads(archive.read("config.json"))
                told = json.loads(archive.read("metadata.json")) if "metadata.json" in archive.namelist() else {}
                with h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as file:
                    return _network(config, _weights(file), path.stem, told.get("keras_version"), cut)
        with h5py.File(path) as file:
            if "model_config" not in file.attrs:
                raise ModelError("holds weights without the model; save the whole model: model.save('model.keras')")
            config, weights = json.loads(file.attrs["model_config"]), _legacy_weights(file["model_weights"])
            return _network(config, weights, path.stem, file.attrs.get("keras_version"), cut)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"not a Keras model: {_first_line(error)}") from None


def convert(model: Any, cut: Cut = WHOLE) -> Network:
    """The network in a Keras model in memory, or in a part of it; named as the model is.

    Parameters
    ----------
    model
        An object with Keras' ``to_json``, ``layers`` and, for each of these, ``name`` and ``get_weights``.
    cut : Cut
        As for :func:`load`.
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

    return _network(config, arrays, str(getattr(model, "name", kind)), config.get("keras_version"), cut)


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
        inner = {"LSTM": "cell/", "GRU": "cell/", "TimeDistributed": "layer/"}.get(layer.kind, "")
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


def _network(
    config: dict[str, Any], arrays: Arrays, name: str, version: str | None = None, cut: Cut = WHOLE
) -> Network:
    layers, outputs = expanded(config)
    if not layers:
        raise ModelError(f"the model has no layer; supported: {SUPPORTED}")
    names = [*cut_names(layers).values()]
    cut.check([*names, *(sums_of(name) for name, layer in zip(names, layers) if layer.kind == "Dense")], "layer")
    # Keras 2 has another hard sigmoid.
    is_old = version is not None and int(version.partition(".")[0]) < _PRESENT
    model = Model([(layer, arrays(layer)) for layer in layers], outputs, name, is_old)

    def run(sizes: tuple[int, ...]) -> Network:
        return run_model(model, cut, *sizes)

    network = run(SIZES[0])
    confirm(network, run, SIZES[0], [lambda steps, sequences: (steps, sequences)])
    return network


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]

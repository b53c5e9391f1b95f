"""The layers of a Keras model from its configuration, those of models inside it included, and what each reads."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import ModelError

__all__ = ["MODELS", "SUPPORTED", "Layer", "Source", "cut_names", "expanded", "sums_of"]

SUPPORTED = "LSTM, GRU and Dense layers, activations and constants, in one chain"

#: Classes of models, which may be layers of another model.
MODELS = {"Sequential", "Functional", "Model"}

#: What may follow the data where a recurrent layer is called.
_RECURRENT_ARGUMENTS = {"LSTM": ("initial_state", "mask", "training"), "GRU": ("initial_state", "mask", "training")}

#: (names of a layer, number of its result).
Source = tuple[tuple[str, ...], int]


@dataclass(frozen=True)
class Layer:
    """A layer of a model, or of a model inside it.

    Attributes
    ----------
    kind : str
        Its class.
    settings : dict
        Its configuration.
    names : tuple of str
        Those of the models around it and its own.
    group : str
        Where a .keras file keeps its weights.
    sources : tuple
        What it reads.
    arguments : list
        What it is called with, as the file has it.
    initial_state : list or None
        Constants that a recurrent layer starts from, as the file has them.
    keywords : tuple of str
        What else it is called with.
    """

    kind: str
    settings: dict[str, Any]
    names: tuple[str, ...]
    group: str
    sources: tuple[Source, ...] = ()
    arguments: list[Any] = field(default_factory=list)
    initial_state: list[Any] | None = None
    keywords: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """The layer in words."""
        return f"layer '{self.names[-1]}' ({self.kind})"


def cut_names(layers: Sequence[Layer]) -> dict[tuple[str, ...], str]:
    """What a cut calls layers: the name, with those of the models around it where several layers have it."""
    own = [layer.names[-1] for layer in layers]
    return {
        layer.names: layer.names[-1] if own.count(layer.names[-1]) == 1 else "/".join(layer.names) for layer in layers
    }


def sums_of(name: str) -> str:
    """What a cut calls the results of a Dense layer before its activation."""
    return f"{name}.linear"


def expanded(config: dict[str, Any]) -> tuple[list[Layer], list[Source]]:
    """The layers of a model, each behind those that it reads, and what the model gives.

    A model inside another counts as its layers. They are in this order in the file: Keras sorts them.
    """
    return _expanded(config, (), "layers", None)


def _expanded(
    config: dict[str, Any], outer: tuple[str, ...], group: str, given: Sequence[Source] | None
) -> tuple[list[Layer], list[Source]]:
    """The same of a model that reads ``given``; None if it is the outermost.

    In a .keras file, Keras calls a layer's group after its class, and numbers those of the same class.
    """
    model = config.get("class_name")
    if model not in MODELS:
        raise ModelError(f"the model is a {model}; supported: Sequential and Functional models")
    is_sequential = model == "Sequential"
    entries = config["config"]["layers"] if isinstance(config["config"], dict) else config["config"]
    inputs = [] if is_sequential else [name for name, _ in _ends(config["config"].get("input_layers", []))]
    found: list[Layer] = []
    results: dict[str, list[Source]] = {}  # of models inside, and of inputs that come from outside
    last: Source | None = given[0] if given else None
    counts: dict[str, int] = {}
    for entry in entries:
        kind = entry["class_name"]
        stem = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", kind).lower()
        count = counts.get(stem, 0)
        counts[stem] = count + 1
        layer = _read(entry, outer, f"{group}/{stem}{f'_{count}' * bool(count)}", is_sequential)
        own = layer.names[-1]
        if is_sequential:
            layer = replace(layer, sources=() if last is None else (last,))
        else:
            layer = replace(layer, sources=tuple(_resolved(source, outer, results) for source in layer.sources))
        if kind == "InputLayer" and given is not None:
            number = inputs.index(own) if own in inputs else 0
            if number >= len(given):
                raise ModelError(f"layer '{own}' ({kind}) reads an input of its own; supported: {SUPPORTED}")
            results[own] = [given[number]]
        elif kind in MODELS:
            inside, gives = _expanded(entry, layer.names, f"{layer.group}/layers", layer.sources)
            found += inside
            results[own] = gives
        else:
            found.append(layer)
            results.pop(own, None)
        last = results[own][0] if own in results else (layer.names, 0)
    if is_sequential:
        return found, [] if last is None else [last]
    outputs = [
        _resolved(((*outer, name), number), outer, results) for name, number in _ends(config["config"]["output_layers"])
    ]
    return found, outputs


def _resolved(source: Source, outer: tuple[str, ...], results: dict[str, list[Source]]) -> Source:
    """What a source stands for: a model's result is that of a layer in it."""
    names, number = source
    if names[:-1] == outer and names[-1] in results:
        gives = results[names[-1]]
        if number >= len(gives):
            raise ModelError(f"result {number} of '{names[-1]}' is read, which has {len(gives)}")
        return gives[number]
    return source


def _read(entry: dict[str, Any], outer: tuple[str, ...], group: str, is_sequential: bool) -> Layer:
    """A layer as its entry has it."""
    kind, settings = entry["class_name"], entry["config"]
    if is_sequential:
        own = str(settings.get("name") if isinstance(settings, dict) else entry.get("name"))
        return Layer(kind, settings, (*outer, own), group)
    own = str(entry["name"])
    nodes = entry["inbound_nodes"]
    if len(nodes) > 1:
        raise ModelError(f"layer '{own}' ({kind}) is used in several places; supported: {SUPPORTED}")
    is_present = bool(nodes) and isinstance(nodes[0], dict)
    arguments = nodes[0].get("args", []) if is_present else []
    keywords = _keywords(nodes)
    initial_state = None
    if kind in _RECURRENT_ARGUMENTS and is_present:
        keywords |= dict(zip(_RECURRENT_ARGUMENTS[kind], arguments[1:]))
        initial_state = keywords.pop("initial_state", None)
    sources = tuple(((*outer, name), number) for name, number in dict.fromkeys(_sources(nodes)))
    return Layer(kind, settings, (*outer, own), group, sources, arguments, initial_state, tuple(keywords))


def _ends(entries: Any) -> list[tuple[str, int]]:
    """(layer, number of its result) from ["head", 0, 0], or [["head", 0, 0], ...]."""
    return [(entry[0], entry[2]) for entry in ([entries] if entries and isinstance(entries[0], str) else entries)]


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

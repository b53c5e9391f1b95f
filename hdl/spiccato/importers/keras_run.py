"""One run of the layers of a Keras model on labels (:mod:`.stages`)."""

from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from ..errors import ModelError
from ..network import Network
from .chain import Chain
from .cut import Cut
from .keras_graph import Layer, Source, cut_names
from .keras_layers import RECURRENT, apply, is_passive, with_kernel
from .result import network_of
from .stages import Names
from .streaming import TAKEN_AS_STATE, Labels

__all__ = ["Model", "run_model"]


@dataclass(frozen=True)
class Model:
    """A model: its layers with their arrays, what it gives, its name, and whether it is of Keras 2."""

    layers: list[tuple[Layer, list[NDArray[Any]]]]
    outputs: list[Source]
    name: str
    is_old: bool


def run_model(model: Model, cut: Cut, steps: int, sequences: int) -> Network:
    """The network in a model or a part of it, from a run on labels (sequences, steps, features)."""
    return _Run(model, cut, steps, sequences).network()


class _Run:
    def __init__(self, model: Model, cut: Cut, steps: int, sequences: int) -> None:
        self._model = model
        self._chain = Chain(cut)
        self._sizes = sequences, steps
        self._has_input = False
        #: Results of layers by their names; None where a layer is not supported, for what it gives is not known.
        self._results: dict[tuple[str, ...], list[Labels] | None] = {}
        self._names = cut_names([layer for layer, _ in model.layers])
        self._shortened: dict[tuple[str, ...], str] = {}

    def network(self) -> Network:
        chain, model = self._chain, self._model
        for number, (layer, arrays) in enumerate(model.layers):
            self._run(number, layer, arrays)
        results = {
            f"{names[-1]}{f' {number}' * bool(number)}": given[number]
            for names, number in model.outputs
            if (given := self._results.get(names)) is not None and number < len(given)
        }
        network = network_of(chain, results, model.name)
        stateful = [layer for layer, _ in model.layers if layer.kind in RECURRENT and layer.settings.get("stateful")]
        recurrent = [layer for layer, _ in model.layers if layer.kind in RECURRENT]
        if anew := [layer for layer in recurrent if layer not in stateful] if stateful else []:
            raise ModelError(
                f"{anew[0].place} starts anew at every call, {stateful[0].place} has stateful=True; supported: all "
                "recurrent layers with it, or none"
            )
        names = ", ".join(f"{'h and c' if layer.kind == 'LSTM' else 'h'} of '{layer.names[-1]}'" for layer in stateful)
        told = f"{TAKEN_AS_STATE}: {names}" if stateful else None
        return replace(network, origin="; ".join(filter(None, (told, network.origin))) or None)

    def _run(self, number: int, layer: Layer, arrays: list[NDArray[Any]]) -> None:
        chain, name = self._chain, self._names[layer.names]
        chain.names = Names(name, name)
        if not layer.sources:
            self._results[layer.names] = self._input(layer, number)
            if layer.kind == "InputLayer":
                return
        try:
            given = self._given(layer, arrays)
            if given is None:
                if not is_passive(layer) and layer.kind != "Flatten":
                    chain.foreign(layer.place, (0,))
                self._results[layer.names] = None
                return
            if name == chain.cut.start:
                given = [chain.begin(given[0]), *given[1:]]
            self._check_shortened(layer)
            results = apply(chain, layer, name, arrays, given, self._model.is_old)
        except ModelError as error:
            chain.refuse(error)
            chain.foreign(layer.place, (0,))
            self._results[layer.names] = None
            return
        self._results[layer.names] = results
        self._note_shortened(layer)
        if name == chain.cut.end:
            chain.finish(results[0])

    def _input(self, layer: Layer, number: int) -> list[Labels]:
        """Labels of the model's input, or of one of them."""
        shape = layer.settings.get("batch_shape") or layer.settings.get("batch_input_shape") or []
        sequences, steps = self._sizes
        features = self._features(number)
        if shape and isinstance(shape[0], (list, tuple)):
            shape = shape[0]
        if len(shape) in (2, 3):
            sizes = (sequences, shape[1] or steps, shape[-1]) if len(shape) == 3 else (sequences, shape[1])
            filled = tuple(size or features or 1 for size in sizes)
        else:
            filled = (sequences, steps, features or 1)
        if self._has_input:
            self._chain.refuse(ModelError(f"{layer.place} is a further input; supported: one"))
            return [self._chain.foreign(layer.place, filled)]
        self._has_input = True
        return [self._chain.input(filled)]

    def _features(self, number: int) -> int | None:
        """What the first layer with a kernel from ``number`` on reads."""
        return next(
            (len(arrays[0]) for layer, arrays in self._model.layers[number:] if with_kernel(layer, arrays)), None
        )

    def _given(self, layer: Layer, arrays: list[NDArray[Any]]) -> list[Labels] | None:
        """What a layer reads; None if that is not known."""
        given: list[Labels] = []
        for names, number in layer.sources or ((layer.names, 0),):
            results = self._results[names]
            if results is None:
                if len(layer.sources) > 1 or not with_kernel(layer, arrays):
                    return None
                before = next(one.place for one, _ in self._model.layers if one.names == names)
                given.append(self._chain.foreign(before, (*self._sizes, len(arrays[0]))))
                continue
            if number >= len(results):
                raise ModelError(f"{layer.place} reads result {number} of '{names[-1]}', which has {len(results)}")
            given.append(results[number])
        return given

    def _check_shortened(self, layer: Layer) -> None:
        shortened = next((self._shortened[names] for names, _ in layer.sources if names in self._shortened), None)
        if layer.kind in RECURRENT and shortened:
            raise ModelError(
                f"{layer.place}: follows {shortened}, which has return_sequences=False; supported: results of all steps"
            )

    def _note_shortened(self, layer: Layer) -> None:
        """Remember the layers whose results come from one that gives its last step only."""
        if layer.kind in RECURRENT:
            if not layer.settings.get("return_sequences"):
                self._shortened[layer.names] = layer.place
            return
        for names, _ in layer.sources:
            if names in self._shortened:
                self._shortened[layer.names] = self._shortened[names]

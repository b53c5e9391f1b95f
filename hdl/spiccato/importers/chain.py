"""Follows data through a model of another framework, to see that it is a chain of layers that Spiccato can run.

Importers run a model on *labels*: integers that tell which value an element of an array stands for (which result of
which layer, of which sequence in the batch, at which step). Whatever merely moves values, such as transposing, slicing
or reshaping, is executed on the labels as it is. A layer takes labels and gives new ones, and says by name when it
does not get what the layer before computed, complete and in order. Constants that are added or multiplied become part
of the layer behind or before them. Everything else is for the importer to refuse, so that no operation is overlooked
and none is assumed; after a refusal the run goes on, to tell which part of the model would run by itself.
"""

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ModelError
from ..layers import Layer, LinearLayer, LSTMLayer
from ..network import Network
from ..program import StateName
from .streaming import Labels, StatefulLayer, handed_on, in_words, named_states

__all__ = ["SIZES", "Chain", "Labels", "Misfit", "confirm", "same_layers"]

#: What importers put in for sizes that a model leaves open: (steps, sequences), different and more than one. A model
#: counts as read when both pairs give the same network: an index that is the last step's for one is not for the other.
SIZES = ((5, 3), (7, 4))

#: Sizes with which a model is run again, in groups; of each group, the first that it takes. Either size may be that of
#: time. A window over time shows only where there are more steps than it has.
_OTHER_SIZES = (
    SIZES[1:],
    ((1021, 2), (1021, 1), (251, 2), (61, 2), (17, 2)),
    ((2, 1021), (1, 1021), (2, 251), (2, 61), (2, 17)),
)


_VARYING = "are not the same at every step and in every sequence; supported: one for each feature"


class Misfit(ModelError):
    """Sizes that do not go together; with an input of another shape they might."""


@dataclass(frozen=True, eq=False)
class _Stage:
    """What a layer, or the model's input, gives.

    ``shape`` is (steps, sequences, features); the label of feature f of sequence n at step t is
    ``first + (t * sequences + n) * features + f``. The model's input, and what an unsupported operation gives, has the
    shape it has.

    A stage with ``constants`` holds the values of ``parent``, each times ``constants[0]``, plus ``constants[1]``: one
    number for each label, NaN where the model applied none.

    ``before`` has labels of the h and c that an LSTM layer starts from, if these are not constants.
    """

    what: str
    name: str
    first: int
    shape: tuple[int, ...]
    layer: LSTMLayer | LinearLayer | None = None
    parent: "_Stage | None" = None
    constants: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
    is_cell_state: bool = False
    is_initial_state: bool = False
    before: tuple[Labels, Labels] | None = None

    @property
    def labels(self) -> Labels:
        return self.first + np.arange(np.prod(self.shape), dtype=np.int64).reshape(self.shape)

    @property
    def base(self) -> "_Stage":
        """The layer, or the input, whose values these are but for constants."""
        return self if self.constants is None or self.parent is None else self.parent

    def path(self) -> "list[_Stage]":
        """The layers from the first one to this one, each of which reads the one before."""
        stages: list[_Stage] = []
        stage: _Stage | None = self.base
        while stage is not None and stage.layer is not None:
            stages.insert(0, stage)
            stage = stage.parent and stage.parent.base
        return stages


class Chain:
    """The layers that a model has applied so far.

    Several may read the same labels; the model's result decides which of them count. Methods raise :class:`ModelError`,
    saying ``place`` first, where data does not flow as it should. ``name`` is what the model's author calls a layer.
    """

    def __init__(self) -> None:
        self._stages: list[_Stage] = []
        self._refusal: ModelError | None = None
        self._states: dict[str, Labels] = {}
        #: The axis of the model's input that is time, once an LSTM layer reads several steps of it.
        self.time_axis: int | None = None

    def _add(self, what, name, shape, **fields) -> _Stage:
        last = self._stages[-1] if self._stages else None
        first = last.first + int(np.prod(last.shape)) if last else 1
        self._stages.append(_Stage(what, name, first, tuple(shape), **fields))
        return self._stages[-1]

    def _sources(self, labels: Labels) -> list[_Stage]:
        """The stages that the labels come from."""
        found = np.searchsorted([stage.first for stage in self._stages], labels.reshape(-1), side="right") - 1
        return [self._stages[number] for number in np.flatnonzero(np.bincount(found))]

    def _source(self, place: str, labels: Labels) -> _Stage:
        """The one layer that the labels come from."""
        sources = self._sources(labels)
        if not sources:
            raise ModelError(f"{place} reads an empty array: a slice leaves nothing; supported: all steps")
        if len(sources) != 1:
            raise ModelError(f"{place} reads {self.what(labels)} at once; supported: what one layer gives")
        if sources[0].is_cell_state:
            raise ModelError(f"{place} reads {sources[0].what}; supported: a layer's results, h")
        if sources[0].is_initial_state:
            raise ModelError(
                f"{place} reads {sources[0].what}; supported: state that is the initial h and c of LSTM layers, "
                "unchanged, and nothing else"
            )
        return sources[0]

    def what(self, labels: Labels) -> str:
        """Where labels come from, in words."""
        return " and ".join(stage.what for stage in self._sources(labels)) or "an empty array"

    def input(self, shape: tuple[int, ...]) -> Labels:
        """Labels of the model's input."""
        return self._add("the model's input", "", shape).labels

    def state(self, name: str, shape: tuple[int, ...]) -> Labels:
        """Labels of state that the model takes from the call before, as an input or from where it keeps it."""
        stage = self._add(f"the state '{name}'", name, shape, is_initial_state=True)
        self._states[name] = stage.labels
        return stage.labels

    # After a refusal.

    def refuse(self, error: ModelError) -> None:
        """Note what the model does that is not supported. The first refusal is the one that :meth:`refusal` tells."""
        self._refusal = self._refusal or error

    def foreign(self, place: str, shape: tuple[int, ...]) -> Labels:
        """Labels of what an operation gives that has been refused; layers may read them like the model's input."""
        return self._add(f"the result of {place}", "", shape).labels

    @property
    def refused(self) -> bool:
        """Whether anything was refused."""
        return self._refusal is not None

    def part(self) -> list[str]:
        """Names of the layers in the longest chain of supported layers; empty if there is none.

        The last one counts if there are several.
        """
        paths = (stage.path() for stage in reversed(self._stages))
        return [stage.name for stage in max(paths, key=len, default=[])]

    def refusal(self) -> ModelError:
        """The first refusal, with the part of the model that would run by itself, if there is one."""
        names = list(dict.fromkeys(self.part()))
        if not names:
            return ModelError(str(self._refusal))
        part = f"'{names[0]}'" if len(names) == 1 else f"from '{names[0]}' to '{names[-1]}'"
        return ModelError(f"{self._refusal}; the part {part} would run: give it alone")

    # What can be run.

    def lstm(
        self,
        place: str,
        name: str,
        labels: Labels,
        layer: LSTMLayer,
        before: tuple[Labels | None, Labels | None] = (None, None),
    ) -> tuple[Labels, Labels]:
        """Apply an LSTM layer.

        Parameters
        ----------
        labels : (steps, sequences, inputs)
        before : two of (sequences, units)
            h and c that it starts from; None where that is the layer's constant.

        Returns
        -------
        (Labels, Labels)
            Of h (steps, sequences, units), and of c after the last step (sequences, units).
        """
        source = self._source(place, labels)
        if labels.ndim != 3 or labels.shape[2] != layer.input_size:
            raise Misfit(
                f"{place} reads an array of shape {labels.shape}; expected (steps, sequences, {layer.input_size})"
            )
        base = source.base
        if isinstance(base.layer, LinearLayer):
            raise ModelError(f"{place} reads {source.what}; supported: LSTM layers first, then linear layers")
        if base.layer is None:
            # The first LSTM layer tells which axis of the input is time.
            steps = [
                int(labels[index] - labels[0, 0, 0]) if size > 1 else 1
                for index, size in zip(((-1, 0, 0), (0, -1, 0), (0, 0, -1)), labels.shape)
            ]
            strides = [step // max(size - 1, 1) for step, size in zip(steps, labels.shape)]
            expected = labels[0, 0, 0] + sum(
                stride * np.arange(size).reshape([-1 if axis == k else 1 for k in range(3)])
                for axis, (stride, size) in enumerate(zip(strides, labels.shape))
            )
            in_order = min(steps) > 0 and labels.size == np.prod(source.shape) and np.array_equal(labels, expected)
            for axis, size in enumerate(source.shape):
                if size == len(labels) > 1 and strides[0] == np.prod(source.shape[axis + 1 :]):
                    self.time_axis = axis
        else:
            in_order = np.array_equal(labels, source.labels)
        if not in_order:
            raise ModelError(
                f"{place} does not read {source.what} as it is, but in another order or a part of it; "
                "supported: all features of all steps, in order"
            )
        if source.constants is not None:
            factor, offset = self._columns(place, labels, source)
            layer = replace(layer, weight_ih=layer.weight_ih * factor, bias_ih=layer.bias_ih + layer.weight_ih @ offset)
        shape = (*labels.shape[:2], layer.hidden_size)
        initial = self._initial(place, before, shape[1:])
        h = self._add(f"the result of {place}", name, shape, layer=layer, parent=source, before=initial)
        c = self._add(f"the cell state of {place}", name, shape[1:], is_cell_state=True, parent=h)
        return h.labels, c.labels

    def _initial(
        self, place: str, before: tuple[Labels | None, Labels | None], shape: tuple[int, ...]
    ) -> tuple[Labels, Labels] | None:
        """The labels that an LSTM layer starts from, if they are state; None if it starts from constants."""
        for kind, labels in zip("hc", before):
            if labels is None:
                continue
            if not all(stage.is_initial_state for stage in self._sources(labels)):
                raise ModelError(
                    f"{place}: the initial {kind} is {self.what(labels)}; supported: constants, or state that is "
                    "handed on from call to call, unchanged"
                )
            if labels.shape != shape:
                raise Misfit(f"{place}: the initial {kind} has shape {labels.shape}; expected {shape}")
        h, c = before
        if h is not None and c is not None:
            return h, c
        if h is not None or c is not None:
            raise ModelError(
                f"{place}: the initial {'h' if c is None else 'c'} is state and the other one is not; supported: both "
                "h and c, handed on from call to call"
            )
        return None

    def _stateful(self) -> list[tuple[_Stage, StatefulLayer]]:
        """The LSTM layers that start from state."""
        return [
            (h, StatefulLayer(h.what.removeprefix("the result of "), h.name, h.before, (h.labels[-1], c.labels)))
            for h, c in itertools.pairwise(self._stages)
            if h.before is not None
        ]

    def linear(self, place: str, name: str, labels: Labels, layer: LinearLayer) -> Labels:
        """Apply a linear layer to the last axis of ``labels``; returns labels with ``output_size`` in its place."""
        source = self._source(place, labels)
        if source.base.layer is None:
            raise ModelError(f"{place} reads {source.what}; supported: LSTM layers first, then linear layers")
        features = source.shape[-1]
        rows, feature = np.divmod(labels - source.first, features)
        steps = rows // source.shape[1]
        if labels.ndim and (steps != steps[..., :1]).any():
            message = f"{place} reads several steps of {source.what} at once"
            if layer.input_size == features:
                raise Misfit(f"{message}, {labels.shape[-1]} values; it takes {features}")
            raise ModelError(f"{message}; supported: one step, since the accelerator gives an output for each")
        if labels.shape[-1:] != (features,) or (feature != np.arange(features)).any() or (rows != rows[..., :1]).any():
            raise ModelError(f"{place} does not read all {features} features of {source.what} in order")
        if layer.input_size != features:
            raise ModelError(f"{place} takes {layer.input_size} inputs; expected {features}, {source.what}")
        if source.constants is not None:
            factor, offset = self._columns(place, labels, source)
            layer = LinearLayer(layer.weight * factor, layer.bias + layer.weight @ offset)
        stage = self._add(
            f"the result of {place}", name, (*source.shape[:2], layer.output_size), layer=layer, parent=source
        )
        return stage.first + rows[..., :1] * layer.output_size + np.arange(layer.output_size)

    def constants(
        self, place: str, name: str, labels: Labels, factor: ArrayLike = 1.0, offset: ArrayLike = 0.0
    ) -> Labels:
        """Multiply by a constant, then add one.

        A linear layer before takes both up, else the layer behind does, which checks that they are the same at every
        step.

        Parameters
        ----------
        labels, factor, offset
            Broadcast with each other.

        Returns
        -------
        Labels
            Of the shape to which all three are broadcast.
        """
        source = self._source(place, labels)
        try:
            labels, *numbers = np.broadcast_arrays(labels, *(np.asarray(a, dtype=np.float64) for a in (factor, offset)))
        except ValueError:
            raise Misfit(
                f"{place}: constants of shape {np.shape(factor) or np.shape(offset)} do not fit an array of "
                f"shape {labels.shape}"
            ) from None
        if not all(np.isfinite(array).all() for array in numbers):
            raise ModelError(f"{place}: a constant is not finite, or a division by zero")
        elements = (labels - source.first).reshape(-1)
        applied = []
        for array in numbers:
            spread = np.full(np.prod(source.shape), np.nan)
            spread[elements] = array.reshape(-1)
            if (spread[elements] != array.reshape(-1)).any():
                raise ModelError(
                    f"{place} combines {source.what} with several constants at once; supported: one for each feature"
                )
            applied.append(spread)
        what = f"the result of {place}"
        if isinstance(source.layer, LinearLayer):
            # A layer's own bias, or a scale, belongs to it; an output that the model leaves as it is has neither.
            of_feature = elements % source.shape[-1]
            columns = [np.full(source.shape[-1], neutral) for neutral in (1.0, 0.0)]
            for column, array in zip(columns, numbers):
                column[of_feature] = array.reshape(-1)
                if (column[of_feature] != array.reshape(-1)).any():
                    raise ModelError(f"{place} applies constants to {source.what} that {_VARYING}")
            factor, offset = columns
            layer = LinearLayer(source.layer.weight * factor[:, None], source.layer.bias * factor + offset)
            stage = self._add(what, name or source.name, source.shape, layer=layer, parent=source.parent)
        else:
            if source.constants is not None:
                before = source.constants
                applied = [before[0] * applied[0], before[1] * applied[0] + applied[1]]
            stage = self._add(what, name, source.shape, parent=source.base, constants=tuple(applied))
        return stage.first + labels - source.first

    def _columns(self, place: str, labels: Labels, source: _Stage) -> list[NDArray[np.float64]]:
        """Factor and offset for each feature, the last axis of ``labels``."""
        result = []
        for array in source.constants or ():
            rows = array[labels - source.first].reshape(-1, labels.shape[-1])
            if (rows != rows[0]).any():
                raise ModelError(f"{place} reads {source.what}, whose constants {_VARYING}")
            result.append(rows[0])
        return result

    def network(
        self, results: dict[str, Labels], name: str, kept: Mapping[str, Labels | None] | None = None
    ) -> Network:
        """The network that computes what a model gives.

        Parameters
        ----------
        results : dict
            Name -> labels; one is the result, others hand state on, are h or c of layers on the way to it, or, where
            the model takes no state, final states of LSTM layers.
        kept : mapping
            What the states that the model keeps hold after the call (:func:`.streaming.handed_on`).
        """
        if self.refused:
            raise self.refusal()
        if not results:
            self.refuse(ModelError("the model gives no result; supported: one result of one layer"))
            raise self.refusal()
        empty = next((key for key, labels in results.items() if not labels.size), None)
        if empty is not None:
            after = f" after {self.steps()} steps" if self.part() else ""
            self.refuse(
                ModelError(f"the model's result '{empty}' is empty{after}; supported: all steps, or the last one")
            )
            raise self.refusal()
        stateful = self._stateful()
        stateful_layers = [layer for _, layer in stateful]
        handed = handed_on(self._states, stateful_layers, results, kept or {})
        # A model may give h but once, as its state and as its result.
        rest = {key: labels for key, labels in results.items() if key not in handed.values()} or results
        proper = [key for key, labels in rest.items() if not self._is_state(labels)]
        if not proper:
            # The model ends with an LSTM layer's last h, or with a single step.
            proper = [
                key for key, labels in rest.items() if [s.is_cell_state for s in self._sources(labels)] == [False]
            ]
            proper = [self._furthest({key: rest[key] for key in proper}) or proper[0]] if proper else []
        result = proper[0] if len(proper) == 1 else self._furthest({key: rest[key] for key in proper})
        if result is None:
            named = ", ".join(f"'{key}'" for key in proper or rest)
            self.refuse(
                ModelError(
                    f"the model gives {named}; supported: one result of one layer, besides h and c of the LSTM layers "
                    "before it"
                )
            )
            raise self.refusal()
        place = f"the model's result '{result}'"
        labels = results[result]
        last = self._source(place, labels)
        path = last.path()
        layers: list[Layer] = [stage.layer for stage in path if stage.layer is not None]
        if not layers:
            raise ModelError(f"{place} is its input; supported: LSTM layers, then linear layers")
        if stateful:
            self._check_streaming(path, [stage for stage, _ in stateful], result)
        # Final states are no news where the model does not start from them.
        more = [key for key in (rest if stateful else proper) if key not in (result, *handed.values())]
        read = {key: self._read_state(key, results[key], path, result) for key in more}
        in_order = self._whole(place, labels, last)
        if last.constants is not None:
            # No layer follows that could take the constants up.
            factor, offset = self._columns(place, in_order, last)
            layers.append(LinearLayer(np.diag(factor), offset))
        numbered = [(path.index(stage), layer) for stage, layer in stateful]
        states = [*named_states(handed, self._states, numbered), *read.values()]
        told = {key: f"{state.kind} of '{path[state.layer].name}'" for key, state in read.items()}
        return Network(
            tuple(layers), name, origin=in_words(handed, self._states, stateful_layers, told), states=tuple(states)
        )

    def _furthest(self, results: Mapping[str, Labels]) -> str | None:
        """The result that comes from where all of them come from, if there is one."""
        bases = {key: [stage.base for stage in self._sources(labels)] for key, labels in results.items()}
        for key, (base, *more) in bases.items():
            path = base.path()
            if not more and all(stage in path for others in bases.values() for stage in others):
                return key
        return None

    def _whole(self, place: str, labels: Labels, stage: _Stage) -> Labels:
        """Refuse what is not all of what a layer gives, at all steps or the last one; in order, (rows, features)."""
        steps, sequences, features = (1, *stage.shape)[-3:]
        row, feature = np.divmod(labels.reshape(-1) - stage.first, features)
        order = np.argsort(row, kind="stable")
        if labels.size % features or (feature[order].reshape(-1, features) != np.arange(features)).any():
            raise ModelError(f"{place} does not hold all {features} values of {stage.what}, in order and once")
        step, sequence = np.divmod(row, sequences)
        if len(np.unique(sequence)) != sequences:
            raise ModelError(
                f"{place} holds only a part of the batch; supported: all sequences "
                "(is an LSTM layer's batch_first set wrongly?)"
            )
        if set(step) not in ({steps - 1}, set(range(steps))):
            held = [*map(str, np.unique(step) + 1)]
            held = held if len(held) <= 8 else [*held[:3], "...", held[-1]]
            raise ModelError(f"{place} holds steps {', '.join(held)} of {steps}; supported: all steps, or the last one")
        return labels.reshape(-1)[order].reshape(-1, features)

    def _read_state(self, name: str, labels: Labels, path: list[_Stage], result: str) -> StateName:
        """What of a context's state another result of the model is; refuses what is none."""
        sources = self._sources(labels)
        stage = sources[0]
        layer = stage.parent if stage.is_cell_state else stage
        if len(sources) > 1 or layer is None or layer not in path or not isinstance(layer.layer, LSTMLayer):
            raise ModelError(
                f"the model gives '{name}', {self.what(labels)}, besides '{result}'; supported: one result, and h and "
                "c, as they are, of the layers that compute it"
            )
        self._whole(f"the model's result '{name}'", labels, stage)
        return StateName(name, "c" if stage.is_cell_state else "h", path.index(layer), result=True)

    def _check_streaming(self, path: list[_Stage], stateful: list[_Stage], result: str) -> None:
        """Refuse a model of which a context would not hold exactly what it hands on."""
        for stage in path:
            if isinstance(stage.layer, LSTMLayer) and stage not in stateful:
                raise ModelError(
                    f"'{stage.name}' starts anew at every call, other layers from state that is handed on; supported: "
                    "all LSTM layers from state, or none"
                )
        for stage in stateful:
            if stage not in path:
                raise ModelError(
                    f"the state of '{stage.name}' is handed on, but the model's result '{result}' does not depend on "
                    "it; supported: h and c of the layers that compute the result"
                )

    def steps(self) -> int:
        """Steps of the last LSTM layer that was applied."""
        return next(stage.shape[0] for stage in reversed(self._stages) if isinstance(stage.layer, LSTMLayer))

    def _is_state(self, labels: Labels) -> bool:
        """Whether these are final states only: c, or h after the last step."""
        flat = labels.reshape(-1)
        for stage in self._sources(flat):
            if not stage.is_cell_state:
                if not isinstance(stage.layer, LSTMLayer):
                    return False
                last = stage.labels[-1].reshape(-1)
                own = flat[(flat >= stage.first) & (flat <= last[-1])]
                if (own < last[0]).any():
                    return False
        return True


def confirm(
    network: Network,
    run: Callable[[tuple[int, ...]], Network],
    shape: tuple[int, ...],
    forms: Iterable[Callable[[int, int], tuple[int, ...]]] = (),
    misfit: type[Exception] = Misfit,
) -> bool:
    """See that a model computes the same once more, and with inputs of other shapes, where it takes them.

    Parameters
    ----------
    network : Network
        What was read with an input of ``shape``.
    run
        Gives the network with another; raises ``misfit`` if the model does not take it.
    forms
        Give a shape from two sizes; that is where the model may have any number of steps and sequences.

    Returns
    -------
    bool
        Whether it took an input of another shape.

    Raises
    ------
    ModelError
        It computes something else.
    """
    if not _are_same(network, run(shape)):
        raise ModelError("constants that the model uses differ from run to run; supported: the same in every run")
    seen, taken = {shape}, False
    for form, group in itertools.product(forms, _OTHER_SIZES):
        for other in (form(*sizes) for sizes in group):
            if other in seen:
                continue
            seen.add(other)
            try:
                again = run(other)
            except misfit:
                continue
            except ModelError as error:
                raise ModelError(f"on an input of shape {other}, {error}") from None
            if not _are_same(network, again):
                raise ModelError(
                    "constants that the model uses, or its layers, depend on the number of steps or sequences: inputs "
                    f"of shape {shape} and {other} give different ones; supported: the same for any number"
                )
            taken = True
            break
    return taken


def same_layers(network: Network, other: Network) -> bool:
    """Whether two networks compute the same, whatever their sequences start from."""
    return _are_same(_without_start(network), _without_start(other))


def _without_start(network: Network) -> Network:
    layers = [replace(layer, h0=None, c0=None) if isinstance(layer, LSTMLayer) else layer for layer in network.layers]
    return replace(network, layers=tuple(layers))


def _are_same(network: Network, other: Network) -> bool:
    ours, theirs = network.to_state_dict(), other.to_state_dict()
    return ours.keys() == theirs.keys() and all(np.array_equal(ours[key], theirs[key]) for key in ours)

"""Follows data through a model, to see that it is a chain of layers that Spiccato can run.

A layer takes labels (:mod:`.stages`) and gives new ones, and says by name when it does not get what the layer before
computed, complete and in order. Constants that are added or multiplied become part of the layer behind or before them.
Everything else is for the importer to refuse, so that no operation is overlooked and none is assumed.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ModelError
from ..layers import Layer, LinearLayer
from .stages import Misfit, Names, Stage, Stages
from .streaming import Labels, StatefulLayer

__all__ = ["Chain", "combined"]

_VARYING = "are not the same at every step and in every sequence; supported: one for each feature"


class Chain(Stages):
    """The layers that a model has applied so far.

    Several may read the same labels; the model's result decides which of them count. Methods raise :class:`ModelError`,
    saying ``place`` first, where data does not flow as it should. ``name`` is what the model's author calls a layer.
    """

    def recurrent(
        self, place: str, name: str, labels: Labels, layer: Layer, before: Mapping[str, Labels | None]
    ) -> tuple[Labels, Labels | None]:
        """Apply a recurrent layer.

        Parameters
        ----------
        labels : (steps, sequences, inputs)
        before : mapping
            Name of each state of the layer ("h", "c") -> (sequences, units) that it starts from; None where that is the
            layer's constant.

        Returns
        -------
        (Labels, Labels or None)
            Of h (steps, sequences, units), and of c after the last step (sequences, units), if the layer has it.
        """
        source = self.source(place, labels)
        if labels.ndim != 3 or labels.shape[2] != layer.input_size:
            raise Misfit(
                f"{place} reads an array of shape {labels.shape}; expected (steps, sequences, {layer.input_size})"
            )
        if source.is_timed:
            self._require_order(place, source, np.array_equal(labels, source.labels))
        else:
            # The first recurrent layer tells which axis is time.
            axes = self._view(place, labels, source)
            self.time_axis = axes[0] if axes[0] is not None else self.time_axis
        shape = (*labels.shape[:2], layer.output_size)
        initial = self._initial(place, before, shape[1:])
        fed = self.fed(place, labels, source, layer)
        h = self.add_result(place, name, shape, **fed, before=initial, is_arranged=True, is_timed=True)
        if "c" not in before:
            return h.labels, None
        c = self.add(f"the cell state of {place}", name, shape[1:], is_cell_state=True, parent=h)
        return h.labels, c.labels

    def _view(self, place: str, labels: Labels, source: Stage) -> tuple[int | None, ...]:
        """Check that labels are all that a stage without time gives, in another order of axes at most.

        Returns for each axis of ``labels`` which one of the model's input it is.
        """
        origin = labels.reshape(-1)[0]
        strides = [int(labels[(0,) * k + (-1,) + (0,) * (labels.ndim - k - 1)] - origin) for k in range(labels.ndim)]
        strides = [step // max(size - 1, 1) for step, size in zip(strides, labels.shape)]
        expected = origin + sum(
            stride * np.arange(size).reshape([-1 if axis == k else 1 for k in range(labels.ndim)])
            for axis, (stride, size) in enumerate(zip(strides, labels.shape))
        )
        # Every label once: sorted by their strides, axes lie within each other without a gap.
        within = 1
        nested = True
        for stride, size in sorted((stride, size) for stride, size in zip(strides, labels.shape) if size > 1):
            nested = nested and stride == within
            within *= size
        in_order = nested and within == np.prod(source.shape) and np.array_equal(labels, expected)
        if source.is_arranged:
            in_order = in_order and labels.shape[-1] == source.shape[-1] and strides[-1] in (0, 1)
        self._require_order(place, source, in_order)
        axes: list[int | None] = [None] * labels.ndim
        for axis, of_input in zip(range(len(source.shape)), source.axes):
            for number, (stride, size) in enumerate(zip(strides, labels.shape)):
                if size == source.shape[axis] > 1 and stride == np.prod(source.shape[axis + 1 :]):
                    axes[number] = of_input
        return tuple(axes)

    def _require_order(self, place: str, source: Stage, in_order: bool) -> None:
        if not in_order:
            raise ModelError(
                f"{place} does not read {source.what} as it is, but in another order or a part of it; "
                "supported: all features of all steps, in order"
            )

    def _initial(
        self, place: str, before: Mapping[str, Labels | None], shape: tuple[int, ...]
    ) -> dict[str, Labels] | None:
        """The labels that a recurrent layer starts from, if they are state; None if it starts from constants."""
        given = {kind: labels for kind, labels in before.items() if labels is not None}
        for kind, labels in given.items():
            if not all(stage.is_initial_state for stage in self.sources(labels)):
                raise ModelError(
                    f"{place}: the initial {kind} is {self.what(labels)}; supported: constants, or state that is "
                    "handed on from call to call, unchanged"
                )
            if labels.shape != shape:
                raise Misfit(f"{place}: the initial {kind} has shape {labels.shape}; expected {shape}")
        if 0 < len(given) < len(before):
            raise ModelError(
                f"{place}: the initial {next(iter(given))} is state and the other one is not; supported: both "
                "h and c, handed on from call to call"
            )
        return given or None

    def stateful(self) -> list[tuple[Stage, StatefulLayer]]:
        """The recurrent layers that start from state."""
        ends = {id(stage.parent): stage.labels for stage in self if stage.is_cell_state}
        found = []
        for h in self:
            if h.before is not None:
                after = {"h": h.labels[-1]} | ({"c": ends[id(h)]} if id(h) in ends else {})
                found.append((h, StatefulLayer(h.place, h.name, h.before, after)))
        return found

    def linear(self, place: str, name: str, labels: Labels, layer: LinearLayer) -> Labels:
        """Apply a linear layer to the last axis of ``labels``; returns labels with ``output_size`` in its place."""
        source = self.source(place, labels)
        if not source.is_arranged:
            # The layer tells which axis holds the features.
            if labels.shape[-1:] != (layer.input_size,):
                raise Misfit(f"{place} reads an array of shape {labels.shape}; expected (..., {layer.input_size})")
            axes = self._view(place, labels, source)[:-1]
            shape = (*labels.shape[:-1], layer.output_size)
            fed = self.fed(place, labels, source, layer)
            return self.add_result(place, name, shape, **fed, axes=axes, is_arranged=True).labels
        features = source.shape[-1]
        rows, feature = np.divmod(labels - source.first, features)
        steps = rows // source.shape[1] if source.is_timed else rows
        if labels.ndim and (steps != steps[..., :1]).any():
            message = f"{place} reads several steps of {source.what} at once"
            if layer.input_size == features:
                raise Misfit(f"{message}, {labels.shape[-1]} values; it takes {features}")
            raise ModelError(f"{message}; supported: one step, since the accelerator gives an output for each")
        if labels.shape[-1:] != (features,) or (feature != np.arange(features)).any() or (rows != rows[..., :1]).any():
            raise ModelError(f"{place} does not read all {features} features of {source.what} in order")
        if layer.input_size != features:
            raise ModelError(f"{place} takes {layer.input_size} inputs; expected {features}, {source.what}")
        stage = self.following(place, name, labels, source, layer)
        return stage.first + rows[..., :1] * layer.output_size + np.arange(layer.output_size)

    def following(self, place: str, name: str, labels: Labels, source: Stage, layer: Layer) -> Stage:
        """The stage of a layer on all rows of one whose features come last, the last axis of ``labels``."""
        return self.add_result(
            place,
            name,
            (*source.shape[:-1], layer.output_size),
            **self.fed(place, labels, source, layer),
            axes=source.axes,
            is_arranged=True,
            is_timed=source.is_timed,
        )

    def fed(self, place: str, labels: Labels, source: Stage, layer: Layer) -> dict[str, Any]:
        """How a layer gets ``labels`` of a stage: fields of its own, with constants and sums in its weights."""
        if source.constants is not None:
            layer = _after(layer, LinearLayer(*self.affine(place, labels, source)))
        base = source.base
        if not base.addends:
            return {"layer": layer, "parent": source}
        combination, reads = combined(base)
        return {"layer": _after(layer, combination), "parent": base.parent, "reads": reads}

    def replacing(self, place: str, name: str, source: Stage, layer: Layer) -> Stage:
        """The stage of a layer that does what the one of ``source`` does, and more."""
        names = Names(source.names.start, self.names.end)
        stage = self.add_result(place, name or source.name, (*source.shape[:-1], layer.output_size))
        fields: dict[str, Any] = {"layer": layer, "replaced": source, "names": names, "is_arranged": True}
        kept = {field: getattr(source, field) for field in ("parent", "reads", "axes", "is_timed")}
        self._stages[-1] = replace(stage, **fields, **kept)
        return self._stages[-1]

    def total(self, place: str, name: str, addends: Mapping[Stage, float], top: Stage) -> Stage:
        """The stage of a sum of stages on the path of ``top``, each times a number."""
        fields = {"axes": top.axes, "is_arranged": top.is_arranged, "is_timed": top.is_timed}
        return self.add_result(place, name, top.shape, parent=top, addends=tuple(addends.items()), **fields)

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
        source = self.source(place, labels)
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
        if isinstance(source.layer, LinearLayer):
            # A layer's own bias, or a scale, belongs to it; an output that the model leaves as it is has neither.
            of_feature = elements % source.shape[-1]
            columns = [np.full(source.shape[-1], neutral) for neutral in (1.0, 0.0)]
            for column, array in zip(columns, numbers):
                column[of_feature] = array.reshape(-1)
                if (column[of_feature] != array.reshape(-1)).any():
                    raise ModelError(f"{place} applies constants to {source.what} that {_VARYING}")
            stage = self.replacing(
                place, name, source, LinearLayer(np.diag(columns[0]), columns[1]).after(source.layer)
            )
        else:
            if source.constants is not None:
                before = source.constants
                applied = [before[0] * applied[0], before[1] * applied[0] + applied[1]]
                if _is_nothing(*(array[elements] for array in applied)):
                    return source.base.first + labels - source.first
            stage = self._constants_of(place, name, source, (applied[0], applied[1]))
        return stage.first + labels - source.first

    def _constants_of(
        self, place: str, name: str, source: Stage, constants: tuple[NDArray[np.float64], NDArray[np.float64]]
    ) -> Stage:
        """The stage of constants that are applied to ``source``, which may be a stage of constants itself."""
        stage = self.add_result(
            place,
            name,
            source.shape,
            parent=source.base,
            constants=constants,
            axes=source.axes,
            is_arranged=source.is_arranged,
            is_timed=source.is_timed,
        )
        if source is not source.base:
            self._stages[-1] = replace(stage, replaced=source, names=Names(source.names.start, self.names.end))
        return self._stages[-1]

    def affine(self, place: str, labels: Labels, source: Stage) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """A stage's constants as weights and bias, for the last axis of ``labels``."""
        factor, offset = self.columns(place, labels, source)
        return np.diag(factor), offset

    def columns(self, place: str, labels: Labels, source: Stage) -> list[NDArray[np.float64]]:
        """Factor and offset for each feature, the last axis of ``labels``."""
        result = []
        for array in source.constants or ():
            rows = array[labels - source.first].reshape(-1, labels.shape[-1])
            if (rows != rows[0]).any():
                raise ModelError(f"{place} reads {source.what}, whose constants {_VARYING}")
            result.append(rows[0])
        return result

    def steps(self) -> int | None:
        """Steps of the last recurrent layer that was applied; None if there was none."""
        recurrent = [stage for stage in self if stage.layer is not None and stage.layer.recurrent]
        return recurrent[-1].shape[0] if recurrent else None


def combined(stage: Stage) -> tuple[LinearLayer, int]:
    """The linear layer that gives a sum's values, and how many layers it reads: from the first addend to the last."""
    addends = dict(stage.addends)
    assert stage.parent is not None
    path = stage.parent.path()
    span = path[min(path.index(one) for one in addends) :]
    size = stage.shape[-1]
    parts = [addends.get(one, 0.0) * np.eye(size, one.shape[-1]) for one in span]
    return LinearLayer(np.concatenate(parts, axis=1)), len(span)


def _is_nothing(factor: NDArray[np.float64], offset: NDArray[np.float64]) -> bool:
    """Whether constants undo each other, but for float64's rounding of a quotient."""
    return not offset.any() and np.allclose(factor, 1.0, rtol=0, atol=np.finfo(np.float64).eps)


def _after(layer: Layer, first: LinearLayer) -> Layer:
    after = layer.after(first)
    assert after is not None  # all kinds that are made from models can
    return after

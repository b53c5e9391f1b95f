"""Follows data through a model of another framework, to see that it is a chain of layers that Spiccato can run.

Importers run a model on *labels*: integers that tell which value an element of an array stands for (which result of
which layer, of which sequence in the batch, at which step). Whatever merely moves values, such as transposing, slicing
or reshaping, is executed on the labels as it is. A layer takes labels and gives new ones, and says by name when it
does not get what the layer before computed, complete and in order. Everything else is for the importer to refuse, so
that no operation is overlooked and none is assumed.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..network import LinearLayer, LSTMLayer, ModelError, Network

__all__ = ["STEPS", "BATCH", "Chain", "Labels"]

Labels = NDArray[np.int64]

#: What importers put in for sizes that a model leaves open: steps and sequences, different and more than one.
STEPS, BATCH = 5, 3


@dataclass(frozen=True, eq=False)
class _Stage:
    """What a layer, or the model's input, gives: ``shape`` is (steps, sequences, features); the label of feature f of
    sequence n at step t is ``first + (t * sequences + n) * features + f``. The model's input has the shape it has."""

    what: str
    first: int
    shape: tuple[int, ...]
    layer: LSTMLayer | LinearLayer | None = None
    parent: "_Stage | None" = None
    is_cell_state: bool = False

    @property
    def labels(self) -> Labels:
        return self.first + np.arange(np.prod(self.shape), dtype=np.int64).reshape(self.shape)


class Chain:
    """The layers that a model has applied so far. Several may read the same labels; the model's result decides which
    of them count.

    Methods raise :class:`ModelError`, saying ``place`` first, where data does not flow as it should.
    """

    def __init__(self) -> None:
        self._stages: list[_Stage] = []

    def _add(self, what, shape, **fields) -> _Stage:
        last = self._stages[-1] if self._stages else None
        first = last.first + int(np.prod(last.shape)) if last else 1
        self._stages.append(_Stage(what, first, tuple(shape), **fields))
        return self._stages[-1]

    def _sources(self, labels: Labels) -> list[_Stage]:
        """The stages that the labels come from."""
        found = np.searchsorted([stage.first for stage in self._stages], np.unique(labels), side="right") - 1
        return [self._stages[number] for number in np.unique(found)]

    def _source(self, place: str, labels: Labels) -> _Stage:
        """The one layer that the labels come from."""
        sources = self._sources(labels)
        if len(sources) != 1:
            raise ModelError(f"{place} reads {' and '.join(s.what for s in sources) or 'nothing'} at once; "
                             "supported: what one layer gives")
        if sources[0].is_cell_state:
            raise ModelError(f"{place} reads {sources[0].what}; supported: a layer's results, h")
        return sources[0]

    def input(self, shape: tuple[int, ...]) -> Labels:
        """Labels of the model's input."""
        return self._add("the model's input", shape).labels

    def lstm(self, place: str, labels: Labels, layer: LSTMLayer) -> tuple[Labels, Labels]:
        """Apply an LSTM layer, its state starting from zero.

        Parameters:
            labels: (steps, sequences, inputs).

        Returns:
            Labels of h (steps, sequences, units), and of c after the last step (sequences, units).
        """
        source = self._source(place, labels)
        if labels.ndim != 3 or labels.shape[2] != layer.input_size:
            raise ModelError(f"{place} reads an array of shape {labels.shape}; expected (steps, sequences, "
                             f"{layer.input_size})")
        if isinstance(source.layer, LinearLayer):
            raise ModelError(f"{place} reads {source.what}; supported: LSTM layers first, then linear layers")
        if source.layer is None:
            # The first LSTM layer tells which axis of the input is time.
            steps = [int(labels[index] - labels[0, 0, 0]) if size > 1 else 1
                     for index, size in zip(((-1, 0, 0), (0, -1, 0), (0, 0, -1)), labels.shape)]
            strides = [step // max(size - 1, 1) for step, size in zip(steps, labels.shape)]
            expected = labels[0, 0, 0] + sum(
                stride * np.arange(size).reshape([-1 if axis == k else 1 for k in range(3)])
                for axis, (stride, size) in enumerate(zip(strides, labels.shape)))
            in_order = (min(steps) > 0 and labels.size == np.prod(source.shape) and np.array_equal(labels, expected))
        else:
            in_order = np.array_equal(labels, source.labels)
        if not in_order:
            raise ModelError(f"{place} does not read {source.what} as it is, but in another order or a part of it; "
                             "supported: all features of all steps, in order")
        shape = (*labels.shape[:2], layer.hidden_size)
        h = self._add(f"the result of {place}", shape, layer=layer, parent=source)
        c = self._add(f"the cell state of {place}", shape[1:], is_cell_state=True)
        return h.labels, c.labels

    def linear(self, place: str, labels: Labels, layer: LinearLayer) -> Labels:
        """Apply a linear layer to the last axis of ``labels``; returns labels with ``output_size`` in its place."""
        source = self._source(place, labels)
        if source.layer is None:
            raise ModelError(f"{place} reads {source.what}; supported: LSTM layers first, then linear layers")
        return self._rows(place, labels, source, layer, source)

    def bias(self, place: str, labels: Labels, bias: NDArray[np.float64]) -> Labels:
        """Add a bias to what a linear layer without one gave."""
        source = self._source(place, labels)
        if not isinstance(source.layer, LinearLayer) or source.layer.bias.any():
            raise ModelError(f"{place} adds constants to {source.what}; supported: one bias of a linear layer")
        return self._rows(place, labels, source, replace(source.layer, bias=bias), source.parent)

    def _rows(self, place, labels, source, layer, parent) -> Labels:
        """Labels of a linear layer for the rows of ``source`` that ``labels`` are."""
        features = source.shape[-1]
        rows, feature = np.divmod(labels - source.first, features)
        if labels.shape[-1:] != (features,) or (feature != np.arange(features)).any() or (
                rows != rows[..., :1]).any():
            raise ModelError(f"{place} does not read all {features} features of {source.what} in order")
        if parent is source and layer.input_size != features:
            raise ModelError(f"{place} takes {layer.input_size} inputs; expected {features}, {source.what}")
        stage = self._add(f"the result of {place}", (*source.shape[:2], layer.output_size), layer=layer, parent=parent)
        return stage.first + rows[..., :1] * layer.output_size + np.arange(layer.output_size)

    def network(self, results: dict[str, Labels], name: str) -> Network:
        """The network that computes what a model gives.

        Parameters:
            results: name -> labels; one is the result, others may be final states of LSTM layers.
        """
        proper = [key for key, labels in results.items() if not self._is_state(labels)]
        if not proper:
            # The model ends with an LSTM layer's last h, or with a single step.
            proper = [key for key, labels in results.items()
                      if [s.is_cell_state for s in self._sources(labels)] == [False]][:1]
        if len(proper) != 1:
            named = ", ".join(f"'{key}'" for key in proper or results)
            raise ModelError(f"the model gives {named}; supported: one result of one layer, besides the final states "
                             "of LSTM layers")
        place = f"the model's result '{proper[0]}'"
        labels = results[proper[0]]
        last = self._source(place, labels)
        layers = []
        stage = last
        while stage.layer is not None:
            layers.insert(0, stage.layer)
            stage = stage.parent
        if not layers:
            raise ModelError(f"{place} is its input; supported: LSTM layers, then linear layers")
        steps, sequences, features = last.shape
        row, feature = np.divmod(labels.reshape(-1) - last.first, features)
        order = np.argsort(row, kind="stable")
        if labels.size % features or (feature[order].reshape(-1, features) != np.arange(features)).any():
            raise ModelError(f"{place} does not hold all {features} values of {last.what}, in order and once")
        step, sequence = np.divmod(row, sequences)
        if len(np.unique(sequence)) != sequences:
            raise ModelError(f"{place} holds only a part of the batch; supported: all sequences "
                             "(is an LSTM layer's batch_first set wrongly?)")
        if set(step) not in ({steps - 1}, set(range(steps))):
            raise ModelError(f"{place} holds steps {', '.join(map(str, np.unique(step) + 1))} of {steps}; supported: "
                             "all steps, or the last one")
        return Network(tuple(layer for layer in layers if isinstance(layer, LSTMLayer)),
                       tuple(layer for layer in layers if isinstance(layer, LinearLayer)), name)

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

"""Trained networks: a chain of layers.

Everything is checked here and in :mod:`.layers`, once, on the way in. A :class:`Network` that exists is complete,
finite and its shapes chain, so that nothing behind it (compiler, models, benches) checks again.
"""

import dataclasses
import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from .arrays import fixed_array
from .errors import ModelError
from .layers import DenseLayer, Layer, LinearLayer
from .layers.arithmetic import Array
from .layers.heads import side_by_side
from .layers.layer import set_fields
from .program import StateName

__all__ = ["Network"]


@dataclass(frozen=True, eq=False)
class Network:
    """Layers, each fed by the one before or by several, of any kinds in any order.

    Parameters
    ----------
    layers : sequence of Layer
        Of the kinds in :mod:`spiccato.layers`, one at least of another than linear. The results of the last one are
        the outputs.
    name : str
        What reports call it.
    calibration : (steps, input_size)
        Typical inputs in time order, from which the input features' scales are taken; None if there are none.
    origin : str or None
        One line on what was stated or assumed when the network was taken from tensors that do not tell how they belong
        together, on what was taken as state that the accelerator keeps, or on what stays outside of a part of a
        model; None if nothing was.
    outputs : sequence of (str, int)
        Names and sizes of the parts of an output packet, in their order; none: one part, ``output``.
    reads : sequence of int
        For each layer of how many ones before it the results are its input, one behind the other: what goes around
        layers, to be added or to stand beside their results, is in the weights of the layer behind. None: 1 of each.
    states : sequence of StateName
        What the model calls h and c of its layers, as far as it does.

    Raises
    ------
    ModelError
        No layer that is more than linear, sizes that do not chain, layers that read others than there are, parts of
        outputs that are not all of them, names of states that there are not, or a bad calibration array.
    """

    layers: tuple[Layer, ...]
    name: str = "network"
    calibration: Array | None = None
    origin: str | None = None
    outputs: tuple[tuple[str, int], ...] = ()
    reads: tuple[int, ...] = ()
    states: tuple[StateName, ...] = ()

    def __post_init__(self) -> None:
        outputs = tuple((name, size) for name, size in self.outputs)
        if self.reads and len(self.reads) != len(self.layers):
            raise ModelError(f"reads tells of {len(self.reads)} layers; expected {len(self.layers)}")
        # What is usual stays untold, so that layers may be replaced by more or fewer.
        reads = tuple(self.reads) if set(self.reads) != {1} else ()
        set_fields(self, layers=tuple(self.layers), outputs=outputs, reads=reads, states=tuple(self.states))
        if all(layer.linear is not None for layer in self.layers):
            what = "only linear layers, which are one matrix" if self.layers else "no layers"
            raise ModelError(f"network '{self.name}' has {what}; at least one LSTM, GRU or dense layer is needed")
        labels = list(self._labels())
        for number, (label, layer, count) in enumerate(zip(labels, self.layers, self.layer_reads)):
            if not 1 <= count <= max(number, 1):
                raise ModelError(f"{label} reads {count} layers; expected 1 to {max(number, 1)}: those before it")
            given = sum(one.output_size for one in self.layers[max(number - count, 0) : number])
            if number and given != layer.input_size:
                before = " and ".join(labels[number - count : number])
                raise ModelError(f"{label} takes {layer.input_size} inputs; expected {given}, the outputs of {before}")
        names, sizes = zip(*self.output_parts)
        if sum(sizes) != self.output_size or len(set(names)) != len(names):
            told = ", ".join(f"{name} {size}" for name, size in self.outputs)
            raise ModelError(f"outputs {told}: expected different names, and sizes that add up to {self.output_size}")
        self._check_states()
        if self.calibration is not None:
            set_fields(self, calibration=fixed_array("calibration", self.calibration, ("steps", self.input_size)))

    def _check_states(self):
        there = {(one, number) for number, layer in enumerate(self.stateful_layers) for one in layer.state_kinds}
        names: set[str] = set()
        for name, kind, layer, _ in self.states:
            if name in names:
                raise ModelError(f"two states of network '{self.name}' are named '{name}'; expected different names")
            if (kind, layer) not in there:
                last = len(self.stateful_layers) - 1
                raise ModelError(
                    f"state '{name}' is {kind} of layer {layer}; expected h, or c unless that is h, of the layers that "
                    f"have a state, {'which are none' if last < 0 else f'0 to {last}'}"
                )
            names.add(name)

    @classmethod
    def with_heads(cls, layers: Sequence[Layer], heads: Mapping[str, Sequence[Layer]], **fields: Any) -> Self:
        """A network of several heads, which all read the results of the last one of ``layers``.

        Their outputs, in the order of the heads, are one packet. They are computed side by side, so that all have as
        many dense layers, with the same activations.

        Parameters
        ----------
        layers : sequence of Layer
        heads : {name: sequence of Layer}
            Linear and dense layers of each head.
        **fields
            Others of the network; ``reads`` of ``layers`` and of the heads' first ones, which is the same for all.

        Raises
        ------
        ModelError
            Also if the heads cannot be computed side by side.
        """
        joined, outputs = side_by_side(heads)
        if fields.get("reads"):
            fields["reads"] = (*fields["reads"], *[1] * (len(joined) - 1))
        return cls((*layers, *joined), outputs=outputs, **fields)

    def _labels(self):
        """What messages call the layers: those of a kind are numbered."""
        count: Counter[str] = Counter()
        for layer in self.layers:
            yield f"{layer.title} {count[layer.title]}"
            count[layer.title] += 1

    @functools.cached_property
    def _computed(self) -> tuple[tuple[tuple[Layer, int], ...], tuple[LinearLayer, int]]:
        """The layers as they are computed, each with how many it reads; and the last one, which is linear."""
        hidden: list[tuple[Layer, int]] = []
        pending: tuple[LinearLayer, int] | None = None
        kept = {
            one for number, count in enumerate(self.layer_reads) if count > 1 for one in range(number - count, number)
        }
        for number, (layer, count) in enumerate(zip(self.layers, self.layer_reads)):
            if layer.linear is not None:
                pending = (layer.linear, count) if pending is None else (layer.linear.after(pending[0]), pending[1])
                if number in kept:
                    hidden.append((_as_dense(pending[0]), pending[1]))
                    pending = None
                continue
            if pending is not None:
                merged = _merged(pending[0], layer)
                more = [(_as_dense(pending[0]), pending[1]), (layer, 1)] if merged is None else [(merged, pending[1])]
                hidden += more
                pending = None
            else:
                hidden.append((layer, count))
        return tuple(hidden), (LinearLayer.identity(self.output_size), 1) if pending is None else pending

    @property
    def layer_reads(self) -> tuple[int, ...]:
        """``reads``, 1 of each layer unless told."""
        return self.reads or (1,) * len(self.layers)

    @property
    def as_computed(self) -> "Network":
        """The network of :attr:`hidden_layers` and :attr:`output_layer`; itself if no layer is another one there."""
        if [layer for layer in self.layers if layer.linear is None] == list(self.hidden_layers):
            return self
        return dataclasses.replace(self, layers=(*self.hidden_layers, self.output_layer), reads=self.computed_reads)

    @property
    def hidden_layers(self) -> tuple[Layer, ...]:
        """The layers whose results are vectors that another one reads, as they are computed.

        Linear layers are multiplied out in float64: with each other, and with the layer behind them where that takes no
        more multiplications. Otherwise they are dense layers.
        """
        return tuple(layer for layer, _ in self._computed[0])

    @property
    def computed_reads(self) -> tuple[int, ...]:
        """How many layers each of these reads, and the output layer."""
        hidden, output = self._computed
        return tuple(count for _, count in (*hidden, output))

    @property
    def stateful_layers(self) -> tuple[Layer, ...]:
        """Those of :attr:`hidden_layers` that have a state, which go by their numbers here."""
        return tuple(layer for layer in self.hidden_layers if layer.has_state)

    @property
    def output_layer(self) -> LinearLayer:
        """The linear layers at the end multiplied out as one, in float64; the identity if there is none."""
        return self._computed[1][0]

    @property
    def input_size(self) -> int:
        """Number of input features."""
        return self.layers[0].input_size

    @property
    def output_size(self) -> int:
        """Number of outputs."""
        return self.layers[-1].output_size

    @property
    def output_parts(self) -> tuple[tuple[str, int], ...]:
        """Names and sizes of the parts of an output packet: ``outputs``, or all of it as ``output``."""
        return self.outputs or (("output", self.output_size),)

    @property
    def parameters(self) -> int:
        """Number of weights and biases; both bias vectors of an LSTM layer count, as PyTorch counts."""
        return sum(layer.parameters for layer in self.layers)

    def modules(self) -> dict[str, list[Layer]]:
        """The layers by the names of the PyTorch modules that they would be, as data passes through them.

        Successive LSTM layers of equal size are one module that nn.LSTM can load: ``lstm`` or, where sizes change,
        ``lstm0``, ``lstm1``, ...; ``gru`` likewise. The linear layer is ``fc``, the dense one ``dense``; several are
        ``fc0``, ``fc1``, ...
        """
        modules: list[list[Layer]] = []
        for layer in self.layers:
            if modules and layer.joins(modules[-1][-1]):
                modules[-1].append(layer)
            else:
                modules.append([layer])
        total = Counter(module[0].module for module in modules)
        count: Counter[str] = Counter()
        named: dict[str, list[Layer]] = {}
        for module in modules:
            name = module[0].module
            named[name if total[name] == 1 else f"{name}{count[name]}"] = module
            count[name] += 1
        return named

    def to_state_dict(self) -> dict[str, Array]:
        """Tensors under PyTorch's names, module after module (:meth:`modules`). Activations leave none."""
        tensors: dict[str, Array] = {}
        for name, module in self.modules().items():
            for number, layer in enumerate(module):
                tensors |= {f"{name}.{field}": array for field, array in layer.tensors(number).items()}
        if self.calibration is not None:
            tensors["calibration"] = self.calibration
        return tensors


def _as_dense(linear: LinearLayer) -> DenseLayer:
    return DenseLayer(linear.weight, linear.bias)


def _merged(first: LinearLayer, layer: Layer) -> Layer | None:
    """``first`` and ``layer`` multiplied out, or None if that takes more multiplications than both in turn."""
    merged = layer.after(first)
    if merged is None:
        return None
    alone = first.weight.size + sum(matrix.size for matrix in layer.matrices.values())
    return merged if sum(matrix.size for matrix in merged.matrices.values()) <= alone else None

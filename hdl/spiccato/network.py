"""Trained networks: a chain of layers.

Everything is checked here and in :mod:`.layers`, once, on the way in. A :class:`Network` that exists is complete,
finite and its shapes chain, so that nothing behind it (compiler, models, benches) checks again.
"""

import functools
import itertools
from collections import Counter
from dataclasses import dataclass

from .arrays import fixed_array
from .errors import ModelError
from .layers import Layer, LinearLayer, LSTMLayer
from .layers.arithmetic import Array
from .layers.layer import set_fields
from .program import StateName

__all__ = ["Network"]


@dataclass(frozen=True, eq=False)
class Network:
    """Layers, each fed by the one before: LSTM layers, then linear layers with nothing in between.

    Parameters
    ----------
    layers : sequence of Layer
        One LSTM layer or more, then any number of linear layers; with none the output is h of the last layer. Other
        kinds (:mod:`spiccato.layers`) come where they say that they may.
    name : str
        What reports call it.
    calibration : (steps, input_size)
        Typical inputs in time order, from which the input features' scales are taken; None if there are none.
    origin : str or None
        One line on what was stated or assumed when the network was taken from tensors that do not tell how they belong
        together, or on what was taken as state that the accelerator keeps; None if nothing was.
    states : sequence of StateName
        What the model calls h and c of its layers, as far as it does.

    Raises
    ------
    ModelError
        No LSTM layer, kinds that cannot follow each other, sizes that do not chain, names of states that there are not,
        or a bad calibration array.
    """

    layers: tuple[Layer, ...]
    name: str = "network"
    calibration: Array | None = None
    origin: str | None = None
    states: tuple[StateName, ...] = ()

    def __post_init__(self) -> None:
        set_fields(self, layers=tuple(self.layers), states=tuple(self.states))
        if not any(isinstance(layer, LSTMLayer) for layer in self.layers):
            raise ModelError(f"network '{self.name}' has no LSTM layer; at least one is needed")
        labels = list(self._labels())
        for before, layer, label in zip((None, *self.layers), self.layers, labels):
            if not layer.may_follow(before):
                where = "reads the network's input" if before is None else f"follows a {before.title}"
                raise ModelError(f"{label} {where}; supported: LSTM layers first, then linear layers")
        for (before, source), (after, sink) in itertools.pairwise(zip(labels, self.layers)):
            if source.output_size != sink.input_size:
                raise ModelError(
                    f"{after} takes {sink.input_size} inputs; expected {source.output_size}, the outputs of {before}"
                )
        self._check_states()
        if self.calibration is not None:
            set_fields(self, calibration=fixed_array("calibration", self.calibration, ("steps", self.input_size)))

    def _check_states(self):
        there = {("h", number) for number in range(len(self.hidden_layers))}
        there |= {("c", number) for number, layer in enumerate(self.hidden_layers) if layer.has_state}
        names: set[str] = set()
        for name, kind, layer, _ in self.states:
            if name in names:
                raise ModelError(f"two states of network '{self.name}' are named '{name}'; expected different names")
            if (kind, layer) not in there:
                last = len(self.hidden_layers) - 1
                raise ModelError(
                    f"state '{name}' is {kind} of layer {layer}; expected h of layers 0 to {last}, or c of those that "
                    "have one"
                )
            names.add(name)

    def _labels(self):
        """What messages call the layers: those of a kind are numbered."""
        count: Counter[str] = Counter()
        for layer in self.layers:
            yield f"{layer.title} {count[layer.title]}"
            count[layer.title] += 1

    @property
    def hidden_layers(self) -> tuple[Layer, ...]:
        """The layers whose results are vectors, which the next layer reads."""
        return tuple(layer for layer in self.layers if layer.epilogue is not None)

    @functools.cached_property
    def output_layer(self) -> LinearLayer:
        """The linear layers multiplied out as one, in float64; the identity if there is none."""
        linear = (layer for layer in self.layers if isinstance(layer, LinearLayer))
        return functools.reduce(
            lambda first, layer: layer.after(first), linear, LinearLayer.identity(self.hidden_layers[-1].output_size)
        )

    @property
    def input_size(self) -> int:
        """Number of input features."""
        return self.layers[0].input_size

    @property
    def output_size(self) -> int:
        """Number of outputs."""
        return self.layers[-1].output_size

    @property
    def parameters(self) -> int:
        """Number of weights and biases; both bias vectors of an LSTM layer count, as PyTorch counts."""
        return sum(layer.parameters for layer in self.layers)

    def to_state_dict(self) -> dict[str, Array]:
        """Tensors under PyTorch's names, module after module as data passes through them.

        Successive LSTM layers of equal size are one module that nn.LSTM can load: ``lstm`` or, where sizes change,
        ``lstm0``, ``lstm1``, ... The linear layer is ``fc``; several are ``fc0``, ``fc1``, ...
        """
        modules: list[list[Layer]] = []
        for layer in self.layers:
            if modules and layer.joins(modules[-1][-1]):
                modules[-1].append(layer)
            else:
                modules.append([layer])
        total = Counter(module[0].module for module in modules)
        count: Counter[str] = Counter()
        tensors: dict[str, Array] = {}
        for module in modules:
            name = module[0].module
            prefix = name if total[name] == 1 else f"{name}{count[name]}"
            count[name] += 1
            for number, layer in enumerate(module):
                tensors |= {f"{prefix}.{field}": array for field, array in layer.tensors(number).items()}
        if self.calibration is not None:
            tensors["calibration"] = self.calibration
        return tensors

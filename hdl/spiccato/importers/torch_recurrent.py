"""LSTM and GRU layers of PyTorch, whole and as cells of one step."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from ..errors import ModelError
from ..layers import GRULayer, LSTMLayer
from .chain import Chain
from .streaming import Labels, one_for_all
from .torch_labels import LabelTensors, array_of

__all__ = ["RECURRENT", "run_recurrent"]

_FIELDS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
#: Arguments of PyTorch's functions for whole layers, those of packed sequences included.
_ARGUMENTS = 9


class _Kind(NamedTuple):
    layer: type[LSTMLayer] | type[GRULayer]
    states: Sequence[str]


_KINDS = {"lstm": _Kind(LSTMLayer, ("h", "c")), "gru": _Kind(GRULayer, ("h",))}
_CELLS = {f"{name}_cell": kind for name, kind in _KINDS.items()}
#: Functions that are followed here.
RECURRENT = (*_KINDS, *_CELLS)


def run_recurrent(
    chain: Chain, tensors: LabelTensors, place: str, given_name: str, name: str, args: tuple[Any, ...]
) -> Any:
    """What PyTorch's function ``name`` gives: the results of all steps and the states after the last one, or a cell's.

    None if the function is called in another way than modules do.
    """
    if name in _CELLS:
        return _cell(chain, tensors, place, given_name, _CELLS[name], args)
    if len(args) != _ARGUMENTS:
        return None
    return _layers(chain, tensors, place, given_name, _KINDS[name], *args)


def _layers(
    chain: Chain,
    tensors: LabelTensors,
    place: str,
    given_name: str,
    kind: _Kind,
    data: Any,
    given_states: Any,
    weights: Any,
    has_biases: bool,
    layers: int,
    _dropout: float,
    _training: bool,
    bidirectional: bool,
    batch_first: bool,
) -> Any:
    states = list(given_states) if isinstance(given_states, (tuple, list)) else [given_states]
    if not tensors.holds(data) or not isinstance(weights, (tuple, list)) or len(states) != len(kind.states):
        raise ModelError(f"{place} reads a packed sequence or a constant; supported: sequences of the same length")
    if bidirectional:
        raise ModelError(f"{place}: bidirectional=True is not supported; supported: one direction")
    per_layer = len(_FIELDS) if has_biases else 2
    if len(weights) != per_layer * layers:
        raise ModelError(f"{place}: proj_size is not supported; supported: proj_size=0")
    labels = tensors.labels(data)
    if batch_first:
        labels = labels.transpose(1, 0, 2)
    last: list[list[torch.Tensor]] = [[] for _ in kind.states]
    for number in range(layers):
        where = f"{place}, layer {number}" if layers > 1 else place
        own = weights[per_layer * number : per_layer * (number + 1)]
        h, c = _layer(chain, tensors, where, given_name, kind, labels, own, [state[number] for state in states])
        labels = h
        for kept, value in zip(last, (h[-1], c)):
            assert value is not None
            kept.append(tensors.tensor(value))
    if batch_first:
        labels = labels.transpose(1, 0, 2)
    return tensors.tensor(labels), *map(torch.stack, last)


def _cell(chain: Chain, tensors: LabelTensors, place: str, given_name: str, kind: _Kind, args: tuple[Any, ...]) -> Any:
    data, given_states, *weights = args
    states = list(given_states) if isinstance(given_states, (tuple, list)) else [given_states]
    if not tensors.holds(data) or any(tensors.holds(weight) for weight in weights):
        raise ModelError(f"{place} reads a constant, or has weights that depend on the input; supported: neither")
    if not all(map(tensors.holds, states)):
        raise ModelError(
            f"{place} starts from constants at every call; supported: state that is handed on from call to call, or "
            "a layer of several steps, nn.LSTM or nn.GRU, instead of a loop"
        )
    own = [weight for weight in weights if weight is not None]
    h, c = _layer(chain, tensors, place, given_name, kind, tensors.labels(data)[None], own, states)
    return tensors.tensor(h[0]) if c is None else (tensors.tensor(h[0]), tensors.tensor(c))


def _layer(
    chain: Chain,
    tensors: LabelTensors,
    place: str,
    given_name: str,
    kind: _Kind,
    labels: Labels,
    weights: Sequence[torch.Tensor],
    states: Sequence[torch.Tensor],
) -> tuple[Labels, Labels | None]:
    """One layer on labels (steps, sequences, features), from states (sequences, units)."""
    fields = dict(zip(_FIELDS, map(array_of, weights)))
    before: dict[str, Labels | None] = dict.fromkeys(kind.states)
    for state_name, state in zip(kind.states, states):
        if tensors.holds(state):
            before[state_name] = tensors.labels(state)
        elif (start := one_for_all(place, f"the initial {state_name}", array_of(state))) is not None:
            fields[f"{state_name}0"] = start
    try:
        layer = kind.layer(**fields)
    except ModelError as error:
        raise ModelError(f"{place}: {error}") from None
    return chain.recurrent(place, given_name, labels, layer, before)

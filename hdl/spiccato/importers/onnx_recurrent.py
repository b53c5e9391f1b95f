"""LSTM and GRU nodes of ONNX graphs."""

from collections.abc import Sequence
from typing import NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError
from ..layers import GRULayer, LSTMLayer
from .onnx_node import NodeRun
from .stages import Misfit
from .streaming import Labels, one_for_all

__all__ = ["RECURRENT", "run_recurrent"]


class _Kind(NamedTuple):
    """What ONNX has of a kind of layer.

    ``order`` are ONNX' row blocks in PyTorch's order: (i, o, f, c) as (i, f, g, o), and (z, r, h) as (r, z, n).
    """

    layer: type[LSTMLayer] | type[GRULayer]
    order: Sequence[int]
    activations: Sequence[str]
    states: Sequence[str]


_KINDS = {
    "LSTM": _Kind(LSTMLayer, (0, 2, 3, 1), ("Sigmoid", "Tanh", "Tanh"), ("h", "c")),
    "GRU": _Kind(GRULayer, (1, 0, 2), ("Sigmoid", "Tanh"), ("h",)),
}
#: The operators.
RECURRENT = tuple(_KINDS)
#: Numbers of inputs.
_W, _R, _B, _LENGTHS, _INITIAL, _PEEPHOLES = 1, 2, 3, 4, 5, 7


def run_recurrent(node: NodeRun) -> list[Labels | None]:
    """The labels of the outputs Y, Y_h and, of an LSTM, Y_c."""
    kind = _KINDS[node.kind]
    _check_attributes(node, kind)
    labels = node.labels()
    weights = _weights(node, kind)
    by_sequence = node.attributes.get("layout", 0) == 1
    initial, before = _initial_states(node, kind, by_sequence)
    try:
        layer = kind.layer(*(_gates(array, kind.order) for array in weights), **initial)
    except ModelError as error:
        raise ModelError(f"{node.place}: {error}") from None
    if labels.ndim != 3:
        raise Misfit(f"{node.place}: X of {labels.ndim} dimensions is not supported; supported: 3")
    if by_sequence:
        labels = labels.transpose(1, 0, 2)
    if node.has(_LENGTHS) and (node.constant(_LENGTHS, "sequence_lens") != len(labels)).any():
        _refuse(
            node,
            f"sequence_lens '{node.proto.input[_LENGTHS]}' other than the number of steps",
            "sequences of the same length",
        )
    h, c = node.chain.recurrent(node.place, node.name, labels, layer, before)
    if by_sequence:
        return [h.transpose(1, 0, 2)[:, :, None], h[-1][:, None], None if c is None else c[:, None]]
    return [h[:, None], h[-1][None], None if c is None else c[None]]


def _refuse(node: NodeRun, what: str, supported: str) -> NoReturn:
    raise ModelError(f"{node.place}: {what} is not supported; supported: {supported}")


def _check_attributes(node: NodeRun, kind: _Kind) -> None:
    attributes = node.attributes
    direction = attributes.get("direction", b"forward").decode()
    if direction != "forward":
        _refuse(node, f"direction {direction}", "forward")
    activations = [text.decode() for text in attributes.get("activations", [])]
    if [text.lower() for text in activations] not in ([], [text.lower() for text in kind.activations]):
        _refuse(node, f"activations {', '.join(activations)}", ", ".join(kind.activations))
    if "clip" in attributes:
        _refuse(node, f"clip {attributes['clip']:g}", "no clipping")
    if attributes.get("input_forget", 0):
        _refuse(node, "input_forget", "a forget gate of its own")
    if node.kind == "GRU" and not attributes.get("linear_before_reset", 0):
        _refuse(
            node,
            "linear_before_reset=0, whose reset gate needs h before the recurrent product,",
            "linear_before_reset=1, as PyTorch has it",
        )
    if node.kind == "LSTM" and node.has(_PEEPHOLES) and node.constant(_PEEPHOLES, "P").any():
        _refuse(node, f"peephole weights '{node.proto.input[_PEEPHOLES]}' that are not zero", "no peepholes")


def _weights(node: NodeRun, kind: _Kind) -> list[NDArray[np.float64]]:
    """W, R, and both biases."""
    gates = len(kind.order)
    weights = node.constant(_W, "W"), node.constant(_R, "R")
    if [w.ndim for w in weights] != [3, 3] or {w.shape[0] for w in weights} != {1}:
        _refuse(
            node,
            f"W of shape {weights[0].shape} with R of shape {weights[1].shape}",
            f"(1, {gates} x hidden, inputs) with (1, {gates} x hidden, hidden)",
        )
    hidden = weights[1].shape[2]
    size = 2 * gates * hidden
    biases = node.constant(_B, "B") if node.has(_B) else np.zeros((1, size))
    if biases.shape != (1, size) or node.attributes.get("hidden_size", hidden) != hidden:
        _refuse(
            node,
            f"B of shape {biases.shape} and hidden_size {node.attributes.get('hidden_size')} with R of shape "
            f"{weights[1].shape}",
            f"(1, {size}) and {hidden}",
        )
    return [weights[0][0], weights[1][0], *biases.reshape(2, -1)]


def _initial_states(
    node: NodeRun, kind: _Kind, by_sequence: bool
) -> tuple[dict[str, NDArray[np.float64]], dict[str, Labels | None]]:
    """Constants that the layer starts from, by its fields; and labels of state."""
    initial: dict[str, NDArray[np.float64]] = {}
    before: dict[str, Labels | None] = dict.fromkeys(kind.states)
    for number, state_name in enumerate(kind.states, _INITIAL):
        if not node.has(number):
            continue
        state, what = node.value(number), f"initial_{state_name}"
        if by_sequence and state.ndim == 3:
            state = state.transpose(1, 0, 2)
        if state.ndim != 3 or len(state) != 1:
            raise Misfit(f"{node.place}: {what} of shape {state.shape} is not supported; supported: one direction")
        if node.is_labelled(number):
            before[state_name] = state[0].astype(np.int64)
        elif (start := one_for_all(node.place, what, np.asarray(state[0], dtype=np.float64))) is not None:
            initial[f"{state_name}0"] = start
    return initial, before


def _gates(array: NDArray[np.float64], order: Sequence[int]) -> NDArray[np.float64]:
    """Rows of ONNX' gate order in PyTorch's."""
    if len(array) % len(order):
        return array  # refused by the layer, which knows how to say it
    return array.reshape(len(order), -1, *array.shape[1:])[list(order)].reshape(array.shape)

"""Networks from ONNX models: LSTM nodes, then Gemm or MatMul and Add, whatever moves values in between.

Graph inputs that reach nothing but initial states are followed as state (:mod:`.streaming`).

The graph is executed on labels (:mod:`.chain`); nodes that only move values, and everything that is computed from
constants such as shapes and zero states, are executed by onnx' own reference implementation.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper
import onnx.reference
from numpy.typing import NDArray

from ..errors import ModelError
from ..layers import LinearLayer, LSTMLayer
from ..network import Network
from .chain import Chain, Misfit
from .streaming import Labels, one_for_all

__all__ = ["GraphRun"]

SUPPORTED = "LSTM, then Gemm or MatMul and Add, arithmetic with constants, and operators that only move values"

#: Operators that only move values of their first input (all inputs of Concat).
_MOVES = {
    "Concat",
    "Expand",
    "Flatten",
    "Gather",
    "GatherElements",
    "GatherND",
    "Identity",
    "Reshape",
    "Slice",
    "Split",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
}
#: Operators whose result depends on nothing but a shape.
_SHAPES = {"Shape", "Size"}
_FLOATS = {onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE}

#: Row blocks of ONNX (i, o, f, c) in the order of PyTorch (i, f, g, o).
_GATE_ORDER = [0, 2, 3, 1]
_ACTIVATIONS = ["sigmoid", "tanh", "tanh"]


class GraphRun:
    """One run of a graph on labels."""

    def __init__(self, graph: onnx.GraphProto, opsets: dict[str, int]) -> None:
        self.chain = Chain()
        self._graph = graph
        self._opsets = opsets
        self._values: dict[str, NDArray[Any]] = {
            tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer
        }
        self._labelled: set[str] = set()

    def network(self, name: str, shapes: Mapping[str, tuple[int, ...]]) -> Network:
        """The network, from a run on inputs of these shapes: the data, then state.

        Raises
        ------
        Misfit
            The graph does not take such an input.
        ModelError
            The graph does what is not supported.
        """
        first, *states = shapes
        given = {value.name for value in self._graph.input if value.name not in self._values}
        self._values[first] = self.chain.input(shapes[first])
        self._values |= {state: self.chain.state(state, shapes[state]) for state in states}
        self._labelled |= set(shapes)
        self._foreign = given - set(shapes)
        try:
            for node in self._needed():
                self._run(node)
            results = {}
            for value in self._graph.output:
                if value.name not in self._labelled:
                    raise ModelError(f"graph output '{value.name}' does not depend on the input '{first}'")
                results[value.name] = self._values[value.name].astype(np.int64)
        except ModelError as error:
            raise (self.chain.refusal() if self.chain.refused else error) from None
        return self.chain.network(results, name)

    def _needed(self) -> list[onnx.NodeProto]:
        """The nodes that some graph output depends on, in their order, which is that of execution."""
        wanted = {value.name for value in self._graph.output}
        nodes = []
        for node in reversed(self._graph.node):
            if wanted & set(node.output):
                nodes.append(node)
                wanted |= set(node.input)
        return nodes[::-1]

    def _run(self, node: onnx.NodeProto) -> None:
        place = f"node '{_name(node)}' ({node.op_type})"
        labelled = [name in self._labelled for name in node.input]
        try:
            results, are_labels = self._results(place, node, labelled)
        except Misfit:
            raise
        except ModelError as error:
            self.chain.refuse(error)
            results, are_labels = self._unsupported(place, node, labelled), True
        given = {name: value for name, value in zip(node.output, results) if name}
        self._values |= given
        if are_labels:
            self._labelled |= set(given)

    def _results(self, place, node, labelled):
        """What a node gives, and whether that is labels."""
        attributes = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}
        if node.domain.removeprefix("ai.onnx") or any(
            isinstance(value, onnx.GraphProto) for value in attributes.values()
        ):
            raise ModelError(f"{place}: this operator is not supported; supported: {SUPPORTED}")
        handled, moves = node.op_type in _HANDLED, self._moves(node, labelled)
        if any(labelled) and not (handled or moves or node.op_type in _SHAPES):
            read = self._values[node.input[labelled.index(True)]].astype(np.int64)
            raise ModelError(
                f"{place} on {self.chain.what(read)}: this operator is not supported here; supported: {SUPPORTED}"
            )
        for number, name in enumerate(node.input):
            if name in self._foreign:
                raise ModelError(
                    f"{place} reads graph input '{name}' (its input {number}); supported: one input, besides state "
                    "that is the initial h and c of LSTM nodes and nothing else"
                )
            if name and name not in self._values:
                raise ModelError(
                    f"{place} reads '{name}' (its input {number}), which is not a value of the model's; "
                    f"supported: {SUPPORTED}"
                )
        if not any(labelled) or node.op_type in _SHAPES:
            return self._execute(place, node, self._values), False
        if handled:
            return getattr(self, _HANDLED[node.op_type])(place, node, attributes), True
        return self._execute(place, node, self._values), True

    @staticmethod
    def _moves(node, labelled) -> bool:
        """Whether a node that reads labels does no more than to move them."""
        if node.op_type == "Concat":
            return all(labelled)
        if any(labelled[1:]):
            return False
        return node.op_type in _MOVES

    def _execute(self, place, node, values):
        """Results of a node by the reference implementation."""
        feeds = {name: values[name] for name in node.input if name}
        try:
            with np.errstate(all="ignore"):  # what is not finite is refused where a layer takes it
                return onnx.reference.ReferenceEvaluator(node, opsets=self._opsets).run(None, feeds)
        except Exception as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise Misfit(f"{place} cannot be executed: {reason}") from None

    def _unsupported(self, place, node, labelled):
        """New labels in the shape of what a node gives that is not supported."""
        if not any(labelled) or any(name and name not in self._values for name in node.input):
            raise self.chain.refusal()
        for kind in (np.float32, np.int64):
            zeros = {name: np.zeros(self._values[name].shape, kind) for name in node.input if name in self._labelled}
            try:
                results = self._execute(place, node, self._values | zeros)
            except Misfit:
                continue
            return [self.chain.foreign(place, np.shape(result)) for result in results]
        raise self.chain.refusal()

    def _constant(self, place, node, number, what):
        name = node.input[number]
        if name in self._labelled:
            raise ModelError(f"{place}: {what} (its input {number}) depends on the model's input; supported: constants")
        return np.asarray(self._values[name], dtype=np.float64)

    def _labels(self, place, node, number=0):
        if node.input[number] not in self._labelled:
            raise ModelError(f"{place}: its input {number} does not depend on the model's input")
        return self._values[node.input[number]].astype(np.int64)

    # Operators that are not executed as they are. Each method returns the labels of the node's outputs.

    def _lstm(self, place, node, attributes):
        def has(number):
            return number < len(node.input) and node.input[number] != ""

        def refuse(what, supported):
            raise ModelError(f"{place}: {what} is not supported; supported: {supported}")

        direction = attributes.get("direction", b"forward").decode()
        if direction != "forward":
            refuse(f"direction {direction}", "forward")
        activations = [text.decode() for text in attributes.get("activations", [])]
        if [text.lower() for text in activations] not in ([], _ACTIVATIONS):
            refuse(f"activations {', '.join(activations)}", "Sigmoid, Tanh, Tanh")
        if "clip" in attributes:
            refuse(f"clip {attributes['clip']:g}", "no clipping")
        if attributes.get("input_forget", 0):
            refuse("input_forget", "a forget gate of its own")
        if has(7) and self._constant(place, node, 7, "P").any():
            refuse(f"peephole weights '{node.input[7]}' that are not zero", "no peepholes")
        labels = self._labels(place, node)
        weights = self._constant(place, node, 1, "W"), self._constant(place, node, 2, "R")
        if [w.ndim for w in weights] != [3, 3] or {w.shape[0] for w in weights} != {1}:
            refuse(
                f"W of shape {weights[0].shape} with R of shape {weights[1].shape}",
                "(1, 4 x hidden, inputs) with (1, 4 x hidden, hidden)",
            )
        hidden = weights[1].shape[2]
        biases = self._constant(place, node, 3, "B") if has(3) else np.zeros((1, 8 * hidden))
        if biases.shape != (1, 8 * hidden) or attributes.get("hidden_size", hidden) != hidden:
            refuse(
                f"B of shape {biases.shape} and hidden_size {attributes.get('hidden_size')} with R of shape "
                f"{weights[1].shape}",
                f"(1, {8 * hidden}) and {hidden}",
            )
        by_sequence = attributes.get("layout", 0) == 1
        initial: list[NDArray[np.float64] | None] = [None, None]
        before: list[Labels | None] = [None, None]
        for k, what in enumerate(("initial_h", "initial_c")):
            if not has(5 + k):
                continue
            state = self._values[node.input[5 + k]]
            if by_sequence and state.ndim == 3:
                state = state.transpose(1, 0, 2)
            if state.ndim != 3 or len(state) != 1:
                raise Misfit(f"{place}: {what} of shape {state.shape} is not supported; supported: one direction")
            if node.input[5 + k] in self._labelled:
                before[k] = state[0].astype(np.int64)
            else:
                initial[k] = one_for_all(place, what, np.asarray(state[0], dtype=np.float64))
        try:
            layer = LSTMLayer(
                *(_gates(array) for array in (weights[0][0], weights[1][0], *biases.reshape(2, -1))), *initial
            )
        except ModelError as error:
            raise ModelError(f"{place}: {error}") from None
        if labels.ndim != 3:
            raise Misfit(f"{place}: X of {labels.ndim} dimensions is not supported; supported: 3")
        if by_sequence:
            labels = labels.transpose(1, 0, 2)
        if has(4) and (self._constant(place, node, 4, "sequence_lens") != len(labels)).any():
            refuse(f"sequence_lens '{node.input[4]}' other than the number of steps", "sequences of the same length")
        h, c = self.chain.lstm(place, _name(node), labels, layer, (before[0], before[1]))
        if by_sequence:
            return h.transpose(1, 0, 2)[:, :, None], h[-1][:, None], c[:, None]
        return h[:, None], h[-1][None], c[None]

    def _gemm(self, place, node, attributes):
        alpha, beta = attributes.get("alpha", 1.0), attributes.get("beta", 1.0)
        if attributes.get("transA", 0):
            raise ModelError(f"{place}: transA {attributes['transA']} is not supported; supported: 0")
        labels, weight = self._labels(place, node), self._constant(place, node, 1, "B")
        weight = alpha * (weight if attributes.get("transB", 0) else weight.T)
        bias = None
        if len(node.input) > 2 and node.input[2]:
            bias = beta * _bias(place, self._constant(place, node, 2, "C"), (max(len(labels), 1), len(weight)))
        return [self._linear(place, node, labels, weight, bias)]

    def _matmul(self, place, node, attributes):
        labels, weight = self._labels(place, node), self._constant(place, node, 1, "its second operand")
        if weight.ndim != 2:
            raise ModelError(f"{place}: weights of shape {weight.shape}; expected (inputs, outputs)")
        return [self._linear(place, node, labels, weight.T, None)]

    def _linear(self, place, node, labels, weight, bias):
        try:
            layer = LinearLayer(weight, bias)
        except ModelError as error:
            raise ModelError(f"{place}: {error}") from None
        return self.chain.linear(place, _name(node), labels, layer)

    def _arithmetic(self, place, node, attributes):
        numbers = [number for number in range(2) if node.input[number] in self._labelled]
        labels = self._labels(place, node, numbers[0])
        if len(numbers) == 2:
            read = [self.chain.what(self._labels(place, node, number)) for number in numbers]
            raise ModelError(f"{place} combines {read[0]} with {read[1]}; supported: with a constant")
        constant = self._constant(place, node, 1 - numbers[0], "the constant")
        if node.op_type == "Add":
            factor, offset = 1.0, constant
        elif node.op_type == "Sub":
            factor, offset = (1.0, -constant) if numbers == [0] else (-1.0, constant)
        elif node.op_type == "Mul":
            factor, offset = constant, 0.0
        elif numbers == [0]:
            with np.errstate(divide="ignore"):
                factor, offset = 1 / constant, 0.0
        else:
            raise ModelError(
                f"{place} divides a constant by {self.chain.what(labels)}; supported: division by a constant"
            )
        return [self.chain.constants(place, _name(node), labels, factor, offset)]

    def _negative(self, place, node, attributes):
        return [self.chain.constants(place, _name(node), self._labels(place, node), -1.0)]

    def _batch_norm(self, place, node, attributes):
        if attributes.get("training_mode", 0):
            raise ModelError(f"{place}: training mode is not supported; supported: a model exported for inference")
        labels = self._labels(place, node)
        scale, shift, mean, variance = (
            self._constant(place, node, 1 + k, what) for k, what in enumerate(("scale", "B", "mean", "variance"))
        )
        factor = scale / np.sqrt(variance + attributes.get("epsilon", 1e-5))
        shape = (-1,) + (1,) * (labels.ndim - 2)
        return [
            self.chain.constants(
                place, _name(node), labels, factor.reshape(shape), (shift - mean * factor).reshape(shape)
            )
        ]

    def _dropout(self, place, node, attributes):
        if len(node.input) > 2 and node.input[2] and self._constant(place, node, 2, "training_mode").any():
            raise ModelError(f"{place}: training mode is not supported; supported: a model exported for inference")
        return [self._labels(place, node)]

    def _cast(self, place, node, attributes):
        if attributes["to"] not in _FLOATS:
            kind = onnx.TensorProto.DataType.Name(attributes["to"])
            raise ModelError(f"{place}: a conversion to {kind} is not supported; supported: FLOAT, DOUBLE")
        return [self._labels(place, node)]


#: Operators that are not executed as they are -> method.
_HANDLED = {
    "LSTM": "_lstm",
    "Gemm": "_gemm",
    "MatMul": "_matmul",
    "Dropout": "_dropout",
    "Cast": "_cast",
    "Add": "_arithmetic",
    "Sub": "_arithmetic",
    "Mul": "_arithmetic",
    "Div": "_arithmetic",
    "Neg": "_negative",
    "BatchNormalization": "_batch_norm",
}


def _name(node: onnx.NodeProto) -> str:
    """What the model's author may call a node."""
    return node.name or node.output[0]


def _gates(array: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows of ONNX' gate order in PyTorch's."""
    if len(array) % 4:
        return array  # refused by the layer, which knows how to say it
    return array.reshape(4, -1, *array.shape[1:])[_GATE_ORDER].reshape(array.shape)


def _bias(place, bias, shape) -> NDArray[np.float64]:
    """A bias for the last axis of ``shape`` from an array that is broadcast to it."""
    try:
        rows = np.broadcast_to(bias, shape).reshape(-1, shape[-1])
    except ValueError:
        raise ModelError(f"{place}: a bias of shape {bias.shape} for {shape[-1]} outputs") from None
    if (rows != rows[0]).any():
        raise ModelError(f"{place}: the bias is not the same at every step; supported: one of shape ({shape[-1]},)")
    return rows[0]

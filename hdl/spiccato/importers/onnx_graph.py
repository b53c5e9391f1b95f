"""Networks from ONNX models: LSTM nodes, then Gemm or MatMul and Add, whatever moves values in between.

The graph is executed on labels (:mod:`.chain`); nodes that only move values, and everything that is computed from
constants such as shapes and zero states, are executed by onnx' own reference implementation.
"""

from pathlib import Path
from typing import Any

import google.protobuf.message
import numpy as np
import onnx
import onnx.inliner
import onnx.numpy_helper
import onnx.reference
from numpy.typing import NDArray

from ..network import LinearLayer, LSTMLayer, ModelError, Network
from .chain import BATCH, STEPS, Chain

__all__ = ["load", "convert"]

MIN_OPSET = 14
SUPPORTED = "LSTM, then Gemm or MatMul and Add, and operators that only move values"

#: Operators that only move values of their first input (all inputs of Concat).
_MOVES = {"Concat", "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Identity", "Reshape", "Slice",
          "Split", "Squeeze", "Transpose", "Unsqueeze"}
#: Operators whose result depends on nothing but a shape.
_SHAPES = {"Shape", "Size"}
_FLOATS = {onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE}

#: Row blocks of ONNX (i, o, f, c) in the order of PyTorch (i, f, g, o).
_GATE_ORDER = [0, 2, 3, 1]
_ACTIVATIONS = ["sigmoid", "tanh", "tanh"]


def load(path: Path) -> Network:
    """The network in an ONNX file; weights in external files beside it are found."""
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except (google.protobuf.message.DecodeError, onnx.checker.ValidationError, ValueError) as error:
        raise ModelError(f"not a valid ONNX model: {str(error).strip().splitlines()[0]}") from None
    return convert(model, path.stem)


def convert(model: onnx.ModelProto, name: str) -> Network:
    """The network in an ONNX model."""
    opsets = {entry.domain.removeprefix("ai.onnx"): entry.version for entry in model.opset_import}
    if opsets.get("", 0) < MIN_OPSET:
        raise ModelError(f"the model uses opset {opsets.get('')}; supported: {MIN_OPSET} and later")
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    return _Graph(model.graph, opsets).network(name)


class _Graph:
    """One run of a graph on labels."""

    def __init__(self, graph: onnx.GraphProto, opsets: dict[str, int]) -> None:
        self._graph = graph
        self._opsets = opsets
        self._chain = Chain()
        self._values: dict[str, NDArray[Any]] = {
            tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self._labelled: set[str] = set()

    def network(self, name: str) -> Network:
        given = [value for value in self._graph.input if value.name not in self._values]
        if not given:
            raise ModelError("the graph has no input")
        self._values[given[0].name] = self._chain.input(_shape(given[0]))
        self._labelled.add(given[0].name)
        self._foreign = {value.name for value in given[1:]}
        for node in self._needed():
            self._run(node)
        results = {}
        for value in self._graph.output:
            if value.name not in self._labelled:
                raise ModelError(f"graph output '{value.name}' does not depend on the input '{given[0].name}'")
            results[value.name] = self._values[value.name].astype(np.int64)
        return self._chain.network(results, name)

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
        place = f"node '{node.name or node.output[0]}' ({node.op_type})"
        for number, name in enumerate(node.input):
            if name in self._foreign:
                raise ModelError(f"{place} reads graph input '{name}' (its input {number}); supported: one input, "
                                 "initial states zero or left out, since the accelerator keeps h and c itself")
            if name and name not in self._values:
                raise ModelError(f"{place} reads '{name}' (its input {number}), which is not a value of the model's; "
                                 f"supported: {SUPPORTED}")
        attributes = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}
        if node.domain.removeprefix("ai.onnx") or any(
                isinstance(value, onnx.GraphProto) for value in attributes.values()):
            raise ModelError(f"{place}: this operator is not supported; supported: {SUPPORTED}")
        labelled = [name in self._labelled for name in node.input]
        if not any(labelled):
            results, are_labels = self._execute(place, node), False
        elif node.op_type in _SHAPES:
            results, are_labels = self._execute(place, node), False
        else:
            handler = getattr(self, f"_{node.op_type.lower()}", None) if node.op_type in _HANDLED else None
            if handler is not None:
                results = handler(place, node, attributes)
            elif self._moves(node, labelled):
                results = self._execute(place, node)
            else:
                read = self._chain._sources(self._values[node.input[labelled.index(True)]].astype(np.int64))
                raise ModelError(f"{place} on {read[0].what}: this operator is not supported here; supported: "
                                 f"{SUPPORTED}")
            are_labels = True
        given = {name: value for name, value in zip(node.output, results) if name}
        self._values |= given
        if are_labels:
            self._labelled |= set(given)

    @staticmethod
    def _moves(node, labelled) -> bool:
        """Whether a node that reads labels does no more than to move them."""
        if node.op_type == "Concat":
            return all(labelled)
        if any(labelled[1:]):
            return False
        return node.op_type in _MOVES

    def _execute(self, place, node):
        """Results of a node by the reference implementation."""
        feeds = {name: self._values[name] for name in node.input if name}
        try:
            return onnx.reference.ReferenceEvaluator(node, opsets=self._opsets).run(None, feeds)
        except Exception as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ModelError(f"{place} cannot be executed: {reason}") from None

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
        if has(4):
            refuse(f"sequence_lens '{node.input[4]}'", "sequences of the same length")
        if has(7):
            refuse(f"peephole weights '{node.input[7]}'", "no peepholes")
        for number, state in ((5, "initial_h"), (6, "initial_c")):
            if has(number) and self._constant(place, node, number, state).any():
                refuse(f"{state} '{node.input[number]}' that is not zero", "states that start from zero")

        labels = self._labels(place, node)
        weights = self._constant(place, node, 1, "W"), self._constant(place, node, 2, "R")
        if [w.ndim for w in weights] != [3, 3] or {w.shape[0] for w in weights} != {1}:
            refuse(f"W of shape {weights[0].shape} with R of shape {weights[1].shape}",
                   "(1, 4 x hidden, inputs) with (1, 4 x hidden, hidden)")
        hidden = weights[1].shape[2]
        biases = self._constant(place, node, 3, "B") if has(3) else np.zeros((1, 8 * hidden))
        if biases.shape != (1, 8 * hidden) or attributes.get("hidden_size", hidden) != hidden:
            refuse(f"B of shape {biases.shape} and hidden_size {attributes.get('hidden_size')} with R of shape "
                   f"{weights[1].shape}", f"(1, {8 * hidden}) and {hidden}")
        try:
            layer = LSTMLayer(*(_gates(array) for array in (weights[0][0], weights[1][0], *biases.reshape(2, -1))))
        except ModelError as error:
            raise ModelError(f"{place}: {error}") from None
        by_sequence = attributes.get("layout", 0) == 1
        if labels.ndim != 3:
            refuse(f"X of {labels.ndim} dimensions", "3")
        h, c = self._chain.lstm(place, labels.transpose(1, 0, 2) if by_sequence else labels, layer)
        if by_sequence:
            return h.transpose(1, 0, 2)[:, :, None], h[-1][:, None], c[:, None]
        return h[:, None], h[-1][None], c[None]

    def _gemm(self, place, node, attributes):
        scale = {key: attributes.get(key, 1.0) for key in ("alpha", "beta")}
        if set(scale.values()) != {1.0} or attributes.get("transA", 0):
            raise ModelError(f"{place}: alpha {scale['alpha']:g}, beta {scale['beta']:g}, transA "
                             f"{attributes.get('transA', 0)} are not supported; supported: 1, 1, 0")
        labels, weight = self._labels(place, node), self._constant(place, node, 1, "B")
        weight = weight if attributes.get("transB", 0) else weight.T
        bias = None
        if len(node.input) > 2 and node.input[2]:
            bias = _bias(place, self._constant(place, node, 2, "C"), (len(labels), len(weight)))
        return [self._chain.linear(place, labels, _linear(place, weight, bias))]

    def _matmul(self, place, node, attributes):
        labels, weight = self._labels(place, node), self._constant(place, node, 1, "its second operand")
        if weight.ndim != 2:
            raise ModelError(f"{place}: weights of shape {weight.shape}; expected (inputs, outputs)")
        return [self._chain.linear(place, labels, _linear(place, weight.T, None))]

    def _add(self, place, node, attributes):
        numbers = [number for number in range(2) if node.input[number] in self._labelled]
        labels = self._labels(place, node, numbers[0])
        if len(numbers) == 2:
            read = [self._chain._sources(self._labels(place, node, number))[0].what for number in numbers]
            raise ModelError(f"{place} adds {read[0]} and {read[1]}; supported: a constant bias of a linear layer")
        bias = _bias(place, self._constant(place, node, 1 - numbers[0], "the bias"), labels.shape)
        return [self._chain.bias(place, labels, bias)]

    def _dropout(self, place, node, attributes):
        if len(node.input) > 2 and node.input[2] and self._constant(place, node, 2, "training_mode").any():
            raise ModelError(f"{place}: training mode is not supported; supported: a model exported for inference")
        return [self._labels(place, node)]

    def _cast(self, place, node, attributes):
        if attributes["to"] not in _FLOATS:
            kind = onnx.TensorProto.DataType.Name(attributes["to"])
            raise ModelError(f"{place}: a conversion to {kind} is not supported; supported: FLOAT, DOUBLE")
        return [self._labels(place, node)]


#: Operators that have a method of their own.
_HANDLED = {"LSTM", "Gemm", "MatMul", "Add", "Dropout", "Cast"}


def _gates(array: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows of ONNX' gate order in PyTorch's."""
    if len(array) % 4:
        return array  # refused by the layer, which knows how to say it
    return array.reshape(4, -1, *array.shape[1:])[_GATE_ORDER].reshape(array.shape)


def _linear(place, weight, bias) -> LinearLayer:
    try:
        return LinearLayer(weight, bias)
    except ModelError as error:
        raise ModelError(f"{place}: {error}") from None


def _bias(place, bias, shape) -> NDArray[np.float64]:
    """A bias for the last axis of ``shape`` from an array that is broadcast to it."""
    try:
        rows = np.broadcast_to(bias, shape).reshape(-1, shape[-1])
    except ValueError:
        raise ModelError(f"{place}: a bias of shape {bias.shape} for {shape[-1]} outputs") from None
    if (rows != rows[0]).any():
        raise ModelError(f"{place}: the bias is not the same at every step; supported: one of shape ({shape[-1]},)")
    return rows[0]


def _shape(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    """A graph input's shape, with sizes put in where it leaves them open."""
    place = f"graph input '{value.name}'"
    if not value.type.tensor_type.HasField("shape") or not value.type.tensor_type.shape.dim:
        raise ModelError(f"{place} has no shape; expected steps, sequences and a number of features")
    *leading, features = value.type.tensor_type.shape.dim
    if not features.dim_value:
        raise ModelError(f"{place}: the number of features, its last dimension, is left open; expected a number")
    sizes: dict[str, int] = {}
    spare = iter((STEPS, BATCH, *range(BATCH * STEPS, BATCH * STEPS + len(leading))))
    shape = []
    for number, dim in enumerate(leading):
        key = dim.dim_param or str(number)
        shape.append(dim.dim_value or (sizes[key] if key in sizes else sizes.setdefault(key, next(spare))))
    return (*shape, features.dim_value)

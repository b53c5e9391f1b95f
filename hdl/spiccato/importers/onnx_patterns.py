"""Activation functions that exporters write as several nodes of an ONNX graph."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping

import numpy as np
import onnx
import onnx.numpy_helper

__all__ = ["with_gelu_nodes"]

#: Constants of float32 graphs are so near to what they stand for.
_TOLERANCE = 1e-6


def with_gelu_nodes(graph: onnx.GraphProto) -> onnx.GraphProto:
    """The graph in which what gives x (1 + erf(x / sqrt(2))) / 2 is a node Gelu, in whatever order it multiplies.

    The other nodes stay, for something else may read what they give.
    """
    if not any(node.op_type == "Erf" for node in graph.node):
        return graph
    result = onnx.GraphProto()
    result.CopyFrom(graph)
    pattern = _Pattern(result)
    for last, x in [found for node in result.node if node.op_type == "Erf" for found in pattern.products(node)]:
        last.op_type = "Gelu"
        del last.input[:], last.attribute[:]
        last.input.append(x)
    return result


class _Pattern:
    """A graph's nodes by the tensors that they read and give, and its constants."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._makers = {name: node for node in graph.node for name in node.output}
        self._readers: Mapping[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in graph.node:
            for name in node.input:
                self._readers[name].append(node)
        self._constants = {tensor.name: tensor for tensor in graph.initializer}

    def products(self, erf: onnx.NodeProto) -> Iterator[tuple[onnx.NodeProto, str]]:
        """Each node that gives half of x (1 + erf), and x."""
        x, times = self._scaled(erf.input[0])
        if not math.isclose(times, math.sqrt(0.5), rel_tol=_TOLERANCE):
            return
        for node in self._readers[erf.output[0]]:
            if node.op_type == "Add" and self._other(node, erf.output[0]) == 1.0:
                yield from self._multiplied(node.output[0], x, 1.0, False)

    def _multiplied(self, name: str, x: str, factor: float, has_x: bool) -> Iterator[tuple[onnx.NodeProto, str]]:
        """The nodes that give x / 2 times a tensor of which there is ``factor`` times, and x if ``has_x``."""
        for node in self._readers[name]:
            if node.op_type not in ("Mul", "Div") or node.input[0] != name and node.op_type == "Div":
                continue
            constant = self._other(node, name)
            so_far, is_whole = factor, has_x
            if constant is not None:
                so_far = factor * constant if node.op_type == "Mul" else factor / constant
            else:
                beside = self._beside(node, name)
                read, times = (x, 1.0) if beside == x else self._scaled(beside)
                if node.op_type == "Div" or has_x or read != x:
                    continue
                so_far, is_whole = factor * times, True
            if is_whole and math.isclose(so_far, 0.5, rel_tol=_TOLERANCE):
                yield node, x
            else:
                yield from self._multiplied(node.output[0], x, so_far, is_whole)

    def _scaled(self, name: str) -> tuple[str, float]:
        """A tensor as another one times a constant, 1 if nothing multiplies it."""
        node = self._makers.get(name)
        if node is None or node.op_type not in ("Mul", "Div"):
            return name, 1.0
        for one in node.input if node.op_type == "Mul" else node.input[:1]:
            constant = self._other(node, one)
            if constant is not None:
                return one, constant if node.op_type == "Mul" else 1 / constant
        return name, 1.0

    @staticmethod
    def _beside(node: onnx.NodeProto, name: str) -> str:
        return node.input[1] if node.input[0] == name else node.input[0]

    def _other(self, node: onnx.NodeProto, name: str) -> float | None:
        """The constant, a single number other than 0, that a node has beside ``name``."""
        beside = self._beside(node, name)
        tensor = self._constants.get(beside)
        maker = self._makers.get(beside)
        if tensor is None and maker is not None and maker.op_type == "Constant":
            tensor = next((entry.t for entry in maker.attribute if entry.name == "value"), None)
        if tensor is None:
            return None
        array = np.asarray(onnx.numpy_helper.to_array(tensor), dtype=np.float64)
        return float(array.reshape(())) if array.size == 1 and array.any() else None

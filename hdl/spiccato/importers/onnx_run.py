"""One run of an ONNX graph on labels (:mod:`.stages`).

Nodes that only move values, and everything that is computed from constants such as shapes and zero states, are executed
by onnx' own reference implementation; what computes is followed (:mod:`.onnx_operators`), or refused.

Graph inputs that reach nothing but initial states are followed as state (:mod:`.streaming`).
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper
import onnx.reference
from numpy.typing import NDArray

from ..errors import ModelError
from ..network import Network
from .chain import Chain
from .cut import Cut
from .onnx_node import NodeRun
from .onnx_operators import HANDLED
from .reasons import reason_of
from .result import network_of
from .stages import Misfit, Names

__all__ = ["GraphRun"]

SUPPORTED = (
    "LSTM, GRU, Gemm or MatMul and Add, activations, arithmetic with constants, and operators that only move values"
)

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


class GraphRun:
    """One run of a graph on labels.

    Parameters
    ----------
    graph : onnx.GraphProto
    opsets : dict
        Domain -> version.
    cut : Cut
        The part that is wanted, from and to tensors or nodes.
    """

    def __init__(self, graph: onnx.GraphProto, opsets: dict[str, int], cut: Cut) -> None:
        self.chain = Chain(cut)
        self._graph = graph
        self._opsets = opsets
        self._values: dict[str, NDArray[Any]] = {
            tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer
        }
        self._labelled: set[str] = set()
        self._foreign: set[str] = set()
        self._sizes: dict[str, int] = {}

    def network(self, name: str, shapes: Mapping[str, tuple[int, ...]]) -> Network:
        """The network, from a run on inputs of these shapes: the data, then state.

        Raises
        ------
        Misfit
            The graph does not take such an input.
        ModelError
            The graph does what is not supported.
        """
        first = next(iter(shapes))
        self._give_inputs(first, shapes)
        results = {}
        try:
            for node in self._needed():
                self._run(node)
            for value in self._graph.output:
                if value.name in self._labelled:
                    results[value.name] = self._values[value.name].astype(np.int64)
                elif not self.chain.finished:
                    raise ModelError(f"graph output '{value.name}' does not depend on the input '{first}'")
        except ModelError as error:
            if not self.chain.finished:
                raise self._telling(error) from None
            # What lies behind the part does not matter.
        return network_of(self.chain, results, name)

    def _telling(self, error: ModelError) -> ModelError:
        if not isinstance(error, Misfit):
            return self.chain.refusal(error)
        return Misfit(str(error), self.chain.refusal()) if self.chain.refused else error

    def _give_inputs(self, first: str, shapes: Mapping[str, tuple[int, ...]]) -> None:
        given = [value for value in self._graph.input if value.name not in self._values]
        for value in given:
            if value.name in shapes:
                names = (dim.dim_param for dim in value.type.tensor_type.shape.dim)
                self._sizes |= {name: size for name, size in zip(names, shapes[value.name]) if name}
        self._values[first] = self.chain.input(shapes[first])
        for value in given:
            if value.name == first:
                continue
            if value.name in shapes:
                self._values[value.name] = self.chain.state(value.name, shapes[value.name])
            else:
                self._foreign.add(value.name)
                if (shape := self._known_shape(value)) is None:
                    continue
                self._values[value.name] = self.chain.foreign(f"graph input '{value.name}'", shape)
            self._labelled.add(value.name)
        self._labelled.add(first)
        self._cut_at([first])

    def _known_shape(self, value: onnx.ValueInfoProto) -> tuple[int, ...] | None:
        """The shape that a graph tells of a value, where the inputs' sizes tell all that it leaves open."""
        if not value.type.tensor_type.HasField("shape"):
            return None
        sizes = [dim.dim_value or self._sizes.get(dim.dim_param, 0) for dim in value.type.tensor_type.shape.dim]
        return tuple(sizes) if all(sizes) else None

    def _needed(self) -> list[onnx.NodeProto]:
        """The nodes that some graph output or the cut depends on, in their order, which is that of execution."""
        ends = {name for _, name in self.chain.cut.names()}
        wanted = {value.name for value in self._graph.output} | ends
        nodes = []
        for node in reversed(self._graph.node):
            if wanted & set(node.output) or node.name in ends:
                nodes.append(node)
                wanted |= set(node.input)
        return nodes[::-1]

    def _cut_at(self, names: Iterable[str]) -> None:
        """Begin or end the part at one of the tensors ``names``, if it does so."""
        cut = self.chain.cut
        for name in names:
            if name == cut.start:
                self._values[name] = self.chain.begin(self._values[name].astype(np.int64))
            if name == cut.end:
                self.chain.finish(self._values[name].astype(np.int64))

    def _run(self, proto: onnx.NodeProto) -> None:
        values = self._values
        labelled = [name in self._labelled for name in proto.input]
        outputs = [name for name in proto.output if name]
        if any(labelled):
            data = proto.input[labelled.index(True)]
            self.chain.names = Names(data, outputs[0] if outputs else None)
            if proto.name and proto.name == self.chain.cut.start:
                values = self._values | {data: self.chain.begin(self._values[data].astype(np.int64))}
        node = NodeRun(self.chain, proto, values, self._labelled)
        try:
            results, are_labels = self._results(node, labelled)
        except Misfit:
            raise
        except ModelError as error:
            self.chain.refuse(error)
            results, are_labels = self._unsupported(node, labelled), True
        given = {name: value for name, value in zip(proto.output, results) if name}
        self._values |= given
        if are_labels:
            self._labelled |= set(given)
            self._cut_at(outputs)
            if proto.name and proto.name == self.chain.cut.end and outputs:
                self.chain.finish(self._values[outputs[0]].astype(np.int64))

    def _results(self, node: NodeRun, labelled: list[bool]) -> tuple[list[Any], bool]:
        """What a node gives, and whether that is labels."""
        attributes = node.attributes
        if node.proto.domain.removeprefix("ai.onnx") or any(
            isinstance(value, onnx.GraphProto) for value in attributes.values()
        ):
            raise ModelError(f"{node.place}: this operator is not supported; supported: {SUPPORTED}")
        handled, moves = node.kind in HANDLED, self._moves(node.kind, labelled)
        if any(labelled) and not (handled or moves or node.kind in _SHAPES):
            what = self.chain.what(node.labels(labelled.index(True)))
            reason = reason_of(node.kind)
            raise ModelError(
                f"{node.place} on {what}: {f'{reason}' if reason else 'this operator is not supported here'}; "
                f"supported: {SUPPORTED}"
            )
        for number, name in enumerate(node.proto.input):
            if name in self._foreign:
                raise ModelError(
                    f"{node.place} reads graph input '{name}' (its input {number}); supported: one input, besides "
                    "state that is the initial h and c of LSTM and GRU nodes and nothing else"
                )
            if name and name not in self._values:
                raise ModelError(
                    f"{node.place} reads '{name}' (its input {number}), which is not a value of the model's; "
                    f"supported: {SUPPORTED}"
                )
        if not any(labelled) or node.kind in _SHAPES:
            return self._execute(node, node.values), False
        if handled:
            return list(HANDLED[node.kind](node)), True
        return self._execute(node, node.values), True

    @staticmethod
    def _moves(kind: str, labelled: list[bool]) -> bool:
        """Whether a node that reads labels does no more than to move them."""
        if kind == "Concat":
            return all(labelled)
        if any(labelled[1:]):
            return False
        return kind in _MOVES

    def _execute(self, node: NodeRun, values: Mapping[str, NDArray[Any]]) -> list[Any]:
        """Results of a node by the reference implementation."""
        feeds = {name: values[name] for name in node.proto.input if name}
        try:
            with np.errstate(all="ignore"):  # what is not finite is refused where a layer takes it
                return list(onnx.reference.ReferenceEvaluator(node.proto, opsets=self._opsets).run(None, feeds))
        except Exception as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise Misfit(f"{node.place} cannot be executed: {reason}") from None

    def _unsupported(self, node: NodeRun, labelled: list[bool]) -> list[Any]:
        """New labels in the shape of what a node gives that is not supported."""
        if any(labelled) and all(name in self._values for name in node.proto.input if name):
            for kind in (np.float32, np.int64):
                read = (name for name in node.proto.input if name in self._labelled)
                zeros = {name: np.zeros(self._values[name].shape, kind) for name in read}
                try:
                    results = self._execute(node, self._values | zeros)
                except Misfit:
                    continue
                return [self.chain.foreign(node.place, np.shape(result)) for result in results]
        told = {value.name: self._known_shape(value) for value in (*self._graph.value_info, *self._graph.output)}
        shapes = [told.get(name) for name in node.proto.output]
        if any(labelled) and None not in shapes:
            return [self.chain.foreign(node.place, shape) for shape in shapes if shape is not None]
        raise Misfit(f"{node.place} cannot be executed")

"""Networks from ONNX models, files and objects: brought to one operator set, then run (:mod:`.onnx_run`)."""

import itertools
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import google.protobuf.message
import onnx
import onnx.inliner
import onnx.shape_inference
import onnx.version_converter

from ..errors import ModelError
from ..network import Network
from .confirm import LONG_SIZES, SIZES, confirm
from .cut import WHOLE, Cut
from .onnx_patterns import with_gelu_nodes
from .onnx_recurrent import RECURRENT
from .onnx_run import GraphRun
from .stages import Misfit

__all__ = ["load", "convert"]

#: Older models are converted to this operator set, the first one in which LSTM has its present form.
MIN_OPSET = 14


def load(path: Path, cut: Cut = WHOLE) -> Network:
    """The network in an ONNX file, or a part of it; weights in external files beside it are found."""
    try:
        model = onnx.load(path)
    except (google.protobuf.message.DecodeError, onnx.checker.ValidationError, ValueError) as error:
        raise ModelError(f"not a valid ONNX model: {_first_line(error)}") from None
    return convert(model, path.stem, cut)


def convert(model: onnx.ModelProto, name: str, cut: Cut = WHOLE) -> Network:
    """The network in an ONNX model.

    Parameters
    ----------
    model : onnx.ModelProto
    name : str
        The network's.
    cut : Cut
        The part that is taken, from and to tensors, or nodes by their names.

    Raises
    ------
    ModelError
        It is no valid model, or does what is not supported: with the node, and the part of the graph that would run.
    """
    model = _checked(model)
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    graph = with_gelu_nodes(model.graph)
    opsets = {entry.domain.removeprefix("ai.onnx"): entry.version for entry in model.opset_import}
    initialisers = {tensor.name: tensor for tensor in graph.initializer}
    given = [value for value in graph.input if value.name not in initialisers]
    if not given:
        raise ModelError("the graph has no input")
    _check_names(graph, cut)
    features, units = (_sizes(graph, initialisers, number) for number in (1, 2))
    states = _state_inputs(graph, given)
    data = next((value for value in given if value not in states), given[0])
    states = [value for value in states if value is not data]
    first_error: Misfit | None = None
    chance: Network | None = None  # fits with one number of steps and sequences only

    # Where the data's sizes are open, those of state may still be of one sequence.
    pairs = (SIZES[0], (SIZES[0][0], 1), (1, SIZES[0][0])) if states else SIZES[:1]

    def attempts():
        forms, state_forms = list(_forms(data, features)), list(_state_forms(data, states, units))
        yield from itertools.product(forms, state_forms, pairs)
        if chance is None and first_error is not None and first_error.refusal is not None:
            yield from itertools.product(forms, state_forms, LONG_SIZES)

    for form, state_form, pair in attempts():

        def run(shape, state_form=state_form):
            return GraphRun(graph, opsets, cut).network(name, {data.name: shape} | state_form(shape))

        shape = form(*pair)
        try:
            network = run(shape)
        except Misfit as error:
            if error.refusal is not None and error.refusal.cuts:
                raise error.refusal from None
            first_error = first_error or error
            continue
        chance = chance or network
        if confirm(network, run, shape, [form]) or form(*SIZES[1]) == shape:
            return network
    if chance is not None:
        return chance
    # There is a shape to try, at least.
    assert first_error is not None
    raise first_error.refusal or first_error


def _checked(model: onnx.ModelProto) -> onnx.ModelProto:
    """A valid model of MIN_OPSET or a later operator set."""
    for kind, values in (("input", model.graph.input), ("output", model.graph.output)):
        shapeless = [
            value.name
            for value in values
            if not value.type.tensor_type.HasField("shape") and value.type.WhichOneof("value") in (None, "tensor_type")
        ]
        if shapeless and kind == "output":
            # Other programs need no shape of an output either.
            try:
                model = onnx.shape_inference.infer_shapes(model)
            except (onnx.shape_inference.InferenceError, ValueError, RuntimeError) as error:
                raise ModelError(
                    f"graph output '{shapeless[0]}' has no shape, and none can be inferred: {_first_line(error)}"
                ) from None
            shapeless = [value.name for value in model.graph.output if not value.type.tensor_type.HasField("shape")]
        if shapeless:
            raise ModelError(
                f"graph {kind} '{shapeless[0]}' has no shape; expected steps, sequences and a number of features"
            )
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError) as error:
        raise ModelError(f"not a valid ONNX model: {_first_line(error)}") from None
    opset = next((entry.version for entry in model.opset_import if not entry.domain.removeprefix("ai.onnx")), 0)
    if opset >= MIN_OPSET:
        return model
    try:
        return onnx.version_converter.convert_version(model, MIN_OPSET)
    except Exception as error:  # of any kind: what its C++ code raises is not documented
        reason = re.sub(r".*Assertion .* failed: ", "", _first_line(error))
        raise ModelError(
            f"the model uses opset {opset}, which onnx's version converter does not bring to {MIN_OPSET} "
            f"({reason}); supported: {MIN_OPSET} and later, and from 7 on what it converts"
        ) from None


def _check_names(graph: onnx.GraphProto, cut: Cut) -> None:
    nodes = [node.name for node in graph.node if node.name]
    outputs = [name for node in graph.node for name in node.output if name]
    cut.check([*(value.name for value in graph.input), *outputs, *nodes], "tensor or node")


def _sizes(graph: onnx.GraphProto, initialisers: Mapping[str, onnx.TensorProto], number: int) -> list[int]:
    """Of layers' weights, input ``number`` of the nodes: columns, or of the recurrent ones, units."""
    found = []
    for node in graph.node:
        tensor = initialisers.get(node.input[number]) if number < len(node.input) else None
        if tensor is None or not tensor.dims:
            continue
        if node.op_type in RECURRENT:
            found.append(tensor.dims[-1])
        elif number == 1 and node.op_type in ("MatMul", "Gemm"):
            transposed = any(entry.name == "transB" and entry.i for entry in node.attribute)
            found.append(tensor.dims[-1] if transposed else tensor.dims[0])
    return found


def _state_inputs(graph: onnx.GraphProto, given: Sequence[onnx.ValueInfoProto]) -> list[onnx.ValueInfoProto]:
    """The graph inputs that only initial states of recurrent nodes are made of."""
    makers = {name: node for node in graph.node for name in node.output}

    def origins(names: Iterable[str]) -> set[str]:
        """What ``names`` are made of by operators that are no layers."""
        found: set[str] = set()
        waiting = [name for name in names if name]
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                node = makers.get(name)
                waiting += node.input if node is not None and node.op_type not in (*RECURRENT, "Shape", "Size") else ()
        return found

    layers = [node for node in graph.node if node.op_type in RECURRENT]
    initial = origins(name for node in layers for name in node.input[5:7])
    others = origins(name for node in layers for name in (*node.input[:5], *node.input[7:]))
    return [value for value in given if value.name in initial - others]


def _state_forms(
    data: onnx.ValueInfoProto, states: Sequence[onnx.ValueInfoProto], units: Sequence[int]
) -> Iterator[Callable[[tuple[int, ...]], dict[str, tuple[int, ...]]]]:
    """Functions that give the shapes of state inputs from that of the data.

    A size that the graph leaves open is that of the same name in the data. If there is none, it is the number of units
    where it comes last, and elsewhere the number of sequences: any of the data's sizes, or one.
    """
    names = {dim.dim_param: axis for axis, dim in enumerate(data.type.tensor_type.shape.dim) if dim.dim_param}
    missing = [
        dim
        for state in states
        for dim in state.type.tensor_type.shape.dim
        if not dim.dim_value and dim.dim_param not in names
    ]
    axes = [*range(len(data.type.tensor_type.shape.dim)), None] if missing else [None]
    for axis, size in itertools.product(axes, dict.fromkeys(units) if missing else (0,)):

        def form(shape: tuple[int, ...], axis: int | None = axis, size: int = size) -> dict[str, tuple[int, ...]]:
            def put_in(dim: Any, is_last: bool) -> int:
                if dim.dim_value:
                    return int(dim.dim_value)
                if dim.dim_param in names:
                    return shape[names[dim.dim_param]]
                return size if is_last else 1 if axis is None else shape[axis]

            return {
                state.name: tuple(put_in(dim, dim is dims[-1]) for dim in dims)
                for state, dims in ((state, list(state.type.tensor_type.shape.dim)) for state in states)
            }

        yield form


def _forms(value: onnx.ValueInfoProto, features: list[int]) -> Iterator[Callable[[int, int], tuple[int, ...]]]:
    """Functions that give a shape of a graph input, two sizes put in where it leaves them open.

    Parameters
    ----------
    features : list of int
        Numbers that layers take; an input that leaves all sizes open may have one of them.
    """
    dims = value.type.tensor_type.shape.dim
    if not dims:
        raise ModelError(f"graph input '{value.name}' has no shape; expected steps, sequences and a number of features")
    given = [dim.dim_value or dim.dim_param or number for number, dim in enumerate(dims)]
    is_open = [not dim.dim_value for dim in dims]
    if not any(is_open):
        yield lambda *_: tuple(given)
        return
    # The usual order of the sizes that are open, then the one of features that come last or in the middle.
    tries: list[tuple[int | None, int]] = [(None, 0)]
    if is_open[-1]:
        tries += [
            (position, size)
            for size in dict.fromkeys(features)
            for position in (len(dims) - 1, len(dims) - 2)
            if is_open[position]
        ]
    for position, size in tries:
        fixed = {} if position is None else {given[position]: size}

        def form(*pair: int, fixed: dict[str | int, int] = fixed) -> tuple[int, ...]:
            spare = iter((*pair, *range(math.prod(pair), math.prod(pair) + len(dims))))
            put_in = dict(fixed)
            for key, missing in zip(given, is_open):
                if missing and key not in put_in:
                    put_in[key] = next(spare)
            return tuple(put_in[key] if missing else key for key, missing in zip(given, is_open))

        yield form


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]

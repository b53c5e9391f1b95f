"""Operators of ONNX that are followed as layers, functions and constants; all others only move values, or are refused.

Each function returns the labels of the node's outputs.
"""

from collections.abc import Callable

import numpy as np
import onnx
from numpy.typing import NDArray

from ..errors import ModelError
from ..layers import LinearLayer
from .activations import Function, clip, function_named
from .elementwise import added, applied, multiplied
from .onnx_node import NodeRun
from .onnx_quantise import dequantise, quantise
from .onnx_recurrent import run_recurrent
from .streaming import Labels

__all__ = ["HANDLED"]

Results = list[Labels | None]

_FLOATS = {onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE}
#: What batch normalisation adds to the variance if no attribute says so.
_EPSILON = 1e-5
#: Parameters of activations where no attribute gives them, as ONNX has them.
_ALPHAS = {"LeakyRelu": 0.01, "Elu": 1.0, "HardSigmoid": 0.2, "Celu": 1.0}


def _gemm(node: NodeRun) -> Results:
    attributes = node.attributes
    alpha, beta = attributes.get("alpha", 1.0), attributes.get("beta", 1.0)
    if attributes.get("transA", 0):
        raise ModelError(f"{node.place}: transA {attributes['transA']} is not supported; supported: 0")
    labels, weight = node.labels(), node.constant(1, "B")
    weight = alpha * (weight if attributes.get("transB", 0) else weight.T)
    bias = None
    if node.has(2):
        bias = beta * _bias(node.place, node.constant(2, "C"), (max(len(labels), 1), len(weight)))
    return _linear(node, labels, weight, bias)


def _bias(place: str, bias: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """A bias for the last axis of ``shape`` from an array that is broadcast to it."""
    try:
        rows = np.broadcast_to(bias, shape).reshape(-1, shape[-1])
    except ValueError:
        raise ModelError(f"{place}: a bias of shape {bias.shape} for {shape[-1]} outputs") from None
    if (rows != rows[0]).any():
        raise ModelError(f"{place}: the bias is not the same at every step; supported: one of shape ({shape[-1]},)")
    return rows[0]


def _matmul(node: NodeRun) -> Results:
    labels, weight = node.labels(), node.constant(1, "its second operand")
    if weight.ndim != 2:
        raise ModelError(f"{node.place}: weights of shape {weight.shape}; expected (inputs, outputs)")
    return _linear(node, labels, weight.T, None)


def _linear(node: NodeRun, labels: Labels, weight: NDArray[np.float64], bias: NDArray[np.float64] | None) -> Results:
    try:
        layer = LinearLayer(weight) if bias is None else LinearLayer(weight, bias)
    except ModelError as error:
        raise ModelError(f"{node.place}: {error}") from None
    return [node.chain.linear(node.place, node.name, labels, layer)]


def _arithmetic(node: NodeRun) -> Results:
    numbers = [number for number in range(2) if node.is_labelled(number)]
    labels = node.labels(numbers[0])
    if len(numbers) == 2:
        return [_of_two(node, labels, node.labels(1))]
    constant = node.constant(1 - numbers[0], "the constant")
    factor: NDArray[np.float64] | float
    offset: NDArray[np.float64] | float
    if node.kind == "Add":
        factor, offset = 1.0, constant
    elif node.kind == "Sub":
        factor, offset = (1.0, -constant) if numbers == [0] else (-1.0, constant)
    elif node.kind == "Mul":
        factor, offset = constant, 0.0
    elif numbers == [0]:
        with np.errstate(divide="ignore"):
            factor, offset = 1 / constant, 0.0
    else:
        raise ModelError(
            f"{node.place} divides a constant by {node.chain.what(labels)}; supported: division by a constant"
        )
    return [node.chain.constants(node.place, node.name, labels, factor, offset)]


def _of_two(node: NodeRun, labels: Labels, others: Labels) -> Labels:
    if node.kind == "Mul":
        return multiplied(node.chain, node.place, node.name, labels, others)
    if node.kind == "Div":
        raise ModelError(
            f"{node.place} divides {node.chain.what(labels)} by {node.chain.what(others)}; supported: division by a "
            "constant"
        )
    sign = 1.0 if node.kind == "Add" else -1.0
    return added(node.chain, node.place, node.name, labels, others, sign=sign)


def _negative(node: NodeRun) -> Results:
    return [node.chain.constants(node.place, node.name, node.labels(), -1.0)]


def _batch_norm(node: NodeRun) -> Results:
    if node.attributes.get("training_mode", 0):
        raise ModelError(f"{node.place}: training mode is not supported; supported: a model exported for inference")
    labels = node.labels()
    scale, shift, mean, variance = (
        node.constant(1 + k, what) for k, what in enumerate(("scale", "B", "mean", "variance"))
    )
    factor = scale / np.sqrt(variance + node.attributes.get("epsilon", _EPSILON))
    shape = (-1,) + (1,) * (labels.ndim - 2)
    offset = (shift - mean * factor).reshape(shape)
    return [node.chain.constants(node.place, node.name, labels, factor.reshape(shape), offset)]


def _activation(node: NodeRun) -> Results:
    attributes = node.attributes
    if node.kind == "Gelu" and attributes.get("approximate", b"none") != b"none":
        raise ModelError(
            f"{node.place}: approximate={attributes['approximate'].decode()} is not supported; supported: none"
        )
    alpha = attributes.get("alpha", _ALPHAS.get(node.kind))
    beta = attributes.get("gamma") if node.kind == "Selu" else attributes.get("beta")
    if node.kind == "HardSigmoid":
        beta = attributes.get("beta", 0.5)
    if node.kind == "Swish" and alpha not in (None, 1.0):
        raise ModelError(f"{node.place}: alpha {alpha:g} is not supported; supported: 1")
    function = function_named(node.kind, None if node.kind == "Swish" else alpha, beta)
    assert function is not None
    return _applied(node, function)


def _applied(node: NodeRun, function: Function) -> Results:
    try:
        return [applied(node.chain, node.place, node.name, node.labels(), function)]
    except ModelError as error:
        text = str(error)
        raise type(error)(text if text.startswith(node.place) else f"{node.place}: {text}") from None


def _clip(node: NodeRun) -> Results:
    limits = [float(node.constant(number, what)) if node.has(number) else None for number, what in _LIMITS]
    try:
        function = clip(*limits)
    except ModelError as error:
        raise ModelError(f"{node.place}: {error}") from None
    return _applied(node, function)


_LIMITS = ((1, "min"), (2, "max"))


def _prelu(node: NodeRun) -> Results:
    slopes = np.unique(node.constant(1, "slope"))
    if len(slopes) != 1:
        raise ModelError(f"{node.place}: slopes of each feature are not supported; supported: one for all")
    return _applied(node, Function("leaky_relu", float(slopes[0])))


def _dropout(node: NodeRun) -> Results:
    if node.has(2) and node.constant(2, "training_mode").any():
        raise ModelError(f"{node.place}: training mode is not supported; supported: a model exported for inference")
    return [node.labels()]


def _cast(node: NodeRun) -> Results:
    if node.attributes["to"] not in _FLOATS:
        kind = onnx.TensorProto.DataType.Name(node.attributes["to"])
        raise ModelError(f"{node.place}: a conversion to {kind} is not supported; supported: FLOAT, DOUBLE")
    return [node.labels()]


#: Operator -> function.
HANDLED: dict[str, Callable[[NodeRun], Results]] = {
    "LSTM": run_recurrent,
    "GRU": run_recurrent,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Dropout": _dropout,
    "Cast": _cast,
    "Add": _arithmetic,
    "Sub": _arithmetic,
    "Mul": _arithmetic,
    "Div": _arithmetic,
    "Neg": _negative,
    "BatchNormalization": _batch_norm,
    "Clip": _clip,
    "PRelu": _prelu,
    "QuantizeLinear": quantise,
    "DequantizeLinear": dequantise,
    **dict.fromkeys(
        ("Relu", "LeakyRelu", "Elu", "Selu", "Celu", "Sigmoid", "Tanh", "HardSigmoid", "Gelu", "Swish"), _activation
    ),
}

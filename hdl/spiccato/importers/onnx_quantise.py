"""QuantizeLinear and DequantizeLinear of ONNX graphs: constants, and the limits of the integers between them.

Quantisers leave out a ReLU or a clip where the integers of the node behind it hold nothing beyond its limits. So these
are followed as a clip wherever a layer's results may lie beyond them. Roundings are left out.
"""

import math

import numpy as np
import onnx
from numpy.typing import NDArray

from ..errors import ModelError
from ..layers import DenseLayer
from .activations import clip
from .elementwise import applied
from .onnx_node import NodeRun
from .stages import Stage
from .streaming import Labels

__all__ = ["dequantise", "quantise"]

_SCALE, _ZERO_POINT = 1, 2
#: What both operators have without a word.
_AXIS, _TYPE = 1, onnx.TensorProto.UINT8
#: How far beyond the integers results may lie: that is rounding.
_STEP = 1.0


def quantise(node: NodeRun) -> list[Labels | None]:
    """x / scale + zero point, within the range of the integers."""
    node.chain.left_out[node.place] = None
    scale, zero_point = _constants(node)
    limits = _limits(node)
    labels = node.labels()
    source = node.chain.source(node.place, labels)
    low, high = _results(source)
    is_within = np.all(low / scale + zero_point >= limits.min - _STEP) and np.all(
        high / scale + zero_point <= limits.max + _STEP
    )
    labels = node.chain.constants(node.place, node.name, labels, 1 / scale, zero_point)
    # Of the model's input the integers hold what inputs are.
    if is_within or not source.is_arranged:
        return [labels]
    return [applied(node.chain, node.place, node.name, labels, clip(limits.min, limits.max))]


def dequantise(node: NodeRun) -> list[Labels | None]:
    """(x - zero point) times scale."""
    node.chain.left_out[node.place] = None
    scale, zero_point = _constants(node)
    return [node.chain.constants(node.place, node.name, node.labels(), scale, -(zero_point * scale))]


def _constants(node: NodeRun) -> list[NDArray[np.float64]]:
    """Scale and zero point, as they are broadcast to what is read."""
    scale = node.constant(_SCALE, "the scale")
    zero_point = node.constant(_ZERO_POINT, "the zero point") if node.has(_ZERO_POINT) else np.zeros_like(scale)
    if scale.ndim > 1 or not (np.isfinite(scale).all() and (scale > 0).all()):
        raise ModelError(
            f"{node.place}: scales of shape {scale.shape} are not supported; supported: one, or one for each feature, "
            "above zero"
        )
    if scale.size == 1:
        return [scale.reshape(()), zero_point.reshape(())]
    shape = [1] * node.labels().ndim
    shape[node.attributes.get("axis", _AXIS)] = -1
    return [scale.reshape(shape), zero_point.reshape(shape)]


def _limits(node: NodeRun) -> np.iinfo:
    if node.has(_ZERO_POINT):
        kind = node.value(_ZERO_POINT).dtype
    else:
        kind = onnx.helper.tensor_dtype_to_np_dtype(node.attributes.get("output_dtype", 0) or _TYPE)
    if kind.kind not in "iu":
        raise ModelError(
            f"{node.place}: numbers of type {kind.name} are not supported; supported: int8, uint8, int16, uint16"
        )
    return np.iinfo(kind)


def _results(source: Stage) -> tuple[float, float]:
    """Between which numbers the results of a stage lie."""
    layer = source.layer
    if isinstance(layer, DenseLayer):
        return layer.function.low, layer.function.high
    if layer is not None and layer.recurrent:
        h, _ = layer.initial_state
        largest = max(1.0, float(np.abs(h).max()))
        return -largest, largest
    return -math.inf, math.inf

"""Activation functions, and sums and products of results, as a chain (:mod:`.chain`) can have them."""

import numpy as np

from ..errors import ModelError
from ..layers import DenseLayer, LinearLayer
from .activations import Function
from .chain import Chain
from .stages import Stage
from .streaming import Labels

__all__ = ["added", "applied", "multiplied"]


def applied(chain: Chain, place: str, name: str, labels: Labels, function: Function) -> Labels:
    """Apply a function to every element; a linear layer before takes it up."""
    if (function.inner, function.inner_offset) != (1.0, 0.0):
        labels = chain.constants(place, name, labels, function.inner, function.inner * function.inner_offset)
    labels = _activated(chain, place, name, labels, function)
    if (function.outer, function.outer_offset) != (1.0, 0.0):
        labels = chain.constants(place, name, labels, function.outer, function.outer_offset)
    return labels


def _activated(chain: Chain, place: str, name: str, labels: Labels, function: Function) -> Labels:
    if function.name == "identity":
        return labels
    source = chain.source(place, labels)
    if isinstance(source.layer, LinearLayer):
        layer = DenseLayer(source.layer.weight, source.layer.bias, function.name, function.alpha)
        stage = chain.replacing(place, name, source, layer)
    else:
        if not source.is_arranged:
            raise ModelError(
                f"{place} on {source.what}: an activation in front of all layers is not supported; supported: behind "
                "a layer"
            )
        layer = DenseLayer(np.eye(source.shape[-1]), activation=function.name, alpha=function.alpha)
        stage = chain.following(place, name, source.labels, source, layer)
    return stage.first + labels - source.first


def multiplied(chain: Chain, place: str, name: str, labels: Labels, others: Labels) -> Labels:
    """The product of two results: x times the sigmoid of x, which is SiLU."""
    for one, other in ((labels, others), (others, labels)):
        source, gate = chain.source(place, one), chain.source(place, other)
        if _is_sigmoid_of(gate, source) and _aligned(one, source, other, gate):
            return _activated(chain, place, name, one, Function("silu"))
    raise _combined(chain, place, labels, others)


def _is_sigmoid_of(gate: Stage, source: Stage) -> bool:
    if not isinstance(gate.layer, DenseLayer) or gate.layer.activation != "sigmoid":
        return False
    if isinstance(source.layer, LinearLayer):
        return gate.replaced is source
    size = source.shape[-1]
    is_identity = gate.layer.weight.shape == (size, size) and np.array_equal(gate.layer.weight, np.eye(size))
    return gate.parent is source and is_identity and not gate.layer.bias.any()


def added(chain: Chain, place: str, name: str, labels: Labels, others: Labels, *, sign: float = 1.0) -> Labels:
    """A result plus ``sign`` times another: of linear layers that read the same, or of layers one behind the other."""
    pairs = ((labels, 1.0, others, sign), (others, sign, labels, 1.0))
    for one, factor, other, other_factor in pairs:
        source, beside = chain.source(place, one), chain.source(place, other)
        if not isinstance(source.layer, LinearLayer) or not _aligned(one, source, other, beside):
            continue
        weight, bias = factor * source.layer.weight, factor * source.layer.bias
        if source.parent is beside and beside.is_arranged and beside.constants is None:
            layer = LinearLayer(weight + other_factor * np.eye(len(weight)), bias)
        elif isinstance(beside.layer, LinearLayer) and beside.parent is source.parent:
            layer = LinearLayer(weight + other_factor * beside.layer.weight, bias + other_factor * beside.layer.bias)
        else:
            continue
        stage = chain.replacing(place, name, source, layer)
        return stage.first + one - source.first
    source, beside = chain.source(place, labels), chain.source(place, others)
    if _aligned(labels, source, others, beside) and (top := _top(source, beside)) is not None:
        addends = dict(source.addends or ((source, 1.0),))
        for stage, factor in beside.addends or ((beside, 1.0),):
            addends[stage] = addends.get(stage, 0.0) + sign * factor
        return chain.total(place, name, addends, top).first + labels - source.first
    raise _combined(chain, place, labels, others)


def _top(*stages: Stage) -> Stage | None:
    """The layer behind all others that these stages are sums of, if they are such and lie one behind the other."""
    layers = [one for stage in stages for one, _ in stage.addends or ((stage, 1.0),)]
    if any(one.layer is None for one in layers):
        return None
    top = max(layers, key=lambda one: len(one.path()))
    return top if set(layers) <= set(top.path()) else None


def _aligned(one: Labels, source: Stage, other: Labels, beside: Stage) -> bool:
    """Whether two arrays hold the same elements of two stages of one shape, in the same places."""
    same_shape = source.shape == beside.shape and one.shape == other.shape
    return same_shape and np.array_equal(one - source.first, other - beside.first)


def _combined(chain: Chain, place: str, labels: Labels, others: Labels) -> ModelError:
    return ModelError(
        f"{place} combines {chain.what(labels)} with {chain.what(others)}; supported: with a constant, or a sum of the "
        "results of layers one behind the other, or of two linear layers that read the same"
    )

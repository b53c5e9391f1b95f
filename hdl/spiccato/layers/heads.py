"""Heads: linear and dense layers that read the same, computed side by side as layers of all of them."""

from collections.abc import Mapping, Sequence

import numpy as np

from ..errors import ModelError
from .arithmetic import Array
from .dense import DenseLayer
from .layer import Layer

__all__ = ["side_by_side"]


def side_by_side(heads: Mapping[str, Sequence[Layer]]) -> tuple[list[DenseLayer], tuple[tuple[str, int], ...]]:
    """The layers that compute all heads, the first of which reads what they read; and the heads' names and sizes.

    Parameters
    ----------
    heads : {name: sequence of Layer}

    Raises
    ------
    ModelError
        Not the same activations in all of them, a layer of another kind, or sizes that do not chain.
    """
    chains = {name: _head(name, head) for name, head in heads.items()}
    ways = {name: [(one.activation, one.alpha) for one in chain] for name, chain in chains.items()}
    first = next(iter(ways), None)
    if first is None:
        raise ModelError("heads: expected one at least")
    for name, way in ways.items():
        if way != ways[first]:
            told = [" ".join(one for one, _ in ways[which]) for which in (first, name)]
            raise ModelError(
                f"heads {first!r} ({told[0]}) and {name!r} ({told[1]}) have other activations; supported: the same "
                "ones one after the other, others outside"
            )
    joined = [_as_one(list(level), number > 0) for number, level in enumerate(zip(*chains.values()))]
    return joined, tuple((name, chain[-1].output_size) for name, chain in chains.items())


def _head(name: str, layers: Sequence[Layer]) -> list[DenseLayer]:
    """A head's layers, linear ones multiplied out; the last one is linear."""
    chain: list[DenseLayer] = []
    for layer in layers:
        linear = layer.linear
        if linear is not None:
            layer = DenseLayer(linear.weight, linear.bias)
        if not isinstance(layer, DenseLayer):
            raise ModelError(f"head {name!r} has a {layer.title}; supported: linear and dense layers")
        if chain and chain[-1].output_size != layer.input_size:
            raise ModelError(
                f"head {name!r}: a {layer.title} takes {layer.input_size} inputs; expected {chain[-1].output_size}"
            )
        before = chain[-1].linear if chain else None
        if before is not None:
            chain[-1] = layer.after(before)
        else:
            chain.append(layer)
    if not chain:
        raise ModelError(f"head {name!r} has no layers")
    if chain[-1].linear is None:
        chain.append(DenseLayer(np.eye(chain[-1].output_size)))
    return chain


def _as_one(layers: Sequence[DenseLayer], apart: bool) -> DenseLayer:
    """Layers of one activation as one: of the same inputs, or, ``apart``, of one's behind the other's."""
    weight = np.concatenate([layer.weight for layer in layers]) if not apart else _block_diagonal(layers)
    bias = np.concatenate([layer.bias for layer in layers])
    return DenseLayer(weight, bias, layers[0].activation, layers[0].alpha)


def _block_diagonal(layers: Sequence[DenseLayer]) -> Array:
    weight = np.zeros((sum(layer.output_size for layer in layers), sum(layer.input_size for layer in layers)))
    row = column = 0
    for layer in layers:
        weight[row : row + layer.output_size, column : column + layer.input_size] = layer.weight
        row, column = row + layer.output_size, column + layer.input_size
    return weight

"""The bfloat16 number format, and a network computed in it to compare accuracy with."""

import dataclasses

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spiccato.formats import bfloat16_from_bits as from_bits
from spiccato.formats import bfloat16_to_bits as to_bits
from spiccato.layers import Rounding
from spiccato.network import Network

from .reference import Reference

__all__ = ["BFloat16Pipeline", "from_bits", "round_bfloat16", "to_bits"]

Array = NDArray[np.float64]


def round_bfloat16(x: ArrayLike) -> Array:
    """The bfloat16 numbers nearest to ``x``, as float64; see ``to_bits`` for the corners."""
    return from_bits(to_bits(x))


class _BFloat16(Rounding):
    def activation(self, values: Array) -> Array:
        return round_bfloat16(values)

    def cell(self, values: Array) -> Array:
        return values.astype(np.float32)

    def vector(self, values: Array) -> Array:
        return round_bfloat16(values)


class BFloat16Pipeline(Reference):
    """A network computed the way bfloat16 accelerators do: the yardstick of the accuracy figures.

    Weights, x, h and the results of activation functions are rounded to bfloat16. Dot products accumulate in float64,
    biases are exact, c and tanh(c) are kept in float32, and what the linear layers give is not rounded, so that this
    errs on the side of the pipeline.
    """

    def __init__(self, network: Network) -> None:
        rounded = tuple(layer.with_matrices(round_bfloat16) for layer in network.layers)
        super().__init__(dataclasses.replace(network, layers=rounded), _BFloat16())

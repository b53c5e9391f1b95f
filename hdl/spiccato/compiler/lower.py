"""First pass: a network's layers as rows of matrices, linear layers multiplied out, with the scales of units."""

import dataclasses

from ..layers import LoweredLayer
from ..network import Network
from .units import scale_units

__all__ = ["lower"]


def lower(network: Network) -> tuple[LoweredLayer, ...]:
    """The layers as the accelerator knows them, the one whose sums are the outputs last."""
    layers = (*network.hidden_layers, network.output_layer)
    lowered = [
        dataclasses.replace(layer.lowered(), reads=reads) for layer, reads in zip(layers, network.computed_reads)
    ]
    return tuple(scale_units(network, lowered))

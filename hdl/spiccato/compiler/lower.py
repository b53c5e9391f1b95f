"""First pass: a network's layers as rows of matrices, consecutive linear layers multiplied out as one."""

from ..layers import LoweredLayer
from ..network import Network

__all__ = ["lower"]


def lower(network: Network) -> tuple[LoweredLayer, ...]:
    """The layers as the accelerator knows them, the one whose sums are the outputs last."""
    return tuple(layer.lowered() for layer in (*network.hidden_layers, network.output_layer))

"""From a network to a program: quantise, partition over cores, schedule, and write every memory's image."""

from ..program import Program
from .compile import compile_network
from .dequantise import quantised_network

__all__ = ["compile_network", "quantised_network", "Program"]

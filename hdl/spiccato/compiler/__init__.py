"""From networks to a program: quantise, partition over cores, schedule, write every memory's image, and link."""

from ..program import Model, Program
from .compile import compile_network, compile_program
from .dequantise import quantised_network
from .link import link, most_contexts
from .units import multiples

__all__ = [
    "Model",
    "Program",
    "compile_network",
    "compile_program",
    "link",
    "most_contexts",
    "multiples",
    "quantised_network",
]

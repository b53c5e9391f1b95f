"""Compiled models and programs: their files, and their images for the device and for simulators.

Nothing here needs Amaranth but :mod:`.halves` and :mod:`.tiles`.
"""

from .model import LayerPlace, Model, StateName
from .placement import memory_rows
from .program import FORMAT_VERSION, Program
from .state import State, initial_state, read_names, values_of

__all__ = [
    "FORMAT_VERSION",
    "LayerPlace",
    "Model",
    "Program",
    "State",
    "StateName",
    "initial_state",
    "memory_rows",
    "read_names",
    "values_of",
]

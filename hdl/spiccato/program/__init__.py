"""Compiled models and programs: their files, and their images for the device and for simulators.

Nothing here needs Amaranth but :mod:`.halves`.
"""

from .model import LayerPlace, Model
from .placement import memory_rows
from .program import FORMAT_VERSION, Program
from .state import State, initial_state

__all__ = ["FORMAT_VERSION", "LayerPlace", "Model", "Program", "State", "initial_state", "memory_rows"]

"""Compiled programs: their file, and their images for the device and for simulators.

Nothing here needs Amaranth but :mod:`.state`.
"""

from .program import FORMAT_VERSION, LayerPlace, Program, memory_rows

__all__ = ["FORMAT_VERSION", "LayerPlace", "Program", "memory_rows"]

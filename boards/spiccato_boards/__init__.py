"""Boards: device facts, default configurations, and what a configuration takes of a device."""

from spiccato.errors import SpiccatoError

from .board import Board, Resources
from .ia420f import IA420F
from .ia840f import IA840F
from .v80 import V80

__all__ = ["BOARDS", "Board", "Resources", "find"]

#: All boards by name, the smallest device first.
BOARDS = {board.name: board for board in (IA420F, IA840F, V80)}


def find(name):
    """The board of that name; raises SpiccatoError, naming the known ones, if there is none."""
    if name not in BOARDS:
        raise SpiccatoError(f"unknown board {name!r}; known: {', '.join(BOARDS)}")
    return BOARDS[name]

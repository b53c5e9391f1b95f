"""Boards: device facts, default configurations, what a configuration takes of a device, and vendor projects.

Each module of this package that has a ``BOARD`` is a board: a new one is one new file (see
``docs/howto-add-a-board.md``).
"""

import importlib
import pkgutil

from spiccato.errors import SpiccatoError

from .board import Board, Resources

__all__ = ["BOARDS", "Board", "Resources", "find"]


def _discover():
    modules = (importlib.import_module(f".{info.name}", __name__) for info in pkgutil.iter_modules(__path__))
    boards = [module.BOARD for module in modules if hasattr(module, "BOARD")]
    return {board.name: board for board in sorted(boards, key=lambda board: (board.resources.dsp, board.name))}


#: All boards by name, the smallest device first.
BOARDS = _discover()


def find(name):
    """The board of that name; raises SpiccatoError, naming the known ones, if there is none."""
    if name not in BOARDS:
        raise SpiccatoError(f"unknown board {name!r}; known: {', '.join(BOARDS)}")
    return BOARDS[name]

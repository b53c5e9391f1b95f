"""Boards: device facts, default configurations, what a configuration takes of a device, and vendor projects.

Each module of this package that has a ``BOARD`` is a board: a new one is one new file, here or anywhere else (see
``docs/howto-add-a-board.md``). :mod:`spiccato.registry` finds them.
"""

from spiccato import registry
from spiccato.errors import BoardError

from .board import Board, Resources

__all__ = ["Board", "Resources", "boards", "find"]


def boards():
    """The boards that have a device, by name, the smallest first; raises as :func:`spiccato.registry.targets`."""
    found = [target for target in registry.targets().values() if isinstance(target, Board)]
    return {board.name: board for board in sorted(found, key=lambda board: (board.resources.dsp, board.name))}


def find(board, profile=None):
    """The board of that name or in that file, perhaps in another profile.

    Raises
    ------
    BoardError, ConfigError
        As :func:`spiccato.registry.find`; BoardError, too, if it is for simulation only.
    """
    target = registry.find(board, profile)
    if not isinstance(target, Board):
        raise BoardError(f"{target.name!r} is for simulation only, it has no device; boards: {', '.join(boards())}")
    return target

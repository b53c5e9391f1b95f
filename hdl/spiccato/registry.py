"""The boards by name: what ``--board`` and ``board=`` take, wherever it was installed or lies.

This package knows no board. It finds them where packages say that they have some: an entry point of the group
:data:`GROUP` names a package of Python modules, and each of these that has a ``BOARD`` is one (see
``docs/howto-add-a-board.md``). A file that was never installed is found by its path.
"""

import dataclasses
import functools
import hashlib
import importlib
import importlib.metadata
import os
import pkgutil
import sys
import types
from dataclasses import dataclass
from pathlib import Path

from .config import Config
from .errors import BoardError

__all__ = ["BOARD_SUFFIX", "GROUP", "Target", "configuration", "find", "targets"]

#: Entry points that name packages of board files.
GROUP = "spiccato.boards"

#: A board whose name ends like this is a file.
BOARD_SUFFIX = ".py"

_ATTRIBUTE = "BOARD"


@dataclass(frozen=True, kw_only=True)
class Target:
    """What programs are compiled and Verilog is written for: a configuration.

    As such it is for simulation only; ``spiccato_boards.Board`` adds the device.

    Parameters
    ----------
    config : Config
        Its name is the target's.

    Raises
    ------
    BoardError
        If ``config`` is something else.
    """

    config: Config

    def __post_init__(self):
        if not isinstance(self.config, Config):
            raise BoardError(f"config must be a Config, not {self.config!r}")

    @property
    def name(self) -> str:
        """As commands take it."""
        return self.config.name

    @property
    def simulated_only(self) -> bool:
        """Whether there is no device for it."""
        return True

    @property
    def style(self) -> str:
        """How memories and multipliers are marked: key of :data:`spiccato.rtl.style.STYLES`."""
        return "portable"


#: Boards that were loaded from files, by name: whoever meets their configuration later on knows them.
_loaded: dict[str, Target] = {}


def targets() -> dict[str, Target]:
    """All boards by name, in the order of their names: those that are installed, and those loaded from files.

    Raises
    ------
    BoardError
        If an installed board cannot be imported, or two have the same name.
    """
    known = _installed() | _loaded
    return {name: known[name] for name in sorted(known)}


def find(board: str | os.PathLike | Target) -> Target:
    """The board of that name, or in that file; a :class:`Target` is its own.

    Parameters
    ----------
    board : str, path or Target
        What ends in ``.py`` is a file: a Python module with a ``BOARD``.

    Raises
    ------
    BoardError
        If there is none of that name, or the file is no board; in one line.
    """
    if isinstance(board, Target):
        return board
    if not isinstance(board, (str, os.PathLike)):
        raise BoardError(f"a board is named by a string or a path, not by {board!r}")
    name = os.fspath(board)
    if name.endswith(BOARD_SUFFIX):
        return _load(name)
    known = targets()
    if name not in known:
        raise BoardError(f"unknown board {name!r}; known: {', '.join(known)}, or a board file (*{BOARD_SUFFIX})")
    return known[name]


def configuration(board: str | os.PathLike | Target, io_format: str | None = None) -> Config:
    """The configuration of a board, with another ``io_format`` if one is given; raises as :func:`find`."""
    config = find(board).config
    return dataclasses.replace(config, io_format=io_format) if io_format else config


@functools.cache
def _installed() -> dict[str, Target]:
    found, places = {}, {}
    packages = dict.fromkeys(point.value for point in importlib.metadata.entry_points(group=GROUP))
    for package in packages:
        for module in _modules(package):
            if not hasattr(module, _ATTRIBUTE):
                continue
            target = _target(module, module.__name__)
            if target.name in found:
                raise BoardError(
                    f"two boards have the name {target.name!r}: {places[target.name]} and {module.__name__}"
                )
            found[target.name], places[target.name] = target, module.__name__
    return found


def _modules(package: str):
    """The modules of an installed package."""
    paths = _import(package, functools.partial(importlib.import_module, package)).__path__
    for info in pkgutil.iter_modules(paths, f"{package}."):
        yield _import(info.name, functools.partial(importlib.import_module, info.name))


def _load(path: str) -> Target:
    """The board in a file. Its module gets a name that other processes give it, too, so that it can be pickled."""
    resolved = Path(path).resolve()
    name = f"_spiccato_board_{hashlib.sha256(os.fsencode(resolved)).hexdigest()[:16]}"
    if name in sys.modules:
        return _target(sys.modules[name], path)
    if not resolved.is_file():
        raise BoardError(f"{path}: no such file; a board is a name or a Python file with a {_ATTRIBUTE}")
    module = sys.modules[name] = types.ModuleType(name)
    module.__file__ = str(resolved)
    try:
        # Not by an import, which would leave a __pycache__ beside the user's file.
        _import(path, lambda: exec(compile(resolved.read_bytes(), resolved, "exec"), vars(module)))
        target = _target(module, path)
        if target.name in targets():
            raise BoardError(f"{path}: there is a board {target.name!r} already: give this one another name")
    except BaseException:
        del sys.modules[name]
        raise
    _loaded[target.name] = target
    return target


def _import(where: str, load):
    """What ``load`` gives; whatever goes wrong in a board's own code is told in one line."""
    try:
        return load()
    except Exception as error:
        text = str(error).splitlines()
        raise BoardError(
            f"{where}: cannot be imported as a board: {type(error).__name__}" + (f": {text[0]}" if text else "")
        ) from error


def _target(module, where: str) -> Target:
    target = getattr(module, _ATTRIBUTE, None)
    if not isinstance(target, Target):
        what = "is missing" if target is None else f"is {type(target).__name__!r}"
        raise BoardError(
            f"{where}: {_ATTRIBUTE} {what}; expected a spiccato_boards.Board, or a "
            "spiccato.registry.Target for simulation only"
        )
    return target

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
import re
import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .config import Config
from .errors import BoardError

__all__ = ["BOARD_SUFFIX", "DEFAULT", "GROUP", "Target", "configuration", "find", "targets"]

#: Entry points that name packages of board files.
GROUP = "spiccato.boards"

#: A board whose name ends like this is a file.
BOARD_SUFFIX = ".py"

#: The configuration that a board has if none is named.
DEFAULT = "default"

_ATTRIBUTE = "BOARD"


@dataclass(frozen=True, kw_only=True)
class Target:
    """What programs are compiled and Verilog is written for: one of some configurations.

    As such it is for simulation only; ``spiccato_boards.Board`` adds the device.

    Parameters
    ----------
    configurations : dict
        :class:`Config` by name. "default" is what commands mean by the target's name, which is this configuration's;
        the configuration "fast" of a target "x" is called, and is found as, "x-fast".
    configuration : str
        The one that this object stands for.

    Raises
    ------
    BoardError
        If there is no default, or one is no Config or is called something else.
    """

    configurations: dict[str, Config]
    configuration: str = DEFAULT

    def __post_init__(self):
        for key, config in self.configurations.items():
            if not isinstance(config, Config):
                raise BoardError(f"configuration {key!r} must be a Config, not {config!r}")
        if DEFAULT not in self.configurations:
            raise BoardError(f"there is no configuration {DEFAULT!r}, only {', '.join(self.configurations) or 'none'}")
        for key, config in self.configurations.items():
            name = self.configurations[DEFAULT].name + (f"-{key}" if key != DEFAULT else "")
            if config.name != name:
                raise BoardError(f"configuration {key!r} must be called {name!r}, not {config.name!r}")
        if self.configuration not in self.configurations:
            raise BoardError(
                f"{self.configurations[DEFAULT].name!r} has no configuration {self.configuration!r}; it has "
                f"{', '.join(self.configurations)}"
            )

    @property
    def config(self) -> Config:
        """The configuration."""
        return self.configurations[self.configuration]

    @property
    def name(self) -> str:
        """As commands take it: the configuration's."""
        return self.config.name

    @property
    def card(self) -> str:
        """The name that all its configurations have in common: that of the default one."""
        return self.configurations[DEFAULT].name

    def variant(self, configuration: str) -> "Target":
        """The target with the configuration of that name; raises BoardError if it has none."""
        if configuration == self.configuration:
            return self
        return dataclasses.replace(self, configuration=configuration)

    def variants(self) -> dict[str, "Target"]:
        """The target by name, once with each of its configurations."""
        return {config.name: self.variant(key) for key, config in self.configurations.items()}

    def in_profile(self, profile: str | None) -> "Target":
        """The target with its configurations in that profile of their family; as it is if None is given.

        Raises
        ------
        ConfigError
            If the family has no such profile; the message names those it has.
        """
        if profile is None:
            return self
        # First this one, since it is what a refusal is to name.
        dataclasses.replace(self.config, profile=profile)
        configurations = {
            key: dataclasses.replace(config, profile=profile) for key, config in self.configurations.items()
        }
        return dataclasses.replace(self, configurations=configurations)

    @property
    def simulated_only(self) -> bool:
        """Whether there is no device for it."""
        return True

    @property
    def verilog_family(self) -> str:
        """The family for which its Verilog is written; see :func:`spiccato.verilog.generate_verilog`."""
        return "portable"

    @property
    def top(self) -> Any:
        """The accelerator with what is built around it, a :class:`spiccato.rtl.part.Part`; None if nothing is."""
        return None

    @property
    def baud(self) -> int | None:
        """Bits a second of the serial port by which a host reaches it; None if there is none."""
        return None


#: Boards that were loaded from files, by name: whoever meets their configuration later on knows them.
_loaded: dict[str, Target] = {}


def targets() -> dict[str, Target]:
    """All boards by name, in the order of their names: those that are installed, and those loaded from files.

    Each is there once with each of its configurations.

    Raises
    ------
    BoardError
        If an installed board cannot be imported, or two have the same name.
    """
    known = _installed() | _loaded
    return {name: known[name] for name in sorted(known)}


def find(board: str | os.PathLike | Target, profile: str | None = None) -> Target:
    """The board of that name, or in that file, perhaps in another profile; a :class:`Target` is its own.

    Parameters
    ----------
    board : str, path or Target
        What ends in ``.py`` is a file: a Python module with a ``BOARD``. "x-fast" is the configuration "fast" of the
        board "x", ``x.py-fast`` that of the board in the file.
    profile : str, optional
        Of the device's family: see :class:`spiccato.config.Config`. [default: what the board's file says]

    Raises
    ------
    BoardError
        If there is none of that name, or the file is no board; in one line.
    ConfigError
        If the family has no such profile; likewise.
    """
    return _known(board).in_profile(profile)


def _known(board: str | os.PathLike | Target) -> Target:
    if isinstance(board, Target):
        return board
    if not isinstance(board, (str, os.PathLike)):
        raise BoardError(f"a board is named by a string or a path, not by {board!r}")
    name = os.fspath(board)
    file = re.fullmatch(rf"(.*{re.escape(BOARD_SUFFIX)})(?:-(\w+))?", name)
    if file:
        target = _load(file[1])
        return target.variant(file[2] or DEFAULT)
    known = targets()
    if name not in known:
        raise BoardError(f"unknown board {name!r}; known: {', '.join(known)}, or a board file (*{BOARD_SUFFIX})")
    return known[name]


def configuration(
    board: str | os.PathLike | Target, io_format: str | None = None, profile: str | None = None
) -> Config:
    """The configuration of a board, with another ``io_format`` or profile if given; raises as :func:`find`."""
    config = find(board, profile).config
    return dataclasses.replace(config, io_format=io_format) if io_format else config


@functools.cache
def _installed() -> dict[str, Target]:
    found: dict[str, Target] = {}
    places: dict[str, str] = {}
    packages = dict.fromkeys(point.value for point in importlib.metadata.entry_points(group=GROUP))
    for package in packages:
        for module in _modules(package):
            if not hasattr(module, _ATTRIBUTE):
                continue
            for name, target in _target(module, module.__name__).variants().items():
                if name in found:
                    raise BoardError(f"two boards have the name {name!r}: {places[name]} and {module.__name__}")
                found[name], places[name] = target, module.__name__
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
        known = targets()
        for variant in target.variants():
            if variant in known:
                raise BoardError(f"{path}: there is a board {variant!r} already: give this one another name")
    except BaseException:
        del sys.modules[name]
        raise
    _loaded.update(target.variants())
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

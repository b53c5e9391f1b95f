"""A board of somebody's own: another one with a configuration of its own, as a file."""

import json
import os

from spiccato.config import Config
from spiccato.registry import BOARD_SUFFIX, DEFAULT

__all__ = ["board_file"]

_TEXT = '''"""{name} with an accelerator of {size}."""

import dataclasses

from spiccato.config import Config
from spiccato_boards import find

BOARD = dataclasses.replace(
    find({base}),
    configurations={{
        {key}: Config(
{fields}
        )
    }},
    configuration={key},
)
'''


def board_file(base: str, config: Config) -> str:
    """The text of a board's file.

    Parameters
    ----------
    base : str
        The board that it is but for its configuration: its name, or its file.
    config : Config
        Of the same family. Its name is the new board's, which no other one has.
    """
    name = os.path.basename(base)
    # The new file may lie anywhere.
    base = os.path.abspath(base) if BOARD_SUFFIX in base else base
    fields = "\n".join(f"            {name}={_source(value)}," for name, value in config.to_dict().items())
    return _TEXT.format(name=name, base=_source(base), size=config.size, key=_source(DEFAULT), fields=fields)


def _source(value: object) -> str:
    """A value as this house writes it in Python."""
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, tuple):
        return f"({', '.join(map(_source, value))}{',' * (len(value) == 1)})"
    return repr(value)

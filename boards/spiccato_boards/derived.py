"""A board of somebody's own: another one with a configuration of its own, as a file."""

import os

from spiccato.config import Config
from spiccato.registry import BOARD_SUFFIX, DEFAULT

__all__ = ["board_file"]

_TEXT = '''"""{base} with an accelerator of {cores} x {block}."""

import dataclasses

from spiccato.config import Config
from spiccato_boards import find

BOARD = dataclasses.replace(
    find({base!r}),
    configurations={{
        {key!r}: Config(
{fields}
        )
    }},
    configuration={key!r},
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
    # The new file may lie anywhere.
    base = os.path.abspath(base) if BOARD_SUFFIX in base else base
    fields = "\n".join(f"            {name}={value!r}," for name, value in config.to_dict().items())
    return _TEXT.format(base=base, cores=config.cores, block=config.block, key=DEFAULT, fields=fields)

"""All boards: what their accelerators take of the devices, beside the published product's resources."""

from spiccato_boards import boards
from spiccato_boards.resources import describe

from . import published

__all__ = ["HEADER", "LEFT", "cells", "markdown", "rows"]

HEADER = ("board", "cores", "MHz", "resource", "estimate", "device", "used", "published")
#: Columns of text.
LEFT = 4


def rows(of=None):
    """One dictionary for each board, as :func:`spiccato_boards.resources.describe` gives it, and more.

    Parameters
    ----------
    of : sequence of spiccato_boards.Board, optional
        Default: all.

    Returns
    -------
    list of dict
        With ``title`` and ``device_name`` of the board, ``cores``, ``block``, ``columns``, ``size`` and
        ``weight_depth`` of its accelerator, and ``published``: the resources of the published product with as many
        cores, {kind: number}, or None.
    """
    found = []
    for board in boards().values() if of is None else of:
        config = board.config
        # Published for Agilex alone, and for multipliers that are as wide.
        known = board.family.name == "agilex7" and not config.narrow
        theirs = published.resources(config.cores, config.block) if known else None
        found.append(
            describe(config, board)
            | {
                "title": board.title,
                "device_name": board.device,
                "cores": config.cores,
                "block": config.block,
                "columns": config.columns,
                "size": config.size,
                "weight_depth": config.weight_depth,
                "published": theirs,
            }
        )
    return found


def cells(found):
    """The same as the cells of a table, one line for each kind of resource."""
    lines = []
    for row in found:
        first = (row["board"], row["size"], f"{row['clock_mhz']:g}")
        for kind, count in row["estimate"].items():
            device = row["device"][kind]
            unit = {"logic": f"{row['logic_unit']} (about)", "dsp": "DSP"}.get(kind, kind.upper())
            lines.append((*first, unit, count, device, f"{count / device:.0%}", (row["published"] or {}).get(kind)))
            first = (row["profile"] if first[0] == row["board"] else "", "", "")
    return lines


def markdown(found):
    """The same for the documentation."""
    lines = [HEADER, *((("---",) * LEFT) + (("---:",) * (len(HEADER) - LEFT)),), *cells(found)]
    return "".join(
        "| "
        + " | ".join("-" if cell is None else cell if isinstance(cell, str) else f"{cell:,}" for cell in line)
        + " |\n"
        for line in lines
    )

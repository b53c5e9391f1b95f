"""The points of an exploration as files: data, a table for spreadsheets, and a picture of the front."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from spiccato.files import write_whole

__all__ = ["columns", "front_figure", "write"]

_COLOURS = {"int16": "#1f5fa8", "int8": "#c8552b", "int9": "#2f8f6b"}
_BEATEN = "#cfcfcf"
_MARKS = "osD^vP*X"
#: Points of the front whose accelerator is written beside them, at most.
_NAMED = 8


def write(folder: Path, rows: Sequence[dict[str, Any]], names: Sequence[str], title: str) -> list[Path]:
    """Write ``points.json``, ``points.csv`` and ``pareto.png``.

    Parameters
    ----------
    folder : Path
        Made if there is none.
    rows : sequence of dict
        As :func:`.explore.explore` gives them.
    names : sequence of str
        Of the models.
    title : str
        What is explored.

    Returns
    -------
    list of Path
    """
    folder.mkdir(parents=True, exist_ok=True)
    table = io.StringIO()
    lines = [columns(row, names) for row in rows]
    writer = csv.DictWriter(table, dict.fromkeys(key for line in lines for key in line), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    picture = io.BytesIO()
    front_figure(rows, title).savefig(picture, format="png", dpi=130, metadata={"Software": None})
    files = {
        "points.json": (json.dumps(list(rows), indent=1) + "\n").encode(),
        "points.csv": table.getvalue().encode(),
        "pareto.png": picture.getvalue(),
    }
    for name, data in files.items():
        write_whole(folder / name, data)
    return [folder / name for name in files]


def columns(row: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """A row as cells by column; of several models each figure has a column for each, named ``figure.model``."""
    cells: dict[str, Any] = {}
    for key, value in row.items():
        if key == "configuration":
            continue
        if key == "reasons":
            cells[key] = "; ".join(value)
        elif isinstance(value, list):
            cells |= {key if len(names) == 1 else f"{key}.{name}": figure for name, figure in zip(names, value)}
        elif isinstance(value, dict):
            cells |= {f"{key}.{kind}": figure for kind, figure in value.items()}
        else:
            cells[key] = value
    return cells


def front_figure(rows: Sequence[dict[str, Any]], title: str) -> Figure:
    """Latency over the share of the device, and contexts over it: all points that fit, those of the front in colour."""
    matplotlib.rcParams["svg.hashsalt"] = "spiccato"
    figure = Figure(figsize=(12, 5), layout="constrained")
    latency, room = figure.subplots(1, 2)
    fitting = [row for row in rows if row["fits"]]
    front = [row for row in fitting if row["pareto"]]
    contexts = sorted({row["contexts"] for row in rows})
    marks = {number: _MARKS[place % len(_MARKS)] for place, number in enumerate(contexts)}

    def place(row):
        return 100 * max(row["shares"].values())

    for axes, of in ((latency, lambda row: max(row["spaced_us"])), (room, lambda row: row["contexts_that_fit"])):
        beaten = [row for row in fitting if not row["pareto"]]
        axes.plot([place(row) for row in beaten], [of(row) for row in beaten], ".", color=_BEATEN, markersize=5)
        for form, colour in _COLOURS.items():
            for number, mark in marks.items():
                shown = [row for row in front if (row["weights"], row["contexts"]) == (form, number)]
                if not shown:
                    continue
                axes.plot(
                    [place(row) for row in shown],
                    [of(row) for row in shown],
                    mark,
                    color=colour,
                    markersize=6,
                    alpha=0.8,
                    label=f"{form}, for {number} context{'s' * (number > 1)}",
                )
        axes.set_yscale("log")
        axes.set_xlim(0)
        axes.set_xlabel("% of the device: of DSP or of memory blocks, whichever is more")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    for row in _steps(front, place):
        latency.annotate(
            f"{row['cores']} x {row['block']}",
            (place(row), max(row["spaced_us"])),
            xytext=(4, 5),
            textcoords="offset points",
            fontsize=8,
        )
    latency.set_ylabel("spaced latency, us")
    room.set_ylabel("contexts that fit")
    if front:
        handles, labels = latency.get_legend_handles_labels()
        figure.legend(handles, labels, frameon=False, loc="outside lower center", ncols=4, fontsize=9)
    figure.suptitle(f"{title}: predicted; grey: beaten in every figure by another point", fontsize=10)
    return figure


def _steps(front, place):
    """Points of the front that are faster than all that take less of the device, evenly chosen if they are many."""
    steps: list[dict[str, Any]] = []
    for row in sorted(front, key=lambda row: (place(row), max(row["spaced_us"]))):
        if not steps or max(row["spaced_us"]) < max(steps[-1]["spaced_us"]):
            steps.append(row)
    every = -(-len(steps) // _NAMED) or 1
    # The fastest is always named.
    return steps[::-1][::every]

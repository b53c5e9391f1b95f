"""Draws docs/pipeline.svg from the timing that the hardware is built with. Run: .venv/bin/python docs/figures.py"""

from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from spiccato.config import PRESETS
from spiccato.rtl.accelerator import Timing
from spiccato.rtl.ingress import Ingress
from spiccato.rtl.memory import Rom

FOLDER = Path(__file__).parent
COLOURS = {"memory": "#3c9a5f", "adder": "#1f5fa8", "DSP": "#c8552b", "logic": "#8a6fb0", "wire": "#9a9a9a"}


def stages(t):
    """Registers as (lane, cycle, label, what limits the stage)."""
    gates = t.c_old
    products = t.c - 2
    tree = range(t.row + 3, t.sum + 1)
    return [
        ("issue", 0, "issue", "logic"),
        ("vector", 1, "latch", "memory"), ("vector", 2, "output", "memory"), ("vector", t.vector, "merge", "logic"),
        ("vector", t.row, "copy", "wire"),
        ("weights", 1, "copy", "wire"), ("weights", t.weight_addr, "addr", "wire"),
        ("weights", t.weight_addr + 1, "latch", "memory"), ("weights", t.row, "output", "memory"),
        ("row", t.row + 1, "operands", "logic"), ("row", t.row + 2, "products", "DSP"),
        *(("row", cycle, "tree", "adder") for cycle in tree),
        ("accumulator", t.sum + 1, "align", "logic"), ("accumulator", t.acc, "add", "adder"),
        ("gates", t.acc + 1, "latch", "memory"), ("gates", t.acc + Rom.latency, "output", "memory"),
        ("gates", gates, "line", "DSP"),
        ("c", products, "products", "DSP"), ("c", products + 1, "sum", "adder"), ("c", t.c, "saturate", "logic"),
        ("tanh(c), h", products + 2, "latch", "memory"), ("tanh(c), h", products + 3, "output", "memory"),
        ("tanh(c), h", t.h - 1, "line", "DSP"), ("tanh(c), h", t.h, "product", "DSP"),
        ("write", t.h + 1, "rotate", "logic"), ("write", t.h + 2, "merge", "logic"),
        ("next issue", t.dependency, "issue", "logic"),
    ]


def pipeline(board, path):
    """One figure: a lane for each part, a box for each register, in the cycle in which it is valid."""
    matplotlib.rcParams["svg.hashsalt"] = "spiccato"
    timing = Timing(PRESETS[board])
    boxes = stages(timing)
    lanes = list(dict.fromkeys(lane for lane, *_ in boxes))
    figure = Figure(figsize=(13, 4.6), layout="constrained")
    axes = figure.subplots()
    for lane, cycle, label, kind in boxes:
        y = lanes.index(lane)
        axes.barh(y, 0.94, left=cycle - 0.47, height=0.72, color=COLOURS[kind])
        axes.text(cycle, y, label, ha="center", va="center", color="white", fontsize=7)
    for kind, colour in COLOURS.items():
        axes.barh(0, 0, color=colour, label=kind)
    axes.set_yticks(range(len(lanes)), lanes)
    axes.set_xticks(range(timing.h + 3))
    axes.set_xlim(-0.7, timing.h + 2.7)
    axes.invert_yaxis()
    axes.set_xlabel(f"cycle after the issue of a slot's last word ({board}); "
                    f"input: {Ingress.latency + 1} stages before, "
                    f"output: {timing.output - timing.acc} after the accumulator")
    axes.legend(title="what limits the stage", loc="lower left", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    pipeline("ia420f", FOLDER / "pipeline.svg")

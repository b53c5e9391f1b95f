"""Draws docs/architecture.svg, and docs/pipeline.svg from the timing that the hardware is built with.

Run: .venv/bin/python docs/figures.py
"""

from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from spiccato.registry import configuration
from spiccato.rtl.accelerator import Timing
from spiccato.rtl.dsp import Registers
from spiccato.rtl.ingress import Ingress
from spiccato.rtl.memory import Rom

FOLDER = Path(__file__).parent
COLOURS = {"memory": "#3c9a5f", "adder": "#1f5fa8", "DSP": "#c8552b", "logic": "#8a6fb0", "wire": "#9a9a9a"}


def stages(t):
    """Registers as (lane, cycle, label, what limits the stage)."""
    gates = t.c_old
    # Their sum and its saturation follow.
    products = t.c - 2
    tree = range(t.row + Registers(operands=True).latency + 1, t.sum + 1)
    return [
        ("issue", 0, "issue", "logic"),
        ("vector", 1, "latch", "memory"),
        ("vector", 2, "output", "memory"),
        ("vector", t.vector, "merge", "logic"),
        ("vector", t.row, "copy", "wire"),
        ("weights", 1, "copy", "wire"),
        ("weights", t.weight_addr, "addr", "wire"),
        ("weights", t.weight_addr + 1, "latch", "memory"),
        ("weights", t.row, "output", "memory"),
        ("row", t.row + 1, "operands", "logic"),
        ("row", t.row + 2, "products", "DSP"),
        *(("row", cycle, "tree", "adder") for cycle in tree),
        ("accumulator", t.sum + 1, "align", "logic"),
        ("accumulator", t.acc, "add", "adder"),
        ("gates", t.acc + 1, "latch", "memory"),
        ("gates", t.acc + Rom.latency, "output", "memory"),
        ("gates", gates, "line", "DSP"),
        ("c", products, "products", "DSP"),
        ("c", products + 1, "sum", "adder"),
        ("c", t.c, "saturate", "logic"),
        ("tanh(c), h", products + 2, "latch", "memory"),
        ("tanh(c), h", products + 3, "output", "memory"),
        ("tanh(c), h", t.h - 1, "line", "DSP"),
        ("tanh(c), h", t.h, "product", "DSP"),
        ("write", t.h + 1, "rotate", "logic"),
        ("write", t.h + 2, "merge", "logic"),
        ("next issue", t.dependency, "issue", "logic"),
    ]


def pipeline(board, path):
    """One figure: a lane for each part, a box for each register, in the cycle in which it is valid."""
    matplotlib.rcParams["svg.hashsalt"] = "spiccato"
    timing = Timing(configuration(board))
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
    axes.set_xlabel(
        f"cycle after the issue of a slot's last word ({board}); "
        f"input: {Ingress(configuration(board), lead=timing.block_lead).latency + 1} stages before, "
        f"output: {timing.output - timing.acc} after the accumulator"
    )
    axes.legend(title="what limits the stage", loc="lower left", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})


#: Boxes of the block diagram: (left, bottom, width, height, label, what it mostly is).
BLOCKS = [
    (14, 26, 13, 9, "ingress\nfloats to integers", "logic"),
    (34, 26, 13, 9, "vector file\nx and h", "memory"),
    (57, 27.5, 10, 6, "weights", "memory"),
    (57, 17, 10, 6, "rows\nB multipliers", "DSP"),
    (72, 17, 12, 6, "align,\naccumulate", "adder"),
    (72, 27.5, 12, 6, "partial sums,\nrow shifts, c", "memory"),
    (89, 17, 12, 6, "cell units\nc, h", "DSP"),
    (109, 26, 13, 9, "egress\nintegers to floats", "logic"),
    (34, 4, 13, 8, "sequencer\nissue words", "memory"),
    (14, 4, 13, 8, "control\nload, state", "logic"),
]
#: Its arrows: (points of the line, label, where the label is).
ARROWS = [
    ([(3, 30.5), (14, 30.5)], "AXI4-Stream", (1, 32)),
    ([(27, 30.5), (34, 30.5)], "x", (30, 31.3)),
    ([(47, 30.5), (51.5, 30.5), (51.5, 20), (57, 20)], "a block\na cycle", (48, 32)),
    ([(62, 27.5), (62, 23)], "", (0, 0)),
    ([(67, 20), (72, 20)], "", (0, 0)),
    ([(76.5, 27.5), (76.5, 23)], "", (0, 0)),
    ([(79.5, 23), (79.5, 27.5)], "", (0, 0)),
    ([(84, 20), (89, 20)], "gates", (84.6, 18.2)),
    ([(95, 23), (95, 41), (40.5, 41), (40.5, 35)], "h of a finished slot", (64, 41.6)),
    ([(86.5, 20), (86.5, 25.3), (105, 25.3), (105, 30.5), (109, 30.5)], "outputs", (97, 26)),
    ([(122, 30.5), (133, 30.5)], "AXI4-Stream", (123, 32)),
    ([(3, 8), (14, 8)], "AXI4-Lite", (1, 9.3)),
    ([(27, 8), (34, 8)], "", (0, 0)),
    ([(47, 8), (78, 8), (78, 10.1)], "an issue word a cycle, to all cores", (50, 5.8)),
    ([(40.5, 12), (40.5, 26)], "addresses", (30.5, 18.5)),
]


def architecture(path):
    """The block diagram: parts, what flows between them, and the cores in lock step."""
    matplotlib.rcParams["svg.hashsalt"] = "spiccato"
    figure = Figure(figsize=(13, 4.6))
    axes = figure.add_axes([0, 0, 1, 1], xlim=(0, 135), ylim=(2, 46))
    axes.axis("off")
    for offset in (2, 1, 0):
        axes.add_patch(
            FancyBboxPatch(
                (53.5 + offset, 11.5 - offset * 0.7),
                50,
                25.5,
                facecolor="#f3f4f6",
                edgecolor="#777777",
                boxstyle="round,pad=0,rounding_size=1",
            )
        )
    axes.text(54.7, 34.6, "core 0 .. n-1, in lock step on different rows", fontsize=9, color="#444444")
    for left, bottom, width, height, label, kind in BLOCKS:
        axes.add_patch(
            FancyBboxPatch(
                (left, bottom),
                width,
                height,
                boxstyle="round,pad=0,rounding_size=0.8",
                facecolor=COLOURS[kind],
                edgecolor="none",
            )
        )
        axes.text(left + width / 2, bottom + height / 2, label, ha="center", va="center", color="white", fontsize=9)
    for points, label, place in ARROWS:
        axes.plot(*zip(*points[:-1]), color="#333333", linewidth=1.3)
        axes.annotate(
            "",
            points[-1],
            points[-2],
            arrowprops={"arrowstyle": "-|>", "color": "#333333", "linewidth": 1.3, "shrinkA": 0, "shrinkB": 0},
        )
        axes.text(*place, label, fontsize=8, color="#333333")
    for number, kind in enumerate(("memory", "DSP", "adder", "logic")):
        axes.plot(100.5 + 8 * number, 6.3, "s", color=COLOURS[kind])
        axes.text(101.8 + 8 * number, 6.2, kind, va="center", fontsize=8)
    figure.savefig(path, metadata={"Date": None}, facecolor="white")


if __name__ == "__main__":
    architecture(FOLDER / "architecture.svg")
    pipeline("ia420f", FOLDER / "pipeline.svg")

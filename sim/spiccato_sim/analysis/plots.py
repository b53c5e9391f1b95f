"""The benchmark's results as files: data, a table and pictures. The page on one model is :mod:`.html_report`."""

import json

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from . import onnx_runtime, published
from .trace import KIND_COLOURS, layer_names, runs, trace

__all__ = ["write", "table"]

matplotlib.use("agg")

_OURS, _FAST, _BEST, _THEIRS = "#1f5fa8", "#2f8f6b", "#6fb1e8", "#b0b0b0"


def write(folder, rows, found, gantts, titles):
    """Write ``latency.json``, ``latency.md`` and the pictures to ``folder``.

    Parameters
    ----------
    folder : Path
    rows : list of dict
        As :func:`spiccato_sim.analysis.bench.run_bench` makes them.
    found : dict
        Of each board's name to its search, ``spiccato_sim.analysis.measure.Searched``.
    gantts : dict
        Of each board's name to (model's name, compiled model): the schedules to draw.
    titles : dict
        Of each board's name to what it is called.

    Returns
    -------
    list of Path
    """
    texts = {"latency.json": json.dumps(rows, indent=1) + "\n", "latency.md": table(rows, found)}
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    pictures = {"latency.png": latency_figure(rows, titles), "accuracy.png": accuracy_figure(rows)}
    if gantts:
        pictures["schedule.png"] = schedule_figure(gantts, titles)
    for name, figure in pictures.items():
        figure.savefig(folder / name, dpi=130)
    return [folder / name for name in (*texts, *pictures)]


def _markdown(header, lines, left):
    """A Markdown table with aligned columns; the first ``left`` columns are text."""
    widths = [max(len(str(cell)) for cell in column) for column in zip(header, *lines)]

    def line(cells):
        return (
            "| "
            + " | ".join(
                str(cell).ljust(width) if number < left else str(cell).rjust(width)
                for number, (cell, width) in enumerate(zip(cells, widths))
            )
            + " |"
        )

    rule = (
        "|"
        + "|".join(
            "-" * (width + 2) if number < left else "-" * (width + 1) + ":" for number, width in enumerate(widths)
        )
        + "|"
    )
    return "\n".join([line(header), rule, *map(line, lines)]) + "\n"


def _number(value, digits):
    return "-" if value is None else f"{value:.{digits}f}"


def _cycles(row, figure):
    return _number(row[figure if row["measured"] else f"predicted_{figure}"], 0)


def _required(row):
    met = {None: "", True: " met", False: " MISSED"}[row["requirement_met"]]
    return _number(row["required_cycles"], 0) + met


def _contexts(rows):
    """The section on contexts, if there are such rows."""
    if not rows:
        return ""
    return f"""
## Contexts that take turns

So many contexts of one model, a state each: the figures are those of every one of them, whichever ran before.

{rows}"""


def table(rows, found):
    """The Markdown document."""
    columns = {
        "board": lambda row: row["board"],
        "profile": lambda row: row["profile"],
        "cores x block": lambda row: row["size"],
        "model": lambda row: row["model"],
        "weights": lambda row: row["weight_format"],
        "spaced cycles": lambda row: _cycles(row, "spaced_cycles"),
        "required": _required,
        "interval cycles": lambda row: _cycles(row, "initiation_interval_cycles"),
        "MAC bound": lambda row: _number(row["mac_bound_cycles"], 0),
        "compute us": lambda row: _number(row["compute_us"], 2),
        "their compute us": lambda row: _number(row["published_compute_us"], 2),
        "total us": lambda row: _number(row["total_us"], 2),
        "their total us": lambda row: _number(row["published_total_us"], 1),
    }
    elsewhere = {
        "ONNX Runtime us": lambda row: f"{row['onnx_runtime_median_us']:.0f} ({row['onnx_runtime_p99_us']:.0f})"
    }
    errors = elsewhere | {
        "RMS error": lambda row: f"{row['rms_error']:.1e}",
        "bfloat16's": lambda row: f"{row['rms_error_bf16']:.1e}",
        "exact": lambda row: "yes" if row["bit_exact"] and not row["failures"] else "NO",
    }
    basis = {"cycles are": lambda row: "measured" if row["measured"] else "predicted"}

    def shown(kind, columns):
        lines = [[text(row) for text in columns.values()] for row in rows if row["kind"] == kind and row["fits"]]
        return _markdown(list(columns), lines, 5) if lines else ""

    parts = [
        f"""\
# Benchmark

One timestep, batch 1, input size = hidden size, 32 outputs, bfloat16 on the streams.

- Spaced cycles, interval cycles: measured on the RTL in a simulator, but for rows marked as predicted: from the
  first input beat to the last output beat of an inference that comes alone, and between inferences whose inputs are
  always waiting.
- Exact: all output bits equal the virtual machine's and all cycles equal the predicted ones.
- Profile: which optional pipeline registers there are. They change cycles, never what is computed.
- Required: the reference design's figure in cycles, for the boards' own configurations; "met" speaks of the
  spaced latency and, but for fast configurations, of the initiation interval allowed beside it.
- MAC bound: the cycles that the multiplications which the output waits for need with every multiplier busy.
- Compute: the spaced cycles at the clock the board is designed for (no board was measured). Their compute:
  the published total less the published PCIe round trip for that many input bytes.
- Total: ours is the compute time plus that same round trip; theirs is as published, measured on silicon.
- RMS error: against float64, of the virtual machine with float32 outputs (rounding to bfloat16 outputs would
  hide it). bfloat16's: of a bfloat16 pipeline on the same inputs.
- ONNX Runtime: the same network in float32 on the machine that ran this, one thread of {onnx_runtime.processor()}, a
  timestep at a time: median, and in brackets the 99th percentile of {onnx_runtime.STEPS} timesteps.

Published figures: {published.source()} The newest version of each.

## The boards' own configurations

""",
        shown("preset", columns | errors),
    ]
    refused = [
        f"- {row['board']}, {row['weight_format']} weights: {row['reason']}\n"
        for row in rows
        if row["kind"] == "preset" and not row["fits"]
    ]
    if refused:
        parts += ["\nWhat does not fit:\n\n", *refused]
    parts.append(_contexts(shown("contexts", columns | {"contexts": lambda row: str(row["contexts"])} | basis)))
    fast = shown("fast", columns | errors)
    if fast:
        parts += [
            """
## The boards' fast configurations

About twice the multiplications a cycle from the same blocks: 9x9 multipliers, weights of 8 bits and vector elements of
9. See the errors before you choose one.

""",
            fast,
        ]
    others = shown("profile", columns | basis)
    if others:
        parts += [
            """
## The same in other profiles

One row a board is measured, that of the smallest model; the others are what the compiler predicts.

""",
            others,
        ]
    best = shown("best", columns | errors)
    if best:
        parts += [
            """
## The best configurations found
 Over cores and block size, with the multipliers and memories within the share of the device that can be
expected to be placed and routed: the lowest product of latencies, a model counting with the board's own
configuration where that is faster or the only one it fits.

""",
            best,
        ]
    each = [
        [
            board,
            name,
            one.config.size,
            one.config.weight_depth,
            one.formats[name],
            one.latencies[name],
            f"{one.latencies[name] / one.config.clock_mhz:.2f}",
        ]
        for board, searched in found.items()
        for name, one in searched.each.items()
    ]
    if each:
        header = ["board", "model", "cores x block", "weight depth", "weights", "spaced cycles", "compute us"]
        parts += [
            "\nThe best for one model alone, as the scheduler predicts (not run on the RTL):\n\n",
            _markdown(header, each, 2),
        ]
    return "".join(parts)


def latency_figure(rows, titles):
    """Grouped bars: compute and total time of each model that was published for any board, published and ours.

    Of all models if none was.
    """
    rows = [row for row in rows if row["compute_us"]]
    compared = {row["model"] for row in rows if row["published_total_us"]}
    rows = [row for row in rows if row["model"] in compared or not compared]
    boards = [name for name in titles if any(row["board"] == name for row in rows)]
    figure = Figure(figsize=(12, 3.4 * max(1, len(boards))), layout="constrained")
    axes = figure.subplots(max(1, len(boards)), 2, squeeze=False)
    for line, board in zip(axes, boards):
        own = [row for row in rows if row["board"] == board]
        names = list(dict.fromkeys(row["model"] for row in own))
        for axis, what in zip(line, ("compute", "total")):
            series = [("published", _THEIRS, "preset", f"published_{what}_us")]
            for kind, colour in (("preset", _OURS), ("fast", _FAST), ("best", _BEST)):
                shown = [row for row in own if row["kind"] == kind]
                if shown and not (kind == "best" and shown[0]["configuration"] == board):
                    label = f"Spiccato {shown[0]['size']}" + " (fast)" * (kind == "fast")
                    series.append((label + " (best found)" * (kind == "best"), colour, kind, f"{what}_us"))
            bars = [
                (label, colour, [_first(own, name, kind) or {} for name in names], key)
                for label, colour, kind, key in series
            ]
            width = 0.8 / len(bars)
            for number, (label, colour, shown, key) in enumerate(bars):
                at = np.arange(len(names)) + (number - (len(bars) - 1) / 2) * width
                values = [row.get(key) for row in shown]
                # Not published ones: theirs are all of one kind.
                marks = [
                    "" if key.startswith("published") or row.get("weight_format") == "int16" else "*" for row in shown
                ]
                drawn = axis.bar(at, [value or 0 for value in values], width, label=label, color=colour)
                axis.bar_label(
                    drawn,
                    [f"{value:.2f}{mark}" if value else "none" for value, mark in zip(values, marks)],
                    fontsize=7 if len(bars) < 4 else 6,
                    padding=2,
                )
            axis.set_xticks(np.arange(len(names)), names)
            axis.set_title(f"{titles[board]}: {what}", fontsize=10)
            axis.set_ylabel("us")
            # Room for the legend above the bars of small models.
            axis.margins(y=0.3)
            axis.spines[["top", "right"]].set_visible(False)
            axis.legend(fontsize=8, frameon=False, loc="upper left")
    figure.suptitle(
        "Latency of one timestep. Compute: RTL cycles at the target clock; published total less "
        "PCIe round trip.\nTotal: ours with the same round trip added, theirs measured on "
        "silicon. None: does not fit. *: 8-bit weights, in some layers at least.",
        fontsize=10,
    )
    return figure


def _first(rows, model, kind):
    """The row of a model and kind with the widest weights, or None."""
    found = {row["weight_format"]: row for row in rows if row["model"] == model and row["kind"] == kind}
    return next((found[name] for name in ("int16", "mixed", "int8") if name in found), None)


def accuracy_figure(rows):
    """Bars on a logarithmic scale: RMS errors of each model in each format beside a bfloat16 pipeline's."""
    rows = [row for row in rows if row["kind"] in ("preset", "fast") and row["rms_error"]]
    names = list(dict.fromkeys(row["model"] for row in rows))
    series = [("bfloat16 pipeline", _THEIRS, [_largest(rows, name, "rms_error_bf16") for name in names])]
    fast, own = ([row for row in rows if row["kind"] == kind] for kind in ("fast", "preset"))
    shown = [("fast", _FAST, fast)]
    for weight_format, colour in (("int8", _BEST), ("mixed", "#8e6fb5"), ("int16", _OURS)):
        found = [row for row in own if row["weight_format"] == weight_format]
        shown.append((f"{weight_format} weights", colour, found))
    for label, colour, found in shown:
        if found:
            series.append((f"Spiccato, {label}", colour, [_largest(found, name, "rms_error") for name in names]))
    figure = Figure(figsize=(max(9, len(names)), 4.2), layout="constrained")
    axis = figure.subplots()
    width = 0.8 / len(series)
    for number, (label, colour, values) in enumerate(series):
        at = np.arange(len(names)) + (number - (len(series) - 1) / 2) * width
        drawn = axis.bar(at, [value or np.nan for value in values], width, label=label, color=colour)
        axis.bar_label(drawn, [f"{value:.1e}" if value else "" for value in values], fontsize=6, padding=2, rotation=90)
    axis.set_yscale("log")
    axis.margins(y=0.2)
    axis.set_xticks(np.arange(len(names)), names, fontsize=8)
    axis.set_ylabel("RMS error against float64")
    axis.set_title("Output error, float32 outputs (largest over the boards)", fontsize=10)
    axis.spines[["top", "right"]].set_visible(False)
    figure.legend(fontsize=8, frameon=False, loc="outside lower center", ncols=len(series))
    return figure


def _largest(rows, model, key):
    return max((row[key] for row in rows if row["model"] == model), default=None)


def schedule_figure(gantts, titles):
    """Gantt charts: what the multipliers do during one inference, one chart for each board."""
    figure = Figure(figsize=(12, 2.9 * len(gantts)), layout="constrained")
    axes = figure.subplots(len(gantts), 1, squeeze=False)[:, 0]
    for axis, (board, (model, compiled)) in zip(axes, gantts.items()):
        words = trace(compiled)
        names = [*layer_names(compiled), "idle"]
        for kind, colour in KIND_COLOURS.items():
            for line in range(len(names)):
                cycles = words.cycles[(words.kinds == kind) & (words.layers % len(names) == line)]
                axis.broken_barh(runs(cycles), (line - 0.4, 0.8), facecolors=colour)
        busy = 100 * np.mean(words.kinds != "idle")
        axis.axvline(compiled.spaced_latency, color="black", linewidth=1, linestyle="--")
        axis.set_yticks(range(len(names)), names)
        axis.set_ylim(len(names) - 0.5, -0.5)
        axis.set_xlim(0, 1.02 * max(compiled.spaced_latency, words.cycles[-1] + 1))
        axis.set_xlabel("cycles since the first input beat was accepted")
        axis.set_title(
            f"{titles[board]}, {model}: multipliers busy in {busy:.0f} % of {len(words.cycles)} cycles; "
            f"output complete after {compiled.spaced_latency} (dashed)",
            fontsize=10,
        )
        axis.spines[["top", "right"]].set_visible(False)
    figure.legend(
        handles=[Patch(color=colour, label=kind) for kind, colour in KIND_COLOURS.items()],
        frameon=False,
        loc="outside lower center",
        ncols=len(KIND_COLOURS),
    )
    return figure

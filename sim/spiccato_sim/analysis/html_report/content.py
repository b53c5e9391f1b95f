"""What the page on one model says: all figures, worked out from the program and the models. Draws nothing."""

import hashlib
import importlib.metadata
import itertools
import platform
from collections import Counter
from dataclasses import dataclass

import numpy as np

from spiccato.compiler import quantised_network
from spiccato.isa.issue import Pass, Source, VectorFrom
from spiccato.layers import kind_named
from spiccato.registry import configuration
from spiccato.rtl.accelerator import Timing
from spiccato_boards import boards
from spiccato_boards.resources import estimate

from ...models import zoo
from ...models.vm import from_bits, to_bits
from .. import published
from ..accuracy import Accuracy, accuracy, matrix_errors
from ..memory_map import memory_map
from ..trace import KIND_COLOURS, Trace, layer_names, trace

__all__ = ["Comparison", "Content", "Table", "content", "error_rows"]


@dataclass(frozen=True)
class Table:
    """A table of texts; ``align`` has "l" or "r" for each column."""

    header: list
    rows: list
    align: str


@dataclass(frozen=True)
class Comparison:
    """The program and the published product on the same board, in microseconds.

    Attributes
    ----------
    model : str, the benchmark model of this shape
    round_trip_us : float, published PCIe round trip without compute, for this many input bytes
    compute_us, total_us : float, the spaced latency at the target clock, and with the round trip
    published_compute_us, published_total_us, published_p99_us : float
    version : str, of the published documentation
    """

    model: str
    round_trip_us: float
    compute_us: float
    total_us: float
    published_compute_us: float
    published_total_us: float
    published_p99_us: float
    version: str


@dataclass(frozen=True, eq=False)
class Content:
    """Everything on the page.

    Attributes
    ----------
    title : str
    board : spiccato_boards.Board or None, if the configuration is no board's
    program, network : as given
    trace : Trace
    phases : list of (name, kind, cycles)
        What the spaced latency is made of; kinds as in ``KIND_COLOURS``, or "path" for the pipeline before the first
        and after the last issue word that the output waits for.
    words_by_kind : dict of kind to issue words of one inference
    comparison : Comparison or None
    accuracy : Accuracy
    matrices : list of MatrixError, empty without the network
    regions : list of Region
    instructions : dict of columns for :attr:`trace`, in words
    tables : dict of Table
    figures : dict, the page's main figures, as plain data
    commands : list of (what for, command line)
    texts : dict of texts that depend on what is compared
    notes : tuple of str, what a user should know: the program's own notes and those of these inputs
    """

    title: str
    board: object
    program: object
    network: object
    trace: Trace
    phases: list
    words_by_kind: dict
    comparison: Comparison | None
    accuracy: Accuracy
    matrices: list
    regions: list
    instructions: dict
    tables: dict
    figures: dict
    commands: list
    texts: dict
    notes: tuple


def content(program, network, xs, *, inputs, commands=(), track=iter):
    """Work out the page.

    Parameters
    ----------
    program : spiccato.compiler.Program
        With one model.
    network : spiccato.network.Network or None
        What it was compiled from.
    xs : float array (steps, input_size)
    inputs : str
        What ``xs`` are, in words.
    commands : sequence of (what for, command line)
    track : function, as for :func:`..accuracy.accuracy`

    Returns
    -------
    Content

    Raises
    ------
    SpiccatoError
        As :func:`..accuracy.accuracy`.
    """
    config = program.config
    board = _board(config)
    compiled = program.model
    model = network or quantised_network(compiled)
    words = trace(compiled)
    errors = accuracy(program, network, xs, track=track)
    matrices = [] if network is None else matrix_errors(compiled, network)
    comparison = _comparison(compiled, model, board)
    counts = {kind: int((words.kinds == kind).sum()) for kind in KIND_COLOURS}
    # A program that was compiled with calibration inputs may have said the same of them.
    notes = tuple(dict.fromkeys([*compiled.notes, *errors.notes]))
    figures = _figures(program, model, board, counts, errors, len(xs)) | {"notes": list(notes)}
    tables = {
        "model": _model_table(compiled, model),
        "layers": _layer_table(compiled),
        "board": _board_table(config, board),
        "latency": _latency_table(compiled, figures),
        "memory": _memory_table(program),
        "map": _map_table(program),
        "errors": _error_table(compiled, errors),
        "layer_errors": _layer_error_table(compiled, errors),
    }
    if board is not None:
        tables["device"] = _device_table(config, board)
    if comparison is not None:
        tables["comparison"] = _comparison_table(config, comparison)
    if matrices:
        tables["matrices"] = _matrix_table(compiled, matrices)
    phases = _phases(compiled, words)
    tables["phases"] = Table(
        ["cycles of one spaced inference", "cycles", "µs"],
        [[name, _count(cycles), _us(cycles, config)] for name, _, cycles in phases]
        + [["spaced latency", _count(compiled.spaced_latency), _us(compiled.spaced_latency, config)]],
        "lrr",
    )
    bits = to_bits(xs, config.io_format)
    kept = np.array_equal(from_bits(bits, config.io_format), xs)
    tables["inputs"] = Table(
        ["inputs", ""],
        [
            ["what", inputs],
            ["timesteps", _count(len(xs))],
            [f"rounded to {config.io_format}", "no value changes" if kept else "changes them"],
            ["digest of their bit patterns", hashlib.sha256(np.ascontiguousarray(bits).data).hexdigest()[:16]],
            [
                "marked by the accelerator",
                ", ".join(f"{name} in {count} steps" for name, count in errors.flags.items() if count) or "none",
            ],
        ],
        "ll",
    )
    tables["versions"] = Table(
        ["made with", ""],
        [
            *([name, importlib.metadata.version(name)] for name in ("spiccato", "numpy", "bokeh")),
            ["Python", platform.python_version()],
            ["program digest", program.digest],
            ["configuration digest", config.digest],
        ],
        "ll",
    )
    return Content(
        title=f"{compiled.name} on {board.title if board else config.name}",
        board=board,
        program=program,
        network=network,
        trace=words,
        phases=phases,
        words_by_kind=counts,
        comparison=comparison,
        accuracy=errors,
        matrices=matrices,
        regions=memory_map(program),
        instructions=_instructions(compiled, words),
        tables=tables,
        figures=figures,
        commands=list(commands),
        texts=_texts(compiled, model, board, comparison, network),
        notes=notes,
    )


def _board(config):
    """The board whose own configuration this is, whatever the stream format and profile; None if there is none."""
    board = boards().get(config.name)
    if board is None or config.profile not in board.family.profiles:
        return None
    own = configuration(board, config.io_format, config.profile)
    return board if own.digest == config.digest else None


def _comparison(compiled, model, board):
    benchmark = zoo.benchmark_like(model)
    if board is None or benchmark is None:
        return None
    theirs = published.latency(board.name, benchmark.name)
    if theirs is None:
        return None
    compute_us = compiled.spaced_latency / compiled.config.clock_mhz
    round_trip_us = published.round_trip_us(compiled.input_size * compiled.config.io_bits // 8)
    # The published product takes 16-bit values.
    published_us = published.compute_us(board.name, benchmark.name, compiled.input_size * 2)
    return Comparison(
        benchmark.name,
        round_trip_us,
        compute_us,
        compute_us + round_trip_us,
        published_us,
        theirs.mean_us,
        theirs.p99_us,
        theirs.version,
    )


def _phases(compiled, words):
    """What the spaced latency is made of: (name, kind, cycles), none of 0 cycles."""
    last = np.flatnonzero(words.fields["output"])[-1]
    until = Counter(words.kinds[: last + 1])
    beats = words.fields["output_beats"][last]
    timing = Timing(compiled.config)
    phases = [
        ("from the first input beat to the first issue word", "path", int(words.cycles[0])),
        ("issue words of input matrices, which the output waits for", "input", until["input"]),
        ("issue words of the linear layer, likewise", "linear", until["linear"]),
        ("recurrent issue words in between", "recurrent", until["recurrent"]),
        ("idle issue words in between", "idle", until["idle"]),
        ("from the last issue word to the first beat of its output", "path", timing.output - 1),
        ("further beats of that output", "path", int(beats)),
    ]
    return [phase for phase in phases if phase[2]]


def _figures(program, model, board, counts, errors, steps):
    config, compiled = program.config, program.model
    words = sum(counts.values())
    return {
        "model": compiled.name,
        "parameters": model.parameters,
        "board": board.name if board else None,
        "configuration": config.to_dict(),
        "weight_formats": list(compiled.weight_formats),
        "program_digest": program.digest,
        "clock_mhz": config.clock_mhz,
        "spaced_latency_cycles": compiled.spaced_latency,
        "spaced_latency_us": compiled.spaced_latency / config.clock_mhz,
        "initiation_interval_cycles": compiled.initiation_interval,
        "initiation_interval_us": compiled.initiation_interval / config.clock_mhz,
        "critical_mac_bound_cycles": compiled.critical_mac_bound,
        "full_mac_bound_cycles": compiled.full_mac_bound,
        "issue_words_busy": words - counts["idle"],
        "issue_words": words,
        "memory_use": {memory: [used, capacity] for memory, used, capacity, _ in program.memory_use()},
        "steps": steps,
        "rms_error_seen": errors.seen.rms,
        "rms_error_sent": errors.sent.rms,
        "rms_error_exact": errors.exact.rms,
        "rms_error_weights": errors.weights.rms if errors.weights else None,
        "rms_error_bfloat16": errors.bfloat16.rms if errors.bfloat16 else None,
    }


def _texts(compiled, model, board, comparison, network):
    texts = {"reference": "float64 arithmetic with the network's own weights"}
    if network is None:
        texts["reference"] = "float64 arithmetic with the weights that are in the program, already rounded"
    if comparison is None:
        benchmark = zoo.benchmark_like(model)
        if benchmark is None:
            texts["published"] = (
                "No latency was published for a network of this shape, and none is made up here: "
                "there is nothing to compare with but the bound of the multipliers."
            )
        else:
            where = board.title if board else f"the configuration {compiled.config.name}"
            texts["published"] = f"No latency of the published product is known for {benchmark.name} on {where}."
    return texts


# Tables.


def _count(number):
    return f"{number:,}"


def _us(cycles, config):
    return f"{cycles / config.clock_mhz:.3f}"


def _percent(part, whole):
    return f"{100 * part / whole:.1f}\u00a0%"


def _size(error):
    return f"{error:.2e}"


def _model_table(compiled, model):
    titles = [kind_named(layer.kind).title.removesuffix(" layer") for layer in compiled.layers]
    layers = ", ".join(
        f"{title} {', '.join(str(layer.units) for _, layer in run)}"
        for title, run in itertools.groupby(zip(titles, compiled.layers), key=lambda pair: pair[0])
    )
    return Table(
        ["model", ""],
        [
            ["name", compiled.name],
            *([["origin", compiled.origin]] if compiled.origin else []),
            ["layers", f"input {compiled.input_size}, {layers}, output {compiled.output_size}"],
            ["parameters", _count(model.parameters)],
            ["weight formats", ", ".join(dict.fromkeys(compiled.weight_formats))],
            ["multiplications per timestep", _count(_multiplications(compiled))],
        ],
        "ll",
    )


def _layer_multiplications(layer, inputs):
    kind = kind_named(layer.kind)
    return len(kind.rows) * layer.units * (inputs + layer.units * kind.recurrent)


def _multiplications(compiled):
    sizes = compiled.layer_inputs
    return (
        sum(_layer_multiplications(layer, inputs) for layer, inputs in zip(compiled.layers, sizes))
        + sizes[-1] * compiled.output_size
    )


def _layer_table(compiled):
    sizes = compiled.layer_inputs
    rows = [
        [
            name,
            form,
            _count(inputs),
            _count(layer.units),
            _count(_layer_multiplications(layer, inputs)),
            _count(layer.slots),
        ]
        for name, inputs, layer, form in zip(layer_names(compiled), sizes, compiled.layers, compiled.weight_formats)
    ]
    linear_slots = compiled.slots - compiled.state_slots
    rows.append(
        [
            "linear",
            compiled.weight_formats[-1],
            _count(sizes[-1]),
            _count(compiled.output_size),
            _count(sizes[-1] * compiled.output_size),
            _count(linear_slots),
        ]
    )
    return Table(["layer", "weights", "inputs", "outputs", "multiplications", "row slots"], rows, "llrrrr")


def _board_table(config, board):
    rows = [["configuration", config.name]]
    if board is not None:
        rows = [["board", board.title], ["device", f"{board.device}, {board.part}"], *rows]
    return Table(
        ["board", ""],
        [
            *rows,
            ["cores × rows × columns", f"{config.cores} × {config.block} × {config.columns}"],
            ["multipliers", _count(config.multipliers)],
            ["profile", config.profile],
            ["target clock", f"{config.clock_mhz:g} MHz (a design target, not a measurement)"],
            ["streams", f"{config.io_format}, {config.beat_values} values a beat"],
        ],
        "ll",
    )


def _latency_table(compiled, figures):
    config = compiled.config
    rows = []
    for name, cycles, bound in (
        ("spaced latency", compiled.spaced_latency, compiled.critical_mac_bound),
        ("initiation interval", compiled.initiation_interval, compiled.full_mac_bound),
    ):
        rows.append(
            [name, _count(cycles), _us(cycles, config), _count(bound), _us(bound, config), _percent(bound, cycles)]
        )
    return Table(
        [
            "predicted",
            "cycles",
            f"µs at {config.clock_mhz:g} MHz",
            "MAC bound, cycles",
            "MAC bound, µs",
            "bound / predicted",
        ],
        rows,
        "lrrrrr",
    )


def _comparison_table(config, comparison):
    return Table(
        ["µs", "compute", "PCIe round trip", "total", "99th percentile"],
        [
            [
                f"Spiccato, predicted cycles at {config.clock_mhz:g} MHz",
                f"{comparison.compute_us:.2f}",
                f"{comparison.round_trip_us:.2f} (published)",
                f"{comparison.total_us:.2f}",
                "same cycles every time",
            ],
            [
                "published product, measured on silicon",
                f"{comparison.published_compute_us:.2f} (difference)",
                f"{comparison.published_total_us - comparison.published_compute_us:.2f} (published)",
                f"{comparison.published_total_us:.1f}",
                f"{comparison.published_p99_us:.1f}",
            ],
        ],
        "lrrrr",
    )


def _memory_table(program):
    return Table(
        ["memory", "used", "capacity", "unit", "share"],
        [
            [memory, _count(used), _count(capacity), unit, _percent(used, capacity)]
            for memory, used, capacity, unit in program.memory_use()
        ],
        "lrrlr",
    )


def _map_table(program):
    return Table(
        ["memory", "holds", "first", "last", "count"],
        [
            [
                region.memory,
                region.owner,
                _count(region.first),
                _count(region.first + region.size - 1),
                _count(region.size),
            ]
            for region in memory_map(program)
        ],
        "llrrr",
    )


def _device_table(config, board):
    needed, there = estimate(config, board), board.resources
    units = {"logic": f"{board.family.logic_unit}s, order of magnitude", "dsp": "DSP blocks"}
    return Table(
        [f"of the device, {board.device}", "estimate", "device", "share"],
        [
            [
                units.get(kind, f"{kind.upper()} blocks"),
                _count(count),
                _count(there.counts[kind]),
                _percent(count, there.counts[kind]),
            ]
            for kind, count in needed.counts.items()
        ],
        "lrrr",
    )


def error_rows(compiled, errors):
    """(name, Errors) of everything that was compared with the reference, in the order of tables and legends."""
    io_format = compiled.config.io_format
    rows = [
        (f"accelerator, as seen from outside ({io_format} inputs and outputs)", errors.seen),
        (f"accelerator, outputs as sent ({io_format})", errors.sent),
        ("accelerator, before the outputs are rounded", errors.exact),
        ("rounding of the weights alone", errors.weights),
        ("bfloat16 pipeline", errors.bfloat16),
    ]
    return [row for row in rows if row[1] is not None]


def _error_table(compiled, errors):
    header = ["output errors", "RMS", "RMS / RMS of outputs", "largest"]
    rows = [
        [name, _size(one.rms), _ratio(one.rms, errors.output_rms), _size(one.largest)]
        for name, one in error_rows(compiled, errors)
    ]
    if errors.bfloat16 is not None:
        header.append("bfloat16's RMS / this")
        for row, (_, one) in zip(rows, error_rows(compiled, errors)):
            row.append(_times(errors.bfloat16.rms, one.rms))
    return Table(header, rows, "l" + "r" * (len(header) - 1))


def _layer_error_table(compiled, errors):
    header = ["RMS error of h", "weights", "accelerator"]
    if errors.bfloat16 is not None:
        header += ["weights' share", "bfloat16 pipeline", "bfloat16's / accelerator's"]
    rows = []
    for number, _ in enumerate(compiled.layers):
        row = [f"layer {number}", compiled.weight_formats[number], _size(errors.exact.layers[number])]
        if errors.bfloat16 is not None:
            row += [
                _size(errors.weights.layers[number]),
                _size(errors.bfloat16.layers[number]),
                _times(errors.bfloat16.layers[number], errors.exact.layers[number]),
            ]
        rows.append(row)
    return Table(header, rows, "ll" + "r" * (len(header) - 2))


def _matrix_table(compiled, matrices):
    names = layer_names(compiled)
    sums = any(one.sums is not None for one in matrices)
    return Table(
        ["layer", "matrix", "weights", "rows × columns", "RMS", "bfloat16, RMS", "largest", "bfloat16, largest"]
        + ["sums", "sums, rounded to the nearest"] * sums,
        [
            [
                names[one.layer],
                one.matrix,
                one.weight_format,
                " × ".join(map(_count, one.shape)),
                _size(one.rms),
                _size(one.bfloat16_rms),
                _size(one.largest),
                _size(one.bfloat16_largest),
                *([_size(one.sums), _size(one.nearest_sums)] if sums else []),
            ]
            for one in matrices
        ],
        "lllrrrrr" + "rr" * sums,
    )


def _ratio(part, whole):
    return _size(part / whole) if whole else "-"


def _times(whole, part):
    return f"{whole / part:.1f}" if part else "-"


# Instructions in words.

_SOURCES = {
    Source.CONTINUE: "goes on",
    Source.BIAS: "starts from the bias",
    Source.PREVIOUS: "starts from the recurrent half",
    Source.STORED: "goes on from a stored sum",
}

_PASSES = {
    Pass.ONLY: "",
    Pass.HIGH: ", upper halves",
    Pass.LOW_WEIGHT: ", lower halves of weights, upper ones of elements",
    Pass.LOW_ELEMENT: ", upper halves of weights, lower ones of elements",
}

_FLAGS = {"wait_block": "waits for an input block", "start": "first of the inference", "commit": "commits the state"}


def _instructions(compiled, words):
    """Columns of texts, an entry for each issue word."""
    fields, timing = words.fields, Timing(compiled.config)
    names = layer_names(compiled)
    starts = [layer.first_slot for layer in compiled.layers]
    starts.append(starts[-1] + compiled.layers[-1].slots)
    producers = [layer.first_block for layer in compiled.layers]
    columns: dict[str, list[str]] = {name: [] for name in ("what", "vector", "weight", "slot_text", "effect", "flags")}
    what, vector, weight, slot, effect, flags = columns.values()
    for at, (kind, layer) in enumerate(zip(words.kinds, words.layers.tolist())):
        word = {name: int(values[at]) for name, values in fields.items()}
        flags.append(", ".join(text for name, text in _FLAGS.items() if word[name]) or "-")
        if kind == "idle":
            for column, text in ((what, "idle"), (vector, "-"), (weight, "-"), (slot, "-"), (effect, "-")):
                column.append(text)
            continue
        what.append(names[layer] if kind == "linear" else f"{names[layer]}, {kind} matrix")
        number = word["vector"]
        if word["vector_from"] == VectorFrom.X.value:
            vector.append(f"x, block {number}")
        else:
            producer = int(np.searchsorted(producers, number, side="right")) - 1
            vector.append(f"h of layer {producer}, block {number - producers[producer]} (vector file {number})")
        half = f", {'high' if word['high'] else 'low'} bytes" if word.get("int8") else ""
        half += _PASSES[Pass(word.get("multiplied", Pass.ONLY))]
        weight.append(f"{word['weight']}{half}")
        slot.append(
            f"{word['slot']} (slot {word['slot'] - starts[layer]} of the layer): {_SOURCES[Source(word['source'])]}"
        )
        if word["output"]:
            first = words.cycles[at] + timing.output
            effect.append(f"outputs, beats in cycles {first} to {first + word['output_beats']}")
        elif word["cell"]:
            effect.append(f"slot finished, its h readable from cycle {words.h_ready[at]}")
        else:
            effect.append("sum stored" if word["store"] else "sum stays in the accumulators")
    return columns

"""The tables of the page on one model, as texts."""

import hashlib
import importlib.metadata
import itertools
import platform
from dataclasses import dataclass

import numpy as np

from spiccato.layers import kind_named
from spiccato_boards.resources import estimate

from ...models.vm import from_bits, to_bits
from ..memory_map import memory_map
from ..trace import layer_names

__all__ = [
    "board_table",
    "comparison_table",
    "device_table",
    "error_rows",
    "error_table",
    "inputs_table",
    "latency_table",
    "layer_error_table",
    "layer_table",
    "map_table",
    "matrix_table",
    "memory_table",
    "model_table",
    "phases_table",
    "Table",
    "versions_table",
]


@dataclass(frozen=True)
class Table:
    """A table of texts; ``align`` has "l" or "r" for each column."""

    header: list
    rows: list
    align: str


def _count(number):
    return f"{number:,}"


def _us(cycles, config):
    return f"{cycles / config.clock_mhz:.3f}"


def _percent(part, whole):
    return f"{100 * part / whole:.1f}\u00a0%"


def _size(error):
    return f"{error:.2e}"


def model_table(compiled, model):
    """What the network is."""
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


def layer_table(compiled):
    """Each layer's size and place."""
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


def board_table(config, board):
    """What the program is for."""
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


def latency_table(compiled):
    """Cycles and times, beside the bounds of the multipliers."""
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


def comparison_table(config, comparison):
    """Times beside the published product's, of a :class:`.content.Comparison`."""
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


def memory_table(program):
    """How full each memory is."""
    return Table(
        ["memory", "used", "capacity", "unit", "share"],
        [
            [memory, _count(used), _count(capacity), unit, _percent(used, capacity)]
            for memory, used, capacity, unit in program.memory_use()
        ],
        "lrrlr",
    )


def map_table(program):
    """Who has what of each memory."""
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


def device_table(config, board):
    """What the accelerator takes of the board's device, estimated."""
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


def error_table(compiled, errors):
    """Errors of the outputs."""
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


def layer_error_table(compiled, errors):
    """Errors of each layer's h."""
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


def matrix_table(compiled, matrices):
    """What rounding does to each weight matrix, of :class:`..accuracy.MatrixError`."""
    names = layer_names(compiled)
    sums = any(one.sums is not None for one in matrices)
    return Table(
        ["layer", "matrix", "weights", "rows × columns", "RMS", "bfloat16, RMS", "largest", "bfloat16, largest"]
        + ["RMS of sums on calibration inputs", "the same, rounded to the nearest"] * sums,
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


def phases_table(compiled, phases):
    """What the spaced latency is made of: of (name, kind, cycles)."""
    config, latency = compiled.config, compiled.spaced_latency
    return Table(
        ["cycles of one spaced inference", "cycles", "µs"],
        [[name, _count(cycles), _us(cycles, config)] for name, _, cycles in phases]
        + [["spaced latency", _count(latency), _us(latency, config)]],
        "lrr",
    )


def inputs_table(config, xs, what, flags):
    """What the inputs are, and what was marked of them."""
    bits = to_bits(xs, config.io_format)
    kept = np.array_equal(from_bits(bits, config.io_format), xs)
    marked = ", ".join(f"{name} in {count} steps" for name, count in flags.items() if count)
    return Table(
        ["inputs", ""],
        [
            ["what", what],
            ["timesteps", _count(len(xs))],
            [f"rounded to {config.io_format}", "no value changes" if kept else "changes them"],
            ["digest of their bit patterns", hashlib.sha256(np.ascontiguousarray(bits).data).hexdigest()[:16]],
            ["marked by the accelerator", marked or "none"],
        ],
        "ll",
    )


def versions_table(program):
    """What the page was made with."""
    return Table(
        ["made with", ""],
        [
            *([name, importlib.metadata.version(name)] for name in ("spiccato", "numpy", "bokeh")),
            ["Python", platform.python_version()],
            ["program digest", program.digest],
            ["configuration digest", program.config.digest],
        ],
        "ll",
    )

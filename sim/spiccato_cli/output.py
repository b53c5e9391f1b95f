"""What verbs print: errors, tables, progress, JSON."""

import contextlib
import functools
import itertools
import json
import sys

import click
from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from spiccato.compiler import most_contexts
from spiccato.config import shape_text
from spiccato.errors import SpiccatoError
from spiccato.layers import kind_named

__all__ = [
    "chain_text",
    "console",
    "emit_json",
    "print_counts",
    "print_notes",
    "print_origin",
    "print_summary",
    "print_table",
    "print_tables",
    "program_summary",
    "progress_bar",
    "progress_console",
    "reports_errors",
    "resource_notes",
    "status",
    "tracker",
]

# Colours and progress only on a terminal. Names that users give are printed as they are.
console = Console(highlight=False, markup=False)
progress_console = Console(stderr=True)
# For wide tables, whose lines a narrow terminal breaks rather than cells.
_wide_console = Console(highlight=False, markup=False, width=200)


def reports_errors(command):
    """Turn what the user can mend into one line on standard error and exit status 1."""

    @functools.wraps(command)
    def wrapped(*args, **kwargs):
        try:
            return command(*args, **kwargs)
        except SpiccatoError as error:
            click.echo(f"error: {error}", err=True)
            sys.exit(1)
        except MemoryError as error:
            click.echo(f"error: not enough memory: {error or 'fewer steps, or a smaller network, take less'}", err=True)
            sys.exit(1)
        except BrokenPipeError:
            raise  # nobody reads on: click ends quietly
        except OSError as error:
            click.echo(f"error: {': '.join(filter(None, (error.filename, error.strerror or str(error))))}", err=True)
            sys.exit(1)

    return wrapped


def emit_json(data):
    """Write plain data to standard output; keys and their order are documented in docs/cli.md."""
    click.echo(json.dumps(data, indent=2, allow_nan=False))


def print_notes(notes):
    """One line on standard error for each of ``notes``, sentences on what may be less accurate than usual."""
    for note in notes:
        click.echo(f"note: {note}", err=True)


def status(text):
    """Context that tells on a terminal what is being done."""
    return progress_console.status(text)


def progress_bar():
    """Context that shows progress on a terminal: a :class:`rich.progress.Progress`."""
    return Progress(console=progress_console, transient=True, disable=not progress_console.is_terminal)


@contextlib.contextmanager
def tracker(description):
    """Context that gives a function which wraps a list, and shows on a terminal how far it has come."""
    with progress_bar() as progress:
        yield functools.partial(progress.track, description=description)


def print_table(columns, rows, frame=box.HEAVY_HEAD, *, wide=False):
    """Print a table; ``columns`` are (title, "left" or "right"), the entries of ``rows`` are printed as str.

    ``wide``: cells keep their width, whatever the terminal's; without a frame, one space is between them.
    """
    close = wide and frame is None
    table = Table(box=frame, pad_edge=not close, collapse_padding=close)
    for title, justify in columns:
        table.add_column(title, justify=justify)
    for row in rows:
        table.add_row(*map(str, row))
    (_wide_console if wide else console).print(table)


def print_counts(header, rows, left=1):
    """Print a table whose cells are numbers but for the first ``left`` columns; None is left open."""
    print_table(
        [(title, "left" if number < left else "right") for number, title in enumerate(header)],
        [["-" if cell is None else cell if isinstance(cell, str) else f"{cell:,}" for cell in row] for row in rows],
        wide=True,
    )


def resource_notes(config):
    """What is known of the resources of a board's configuration, as the JSON file has it; refuses what does not fit."""
    from spiccato_boards import boards
    from spiccato_boards.resources import describe

    board = boards().get(config.name)
    return None if board is None else {"resources": describe(config, board)}


def usage(resources):
    """One line of what a configuration takes of its device, from :func:`spiccato_boards.resources.describe`."""
    units = {"logic": resources["logic_unit"] + "s", "dsp": "DSP blocks"}
    parts = [
        f"{'about ' if kind == 'logic' else ''}{count:,} of {resources['device'][kind]:,} "
        f"{units.get(kind, kind.upper())} ({count / resources['device'][kind]:.0%})"
        for kind, count in resources["estimate"].items()
    ]
    return ", ".join(parts)


def program_summary(program):
    """What a program needs and how fast it will be, as plain data."""
    config = program.config
    return {
        "name": program.name,
        "digest": program.digest,
        "board": config.name,
        "profile": config.profile,
        "cores": config.cores,
        "block": config.block,
        "io_format": config.io_format,
        "clock_mhz": config.clock_mhz,
        "models": [_model_summary(program, number) for number in range(len(program.models))],
        "contexts_that_fit": most_contexts(program.models),
        "memories": [
            {"memory": memory, "used": used, "capacity": capacity, "unit": unit}
            for memory, used, capacity, unit in program.memory_use()
        ],
        **(resource_notes(config) or {}),
        "notes": list(program.notes),
    }


def _model_summary(program, number):
    config, model, place = program.config, program.models[number], program.places[number]
    return {
        "model": number,
        "name": model.name,
        "digest": model.digest,
        "input_size": model.input_size,
        "hidden_sizes": [layer.units for layer in model.layers],
        "output_size": model.output_size,
        "outputs": dict(model.outputs),
        "weight_formats": list(model.weight_formats),
        "states": [state._asdict() for state in model.states],
        "origin": model.origin,
        "contexts": program.streams[number],
        "first_tid": program.tid(number, 0),
        "slots": model.slots,
        "first_state_slot": place.state,
        "initial_state_slot": place.initial,
        "first_weight": place.weight,
        "first_slot": place.slot,
        "first_issue_word": place.tail,
        "spaced_cycles": model.spaced_latency,
        "spaced_us": model.spaced_latency / config.clock_mhz,
        "interval_cycles": model.initiation_interval,
        "interval_us": model.initiation_interval / config.clock_mhz,
        "mac_bound_cycles": model.critical_mac_bound,
        "full_mac_bound_cycles": model.full_mac_bound,
    }


def print_origin(model):
    """Print what was stated or assumed of a network's or a compiled model's source, or left outside of it."""
    if model.origin:
        console.print(f"{model.name}: {model.origin}", soft_wrap=True)


def chain_text(layers):
    """Pairs of a kind and a text in a line, each run of a kind after its name: "LSTM 128, 128"."""
    runs = itertools.groupby(layers, key=lambda layer: layer[0].title.removesuffix(" layer"))
    return ", ".join(f"{title} {', '.join(text for _, text in run)}" for title, run in runs)


def print_summary(program, notes=None):
    """Print what a program needs and how fast it will be; other notes than its own if they are given."""
    config = program.config
    console.print(
        f"{program.name} on {config.name}: {shape_text(config)}, {config.profile} profile, {config.io_format} streams",
        soft_wrap=True,
    )
    print_table((("memory", "left"), ("used", "right"), ("capacity", "right"), ("", "left")), program.memory_use())
    for number, model in enumerate(program.models):
        if len(program.models) > 1:
            console.print(f"model {number}, {model.name}:", soft_wrap=True)
        _print_model(config, model)
    _print_contexts(program)
    resources = resource_notes(config)
    if resources:
        console.print(f"resources of {config.label}: {usage(resources['resources'])}", soft_wrap=True)
    print_notes(program.notes if notes is None else notes)


def _print_model(config, model):
    print_origin(model)
    layers = chain_text(
        (kind_named(layer.kind), f"{layer.units} ({name})") for layer, name in zip(model.layers, model.weight_formats)
    )
    console.print(
        f"layers: input {model.input_size}, {layers}, output {model.output_size} ({model.weight_formats[-1]})",
        soft_wrap=True,
    )
    if len(model.outputs) > 1:
        ends = itertools.accumulate(size for _, size in model.outputs)
        parts = [
            f"{name} {end - size}" + f" to {end - 1}" * (size > 1) for (name, size), end in zip(model.outputs, ends)
        ]
        console.print(f"outputs: {', '.join(parts)}", soft_wrap=True, markup=False)
    for name, cycles, bound in (
        ("spaced latency", model.spaced_latency, model.critical_mac_bound),
        ("initiation interval", model.initiation_interval, model.full_mac_bound),
    ):
        console.print(
            f"predicted {name}: {cycles} cycles = {cycles / config.clock_mhz:.3f} us at "
            f"{config.clock_mhz:g} MHz (multipliers alone: {bound} cycles, {bound / cycles:.0%})",
            soft_wrap=True,
        )


def _print_contexts(program):
    """What each model's contexts take, and how many would fit."""
    several = len(program.models) > 1
    for number, (model, streams) in enumerate(zip(program.models, program.streams)):
        first = program.tid(number, 0)
        console.print(
            "contexts"
            + f" of model {number}" * several
            + f": {streams}, tid {first}"
            + f" to {first + streams - 1}" * (streams > 1)
            + f"; state memory: {model.slots} slots each"
            + f", and {model.slots} for the initial state" * model.has_initial,
            soft_wrap=True,
        )
    most = most_contexts(program.models)
    console.print(f"room for {most} context{'s' * (most != 1)}{' of each model' * several}", soft_wrap=True)


def print_tables(program):
    """Print where models and contexts lie in the memories that all share."""

    def span(first, count):
        return f"{first}..{first + count - 1}" if count else "none"

    rows = [
        (
            number,
            span(place.weight, model.weights.shape[1]),
            span(place.slot, model.slots),
            span(place.tail, len(model.words) - program.head_words),
            span(place.state, model.slots * streams),
            "zero" if place.initial is None else span(place.initial, model.slots),
        )
        for number, (model, place, streams) in enumerate(zip(program.models, program.places, program.streams))
    ]
    titles = ("model", "weights", "slots", "issue words", "states", "initial state")
    print_table([(title, "left") for title in titles], rows, frame=None)

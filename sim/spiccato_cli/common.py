"""What the verbs share: options, errors, tables, progress, JSON."""

import contextlib
import functools
import json
import os
import sys
from dataclasses import replace

import click
from click.shell_completion import CompletionItem
from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from spiccato.compiler.compile import WEIGHT_FORMATS
from spiccato.config import IO_FORMATS, shape_text
from spiccato.errors import ProgramError, SpiccatoError
from spiccato.importers import SUFFIXES
from spiccato.program import Program
from spiccato.registry import BOARD_SUFFIX, targets
from spiccato_sim.models.zoo import MODELS, TRAINED, load_inputs, resolve

__all__ = [
    "PROGRAM_SUFFIX",
    "STREAMED",
    "board_option",
    "boards_option",
    "calibration_option",
    "complete",
    "console",
    "emit_json",
    "io_option",
    "json_option",
    "layers_option",
    "model_argument",
    "model_option",
    "network_of",
    "print_counts",
    "print_notes",
    "print_origin",
    "print_summary",
    "print_table",
    "program_of",
    "program_summary",
    "progress_bar",
    "progress_console",
    "refuse_layers",
    "reports_errors",
    "resource_notes",
    "seed_option",
    "spaced_of",
    "status",
    "steps_option",
    "tracker",
    "weights_option",
]

# Colours and progress only on a terminal. Names that users give are printed as they are.
console = Console(highlight=False, markup=False)
progress_console = Console(stderr=True)

PROGRAM_SUFFIX = ".spiccato"

#: Inferences that a comparison on the RTL streams, at least, besides one that comes alone.
STREAMED = 4

#: Timesteps that a command takes on: as many as a virtual machine computes in a day or so.
_MOST_STEPS = 10_000_000


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


class _ModelName(click.ParamType):
    """A model by name or by file; told apart by :func:`spiccato_sim.models.zoo.resolve`."""

    name = "model"

    def shell_complete(self, ctx, param, incomplete):
        names = [name for name in (*MODELS, *TRAINED) if name.startswith(incomplete)]
        return [CompletionItem(name) for name in names] + [CompletionItem(incomplete, type="file")]


class _BoardName(click.ParamType):
    """A board by name or by file; told apart by :func:`spiccato.registry.find`."""

    name = "board"

    def shell_complete(self, ctx, param, incomplete):
        names = [name for name in targets() if name.startswith(incomplete)]
        return [CompletionItem(name) for name in names] + [CompletionItem(incomplete, type="file")]


def complete(*words):
    """A function that completes an option with one of ``words``."""
    return lambda ctx, param, incomplete: [word for word in words if word.startswith(incomplete)]


model_argument = click.argument("model", type=_ModelName())
model_option = functools.partial(click.option, "--model", type=_ModelName())
board_option = functools.partial(
    click.option, "--board", type=_BoardName(), help=f"Board, by name or file (*{BOARD_SUFFIX})."
)
boards_option = click.option(
    "--board",
    "boards",
    multiple=True,
    type=_BoardName(),
    help=f"Only this board, by name or file (*{BOARD_SUFFIX}); may be repeated.",
)
weights_option = click.option(
    "--weights",
    default="auto",
    show_default=True,
    shell_complete=complete(*WEIGHT_FORMATS, "auto"),
    help=f"Weight format: {', '.join(WEIGHT_FORMATS)}, or auto (8 bits for the largest layers if 16 do not fit).",
)
io_option = click.option(
    "--format",
    "io_format",
    type=click.Choice(list(IO_FORMATS)),
    default="bfloat16",
    show_default=True,
    help="Values on the input and output streams.",
)
seed_option = click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of random weights and inputs."
)
calibration_option = click.option(
    "--calibration",
    type=click.Path(dir_okay=False),
    help="Typical inputs, for features of very different magnitude: a .npy file (steps, features).",
)
layers_option = click.option(
    "--layers",
    metavar="NAME,NAME",
    help="Of a state dict, the names of all its modules in the order of computation, "
    "with nothing in between; needed where the file leaves doubt.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Write JSON to standard output, and nothing else.")


def steps_option(least=1, **options):
    """The option ``--steps``, of at least ``least`` timesteps."""
    return click.option("--steps", type=click.IntRange(least, _MOST_STEPS), **options)


def program_of(path):
    """The program in a file; a model in its place is told apart, for those are easily mixed up."""
    if path in MODELS or path in TRAINED or os.path.splitext(path)[1].lower() in SUFFIXES:
        raise ProgramError(
            f"{path} is a model, not a program: compile it first (spiccato compile {path} -o NAME{PROGRAM_SUFFIX})"
        )
    return Program.load(path)


def network_of(model, seed, calibration=None, layers=None):
    """The network that MODEL names, with calibration inputs from a file if one is given."""
    network = resolve(model, seed, layers)
    if calibration is None:
        return network
    return replace(network, calibration=load_inputs(calibration, network.input_size))


def spaced_of(steps):
    """How many of that many inferences on the RTL come alone; the others are streamed."""
    return max(1, min(10, steps // 2, steps - STREAMED))


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


def print_table(columns, rows, frame=box.HEAVY_HEAD):
    """Print a table; ``columns`` are (title, "left" or "right"), the entries of ``rows`` are printed as str."""
    table = Table(box=frame)
    for title, justify in columns:
        table.add_column(title, justify=justify)
    for row in rows:
        table.add_row(*map(str, row))
    console.print(table)


def print_counts(header, rows, left=1):
    """Print a table whose cells are numbers but for the first ``left`` columns; None is left open."""
    print_table(
        [(title, "left" if number < left else "right") for number, title in enumerate(header)],
        [["-" if cell is None else cell if isinstance(cell, str) else f"{cell:,}" for cell in row] for row in rows],
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
        "cores": config.cores,
        "block": config.block,
        "io_format": config.io_format,
        "clock_mhz": config.clock_mhz,
        "input_size": program.input_size,
        "hidden_sizes": [layer.units for layer in program.layers],
        "output_size": program.output_size,
        "weight_formats": list(program.weight_formats),
        "memories": [
            {"memory": memory, "used": used, "capacity": capacity, "unit": unit}
            for memory, used, capacity, unit in program.memory_use()
        ],
        "spaced_cycles": program.spaced_latency,
        "spaced_us": program.spaced_latency / config.clock_mhz,
        "interval_cycles": program.initiation_interval,
        "interval_us": program.initiation_interval / config.clock_mhz,
        "mac_bound_cycles": program.critical_mac_bound,
        "full_mac_bound_cycles": program.full_mac_bound,
        **(resource_notes(config) or {}),
        "notes": list(program.notes),
    }


def refuse_layers(model, layers):
    """Raise SpiccatoError if an order of layers is stated for a program."""
    if layers is not None:
        raise SpiccatoError(f"{model}: --layers is for state dicts; a program is compiled already")


def print_origin(network):
    """Print what was stated or assumed of the state dict that a network was taken from; None has none."""
    if network is not None and network.origin:
        console.print(f"{network.name}: {network.origin}", soft_wrap=True)


def print_summary(program):
    """Print what a program needs and how fast it will be."""
    config = program.config
    console.print(f"{program.name} on {config.name}: {shape_text(config)}, {config.io_format} streams", soft_wrap=True)
    print_table((("memory", "left"), ("used", "right"), ("capacity", "right"), ("", "left")), program.memory_use())
    layers = ", ".join(f"{layer.units} ({name})" for layer, name in zip(program.layers, program.weight_formats))
    console.print(
        f"layers: input {program.input_size}, LSTM {layers}, "
        f"output {program.output_size} ({program.weight_formats[-1]})",
        soft_wrap=True,
    )
    for name, cycles, bound in (
        ("spaced latency", program.spaced_latency, program.critical_mac_bound),
        ("initiation interval", program.initiation_interval, program.full_mac_bound),
    ):
        console.print(
            f"predicted {name}: {cycles} cycles = {cycles / config.clock_mhz:.3f} us at "
            f"{config.clock_mhz:g} MHz (multipliers alone: {bound} cycles, {bound / cycles:.0%})",
            soft_wrap=True,
        )
    notes = resource_notes(config)
    if notes:
        console.print(f"resources of {config.name}: {usage(notes['resources'])}", soft_wrap=True)
    print_notes(program.notes)

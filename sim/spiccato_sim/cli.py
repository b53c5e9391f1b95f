"""The command line. Each command is a thin layer over a function that Python can call as well.

Exit status: 0 if all is well, 1 if a check failed or an input was refused (one line says which), 2 for wrong usage.
"""

import dataclasses
import functools
import json
import sys
from pathlib import Path

import click
import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from spiccato.compiler import Program, compile_network
from spiccato.compiler.compile import WEIGHT_FORMATS
from spiccato.config import IO_FORMATS, PRESETS
from spiccato.errors import ConfigError, SpiccatoError

console = Console(highlight=False)

PROGRAM_SUFFIX = ".spiccato"


def configuration(name, io_format=None):
    """The configuration of a board (or a small one for tests) by name."""
    if name not in PRESETS:
        raise ConfigError(f"unknown board {name!r}; known: {', '.join(PRESETS)}")
    config = PRESETS[name]
    return dataclasses.replace(config, io_format=io_format) if io_format else config


def resource_notes(config):
    """What is known of the resources of a board's configuration, as the JSON file has it; refuses what does not fit."""
    from spiccato_boards import BOARDS
    from spiccato_boards.resources import describe

    return {"resources": describe(config, BOARDS[config.name])} if config.name in BOARDS else None


def reports_errors(command):
    """Turn what the user can mend into one line on standard error and exit status 1."""

    @functools.wraps(command)
    def wrapped(*args, **kwargs):
        try:
            return command(*args, **kwargs)
        except SpiccatoError as error:
            click.echo(f"error: {error}", err=True)
            sys.exit(1)
        except OSError as error:
            click.echo(f"error: {error.filename}: {error.strerror}", err=True)
            sys.exit(1)

    return wrapped


board_option = click.option("--board", default="ia420f", show_default=True, help="Board, by name.")
weights_option = click.option(
    "--weights", default="auto", show_default=True,
    help=f"Weight format: {', '.join(WEIGHT_FORMATS)}, or auto (8 bits for the largest layers if 16 do not fit).")
io_option = click.option("--format", "io_format", type=click.Choice(list(IO_FORMATS)), default="bfloat16",
                         show_default=True, help="Values on the input and output streams.")
seed_option = click.option("--seed", default=0, show_default=True, help="Seed of random weights and inputs.")


@click.group()
@click.version_option(package_name="spiccato")
def main():
    """Spiccato: an LSTM accelerator for FPGAs. Compile a network, predict its latency, simulate the hardware."""


@main.command("compile")
@click.argument("model")
@board_option
@weights_option
@io_option
@seed_option
@click.option("-o", "--output", type=click.Path(dir_okay=False), help="Program file to write.")
@reports_errors
def compile_command(model, board, weights, io_format, seed, output):
    """Compile MODEL: a benchmark or example by name, or a PyTorch state dict in .safetensors."""
    from .models import resolve

    network = resolve(model, seed)
    program = compile_network(network, configuration(board, io_format), weight_format=weights)
    print_summary(program)
    if output:
        program.save(output)
        console.print(f"wrote {output}", soft_wrap=True)


@main.command()
@click.argument("program", type=click.Path())
@reports_errors
def inspect(program):
    """Show what a program file holds."""
    print_summary(Program.load(program))


@main.command()
@click.option("--board", default="all", show_default=True, help="Board, by name, or all.")
@io_option
@click.option("-o", "--output", default="build/verilog", show_default=True, type=click.Path(file_okay=False),
              help="Folder; each board gets one in it.")
@reports_errors
def verilog(board, io_format, output):
    """Write a board's Verilog and the JSON file that describes it."""
    from spiccato.verilog import write_verilog
    from spiccato_boards import BOARDS

    for name in BOARDS if board == "all" else [board]:
        config = configuration(name, io_format)
        style = BOARDS[name].family.style if name in BOARDS else "portable"
        with console.status(f"{name}: elaborating"):
            written = write_verilog(config, Path(output) / name, style, resource_notes(config))
        console.print(f"{name}: {len(written['files'])} modules in {Path(output) / name}", soft_wrap=True)


@main.command()
@board_option
@io_option
@click.option("-o", "--output", default="build/project", show_default=True, type=click.Path(file_okay=False),
              help="Folder; each board gets one in it.")
@click.option("--compare", "result", type=click.Path(dir_okay=False),
              help="Write nothing, but lay this result of a project's script beside the estimates.")
@reports_errors
def project(board, io_format, output, result):
    """Write a board's project for its vendor's tool, or compare what the tool reached with what was expected."""
    from spiccato_boards import find
    from spiccato_boards.projects import write_project
    from spiccato_boards.results import compare, read_result

    board = find(board)
    config = configuration(board.name, io_format)
    if result:
        reached = read_result(result)
        rows = compare(reached, board, config)
        console.print(f"{reached.target} of {board.name} with {reached.tool} {reached.tool_version}: timing "
                      f"{'met' if reached.clock['met'] else 'NOT met'}", soft_wrap=True, markup=False)
        print_counts(("", "reached", "expected", "device"), rows)
        return
    folder = Path(output) / board.name
    with console.status(f"{board.name}: elaborating"):
        written = write_project(board, folder, config)
    console.print(f"{board.name}: {len(written['files'])} files in {folder}; there, with {board.family.tool}:",
                  soft_wrap=True)
    for command in written["commands"]:
        console.print(f"  {command}", soft_wrap=True)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@reports_errors
def boards(as_json):
    """List the boards: their accelerators, what these take of the devices, and the published product's resources."""
    from . import resources

    rows = resources.rows()
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    else:
        print_counts(resources.HEADER, resources.cells(rows), left=resources.LEFT)


@main.command()
@board_option
@click.option("--model", default="lstm_tiny", show_default=True,
              help=f"Benchmark or example by name, a .safetensors state dict, or a program ({PROGRAM_SUFFIX}).")
@weights_option
@io_option
@click.option("--steps", type=click.IntRange(min=5), help="Timesteps.  [default: 20; an example's whole series]")
@seed_option
@click.option("--simulator", type=click.Choice(["verilator", "icarus"]), default="verilator", show_default=True)
@click.option("--waves", is_flag=True, help="Record waveforms.")
@click.option("--axi-load", is_flag=True, help="Load all memories over AXI4-Lite instead of from files (slow).")
@reports_errors
def sim(board, model, weights, io_format, steps, seed, simulator, waves, axi_load):
    """Run a model on the simulated RTL of a board and compare with every prediction."""
    from . import series
    from .bfloat16 import BFloat16Pipeline, round_bfloat16
    from .models import inputs, resolve
    from .reference import Reference
    from .simulate import simulate

    config, network, task = configuration(board, io_format), None, None
    if model.endswith(PROGRAM_SUFFIX):
        program = Program.load(model)
        program.require(config)
    else:
        network = resolve(model, seed)
        program = compile_network(network, config, weight_format=weights)
    if model in series.TASKS:
        task = series.load(model)
        xs = task.inputs[:steps]
    elif network is not None:
        xs = inputs(network, steps or 20, seed)
    else:
        xs = round_bfloat16(np.random.default_rng(seed).standard_normal((steps or 20, program.input_size)))
    print_summary(program)
    with console.status("building the simulator and running the RTL"):
        result = simulate(program, xs, spaced=max(1, min(10, len(xs) // 2)), simulator=simulator, waves=waves,
                          preload=not axi_load)

    console.print(f"{program.name} on the RTL of {config.name} ({simulator})", soft_wrap=True)
    table = Table()
    for column, justify in (("", "left"), ("measured", "right"), ("predicted", "right")):
        table.add_column(column, justify=justify)
    table.add_row("timesteps", str(len(xs)), "")
    table.add_row("bit-exact with the virtual machine", "yes" if result.bit_exact else "NO", "yes")
    table.add_row("spaced latency, cycles", _span(result.spaced_cycles), str(result.predicted_spaced_cycles))
    table.add_row("initiation interval, cycles", str(result.initiation_interval),
                  str(result.predicted_initiation_interval))
    table.add_row(f"spaced latency at {config.clock_mhz:g} MHz, us",
                  f"{max(result.spaced_cycles) / config.clock_mhz:.3f}",
                  f"{result.predicted_spaced_cycles / config.clock_mhz:.3f}")
    if network is not None:
        exact = Reference(network).run(xs)
        pipeline = BFloat16Pipeline(network).run(xs)
        for name, function in (("largest", lambda e: np.abs(e).max()), ("RMS", lambda e: np.sqrt((e**2).mean()))):
            table.add_row(f"{name} error against float64", f"{function(result.outputs - exact):.3g}", "")
            table.add_row(f"{name} error of a bfloat16 pipeline", f"{function(pipeline - exact):.3g}", "")
            table.add_row(f"{name} difference from the bfloat16 pipeline",
                          f"{function(result.outputs - pipeline):.3g}", "")
    if task is not None and len(xs) == len(task.inputs):
        for name, outputs in (("RTL", result.outputs), ("float64", exact)):
            table.add_row(f"{task.metric_name}, {name}, {task.metric_unit}",
                          f"{task.metric(task.predict(outputs)):.4f}", "")
        table.add_row(f"{task.metric_name}, persistence, {task.metric_unit}", f"{task.baseline():.4f}", "")
    console.print(table)
    for failure in result.failures:
        console.print(f"FAIL: {failure}", soft_wrap=True)
    if result.waves:
        console.print(f"waveforms: {result.waves}", soft_wrap=True)
    console.print("PASS" if result.passed else "FAIL")
    sys.exit(0 if result.passed else 1)


@main.command()
@board_option
@reports_errors
def timing(board):
    """Measure the logic depth between registers and check it against the clock discipline."""
    import tempfile

    from spiccato.verilog import write_verilog

    from .timing import check, print_report

    with tempfile.TemporaryDirectory() as folder, console.status(f"{board}: elaborating and mapping"):
        written = write_verilog(configuration(board), Path(folder) / board)
        report = check(written["files"], "spiccato")
    print_report(report)
    sys.exit(0 if report.ok else 1)


@main.command()
@board_option
@reports_errors
def lint(board):
    """Have Verilator and yosys check the Verilog of a board."""
    from spiccato.verilog import write_verilog

    from .lint import lint as check

    # Below the working directory: the sandbox of yosys does not see the system's temporary folder.
    target = Path("build") / "lint" / board
    with console.status(f"{board}: elaborating and checking"):
        write_verilog(configuration(board), target)
        check(target)
    console.print(f"{board}: no warnings")


@main.command()
@click.option("--board", "boards", multiple=True, help="Only this board; may be repeated.")
@click.option("--model", "names", multiple=True, help="Only this model; may be repeated.")
@click.option("-o", "--output", default="build/bench", show_default=True, type=click.Path(file_okay=False))
@reports_errors
def bench(boards, names, output):
    """Measure every model on every board on the RTL, and compare with the published figures. Resumes."""
    from spiccato_boards import BOARDS

    from .bench import run_bench
    from .models import MODELS

    result = run_bench(boards or tuple(BOARDS), names or tuple(MODELS), out=output, console=console)
    console.print((Path(output) / "latency.md").read_text(), soft_wrap=True, markup=False)
    for failure in result.failures:
        console.print(f"FAIL: {failure}", soft_wrap=True, markup=False)
    console.print("PASS" if result.passed else "FAIL")
    sys.exit(0 if result.passed else 1)


@main.command()
@click.argument("model")
@click.option("--board", help="Board, by name.  [default: ia420f; a program's own]")
@weights_option
@io_option
@click.option("--input", "inputs", type=click.Path(dir_okay=False),
              help="Inputs to measure errors with: a .npy file (steps, features).  [default: random]")
@click.option("--steps", type=click.IntRange(min=1),
              help="Timesteps.  [default: 300; an example's or a file's whole series]")
@seed_option
@click.option("-o", "--output", default="report.html", show_default=True, type=click.Path(), help="Page to write.")
@reports_errors
def report(model, board, weights, io_format, inputs, steps, seed, output):
    """Write a page on MODEL: latency, schedule, memories, errors. One HTML file that needs no network.

    MODEL: a benchmark or example by name, a PyTorch state dict in .safetensors, or a program.
    """
    from .html_report import write_report

    network = None
    if model.endswith(PROGRAM_SUFFIX):
        program = Program.load(model)
        if board:
            program.require(configuration(board, program.config.io_format))
    else:
        from .models import resolve

        network = resolve(model, seed)
        program = compile_network(network, configuration(board or "ia420f", io_format), weight_format=weights)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        write_report(output, model, program, network, weights=weights, inputs=inputs, steps=steps, seed=seed,
                     track=functools.partial(progress.track, description="timesteps"))
    print_summary(program)
    console.print(f"wrote {output}", soft_wrap=True)


def print_summary(program):
    """Print what a program needs and how fast it will be."""
    config = program.config
    console.print(f"{program.name} on {config.name}: {config.cores} cores of block {config.block}, "
                  f"{config.io_format} streams", soft_wrap=True)
    table = Table()
    for column, justify in (("memory", "left"), ("used", "right"), ("capacity", "right"), ("", "left")):
        table.add_column(column, justify=justify)
    for memory, used, capacity, unit in program.memory_use():
        table.add_row(memory, str(used), str(capacity), unit)
    console.print(table)
    layers = ", ".join(f"{layer.units} ({name})" for layer, name in zip(program.layers, program.weight_formats))
    console.print(f"layers: input {program.input_size}, LSTM {layers}, "
                  f"output {program.output_size} ({program.weight_formats[-1]})", soft_wrap=True)
    for name, cycles, bound in (
            ("spaced latency", program.spaced_latency, program.critical_mac_bound),
            ("initiation interval", program.initiation_interval, program.full_mac_bound)):
        console.print(f"predicted {name}: {cycles} cycles = {cycles / config.clock_mhz:.3f} us at "
                      f"{config.clock_mhz:g} MHz (multipliers alone: {bound} cycles, {bound / cycles:.0%})",
                      soft_wrap=True)
    notes = resource_notes(config)
    if notes:
        console.print(f"resources of {config.name}: {usage(notes['resources'])}", soft_wrap=True)


def usage(resources):
    """One line of what a configuration takes of its device, from :func:`spiccato_boards.resources.describe`."""
    units = {"logic": resources["logic_unit"] + "s", "dsp": "DSP blocks"}
    parts = [f"{'about ' if kind == 'logic' else ''}{count:,} of {resources['device'][kind]:,} "
             f"{units.get(kind, kind.upper())} ({count / resources['device'][kind]:.0%})"
             for kind, count in resources["estimate"].items()]
    return ", ".join(parts)


def print_counts(header, rows, left=1):
    """Print a table whose cells are numbers but for the first ``left`` columns; None is left open."""
    table = Table()
    for number, column in enumerate(header):
        table.add_column(column, justify="left" if number < left else "right")
    for row in rows:
        table.add_row(*("-" if cell is None else cell if isinstance(cell, str) else f"{cell:,}" for cell in row))
    console.print(table)


def _span(values):
    """A list of equal numbers as one, others as a range."""
    return str(values[0]) if len(set(values)) == 1 else f"{min(values)}..{max(values)}"


if __name__ == "__main__":
    main()

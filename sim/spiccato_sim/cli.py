"""The command line. Each command is a thin layer over a function that Python can call as well.

Exit status: 0 if all is well, 1 if a check failed or an input was refused (one line says which), 2 for wrong usage.
"""

import dataclasses
import functools
import sys
from pathlib import Path

import click
import numpy as np
from rich.console import Console
from rich.table import Table
from spiccato.compiler import Program, compile_network
from spiccato.compiler.compile import WEIGHT_FORMATS
from spiccato.config import IO_FORMATS, PRESETS
from spiccato.errors import ConfigError, SpiccatoError
from spiccato.rtl.uart import BAUD

console = Console(highlight=False)

PROGRAM_SUFFIX = ".spiccato"


def configuration(name, io_format=None):
    """The configuration of a board (or a small one for tests) by name."""
    if name not in PRESETS:
        raise ConfigError(f"unknown board {name!r}; known: {', '.join(PRESETS)}")
    config = PRESETS[name]
    return dataclasses.replace(config, io_format=io_format) if io_format else config


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
        with console.status(f"{name}: elaborating"):
            written = write_verilog(config, Path(output) / name)
        console.print(f"{name}: {len(written['files'])} modules in {Path(output) / name}", soft_wrap=True)


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
    from .bfloat16 import BFloat16Pipeline
    from .reference import Reference
    from .simulate import simulate

    config = configuration(board, io_format)
    program, network, task, xs = _job(model, config, weights, steps, seed)
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
        _add_task(table, task, {"RTL": result.outputs, "float64": exact})
    console.print(table)
    for failure in result.failures:
        console.print(f"FAIL: {failure}", soft_wrap=True)
    if result.waves:
        console.print(f"waveforms: {result.waves}", soft_wrap=True)
    console.print("PASS" if result.passed else "FAIL")
    sys.exit(0 if result.passed else 1)


@main.command()
@click.option("--board", default="ulx3s", show_default=True, help="Board, by name.")
@click.option("--port", default="sim", show_default=True, help="Serial port of the board, or sim: simulate it.")
@click.option("--model", default="seattle_weather", show_default=True,
              help=f"Benchmark or example by name, a .safetensors state dict, or a program ({PROGRAM_SUFFIX}).")
@weights_option
@click.option("--steps", type=click.IntRange(min=1), help="Timesteps.  [default: 20; an example's whole series]")
@seed_option
@click.option("--baud", type=click.IntRange(min=1), default=BAUD, show_default=True, help="Bits a second of the port.")
@reports_errors
def demo(board, port, model, weights, steps, seed, baud):
    """Run a model on a board through its serial port and compare every output with the virtual machine."""
    from rich.progress import Progress

    from .demo import run_demo
    from .reference import Reference

    program, network, task, xs = _job(model, configuration(board), weights, steps, seed)
    print_summary(program)
    with Progress(console=console) as progress:
        bar = progress.add_task(f"{port}: connecting and loading the program", total=None)
        result = run_demo(
            program, xs, port, baud=baud, on_step=lambda: progress.advance(bar),
            on_ready=lambda: progress.update(bar, total=len(xs), description="timesteps"))

    console.print(f"{program.name} on {board} at {port}: {result.identity}", soft_wrap=True, markup=False)
    table = Table()
    for column, justify in (("", "left"), ("board", "right"), ("predicted", "right")):
        table.add_column(column, justify=justify)
    table.add_row("inferences", str(result.counters.inferences), str(len(xs)))
    table.add_row("bit-exact with the virtual machine", "yes" if result.passed else "NO", "yes")
    table.add_row("latency of the last inference, cycles", str(result.counters.latency), str(program.spaced_latency))
    table.add_row("stall cycles", str(result.counters.stall_cycles), "0")
    table.add_row("program load as the host sees it, s", f"{result.load_seconds:.2f}", "")
    table.add_row("a step as the host sees it, ms", f"{1e3 * result.step_seconds:.2f}", "")
    if network is not None:
        exact = Reference(network).run(xs)
        table.add_row("largest error against float64", f"{np.abs(result.outputs - exact).max():.3g}", "")
        _add_task(table, task, {"board": result.outputs, "float64": exact})
    console.print(table)
    for name, meaning in result.errors.items():
        console.print(f"the board reports {name}: {meaning}", soft_wrap=True)
    for failure in result.failures:
        console.print(f"FAIL: {failure}", soft_wrap=True)
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


def _job(model, config, weights, steps, seed):
    """What ``--model`` names: program, network (None if it is a program), task (None if it is no example), inputs."""
    from . import series
    from .bfloat16 import round_bfloat16
    from .models import inputs, resolve

    if model.endswith(PROGRAM_SUFFIX):
        program = Program.load(model)
        program.require(config)
        xs = np.random.default_rng(seed).standard_normal((steps or 20, program.input_size))
        return program, None, None, round_bfloat16(xs)
    network = resolve(model, seed)
    program = compile_network(network, config, weight_format=weights)
    if model in series.TASKS:
        task = series.load(model)
        return program, network, task, task.inputs[:steps]
    return program, network, None, inputs(network, steps or 20, seed)


def _add_task(table, task, outputs):
    """The task's own error for each of ``outputs`` ({name: array}), if there is a task and they are of all steps."""
    if task is None or any(len(values) != len(task.inputs) for values in outputs.values()):
        return
    for name, values in outputs.items():
        table.add_row(f"{task.metric_name}, {name}, {task.metric_unit}",
                      f"{task.metric(task.predict(values)):.4f}", "")
    table.add_row(f"{task.metric_name}, persistence, {task.metric_unit}", f"{task.baseline():.4f}", "")


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


def _span(values):
    """A list of equal numbers as one, others as a range."""
    return str(values[0]) if len(set(values)) == 1 else f"{min(values)}..{max(values)}"


if __name__ == "__main__":
    main()

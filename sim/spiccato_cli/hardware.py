"""Verbs on the hardware: Verilog, simulation, checks, benchmark."""

import sys
from pathlib import Path

import click
import numpy as np

from spiccato.compiler import compile_network
from spiccato.registry import configuration, find, targets
from spiccato.rtl.serial.uart import BAUD
from spiccato_sim.analysis.accuracy import rms

from .common import (
    PROGRAM_SUFFIX,
    STREAMED,
    board_option,
    boards_option,
    calibration_option,
    console,
    emit_json,
    io_option,
    json_option,
    layers_option,
    model_option,
    network_of,
    print_counts,
    print_origin,
    print_summary,
    print_table,
    program_of,
    program_summary,
    progress_bar,
    progress_console,
    refuse_layers,
    reports_errors,
    resource_notes,
    seed_option,
    spaced_of,
    status,
    steps_option,
    weights_option,
)

__all__ = ["VERBS"]


@click.command()
@board_option(default="all", show_default=True)
@io_option
@click.option(
    "-o",
    "--output",
    default="build/verilog",
    show_default=True,
    type=click.Path(file_okay=False),
    help="Folder; each board gets one in it.",
)
@reports_errors
def verilog(board, io_format, output):
    """Write a board's Verilog and the JSON file that describes it; "all" are those that have a device."""
    from spiccato.verilog import write_verilog
    from spiccato_boards import boards

    for target in boards().values() if board == "all" else [find(board)]:
        config, folder = configuration(target, io_format), Path(output) / target.name
        with status(f"{target.name}: elaborating"):
            written = write_verilog(config, folder, target.style, resource_notes(config))
        console.print(f"{target.name}: {len(written['files'])} modules in {folder}", soft_wrap=True)


@click.command()
@board_option(default="ia420f", show_default=True)
@io_option
@click.option(
    "-o",
    "--output",
    default="build/project",
    show_default=True,
    type=click.Path(file_okay=False),
    help="Folder; each board gets one in it.",
)
@click.option(
    "--compare",
    "result",
    type=click.Path(dir_okay=False),
    help="Write nothing, but lay this result of a project's script beside the estimates.",
)
@reports_errors
def project(board, io_format, output, result):
    """Write a board's project for its vendor's tool, or compare what the tool reached with what was expected."""
    from spiccato_boards import find
    from spiccato_boards.projects import write_project
    from spiccato_boards.results import read_result

    board = find(board)
    config = configuration(board, io_format)
    if result is not None:
        _print_result(read_result(result), board, config)
        return
    folder = Path(output) / board.name
    with status(f"{board.name}: elaborating"):
        written = write_project(board, folder, config)
    console.print(
        f"{board.name}: {len(written['files'])} files in {folder}; there, with {board.family.tool}:", soft_wrap=True
    )
    for command in written["commands"]:
        console.print(f"  {command}", soft_wrap=True)


def _print_result(result, board, config):
    """Print what a tool reached beside what was expected."""
    from spiccato_boards.results import compare

    console.print(
        f"{result.target} of {board.name} with {result.tool} {result.tool_version}: timing "
        f"{'met' if result.clock['met'] else 'NOT met'}",
        soft_wrap=True,
    )
    print_counts(("", "reached", "expected", "device"), compare(result, board, config))


@click.command()
@board_option(default="ulx3s", show_default=True)
@click.option(
    "--seeds",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="Placements to try; the first that meets the clock becomes the bitstream.",
)
@click.option("--all", "finish_all", is_flag=True, help="Finish all placements, and take the fastest.")
@click.option(
    "-o",
    "--output",
    default="build/bitstream",
    show_default=True,
    type=click.Path(file_okay=False),
    help="Folder; each board gets one in it.",
)
@reports_errors
def bitstream(board, seeds, finish_all, output):
    """Build a board's bitstream with open tools, and check that it meets its clock."""
    from spiccato_boards import find
    from spiccato_boards.bitstream import RESULT, build_bitstream
    from spiccato_boards.results import read_result

    board = find(board)
    folder = Path(output) / board.name
    with status(f"{board.name}: synthesising, then {seeds} placements; a quarter of an hour or so"):
        placements = build_bitstream(
            board, folder, seeds=range(1, seeds + 1), finish_all=finish_all, on_step=progress_console.print
        )
    finished = [p for p in placements if p]
    print_table(
        (("seed", "right"), ("MHz", "right"), (f"{board.config.clock_mhz:g} MHz", "left")),
        [(p.seed, f"{p.fmax_mhz:.1f}", "met" if p.met else "NOT met") for p in finished],
    )
    _print_result(read_result(folder / RESULT), board, board.config)
    console.print(
        f"{sum(p.met for p in finished)} of {len(finished)} finished placements meet the clock; "
        f"wrote {folder / 'top.bit'}",
        soft_wrap=True,
    )


@click.command()
@boards_option
@json_option
@reports_errors
def boards(boards, as_json):
    """List the boards: their accelerators, what these take of the devices, and the published product's resources."""
    from spiccato_boards import find
    from spiccato_sim.analysis import resources

    rows = resources.rows([find(board) for board in boards] or None)
    if as_json:
        emit_json(rows)
        return
    print_counts(resources.HEADER, resources.cells(rows), left=resources.LEFT)
    simulated = [
        f"{target.name} ({target.config.cores} x {target.config.block})"
        for target in targets().values()
        if target.simulated_only
    ]
    if simulated and not boards:
        console.print(f"for simulation only, on no device: {', '.join(simulated)}", soft_wrap=True)


@click.command()
@board_option(default="ia420f", show_default=True)
@model_option(
    default="lstm_tiny",
    show_default=True,
    help=f"Benchmark or example by name, a file that compile takes, or a program ({PROGRAM_SUFFIX}).",
)
@weights_option
@io_option
@calibration_option
@layers_option
@steps_option(STREAMED + 1, help="Timesteps.  [default: 20; an example's whole series]")
@seed_option
@click.option("--simulator", type=click.Choice(["verilator", "icarus"]), default="verilator", show_default=True)
@click.option("--waves", is_flag=True, help="Record waveforms.")
@click.option("--axi-load", is_flag=True, help="Load all memories over AXI4-Lite instead of from files (slow).")
@json_option
@reports_errors
def sim(board, model, weights, io_format, calibration, layers, steps, seed, simulator, waves, axi_load, as_json):
    """Run a model on the simulated RTL of a board and compare with every prediction."""
    from spiccato_sim.benches.simulate import simulate
    from spiccato_sim.models.bfloat16 import BFloat16Pipeline
    from spiccato_sim.models.reference import Reference

    program, network, task, xs = _job(model, configuration(board, io_format), weights, steps, seed, calibration, layers)
    if not as_json:
        print_summary(program)
        print_origin(network)
    with status("building the simulator and running the RTL"):
        result = simulate(
            program, xs, spaced=spaced_of(len(xs)), simulator=simulator, waves=waves, preload=not axi_load
        )

    errors, scores = {}, {}
    if network is not None:
        exact = Reference(network).run(xs)
        pipeline = BFloat16Pipeline(network).run(xs)
        for name, function in (("largest", lambda e: float(np.abs(e).max())), ("RMS", rms)):
            errors |= {
                f"{name} error against float64": function(result.outputs - exact),
                f"{name} error of a bfloat16 pipeline": function(pipeline - exact),
                f"{name} difference from the bfloat16 pipeline": function(result.outputs - pipeline),
            }
        scores = _scores(task, {"RTL": result.outputs, "float64": exact})
    if as_json:
        emit_json(
            {
                "program": program_summary(program),
                "origin": network and network.origin,
                "simulator": simulator,
                "steps": len(xs),
                "passed": result.passed,
                "bit_exact": result.bit_exact,
                "spaced_cycles": result.spaced_cycles,
                "interval_cycles": result.initiation_interval,
                "errors": errors,
                "task": scores and {"metric": task.metric_name, "unit": task.metric_unit, **scores},
                "failures": result.failures,
                "waves": str(result.waves) if result.waves else None,
            }
        )
    else:
        _print_comparison(program, result, simulator, len(xs), errors, _score_rows(task, scores))
    sys.exit(0 if result.passed else 1)


@click.command()
@board_option(default="ulx3s", show_default=True)
@click.option("--port", default="sim", show_default=True, help="Serial port of the board, or sim: simulate it.")
@model_option(
    default="seattle_weather",
    show_default=True,
    help=f"Benchmark or example by name, a file that compile takes, or a program ({PROGRAM_SUFFIX}).",
)
@weights_option
@calibration_option
@layers_option
@steps_option(help="Timesteps.  [default: 20; an example's whole series]")
@seed_option
@click.option(
    "--baud", type=click.IntRange(1, 2**31 - 1), default=BAUD, show_default=True, help="Bits a second of the port."
)
@reports_errors
def demo(board, port, model, weights, calibration, layers, steps, seed, baud):
    """Run a model on a board through its serial port and compare every output with the virtual machine."""
    from spiccato_sim.benches.demo import run_demo
    from spiccato_sim.models.reference import Reference

    config = configuration(board)
    program, network, task, xs = _job(model, config, weights, steps, seed, calibration, layers)
    print_summary(program)
    print_origin(network)
    with progress_bar() as progress:
        bar = progress.add_task(f"{port}: connecting and loading the program", total=None)
        result = run_demo(
            program,
            xs,
            port,
            baud=baud,
            on_step=lambda: progress.advance(bar),
            on_ready=lambda: progress.update(bar, total=len(xs), description="timesteps"),
        )

    console.print(f"{program.name} on {config.name} at {port}: {result.identity}", soft_wrap=True)
    rows = [
        ("inferences", result.counters.inferences, len(xs)),
        ("bit-exact with the virtual machine", "yes" if result.passed else "NO", "yes"),
        ("latency of the last inference, cycles", result.counters.latency, program.spaced_latency),
        ("stall cycles", result.counters.stall_cycles, 0),
        ("program load as the host sees it, s", f"{result.load_seconds:.2f}", ""),
        ("a step as the host sees it, ms", f"{1e3 * result.step_seconds:.2f}", ""),
    ]
    if network is not None:
        exact = Reference(network).run(xs)
        rows.append(("largest error against float64", f"{np.abs(result.outputs - exact).max():.3g}", ""))
        rows += _score_rows(task, _scores(task, {"board": result.outputs, "float64": exact}))
    print_table((("", "left"), ("board", "right"), ("predicted", "right")), rows)
    for name, meaning in result.errors.items():
        console.print(f"the board reports {name}: {meaning}", soft_wrap=True)
    for failure in result.failures:
        console.print(f"FAIL: {failure}", soft_wrap=True)
    console.print("PASS" if result.passed else "FAIL")
    sys.exit(0 if result.passed else 1)


def _job(model, config, weights, steps, seed, calibration, layers):
    """What ``--model`` names: program, network (None if it is a program), task (None if it is no example), inputs."""
    from spiccato_sim.models import series
    from spiccato_sim.models.bfloat16 import round_bfloat16
    from spiccato_sim.models.zoo import inputs

    if model.endswith(PROGRAM_SUFFIX):
        refuse_layers(model, layers)
        program = program_of(model)
        program.require(config)
        xs = np.random.default_rng(seed).standard_normal((steps or 20, program.input_size))
        return program, None, None, round_bfloat16(xs)
    network = network_of(model, seed, calibration, layers)
    program = compile_network(network, config, weight_format=weights)
    if model in series.TASKS:
        task = series.load(model)
        return program, network, task, task.inputs[:steps]
    return program, network, None, inputs(network, steps or 20, seed)


def _scores(task, outputs):
    """The task's own metric by name for each of ``outputs``, if there is a task and they are of all its steps."""
    if task is None or any(len(values) != len(task.inputs) for values in outputs.values()):
        return {}
    return {name: task.metric(task.predict(values)) for name, values in outputs.items()} | {
        "persistence": task.baseline()
    }


def _score_rows(task, scores):
    """Rows of a table that has a column for measured and one for predicted values."""
    return [(f"{task.metric_name}, {name}, {task.metric_unit}", f"{score:.4f}", "") for name, score in scores.items()]


def _print_comparison(program, result, simulator, steps, errors, score_rows):
    config = program.config
    console.print(f"{program.name} on the RTL of {config.name} ({simulator})", soft_wrap=True)
    print_table(
        (("", "left"), ("measured", "right"), ("predicted", "right")),
        [
            ("timesteps", steps, ""),
            ("bit-exact with the virtual machine", "yes" if result.bit_exact else "NO", "yes"),
            ("spaced latency, cycles", _span(result.spaced_cycles), result.predicted_spaced_cycles),
            ("initiation interval, cycles", result.initiation_interval, result.predicted_initiation_interval),
            (
                f"spaced latency at {config.clock_mhz:g} MHz, us",
                f"{max(result.spaced_cycles) / config.clock_mhz:.3f}",
                f"{result.predicted_spaced_cycles / config.clock_mhz:.3f}",
            ),
            *((name, f"{value:.3g}", "") for name, value in errors.items()),
            *score_rows,
        ],
    )
    for failure in result.failures:
        console.print(f"FAIL: {failure}", soft_wrap=True)
    if result.waves:
        console.print(f"waveforms: {result.waves}", soft_wrap=True)
    console.print("PASS" if result.passed else "FAIL")


@click.command()
@board_option(default="ia420f", show_default=True)
@reports_errors
def timing(board):
    """Measure the logic depth between registers and check it against the clock discipline."""
    import tempfile

    from spiccato.verilog import write_verilog
    from spiccato_sim.checks.depth import check, print_report

    config = configuration(board)
    with tempfile.TemporaryDirectory() as folder, status(f"{config.name}: elaborating and mapping"):
        written = write_verilog(config, Path(folder) / config.name)
        report = check(written["files"], "spiccato_accelerator")
    print_report(report)
    sys.exit(0 if report.ok else 1)


@click.command()
@board_option(default="ia420f", show_default=True)
@reports_errors
def lint(board):
    """Have Verilator and yosys check the Verilog of a board."""
    from spiccato.verilog import write_verilog
    from spiccato_sim.checks.lint import lint as check

    # Below the working directory: the sandbox of yosys does not see the system's temporary folder.
    config = configuration(board)
    folder = Path("build") / "lint" / config.name
    with status(f"{config.name}: elaborating and checking"):
        write_verilog(config, folder)
        check(folder)
    console.print(f"{config.name}: no warnings")


@click.command()
@boards_option
@click.option("--model", "names", multiple=True, help="Only this model; may be repeated.")
@click.option("-o", "--output", default="build/bench", show_default=True, type=click.Path(file_okay=False))
@reports_errors
def bench(boards, names, output):
    """Measure every model on every board on the RTL, and compare with the published figures. Resumes."""
    from spiccato_boards import boards as all_boards
    from spiccato_sim.analysis import published
    from spiccato_sim.analysis.bench import run_bench
    from spiccato_sim.models.zoo import MODELS

    compared = tuple(name for name in all_boards() if name in published.boards())
    result = run_bench(boards or compared, names or tuple(MODELS), out=output, console=progress_console)
    console.print((Path(output) / "latency.md").read_text(), soft_wrap=True)
    for failure in result.failures:
        console.print(f"FAIL: {failure}", soft_wrap=True)
    console.print("PASS" if result.passed else "FAIL")
    sys.exit(0 if result.passed else 1)


def _span(values):
    """A list of equal numbers as one, others as a range."""
    return str(values[0]) if len(set(values)) == 1 else f"{min(values)}..{max(values)}"


VERBS = (boards, verilog, project, bitstream, sim, demo, bench, timing, lint)

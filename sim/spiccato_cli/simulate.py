"""Verbs that run a model: on the simulated RTL, and on a board or a simulated one."""

import dataclasses
import sys

import click
import numpy as np

from spiccato.compiler import compile_program
from spiccato.errors import SpiccatoError
from spiccato.registry import configuration, find
from spiccato_sim.analysis.accuracy import rms

from .arguments import (
    PROGRAM_SUFFIX,
    STREAMED,
    contexts_of,
    network_of,
    networks_of,
    program_of,
    refuse_compiling,
    spaced_of,
    weights_of,
)
from .options import (
    board_option,
    calibration_option,
    contexts_option,
    io_option,
    json_option,
    model_option,
    models_argument,
    profile_option,
    reading_options,
    seed_option,
    steps_option,
    weights_each_option,
    weights_option,
)
from .output import (
    console,
    emit_json,
    print_summary,
    print_table,
    program_summary,
    progress_bar,
    reports_errors,
    status,
)

__all__ = ["VERBS"]

#: Timesteps of each context that are compared unless told otherwise.
_ROUNDS = 6


@click.command()
@models_argument(metavar="[MODEL]...")
@board_option(default="ia420f", show_default=True)
@profile_option
@contexts_option()
@weights_each_option
@io_option
@calibration_option
@reading_options
@steps_option(
    STREAMED + 1,
    help="Timesteps; of each context, if there are several.  [default: 20, or 6 of each "
    "context; an example's whole series]",
)
@seed_option
@click.option("--simulator", type=click.Choice(["verilator", "icarus"]), default="verilator", show_default=True)
@click.option("--waves", is_flag=True, help="Record waveforms.")
@click.option("--axi-load", is_flag=True, help="Load all memories over AXI4-Lite instead of from files (slow).")
@json_option
@reports_errors
def sim(
    models,
    board,
    profile,
    contexts,
    weights,
    io_format,
    calibration,
    reading,
    steps,
    seed,
    simulator,
    waves,
    axi_load,
    as_json,
):
    """Run MODEL on the simulated RTL of a board and compare with every prediction.

    MODEL: as for compile, or a program; lstm_tiny if there is none. With --contexts, with several models, or with a
    program of several contexts these take turns, and latency and interval of each are told.
    """
    models = models or ("lstm_tiny",)
    config = configuration(board, io_format, profile)
    options = {"simulator": simulator, "waves": waves, "preload": not axi_load}
    if contexts is None and len(models) == 1:
        program, network, task, xs = _job(
            models[0], config, weights_of(weights, 1)[0], steps, seed, calibration, reading
        )
        if len(program.models) == 1 and program.streams == (1,):
            _sim_one(program, network, task, xs, options, as_json)
    else:
        program = _set(models, config, contexts, weights, seed, calibration, reading)
    _sim_all(program, steps or _ROUNDS, seed, options, as_json)


def _set(models, config, contexts, weights, seed, calibration, reading):
    """The program of several models or contexts."""
    if any(model.endswith(PROGRAM_SUFFIX) for model in models):
        raise SpiccatoError(
            f"{', '.join(models)}: a program has its models and contexts already: name it alone, without --contexts"
        )
    return compile_program(
        networks_of(models, seed, calibration, reading),
        config,
        contexts=contexts_of(contexts, len(models)),
        weight_formats=weights_of(weights, len(models)),
    )


def _sim_all(program, steps, seed, options, as_json):
    """Let all contexts of a program take turns, and leave."""
    from spiccato_sim.benches.round_robin import round_robin
    from spiccato_sim.models.bfloat16 import round_bfloat16

    rng = np.random.default_rng(seed)
    inputs = [round_bfloat16(rng.standard_normal((steps, model.input_size))) for model in program.models]
    if not as_json:
        print_summary(program)
    with status("building the simulator and running the RTL"):
        result = round_robin(program, inputs, **options)
    if as_json:
        emit_json(
            {
                "program": program_summary(program),
                "simulator": options["simulator"],
                "steps": steps,
                "packets": result.packets,
                "passed": result.passed,
                "bit_exact": result.bit_exact,
                "contexts": [dataclasses.asdict(context) for context in result.contexts],
                "failures": result.failures,
                "waves": str(result.waves) if result.waves else None,
            }
        )
    else:
        _print_contexts(program, result, options["simulator"])
    sys.exit(0 if result.passed else 1)


def _print_contexts(program, result, simulator):
    console.print(
        f"{program.name} on the RTL of {program.config.label} ({simulator}): {len(result.contexts)} contexts take "
        f"turns, {result.packets} packets; bit-exact with the virtual machine: {'yes' if result.bit_exact else 'NO'}",
        soft_wrap=True,
    )
    titles = ("model", "context", "tid", "spaced", "predicted", "interval", "predicted")
    print_table(
        [(title, "left" if title == "model" else "right") for title in titles],
        [
            (
                program.models[one.model].name,
                one.stream,
                program.tid(one.model, one.stream),
                *map(_span, (one.spaced, one.predicted_spaced, one.intervals, one.predicted_intervals)),
            )
            for one in result.contexts
        ],
    )
    for failure in result.failures:
        console.print(f"FAIL: {failure}", soft_wrap=True)
    if result.waves:
        console.print(f"waveforms: {result.waves}", soft_wrap=True)
    console.print("PASS" if result.passed else "FAIL")


def _sim_one(program, network, task, xs, options, as_json):
    """Run one context on its inputs, and leave."""
    from spiccato_sim.benches.simulate import simulate
    from spiccato_sim.models.bfloat16 import BFloat16Pipeline
    from spiccato_sim.models.reference import Reference

    if not as_json:
        print_summary(program)
    with status("building the simulator and running the RTL"):
        result = simulate(program, xs, spaced=spaced_of(len(xs)), **options)

    errors: dict[str, float] = {}
    scores: dict[str, float] = {}
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
                "simulator": options["simulator"],
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
        _print_comparison(program, result, options["simulator"], len(xs), errors, _score_rows(task, scores))
    sys.exit(0 if result.passed else 1)


@click.command()
@board_option(default="ulx3s", show_default=True)
@profile_option
@click.option("--port", default="sim", show_default=True, help="Serial port of the board, or sim: simulate it.")
@model_option(
    default="seattle_weather",
    show_default=True,
    help=f"Benchmark or example by name, a file that compile takes, or a program ({PROGRAM_SUFFIX}).",
)
@weights_option
@calibration_option
@reading_options
@contexts_option(
    metavar="N", help="Contexts of the model, which take the timesteps in turn.  [default: 1; a program's own]"
)
@steps_option(help="Timesteps.  [default: 20; an example's whole series]")
@seed_option
@click.option("--baud", type=click.IntRange(1, 2**31 - 1), help="Bits a second of the port.  [default: the board's]")
@reports_errors
def demo(board, profile, port, model, weights, calibration, reading, contexts, steps, seed, baud):
    """Run a model on a board through its serial port and compare every output with the virtual machine."""
    from spiccato_sim.benches.demo import SIMULATED, run_demo
    from spiccato_sim.models.reference import Reference

    board = find(board, profile)
    baud = baud or board.baud
    if baud is None and port != SIMULATED:
        raise SpiccatoError(f"board {board.name} has no serial shell that tells the port's rate: give it with --baud")
    config = board.config
    program, network, task, xs = _job(
        model, config, weights_of([weights], 1)[0], steps, seed, calibration, reading, contexts
    )
    print_summary(program)
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

    console.print(f"{program.name} on {config.label} at {port}: {result.identity}", soft_wrap=True)
    rows = [
        ("inferences", result.counters.inferences, len(xs)),
        ("bit-exact with the virtual machine", "yes" if result.passed else "NO", "yes"),
        ("latency of the last inference, cycles", result.counters.latency, program.models[0].spaced_latency),
        ("stall cycles", result.counters.stall_cycles, 0),
        ("program load as the host sees it, s", f"{result.load_seconds:.2f}", ""),
        ("a step as the host sees it, ms", f"{1e3 * result.step_seconds:.2f}", ""),
    ]
    if network is not None:
        turns = program.streams[0]
        exact = np.empty_like(result.outputs)
        for stream in range(min(turns, len(xs))):
            exact[stream::turns] = Reference(network).run(xs[stream::turns])
        rows.append(("largest error against float64", f"{np.abs(result.outputs - exact).max():.3g}", ""))
        if turns == 1:
            rows += _score_rows(task, _scores(task, {"board": result.outputs, "float64": exact}))
    print_table((("", "left"), ("board", "right"), ("predicted", "right")), rows)
    for name, meaning in result.errors.items():
        console.print(f"the board reports {name}: {meaning}", soft_wrap=True)
    for failure in result.failures:
        console.print(f"FAIL: {failure}", soft_wrap=True)
    console.print("PASS" if result.passed else "FAIL")
    sys.exit(0 if result.passed else 1)


def _job(model, config, weights, steps, seed, calibration, reading, contexts=None):
    """What ``--model`` names: program, network (None if it is a program), task (None if it is no example), inputs."""
    from spiccato_sim.models import series
    from spiccato_sim.models.bfloat16 import round_bfloat16
    from spiccato_sim.models.zoo import inputs

    if model.endswith(PROGRAM_SUFFIX):
        refuse_compiling(model, reading)
        if contexts is not None:
            raise SpiccatoError(f"--contexts {contexts}: {model} is a program, which says how many contexts it has")
        program = program_of(model)
        program.require(config)
        xs = np.random.default_rng(seed).standard_normal((steps or 20, program.models[0].input_size))
        return program, None, None, round_bfloat16(xs)
    network = network_of(model, seed, calibration, reading)
    program = compile_program([network], config, contexts=contexts_of(contexts, 1), weight_formats=[weights])
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
    console.print(f"{program.name} on the RTL of {config.label} ({simulator})", soft_wrap=True)
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


def _span(values):
    """A list of equal numbers as one, others as a range."""
    return str(values[0]) if len(set(values)) == 1 else f"{min(values)}..{max(values)}"


VERBS = (sim, demo)

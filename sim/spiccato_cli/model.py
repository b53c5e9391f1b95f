"""Verbs on a model or a program: what it would be like, compile it, run it."""

import dataclasses
import io
import sys

import click
import numpy as np

from spiccato.compiler import compile_network
from spiccato.errors import FitError, SpiccatoError
from spiccato.files import check_file, write_whole
from spiccato.registry import configuration

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
    model_argument,
    network_of,
    print_notes,
    print_origin,
    print_summary,
    print_table,
    program_of,
    program_summary,
    refuse_layers,
    reports_errors,
    resource_notes,
    seed_option,
    spaced_of,
    status,
    steps_option,
    tracker,
    weights_option,
)

__all__ = ["VERBS"]


@click.command("compile")
@model_argument
@board_option(default="ia420f", show_default=True)
@weights_option
@io_option
@calibration_option
@layers_option
@seed_option
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False), help=f"Program file to write, usually NAME{PROGRAM_SUFFIX}."
)
@json_option
@reports_errors
def compile_command(model, board, weights, io_format, calibration, layers, seed, output, as_json):
    """Compile MODEL for a board.

    MODEL is a benchmark or example by name, or a file: a PyTorch state dict (.safetensors, .pt, .pth, .ckpt), an ONNX
    model (.onnx) or a Keras model (.keras, .h5).
    """
    from spiccato_sim.analysis.estimate import default_steps
    from spiccato_sim.analysis.slow_gates import slow_gate_notes

    if output is not None:
        check_file(output)
    config = configuration(board, io_format)
    resource_notes(config)  # before the program is written: refuses what does not fit the device
    network = network_of(model, seed, calibration, layers)
    program = compile_network(network, config, weight_format=weights)
    if network.calibration is not None:
        samples = network.calibration[: default_steps(network)]
        with tracker("calibration inputs") as track:
            program = dataclasses.replace(
                program, notes=(*program.notes, *slow_gate_notes(network, samples, track=track))
            )
    if output is not None:
        program.save(output)
    if as_json:
        emit_json(program_summary(program) | {"origin": network.origin, "output": output})
        return
    print_summary(program)
    print_origin(network)
    if output:
        console.print(f"wrote {output}", soft_wrap=True)


@click.command()
@click.argument("program", type=click.Path())
@json_option
@reports_errors
def inspect(program, as_json):
    """Show what a program file holds."""
    loaded = program_of(program)
    if as_json:
        emit_json(program_summary(loaded))
    else:
        print_summary(loaded)


@click.command()
@model_argument
@io_option
@calibration_option
@layers_option
@click.option(
    "--input",
    "inputs",
    type=click.Path(dir_okay=False),
    help="Inputs to measure errors with: a .npy file (steps, features).  [default: an example's series, "
    "calibration inputs, or random ones]",
)
@steps_option(help="Timesteps to measure errors over.  [default: what some seconds allow]")
@boards_option
@seed_option
@json_option
@reports_errors
def estimate(model, io_format, calibration, layers, inputs, steps, boards, seed, as_json):
    """Tell how fast and how accurate MODEL would be: all boards, all weight formats. Compiles, and writes nothing.

    MODEL: as for compile. Errors are those of the bit-exact virtual machine against float64: of its arithmetic, and
    as seen from outside, with the rounding of inputs and outputs to the streams' format.
    """
    from spiccato_sim.analysis.estimate import default_steps, estimate

    network = network_of(model, seed, calibration, layers)
    steps = steps or default_steps(network)
    source, xs = _inputs(model, network, inputs, steps, seed)
    with tracker("compiling and measuring") as track:
        result = estimate(network, xs, boards=boards or None, io_format=io_format, track=track)
    if as_json:
        emit_json(
            {
                "name": network.name,
                "input_size": network.input_size,
                "hidden_sizes": [layer.hidden_size for layer in network.lstm],
                "output_size": network.output_size,
                "parameters": network.parameters,
                "origin": network.origin,
                "inputs": source,
                **dataclasses.asdict(result),
            }
        )
    else:
        print_origin(network)
        _print_estimate(network, result, source)
        print_notes(result.notes)
    if not result.fits:
        last = result.rows[-1]
        which = "none of these boards" if boards else "no board"
        raise FitError(
            f"network {network.name!r} fits {which} in any weight format; {last.board} with {last.weights} "
            f"weights: {last.reason}"
        )


def _inputs(model, network, path, steps, seed):
    """What errors are measured with: (where it comes from, at most ``steps`` timesteps)."""
    from spiccato_sim.models import series
    from spiccato_sim.models.zoo import inputs, load_inputs

    if path is not None:
        return path, load_inputs(path, network.input_size)[:steps]
    if model in series.TASKS:
        return "series", series.load(model).inputs[:steps]
    if network.calibration is not None:
        return "calibration", network.calibration[:steps]
    return "random", inputs(network, steps, seed)


def _print_estimate(network, result, source):
    layers = ", ".join(str(layer.hidden_size) for layer in network.lstm)
    console.print(
        f"{network.name}: input {network.input_size}, LSTM {layers}, output {network.output_size}; "
        f"{network.parameters} parameters; {result.io_format} streams",
        soft_wrap=True,
    )
    published = any(row.published_us is not None for row in result.rows)
    columns = [
        ("board", "left"),
        ("weights", "left"),
        ("spaced", "right"),
        ("us", "right"),
        ("interval", "right"),
        ("us", "right"),
        ("error", "right"),
        ("as seen", "right"),
    ]
    rows = []
    for row in result.rows:
        if row.fits:
            cells = [
                row.board,
                row.weights,
                row.spaced_cycles,
                f"{row.spaced_us:.3f}",
                row.interval_cycles,
                f"{row.interval_us:.3f}",
                f"{row.rms_error:.1e}",
                f"{row.rms_error_seen:.1e}",
            ]
        else:
            cells = [row.board, row.weights, "no fit", *[""] * 5]
        rows.append(cells + [f"{row.published_us:.2f}" if row.published_us is not None else ""] * published)
    print_table(columns + [("product", "right")] * published, rows, frame=None)
    for row in result.rows:
        if not row.fits:
            console.print(f"{row.board} with {row.weights} weights: {row.reason}", soft_wrap=True)
    if result.fits:
        console.print(
            "spaced latency, and initiation interval when inputs are always waiting: cycles, and us at the "
            "board's clock",
            soft_wrap=True,
        )
        console.print(
            f"error: RMS against float64 over {result.steps} steps of inputs ({source}), of the arithmetic "
            "alone: without the rounding of inputs and outputs",
            soft_wrap=True,
        )
        console.print(
            f"as seen: with the rounding of inputs and outputs to {result.io_format}, against float64 on the "
            "inputs as given",
            soft_wrap=True,
        )
        console.print(
            f"a bfloat16 pipeline's error: {result.rms_error_bfloat16:.1e}; RMS of the outputs: "
            f"{result.rms_output:.1e}",
            soft_wrap=True,
        )
    if published:
        console.print(
            "product: the closed product's published mean latency with a network of this shape, less the "
            "PCIe round trip, us",
            soft_wrap=True,
        )


@click.command()
@click.argument("program", type=click.Path())
@click.option(
    "--input", "inputs", required=True, type=click.Path(dir_okay=False), help="Inputs: a .npy file (steps, features)."
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False),
    help="Write the outputs, float32 (steps, outputs), to this .npy file.",
)
@click.option("--rtl", is_flag=True, help="Run the RTL in a simulator as well, and compare every bit and cycle.")
@json_option
@reports_errors
def run(program, inputs, output, rtl, as_json):
    """Run PROGRAM, a file that compile wrote, on inputs. The state starts from zero.

    The virtual machine computes every bit as the hardware does; --rtl checks that on the simulated hardware.
    """
    from spiccato_sim.analysis.accuracy import as_streamed, input_saturation, saturation_notes
    from spiccato_sim.models.vm import VirtualMachine
    from spiccato_sim.models.zoo import load_inputs

    if output is not None:
        check_file(output)
    loaded = program_of(program)
    xs = as_streamed(load_inputs(inputs, loaded.input_size), loaded.config.io_format)
    if rtl and len(xs) <= STREAMED:
        raise SpiccatoError(f"{inputs}: {len(xs)} steps; --rtl needs {STREAMED + 1} or more")
    machine = VirtualMachine(loaded)
    with tracker("timesteps") as track:
        ys = np.array([machine.step(x) for x in track(list(xs))])
    comparison = None
    if rtl:
        from spiccato_sim.benches.simulate import simulate

        with status("building the simulator and running the RTL"):
            comparison = simulate(loaded, xs, spaced=spaced_of(len(xs)))
    if output:
        file = io.BytesIO()
        np.save(file, ys.astype(np.float32))  # exact: the streams have no wider format
        write_whole(output, file.getvalue())
    saturated = input_saturation(loaded, xs)
    notes = [*loaded.notes, *saturation_notes(loaded, xs)]
    print_notes(notes)
    if as_json:
        emit_json(
            {
                "program": loaded.name,
                "digest": loaded.digest,
                "board": loaded.config.name,
                "steps": len(xs),
                "output_size": loaded.output_size,
                "output": output,
                "outputs": None if output else ys.tolist(),
                "rtl": comparison
                and {
                    "passed": comparison.passed,
                    "bit_exact": comparison.bit_exact,
                    "spaced_cycles": comparison.spaced_cycles,
                    "interval_cycles": comparison.initiation_interval,
                    "failures": comparison.failures,
                },
                "saturated": saturated and dataclasses.asdict(saturated),
                "notes": notes,
            }
        )
    else:
        console.print(
            f"{loaded.name} on {loaded.config.name}: {len(xs)} steps, {loaded.output_size} outputs each, RMS "
            f"{np.sqrt(np.mean(ys**2)):.4g}",
            soft_wrap=True,
        )
        if output:
            console.print(f"wrote {output}", soft_wrap=True)
        else:
            console.print(f"last outputs: {', '.join(f'{y:.6g}' for y in ys[-1])}", soft_wrap=True)
        if comparison:
            console.print("RTL: " + ("every bit and cycle as predicted" if comparison.passed else "FAIL"))
            for failure in comparison.failures:
                console.print(f"FAIL: {failure}", soft_wrap=True)
    if comparison and not comparison.passed:
        sys.exit(1)


@click.command()
@model_argument
@board_option(show_default="ia420f; a program's own")
@weights_option
@io_option
@calibration_option
@layers_option
@click.option(
    "--input",
    "inputs",
    type=click.Path(dir_okay=False),
    help="Inputs to measure errors with: a .npy file (steps, features).  [default: random]",
)
@steps_option(help="Timesteps.  [default: 300; an example's or a file's whole series]")
@seed_option
@click.option("-o", "--output", default="report.html", show_default=True, type=click.Path(), help="Page to write.")
@reports_errors
def report(model, board, weights, io_format, calibration, layers, inputs, steps, seed, output):
    """Write a page on MODEL: latency, schedule, memories, errors. One HTML file that needs no network.

    MODEL: as for compile, or a program.
    """
    from spiccato_sim.analysis.html_report import write_report

    check_file(output)
    network = None
    if model.endswith(PROGRAM_SUFFIX):
        refuse_layers(model, layers)
        program = program_of(model)
        if board:
            program.require(configuration(board, program.config.io_format))
    else:
        config = configuration(board or "ia420f", io_format)
        network = network_of(model, seed, calibration, layers)
        program = compile_network(network, config, weight_format=weights)
    resource_notes(program.config)  # before the page is written: refuses what does not fit the device
    with tracker("timesteps") as track:
        shown = write_report(
            output,
            model,
            program,
            network,
            board=board,
            weights=weights,
            inputs=inputs,
            steps=steps,
            seed=seed,
            layers=layers,
            track=track,
        )
    print_summary(dataclasses.replace(program, notes=shown.notes))
    print_origin(network)
    console.print(f"wrote {output}", soft_wrap=True)


VERBS = (estimate, compile_command, inspect, run, report)

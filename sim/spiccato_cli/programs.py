"""Verbs on a program: compile it, look at it, run it."""

import dataclasses
import io
import sys

import click
import numpy as np

from spiccato.compiler import compile_program
from spiccato.errors import ModelError
from spiccato.files import check_file, write_whole
from spiccato.registry import configuration
from spiccato_sim.models.zoo import load_inputs

from .arguments import PROGRAM_SUFFIX, STREAMED, contexts_of, model_of, networks_of, program_of, spaced_of, weights_of
from .options import (
    board_option,
    calibration_option,
    contexts_option,
    io_option,
    json_option,
    models_argument,
    profile_option,
    reading_options,
    seed_option,
    weights_each_option,
)
from .output import (
    console,
    emit_json,
    print_notes,
    print_summary,
    print_tables,
    program_summary,
    reports_errors,
    resource_notes,
    status,
    tracker,
)

__all__ = ["VERBS"]


@click.command("compile")
@models_argument(required=True, metavar="MODEL...")
@board_option(default="ia420f", show_default=True)
@profile_option
@contexts_option(default="1", show_default=True)
@weights_each_option
@io_option
@calibration_option
@reading_options
@seed_option
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False), help=f"Program file to write, usually NAME{PROGRAM_SUFFIX}."
)
@json_option
@reports_errors
def compile_command(models, board, profile, contexts, weights, io_format, calibration, reading, seed, output, as_json):
    """Compile MODEL for a board; several, to be loaded together and chosen by each packet.

    MODEL is a benchmark or example by name, or a file: a PyTorch state dict (.safetensors, .pt, .pth, .ckpt), an ONNX
    model (.onnx) or a Keras model (.keras, .h5).
    """
    if output is not None:
        check_file(output)
    config = configuration(board, io_format, profile)
    resource_notes(config)  # before the program is written: refuses what does not fit the device
    streams, formats = contexts_of(contexts, len(models)), weights_of(weights, len(models))
    networks = networks_of(models, seed, calibration, reading)
    program = compile_program(networks, config, contexts=streams, weight_formats=formats)
    program = dataclasses.replace(
        program, models=tuple(_with_gate_notes(model, one) for model, one in zip(program.models, networks))
    )
    if output is not None:
        program.save(output)
    if as_json:
        origins = [network.origin for network in networks if network.origin]
        emit_json(program_summary(program) | {"origin": "; ".join(origins) or None, "output": output})
        return
    print_summary(program)
    if output:
        console.print(f"wrote {output}", soft_wrap=True)


def _with_gate_notes(model, network):
    """The model with what calibration inputs, if there are any, tell of its gates."""
    from spiccato_sim.analysis.estimate import default_steps
    from spiccato_sim.analysis.slow_gates import slow_gate_notes

    if network.calibration is None:
        return model
    samples = network.calibration[: default_steps(network)]
    with tracker("calibration inputs") as track:
        return dataclasses.replace(model, notes=(*model.notes, *slow_gate_notes(network, samples, track=track)))


@click.command()
@click.argument("program", type=click.Path())
@json_option
@reports_errors
def inspect(program, as_json):
    """Show what a program file holds: models, contexts, and where they lie."""
    loaded = program_of(program)
    if as_json:
        emit_json(program_summary(loaded))
    else:
        print_summary(loaded)
        print_tables(loaded)


@click.command()
@click.argument("program", type=click.Path())
@click.option(
    "--input",
    "inputs",
    required=True,
    type=click.Path(dir_okay=False),
    help="Inputs: a .npy file (steps, features) or (sequences, steps, features).",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False),
    help="Write the outputs, float32, to this .npy file: inputs' shape, with outputs in the place of features.",
)
@click.option("--model", "name", metavar="NAME", help="Of several models, this one, by name or number.")
@click.option(
    "--context",
    "stream",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Context of the model, by number.",
)
@click.option("--rtl", is_flag=True, help="Run the RTL in a simulator as well, and compare every bit and cycle.")
@json_option
@reports_errors
def run(program, inputs, output, name, stream, rtl, as_json):
    """Run PROGRAM, a file that compile wrote, on inputs, from the model's initial state; each sequence begins there.

    The virtual machine computes every bit as the hardware does; --rtl checks that on the simulated hardware.
    """
    from spiccato_sim.analysis.accuracy import as_streamed, input_saturation, saturation_notes
    from spiccato_sim.models.vm import VirtualMachine

    if output is not None:
        check_file(output)
    loaded = program_of(program)
    number = model_of(loaded, name)
    model = loaded.require_context(number, stream)
    given = as_streamed(load_inputs(inputs, model.input_size, sequences=True), loaded.config.io_format)
    xs = given.reshape(-1, model.input_size)
    steps = given.shape[-2]
    if rtl and len(xs) <= STREAMED:
        raise ModelError(f"{inputs}: {len(xs)} steps; --rtl needs {STREAMED + 1} or more")
    machine, starts = VirtualMachine(loaded), range(0, len(xs), steps)
    with tracker("timesteps") as track:
        ys = np.array(
            [
                machine.step(x, model=number, stream=stream, start=step in starts)
                for step, x in enumerate(track(list(xs)))
            ]
        )
    comparison = None
    if rtl:
        from spiccato_sim.benches.simulate import simulate

        with status("building the simulator and running the RTL"):
            comparison = simulate(loaded, xs, spaced=spaced_of(len(xs)), model=number, stream=stream, starts=starts)
    shaped = ys.reshape(*given.shape[:-1], model.output_size)
    if output:
        file = io.BytesIO()
        np.save(file, shaped.astype(np.float32))  # exact: the streams have no wider format
        write_whole(output, file.getvalue())
    saturated = input_saturation(model, xs)
    notes = [*loaded.notes, *saturation_notes(model, xs)]
    print_notes(notes)
    if as_json:
        emit_json(
            {
                "program": loaded.name,
                "digest": loaded.digest,
                "board": loaded.config.name,
                "profile": loaded.config.profile,
                "model": number,
                "context": stream,
                "sequences": len(given) if given.ndim == 3 else None,
                "steps": steps,
                "output_size": model.output_size,
                "output": output,
                "outputs": None if output else shaped.tolist(),
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
            f"{model.name} on {loaded.config.label}: "
            + f"{len(given)} sequences of " * (given.ndim == 3)
            + f"{steps} steps, {model.output_size} outputs each, RMS {np.sqrt(np.mean(ys**2)):.4g}",
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


VERBS = (compile_command, inspect, run)

"""Verbs on a program: compile it, look at it, run it."""

import dataclasses
import io
import sys

import click
import numpy as np

from spiccato.compiler import compile_network, link
from spiccato.errors import SpiccatoError
from spiccato.files import check_file, write_whole
from spiccato.registry import configuration
from spiccato_sim.models.zoo import load_inputs

from .arguments import PROGRAM_SUFFIX, STREAMED, network_of, program_of, spaced_of
from .options import (
    board_option,
    calibration_option,
    io_option,
    json_option,
    layers_option,
    model_argument,
    profile_option,
    seed_option,
    weights_option,
)
from .output import (
    console,
    emit_json,
    print_notes,
    print_origin,
    print_summary,
    program_summary,
    reports_errors,
    resource_notes,
    status,
    tracker,
)

__all__ = ["VERBS"]


@click.command("compile")
@model_argument
@board_option(default="ia420f", show_default=True)
@profile_option
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
def compile_command(model, board, profile, weights, io_format, calibration, layers, seed, output, as_json):
    """Compile MODEL for a board.

    MODEL is a benchmark or example by name, or a file: a PyTorch state dict (.safetensors, .pt, .pth, .ckpt), an ONNX
    model (.onnx) or a Keras model (.keras, .h5).
    """
    from spiccato_sim.analysis.estimate import default_steps
    from spiccato_sim.analysis.slow_gates import slow_gate_notes

    if output is not None:
        check_file(output)
    config = configuration(board, io_format, profile)
    resource_notes(config)  # before the program is written: refuses what does not fit the device
    network = network_of(model, seed, calibration, layers)
    compiled = compile_network(network, config, weight_format=weights)
    if network.calibration is not None:
        samples = network.calibration[: default_steps(network)]
        with tracker("calibration inputs") as track:
            compiled = dataclasses.replace(
                compiled, notes=(*compiled.notes, *slow_gate_notes(network, samples, track=track))
            )
    program = link([compiled])
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

    if output is not None:
        check_file(output)
    loaded = program_of(program)
    only = loaded.model
    xs = as_streamed(load_inputs(inputs, only.input_size), loaded.config.io_format)
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
    saturated = input_saturation(only, xs)
    notes = [*loaded.notes, *saturation_notes(only, xs)]
    print_notes(notes)
    if as_json:
        emit_json(
            {
                "program": loaded.name,
                "digest": loaded.digest,
                "board": loaded.config.name,
                "profile": loaded.config.profile,
                "steps": len(xs),
                "output_size": only.output_size,
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
            f"{loaded.name} on {loaded.config.label}: {len(xs)} steps, {only.output_size} outputs each, RMS "
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


VERBS = (compile_command, inspect, run)

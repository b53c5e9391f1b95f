"""The verb that tells how fast and how accurate a model would be."""

import dataclasses

import click

from spiccato.config import WIDE
from spiccato.errors import FitError, SpiccatoError

from .arguments import inputs_of, network_of
from .options import (
    boards_option,
    calibration_option,
    io_option,
    json_option,
    model_argument,
    profile_option,
    reading_options,
    seed_option,
    steps_option,
)
from .output import chain_text, console, emit_json, print_notes, print_origin, print_table, reports_errors, tracker

__all__ = ["VERBS"]


@click.command()
@model_argument
@io_option
@calibration_option
@reading_options
@click.option(
    "--input",
    "inputs",
    type=click.Path(dir_okay=False),
    help="Inputs to measure errors with: a .npy file (steps, features).  [default: an example's series, "
    "calibration inputs, or random ones]",
)
@steps_option(help="Timesteps to measure errors over.  [default: what some seconds allow]")
@boards_option
@profile_option
@seed_option
@json_option
@reports_errors
def estimate(model, io_format, calibration, reading, inputs, steps, boards, profile, seed, as_json):
    """Tell how fast and how accurate MODEL would be: all boards, weight formats and profiles. Writes nothing.

    MODEL: as for compile. Errors are those of the bit-exact virtual machine against float64: of its arithmetic, and
    as seen from outside, with the rounding of inputs and outputs to the streams' format.
    """
    from spiccato_sim.analysis.estimate import default_steps, estimate

    network = network_of(model, seed, calibration, reading)
    source, xs = inputs_of(model, network, inputs, steps or default_steps(network), seed)
    if len(xs) < (steps or 0):
        raise SpiccatoError(f"{source}: has {len(xs)} timesteps; {steps} were asked for")
    with tracker("compiling and measuring") as track:
        result = estimate(network, xs, boards=boards or None, io_format=io_format, profile=profile, track=track)
    if as_json:
        emit_json(
            {
                "name": network.name,
                "input_size": network.input_size,
                "hidden_sizes": [layer.output_size for layer in network.hidden_layers],
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


def _print_estimate(network, result, source):
    layers = chain_text((type(layer), str(layer.output_size)) for layer in network.hidden_layers)
    console.print(
        f"{network.name}: input {network.input_size}, {layers}, output {network.output_size}; "
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

    def cells(row):
        if row.fits:
            figures = [
                row.spaced_cycles,
                f"{row.spaced_us:.3f}",
                row.interval_cycles,
                f"{row.interval_us:.3f}",
                f"{row.rms_error:.1e}",
                f"{row.rms_error_seen:.1e}",
            ]
        else:
            figures = ["no fit", *[""] * 5]
        product = [f"{row.published_us:.2f}" if row.published_us is not None else ""] * published
        return [row.board, row.weights, *figures, *product]

    for profile in dict.fromkeys(row.profile for row in result.rows):
        console.print(f"{profile} profile:")
        rows = [row for row in result.rows if row.profile == profile]
        print_table(columns + [("product", "right")] * published, [cells(row) for row in rows], frame=None, wide=True)
        for row in rows:
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
        if any(WIDE in row.weight_formats for row in result.rows):
            console.print(
                f"{WIDE}: the first layer's input weights and inputs in two halves each, as --weights "
                f"{WIDE}/... has it for any layer",
                soft_wrap=True,
            )
        room = {row.board: row.contexts for row in result.rows if row.fits}
        contexts = ", ".join(f"{board} {number}" for board, number in room.items())
        console.print(f"room for contexts, of a state each: {contexts}", soft_wrap=True)
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


VERBS = (estimate,)

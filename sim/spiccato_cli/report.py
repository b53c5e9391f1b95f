"""The verb that writes a page on a model."""

import dataclasses

import click

from spiccato.compiler import compile_program, link
from spiccato.errors import SpiccatoError
from spiccato.files import check_file
from spiccato.registry import configuration

from .arguments import PROGRAM_SUFFIX, model_of, network_of, program_of, refuse_compiling, weights_of
from .options import (
    board_option,
    calibration_option,
    io_option,
    model_argument,
    profile_option,
    reading_options,
    seed_option,
    steps_option,
    weights_option,
)
from .output import console, print_summary, reports_errors, resource_notes, tracker

__all__ = ["VERBS"]


@click.command()
@model_argument
@board_option(show_default="ia420f; a program's own")
@profile_option
@weights_option
@io_option
@calibration_option
@reading_options
@click.option(
    "--input",
    "inputs",
    type=click.Path(dir_okay=False),
    help="Inputs to measure errors with: a .npy file (steps, features).  [default: random]",
)
@steps_option(help="Timesteps.  [default: 300; an example's or a file's whole series]")
@seed_option
@click.option("--model", "name", metavar="NAME", help="Of a program of several models, this one, by name or number.")
@click.option("-o", "--output", default="report.html", show_default=True, type=click.Path(), help="Page to write.")
@reports_errors
def report(model, board, profile, weights, io_format, calibration, reading, inputs, steps, seed, name, output):
    """Write a page on MODEL: latency, schedule, memories, errors. One HTML file that needs no network.

    MODEL: as for compile, or a program; of several models, a page is about one, as if it were loaded alone.
    """
    from spiccato_sim.analysis.html_report import write_report

    check_file(output)
    network = None
    if model.endswith(PROGRAM_SUFFIX):
        refuse_compiling(model, reading, "io_format")
        loaded = program_of(model)
        number = model_of(loaded, name)
        program = link([loaded.models[number]], contexts=loaded.streams[number]) if len(loaded.models) > 1 else loaded
        if board:
            program.require(configuration(board, program.config.io_format, profile))
        elif profile:
            program.require(dataclasses.replace(program.config, profile=profile))
    else:
        if name is not None:
            raise SpiccatoError(f"{model}: --model chooses of a program; name the model itself")
        config = configuration(board or "ia420f", io_format, profile)
        network = network_of(model, seed, calibration, reading)
        program = compile_program([network], config, weight_formats=weights_of([weights], 1))
    resource_notes(program.config)  # before the page is written: refuses what does not fit the device
    with tracker("timesteps") as track:
        shown = write_report(
            output,
            model,
            program,
            network,
            board=board,
            weights=weights,
            calibration=calibration,
            inputs=inputs,
            steps=steps,
            seed=seed,
            reading=reading,
            track=track,
        )
    print_summary(program, shown.notes)
    console.print(f"wrote {output}", soft_wrap=True)


VERBS = (report,)

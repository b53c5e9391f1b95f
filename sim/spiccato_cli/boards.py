"""Verbs on a board's hardware: what it takes, its Verilog, projects and bitstreams."""

from pathlib import Path

import click

from spiccato.registry import configuration, find, targets

from .options import board_option, boards_option, io_option, json_option, profile_option
from .output import (
    console,
    emit_json,
    print_counts,
    print_table,
    progress_console,
    reports_errors,
    resource_notes,
    status,
)

__all__ = ["VERBS"]


@click.command()
@boards_option
@profile_option
@json_option
@reports_errors
def boards(boards, profile, as_json):
    """List the boards: their accelerators, what these take of the devices, and the published product's resources."""
    from spiccato_boards import boards as all_boards
    from spiccato_boards import find
    from spiccato_sim.analysis import resources

    rows = resources.rows([find(board, profile) for board in boards or all_boards()])
    if as_json:
        emit_json(rows)
        return
    print_counts(resources.HEADER, resources.cells(rows), left=resources.LEFT)
    simulated = [f"{target.name} ({target.config.size})" for target in targets().values() if target.simulated_only]
    if simulated and not boards:
        console.print(f"for simulation only, on no device: {', '.join(simulated)}", soft_wrap=True)


@click.command()
@board_option(default="all", show_default=True)
@profile_option
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
def verilog(board, profile, io_format, output):
    """Write a board's Verilog, a JSON file that describes it and a C header; "all" are those that have a device."""
    from spiccato.verilog import write_verilog
    from spiccato_boards import boards

    for target in boards().values() if board == "all" else [find(board)]:
        config = configuration(target, io_format, profile)
        folder = Path(output) / config.label
        with status(f"{config.label}: elaborating"):
            written = write_verilog(config, folder, target.verilog_family, resource_notes(config))
        console.print(f"{config.label}: {len(written['files'])} modules in {folder}", soft_wrap=True)


@click.command()
@board_option(default="ia420f", show_default=True)
@profile_option
@io_option
@click.option(
    "-o",
    "--output",
    default="build/project",
    show_default=True,
    type=click.Path(file_okay=False),
    help="Folder; each board gets one in it.",
)
@click.option("--floorplan", is_flag=True, help="Give the placer a region for each core, as a hint.")
@click.option(
    "--compare",
    "result",
    type=click.Path(dir_okay=False),
    help="Write nothing, but lay this result of a project's script beside the estimates.",
)
@reports_errors
def project(board, profile, io_format, output, floorplan, result):
    """Write a board's project for its vendor's tool, or compare what the tool reached with what was expected."""
    from spiccato_boards import find
    from spiccato_boards.results import read_result

    board = find(board)
    config = configuration(board, io_format, profile)
    if result is not None:
        _print_result(read_result(result), board, config)
        return
    folder = Path(output) / config.label
    with status(f"{config.label}: elaborating"):
        written = board.flow.write_project(board, folder, config, floorplan=floorplan)
    console.print(
        f"{config.label}: {len(written.files)} files in {folder}; there, with {board.flow.tool}:", soft_wrap=True
    )
    for command in written.commands:
        console.print(f"  {command}", soft_wrap=True)


@click.command()
@board_option(default="ulx3s", show_default=True)
@profile_option
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
def bitstream(board, profile, seeds, finish_all, output):
    """Build a board's bitstream with open tools, and check that it meets its clock."""
    from spiccato_boards import find
    from spiccato_boards.results import read_result

    board = find(board, profile)
    folder = Path(output) / board.config.label
    with status(f"{board.config.label}: synthesising, then {seeds} placements; a quarter of an hour or so"):
        built = board.flow.build_bitstream(
            board, folder, seeds=range(1, seeds + 1), finish_all=finish_all, on_step=progress_console.print
        )
    finished = [p for p in built.placements if p]
    print_table(
        (("seed", "right"), ("MHz", "right"), (f"{board.config.clock_mhz:g} MHz", "left")),
        [(p.seed, f"{p.fmax_mhz:.1f}", "met" if p.met else "NOT met") for p in finished],
    )
    _print_result(read_result(built.result), board, board.config)
    console.print(
        f"{sum(p.met for p in finished)} of {len(finished)} finished placements meet the clock; wrote {built.file}",
        soft_wrap=True,
    )


def _print_result(result, board, config):
    """Print what a tool reached beside what was expected."""
    from spiccato_boards.results import compare

    console.print(
        f"{result.target} of {config.label} with {result.tool} {result.tool_version}: timing "
        f"{'met' if result.clock['met'] else 'NOT met'}",
        soft_wrap=True,
    )
    print_counts(("", "reached", "expected", "device"), compare(result, board, config))


VERBS = (boards, verilog, project, bitstream)

"""The verb that tells what accelerators a board could have for a model."""

import shlex
from collections import Counter
from pathlib import Path

import click

from spiccato.compiler.fit import WEIGHT_FORMATS
from spiccato.config import Config
from spiccato.errors import SpiccatoError
from spiccato.files import check_file, write_whole
from spiccato.registry import BOARD_SUFFIX

from .arguments import choices_of, inputs_of, networks_of, numbers_of
from .options import (
    board_option,
    calibration_option,
    complete,
    io_option,
    json_option,
    models_argument,
    profiles_option,
    reading_options,
    seed_option,
    steps_option,
)
from .output import console, emit_json, print_origin, print_table, progress_bar, reports_errors

__all__ = ["VERBS"]

#: Blocks that are tried unless told otherwise: the board's own, half and twice of it.
_AROUND = (0.5, 1, 2)
_CORES, _BLOCK, _DEPTH, _CONTEXTS = (1, 12), (4, 64), (2, 1 << 16), (1, 1024)
#: What stands for as many words of weight memory as the weights take.
_LEAST = "least"


@click.command()
@models_argument(required=True, metavar="MODEL...")
@board_option(default="ia420f", show_default=True)
@click.option("--cores", default="1-12", show_default=True, metavar="N[,N...]", help="Cores, as 4,6 or 1-12.")
@click.option("--block", "blocks", metavar="N[,N...]", help="Block.  [default: the board's own, half and twice of it]")
@click.option(
    "--depth",
    "depths",
    default=_LEAST,
    show_default=True,
    metavar="N[,N...]",
    help=f"Words of weight memory; {_LEAST}: what the weights take, in whole memory blocks.",
)
@click.option(
    "--weights",
    metavar="FORMAT[,FORMAT...]",
    shell_complete=complete(*WEIGHT_FORMATS),
    help="Weight formats.  [default: all that the board's multipliers take]",
)
@click.option(
    "--contexts",
    default="1,16",
    show_default=True,
    metavar="N[,N...]",
    help="Contexts of every model that there shall be room for.",
)
@profiles_option
@click.option(
    "--share",
    type=click.IntRange(1, 100),
    default=85,
    show_default=True,
    help="Percent of the device's DSP and memory blocks that may be taken.",
)
@io_option
@calibration_option
@reading_options
@click.option(
    "--input",
    "inputs",
    type=click.Path(dir_okay=False),
    help="Inputs to measure errors with, of one model.  [default: as of estimate]",
)
@steps_option(help="Timesteps to measure errors over.  [default: what some seconds allow]")
@seed_option
@click.option("--workers", type=click.IntRange(1), help="Processes of this machine.  [default: one a processor]")
@click.option("--scheduler", metavar="ADDRESS", help="Dask scheduler that does the work instead: tcp://host:8786.")
@click.option(
    "-o",
    "--output",
    default="build/explore",
    show_default=True,
    type=click.Path(file_okay=False),
    help="Folder of points.json, points.csv, pareto.png, and of what is known already.",
)
@click.option(
    "--write",
    nargs=2,
    type=(int, click.Path(dir_okay=False)),
    metavar="POINT FILE",
    help=f"Write the board with the accelerator of this point to a file (*{BOARD_SUFFIX}).",
)
@json_option
@reports_errors
def explore(
    models,
    board,
    cores,
    blocks,
    depths,
    weights,
    contexts,
    profile,
    share,
    io_format,
    calibration,
    reading,
    inputs,
    steps,
    seed,
    workers,
    scheduler,
    output,
    write,
    as_json,
):
    """Tell what accelerators a board could have for MODEL, or for several that are loaded together. Resumes.

    MODEL: as for compile. Every combination of cores, block, weight depth, weight format, contexts and profile (several
    with commas) is predicted; nothing is simulated.
    """
    from spiccato_boards import find
    from spiccato_sim.analysis.cluster import cluster
    from spiccato_sim.analysis.estimate import default_steps
    from spiccato_sim.analysis.explore import explore
    from spiccato_sim.analysis.explore_files import write as write_files
    from spiccato_sim.analysis.points import Space

    target = find(board)
    own = target.config
    space = Space(
        profiles=[find(target, name).config.profile for name in (profile or own.profile).split(",")],
        cores=numbers_of("--cores", cores, *_CORES),
        blocks=numbers_of("--block", blocks, *_BLOCK, power=True)
        if blocks
        else [size for size in (int(factor * own.block) for factor in _AROUND) if _BLOCK[0] <= size <= _BLOCK[1]],
        depths=numbers_of("--depth", depths, *_DEPTH, words={_LEAST: None}),
        weights=choices_of("--weights", weights, own.weight_formats) if weights else own.weight_formats,
        contexts=numbers_of("--contexts", contexts, *_CONTEXTS),
    )
    if write is not None:
        number, path = write
        _check_write(number, path, len(space.points()))
    networks = networks_of(models, seed, calibration, reading)
    if inputs is not None and len(models) > 1:
        raise SpiccatoError(f"--input is for one model, not for {len(models)} ({', '.join(models)})")
    series = [
        inputs_of(model, network, inputs, steps or default_steps(network), seed)[1]
        for model, network in zip(models, networks)
    ]
    with progress_bar() as progress, cluster(scheduler, workers) as client:
        bars: dict[str, object] = {}

        def tell(what, done, total):
            bars[what] = bars[what] if what in bars else progress.add_task(what)
            progress.update(bars[what], completed=done, total=total)

        rows = explore(
            target,
            networks,
            series,
            space,
            client,
            io_format=io_format,
            share=share / 100,
            folder=output,
            on_progress=tell,
        )
    names = [network.name for network in networks]
    title = f"{', '.join(names)} on {target.name}"
    files = write_files(Path(output), rows, names, f"{title} ({target.title})")
    if as_json:
        emit_json(
            {
                "board": target.name,
                "models": names,
                "io_format": io_format,
                "clock_mhz": own.clock_mhz,
                "share": share / 100,
                "device": target.resources.counts,
                "files": [str(file) for file in files],
                "points": rows,
            }
        )
    else:
        for network in networks:
            print_origin(network)
        _print_points(rows, title, target, share, io_format)
        console.print(f"wrote {', '.join(map(str, files))}", soft_wrap=True)
    if write is not None:
        number, path = write
        _write(number, path, rows, board, models, as_json)
    if not any(row["fits"] for row in rows):
        raise SpiccatoError(f"{title}: no point fits {share} % of the device; {rows[0]['detail']}")


def _check_write(number, path, count):
    """Raise SpiccatoError if that cannot come to anything, before the work."""
    if not path.endswith(BOARD_SUFFIX):
        raise SpiccatoError(f"--write {number} {path}: a board's file ends in {BOARD_SUFFIX}")
    if not 0 <= number < count:
        raise SpiccatoError(f"--write {number} {path}: there are points 0 to {count - 1}")
    check_file(path)


def _write(number, path, rows, board, models, as_json):
    """Write a point's board, and tell how it is measured."""
    from spiccato_boards.derived import board_file

    row = rows[number]
    if not row["fits"]:
        raise SpiccatoError(f"--write {number} {path}: the point does not fit: {row['detail']}")
    write_whole(path, board_file(board, Config.from_dict(row["configuration"])).encode())
    if not as_json:
        contexts = f" --contexts {row['contexts']}" if row["contexts"] > 1 else ""
        command = f"spiccato sim {shlex.join(models)} --board {shlex.quote(path)} --weights {row['weights']}{contexts}"
        console.print(f"wrote {path}; to measure it: {command}", soft_wrap=True)


def _print_points(rows, title, board, share, io_format):
    """Print the front as a table, and what does not fit, counted."""
    front = [row for row in rows if row["pareto"]]
    fitting = sum(row["fits"] for row in rows)
    console.print(
        f"{title} ({board.title}), {io_format} streams: {len(rows)} points, {fitting} fit {share} % of the device's "
        f"DSP and memory blocks, {len(front)} of these are beaten by no other:",
        soft_wrap=True,
    )
    kinds = ("dsp", *board.resources.memory)
    titles = ["point", "size", "depth", "weights", "spaced", "us", "interval", "us", "contexts"]
    titles += [f"{kind.upper()} %" for kind in kinds] + ["error"]
    for profile in dict.fromkeys(row["profile"] for row in front):
        console.print(f"{profile} profile:")
        own = [row for row in front if row["profile"] == profile]
        print_table(
            [(name, "left" if name == "weights" else "right") for name in titles],
            [
                (
                    row["number"],
                    f"{row['cores']} x {row['block']}",
                    row["weight_depth"],
                    row["weights"],
                    *(_each(row[key], form) for key, form in _FIGURES.items()),
                    row["contexts_that_fit"],
                    *(f"{100 * row['shares'][kind]:.0f}" for kind in kinds),
                    _each(row["rms_errors"], ".1e"),
                )
                for row in sorted(own, key=lambda row: (max(row["spaced_cycles"]), row["number"]))
            ],
            frame=None,
            wide=True,
        )
    reasons = Counter(" and ".join(row["reasons"]) for row in rows if not row["fits"])
    if reasons:
        counted = "; ".join(f"{reason}: {count}" for reason, count in sorted(reasons.items()))
        console.print(f"points that do not fit, by what they lack: {counted}", soft_wrap=True)
    console.print(
        "size: cores x block; spaced latency and initiation interval: cycles, and us at the board's "
        f"{board.config.clock_mhz:g} MHz, whatever the size; contexts that there is room for, of every model; error: "
        "RMS against float64, of the arithmetic alone",
        soft_wrap=True,
    )
    console.print(
        "all of this is predicted, nothing was simulated: the same command with --write POINT FILE writes a board that "
        "spiccato sim measures",
        soft_wrap=True,
    )


#: Figures of a model in the table, and their format.
_FIGURES = {"spaced_cycles": "d", "spaced_us": ".3f", "interval_cycles": "d", "interval_us": ".3f"}


def _each(values, form):
    """One figure of every model."""
    return "/".join(format(value, form) for value in values)


VERBS = (explore,)

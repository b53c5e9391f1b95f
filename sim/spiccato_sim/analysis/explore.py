"""What accelerators a board could have for some models: cores, block, depth, format, contexts and profile, all of them.

Each point of the space is predicted, with nothing simulated: latency and interval by the scheduler, contexts by the
state memories, blocks of the device by the count on the elaborated design, errors by the virtual machine, which depend
on columns and weight format only. Points that are known stay in files, under a digest of the code, the models and the
board, so that an interrupted run goes on.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

import spiccato_boards
from spiccato.compiler import compile_network
from spiccato.config import Config
from spiccato.errors import SpiccatoError
from spiccato.network import Network
from spiccato_boards import Board

from .. import analysis, models
from ..benches.runner import GENERATOR
from .accuracy import as_streamed
from .cluster import run_all
from .estimate import Truth, measure_errors
from .kept import Lines, arrays_digest, code_digest, digest, network_digest
from .points import Device, Outcome, Point, Space, evaluate
from .search import SHARE

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["CODE", "explore", "pareto"]

#: Changes with whatever decides a point.
CODE = digest(
    GENERATOR,
    code_digest(models),
    code_digest(spiccato_boards, "board", "resources"),
    code_digest(analysis, "accuracy", "estimate", "explore", "points", "shapes"),
)


def _evaluated(points, device, networks, share):
    """What a worker runs of :func:`evaluate`."""
    return CODE, evaluate(points, device, networks, share)


def _rms_error(number: int, config: Config, weights: str, networks: Sequence[Network], inputs: Sequence[NDArray]):
    """What a worker runs: RMS error against float64 of a network, before outputs are rounded to the streams' format."""
    network, xs = networks[number], inputs[number]
    truth = Truth(network, xs, as_streamed(xs, config.io_format))
    return CODE, measure_errors(compile_network(network, config, weight_format=weights), truth)["rms_error"]


def pareto(objectives: ArrayLike) -> NDArray[np.bool_]:
    """Which points no other one beats: is nowhere worse than and somewhere better.

    Parameters
    ----------
    objectives : float array (points, figures)
        Less is better.

    Returns
    -------
    bool array (points,)
    """
    values = np.asarray(objectives, dtype=np.float64)
    return np.array(
        [not np.any(np.all(values <= own, axis=1) & np.any(values < own, axis=1)) for own in values], dtype=bool
    )


def explore(
    board: Board,
    networks: Sequence[Network],
    inputs: Sequence[NDArray],
    space: Space,
    client: "Client",
    *,
    io_format: str = "bfloat16",
    share: float = SHARE,
    folder: Path | str = "build/explore",
    on_progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> list[dict[str, Any]]:
    """Predict all points of a space for a board.

    Parameters
    ----------
    board : Board
        Its configuration gives what the space does not: clock, and the least of the other memories.
    networks : sequence of Network
        Loaded together; of different names.
    inputs : sequence of float array (steps, input_size)
        Of each network, as given: what errors are measured with.
    space : Space
    client : distributed.Client
        Who does the work.
    io_format : "bfloat16" or "float32"
    share : float, 0 to 1
        Of the device's DSP and memory blocks that may be taken.
    folder : path
        Where results stay.
    on_progress : function
        Called with what is being done, how much of it is done, and how much there is.

    Returns
    -------
    list of dict
        A row for each point, in the space's order, as ``points.json`` has them (docs/cli.md).

    Raises
    ------
    SpiccatoError
        If two networks have the same name, or :func:`.cluster.run_all` does.
    ModelError
        If an input is beyond the streams' format.
    """
    names = [network.name for network in networks]
    if len(set(names)) < len(names):
        raise SpiccatoError(f"models {', '.join(names)}: expected different names")
    for xs in inputs:
        as_streamed(xs, io_format)
    device, points = Device.of(board, io_format), space.points()
    outcomes = _outcomes(points, device, networks, share, client, Path(folder), on_progress)
    errors = _errors(
        [outcomes[point] for point in points],
        networks,
        inputs,
        io_format,
        device.config.multiplier,
        client,
        Path(folder),
        on_progress,
    )
    rows = [_row(number, outcomes[point], device, errors) for number, point in enumerate(points)]
    _mark_front(rows)
    return rows


def _outcomes(points, device, networks, share, client, folder, on_progress) -> dict[Point, Outcome]:
    known = [network_digest(network) for network in networks]
    facts = device.config.to_dict(), device.resources.counts, share
    lines = Lines(folder / "kept" / f"points_{digest(CODE, known, facts)}.jsonl")
    found = {outcome.point: outcome for outcome in map(Outcome.from_dict, lines.read())}
    missing: dict[tuple, list[Point]] = {}
    for point in points:
        if point not in found:
            missing.setdefault(point.shape, []).append(point)

    def tell():
        on_progress("points", sum(point in found for point in points), len(points))

    tell()
    tasks = [(group,) for group in missing.values()]

    def keep(_, outcomes):
        lines.append(map(dataclasses.asdict, outcomes))
        found.update({outcome.point: outcome for outcome in outcomes})
        tell()

    run_all(client, _evaluated, tasks, (device, list(networks), share), CODE, keep)
    return found


def _errors(
    outcomes, networks, inputs, io_format, multiplier, client, folder, on_progress
) -> dict[tuple[int, str], list[float]]:
    """RMS errors of the networks for all columns and weight formats of points that fit; rows change no bit."""
    configs: dict[tuple[int, str], Config] = {}
    for outcome in outcomes:
        if outcome.fits:
            configs.setdefault((outcome.config.columns, outcome.point.weights), outcome.config)
    facts = [
        digest(CODE, network_digest(network), arrays_digest({"inputs": xs}), io_format, multiplier)
        for network, xs in zip(networks, inputs)
    ]
    lines = [Lines(folder / "kept" / f"errors_{key}.jsonl") for key in facts]
    found = {
        (number, line["columns"], line["weights"]): line["rms_error"]
        for number, own in enumerate(lines)
        for line in own.read()
    }
    wanted = [(number, *key) for number in range(len(networks)) for key in configs]

    def tell():
        on_progress("errors", sum(key in found for key in wanted), len(wanted))

    def keep(task, error):
        number, config, form = task
        found[number, config.columns, form] = error
        lines[number].append([{"columns": config.columns, "weights": form, "rms_error": error}])
        tell()

    tell()
    tasks = [
        (number, configs[columns, form], form)
        for number, columns, form in wanted
        if (number, columns, form) not in found
    ]
    run_all(client, _rms_error, tasks, (list(networks), list(inputs)), CODE, keep)
    return {key: [found[number, *key] for number in range(len(networks))] for key in configs}


def _row(number: int, outcome: Outcome, device: Device, errors) -> dict[str, Any]:
    """One point as plain data."""
    point, config = outcome.point, outcome.config
    clock = device.config.clock_mhz
    return {
        "number": number,
        "fits": outcome.fits,
        "pareto": False,
        "profile": point.profile,
        "cores": point.cores,
        "block": point.block,
        "weight_depth": point.weight_depth if config is None else config.weight_depth,
        "weights": point.weights,
        "contexts": point.contexts,
        "reasons": list(outcome.reasons),
        "detail": outcome.detail,
        "spaced_cycles": list(outcome.spaced_cycles),
        "spaced_us": [cycles / clock for cycles in outcome.spaced_cycles],
        "interval_cycles": list(outcome.interval_cycles),
        "interval_us": [cycles / clock for cycles in outcome.interval_cycles],
        "contexts_that_fit": outcome.contexts_that_fit,
        "resources": outcome.resources,
        "shares": {kind: count / device.resources.counts[kind] for kind, count in outcome.resources.items()},
        "rms_errors": [] if config is None else errors[config.columns, point.weights],
        "configuration": None if config is None else config.to_dict(),
    }


def _mark_front(rows: list[dict[str, Any]]) -> None:
    """Mark what no other point of the same profile beats: what a profile buys is clock, which is not predicted."""
    for profile in dict.fromkeys(row["profile"] for row in rows):
        own = [row for row in rows if row["fits"] and row["profile"] == profile]
        figures = [
            [
                *row["spaced_cycles"],
                *row["interval_cycles"],
                -row["contexts_that_fit"],
                *row["resources"].values(),
                *row["rms_errors"],
            ]
            for row in own
        ]
        for row, best in zip(own, pareto(figures)):
            row["pareto"] = bool(best)

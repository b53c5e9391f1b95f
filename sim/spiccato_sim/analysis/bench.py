"""The benchmark: every model on every board, on the RTL, beside what the closed product publishes.

Each row is one model on one configuration in one weight format: on the board's own one or, where that has not the
epilogues of the model's layers, on the first that has. Its cycles are measured on the RTL in a simulator and compared,
together with all output bits, with what was predicted; its errors are measured with the bit-exact virtual machine. In
profiles other than the board's own, one row a board is measured, that of the smallest model; the others are
predictions, and say so. Rows that were measured stay in ``rows`` and ``errors`` under the output folder, each under a
digest of everything that decides it (Verilog, program, models), so that a benchmark that was
interrupted goes on where it was.
"""

import concurrent.futures
import contextlib
import multiprocessing
from dataclasses import dataclass
from pathlib import Path

import rich.progress

from spiccato.compiler import compile_network
from spiccato.compiler.fit import missing_epilogues, suited, weight_formats
from spiccato.compiler.layout import Layout
from spiccato.compiler.lower import lower
from spiccato_boards import Board, find

from ..models import zoo
from . import onnx_runtime, plots, published
from .measure import Task, know, measure, reference, search_board
from .requirements import REQUIRED, required_interval

__all__ = ["FAST", "Benchmark", "SPACED", "STREAMED", "ERROR_STEPS", "run_bench"]

#: A board's configuration with 9x9 multipliers.
FAST = "fast"
#: The board's own configuration, the one with 9x9 multipliers if it has one, its own with contexts that take turns, in
#: other profiles, and the best that the search found.
KINDS = ("preset", FAST, "contexts", "profile", "best")

#: Board, model and how many contexts of it take turns: the spaced latency is that of one, whichever ran before.
CONTEXTS = ("ia420f", "lstm_small", 16)

#: Inferences that come alone, and inferences that come as fast as the accelerator takes them.
SPACED, STREAMED = 4, 5
#: Timesteps over which errors are measured.
ERROR_STEPS = 300
#: At most this many simulations at a time: each has a simulator of some hundred megabytes to build and to
#: run.
WORKERS = 2


@dataclass(frozen=True)
class Benchmark:
    """What :func:`run_bench` found.

    Attributes
    ----------
    rows : list of dict
        As written to ``latency.json``. Cycles are of the RTL unless their name says predicted, required or
        bound. A row whose ``measured`` is false has predicted cycles only, and times that follow from these; one that
        does not fit tells the reason and has None for figures.
    failures : list of str
        One line for each row that is not bit-exact or not as fast as predicted, saying what differs; and for each row
        of a board's own configuration, in whatever profile, that is no faster than what is published.
    files : list of Path
        What was written.
    """

    rows: list
    failures: list
    files: list

    @property
    def passed(self):
        return not self.failures


def run_bench(
    boards,
    networks,
    *,
    out="build/bench",
    build_folder="build",
    spaced=SPACED,
    streamed=STREAMED,
    error_steps=ERROR_STEPS,
    best=True,
    profile=None,
    console=None,
):
    """Run the benchmark and write its results.

    Parameters
    ----------
    boards : sequence of str or Board
        Names, or files of boards.
    networks : sequence of str or Network
        Names are those that :func:`spiccato_sim.models.zoo.resolve` knows.
    out : path
        For ``latency.json``, ``latency.md``, the pictures, and what was measured already.
    build_folder : path
        Where simulators are kept.
    spaced, streamed, error_steps : int
        Timesteps of each kind in the simulation, and for the errors.
    best : bool
        Also search each board's best configuration, and measure it.
    profile : str, optional
        The one to measure. Default: each board's own.
    console : rich.console.Console or None
        Where to show progress.

    Returns
    -------
    Benchmark

    Raises
    ------
    SpiccatoError
        If a board, model or profile is unknown.
    """
    files = [board for board in boards if not isinstance(board, Board)]
    boards = [find(board, profile) for board in boards]
    networks = [zoo.resolve(network) if isinstance(network, str) else network for network in networks]
    out = Path(out).absolute()
    for folder in ("rows", "errors"):
        (out / folder).mkdir(parents=True, exist_ok=True)

    with contextlib.ExitStack() as stack:
        bar = stack.enter_context(_progress(console))
        # In turn, and before anything else runs.
        shown = bar.add_task("ONNX Runtime", total=len(networks))
        otherwise = {}
        for network in networks:
            otherwise[network.name] = onnx_runtime.timed(network, zoo.inputs(network, error_steps))
            bar.advance(shown)
        # A fresh process for each row gives all memory back.
        pool = stack.enter_context(
            concurrent.futures.ProcessPoolExecutor(
                WORKERS,
                multiprocessing.get_context("spawn"),
                max_tasks_per_child=1,
                initializer=know,
                initargs=(files,),
            )
        )
        # After an error or an interrupt, what has not begun is left.
        stack.callback(pool.shutdown, cancel_futures=True)
        shown = bar.add_task("benchmark", total=0)
        futures = {}

        def submit(kind, configs):
            # A model on all boards before the next model, so that simulators of different boards are built
            # together.
            for network in networks:
                for board, config in configs(network):
                    for weight_format in _formats(network, config):
                        add(Task(kind, board, network, config, weight_format, spaced, streamed, error_steps, out))

        def add(task):
            futures[task] = pool.submit(measure, task, build_folder)
            futures[task].add_done_callback(lambda _: bar.advance(shown))
            bar.update(shown, total=len(futures))

        # Networks whose epilogues the board's own configuration has: the search looks for what is best beside that.
        computed = {
            board.name: [network for network in networks if _own(board, network).name == board.name] for board in boards
        }
        searches = {
            board.name: pool.submit(search_board, board, computed[board.name])
            for board in boards
            if best and computed[board.name]
        }
        # First, since every board's rows need them.
        for network in networks:
            pool.submit(reference, network, error_steps, out)
        submit("preset", lambda network: [(board, _own(board, network).config) for board in boards])
        submit(FAST, lambda network: [(board, config) for board in boards for config in _fast(board, network)])
        board_name, model_name, contexts = CONTEXTS
        for network in networks:
            for board in boards:
                if (board.name, network.name) == (board_name, model_name):
                    config = board.config
                    add(Task("contexts", board, network, config, "auto", 1, 4, 0, out, contexts=contexts))
        # What is computed is the same in every profile, and so are its errors.
        smallest = {
            board.name: min(computed[board.name] or networks, key=lambda network: network.parameters)
            for board in boards
        }
        for network in networks:
            for board in boards:
                for config in _in_other_profiles(_own(board, network)):
                    is_measured = network is smallest[board.name]
                    add(Task("profile", board, network, config, "auto", spaced, streamed, 0, out, is_measured))
        found = {name: future.result() for name, future in searches.items()}
        overall = [(board, found[board.name].overall) for board in boards if board.name in found]
        # The board's own configuration is measured already.
        submit(
            "best",
            lambda network: [
                (board, one.config)
                for board, one in overall
                if one is not None and one.config.digest != board.config.digest and network in computed[board.name]
            ],
        )
        measured = {task: future.result() for task, future in futures.items()}

    rows = [_row(task, result, otherwise[task.network.name]) for task, result in measured.items()]
    rows += [row | {"kind": "best"} for row in rows if row["kind"] == "preset" and _is_best(row, found)]
    order = {
        name: number
        for number, name in enumerate(
            [*KINDS, *(board.name for board in boards), *(network.name for network in networks)]
        )
    }
    rows.sort(
        key=lambda row: (
            order[row["kind"]],
            order[row["board"]],
            row["profile"],
            order[row["model"]],
            row["weight_format"],
        )
    )
    failures = [
        f"{row['board']} {row['configuration']} {row['profile']} {row['model']} {row['weight_format']}: {failure}"
        for row in rows
        for failure in row["failures"]
    ]
    gantts = {
        board.name: (network.name, compile_network(network, _own(board, network).config))
        for board in boards
        if (network := _shown_network(board, networks, rows)) is not None
    }
    files = plots.write(out, rows, found, gantts, {board.name: board.title for board in boards})
    return Benchmark(rows, failures, files)


def _progress(console):
    return rich.progress.Progress(
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TimeElapsedColumn(),
        console=console,
        disable=console is None,
    )


def _own(board, network):
    """The board with its configuration for a network's kinds of layers: this one, if it has their epilogues."""
    variants = board.variants()
    first = suited(lower(network), [board.config, *(one.config for one in variants.values())])[0]
    return variants.get(first.name, board)


def _fast(board, network):
    """The board's configuration of 9x9 multipliers, if it has one, and this the epilogues of the network's layers."""
    config = board.configurations.get(FAST)
    return [] if config is None or missing_epilogues(Layout(lower(network), config)) else [config]


def _formats(network, config):
    """Weight formats worth a row: what "auto" gives, and 8 bits if that is something else."""
    layout = Layout(lower(network), config)
    narrowest = config.weight_formats[-1]
    automatic, narrow = (weight_formats(layout, form) for form in ("auto", narrowest))
    return ["auto"] if automatic == narrow else ["auto", narrowest]


def _in_other_profiles(board):
    """The board's configuration in the profiles of its family that it is not in."""
    return [board.in_profile(name).config for name in board.family.profiles if name != board.config.profile]


def _shown_network(board, networks, rows):
    """The network whose schedule is drawn for a board: the second that fits, or the only one."""
    fitting = [row["model"] for row in rows if row["board"] == board.name and row["kind"] == "preset" and row["fits"]]
    names = list(dict.fromkeys(fitting))[:2]
    return next((network for network in networks if names and network.name == names[-1]), None)


def _is_best(row, found):
    """Whether a row of a preset is also the row of its board's best configuration."""
    overall = found[row["board"]].overall if row["board"] in found else None
    return overall is not None and overall.config.name == row["configuration"]


def _row(task, result, otherwise):
    """One row of the results, from what was measured, here and elsewhere, and what is published and required."""
    config, name, board = task.config, task.network.name, task.board.name
    try:
        round_trip = published.round_trip_us(task.network.input_size * config.io_bits // 8)
    except ValueError:
        round_trip = None
    theirs = published.latency(board, name)
    # Of the board's own configuration, with its number of multipliers.
    own = task.kind != "best"
    where = config.name if task.kind == FAST else board
    required = REQUIRED.get(config.profile, {}).get(where, {}).get(name) if own else None
    of = "" if result["measured"] else "predicted_"
    cycles, interval = (result[f"{of}{figure}"] for figure in ("spaced_cycles", "initiation_interval_cycles"))
    compute_us = cycles / config.clock_mhz if cycles else None
    interval_allowed = met = None
    if required and cycles:
        met = cycles <= required.spaced_cycles
        # Set for the presets only: with twice the columns more of each tile is padding, which the bound does not know.
        if task.kind != FAST:
            interval_allowed = required_interval(cycles, result["full_mac_bound_cycles"])
            met = met and interval <= interval_allowed
    known = theirs is not None and round_trip is not None
    published_compute_us = theirs.mean_us - round_trip if known else None
    failures = list(result["failures"])
    if own and known and compute_us and compute_us >= published_compute_us:
        failures.append(f"{compute_us:.3f} us, no faster than the published {published_compute_us:.3f} us")
    return {
        "kind": task.kind,
        "board": board,
        "configuration": config.name,
        "profile": config.profile,
        "cores": config.cores,
        "block": config.block,
        "columns": config.columns,
        "size": config.size,
        "contexts": task.contexts,
        "model": name,
        "clock_mhz": config.clock_mhz,
        **result,
        "failures": failures,
        "compute_us": compute_us,
        "round_trip_us": round_trip,
        "total_us": compute_us + round_trip if compute_us and round_trip else None,
        "published_total_us": theirs.mean_us if theirs else None,
        "published_compute_us": published_compute_us,
        "published_p99_us": theirs.p99_us if theirs else None,
        "published_version": theirs.version if theirs else None,
        "onnx_runtime_median_us": otherwise.median_us,
        "onnx_runtime_p99_us": otherwise.p99_us,
        "required_cycles": required.spaced_cycles if required else None,
        "excellent_cycles": required.excellent_cycles if required else None,
        "required_initiation_interval_cycles": interval_allowed,
        "requirement_met": met,
    }

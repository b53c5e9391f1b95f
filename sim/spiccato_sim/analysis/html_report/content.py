"""What the page on one model says: all figures, worked out from the program and the models. Draws nothing."""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from spiccato.compiler import quantised_network
from spiccato.registry import configuration
from spiccato.rtl.accelerator import Timing
from spiccato_boards import boards

from ...models import zoo
from .. import published
from ..accuracy import Accuracy, accuracy, matrix_errors
from ..memory_map import memory_map
from ..trace import KIND_COLOURS, Trace, trace
from .instructions import instructions
from .tables import (
    board_table,
    comparison_table,
    device_table,
    error_table,
    inputs_table,
    latency_table,
    layer_error_table,
    layer_table,
    map_table,
    matrix_table,
    memory_table,
    model_table,
    phases_table,
    versions_table,
)

__all__ = ["Comparison", "Content", "content"]


@dataclass(frozen=True)
class Comparison:
    """The program and the published product on the same board, in microseconds.

    Attributes
    ----------
    model : str, the benchmark model of this shape
    round_trip_us : float, published PCIe round trip without compute, for this many input bytes
    compute_us, total_us : float, the spaced latency at the target clock, and with the round trip
    published_compute_us, published_total_us, published_p99_us : float
    version : str, of the published documentation
    """

    model: str
    round_trip_us: float
    compute_us: float
    total_us: float
    published_compute_us: float
    published_total_us: float
    published_p99_us: float
    version: str


@dataclass(frozen=True, eq=False)
class Content:
    """Everything on the page.

    Attributes
    ----------
    title : str
    board : spiccato_boards.Board or None, if the configuration is no board's
    program, network : as given
    trace : Trace
    phases : list of (name, kind, cycles)
        What the spaced latency is made of; kinds as in ``KIND_COLOURS``, or "path" for the pipeline before the first
        and after the last issue word that the output waits for.
    words_by_kind : dict of kind to issue words of one inference
    comparison : Comparison or None
    accuracy : Accuracy
    matrices : list of MatrixError, empty without the network
    regions : list of Region
    instructions : dict of columns for :attr:`trace`, in words
    tables : dict of Table
    figures : dict, the page's main figures, as plain data
    commands : list of (what for, command line)
    texts : dict of texts that depend on what is compared
    notes : tuple of str, what a user should know: the program's own notes and those of these inputs
    """

    title: str
    board: object
    program: object
    network: object
    trace: Trace
    phases: list
    words_by_kind: dict
    comparison: Comparison | None
    accuracy: Accuracy
    matrices: list
    regions: list
    instructions: dict
    tables: dict
    figures: dict
    commands: list
    texts: dict
    notes: tuple


def content(program, network, xs, *, inputs, commands=(), track=iter):
    """Work out the page.

    Parameters
    ----------
    program : spiccato.compiler.Program
        With one model.
    network : spiccato.network.Network or None
        What it was compiled from.
    xs : float array (steps, input_size)
    inputs : str
        What ``xs`` are, in words.
    commands : sequence of (what for, command line)
    track : function, as for :func:`..accuracy.accuracy`

    Returns
    -------
    Content

    Raises
    ------
    SpiccatoError
        As :func:`..accuracy.accuracy`.
    """
    config = program.config
    board = _board(config)
    compiled = program.model
    model = network or quantised_network(compiled)
    words = trace(compiled)
    errors = accuracy(program, network, xs, track=track)
    matrices = [] if network is None else matrix_errors(compiled, network)
    comparison = _comparison(compiled, model, board)
    counts = {kind: int((words.kinds == kind).sum()) for kind in KIND_COLOURS}
    # A program that was compiled with calibration inputs may have said the same of them.
    notes = tuple(dict.fromkeys([*compiled.notes, *errors.notes]))
    figures = _figures(program, model, board, counts, errors, len(xs)) | {"notes": list(notes)}
    tables = {
        "model": model_table(compiled, model),
        "layers": layer_table(compiled),
        "board": board_table(config, board),
        "latency": latency_table(compiled),
        "memory": memory_table(program),
        "map": map_table(program),
        "errors": error_table(compiled, errors),
        "layer_errors": layer_error_table(compiled, errors),
    }
    if board is not None:
        tables["device"] = device_table(config, board)
    if comparison is not None:
        tables["comparison"] = comparison_table(config, comparison)
    if matrices:
        tables["matrices"] = matrix_table(compiled, matrices)
    phases = _phases(compiled, words)
    tables |= {
        "phases": phases_table(compiled, phases),
        "inputs": inputs_table(config, xs, inputs, errors.flags),
        "versions": versions_table(program),
    }
    return Content(
        title=f"{compiled.name} on {_title(config, board)}",
        board=board,
        program=program,
        network=network,
        trace=words,
        phases=phases,
        words_by_kind=counts,
        comparison=comparison,
        accuracy=errors,
        matrices=matrices,
        regions=memory_map(program),
        instructions=instructions(compiled, words),
        tables=tables,
        figures=figures,
        commands=list(commands),
        texts=_texts(compiled, model, board, comparison, network),
        notes=notes,
    )


def _board(config):
    """The board whose own configuration this is, whatever the stream format and profile; None if there is none."""
    board = boards().get(config.name)
    if board is None or config.profile not in board.family.profiles:
        return None
    own = configuration(board, config.io_format, config.profile)
    return board if own.digest == config.digest else None


def _title(config, board):
    """The board's, with the configuration's name if that is another one than the default."""
    if board is None:
        return config.name
    return board.title if config.name == board.card else f"{board.title} ({config.name})"


def _comparison(compiled, model, board):
    benchmark = zoo.benchmark_like(model)
    if board is None or benchmark is None:
        return None
    theirs = published.latency(board.card, benchmark.name)
    if theirs is None:
        return None
    compute_us = compiled.spaced_latency / compiled.config.clock_mhz
    round_trip_us = published.round_trip_us(compiled.input_size * compiled.config.io_bits // 8)
    published_us = published.compute_us(board.card, benchmark.name, compiled.input_size)
    return Comparison(
        benchmark.name,
        round_trip_us,
        compute_us,
        compute_us + round_trip_us,
        published_us,
        theirs.mean_us,
        theirs.p99_us,
        theirs.version,
    )


def _phases(compiled, words):
    """What the spaced latency is made of: (name, kind, cycles), none of 0 cycles."""
    last = np.flatnonzero(words.fields["output"])[-1]
    until = Counter(words.kinds[: last + 1])
    beats = words.fields["output_beats"][last]
    timing = Timing(compiled.config)
    phases = [
        ("from the first input beat to the first issue word", "path", int(words.cycles[0])),
        ("issue words of input matrices, which the output waits for", "input", until["input"]),
        ("issue words of the linear layer, likewise", "linear", until["linear"]),
        ("recurrent issue words in between", "recurrent", until["recurrent"]),
        ("idle issue words in between", "idle", until["idle"]),
        ("from the last issue word to the first beat of its output", "path", timing.output - 1),
        ("further beats of that output", "path", int(beats)),
    ]
    return [phase for phase in phases if phase[2]]


def _figures(program, model, board, counts, errors, steps):
    config, compiled = program.config, program.model
    words = sum(counts.values())
    return {
        "model": compiled.name,
        "parameters": model.parameters,
        "board": board.name if board else None,
        "configuration": config.to_dict(),
        "weight_formats": list(compiled.weight_formats),
        "program_digest": program.digest,
        "clock_mhz": config.clock_mhz,
        "spaced_latency_cycles": compiled.spaced_latency,
        "spaced_latency_us": compiled.spaced_latency / config.clock_mhz,
        "initiation_interval_cycles": compiled.initiation_interval,
        "initiation_interval_us": compiled.initiation_interval / config.clock_mhz,
        "critical_mac_bound_cycles": compiled.critical_mac_bound,
        "full_mac_bound_cycles": compiled.full_mac_bound,
        "issue_words_busy": words - counts["idle"],
        "issue_words": words,
        "memory_use": {memory: [used, capacity] for memory, used, capacity, _ in program.memory_use()},
        "steps": steps,
        "rms_error_seen": errors.seen.rms,
        "rms_error_sent": errors.sent.rms,
        "rms_error_exact": errors.exact.rms,
        "rms_error_weights": errors.weights.rms if errors.weights else None,
        "rms_error_bfloat16": errors.bfloat16.rms if errors.bfloat16 else None,
    }


def _texts(compiled, model, board, comparison, network):
    texts = {"reference": "float64 arithmetic with the network's own weights"}
    if network is None:
        texts["reference"] = "float64 arithmetic with the weights that are in the program, already rounded"
    if comparison is None:
        benchmark = zoo.benchmark_like(model)
        if benchmark is None:
            texts["published"] = (
                "No latency was published for a network of this shape, and none is made up here: "
                "there is nothing to compare with but the bound of the multipliers."
            )
        else:
            where = board.title if board else f"the configuration {compiled.config.name}"
            texts["published"] = f"No latency of the published product is known for {benchmark.name} on {where}."
    return texts

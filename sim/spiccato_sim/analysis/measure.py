"""One row of the benchmark, measured: in a process of its own, and kept under a digest of all that decides it."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spiccato import layers
from spiccato.compiler import compile_program
from spiccato.errors import FitError
from spiccato_boards import Board, find

from .. import benches, models
from ..benches import runner
from ..benches.round_robin import round_robin
from ..benches.simulate import simulate
from ..benches.simulators import SimulationError
from ..models import zoo
from ..models.bfloat16 import BFloat16Pipeline
from ..models.reference import Reference
from ..models.timeline import Packet, Timeline
from ..models.vm import VirtualMachine
from .accuracy import rms
from .estimate import format_name
from .kept import arrays_digest, code_digest, digest, kept, network_digest
from .search import Found, own_latencies, search

__all__ = ["Searched", "Task", "know", "measure", "reference", "search_board"]


@dataclass(frozen=True)
class Searched:
    """A board's search: the configuration that is best beside its own one, and the best for each network.

    ``each`` has one for each network that fits anything, by name.
    """

    overall: Found | None
    each: dict


@dataclass(frozen=True, eq=False)
class Task:
    """One row, on a board's own configuration or another one: to measure, or to predict only.

    With no ``error_steps`` it has no errors. Of several ``contexts``, which take turns, ``spaced`` and ``streamed`` are
    rounds.
    """

    kind: str
    board: Board
    network: object
    config: object
    weight_format: str
    spaced: int
    streamed: int
    error_steps: int
    out: Path
    measured: bool = True
    contexts: int = 1


def know(named):
    """Load the boards that are in files, before a task that has one of them arrives."""
    for board in named:
        find(board)


def search_board(board, networks):
    """The best configurations of a board, for all networks and for each: :class:`Searched`."""
    each = {network.name: found for network in networks if (found := search(board, [network])) is not None}
    return Searched(search(board, networks, beside=own_latencies(board, networks)), each)


def measure(task, build_folder):
    """Measure one row, or find what was measured before, or predict it."""
    result: dict[str, Any] = dict.fromkeys(
        (
            "spaced_cycles",
            "predicted_spaced_cycles",
            "initiation_interval_cycles",
            "predicted_initiation_interval_cycles",
            "mac_bound_cycles",
            "full_mac_bound_cycles",
            "rms_error",
            "rms_error_bf16",
            "bit_exact",
        )
    )
    result |= {"measured": task.measured, "failures": []}
    try:
        program = compile_program(
            [task.network], task.config, contexts=task.contexts, weight_formats=[task.weight_format]
        )
    except FitError as error:
        return result | {"weight_format": task.weight_format, "fits": False, "reason": str(error)}
    model = program.model
    result |= {
        "weight_format": format_name(model.weight_formats),
        "fits": True,
        "reason": None,
        "predicted_spaced_cycles": model.spaced_latency,
        "predicted_initiation_interval_cycles": model.initiation_interval,
        "mac_bound_cycles": model.critical_mac_bound,
        "full_mac_bound_cycles": model.full_mac_bound,
    }
    if task.error_steps:
        result |= _errors(task)
    return result | _on_rtl(task, program, build_folder) if task.measured else result


def _on_rtl(task, program, build_folder):
    """Cycles and bit-exactness, from the RTL."""
    xs = zoo.inputs(task.network, task.spaced + task.streamed)
    try:
        build = runner.build(task.config, folder=build_folder)
        machine = VirtualMachine(program)
        key = digest(
            build.side_car["files"],
            program.digest,
            task.spaced,
            Timeline(program).stream([Packet()] * task.streamed),
            [machine.step(x).tolist() for x in xs],
            code_digest(benches, "simulate", "round_robin", "traffic", "streams", "tb_accelerator", "device"),
        )
        del machine
        return kept(
            task.out / "rows" / f"{_name(task)}_{key}.json", lambda: _simulated(task, program, xs, build_folder)
        )
    except SimulationError as error:
        return {"bit_exact": False, "failures": [str(error)]}


def _simulated(task, program, xs, build_folder):
    if task.contexts > 1:
        return _taking_turns(round_robin(program, [xs], spaced=task.spaced, build_folder=build_folder))
    comparison = simulate(program, xs, spaced=task.spaced, build_folder=build_folder)
    return {
        # All are the same, or it is a failure.
        "spaced_cycles": max(comparison.spaced_cycles),
        "initiation_interval_cycles": comparison.initiation_interval,
        "bit_exact": comparison.bit_exact,
        "failures": comparison.failures,
    }


def _taking_turns(found):
    return {
        # All contexts' are the same, or it is a failure.
        "spaced_cycles": max(max(context.spaced) for context in found.contexts),
        "initiation_interval_cycles": max(max(context.intervals) for context in found.contexts),
        "bit_exact": found.bit_exact,
        "failures": found.failures,
    }


def _errors(task):
    """RMS errors against float64 of the integer models with float32 outputs, and of the bfloat16 pipeline."""
    program = compile_program(
        [task.network], dataclasses.replace(task.config, io_format="float32"), weight_formats=[task.weight_format]
    )
    exact = reference(task.network, task.error_steps, task.out)
    xs = zoo.inputs(task.network, task.error_steps)
    key = digest(program.digest, task.error_steps, runner.GENERATOR, _MODELS)
    error = kept(
        task.out / "errors" / f"{_name(task)}_{key}.json",
        lambda: {"rms_error": rms(VirtualMachine(program).run(xs) - exact["outputs"])},
    )
    return error | {"rms_error_bf16": exact["rms_error_bf16"]}


def reference(network, steps, out):
    """Outputs in float64, and the RMS error of the bfloat16 pipeline: the same for every board."""
    xs = zoo.inputs(network, steps)
    key = digest(network_digest(network), arrays_digest({"inputs": xs}), _MODELS)

    def computed():
        exact = Reference(network).run(xs)
        return {"outputs": exact.tolist(), "rms_error_bf16": rms(BFloat16Pipeline(network).run(xs) - exact)}

    return kept(out / "errors" / f"reference_{network.name}_{key}.json", computed)


def _name(task):
    """How the files of a row are called."""
    contexts = f"_{task.contexts}_contexts" if task.contexts > 1 else ""
    return f"{task.config.label}_{task.network.name}_{task.weight_format}{contexts}"


#: What errors depend on besides the program.
_MODELS = code_digest(models), code_digest(layers)

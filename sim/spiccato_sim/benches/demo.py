"""A model on a board, real or simulated, step by step through the host API, beside the virtual machine."""

import contextlib
import time
from dataclasses import dataclass

import numpy as np

from spiccato.formats import from_bits, to_bits
from spiccato.host import Counters, Device, Identity, SerialTransport

from ..models.vm import VirtualMachine
from .serial_sim import SimulatedBoard

__all__ = ["Demo", "run_demo", "SIMULATED"]

#: Instead of a serial port's name.
SIMULATED = "sim"
#: Simulated time is slower; an answer takes as long as it takes.
_SIMULATED_TIMEOUT_S = 30.0
#: Of a pseudo-terminal, which takes any.
_SIMULATED_BAUD = 3_000_000


@dataclass
class Demo:
    """What a board did.

    Attributes
    ----------
    outputs : float64 (steps, output_size), from the board
    failures : list of str, one line each: what differs from the virtual machine
    identity : Identity
    counters : Counters
    errors : dict, the board's sticky errors
    load_seconds, step_seconds : float
        Time of the program load, and of one step on average, as the host saw it.
    """

    outputs: np.ndarray
    failures: list
    identity: Identity
    counters: Counters
    errors: dict
    load_seconds: float
    step_seconds: float

    @property
    def passed(self):
        return not self.failures


def run_demo(
    program, xs, port, *, baud=None, build_folder="build", board=None, on_ready=lambda: None, on_step=lambda: None
):
    """Run ``xs`` (steps, input_size) on the board at ``port`` and compare each step with the virtual machine.

    Parameters
    ----------
    program : spiccato.compiler.Program
        For the board's configuration. The steps go to the contexts of its first model in turn.
    port : str
        A serial port, or "sim": the board is simulated.
    baud : int, optional
        Of a serial port; a simulated board takes any.
    build_folder : path
        Where simulators are kept.
    board : SimulatedBoard, optional
        The simulated one; by default one of the program's configuration.
    on_ready, on_step : functions
        Called when the program has been loaded, and after each step.

    Returns
    -------
    Demo

    Raises
    ------
    DeviceError
        If the board cannot be reached, is another one, or fails.
    SimulationError
        If the simulated board cannot be built.
    """
    machine, io_format = VirtualMachine(program), program.config.io_format
    outputs, failures = [], []
    with contextlib.ExitStack() as stack:
        options = {}
        if port == SIMULATED:
            port = stack.enter_context(board or SimulatedBoard(program.config, build_folder=build_folder)).port
            options["timeout"], baud = _SIMULATED_TIMEOUT_S, baud or _SIMULATED_BAUD
        device = stack.enter_context(Device(SerialTransport(port, baud, **options)))
        start = time.monotonic()
        device.load(program)
        loaded = time.monotonic()
        on_ready()
        for step, x in enumerate(xs):
            bits, stream = to_bits(x, io_format), step % program.streams[0]
            (got, marks), wanted = device.step_bits(bits, stream=stream), machine.step_bits(bits, stream=stream)
            outputs.append(got)
            if (got != wanted.bits).any() or marks != wanted.flags:
                failures.append(
                    f"step {step}: outputs {_hex(got)}, marks {marks} from the board; "
                    f"{_hex(wanted.bits)}, {wanted.flags} predicted"
                )
            on_step()
        finished = time.monotonic()
        counters, errors = device.counters(), device.errors()
        identity = device.identity()
    for name, counted, predicted in (
        ("inferences", counters.inferences, len(xs)),
        ("latency", counters.latency, program.models[0].spaced_latency),
    ):
        if counted != predicted:
            failures.append(f"{name} register: {counted} from the board, {predicted} predicted")
    return Demo(
        outputs=from_bits(np.array(outputs), io_format),
        failures=failures,
        identity=identity,
        counters=counters,
        errors=errors,
        load_seconds=loaded - start,
        step_seconds=(finished - loaded) / len(xs),
    )


def _hex(bits):
    """The first few bit patterns of an output."""
    return " ".join(f"{value:x}" for value in bits[:4]) + " ..." * (len(bits) > 4)

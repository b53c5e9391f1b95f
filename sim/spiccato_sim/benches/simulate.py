"""Run a model on the RTL and compare with the virtual machine, bit for bit and cycle for cycle."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from spiccato.arrays import real_array

from ..models.vm import from_bits, to_bits
from .comparison import compare, predicted_passages
from .traffic import Segment, Send, measured_latencies, play

__all__ = ["Comparison", "alone", "simulate"]


@dataclass
class Comparison:
    """RTL against predictions.

    Attributes
    ----------
    outputs : float64 (steps, output_size), from the RTL
    bit_exact : bool
        Outputs and marks all equal the virtual machine's.
    spaced_cycles : list of int, one for each spaced inference
    predicted_spaced_cycles : int
    stream_cycles : list of int
        Cycles between the last output beats of consecutive inferences when inputs are always waiting.
    initiation_interval, predicted_initiation_interval : int
    failures : list of str, one line each; empty if all is as predicted
    waves : path of the waveforms, if they were recorded
    """

    outputs: np.ndarray
    bit_exact: bool
    spaced_cycles: list
    predicted_spaced_cycles: int
    stream_cycles: list
    predicted_initiation_interval: int
    failures: list = field(default_factory=list)
    waves: Path | None = None

    @property
    def passed(self):
        return not self.failures

    @property
    def initiation_interval(self):
        """The measured initiation interval: the one of the settled stream."""
        return self.stream_cycles[-1]


def alone(program):
    """Cycles behind another packet's first beat at which everything of it is over, whichever model it was of."""
    return max(len(model.words) + 2 * model.spaced_latency for model in program.models)


def simulate(
    program,
    xs,
    *,
    spaced,
    simulator="verilator",
    preload=True,
    waves=False,
    build_folder="build",
    beats=None,
    reset_before_stream=False,
    pause_seed=None,
    hardware_program=None,
    netlist=None,
    power_up=None,
    model=0,
    stream=0,
    starts=(),
):
    """Stream ``xs`` through the RTL of ``program.config`` and compare with the virtual machine.

    Parameters
    ----------
    program : spiccato.compiler.Program
    xs : float array (steps, input_size)
    spaced : int
        The first ``spaced`` inferences come alone, the others (at least 4) as fast as the accelerator takes them.
    simulator : "verilator" or "icarus"
    preload : bool
        Fill the block memories from files; otherwise everything is loaded over AXI4-Lite.
    waves : bool
        Record waveforms.
    beats : list of int or None, optional
        Send input packets of other lengths than the program's: such inferences are malformed.
    reset_before_stream : bool
        Set the state to zero between the spaced and the streamed inferences.
    pause_seed : int, optional
        Let both streams pause at random. What is computed must not change; cycles are not compared then.
    hardware_program : Program, optional
        Load this program instead, to see that the comparison notices.
    netlist : path, optional
        Simulate this netlist (see :func:`.runner.build`) instead of the Verilog; not with ``preload``.
    power_up : int, optional
        Seed of random values that everything without an initial value begins with, instead of zeros; Verilator only.
    model, stream : int
        The context.
    starts : collection of int
        Steps that start from the model's initial state.

    Returns
    -------
    Comparison

    Raises
    ------
    InputError
        If ``xs`` has another shape, or holds something else than real numbers.
    SimulationError
        If the simulation itself fails.
    """
    config, found = program.config, program.require_context(model, stream)
    xs = real_array(xs, ("steps", found.input_size), "xs", finite=False)
    if not 1 <= spaced <= len(xs) - 4:
        raise ValueError(f"{len(xs)} steps do not make {spaced} spaced ones (at least 1) and 4 streamed ones")
    sends = [
        Send(to_bits(x, config.io_format), model, stream, start=step in starts, beats=length)
        for step, (x, length) in enumerate(zip(xs, beats or [None] * len(xs)))
    ]
    pauses = None if pause_seed is None else (pause_seed, 0.5, 0.5)
    segments = [
        Segment([send._replace(spacing=alone(program)) for send in sends[:spaced]], pauses, program=program),
        Segment(sends[spaced:], pauses, reset="reset_state" if reset_before_stream else None),
    ]
    traffic = play(
        segments,
        simulator=simulator,
        preload=preload,
        waves=waves,
        build_folder=build_folder,
        netlist=netlist,
        power_up=power_up,
        hardware_program=hardware_program,
    )
    values, cycles = compare(segments, traffic.played)
    first, streamed = traffic.played
    latencies = measured_latencies(segments[0], first)
    intervals = np.diff([heard.finished for heard in streamed.heard]).tolist()
    if pauses is None:
        cycles += _registers(found, first, streamed)
        wrong = [cycle for cycle in latencies if cycle != found.spaced_latency]
        if wrong:
            cycles.append(
                f"spaced latency, cycles: {len(wrong)} of {len(latencies)} differ, the first {wrong[0]} from the RTL, "
                f"{found.spaced_latency} predicted"
            )
        due = _due_interval(program, found, segments[1])
        if intervals and intervals[-1] != due:
            cycles.append(f"initiation interval, cycles: {intervals[-1]} from the RTL, {due} predicted")
    comparison = Comparison(
        outputs=_outputs(found, traffic.played),
        bit_exact=not values,
        spaced_cycles=latencies,
        predicted_spaced_cycles=found.spaced_latency,
        stream_cycles=intervals,
        predicted_initiation_interval=found.initiation_interval,
        failures=[*values, *cycles],
        waves=traffic.waves,
    )
    if comparison.passed:
        traffic.discard()
    return comparison


def _due_interval(program, model, segment):
    """Between the last two outputs of a segment: the model's, unless packets of other lengths are among them."""
    if all(send.beats is None for send in segment.sends):
        return model.initiation_interval
    passages = predicted_passages(program, segment.sends)
    finished = [passage.finished for passage in passages if passage.finished is not None]
    return finished[-1] - finished[-2]


def _registers(model, first, streamed):
    """What registers tell of cycles, where it is not what it should be."""
    for what, got, wanted in (
        ("latency register, cycles", first.registers["latency"], model.spaced_latency),
        ("stall cycles register", streamed.registers["stall_cycles"], 0),
    ):
        if got != wanted:
            yield f"{what}: {got} from the RTL, {wanted} predicted"


def _outputs(model, played):
    """Outputs (steps, output_size) as numbers; as many steps as came whole."""
    config = model.config
    packets = [np.frombuffer(heard.data, dtype=f"<u{config.io_bits // 8}") for one in played for heard in one.heard]
    whole = [bits for bits in packets if len(bits) == model.output_size]
    return from_bits(np.array(whole).reshape(len(whole), model.output_size), config.io_format)

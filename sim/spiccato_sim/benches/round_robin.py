"""All contexts of a program on the RTL, one after the other: latency and interval of each, measured and predicted."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spiccato.errors import InputError
from spiccato.formats import to_bits
from spiccato.program import Program

from .comparison import compare, predicted_passages
from .simulate import alone
from .traffic import Segment, Send, measured_latencies, play

__all__ = ["ContextCycles", "RoundRobin", "round_robin"]


@dataclass(frozen=True)
class ContextCycles:
    """One context's cycles.

    Attributes
    ----------
    model, stream : int
    spaced, predicted_spaced : list of int
        Spaced latency of each packet that came alone.
    intervals, predicted_intervals : list of int
        From the end of the inference before to the end of each packet's, packets being always waiting.
    """

    model: int
    stream: int
    spaced: list[int]
    predicted_spaced: list[int]
    intervals: list[int]
    predicted_intervals: list[int]


@dataclass(frozen=True)
class RoundRobin:
    """What :func:`round_robin` found.

    Attributes
    ----------
    contexts : list of ContextCycles
    packets : int
    bit_exact : bool
        Outputs, marks and ``tid`` all equal the virtual machine's.
    failures : list of str, one line each; empty if all is as predicted
    waves : path of the waveforms, if they were recorded
    """

    contexts: list[ContextCycles]
    packets: int
    bit_exact: bool
    failures: list[str]
    waves: Path | None = None

    @property
    def passed(self) -> bool:
        """Whether all is as predicted."""
        return not self.failures


def round_robin(
    program: Program,
    inputs: Sequence[NDArray],
    *,
    spaced: int = 1,
    simulator: str = "verilator",
    preload: bool = True,
    waves: bool = False,
    build_folder: str | Path = "build",
) -> RoundRobin:
    """Let the contexts of a program take turns.

    Parameters
    ----------
    inputs : sequence of float arrays (steps, input_size)
        One for each model: each context of a model gets other ones of them, beginning with another one.
    spaced : int
        Rounds in which each packet comes alone; in the others, at least four, all packets are always waiting.
    simulator, preload, waves, build_folder
        As for :func:`.simulate.simulate`.

    Raises
    ------
    InputError
        If there are not as many inputs as models, or too few steps.
    SimulationError
        If the simulation itself fails.
    """
    if len(inputs) != len(program.models):
        raise InputError(f"{len(inputs)} arrays of inputs for {len(program.models)} models")
    rounds = min(map(len, inputs))
    if rounds < spaced + 4:
        raise InputError(f"{rounds} steps do not make {spaced} spaced rounds and 4 streamed ones")
    contexts = [
        (model, stream)
        for stream in range(max(program.streams))
        for model, streams in enumerate(program.streams)
        if stream < streams
    ]
    bits = [to_bits(xs, program.config.io_format) for xs in inputs]
    sends = [
        Send(bits[model][(step + stream) % len(bits[model])], model, stream)
        for step in range(rounds)
        for model, stream in contexts
    ]
    first = spaced * len(contexts)
    segments = [
        Segment([send._replace(spacing=alone(program)) for send in sends[:first]], program=program),
        Segment(sends[first:]),
    ]
    ran = play(segments, simulator=simulator, preload=preload, waves=waves, build_folder=build_folder)
    values, cycles = compare(segments, ran.played)
    latencies = measured_latencies(segments[0], ran.played[0])
    taken = ran.played[1].accepted
    due = [passage.accepted for passage in predicted_passages(program, segments[1].sends)]
    # A packet is taken when the inference of the one before the last has ended; the first inference has none before.
    measured, predicted = (np.diff(times)[2:].tolist() for times in (taken, due))
    result = []
    for number, (model, stream) in enumerate(contexts):
        every = slice(number, None, len(contexts))
        intervals = slice((number - 1) % len(contexts), None, len(contexts))
        result.append(
            ContextCycles(
                model,
                stream,
                latencies[every],
                [program.models[model].spaced_latency] * spaced,
                measured[intervals],
                predicted[intervals],
            )
        )
        if latencies[every] != [program.models[model].spaced_latency] * spaced:
            cycles.append(
                f"spaced latency of stream {stream} of model {model}, cycles: {latencies[every]} from the RTL, "
                f"{program.models[model].spaced_latency} predicted"
            )
    failures = [*values, *cycles]
    if not failures:
        ran.discard()
    return RoundRobin(result, len(sends), not values, failures, ran.waves)

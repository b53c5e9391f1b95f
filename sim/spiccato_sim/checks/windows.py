"""Sliding windows on the RTL of whole boards, beside what the timeline predicts: ``make windows``."""

import argparse
import sys
from typing import NamedTuple

import numpy as np

from spiccato.compiler import compile_program
from spiccato.formats import to_bits
from spiccato.program import Program
from spiccato.registry import configuration

from ..benches import traffic
from ..benches.comparison import compare
from ..benches.traffic import Segment, Send, measured_latencies
from ..models import zoo
from ..models.windows import window_packets, windows

__all__ = ["SHAPES", "Measured", "main", "measure"]

#: Benchmark models with windows, and boards that have room for these.
SHAPES = (("lstm_a", "ia420f"), ("lstm_a", "v80"), ("lstm_b", "ia420f-windows"), ("lstm_b", "v80"))
#: Timesteps that are played: the first finds all at rest.
_INPUTS = 4


class Measured(NamedTuple):
    """What was seen.

    Attributes
    ----------
    latencies : list of int
        Of each input, cycles from the first beat of the due packet to the last of its answer.
    distances : list of int
        Cycles between the due packets' first beats.
    failures : list of str
        What differs from the virtual machine and the timeline, a line each.
    """

    latencies: list[int]
    distances: list[int]
    failures: list[str]


def measure(program: Program, distance: int, build_folder="build") -> Measured:
    """Play random inputs that come ``distance`` cycles apart, on a program of one model whose contexts are the windows.

    Raises
    ------
    SimulationError
        If the simulation itself fails.
    """
    (contexts,) = program.streams
    rng = np.random.default_rng(0)
    inputs = [to_bits(rng.standard_normal(program.model.input_size), program.config.io_format) for _ in range(_INPUTS)]
    sends = [
        # The window that begins with an input is the last of its packets.
        Send(
            inputs[number // contexts],
            packet.model,
            packet.stream,
            start=number % contexts == contexts - 1,
            quiet=packet.quiet,
            spacing=packet.spacing,
        )
        for number, packet in enumerate(window_packets(program, _INPUTS, distance))
    ]
    segment = Segment(sends, program=program)
    ran = traffic.play([segment], preload=True, build_folder=build_folder)
    (played,) = ran.played
    failures = [line for lines in compare([segment], [played]) for line in lines]
    ran.discard()
    due = played.accepted[::contexts]
    return Measured(measured_latencies(segment, played), np.diff(due).tolist(), failures)


def main(arguments=None) -> int:
    """Measure :data:`SHAPES`; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", default="build", help="of the simulators")
    options = parser.parse_args(arguments)
    passed = True
    for name, board in SHAPES:
        contexts = zoo.WINDOWED[name].window
        assert contexts is not None
        program = compile_program([zoo.build(name)], configuration(board), contexts=contexts)
        predicted = windows(program)
        found = measure(program, predicted.distance, options.folder)
        expected = Measured([predicted.latency] * _INPUTS, [predicted.distance] * (_INPUTS - 1), [])
        passed &= found == expected
        print(
            f"{name} x {predicted.contexts} on {board}: due answer in {predicted.latency} cycles, inputs at least "
            f"{predicted.distance} apart: {'as predicted' if found == expected else f'FAIL: {found}'}",
            flush=True,
        )
    print("PASS" if passed else "FAIL")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())

"""Sliding windows: when the due answer comes, and how close inputs may follow each other, in cycles.

Each answer is that of a window of T timesteps from the model's initial state, and the window moves on by one timestep
an input. So T contexts are staggered: an input goes to all of them, first to the one whose window it completes; the
others' packets are quiet, and one of these starts a window.
"""

import dataclasses
from typing import NamedTuple

from spiccato.program import Program

from .timeline import Packet, Timeline

__all__ = ["Windows", "window_packets", "windows"]


class Windows(NamedTuple):
    """Cycles of sliding windows.

    Attributes
    ----------
    contexts : int
    latency : int
        From the first input beat of the packet that is due to the last output beat of its answer.
    distance : int
        Least cycles between inputs with which every answer comes that soon.
    """

    contexts: int
    latency: int
    distance: int


def windows(program: Program) -> Windows:
    """What to expect of a program of one model whose contexts are the staggered windows."""
    model, (contexts,) = program.model, program.streams
    timeline = Timeline(program)

    def on_time(distance: int) -> bool:
        """Whether the answers to the second and third input come as soon as one that comes alone."""
        due = timeline.stream(window_packets(program, 3, distance))[::contexts]
        apart = [after.accepted - before.accepted for before, after in zip(due, due[1:])]
        return max(apart) <= distance and all(
            passage.finished is not None and passage.finished - passage.accepted == model.spaced_latency
            for passage in due
        )

    low, high = 0, 1
    while not on_time(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if on_time(middle) else (middle, high)
    return Windows(contexts, model.spaced_latency, high)


def window_packets(program: Program, inputs: int, distance: int) -> list[Packet]:
    """Packets of ``inputs`` timesteps, ``distance`` cycles apart: of each one first the due, then the quiet ones."""
    (contexts,) = program.streams
    timeline = Timeline(program)
    packets: list[Packet] = []
    previous = 0
    for number in range(inputs):
        one = [Packet(0, (number + stream) % contexts, quiet=stream > 0) for stream in range(contexts)]
        # Behind the last packet of the input before, which was taken ``previous`` cycles after that input's first.
        one[0] = dataclasses.replace(one[0], spacing=max(0, distance - previous) if number else 0)
        packets += one
        passages = timeline.stream(packets)
        previous = passages[-1].accepted - passages[-contexts].accepted
    return packets

"""Sliding windows in cycles: when the answer comes, and how close inputs may follow each other."""

import bisect
from typing import NamedTuple

from spiccato.program import Program

from .timeline import Packet, Timeline

__all__ = ["Windowing"]

#: Inputs after which everything repeats itself.
_INPUTS = 4


class Windowing(NamedTuple):
    """Windows of a model, as :meth:`spiccato.host.Device.windows` has them: a packet for each input and window.

    Attributes
    ----------
    latency : int
        Cycles from an input's first beat to the last beat of its answer.
    distance : int
        Least cycles between the first beats of inputs for which that holds.
    """

    latency: int
    distance: int

    @classmethod
    def of(cls, program: Program, length: int, model: int = 0) -> "Windowing":
        """For windows of ``length`` inputs; raises ProgramError if the program has no such windows."""
        program.require_context(model, length - 1)
        timeline, one = Timeline(program), program.models[model]
        largest = length * one.initiation_interval + one.spaced_latency

        def holds(distance: int) -> bool:
            packets: list[Packet] = []
            for number in range(_INPUTS):
                before = timeline.stream(packets)
                spacing = before[-length].accepted + distance - before[-1].accepted if number else 0
                packets += [Packet(model, spacing=max(0, spacing)), *[Packet(model, quiet=True)] * (length - 1)]
            due = timeline.stream(packets)[::length]
            late = any(passage.finished != passage.accepted + one.spaced_latency for passage in due)
            return not late and all(
                following.accepted == passage.accepted + distance for passage, following in zip(due, due[1:])
            )

        return cls(one.spaced_latency, bisect.bisect_left(range(largest), True, key=holds))

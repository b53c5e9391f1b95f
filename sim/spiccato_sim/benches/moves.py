"""States of single contexts that are saved, loaded and forgotten while packets come and go. For use inside cocotb."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from cocotb.triggers import ClockCycles

from spiccato.host import AsyncContext
from spiccato.program import State

from .device import Bypassed
from .streams import Beats, Moved, Played, Streams

__all__ = ["Move", "Mover", "same"]


class Move(NamedTuple):
    """What happens to the state of one context.

    Attributes
    ----------
    after : int
        So many packets of the segment come before it. Those of the context itself among the others wait for it.
    kind : "save", "load" or "reset"
    model, stream : int
        The context; there has to be such a one.
    state : int or None
        The state to be loaded: its number among all that were saved before, the first one being 0.
    """

    after: int
    kind: str
    model: int
    stream: int
    state: int | None = None


def same(state: State, other: State) -> bool:
    """Whether two states are of the same model and the same in every bit."""
    pairs = [(state.sums, other.sums), (state.c, other.c)]
    if state.h is not None and other.h is not None:
        pairs.append((state.h, other.h))
    both_keep = (state.h is None) == (other.h is None)
    return state.model == other.model and both_keep and all(np.array_equal(*pair) for pair in pairs)


@dataclass
class Mover:
    """Carries moves out as a host does, one after the other, over the register port.

    Attributes
    ----------
    device : Bypassed
    streams : Streams
    saved : list of State
        In the order of the moves.
    computed : int
        Packets of earlier segments.
    """

    device: Bypassed
    streams: Streams
    saved: list[State] = field(default_factory=list)
    computed: int = 0

    async def carry_out(self, moves: Sequence[Move], packets: Sequence[Beats], played: Played) -> None:
        """Carry out a segment's moves, in order; ``packets`` are all that it sends."""
        before = self.computed
        self.computed += len(packets)
        for move in moves:
            while len(played.accepted) < move.after:
                await ClockCycles(self.streams.dut.clk, 1)
            played.moving = True
            begin, state = self.streams.cycle, None
            tid = self.device.loaded.tid(move.model, move.stream)
            own = [number + 1 for number, packet in enumerate(packets[: move.after]) if packet.tid == tid]
            self.device.expect(before + max(own, default=0))
            context = AsyncContext(self.device, move.model, move.stream)
            if move.kind == "save":
                state = await context.save()
                self.saved.append(state)
            elif move.kind == "load":
                assert move.state is not None
                await context.load(self.saved[move.state])
            else:
                await context.reset()
            played.moved.append(Moved(begin, self.streams.cycle, state))
            played.moving = False

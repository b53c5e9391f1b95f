"""Both streams of the accelerator driven by hand, a cycle at a time, for test benches. For use inside cocotb."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from cocotb.triggers import RisingEdge

from spiccato.config import Config
from spiccato.program import State

__all__ = ["Beats", "Heard", "Moved", "Played", "Streams"]


class Beats(NamedTuple):
    """An input packet: its beats, what comes with each of them, and when it may come at the earliest.

    Attributes
    ----------
    beats : tuple of int
    tid, user : int
    spacing : int
        Least cycles behind the acceptance of the packet before.
    moves : int
        So many of the segment's moves come before it.
    """

    beats: tuple[int, ...]
    tid: int
    user: int
    spacing: int
    moves: int


class Heard(NamedTuple):
    """An output packet.

    Attributes
    ----------
    data : bytes
        What ``tkeep`` keeps.
    tid, user : int
        Of its last beat.
    finished : int
        Cycle in which that one was accepted.
    """

    data: bytes
    tid: int
    user: int
    finished: int


class Moved(NamedTuple):
    """A :class:`.moves.Move` that is done.

    Attributes
    ----------
    begin, end : int
        Cycles.
    state : State or None
        What was saved, if it was a save.
    """

    begin: int
    end: int
    state: State | None


@dataclass
class Played:
    """What came of a segment of traffic. While it is played, streams and moves wait for each other by this.

    Attributes
    ----------
    accepted : list of int
        Cycle of each packet's first beat.
    held : dict of int to int
        By the numbers of packets that had to wait for moves: the least cycles behind the packet before that this made.
    heard : list of Heard
        Output packets.
    moved : list of Moved
    moving : bool
        A move has begun and not ended.
    registers : dict
        ``latency``, ``inferences``, ``stall_cycles`` and ``errors``, at the end.
    """

    accepted: list[int] = field(default_factory=list)
    held: dict[int, int] = field(default_factory=dict)
    heard: list[Heard] = field(default_factory=list)
    moved: list[Moved] = field(default_factory=list)
    moving: bool = False
    registers: dict[str, int] = field(default_factory=dict)


class Streams:
    """The input and the output stream, and the clock's cycles."""

    #: Cycles in which nothing is accepted and nothing moves, after which nothing will come.
    patience = 20_000
    #: Cycles that pauses are drawn for at a time.
    _drawn = 4096

    def __init__(self, dut, config: Config) -> None:
        self.dut, self.config = dut, config
        self.cycle = 0
        dut.s_axis_input_tvalid.value = 0
        dut.m_axis_output_tready.value = 1

    async def play(
        self,
        packets: Sequence[Beats],
        outputs: int,
        moves: int,
        settle: int,
        pauses: tuple[int, float, float] | None,
        played: Played,
    ) -> None:
        """Send packets until all are accepted and all is done, or nothing comes any more.

        Parameters
        ----------
        packets : sequence of Beats
        outputs, moves : int
            How many are to come.
        settle : int
            Cycles to go on for after that.
        pauses : (int, float, float), optional
            Seed, and the shares of cycles in which the input and the output stream pause.
        played : Played
            What happens is added here.
        """
        dut = self.dut
        i_valid, i_ready, i_data = dut.s_axis_input_tvalid, dut.s_axis_input_tready, dut.s_axis_input_tdata
        i_last, i_tid, i_user = dut.s_axis_input_tlast, dut.s_axis_input_tid, dut.s_axis_input_tuser
        o_valid, o_ready = dut.m_axis_output_tvalid, dut.m_axis_output_tready
        o_data, o_keep, o_last = dut.m_axis_output_tdata, dut.m_axis_output_tkeep, dut.m_axis_output_tlast
        o_tid, o_user = dut.m_axis_output_tid, dut.m_axis_output_tuser
        edge, size = RisingEdge(dut.clk), self.config.beat_bits // 8
        waits = self._pauses(pauses)
        accepted, heard, moved = played.accepted, played.heard, played.moved
        partial: list[bytes] = []
        number = beat = 0
        offered, ready, idle = False, True, 0
        o_ready.value = 1
        while settle and idle < self.patience:
            if number == len(packets) and len(heard) >= outputs and len(moved) == moves:
                settle -= 1
            await edge
            self.cycle += 1
            idle = 0 if played.moving else idle + 1
            if ready and o_valid.value == 1:
                idle = 0
                data = int(o_data.value).to_bytes(size, "little")
                partial.append(data[: int(o_keep.value).bit_count()])
                if o_last.value == 1:
                    heard.append(Heard(b"".join(partial), int(o_tid.value), int(o_user.value), self.cycle))
                    partial = []
            if offered and i_ready.value == 1:
                idle = 0
                if beat == 0:
                    accepted.append(self.cycle)
                beat += 1
                if beat == len(packets[number].beats):
                    number, beat = number + 1, 0
                offered = False
                if number == len(packets):
                    i_valid.value = 0
            stall, pause = next(waits) if pauses else (False, False)
            if ready == stall:
                ready = not stall
                o_ready.value = int(ready)
            if not offered and number < len(packets):
                packet = packets[number]
                due = beat or not accepted or self.cycle + 1 >= accepted[-1] + packet.spacing
                if due and len(moved) < packet.moves:
                    due = False
                    if accepted:
                        played.held[number] = self.cycle + 2 - accepted[-1]
                if due and not pause:
                    offered = True
                    i_data.value, i_last.value = packet.beats[beat], int(beat == len(packet.beats) - 1)
                    # Of the first beat they count.
                    i_tid.value, i_user.value = (packet.tid, packet.user) if beat == 0 else (0, 0)
                i_valid.value = int(offered)
        i_valid.value, o_ready.value = 0, 1

    def _pauses(self, pauses):
        """Whether the output and the input stream pause, cycle by cycle."""
        seed, inputs, outputs = pauses or (0, 0.0, 0.0)
        rng = np.random.default_rng(seed)
        while True:
            yield from (rng.random((self._drawn, 2)) < (outputs, inputs)).tolist()

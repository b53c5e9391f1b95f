"""Both streams of the accelerator driven by hand, a cycle at a time, for test benches. For use inside cocotb."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from cocotb.triggers import RisingEdge

from spiccato.config import Config

__all__ = ["Beats", "Heard", "Streams"]


class Beats(NamedTuple):
    """An input packet: its beats, what comes with each of them, and when it may come at the earliest.

    Attributes
    ----------
    beats : tuple of int
    tid, user : int
    spacing : int
        Least cycles behind the acceptance of the packet before.
    """

    beats: tuple[int, ...]
    tid: int
    user: int
    spacing: int


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


class Streams:
    """The input and the output stream, and the clock's cycles."""

    #: Cycles in which nothing is accepted, after which nothing will come.
    patience = 20_000
    #: Cycles that pauses are drawn for at a time.
    _drawn = 4096

    def __init__(self, dut, config: Config) -> None:
        self.dut, self.config = dut, config
        self.cycle = 0
        dut.s_axis_input_tvalid.value = 0
        dut.m_axis_output_tready.value = 1

    async def play(
        self, packets: Sequence[Beats], outputs: int, settle: int, pauses: tuple[int, float, float] | None
    ) -> tuple[list[int], list[Heard]]:
        """Send packets until all are accepted and so many outputs have come, or nothing comes any more.

        Parameters
        ----------
        packets : sequence of Beats
        outputs : int
        settle : int
            Cycles to go on for after that.
        pauses : (int, float, float), optional
            Seed, and the shares of cycles in which the input and the output stream pause.

        Returns
        -------
        accepted : list of int
            Cycle of each packet's first beat.
        heard : list of Heard
        """
        dut = self.dut
        i_valid, i_ready, i_data = dut.s_axis_input_tvalid, dut.s_axis_input_tready, dut.s_axis_input_tdata
        i_last, i_tid, i_user = dut.s_axis_input_tlast, dut.s_axis_input_tid, dut.s_axis_input_tuser
        o_valid, o_ready = dut.m_axis_output_tvalid, dut.m_axis_output_tready
        o_data, o_keep, o_last = dut.m_axis_output_tdata, dut.m_axis_output_tkeep, dut.m_axis_output_tlast
        o_tid, o_user = dut.m_axis_output_tid, dut.m_axis_output_tuser
        edge, size = RisingEdge(dut.clk), self.config.beat_bits // 8
        waits = self._pauses(pauses)
        accepted: list[int] = []
        heard: list[Heard] = []
        partial: list[bytes] = []
        number = beat = 0
        offered, ready, idle = False, True, 0
        o_ready.value = 1
        while settle and idle < self.patience:
            if number == len(packets) and len(heard) >= outputs:
                settle -= 1
            await edge
            self.cycle += 1
            idle += 1
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
                if due and not pause:
                    offered = True
                    i_data.value, i_last.value = packet.beats[beat], int(beat == len(packet.beats) - 1)
                    # Of the first beat they count.
                    i_tid.value, i_user.value = (packet.tid, packet.user) if beat == 0 else (0, 0)
                i_valid.value = int(offered)
        i_valid.value, o_ready.value = 0, 1
        return accepted, heard

    def _pauses(self, pauses):
        """Whether the output and the input stream pause, cycle by cycle."""
        seed, inputs, outputs = pauses or (0, 0.0, 0.0)
        rng = np.random.default_rng(seed)
        while True:
            yield from (rng.random((self._drawn, 2)) < (outputs, inputs)).tolist()

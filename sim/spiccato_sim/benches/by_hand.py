"""The ports of the accelerator driven by hand, a cycle at a time, for test benches in which every cycle counts."""

from dataclasses import dataclass

from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from spiccato.config import Config
from spiccato.formats import from_beats
from spiccato.isa.registers import REGISTERS

from .tb_accelerator import PERIOD

__all__ = ["Bench", "Job"]

#: Cycles after which something that does not come will not.
PATIENCE = 3000
_BITS = {name: REGISTERS["control"].pack(**{name: 1}) for name in REGISTERS["control"].fields}


@dataclass
class Job:
    """What the test bench works with.

    Attributes
    ----------
    config : Config
    words : the program's load
    garbage : loads of damaged programs
    aliens : {what differs: load of a program for another configuration}
    packets : inputs, each a list of beats (int)
    outputs : what they lead to from the initial state on, each a list of bit patterns
    restarted : for each packet, the outputs of all packets if the state is forgotten before that one
    spaced_latency : of the program
    """

    config: Config
    words: list
    garbage: list
    aliens: dict
    packets: list
    outputs: list
    restarted: list
    spaced_latency: int


class Bench:
    """All ports of the accelerator, driven by hand; the clock runs while something waits for it."""

    def __init__(self, dut, job):
        self.dut, self.job = dut, job
        self.cycle = 0
        self.clear()
        Clock(dut.clk, PERIOD, unit="step").start(start_high=False)

    def clear(self):
        """Forget what was to be sent and what was received."""
        self.beats = []  # (data, tlast) still to be accepted
        self.partial = []  # output beats of the packet that has not ended
        self.outputs = []  # bit patterns of packets
        self.accepted: int | None = None
        self.finished: int | None = None
        for name in ("tvalid", "tid", "tuser"):
            getattr(self.dut, f"s_axis_input_{name}").value = 0

    async def reset(self):
        """The design's own reset."""
        dut = self.dut
        self.clear()
        for name in ("awvalid", "wvalid", "arvalid", "awprot", "arprot"):
            getattr(dut, f"s_axil_{name}").value = 0
        dut.s_axil_wstrb.value, dut.s_axil_bready.value, dut.s_axil_rready.value = 0xF, 1, 1
        dut.m_axis_output_tready.value, dut.rst.value = 1, 1
        await self.tick(3)
        dut.rst.value = 0
        await self.tick()

    async def tick(self, count=1):
        """A cycle: what is accepted at its end, and the next input beat."""
        dut, config = self.dut, self.job.config
        for _ in range(count):
            await RisingEdge(dut.clk)
            if dut.m_axis_output_tvalid.value == 1 and dut.m_axis_output_tready.value == 1:
                self.partial.append(int(dut.m_axis_output_tdata.value))
                if dut.m_axis_output_tlast.value == 1:
                    data = b"".join(beat.to_bytes(config.beat_bits // 8, "little") for beat in self.partial)
                    self.outputs.append(from_beats(data, config)[: len(self.job.outputs[0])].tolist())
                    self.partial, self.finished = [], self.cycle
            if self.beats and dut.s_axis_input_tvalid.value == 1 and dut.s_axis_input_tready.value == 1:
                self.beats.pop(0)
                self.accepted = self.cycle if self.accepted is None else self.accepted
            self.offer()
            self.cycle += 1

    def offer(self):
        """The next input beat."""
        dut = self.dut
        dut.s_axis_input_tvalid.value = bool(self.beats)
        if self.beats:
            dut.s_axis_input_tdata.value, dut.s_axis_input_tlast.value = self.beats[0]

    def send(self, *packets):
        """Offer packets (lists of beats) from this cycle on."""
        for packet in packets:
            self.beats += [(beat, number == len(packet) - 1) for number, beat in enumerate(packet)]
        self.offer()

    def stop(self, *, whole):
        """Offer no more than the rest of the packet that is being sent, if it is to be ``whole``, or nothing."""
        beats = len(self.job.packets[0])
        self.beats = self.beats[: len(self.beats) % beats if whole else 0]
        self.offer()

    async def write(self, name, *words):
        """Write words to a register, two cycles each; returns when the last one acts."""
        dut = self.dut
        dut.s_axil_awaddr.value = REGISTERS[name].offset
        for word in words:
            dut.s_axil_awvalid.value, dut.s_axil_wvalid.value, dut.s_axil_wdata.value = 1, 1, int(word)
            await self.tick()
            dut.s_axil_awvalid.value, dut.s_axil_wvalid.value = 0, 0
            await self.tick()
        await self.tick()
        assert not words or (dut.s_axil_bvalid.value == 1 and dut.s_axil_bresp.value == 0)

    async def command(self, *names):
        """Write commands to ``control``."""
        await self.write("control", sum(_BITS[name] for name in names))

    async def read(self, name):
        """A register's value, or its fields."""
        dut, register = self.dut, REGISTERS[name]
        dut.s_axil_araddr.value, dut.s_axil_arvalid.value = register.offset, 1
        await self.tick()
        dut.s_axil_arvalid.value = 0
        for _ in range(PATIENCE):
            await self.tick()
            if dut.s_axil_rvalid.value == 1:
                word = int(dut.s_axil_rdata.value)
                await self.tick()
                return register.unpack(word) if register.fields else word
        raise AssertionError(f"{name} cannot be read")

    async def errors(self):
        """Names of the errors that are set; they are cleared."""
        errors = {name for name, value in (await self.read("errors")).items() if value}
        await self.write("errors", 0xFFFFFFFF)
        return errors

    async def comes_idle(self, patience=PATIENCE):
        """Whether ``status.idle`` comes."""
        end = self.cycle + patience
        while self.cycle < end:
            if (await self.read("status"))["idle"]:
                return True
        return False

    async def load(self, words, *commands):
        """A load, as the documentation tells; returns whether it was accepted."""
        await self.command("load", *commands)
        assert await self.comes_idle(), "idle does not come"
        await self.write("load_data", *words)
        return bool((await self.read("status"))["loaded"])

    async def receive(self, count):
        """Wait until there are so many output packets."""
        end = self.cycle + PATIENCE
        while len(self.outputs) < count:
            assert self.cycle < end, f"{len(self.outputs)} of {count} outputs came"
            await self.tick()

    async def check(self, count=2):
        """The first inferences from the initial state on: every bit, and the latency."""
        job = self.job
        self.clear()
        assert await self.comes_idle(), "idle does not come"
        self.send(job.packets[0])
        await self.receive(1)
        assert self.finished is not None and self.accepted is not None
        assert self.finished - self.accepted == job.spaced_latency
        self.send(*job.packets[1:count])
        await self.receive(count)
        await self.tick(5)
        assert self.outputs == job.outputs[:count]
        assert not self.partial
        assert await self.errors() == set()

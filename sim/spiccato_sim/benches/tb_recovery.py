"""Test bench: commands at every cycle, damaged and alien programs, half packets; afterwards all has to be as ever.

Everything is driven by one coroutine and by hand, a cycle at a time: what a command meets is then known to the cycle,
and thousands of short runs take seconds. ``tests/test_recovery.py`` prepares the job.
"""

import os
import pickle
from dataclasses import dataclass

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from spiccato.config import Config
from spiccato.formats import from_beats
from spiccato.isa.registers import REGISTERS
from spiccato.rtl.control.probe import Probe

from .tb_accelerator import PERIOD

#: Cycles after which something that does not come will not.
PATIENCE = 3000
#: From the cycle in which a reset is commanded to the first in which the streams are in reset.
RESET_CYCLES = 2
BITS = {name: REGISTERS["control"].pack(**{name: 1}) for name in REGISTERS["control"].fields}


@dataclass
class Job:
    """What the test bench works with.

    Attributes
    ----------
    config : Config
    words : the program's load
    alien_state : a state image of another program
    garbage : loads of damaged programs
    aliens : {what differs: load of a program for another configuration}
    packets : inputs, each a list of beats (int)
    outputs : what they lead to from state zero on, each a list of bit patterns
    restarted : for each packet, the outputs of all packets if the state is set to zero before that one
    states : for each packet, the state image that is the state before it
    spaced_latency : of the program
    """

    config: Config
    words: list
    alien_state: list
    garbage: list
    aliens: dict
    packets: list
    outputs: list
    restarted: list
    states: list
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
        self.dut.s_axis_input_tvalid.value = 0

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
        await self.write("control", sum(BITS[name] for name in names))

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

    async def check(self, first=0, count=2):
        """Inferences ``first`` and following, the state before them being there: every bit, and the latency."""
        job = self.job
        self.clear()
        assert await self.comes_idle(), "idle does not come"
        self.send(job.packets[first])
        await self.receive(1)
        assert self.finished is not None and self.accepted is not None
        assert self.finished - self.accepted == job.spaced_latency
        self.send(*job.packets[first + 1 : first + count])
        await self.receive(count)
        await self.tick(5)
        assert self.outputs == job.outputs[first : first + count]
        assert not self.partial
        assert await self.errors() == set()


async def start(dut):
    """A bench whose program is loaded."""
    with open(os.environ["SPICCATO_JOB"], "rb") as file:
        bench = Bench(dut, pickle.load(file))
    await bench.reset()
    assert await bench.load(bench.job.words)
    return bench


async def stream(bench, cycles, *, stalled=False):
    """From state zero, ``cycles`` cycles of inputs that always wait; the output stalled, if so."""
    bench.clear()
    bench.dut.m_axis_output_tready.value = not stalled
    bench.send(*bench.job.packets)
    await bench.tick(cycles)


def run_length(job):
    """Cycles in which all there is happens: from the first input to the second output."""
    return 2 * job.spaced_latency + 8


@cocotb.test()
async def reset_at_every_cycle(dut):
    """A reset, whatever is going on, with the output stalled or not; the input stops wherever it is."""
    bench = await start(dut)
    cut = 0
    for stalled in (False, True):
        for cycle in range(run_length(bench.job)):
            await stream(bench, cycle, stalled=stalled)
            await bench.command("reset")
            bench.stop(whole=False)
            await bench.tick(RESET_CYCLES)
            cut += bool(bench.partial)
            dut.m_axis_output_tready.value = 1
            seen = len(bench.outputs)
            assert await bench.comes_idle()
            assert (await bench.read("status"))["loaded"]
            assert len(bench.outputs) == seen
            await bench.check()
            await bench.command("reset_state")
    assert cut, "no output packet was cut"


@cocotb.test()
async def load_at_every_cycle(dut):
    """A load, of a state or of the program, between whole packets: what was computed before it is right, too."""
    bench = await start(dut)
    job = bench.job
    finished = set()
    for cycle in range(run_length(job)):
        await stream(bench, cycle)
        await bench.command("load")
        bench.stop(whole=True)
        # A state image is the shorter load.
        assert await bench.load(job.states[0] if cycle % 8 else job.words)
        assert not bench.beats and not bench.partial
        assert bench.outputs == job.outputs[: len(bench.outputs)]
        finished.add(len(bench.outputs))
        assert await bench.errors() == set()
        await bench.check()
        await bench.command("reset_state")
    assert finished >= {0, 1, 2}


@cocotb.test()
async def reset_state_at_every_cycle(dut):
    """A reset of the state: from one inference on, that had not begun, everything is as from state zero."""
    bench = await start(dut)
    job = bench.job
    last = 0
    for cycle in range(run_length(job)):
        await stream(bench, cycle)
        await bench.command("reset_state")
        finished = len(bench.outputs)
        await bench.receive(len(job.packets))
        restart = job.restarted.index(bench.outputs)
        assert max(last, finished) <= restart <= finished + 2
        last = restart
        assert await bench.errors() == set()
        await bench.command("reset_state")
        await bench.check()
        await bench.command("reset_state")
    assert last >= 2


@cocotb.test()
async def reset_in_a_load(dut):
    """A reset within a load: the program stays until the first record; then the next load is as ever."""
    bench = await start(dut)
    words = bench.job.words
    for count in [*range(8), *range(8, len(words), 41), len(words) - 1]:
        await bench.command("load")
        assert await bench.comes_idle()
        await bench.write("load_data", *words[:count])
        await bench.command("reset")
        assert await bench.comes_idle()
        # Begin and digest overwrite nothing.
        assert (await bench.read("status"))["loaded"] == (count <= 3)
        if count > 3:
            assert await bench.load(words)
        await bench.check()


@cocotb.test()
async def reset_in_a_probe(dut):
    """A reset at any cycle of a read-back."""
    bench = await start(dut)
    for cycle in range(Probe.cycles + 3):
        await bench.write("probe", 0)
        await bench.tick(cycle)
        await bench.command("reset")
        assert not (await bench.read("status"))["probe_done"]
        await bench.check()


@cocotb.test()
async def garbage_programs(dut):
    """Damaged programs that arrive well: whatever they do, a reset with a load ends it."""
    bench = await start(dut)
    job, hung = bench.job, 0
    for number, words in enumerate(job.garbage):
        assert await bench.load(words)
        await stream(bench, 200, stalled=number % 2)
        bench.stop(whole=False)
        await bench.command("load")
        hung += not await bench.comes_idle(300)
        await bench.command("reset", "load")
        dut.m_axis_output_tready.value = 1
        assert await bench.comes_idle()
        await bench.write("load_data", *job.words)
        await bench.errors()
        await bench.check()
    assert 0 < hung


@cocotb.test()
async def alien_programs(dut):
    """Programs for other configurations are refused, each with the error; the program that was there goes on."""
    bench = await start(dut)
    for name, words in bench.job.aliens.items():
        assert not await bench.load(words), name
        assert await bench.errors() == {"wrong_configuration"}, name
        await bench.command("reset")
        await bench.check()
        await bench.command("reset_state")


@cocotb.test()
async def half_packets(dut):
    """Half a packet, then a load: if its inference has begun, a reset helps; if not, the load cuts it and tells."""
    bench = await start(dut)
    job = bench.job
    for beats in range(1, len(job.packets[0])):
        for commands in (("reset",), ("reset", "load")):
            bench.clear()
            bench.beats = [(beat, False) for beat in job.packets[0][:beats]]
            bench.offer()
            await bench.tick(100)
            assert not bench.beats
            await bench.command("load")
            assert not await bench.comes_idle(300)
            await bench.write("load_data", job.words[0])
            assert await bench.errors() == {"load_busy"}
            await bench.command(*commands)
            assert await bench.comes_idle()
            if "load" in commands:
                await bench.write("load_data", *job.words)
            await bench.check()
            await bench.command("reset_state")

    # The inference before it is going on: the load waits for that one.
    for beats in range(1, len(job.packets[0])):
        bench.clear()
        bench.send(*job.packets[:2])
        rest, bench.beats = bench.beats[len(job.packets[0]) + beats :], bench.beats[: len(job.packets[0]) + beats]
        await bench.tick(20)
        assert not bench.beats
        assert await bench.load(job.states[2])
        assert bench.outputs == job.outputs[:1]
        assert await bench.errors() == {"half_packet"}
        bench.beats = rest
        bench.offer()
        await bench.tick(10)
        assert not bench.beats
        await bench.check(first=2)
        await bench.command("reset_state")

    # All beats but no tlast: the inference ends, malformed, and the load goes on.
    for reset in (False, True):
        bench.clear()
        bench.beats = [(beat, False) for beat in job.packets[0]]
        bench.offer()
        await bench.receive(1)
        assert await bench.load(job.words)
        assert await bench.errors() == {"malformed", "half_packet"}
        if reset:
            await bench.command("reset")
        else:
            # The price: this packet is taken for the rest of that one.
            bench.send(job.packets[0])
            await bench.tick(2 * job.spaced_latency)
            assert len(bench.outputs) == 1 and not bench.beats
        await bench.check()
        await bench.command("reset_state")


@cocotb.test()
async def state_images(dut):
    """State images are accepted wherever that has a meaning, and refused with an error elsewhere."""
    bench = await start(dut)
    job = bench.job
    # The load begun twice; the load with a reset of the state; with a reset; right after a program.
    for before in (["load"], ["load", "reset_state"], ["reset_state"], ["reset"], ["load", "reset"], []):
        assert await bench.load(job.words)
        for word in [sum(BITS[name] for name in before)] if before else []:
            await bench.write("control", word)
        await bench.command("load")
        assert await bench.comes_idle()
        await bench.write("load_data", *job.states[2])
        assert (await bench.read("status"))["loaded"], before
        await bench.check(first=2)
    # In the same write as the load.
    assert await bench.load(job.states[3], "reset_state")
    await bench.check(first=3, count=1)
    # And a reset of the state that comes later counts.
    assert await bench.load(job.states[3])
    await bench.command("reset_state")
    await bench.check()

    assert not await bench.load(job.alien_state)
    assert await bench.errors() == {"wrong_program"}
    assert await bench.load(job.states[1])
    await bench.check(first=1)
    # Damaged on its way: nobody knows what it has overwritten.
    assert not await bench.load([*job.states[1][:-1], job.states[1][-1] ^ 1])
    assert await bench.errors() == {"load_crc"}
    assert not await bench.load(job.states[1])
    assert await bench.errors() == {"no_program"}
    assert await bench.load(job.words)
    await bench.check()
    # Without any program.
    await bench.reset()
    assert not await bench.load(job.states[1])
    assert await bench.errors() == {"no_program"}

"""Test bench: commands at every cycle, damaged and alien programs, half packets; afterwards all has to be as ever.

Everything is driven by one coroutine and by hand, a cycle at a time: what a command meets is then known to the cycle,
and thousands of short runs take seconds. ``tests/system/test_recovery.py`` prepares the job.
"""

import os
import pickle

import cocotb

from .by_hand import Bench

#: From the cycle in which a reset is commanded to the first in which the streams are in reset.
RESET_CYCLES = 2


async def start(dut):
    """A bench whose program is loaded."""
    with open(os.environ["SPICCATO_JOB"], "rb") as file:
        bench = Bench(dut, pickle.load(file))
    await bench.reset()
    assert await bench.load(bench.job.words)
    return bench


async def stream(bench, cycles, *, stalled=False):
    """From the initial state, ``cycles`` cycles of inputs that always wait; the output stalled, if so."""
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
    """A load, or one that is refused, between whole packets: what was computed before it is right, too."""
    bench = await start(dut)
    job = bench.job
    finished = set()
    for cycle in range(run_length(job)):
        await stream(bench, cycle)
        await bench.command("load")
        bench.stop(whole=True)
        if cycle % 8:
            # Its first record is a short load.
            assert not await bench.load(job.aliens["slots"][:3])
            assert await bench.errors() == {"wrong_configuration"}
        else:
            assert await bench.load(job.words)
            assert await bench.errors() == set()
        assert not bench.beats and not bench.partial
        assert bench.outputs == job.outputs[: len(bench.outputs)]
        finished.add(len(bench.outputs))
        if cycle % 8:
            await bench.command("reset")
        await bench.check()
        await bench.command("reset_state")
    assert finished >= {0, 1, 2}


@cocotb.test()
async def reset_state_at_every_cycle(dut):
    """States are forgotten: from one inference on, that had not begun, everything is as from the initial state."""
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
        assert await bench.comes_idle()
        bench.send(*job.packets[:2])
        rest, bench.beats = bench.beats[len(job.packets[0]) + beats :], bench.beats[: len(job.packets[0]) + beats]
        await bench.tick(20)
        assert not bench.beats
        assert await bench.load(job.words)
        assert bench.outputs == job.outputs[:1]
        assert await bench.errors() == {"half_packet"}
        bench.beats = rest
        bench.offer()
        await bench.tick(10)
        assert not bench.beats
        await bench.check()
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

"""Test bench of the whole accelerator: plays traffic, and records what comes out and when.

Runs inside the simulator; :mod:`.traffic` prepares its job and :mod:`.comparison` judges its result. It judges nothing
itself.
"""

import os
import pickle

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles

from .device import Bypassed, Registers
from .moves import Mover
from .streams import Played, Streams

#: Clock period in the simulator's steps; cycles are what counts.
PERIOD = 2


@cocotb.test()
async def play(dut):
    """One segment after the other, each from rest to rest."""
    with open(os.environ["SPICCATO_JOB"], "rb") as file:
        job = pickle.load(file)
    Clock(dut.clk, PERIOD, unit="step").start(start_high=False)
    device, streams = Bypassed(Registers(dut), job.config), Streams(dut, job.config)
    mover = Mover(device, streams)
    await device.transport.open()
    result = []
    for segment in job.segments:
        if segment.program is not None:
            await device.load_image(segment.program.load_words(memories=segment.memories))
            device.program = segment.program
            await ClockCycles(dut.clk, segment.settle)
        if segment.reset is not None:
            await getattr(device, segment.reset)()
            await device.wait("idle")
        played = Played()
        moving = cocotb.start_soon(mover.carry_out(segment.moves, segment.packets, played))
        # Afterwards what is quiet may still run, and what should not come may still come.
        await streams.play(segment.packets, segment.outputs, len(segment.moves), segment.settle, segment.pauses, played)
        moving.cancel()
        await device.wait("idle")
        for name in ("latency", "inferences", "stall_cycles", "errors"):
            played.registers[name] = await device.read(name)
        result.append(played)
    with open(job.result, "wb") as results:
        pickle.dump(result, results)

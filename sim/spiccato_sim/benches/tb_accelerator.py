"""Test bench of the whole accelerator: plays traffic, and records what comes out and when.

Runs inside the simulator; :mod:`.traffic` prepares its job and judges its result. It judges nothing itself.
"""

import os
import pickle

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles

from spiccato.host import AsyncDevice

from .device import Registers
from .streams import Streams

#: Clock period in the simulator's steps; cycles are what counts.
PERIOD = 2


@cocotb.test()
async def play(dut):
    """One segment after the other, each from rest to rest."""
    with open(os.environ["SPICCATO_JOB"], "rb") as file:
        job = pickle.load(file)
    Clock(dut.clk, PERIOD, unit="step").start(start_high=False)
    device, streams = AsyncDevice(Registers(dut), job.config), Streams(dut, job.config)
    await device.transport.open()
    result = []
    for segment in job.segments:
        if segment.load_words is not None:
            await device.load_image(segment.load_words)
            await ClockCycles(dut.clk, segment.settle)
        if segment.reset:
            await device.reset_state()
            await device.wait("idle")
        # Afterwards what is quiet may still run, and what should not come may still come.
        accepted, heard = await streams.play(segment.packets, segment.outputs, segment.settle, segment.pauses)
        await device.wait("idle")
        registers = {name: await device.read(name) for name in ("latency", "inferences", "stall_cycles", "errors")}
        result.append((accepted, heard, registers))
    with open(job.result, "wb") as results:
        pickle.dump(result, results)

"""Test bench of the whole accelerator: load a program, stream inputs, record what comes out and when.

Runs inside the simulator; :mod:`.simulate` prepares its job and judges its result. It judges nothing itself.
"""

import os
import pickle
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles

from spiccato.isa.registers import REGISTERS

from .device import Device

#: Clock period in the simulator's steps; cycles are what counts.
PERIOD = 2


@cocotb.test()
async def stream(dut):
    """Spaced inferences, then inputs that always wait."""
    with open(os.environ["SPICCATO_JOB"], "rb") as file:
        job = pickle.load(file)
    Clock(dut.clk, PERIOD, unit="step").start(start_high=False)
    device = Device(dut, job.config)
    await device.reset()
    await device.load_image(job.load_words)
    await ClockCycles(dut.clk, job.settle)
    lists: dict[str, list] = {"outputs": [], "users": [], "accepted": [], "finished": []}
    result: dict[str, Any] = {}

    async def collect():
        frame = await device.sink.recv()
        bits, user = device.values(frame)
        accepted = await device.accepted.recv()
        lists["outputs"].append(bits)
        lists["users"].append(user)
        lists["accepted"].append(accepted.sim_time_start // PERIOD)
        lists["finished"].append(frame.sim_time_end // PERIOD)

    if job.pause_seed is not None:
        device.pause_at_random(np.random.default_rng(job.pause_seed))
    for bits, beats in zip(job.packets[: job.spaced], job.beats):
        await device.source.send(device.packet(bits, beats))
        await collect()
        await ClockCycles(dut.clk, job.settle)
    result["latency_register"] = await device.read("latency")
    if job.reset_before_stream:
        await device.reset_state()
    for bits, beats in zip(job.packets[job.spaced :], job.beats[job.spaced :]):
        await device.source.send(device.packet(bits, beats))
    for _ in job.packets[job.spaced :]:
        await collect()
    await ClockCycles(dut.clk, job.settle)
    for name in ("inferences", "stall_cycles", "errors", "identity"):
        result[name] = await device.read(name)
    result["errors"] = REGISTERS["errors"].unpack(result["errors"])
    result["outputs"] = lists.pop("outputs")
    result |= {key: np.array(values) for key, values in lists.items()}
    with open(job.result, "wb") as results:
        pickle.dump(result, results)

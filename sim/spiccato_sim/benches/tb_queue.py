"""Test bench: a host that takes no outputs until nothing moves any more, then one beat at a time, then all."""

import os
import pickle
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge

from .device import Device
from .tb_accelerator import PERIOD


@cocotb.test()
async def fill_and_drain(dut):
    """Records how many inferences ran after how many beats were taken, what came out, and the stalls."""
    with open(os.environ["SPICCATO_JOB"], "rb") as file:
        job = pickle.load(file)
    Clock(dut.clk, PERIOD, unit="step").start(start_high=False)
    device = Device(dut, job["config"])
    await device.transport.open()
    await device.load_image(job["load_words"])
    await ClockCycles(dut.clk, job["settle"])
    taken = 0

    async def count():
        nonlocal taken
        while True:
            await RisingEdge(dut.clk)
            taken += int(dut.m_axis_output_tvalid.value) & int(dut.m_axis_output_tready.value)

    async def stalls():
        """The stall counter, and the cycle in which it was read."""
        value = await device.read("stall_cycles")
        return value, cocotb.utils.get_sim_time("step") // PERIOD

    cocotb.start_soon(count())
    result: dict[str, Any] = {"ran": [], "outputs": [], "latencies": []}
    device.sink.pause = True
    for bits in job["packets"][: -job["spaced"]]:
        await device.source.send(device.packet(bits))
    await ClockCycles(dut.clk, job["settle"] * len(job["packets"]))
    result["stalled"] = [await stalls() for _ in range(2)]
    while len(result["ran"]) < job["single_beats"]:
        result["ran"].append((taken, await device.read("inferences")))
        device.sink.pause = False
        await ClockCycles(dut.clk, 1)
        device.sink.pause = True
        await ClockCycles(dut.clk, job["settle"])
    device.sink.pause = False

    async def receive():
        frame = await device.sink.recv()
        accepted = await device.accepted.recv()
        result["outputs"].append(device.values(frame)[0])
        return (frame.sim_time_end - accepted.sim_time_start) // PERIOD

    for _ in job["packets"][: -job["spaced"]]:
        await receive()
    await ClockCycles(dut.clk, job["settle"])
    before = await device.read("stall_cycles")
    for bits in job["packets"][-job["spaced"] :]:
        await device.source.send(device.packet(bits))
        result["latencies"].append(await receive())
        await ClockCycles(dut.clk, job["settle"])
    result["stalls_afterwards"] = await device.read("stall_cycles") - before
    result["errors"] = await device.read("errors")
    with open(job["result"], "wb") as results:
        pickle.dump(result, results)

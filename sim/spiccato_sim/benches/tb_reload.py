"""Test bench: another program is loaded while inputs of the first one are queued and one is half received."""

import os
import pickle

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, with_timeout

from .device import Device
from .tb_accelerator import PERIOD


@cocotb.test()
async def reload(dut):
    """Records the outputs of the second program; what is left of the first one's inputs must not disturb them."""
    with open(os.environ["SPICCATO_JOB"], "rb") as file:
        job = pickle.load(file)
    Clock(dut.clk, PERIOD, unit="step").start(start_high=False)
    device = Device(dut, job["config"])
    await device.transport.open()
    # Inputs that come before any program are held, a state reset waits for one.
    await device.source.send(device.packet(job["first"][0]))
    await device.reset_state()
    await ClockCycles(dut.clk, 200)
    assert device.accepted.empty(), "input was accepted without a program"
    await device.load_image(job["load_words"][0])
    for bits in job["first"][1:]:
        await device.source.send(device.packet(bits))
    await ClockCycles(dut.clk, job["delay"])
    loading = cocotb.start_soon(device.load_image(job["load_words"][1]))
    # The rest of the first program's packets comes while the second one is being loaded.
    await loading
    while not device.source.empty() or device.source.active:
        await ClockCycles(dut.clk, 1)
    await ClockCycles(dut.clk, job["settle"])
    while not device.sink.empty():
        device.sink.recv_nowait()
    await device.reset_state()
    outputs = []
    for bits in job["second"]:
        await device.source.send(device.packet(bits))
        frame = await with_timeout(device.sink.recv(), 20000 * PERIOD, "step")
        outputs.append(device.values(frame))
    with open(job["result"], "wb") as file:
        pickle.dump(outputs, file)

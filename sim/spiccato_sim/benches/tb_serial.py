"""Test bench that is a board: bridges the serial system's pins to a pseudo-terminal. See :mod:`.serial_sim`."""

import json
import os
import select
import socket
import time
import tty

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, FallingEdge, Timer

from .serial_sim import RESET, SETTINGS

#: Clock period in the simulator's steps.
PERIOD = 2
#: Longest sleep, in seconds, after which the time limit is looked at.
NAP = 1.0
RESET_CYCLES = 16
CHUNK = 4096


class Bridge:
    """Both directions of the line, each a coroutine; the simulation goes on only while there is something to do."""

    def __init__(self, dut, settings, control):
        self.dut, self.control = dut, control
        self.bit = settings["clocks_per_bit"] * PERIOD
        self.deadline = time.monotonic() + settings["time_limit"]
        # Until then the device may do something by itself.
        self.quiet_after = 2 * settings["watchdog"] // settings["clocks_per_bit"]
        self.quiet = 0
        self.master, slave = os.openpty()
        # Held open, so that hosts may come and go.
        tty.setraw(slave)
        self.port = os.ttyname(slave)

    async def to_host(self):
        """Bytes that the device sends, to the terminal."""
        while True:
            await FallingEdge(self.dut.tx)
            # To the middle of each bit, from that of the start bit on.
            await Timer(self.bit // 2, "step")
            byte = 0
            for bit in range(8):
                await Timer(self.bit, "step")
                byte |= int(self.dut.tx.value) << bit
            await Timer(self.bit, "step")
            assert self.dut.tx.value == 1, "the device sent a byte without a stop bit"
            self.quiet = 0
            os.write(self.master, bytes((byte,)))

    async def send(self, byte):
        """A byte to the device."""
        for level in (0, *((byte >> bit) & 1 for bit in range(8)), 1):
            self.dut.rx.value = level
            await Timer(self.bit, "step")

    async def reset(self):
        """Reset the board; bytes that come meanwhile are lost, those after it are not."""
        self.dut.rst.value = 1
        await ClockCycles(self.dut.clk, RESET_CYCLES)
        self.dut.rst.value = 0
        await ClockCycles(self.dut.clk, RESET_CYCLES)
        # Between two clock edges, where all levels change from now on: a bit is the same number of cycles each time.
        await Timer(PERIOD // 2, "step")
        self.quiet = 0

    async def run(self):
        """Until the control connection ends, or the time is over."""
        while time.monotonic() < self.deadline:
            sleep = self.quiet > self.quiet_after
            ready, _, _ = select.select([self.master, self.control], [], [], NAP if sleep else 0)
            if self.control in ready:
                command = self.control.recv(len(RESET))
                if command != RESET:
                    return
                await self.reset()
                self.control.sendall(RESET)
            elif self.master in ready:
                self.quiet = 0
                for byte in os.read(self.master, CHUNK):
                    await self.send(byte)
            elif not sleep:
                self.quiet += 10
                await Timer(10 * self.bit, "step")
        raise TimeoutError("the simulated board's time is over")


@cocotb.test()
async def board(dut):
    """Is a board until the other end of the control connection has gone."""
    settings = json.loads(os.environ[SETTINGS])
    with socket.socket(socket.AF_UNIX) as control:
        control.connect(settings["control"])
        dut.rx.value = 1
        Clock(dut.clk, PERIOD, unit="step").start(start_high=False)
        bridge = Bridge(dut, settings, control)
        await bridge.reset()
        cocotb.start_soon(bridge.to_host())
        control.sendall(f"{bridge.port}\n".encode())
        await bridge.run()

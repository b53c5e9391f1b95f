"""The accelerator in a simulation, as a host sees it: registers and streams. For use inside cocotb."""

import logging

import numpy as np
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import (AxiLiteBus, AxiLiteMaster, AxiStreamBus, AxiStreamFrame, AxiStreamMonitor, AxiStreamSink,
                           AxiStreamSource)
from spiccato.rtl.registers import REGISTERS

__all__ = ["Device"]


class Device:
    """Drivers of one simulated accelerator; the clock has to run already."""

    def __init__(self, dut, config):
        self.dut, self.config = dut, config
        # The drivers log every transfer, which takes longer than to simulate it.
        logging.getLogger(f"cocotb.{dut._name}").setLevel(logging.WARNING)
        self.axil = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.clk, dut.rst)
        self.source = AxiStreamSource(AxiStreamBus.from_prefix(dut, "s_axis_input"), dut.clk, dut.rst)
        #: Sees when the accelerator accepts input beats.
        self.accepted = AxiStreamMonitor(AxiStreamBus.from_prefix(dut, "s_axis_input"), dut.clk, dut.rst)
        self.sink = AxiStreamSink(AxiStreamBus.from_prefix(dut, "m_axis_output"), dut.clk, dut.rst)

    async def reset(self):
        """Reset for some cycles."""
        self.dut.rst.value = 1
        await ClockCycles(self.dut.clk, 4)
        self.dut.rst.value = 0
        await RisingEdge(self.dut.clk)

    async def write(self, name, word):
        """Write a register by name."""
        response = await self.axil.write(REGISTERS[name].offset, int(word).to_bytes(4, "little"))
        if response.resp != 0:
            raise RuntimeError(f"writing register {name} was answered {response.resp!r}")

    async def read(self, name):
        """Read a register by name: an integer."""
        response = await self.axil.read(REGISTERS[name].offset, 4)
        if response.resp != 0:
            raise RuntimeError(f"reading register {name} was answered {response.resp!r}")
        return int.from_bytes(response.data, "little")

    async def status(self):
        """Fields of the status register."""
        return REGISTERS["status"].unpack(await self.read("status"))

    async def wait(self, field):
        """Poll the status register until ``field`` is set."""
        for _ in range(100_000):
            if (await self.status())[field]:
                return
        raise RuntimeError(f"status.{field} does not come")

    async def load(self, words):
        """Load a program (the words of ``Program.load_words``) and check that it was accepted."""
        await self.write("control", REGISTERS["control"].pack(load=1))
        await self.wait("idle")
        for word in words:
            await self.write("load_data", word)
        if not (await self.status())["loaded"]:
            errors = [name for name, value in REGISTERS["errors"].unpack(await self.read("errors")).items() if value]
            raise RuntimeError(f"the program was not accepted: {', '.join(errors) or 'no error set'}")

    async def reset_state(self):
        """Set h and c to zero before the next inference."""
        await self.write("control", REGISTERS["control"].pack(reset_state=1))

    async def read_state(self, layers):
        """Read h and c of all layers (``Program.layers``) back, as lists of int64 arrays."""
        config = self.config
        await self.wait("idle")

        async def element(**place):
            await self.write("probe", REGISTERS["probe"].pack(**place))
            await self.wait("probe_done")
            word = await self.read("probe_data")
            return (word ^ 1 << 31) - (1 << 31)

        h, c = [], []
        for layer in layers:
            h.append(np.array([await element(address=layer.first_block + unit // config.block,
                                             lane=unit % config.block) for unit in range(layer.units)]))
            states = []
            for unit in range(layer.units):
                quarter, lane = divmod(unit, config.lanes)
                slot, core = divmod(quarter, config.cores)
                states.append(await element(cell=1, address=layer.first_slot + slot, core=core, lane=lane))
            c.append(np.array(states))
        return h, c

    def packet(self, bits, beats=None):
        """An input packet of bit patterns, padded to whole beats; cut or extended to ``beats`` if given."""
        per_beat = self.config.beat_values
        padded = np.zeros((beats or -(-len(bits) // per_beat)) * per_beat, dtype=f"<u{self.config.io_bits // 8}")
        count = min(len(bits), len(padded))
        padded[:count] = bits[:count]
        return AxiStreamFrame(padded.tobytes())

    def pause_at_random(self, rng):
        """Let input and output streams pause in about every second cycle."""
        for stream in (self.source, self.sink):
            stream.set_pause_generator(bool(pause) for pause in iter(lambda: rng.integers(2), None))

    def values(self, frame):
        """Bit patterns of an output packet, and its ``tuser``."""
        users = frame.tuser if isinstance(frame.tuser, list) else [frame.tuser]
        return np.frombuffer(bytes(frame.tdata), dtype=f"<u{self.config.io_bits // 8}"), int(users[-1])

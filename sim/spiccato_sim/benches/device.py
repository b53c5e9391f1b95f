"""The accelerator in a simulation, as a host sees it: registers and streams. For use inside cocotb."""

import logging

from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import (
    AxiLiteBus,
    AxiLiteMaster,
    AxiStreamBus,
    AxiStreamFrame,
    AxiStreamMonitor,
    AxiStreamSink,
    AxiStreamSource,
)

from spiccato.errors import DeviceError
from spiccato.formats import from_beats, to_beats
from spiccato.host import AsyncDevice, Packet, Transport

__all__ = ["AxiTransport", "Bypassed", "Device", "Registers"]


class Registers(Transport):
    """A driver on the register port of a simulated accelerator; the clock has to run already."""

    polls = 10_000

    def __init__(self, dut):
        # The drivers log every transfer, which takes longer than to simulate it.
        logging.getLogger(f"cocotb.{dut._name}").setLevel(logging.WARNING)
        self.axil = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.clk, dut.rst)
        self._dut = dut

    async def open(self):
        """Reset for some cycles."""
        self._dut.rst.value = 1
        await ClockCycles(self._dut.clk, 4)
        self._dut.rst.value = 0
        await RisingEdge(self._dut.clk)

    async def read(self, offset):
        response = await self.axil.read(offset, 4)
        if response.resp != 0:
            raise DeviceError(f"reading register 0x{offset:02x} was answered {response.resp!r}")
        return int.from_bytes(response.data, "little")

    async def write(self, offset, words):
        for word in words:
            response = await self.axil.write(offset, int(word).to_bytes(4, "little"))
            if response.resp != 0:
                raise DeviceError(f"writing register 0x{offset:02x} was answered {response.resp!r}")

    async def step(self, packet):
        raise DeviceError("the streams are driven by others")


class AxiTransport(Registers):
    """Drivers on all ports of a simulated accelerator; the clock has to run already."""

    def __init__(self, dut):
        super().__init__(dut)
        self.source = AxiStreamSource(AxiStreamBus.from_prefix(dut, "s_axis_input"), dut.clk, dut.rst)
        self.sink = AxiStreamSink(AxiStreamBus.from_prefix(dut, "m_axis_output"), dut.clk, dut.rst)

    async def step(self, packet):
        await self.source.send(AxiStreamFrame(packet.data, tid=packet.tid, tuser=packet.user))
        if packet.quiet:
            await self.source.wait()
            return None
        return _received(await self.sink.recv(compact=False))


class Bypassed(AsyncDevice):
    """A device whose packets come from elsewhere, so that it has to be told of them."""

    def expect(self, inferences):
        """Let what settles wait until the register of inferences reads this or more."""
        self._expected = inferences


class Device(AsyncDevice):
    """Drivers of one simulated accelerator, and what measures it; the clock has to run already."""

    def __init__(self, dut, config):
        transport = AxiTransport(dut)
        super().__init__(transport, config)
        self.source, self.sink = transport.source, transport.sink
        #: Sees when the accelerator accepts input beats.
        self.accepted = AxiStreamMonitor(AxiStreamBus.from_prefix(dut, "s_axis_input"), dut.clk, dut.rst)

    def packet(self, bits, beats=None, *, tid=0, user=0):
        """An input packet of bit patterns, padded to whole beats; cut or extended to ``beats`` if given."""
        return AxiStreamFrame(to_beats(bits, self.config, beats), tid=tid, tuser=user)

    def pause_at_random(self, rng):
        """Let input and output streams pause in about every second cycle."""
        for stream in (self.source, self.sink):
            stream.set_pause_generator(bool(pause) for pause in iter(lambda: rng.integers(2), None))

    def values(self, frame):
        """Bit patterns of an output packet, and its ``tuser``."""
        packet = _received(frame)
        return from_beats(packet.data, self.config), packet.user


def _received(frame):
    """An output packet, with what its last beat says."""
    tid, user = (values[-1] if isinstance(values, list) else values for values in (frame.tid, frame.tuser))
    return Packet(bytes(frame.tdata), int(tid), int(user))

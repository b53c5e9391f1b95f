"""The CRC of frames, with registers in front: what it is given reaches none of its bits within the same cycle."""

from amaranth.hdl import Module
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.wiring import In, Out

from ...isa.frames import CRC_BYTES
from ..broadcast import copies
from ..part import Part

__all__ = ["Checksum"]


class Checksum(Part):
    """CRC-32 of bytes. It needs no reset: a frame begins with ``start``.

    Attributes
    ----------
    start : in, a pulse: a frame begins
    data : in, a byte; ``valid`` : in, it counts
    crc : out, of all bytes of the frame, ``latency`` cycles after the last of them
    matches : out, at the same time: the last bytes were the CRC of those before
    """

    latency = 2

    def __init__(self):
        super().__init__(
            "checksum", {"start": In(1), "data": In(8), "valid": In(1), "crc": Out(8 * CRC_BYTES), "matches": Out(1)}
        )

    def elaborate(self, platform):
        m = Module()
        processor = m.submodules.processor = CRC32_ISO_HDLC(data_width=8).create()
        for port, value in ((processor.start, self.start), (processor.data, self.data), (processor.valid, self.valid)):
            m.d.comb += port.eq(*copies(m, port.name, value, 1))
        m.d.comb += [self.crc.eq(processor.crc), self.matches.eq(processor.match_detected)]
        return m

"""Frames to a serial line: header, payload from the reply buffer, CRC and escapes."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.wiring import In, Out

from ...isa.frames import CRC_BYTES, END, ESC, ESCAPED, RESPONSE_HEADER_BYTES
from ..memory import Ram
from ..part import Part

__all__ = ["FrameSender", "Reader"]


class FrameSender(Part):
    """Sends frames: a header, a payload from the reply buffer, and their CRC.

    Parameters
    ----------
    capacity : int, power of two
        Bytes of the reply buffer.

    Attributes
    ----------
    start : in, a pulse: send ``header`` and the first ``payload`` bytes of the buffer; only while not ``busy``
    busy : out
    r_addr : out, r_data : in, of the reply buffer
    bytes : out, a stream, to the serial transmitter
    """

    def __init__(self, capacity):
        self.capacity = capacity
        super().__init__(
            "frame_sender",
            {
                "start": In(1),
                "header": In(8 * RESPONSE_HEADER_BYTES),
                "payload": In(range(capacity)),
                "busy": Out(1),
                "r_addr": Out(range(capacity)),
                "r_data": In(8),
                "bytes": Out(stream.Signature(8)),
            },
        )

    def elaborate(self, platform):
        m = Module()
        crc = m.submodules.checksum = CRC32_ISO_HDLC(data_width=8).create()
        # Header or CRC, `left` bytes of it; payload; the byte that is next.
        few = Signal(8 * CRC_BYTES, reset_less=True)
        left = Signal(range(CRC_BYTES + 1))
        payload = Signal.like(self.payload, reset_less=True)
        more = Signal()
        checked = Signal()
        byte = Signal(8, reset_less=True)
        absorb = Signal()
        reader = Reader(m, self.r_addr)
        m.d.comb += [crc.data.eq(byte), crc.valid.eq(absorb), crc.start.eq(self.start)]
        # One cycle late, which the next look at it is later still.
        m.d.sync += [more.eq(payload.any()), absorb.eq(0)]

        def put(value):
            m.d.sync += [self.bytes.payload.eq(value), self.bytes.valid.eq(1)]

        free = ~self.bytes.valid
        with m.If(self.bytes.valid & self.bytes.ready):
            m.d.sync += self.bytes.valid.eq(0)
        with m.FSM() as fsm:
            with m.State("IDLE"):
                with m.If(self.start):
                    m.d.sync += [
                        few.eq(self.header),
                        left.eq(RESPONSE_HEADER_BYTES),
                        payload.eq(self.payload),
                        checked.eq(0),
                    ]
                    reader.rewind()
                    m.next = "BEGIN"
            with m.State("BEGIN"):
                put(END)
                m.next = "NEXT"
            with m.State("NEXT"):
                with m.If(free):
                    with m.If(left.any()):
                        m.d.sync += [byte.eq(few[:8]), few.eq(few >> 8), left.eq(left - 1), absorb.eq(~checked)]
                        m.next = "ESCAPE"
                    with m.Elif(more):
                        with m.If(reader.settled):
                            m.d.sync += [byte.eq(self.r_data), payload.eq(payload - 1), absorb.eq(1)]
                            reader.advance()
                            m.next = "ESCAPE"
                    with m.Elif(~checked):
                        m.d.sync += [few.eq(crc.crc), left.eq(CRC_BYTES), checked.eq(1)]
                    with m.Else():
                        put(END)
                        m.next = "FINISH"
            with m.State("ESCAPE"):
                put(byte)
                m.next = "NEXT"
                for plain, escaped in ESCAPED.items():
                    with m.If(byte == plain):
                        put(ESC)
                        m.d.sync += byte.eq(escaped)
                        m.next = "ESCAPED"
            with m.State("ESCAPED"):
                with m.If(free):
                    put(byte)
                    m.next = "NEXT"
            with m.State("FINISH"):
                with m.If(free):
                    m.next = "IDLE"
        m.d.comb += self.busy.eq(~fsm.ongoing("IDLE"))
        return m


class Reader:
    """Walks through a memory: ``settled`` tells that the data of the present address are at the memory's output."""

    def __init__(self, m, addr):
        self._m, self._addr = m, addr
        self._since = Signal(Ram.latency, name="settling")
        self.settled = self._since[-1]
        m.d.sync += self._since.eq(Cat(1, self._since[:-1]))

    def rewind(self):
        """Go to the first address."""
        self._m.d.sync += [self._addr.eq(0), self._since.eq(0)]

    def advance(self):
        """Go to the next address."""
        self._m.d.sync += [self._addr.eq(self._addr + 1), self._since.eq(0)]

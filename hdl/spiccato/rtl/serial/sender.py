"""Frames to a serial line: header, payload from the reply buffer, CRC and escapes."""

from amaranth.hdl import Const, Module, Signal
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out, connect, flipped

from ...isa.frames import CRC_BYTES, END, ESC, ESCAPED, RESPONSE_HEADER_BYTES
from ..broadcast import equal_register
from ..part import Part, place
from .checksum import Checksum
from .reader import Reader

__all__ = ["FrameSender"]


class Escaper(Part):
    """Bytes of frames, and their delimiters, to those of the line.

    Attributes
    ----------
    byte : in; end : in, a delimiter instead of it; valid : in, ready : out, as of a stream
    bytes : out, a stream, to the serial transmitter
    """

    def __init__(self):
        super().__init__(
            "frame_escaper",
            {"byte": In(8), "end": In(1), "valid": In(1), "ready": Out(1), "bytes": Out(stream.Signature(8))},
        )

    def elaborate(self, platform):
        m = Module()
        byte = Signal(8, reset_less=True)
        special = Signal(reset_less=True)
        free = ~self.bytes.valid

        def put(value):
            m.d.sync += [self.bytes.payload.eq(value), self.bytes.valid.eq(1)]

        with m.If(self.bytes.ready):
            m.d.sync += self.bytes.valid.eq(0)
        with m.FSM():
            with m.State("TAKE"):
                m.d.comb += self.ready.eq(1)
                m.d.sync += [byte.eq(self.byte), special.eq(0)]
                with m.If(self.end):
                    m.d.sync += byte.eq(END)
                with m.Else():
                    with m.Switch(self.byte):
                        with m.Case(*ESCAPED):
                            m.d.sync += special.eq(1)
                with m.If(self.valid):
                    m.next = "PUT"
            with m.State("PUT"):
                with m.If(free):
                    put(byte)
                    m.next = "TAKE"
                    with m.If(special):
                        put(ESC)
                        m.next = "ESCAPED"
            with m.State("ESCAPED"):
                with m.If(free):
                    with m.Switch(byte):
                        for plain, escaped in ESCAPED.items():
                            with m.Case(plain):
                                put(escaped)
                    m.next = "TAKE"
        return m


class FrameSender(Part):
    """Sends frames: a header, a payload from the reply buffer, and their CRC.

    Parameters
    ----------
    capacity : int, power of two
        Bytes of the reply buffer.

    Attributes
    ----------
    start : in, a pulse: send ``header`` and the first ``payload`` bytes of the buffer, both valid in the next cycle;
        only while not ``busy``
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
        checksum = place(m, "checksum", Checksum(), reset=Const(0))
        escaper = place(m, "escaper", Escaper())
        connect(m, escaper.bytes, flipped(self.bytes))
        reader = Reader(m, self.r_addr)

        # Header or CRC, and the payload that is left: changed in the cycle after that is decided.
        few = Signal(8 * CRC_BYTES, reset_less=True)
        payload = Signal.like(self.payload, reset_less=True)
        more = Signal(reset_less=True)
        begins, begins_payload = (equal_register(name, resettable=True) for name in ("begins", "begins_payload"))
        shifts, ends, taken = (Signal(name=name) for name in ("shifts", "ends", "taken"))
        m.d.sync += [*(pulse.eq(0) for pulse in (begins, begins_payload, shifts, ends, taken)), more.eq(payload.any())]
        with m.If(begins):
            m.d.sync += few[: len(self.header)].eq(self.header)
        with m.Elif(ends):
            m.d.sync += few.eq(checksum.crc)
        with m.Elif(shifts):
            m.d.sync += few[:-8].eq(few[8:])
        with m.If(begins_payload):
            m.d.sync += payload.eq(self.payload)
        with m.Elif(taken):
            m.d.sync += payload.eq(payload - 1)

        left = Signal(range(CRC_BYTES + 1), reset_less=True)
        checked = Signal(reset_less=True)
        # What is next on the line, and whether it belongs to what the CRC is of.
        byte = Signal(8, reset_less=True)
        end = Signal(reset_less=True)
        waits = Signal()
        absorb = Signal()
        m.d.comb += [
            checksum.start.eq(self.start),
            checksum.data.eq(byte),
            checksum.valid.eq(absorb),
            escaper.byte.eq(byte),
            escaper.end.eq(end),
            escaper.valid.eq(waits),
        ]
        m.d.sync += absorb.eq(0)
        with m.If(escaper.ready):
            m.d.sync += waits.eq(0)

        def put(value, is_end=0):
            m.d.sync += [byte.eq(value), end.eq(is_end), waits.eq(1)]

        with m.FSM() as fsm:
            with m.State("IDLE"):
                with m.If(self.start):
                    m.d.sync += [begins.eq(1), begins_payload.eq(1), left.eq(RESPONSE_HEADER_BYTES), checked.eq(0)]
                    reader.rewind()
                    m.next = "BEGIN"
            with m.State("BEGIN"):
                with m.If(~waits):
                    put(END, is_end=1)
                    m.next = "NEXT"
            with m.State("NEXT"):
                with m.If(~waits):
                    with m.If(left.any()):
                        put(few[:8])
                        m.d.sync += [shifts.eq(1), left.eq(left - 1), absorb.eq(~checked)]
                    with m.Elif(more):
                        # Late by as much as the memory takes anyway.
                        with m.If(reader.settled[0]):
                            put(self.r_data)
                            m.d.sync += [taken.eq(1), absorb.eq(1)]
                            reader.advance()
                    with m.Elif(~checked):
                        m.d.sync += [ends.eq(1), left.eq(CRC_BYTES), checked.eq(1)]
                        m.next = "CRC"
                    with m.Else():
                        put(END, is_end=1)
                        m.next = "IDLE"
            with m.State("CRC"):
                m.next = "NEXT"
        m.d.comb += self.busy.eq(~fsm.ongoing("IDLE"))
        return m

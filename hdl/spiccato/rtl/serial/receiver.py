"""Frames from a serial line: escapes undone, checked, and left in the command buffer."""

from amaranth.hdl import Const, Module, Signal
from amaranth.lib.wiring import In, Out

from ...isa.frames import CRC_BYTES, END, ESC, ESCAPED, REQUEST_HEADER_BYTES
from ..memory import connect_write
from ..part import Part, place
from .checksum import Checksum

__all__ = ["FrameReceiver"]


class FrameReceiver(Part):
    """Takes frames apart and leaves those that are good in the command buffer.

    Bytes may come every ``byte_cycles`` cycles. What comes while a frame waits in the buffer is lost, with the rest of
    the frame it belongs to; so is a frame that is longer than the buffer, and everything before the first ``END``.

    Parameters
    ----------
    capacity : int, power of two
        Bytes of the command buffer: a frame without its delimiters.

    Attributes
    ----------
    data, valid, error : in, from the serial receiver
    w_en, w_addr, w_data : out, to the command buffer
    full : out, a good frame is in the buffer; ``payload`` : out, bytes of its payload
    release : in, a pulse: the buffer may be filled again
    bad : out, a pulse: a frame was lost
    """

    byte_cycles = 4

    def __init__(self, capacity):
        self.capacity = capacity
        super().__init__(
            "frame_receiver",
            {
                "data": In(8),
                "valid": In(1),
                "error": In(1),
                "w_en": Out(1),
                "w_addr": Out(range(capacity)),
                "w_data": Out(8),
                "full": Out(1),
                "payload": Out(range(capacity)),
                "release": In(1),
                "bad": Out(1),
            },
        )

    def elaborate(self, platform):
        m = Module()
        checksum = place(m, "checksum", Checksum(), reset=Const(0))
        least = REQUEST_HEADER_BYTES + CRC_BYTES

        # Undo the escapes.
        escape = Signal()
        byte = Signal(8, reset_less=True)
        take = Signal()
        end = Signal()
        wrong = Signal()
        is_end, is_esc = self.data == END, self.data == ESC
        m.d.sync += [take.eq(0), end.eq(self.valid & is_end), wrong.eq(self.error), byte.eq(self.data)]
        with m.If(self.valid):
            m.d.sync += [escape.eq(is_esc), take.eq(~is_end & ~is_esc)]
            with m.If(escape):
                with m.Switch(self.data):
                    for plain, escaped in ESCAPED.items():
                        with m.Case(escaped):
                            m.d.sync += byte.eq(plain)
                    with m.Default():
                        m.d.sync += wrong.eq(1)

        # What there is of the frame, and whether it is a frame. The CRC of a whole frame, its own CRC included, is a
        # constant. All of this has settled when the next byte comes.
        count = Signal(range(self.capacity + 1))
        lost = Signal(init=1)
        matches = Signal()
        long_enough = Signal()
        some = Signal()
        payload = Signal.like(self.payload, reset_less=True)
        m.d.comb += [checksum.data.eq(byte), checksum.valid.eq(take), checksum.start.eq(end), self.payload.eq(payload)]
        connect_write(m, self, "receiver", enable=take & ~self.full, addr=count[:-1], data=byte, registered=True)
        m.d.sync += [matches.eq(checksum.matches), long_enough.eq(count >= least), some.eq(count.any()), self.bad.eq(0)]
        with m.If(take):
            with m.If(~count[-1]):
                m.d.sync += count.eq(count + 1)
            with m.If(self.full | count[-1]):
                m.d.sync += lost.eq(1)
        with m.If(wrong):
            m.d.sync += lost.eq(1)
        with m.If(end):
            m.d.sync += [count.eq(0), lost.eq(0)]
            with m.If(matches & long_enough & ~lost & ~wrong):
                m.d.sync += [self.full.eq(1), payload.eq(count - least)]
            with m.Else():
                m.d.sync += self.bad.eq(some)
        with m.If(self.release):
            m.d.sync += self.full.eq(0)
        return m

"""The header of a request to the host link, and what the link decides by."""

from amaranth.hdl import Module, Signal
from amaranth.lib.wiring import In, Out

from ...isa.frames import NONCE_BYTES, STEP_HEADER_BYTES, Command
from ..part import Part

__all__ = ["RequestHeader"]


class RequestHeader(Part):
    """Keeps the header of a request, and tells what is to become of the request.

    It needs no reset: what it holds counts once a request has been taken, and a session begins with one.

    Parameters
    ----------
    config : Config
    payload : Shape
        Of the payload's length.

    Attributes
    ----------
    byte : in, of the request; takes_number, takes_command : in, pulses: it is the sequence number, or the command
    payload : in, bytes of the request's payload, not later than the sequence number
    accepts : in, a pulse: the request is carried out, hence the last one from now on
    number, command : out
    is_response, is_open, is_unknown : out, the command's kind
    good_length : out, the payload is as long as the command asks for
    repeated, following : out, the request is the last one again, or the one after it
    """

    #: Cycles from ``takes_command`` until all is known.
    latency = 2

    def __init__(self, config, payload):
        self.config, self.payload_shape = config, payload
        super().__init__(
            "link_header",
            {
                "byte": In(8),
                "takes_number": In(1),
                "takes_command": In(1),
                "payload": In(payload),
                "accepts": In(1),
                "number": Out(8),
                "command": Out(8),
                "is_response": Out(1),
                "is_open": Out(1),
                "is_unknown": Out(1),
                "good_length": Out(1),
                "repeated": Out(1),
                "following": Out(1),
            },
        )

    def elaborate(self, platform):
        m = Module()
        number, command = self.number, self.command
        last, expected = (Signal(8, name=name) for name in ("last", "expected"))
        for takes_it, target, value in (
            (self.takes_number, number, self.byte),
            (self.takes_command, command, self.byte),
            (self.accepts, last, number),
        ):
            with m.If(takes_it):
                m.d.sync += target.eq(value)
        m.d.sync += [
            self.is_response.eq(command[7]),
            self.is_open.eq(command == Command.OPEN),
            self.is_unknown.eq(command[2:7].any()),
            expected.eq(last + 1),
            self.repeated.eq(number == last),
            self.following.eq(number == expected),
        ]
        beat_bytes = self.config.beat_bits // 8
        beat_number = (beat_bytes - 1).bit_length()
        whole_beats, some_beats, fits = (Signal(name=name) for name in ("whole_beats", "some_beats", "fits"))
        m.d.sync += [
            whole_beats.eq(self.payload[:beat_number] == STEP_HEADER_BYTES),
            some_beats.eq(self.payload[beat_number:].any()),
            fits.eq(self.payload <= STEP_HEADER_BYTES + self.config.input_beats * beat_bytes),
        ]
        with m.Switch(command[:2]):
            for code, good in (
                (Command.OPEN, self.payload == NONCE_BYTES),
                (Command.READ, self.payload == 1),
                (Command.WRITE, (self.payload[:2] == 1) & self.payload[2:].any()),
                (Command.STEP, whole_beats & some_beats & fits),
            ):
                with m.Case(code):
                    m.d.sync += self.good_length.eq(good)
        return m

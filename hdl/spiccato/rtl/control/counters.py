"""Counters and sticky errors."""

from amaranth.hdl import Cat, Module, Mux
from amaranth.lib.wiring import In, Out, Signature

from ...isa.marks import MARKS
from ...isa.registers import LOAD_ERRORS, REGISTERS
from ...isa.word import WORD_BITS
from ..part import Part

__all__ = ["Errors", "EventCounter", "Latency"]


class EventCounter(Part):
    """Counts pulses.

    Attributes
    ----------
    event : in
    count : out
    """

    def __init__(self):
        super().__init__("event_counter", {"event": In(1), "count": Out(WORD_BITS)})

    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.count.eq(self.count + self.event)
        return m


class Latency(Part):
    """Keeps the latency of the last packet that has left.

    Attributes
    ----------
    done, cycles : in, a pulse: a packet has left, with its latency
    last_cycles : out
    """

    def __init__(self):
        super().__init__("latency", {"done": In(1), "cycles": In(WORD_BITS), "last_cycles": Out(WORD_BITS)})

    def elaborate(self, platform):
        m = Module()
        with m.If(self.done):
            m.d.sync += self.last_cycles.eq(self.cycles)
        return m


class Errors(Part):
    """Collects what goes wrong until a host has cleared it.

    Attributes
    ----------
    inference : in, a pulse: an inference ends, with the marks ``flags``
    error, half_packet : in, pulses: why a load was not accepted; a load has cut a packet
    clear, value : in, a pulse: clear the errors of these bits; one that comes in the same cycle stays
    errors : out, the register of this name
    """

    def __init__(self):
        super().__init__(
            "errors",
            {
                "inference": In(1),
                "flags": In(len(MARKS)),
                "error": In(Signature({name: Out(1) for name in LOAD_ERRORS})),
                "half_packet": In(1),
                "clear": In(1),
                "value": In(WORD_BITS),
                "errors": Out(REGISTERS["errors"].word.size),
            },
        )

    def elaborate(self, platform):
        m = Module()
        pulses = {
            **{mark: flag & self.inference for mark, flag in zip(MARKS, self.flags)},
            **{name: getattr(self.error, name) for name in LOAD_ERRORS},
            "half_packet": self.half_packet,
        }
        raised = Cat(pulses[name] for name in REGISTERS["errors"].fields)
        m.d.sync += self.errors.eq((self.errors & ~Mux(self.clear, self.value, 0)) | raised)
        return m

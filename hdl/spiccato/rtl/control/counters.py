"""Counters and sticky errors."""

from amaranth.hdl import Cat, Module, Mux
from amaranth.lib.wiring import In, Out, Signature

from ...isa.marks import MARKS
from ...isa.registers import LOAD_ERRORS, REGISTERS
from ...isa.word import WORD_BITS
from ..part import Part

__all__ = ["Counters"]


class Counters(Part):
    """Counts what happens, and collects what goes wrong until a host has cleared it.

    Attributes
    ----------
    inference : in, a pulse: an inference ends, with the marks ``flags``
    stall : in, a cycle in which an inference waits for room in the output queue
    done, cycles : in, a pulse: a packet has left, with its latency
    error, half_packet : in, pulses: why a load was not accepted; a load has cut a packet
    clear, value : in, a pulse: clear the errors of these bits; one that comes in the same cycle stays
    now : out, cycle counter
    inferences, stall_cycles, errors : out, registers of these names
    last_cycles : out, ``cycles`` of the last packet that has left
    """

    def __init__(self):
        super().__init__(
            "counters",
            {
                "inference": In(1),
                "flags": In(len(MARKS)),
                "stall": In(1),
                "done": In(1),
                "cycles": In(WORD_BITS),
                "error": In(Signature({name: Out(1) for name in LOAD_ERRORS})),
                "half_packet": In(1),
                "clear": In(1),
                "value": In(WORD_BITS),
                "now": Out(WORD_BITS),
                "inferences": Out(WORD_BITS),
                "stall_cycles": Out(WORD_BITS),
                "last_cycles": Out(WORD_BITS),
                "errors": Out(REGISTERS["errors"].word.size),
            },
        )

    def elaborate(self, platform):
        m = Module()
        m.d.sync += [
            self.now.eq(self.now + 1),
            self.inferences.eq(self.inferences + self.inference),
            self.stall_cycles.eq(self.stall_cycles + self.stall),
        ]
        with m.If(self.done):
            m.d.sync += self.last_cycles.eq(self.cycles)
        pulses = {
            **{mark: flag & self.inference for mark, flag in zip(MARKS, self.flags)},
            **{name: getattr(self.error, name) for name in LOAD_ERRORS},
            "half_packet": self.half_packet,
        }
        raised = Cat(pulses[name] for name in REGISTERS["errors"].fields)
        m.d.sync += self.errors.eq((self.errors & ~Mux(self.clear, self.value, 0)) | raised)
        return m

"""The probe: read-back of the state, one element at a time."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib.wiring import In, Out, Signature

from ...isa.registers import REGISTERS
from ...isa.word import WORD_BITS
from ..broadcast import equal_register
from ..part import Part

__all__ = ["Probe", "ProbeRequest"]


class ProbeRequest(Signature):
    """A request for an element of the state, as who asks for it sees it.

    Attributes
    ----------
    valid : out
        The request stands; nothing else happens meanwhile.
    lane, core, cell, address : out
        Which element: the fields of the register ``probe``.
    data : in
        The element, sign-extended, :attr:`Probe.cycles` cycles later.
    """

    def __init__(self):
        super().__init__(
            {
                "valid": Out(1),
                **{name: Out(field.width) for name, field in REGISTERS["probe"].fields.items()},
                "data": In(WORD_BITS),
            }
        )


class Probe(Part):
    """Asks for the element that a host wants to read, once nothing else is going on, and keeps it.

    Attributes
    ----------
    start, value : in, a pulse; with it and in the next cycle what is written to the register ``probe``
    idle : in, no inference runs, and no reset
    reset : in, a pulse: forget the request
    request : out
    done, element : out, the last request has been answered, and how
    """

    #: For so long ``idle`` has to last before the answer counts.
    cycles = 40

    def __init__(self):
        super().__init__(
            "probe",
            {
                "start": In(1),
                "value": In(WORD_BITS),
                "idle": In(1),
                "reset": In(1),
                "request": Out(ProbeRequest()),
                "done": Out(1),
                "element": Out(WORD_BITS),
            },
        )

    def elaborate(self, platform):
        m = Module()
        request = self.request
        count = Signal(range(self.cycles + 1), reset_less=True)
        started = Signal(reset_less=True)
        answered = Signal()
        # What stands for the element is taken as long as the request stands: its last value is the answer.
        valid, standing = (equal_register(name, resettable=True) for name in ("valid", "standing"))
        m.d.comb += request.valid.eq(valid)
        m.d.comb += answered.eq(valid & self.idle & (count == self.cycles))
        m.d.sync += started.eq(self.start)
        with m.If(self.start):
            m.d.sync += [Cat(valid, standing).eq(0b11), self.done.eq(0)]
        with m.Elif(answered):
            m.d.sync += [Cat(valid, standing).eq(0), self.done.eq(1)]
        with m.If(self.start | ~self.idle):
            m.d.sync += count.eq(0)
        with m.Elif(valid):
            m.d.sync += count.eq(count + 1)
        for name, field in REGISTERS["probe"].fields.items():
            register = Signal(field.width, name=f"probe_{name}", reset_less=True)
            with m.If(started):
                m.d.sync += register.eq(self.value[field.offset : field.offset + field.width])
            m.d.comb += getattr(request, name).eq(register)
        element = Signal(WORD_BITS, reset_less=True)
        with m.If(standing):
            m.d.sync += element.eq(request.data)
        m.d.comb += self.element.eq(element)
        with m.If(self.reset):
            m.d.sync += [Cat(valid, standing).eq(0), self.done.eq(0)]
        return m

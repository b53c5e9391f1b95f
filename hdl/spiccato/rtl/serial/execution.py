"""What carries out one command of the host link, and the first three commands: OPEN, READ and WRITE.

Each is a part of its own, so that its state drives few registers. A payload is read byte by byte, and what is done with
a byte may be done a cycle after it was decided, see :class:`.reader.Reader`.
"""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib.wiring import In, Out, Signature

from ...isa.frames import LINK_VERSION, WORD_BYTES, Status
from ...isa.registers import ADDRESS_BITS
from ..axi import AxiLiteReads, AxiLiteWrites
from ..broadcast import DelayLine, equal_register
from ..part import Part

__all__ = ["Execution", "Open", "Outcome", "Read", "Write"]


class Execution(Signature):
    """Between the link and what carries out a command, as the latter sees it.

    Attributes
    ----------
    go : in, a pulse: begin
    byte : in, the payload's next; settled : in, it is there, and ``more`` tells whether it is one of the payload
    take : out, go to the next one; only while ``settled``, which then falls
    waiting : out, the accelerator has to do something; overdue : in, it has taken too long
    reply_en : out, ``reply`` : out, the next byte of the response's payload
    done : out, a pulse, not before the last ``reply_en``; status : out, with it, otherwise 0
    """

    def __init__(self):
        super().__init__(
            {
                "go": In(1),
                "byte": In(8),
                "settled": In(1),
                "more": In(1),
                "take": Out(1),
                "waiting": Out(1),
                "overdue": In(1),
                "reply_en": Out(1),
                "reply": Out(8),
                "done": Out(1),
                "status": Out(range(max(Status) + 1)),
            }
        )


class Outcome:
    """How an execution ends: said in one of its states, known to the link ``after`` cycles later."""

    def __init__(self, m, link, after):
        self._m = m
        self._done, self._status = Signal(name="ends"), Signal.like(link.status, name="ends_with")
        m.d.comb += [
            link.done.eq(DelayLine(m, "done", self._done, resettable=True).at(after)),
            link.status.eq(DelayLine(m, "status", self._status).at(after)),
        ]

    def is_(self, status):
        """In the present state and cycle; the last one that is said counts."""
        self._m.d.comb += [self._done.eq(1), self._status.eq(status)]


class Open(Part):
    """OPEN: the nonce, the link's version, and the largest payload that a request may have.

    Parameters
    ----------
    largest_payload : int
        Bytes.

    Attributes
    ----------
    link : :class:`Execution`
    """

    def __init__(self, largest_payload):
        self.largest_payload = largest_payload
        super().__init__("link_open", {"link": Out(Execution())})

    def elaborate(self, platform):
        m = Module()
        link = self.link
        outcome = Outcome(m, link, after=1)
        m.d.sync += link.reply_en.eq(0)

        def write_reply(value):
            m.d.sync += [link.reply_en.eq(1), link.reply.eq(value)]

        with m.FSM():
            with m.State("IDLE"):
                with m.If(link.go):
                    m.next = "NONCE"
            with m.State("NONCE"):
                with m.If(link.settled):
                    with m.If(link.more):
                        write_reply(link.byte)
                        m.d.comb += link.take.eq(1)
                    with m.Else():
                        m.next = "VERSION"
            with m.State("VERSION"):
                write_reply(LINK_VERSION)
                m.next = "LOW"
            with m.State("LOW"):
                write_reply(self.largest_payload & 0xFF)
                m.next = "HIGH"
            with m.State("HIGH"):
                write_reply(self.largest_payload >> 8)
                outcome.is_(Status.OK)
                m.next = "IDLE"
        return m


class Read(Part):
    """READ: one register of the accelerator.

    Attributes
    ----------
    link : :class:`Execution`
    axil : out, to the accelerator's control
    """

    def __init__(self):
        super().__init__("link_read", {"link": Out(Execution()), "axil": Out(AxiLiteReads())})

    def elaborate(self, platform):
        m = Module()
        link, axil = self.link, self.axil
        # A reply is two registers behind the state.
        outcome = Outcome(m, link, after=3)
        word = Signal(8 * WORD_BYTES, reset_less=True)
        index = Signal(range(WORD_BYTES), reset_less=True)
        # Both high in the cycle in which the accelerator's answer is taken.
        loads = equal_register("loads", resettable=True)
        ready = equal_register("ready", resettable=True)
        shifts = Signal()
        m.d.comb += axil.rready.eq(ready)
        m.d.sync += [loads.eq(0), ready.eq(0), shifts.eq(0), link.reply_en.eq(shifts), link.reply.eq(word[:8])]
        with m.If(loads):
            m.d.sync += word.eq(axil.rdata)
        with m.Elif(shifts):
            m.d.sync += word[:-8].eq(word[8:])
        with m.If(axil.arready):
            m.d.sync += axil.arvalid.eq(0)
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += index.eq(0)
                with m.If(link.go):
                    m.next = "ADDRESS"
            with m.State("ADDRESS"):
                with m.If(link.settled):
                    m.d.sync += [axil.araddr.eq(link.byte[:ADDRESS_BITS]), axil.arvalid.eq(1)]
                    m.next = "WAIT"
            with m.State("WAIT"):
                m.d.comb += link.waiting.eq(1)
                with m.If(axil.rvalid):
                    m.d.sync += [loads.eq(1), ready.eq(1)]
                    m.next = "REPLY"
                    with m.If(axil.rresp.any()):
                        outcome.is_(Status.BUS)
                        m.next = "IDLE"
                with m.If(link.overdue):
                    m.d.sync += axil.arvalid.eq(0)
                    outcome.is_(Status.TIMEOUT)
                    m.next = "IDLE"
            with m.State("REPLY"):
                m.d.sync += [shifts.eq(1), index.eq(index + 1)]
                with m.If(index.all()):
                    outcome.is_(Status.OK)
                    m.next = "IDLE"
        return m


class Write(Part):
    """WRITE: words to one register of the accelerator.

    Attributes
    ----------
    link : :class:`Execution`
    axil : out, to the accelerator's control
    """

    def __init__(self):
        super().__init__("link_write", {"link": Out(Execution()), "axil": Out(AxiLiteWrites())})

    def elaborate(self, platform):
        m = Module()
        link, axil = self.link, self.axil
        outcome = Outcome(m, link, after=1)
        word = Signal(8 * WORD_BYTES, reset_less=True)
        index = Signal(range(WORD_BYTES), reset_less=True)
        shifts, begins, accepts = (Signal(name=name) for name in ("shifts", "begins", "accepts"))
        m.d.comb += [axil.wstrb.eq(~0), axil.wdata.eq(word), axil.bready.eq(accepts)]
        m.d.sync += [shifts.eq(0), begins.eq(0), accepts.eq(0)]
        with m.If(shifts):
            m.d.sync += word.eq(Cat(word[8:], link.byte))
        # The word is whole with them.
        for ready, valid in ((axil.awready, axil.awvalid), (axil.wready, axil.wvalid)):
            with m.If(begins):
                m.d.sync += valid.eq(1)
            with m.Elif(ready):
                m.d.sync += valid.eq(0)
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += index.eq(0)
                with m.If(link.go):
                    m.next = "ADDRESS"
            with m.State("ADDRESS"):
                with m.If(link.settled):
                    m.d.sync += axil.awaddr.eq(link.byte[:ADDRESS_BITS])
                    m.d.comb += link.take.eq(1)
                    m.next = "WORD"
            with m.State("WORD"):
                with m.If(link.settled):
                    m.d.sync += [shifts.eq(1), index.eq(index + 1)]
                    m.d.comb += link.take.eq(1)
                    with m.If(index.all()):
                        m.d.sync += begins.eq(1)
                        m.next = "WAIT"
            with m.State("WAIT"):
                m.d.comb += link.waiting.eq(1)
                # `more` is known as soon as the next byte is.
                with m.If(axil.bvalid & link.settled):
                    m.d.sync += accepts.eq(1)
                    m.next = "WORD"
                    with m.If(~link.more):
                        outcome.is_(Status.OK)
                        m.next = "IDLE"
                    with m.If(axil.bresp.any()):
                        outcome.is_(Status.BUS)
                        m.next = "IDLE"
                with m.If(link.overdue):
                    m.d.sync += [axil.awvalid.eq(0), axil.wvalid.eq(0)]
                    outcome.is_(Status.TIMEOUT)
                    m.next = "IDLE"
        return m

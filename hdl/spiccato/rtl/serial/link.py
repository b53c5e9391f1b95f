"""The host link: frames of bytes in, accesses to the accelerator's ports, frames of bytes out.

:mod:`spiccato.isa.frames` tells what frames there are. One request is under way at a time. The link carries one out
only if its sequence number is the one after the last; the last one again gets the same response again, without being
carried out again.
"""

import functools
import operator

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out, connect, flipped

from ...isa.frames import (
    CRC_BYTES,
    NONCE_BYTES,
    REQUEST_HEADER_BYTES,
    RESPONSE,
    RESPONSE_HEADER_BYTES,
    STEP_HEADER_BYTES,
    TID_BYTES,
    Command,
    Status,
)
from ..axi import AxiLite, input_stream, output_stream
from ..broadcast import copies, equal_register, held_reset
from ..memory import Ram
from ..part import Part, place
from .execution import Open, Read, Write
from .header import RequestHeader
from .reader import Reader
from .receiver import FrameReceiver
from .sender import FrameSender
from .step import Step

__all__ = ["Link"]


class Link(Part):
    """Carries out what a host asks for, one request after the other; the module's description tells the rules.

    While there is no session the accelerator is held in reset, so that whatever an abandoned session left in it is
    gone when the next one begins.

    Parameters
    ----------
    config : Config
    watchdog : int
        Cycles that the accelerator may take for a register access, an input packet, or a beat of an output packet.

    Attributes
    ----------
    rx_data, rx_valid, rx_error : in, from the serial receiver
    tx : out, a stream of bytes, to the serial transmitter
    m_axil : out, to the accelerator's control
    m_axis_input : out, s_axis_output : in, to and from the accelerator's streams; beats are passed on whole, whatever
        ``tkeep`` says
    accelerator_rst : out, reset of the accelerator
    opened : out, there is a session
    fault : out, a pulse: a frame was lost, or a request was answered with another status than OK
    """

    #: Least bytes of the command buffer: as many as one block memory holds anyway.
    least_capacity = 2048

    def __init__(self, config, *, watchdog):
        if not isinstance(watchdog, int) or watchdog < 2:
            raise ValueError(f"watchdog must be an integer of at least 2, not {watchdog!r}")
        self.config, self.watchdog = config, watchdog
        beat_bytes = config.beat_bits // 8
        self.capacity = _power_of_two(
            max(
                self.least_capacity,
                REQUEST_HEADER_BYTES + STEP_HEADER_BYTES + config.input_beats * beat_bytes + CRC_BYTES,
            )
        )
        #: Bytes of payload that a request may have.
        self.largest_payload = self.capacity - REQUEST_HEADER_BYTES - CRC_BYTES
        # The packet, its marks and tid, or what OPEN is answered.
        self.reply_capacity = _power_of_two(max(config.output_beats * beat_bytes + 1 + TID_BYTES, NONCE_BYTES + 3))
        super().__init__(
            "link",
            {
                "rx_data": In(8),
                "rx_valid": In(1),
                "rx_error": In(1),
                "tx": Out(stream.Signature(8)),
                "m_axil": Out(AxiLite()),
                "m_axis_input": Out(input_stream(config)),
                "s_axis_output": In(output_stream(config)),
                "accelerator_rst": Out(1, init=1),
                "opened": Out(1),
                "fault": Out(1),
            },
        )

    def elaborate(self, platform):
        m = Module()

        def add(name, part):
            return place(m, name, part, reset=held_reset(m, name))

        receiver = add("receiver", FrameReceiver(self.capacity))
        sender = add("sender", FrameSender(self.reply_capacity))
        requests = place(m, "requests", Ram("ram_requests", width=8, depth=self.capacity))
        replies = place(m, "replies", Ram("ram_replies", width=8, depth=self.reply_capacity))
        m.d.comb += [
            receiver.data.eq(self.rx_data),
            receiver.valid.eq(self.rx_valid),
            receiver.error.eq(self.rx_error),
            requests.w_en.eq(receiver.w_en),
            requests.w_addr.eq(receiver.w_addr),
            requests.w_data.eq(receiver.w_data),
            replies.r_addr.eq(sender.r_addr),
            sender.r_data.eq(replies.r_data),
        ]
        connect(m, sender.bytes, flipped(self.tx))
        m.d.sync += self.accelerator_rst.eq(~self.opened)

        # What carries out the commands, in the order of their codes.
        executions = {
            Command.OPEN: add("open", Open(self.largest_payload)),
            Command.READ: add("read", Read()),
            Command.WRITE: add("write", Write()),
            Command.STEP: add("step", Step(self.config)),
        }
        users = [executions[name] for name in (Command.READ, Command.WRITE, Command.STEP)]
        self._connect_accelerator(m, *users)
        self._watch(m, [user.link for user in users])
        links = [executions[name].link for name in sorted(executions)]

        # The request, byte by byte. `left` counts its payload; `more` is up to date whenever `settled` is set.
        reader = Reader(m, requests.r_addr, users=1 + len(links))
        settled, *settled_elsewhere = reader.settled
        left = Signal.like(receiver.payload, reset_less=True)
        more = Signal(reset_less=True)
        fresh = Signal()
        taken = Signal()
        takes = Cat(link.take for link in links).any()
        m.d.sync += [more.eq(left.any()), fresh.eq(0), taken.eq(takes)]
        with m.If(fresh):
            m.d.sync += left.eq(receiver.payload)
        with m.Elif(taken):
            m.d.sync += left.eq(left - 1)
        with m.If(takes):
            reader.advance()
        for link, there in zip(links, settled_elsewhere):
            m.d.comb += [link.byte.eq(requests.r_data), link.settled.eq(there), link.more.eq(more)]

        # Its header, taken in the cycle after that is decided.
        request = place(m, "header", RequestHeader(self.config, receiver.payload.shape()), reset=Const(0))
        takes_number, takes_command, accepts = (
            Signal(name=name) for name in ("takes_number", "takes_command", "accepts")
        )
        m.d.sync += [takes_number.eq(0), takes_command.eq(0), accepts.eq(0)]
        m.d.comb += [
            request.byte.eq(requests.r_data),
            request.payload.eq(receiver.payload),
            request.takes_number.eq(takes_number),
            request.takes_command.eq(takes_command),
            request.accepts.eq(accepts),
        ]

        # The response. The last one that belongs to a request carried out is kept, to be sent again.
        status = Signal.like(links[0].status, reset_less=True)
        kept_header = Signal(8 * RESPONSE_HEADER_BYTES, reset_less=True)
        keeps = Signal()
        written = Signal.like(sender.payload, reset_less=True)
        reply, reply_en = Signal(8, reset_less=True), Signal()
        # It is refused: this header, no payload.
        refused_header, refused_payload = (equal_register(f"refused_{name}") for name in ("header", "payload"))
        refuses = Signal()
        starts_sending = Signal()
        header = Cat(request.number, request.command | RESPONSE, status | Const(0, 8))
        m.d.sync += [
            reply_en.eq(Cat(link.reply_en for link in links).any()),
            reply.eq(functools.reduce(operator.or_, (Mux(link.reply_en, link.reply, 0) for link in links))),
            starts_sending.eq(0),
            keeps.eq(0),
            refuses.eq(0),
            self.fault.eq(receiver.bad | self.rx_error | refuses | keeps & status.any()),
        ]
        m.d.comb += [
            replies.w_addr.eq(written),
            replies.w_data.eq(reply),
            replies.w_en.eq(reply_en),
            sender.start.eq(starts_sending),
            sender.header.eq(Mux(refused_header, header, kept_header)),
            sender.payload.eq(Mux(refused_payload, 0, written)),
        ]
        with m.If(keeps):
            m.d.sync += kept_header.eq(header)
        with m.If(accepts):
            m.d.sync += written.eq(0)
        with m.Elif(reply_en):
            m.d.sync += written.eq(written + 1)

        def refuse(reason):
            m.d.sync += status.eq(reason)
            m.next = "REFUSE"

        def send(is_refused):
            m.d.sync += [starts_sending.eq(1), refused_header.eq(is_refused), refused_payload.eq(is_refused)]
            m.next = "RELEASE"

        gos = Signal(len(links))
        m.d.sync += gos.eq(0)
        m.d.comb += Cat(link.go for link in links).eq(gos)
        done = Cat(link.done for link in links).any()
        # Those that are not done say nothing.
        ended = functools.reduce(operator.or_, (link.status for link in links))
        with m.FSM():
            with m.State("IDLE"):
                reader.rewind()
                m.d.sync += fresh.eq(1)
                with m.If(receiver.full & ~sender.busy):
                    m.next = "SEQUENCE"
            with m.State("SEQUENCE"):
                m.d.sync += status.eq(Status.OK)
                with m.If(settled):
                    m.d.sync += takes_number.eq(1)
                    reader.advance()
                    m.next = "COMMAND"
            with m.State("COMMAND"):
                with m.If(settled):
                    m.d.sync += takes_command.eq(1)
                    reader.advance()
                    m.next = "SETTLE"
            with m.State("SETTLE"):
                # Also long enough for all that is known of the header.
                with m.If(settled):
                    m.next = "DECIDE"
            with m.State("DECIDE"):
                with m.If(request.is_response):
                    # One's own, if the line is looped back.
                    m.next = "RELEASE"
                with m.Elif(request.is_open):
                    with m.If(request.good_length):
                        m.d.sync += [self.opened.eq(0), accepts.eq(1)]
                        m.next = "EXECUTE"
                    with m.Else():
                        refuse(Status.LENGTH)
                with m.Elif(~self.opened):
                    refuse(Status.CLOSED)
                with m.Elif(request.repeated):
                    m.next = "ANSWER"
                with m.Elif(~request.following):
                    refuse(Status.SEQUENCE)
                with m.Else():
                    m.d.sync += accepts.eq(1)
                    m.next = "EXECUTE"
            with m.State("EXECUTE"):
                m.next = "KEEP"
                with m.If(request.is_unknown):
                    m.d.sync += status.eq(Status.COMMAND)
                with m.Elif(~request.good_length):
                    m.d.sync += status.eq(Status.LENGTH)
                with m.Else():
                    m.d.sync += gos.bit_select(request.command[:2], 1).eq(1)
                    m.next = "WAIT"
            with m.State("WAIT"):
                with m.If(done):
                    m.d.sync += status.eq(ended)
                    m.next = "KEEP"
                    with m.If(request.is_open):
                        # Until now the accelerator was in reset.
                        m.d.sync += self.opened.eq(1)
                    with m.If(ended == Status.TIMEOUT):
                        m.d.sync += self.opened.eq(0)
                        m.next = "REFUSE"
            with m.State("REFUSE"):
                m.d.sync += refuses.eq(1)
                send(is_refused=1)
            with m.State("KEEP"):
                m.d.sync += keeps.eq(1)
                m.next = "ANSWER"
            with m.State("ANSWER"):
                send(is_refused=0)
            with m.State("RELEASE"):
                m.d.comb += receiver.release.eq(1)
                m.next = "IDLE"
        return m

    def _connect_accelerator(self, m, read, write, step):
        """The accelerator's ports to the parts that drive them."""
        for part in (read, write):
            for name, member in part.axil.signature.members.items():
                outer, inner = getattr(self.m_axil, name), getattr(part.axil, name)
                m.d.comb += outer.eq(inner) if member.flow is Out else inner.eq(outer)
        connect(m, step.m_axis_input, flipped(self.m_axis_input))
        connect(m, flipped(self.s_axis_output), step.s_axis_output)

    def _watch(self, m, links):
        """Tell executions when they have waited too long for the accelerator."""
        overdue_in = Signal(range(-1, self.watchdog - 1), reset_less=True)
        # Below zero the time is over.
        overdue = overdue_in[-1]
        copied = copies(m, "overdue", overdue, len(links))
        waiting = Signal(reset_less=True)
        m.d.comb += (link.overdue.eq(copy) for link, copy in zip(links, copied))
        m.d.sync += waiting.eq(Cat(link.waiting for link in links).any())
        with m.If(~waiting):
            m.d.sync += overdue_in.eq(self.watchdog - 2)
        with m.Elif(~overdue):
            m.d.sync += overdue_in.eq(overdue_in - 1)


def _power_of_two(least):
    """The smallest power of two that is not below ``least``."""
    return 1 << (least - 1).bit_length()

"""The host link: frames of bytes in, accesses to the accelerator's ports, frames of bytes out.

:mod:`spiccato.isa.frames` tells what frames there are. One request is under way at a time. The link carries one out
only if its sequence number is the one after the last; the last one again gets the same response again, without being
carried out again.
"""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out, connect, flipped

from ...isa.frames import (
    CRC_BYTES,
    LINK_VERSION,
    NONCE_BYTES,
    REQUEST_HEADER_BYTES,
    RESPONSE,
    RESPONSE_HEADER_BYTES,
    STEP_HEADER_BYTES,
    TID_BYTES,
    WORD_BYTES,
    Command,
    Status,
)
from ...isa.marks import marks_word, request_word
from ...isa.registers import ADDRESS_BITS
from ..axi import AxiLite, AxiStream
from ..memory import DistributedRam, Ram
from ..part import Part, place
from ..words import layout
from .receiver import FrameReceiver
from .sender import FrameSender, Reader

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
        self.beat_bytes = config.beat_bits // 8
        #: Beats that an input packet may have.
        self.largest_packet = config.input_blocks * config.beats_per_block
        self.capacity = _power_of_two(
            max(
                self.least_capacity,
                REQUEST_HEADER_BYTES + STEP_HEADER_BYTES + self.largest_packet * self.beat_bytes + CRC_BYTES,
            )
        )
        #: Bytes of payload that a request may have.
        self.largest_payload = self.capacity - REQUEST_HEADER_BYTES - CRC_BYTES
        # The packet, its marks and tid, or what OPEN is answered.
        self.reply_capacity = _power_of_two(max(config.output_beats * self.beat_bytes + 1 + TID_BYTES, NONCE_BYTES + 3))
        super().__init__(
            "link",
            {
                "rx_data": In(8),
                "rx_valid": In(1),
                "rx_error": In(1),
                "tx": Out(stream.Signature(8)),
                "m_axil": Out(AxiLite()),
                "m_axis_input": Out(AxiStream(config.beat_bits, id_bits=config.tid_bits, user=layout(request_word))),
                "s_axis_output": In(
                    AxiStream(config.beat_bits, keep=True, id_bits=config.tid_bits, user=layout(marks_word))
                ),
                "accelerator_rst": Out(1, init=1),
                "opened": Out(1),
                "fault": Out(1),
            },
        )

    def elaborate(self, platform):
        m = Module()
        receiver = place(m, "receiver", FrameReceiver(self.capacity))
        sender = place(m, "sender", FrameSender(self.reply_capacity))
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

        # The request, byte by byte. `left` counts its payload; `more` is up to date whenever `settled` is set.
        reader = Reader(m, requests.r_addr)
        byte = requests.r_data
        left = Signal.like(receiver.payload, reset_less=True)
        more = Signal(reset_less=True)
        fresh = Signal()
        taken = Signal()
        m.d.sync += [more.eq(left.any()), fresh.eq(0), taken.eq(0)]
        with m.If(fresh):
            m.d.sync += left.eq(receiver.payload)
        with m.Elif(taken):
            m.d.sync += left.eq(left - 1)

        def take():
            reader.advance()
            m.d.sync += taken.eq(1)

        # Its header, and what is known of it one cycle later.
        sequence = Signal(8, reset_less=True)
        command = Signal(8, reset_less=True)
        last = Signal(8, reset_less=True)
        is_response, is_open, repeated, following = (
            Signal(name=name, reset_less=True) for name in ("is_response", "is_open", "repeated", "following")
        )
        expected = Signal(8, reset_less=True)
        good_length = Signal(reset_less=True)
        whole_beats, some_beats, fits = (
            Signal(name=name, reset_less=True) for name in ("whole_beats", "some_beats", "fits")
        )
        beat_number = (self.beat_bytes - 1).bit_length()
        m.d.sync += [
            is_response.eq(command[7]),
            is_open.eq(command == Command.OPEN),
            expected.eq(last + 1),
            repeated.eq(sequence == last),
            following.eq(sequence == expected),
            whole_beats.eq(receiver.payload[:beat_number] == STEP_HEADER_BYTES),
            some_beats.eq(receiver.payload[beat_number:].any()),
            fits.eq(receiver.payload <= STEP_HEADER_BYTES + self.largest_packet * self.beat_bytes),
        ]
        with m.Switch(command[:2]):
            with m.Case(Command.OPEN):
                m.d.sync += good_length.eq(receiver.payload == NONCE_BYTES)
            with m.Case(Command.READ):
                m.d.sync += good_length.eq(receiver.payload == 1)
            with m.Case(Command.WRITE):
                m.d.sync += good_length.eq((receiver.payload[:2] == 1) & receiver.payload[2:].any())
            with m.Case(Command.STEP):
                m.d.sync += good_length.eq(whole_beats & some_beats & fits)

        # The response. The last one that belongs to a request carried out is kept, to be sent again.
        status = Signal(8)
        kept_header = Signal(8 * RESPONSE_HEADER_BYTES, reset_less=True)
        written = Signal.like(sender.payload, reset_less=True)
        rewrite = Signal()
        m.d.comb += replies.w_addr.eq(written)
        m.d.sync += [replies.w_en.eq(0), rewrite.eq(0), sender.start.eq(0), self.fault.eq(receiver.bad | self.rx_error)]
        with m.If(rewrite):
            m.d.sync += written.eq(0)
        with m.Elif(replies.w_en):
            m.d.sync += written.eq(written + 1)
        header = Cat(sequence, command | RESPONSE, status)

        def send(frame_header, payload):
            m.d.sync += [sender.header.eq(frame_header), sender.payload.eq(payload), sender.start.eq(1)]

        def write_reply(value):
            m.d.sync += [replies.w_en.eq(1), replies.w_data.eq(value)]

        # Counts while the link waits for the accelerator.
        overdue_in = Signal(range(-1, self.watchdog - 1), reset_less=True)
        overdue = overdue_in[-1]
        waiting = Signal()
        with m.If(~waiting):
            m.d.sync += overdue_in.eq(self.watchdog - 2)
        with m.Elif(~overdue):
            m.d.sync += overdue_in.eq(overdue_in - 1)

        def give_up_if(condition):
            """Last in a state that waits for the accelerator: then no answer counts any more."""
            m.d.comb += waiting.eq(1)
            with m.If(condition):
                m.next = "GIVE UP"

        word = Signal(8 * WORD_BYTES, reset_less=True)
        beat = Signal(self.config.beat_bits, reset_less=True)
        # What comes before the beats of an input packet, and behind those of an output packet.
        header_in = Signal(8 * STEP_HEADER_BYTES, reset_less=True)
        asked = Signal(layout(request_word))
        trailer = Signal(8 * (1 + TID_BYTES), reset_less=True)
        ends = Signal(reset_less=True)
        index = Signal(range(self.beat_bytes))
        word_end, beat_end = index[:2].all(), index.all()
        beats_left = Signal(range(self.config.output_beats), reset_less=True)
        m.d.comb += [
            self.m_axil.wstrb.eq(0b1111),
            self.m_axil.wdata.eq(word),
            self.m_axil.bready.eq(reader.settled),
            self.m_axil.rready.eq(1),
        ]
        # An input packet is collected here, so that its beats follow each other as in any other design.
        packet = place(
            m, "packet", DistributedRam("ram_packet", width=self.config.beat_bits, depth=self.largest_packet)
        )
        packet_at = Signal(packet.addr_bits, reset_less=True)
        to_come = Signal(range(self.largest_packet + 1), reset_less=True)
        next_is_last = Signal(reset_less=True)
        m.d.comb += [packet.w_addr.eq(packet_at), packet.r_addr.eq(packet_at), packet.w_data.eq(beat)]
        m.d.comb += [
            asked.eq(header_in[8 * TID_BYTES :]),
            self.m_axis_input.tid.eq(header_in),
            self.m_axis_input.tuser.eq(asked),
        ]

        def put_beat(last):
            m.d.sync += [
                self.m_axis_input.tvalid.eq(1),
                self.m_axis_input.tdata.eq(packet.r_data),
                self.m_axis_input.tlast.eq(last),
                next_is_last.eq(to_come == 2),
                to_come.eq(to_come - 1),
                packet_at.eq(packet_at + 1),
            ]

        for ready, valid in (
            (self.m_axil.awready, self.m_axil.awvalid),
            (self.m_axil.wready, self.m_axil.wvalid),
            (self.m_axil.arready, self.m_axil.arvalid),
        ):
            with m.If(ready):
                m.d.sync += valid.eq(0)

        with m.FSM():
            with m.State("IDLE"):
                reader.rewind()
                m.d.sync += [fresh.eq(1), status.eq(Status.OK), index.eq(0), packet_at.eq(0), to_come.eq(0)]
                with m.If(receiver.full & ~sender.busy):
                    m.next = "SEQUENCE"
            with m.State("SEQUENCE"):
                with m.If(reader.settled):
                    m.d.sync += sequence.eq(byte)
                    reader.advance()
                    m.next = "COMMAND"
            with m.State("COMMAND"):
                with m.If(reader.settled):
                    m.d.sync += command.eq(byte)
                    reader.advance()
                    m.next = "SETTLE"
            with m.State("SETTLE"):
                # Also long enough for all that is known one or two cycles after the header.
                with m.If(reader.settled):
                    m.next = "DECIDE"
            with m.State("DECIDE"):
                with m.If(is_response):
                    # One's own, if the line is looped back.
                    m.next = "RELEASE"
                with m.Elif(is_open):
                    m.d.sync += status.eq(Status.LENGTH)
                    m.next = "REFUSE"
                    with m.If(good_length):
                        m.d.sync += [status.eq(Status.OK), self.opened.eq(0), last.eq(sequence), rewrite.eq(1)]
                        m.next = "OPEN"
                with m.Elif(~self.opened):
                    m.d.sync += status.eq(Status.CLOSED)
                    m.next = "REFUSE"
                with m.Elif(repeated):
                    m.next = "ANSWER"
                with m.Elif(~following):
                    m.d.sync += status.eq(Status.SEQUENCE)
                    m.next = "REFUSE"
                with m.Else():
                    m.d.sync += [last.eq(sequence), rewrite.eq(1)]
                    m.next = "EXECUTE"
            with m.State("EXECUTE"):
                with m.If(~good_length):
                    m.d.sync += status.eq(Status.LENGTH)
                    m.next = "KEEP"
                with m.Else():
                    with m.Switch(command):
                        with m.Case(Command.READ):
                            m.next = "READ"
                        with m.Case(Command.WRITE):
                            m.next = "WRITE"
                        with m.Case(Command.STEP):
                            m.next = "STEP HEADER"
                with m.If(command[2:7].any()):
                    m.d.sync += status.eq(Status.COMMAND)
                    m.next = "KEEP"

            # The accelerator is in reset until the nonce has been copied: three cycles a byte.
            with m.State("OPEN"):
                with m.If(reader.settled):
                    with m.If(more):
                        write_reply(byte)
                        take()
                    with m.Else():
                        m.next = "OPEN VERSION"
            with m.State("OPEN VERSION"):
                write_reply(LINK_VERSION)
                m.next = "OPEN LOW"
            with m.State("OPEN LOW"):
                write_reply(self.largest_payload & 0xFF)
                m.next = "OPEN HIGH"
            with m.State("OPEN HIGH"):
                write_reply(self.largest_payload >> 8)
                m.d.sync += self.opened.eq(1)
                m.next = "KEEP"

            with m.State("READ"):
                with m.If(reader.settled):
                    m.d.sync += [self.m_axil.araddr.eq(byte[:ADDRESS_BITS]), self.m_axil.arvalid.eq(1)]
                    m.next = "READ WAIT"
            with m.State("READ WAIT"):
                with m.If(self.m_axil.rvalid):
                    m.d.sync += [word.eq(self.m_axil.rdata), index.eq(0)]
                    m.next = "READ REPLY"
                    with m.If(self.m_axil.rresp.any()):
                        m.d.sync += status.eq(Status.BUS)
                        m.next = "KEEP"
                give_up_if(overdue)
            with m.State("READ REPLY"):
                write_reply(word[:8])
                m.d.sync += [word.eq(word >> 8), index.eq(index + 1)]
                with m.If(word_end):
                    m.next = "KEEP"

            with m.State("WRITE"):
                with m.If(reader.settled):
                    m.d.sync += self.m_axil.awaddr.eq(byte[:ADDRESS_BITS])
                    take()
                    m.next = "WRITE WORD"
            with m.State("WRITE WORD"):
                with m.If(reader.settled):
                    m.d.sync += [word.eq(Cat(word[8:], byte)), index.eq(index + 1)]
                    take()
                    with m.If(word_end):
                        m.d.sync += [self.m_axil.awvalid.eq(1), self.m_axil.wvalid.eq(1)]
                        m.next = "WRITE WAIT"
            with m.State("WRITE WAIT"):
                with m.If(self.m_axil.bvalid & reader.settled):
                    m.next = "WRITE WORD"
                    with m.If(~more):
                        m.next = "KEEP"
                    with m.If(self.m_axil.bresp.any()):
                        m.d.sync += status.eq(Status.BUS)
                        m.next = "KEEP"
                give_up_if(overdue)

            with m.State("STEP HEADER"):
                with m.If(reader.settled):
                    m.d.sync += [header_in.eq(Cat(header_in[8:], byte)), index.eq(index + 1)]
                    take()
                    with m.If(index == STEP_HEADER_BYTES - 1):
                        m.d.sync += index.eq(0)
                        m.next = "STEP"
            with m.State("STEP"):
                with m.If(reader.settled):
                    m.d.sync += [beat.eq(Cat(beat[8:], byte)), index.eq(index + 1)]
                    take()
                    with m.If(beat_end):
                        m.next = "STEP LAST"
            with m.State("STEP LAST"):
                with m.If(reader.settled):
                    m.d.comb += packet.w_en.eq(1)
                    m.d.sync += [packet_at.eq(packet_at + 1), to_come.eq(to_come + 1)]
                    m.next = "STEP"
                    with m.If(~more):
                        m.d.sync += packet_at.eq(0)
                        m.next = "STEP BEGIN"
            with m.State("STEP BEGIN"):
                put_beat(to_come == 1)
                m.d.sync += beats_left.eq(self.config.output_beats - 1)
                m.next = "STEP SEND"
            with m.State("STEP SEND"):
                with m.If(self.m_axis_input.tready):
                    put_beat(next_is_last)
                    with m.If(self.m_axis_input.tlast):
                        m.d.sync += self.m_axis_input.tvalid.eq(0)
                        m.next = "KEEP"
                        with m.If(~asked.quiet):
                            m.d.sync += self.s_axis_output.tready.eq(1)
                            m.next = "STEP RECEIVE"
                give_up_if(overdue)
            with m.State("STEP RECEIVE"):
                with m.If(self.s_axis_output.tvalid):
                    m.d.sync += [
                        self.s_axis_output.tready.eq(0),
                        beat.eq(self.s_axis_output.tdata),
                        trailer.eq(Cat(self.s_axis_output.tuser.as_value() | Const(0, 8), self.s_axis_output.tid)),
                        ends.eq(self.s_axis_output.tlast),
                    ]
                    m.next = "STEP REPLY"
                give_up_if(overdue)
            with m.State("STEP REPLY"):
                write_reply(beat[:8])
                m.d.sync += [beat.eq(beat >> 8), index.eq(index + 1)]
                with m.If(beat_end):
                    with m.If(ends):
                        m.next = "STEP TRAILER"
                    with m.Elif(beats_left == 0):
                        # More than the accelerator's queue holds: this will never end.
                        m.next = "GIVE UP"
                    with m.Else():
                        m.d.sync += [self.s_axis_output.tready.eq(1), beats_left.eq(beats_left - 1)]
                        m.next = "STEP RECEIVE"
            with m.State("STEP TRAILER"):
                write_reply(trailer[:8])
                m.d.sync += [trailer.eq(trailer >> 8), index.eq(index + 1)]
                with m.If(index == TID_BYTES):
                    m.next = "KEEP"

            with m.State("GIVE UP"):
                m.d.sync += [
                    self.m_axil.awvalid.eq(0),
                    self.m_axil.wvalid.eq(0),
                    self.m_axil.arvalid.eq(0),
                    self.m_axis_input.tvalid.eq(0),
                    self.s_axis_output.tready.eq(0),
                    self.opened.eq(0),
                    status.eq(Status.TIMEOUT),
                ]
                m.next = "REFUSE"
            with m.State("REFUSE"):
                send(header, 0)
                m.d.sync += self.fault.eq(1)
                m.next = "RELEASE"
            with m.State("KEEP"):
                m.d.sync += kept_header.eq(header)
                with m.If(status != Status.OK):
                    m.d.sync += self.fault.eq(1)
                m.next = "ANSWER"
            with m.State("ANSWER"):
                send(kept_header, written)
                m.next = "RELEASE"
            with m.State("RELEASE"):
                m.d.comb += receiver.release.eq(1)
                m.next = "IDLE"
        return m


def _power_of_two(least):
    """The smallest power of two that is not below ``least``."""
    return 1 << (least - 1).bit_length()

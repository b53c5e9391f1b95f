"""The host link: frames of bytes in, accesses to the accelerator's ports, frames of bytes out.

A frame is SLIP's (RFC 1055): ``END``, escaped bytes, ``END``. Its bytes are a header, a payload and the CRC-32 (zlib's)
of both, little-endian. A request's header is a sequence number and a command; a response's is the same, with
``RESPONSE`` added to the command, and a status. Frames that are damaged in any way are not answered.

One request is under way at a time. The link carries one out only if its sequence number is the one after the last;
the last one again gets the same response again, without being carried out again. :class:`Command` and
:class:`Status` tell the rest; ``docs/link.md`` tells why no fault of the line can lead to a wrong result.
"""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import enum
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.wiring import In, Out

from .control import AXI_LITE
from .ingress import FLAGS
from .memory import DistributedRam, Ram
from .part import Part, place
from .registers import ADDRESS_BITS

__all__ = ["Command", "Status", "FrameReceiver", "FrameSender", "Link", "END", "ESC", "ESCAPED", "RESPONSE",
           "NONCE_BYTES", "CRC_BYTES", "REQUEST_HEADER_BYTES", "RESPONSE_HEADER_BYTES", "LINK_VERSION", "markdown"]

#: Of everything on this page that a host has to know.
LINK_VERSION = 1

END, ESC = 0xC0, 0xDB
#: What follows ESC, for the byte it stands for.
ESCAPED = {END: 0xDC, ESC: 0xDD}
#: The bit of a response's command byte that tells it from a request's.
RESPONSE = 0x80
NONCE_BYTES = 8
CRC_BYTES = 4
REQUEST_HEADER_BYTES = 2
RESPONSE_HEADER_BYTES = 3
_WORD_BYTES = 4


class Command(enum.Enum, shape=7):
    """What a request asks for."""

    OPEN = 0
    READ = 1
    WRITE = 2
    STEP = 3


class Status(enum.Enum, shape=8):
    """How a request went."""

    OK = 0
    CLOSED = 1
    SEQUENCE = 2
    COMMAND = 3
    LENGTH = 4
    BUS = 5
    TIMEOUT = 6


#: Command -> (payload of the request, payload of the response, meaning).
COMMANDS = {
    Command.OPEN: (f"{NONCE_BYTES} bytes that the host chooses",
                   "the same bytes, `LINK_VERSION` (1 byte), largest payload of a request (2 bytes)",
                   "Reset the accelerator and begin a session; this request's sequence number is the last one's. "
                   "Always carried out."),
    Command.READ: ("register offset (1 byte)", "register (4 bytes)", "Read a register."),
    Command.WRITE: ("register offset (1 byte), words (4 bytes each, at least one)", "none",
                    "Write the words, one after the other, to the register."),
    Command.STEP: ("beats of an input packet", "beats of the output packet, `tuser` (1 byte)",
                   "Send an input packet and receive the output packet that it leads to."),
}

#: Status -> meaning.
STATUSES = {
    Status.OK: "Done.",
    Status.CLOSED: "There is no session: the device was reset, or a timeout ended the last one. Program and state "
                   "are gone.",
    Status.SEQUENCE: "The sequence number is neither the last one nor the one after it. Nothing was done.",
    Status.COMMAND: "There is no such command. Nothing was done.",
    Status.LENGTH: "The command does not take a payload of this length. Nothing was done.",
    Status.BUS: "The accelerator refused the access (SLVERR); words after the refused one were not written.",
    Status.TIMEOUT: "The accelerator did not finish in time. The session has ended.",
}


class FrameReceiver(Part):
    """Takes frames apart and leaves those that are good in the command buffer.

    Bytes may come every ``byte_cycles`` cycles. What comes while a frame waits in the buffer is lost, with the rest of
    the frame it belongs to; so is a frame that is longer than the buffer, and everything before the first ``END``.

    Parameters
    ----------
    capacity : int, power of two
        Bytes of the command buffer: a frame without its delimiters.

    Members
    -------
    data, valid, error : in, from the serial receiver
    w_en, w_addr, w_data : out, to the command buffer
    full : out, a good frame is in the buffer; ``payload`` : out, bytes of its payload
    release : in, a pulse: the buffer may be filled again
    bad : out, a pulse: a frame was lost
    """

    byte_cycles = 4

    def __init__(self, capacity):
        self.capacity = capacity
        super().__init__("frame_receiver", {
            "data": In(8), "valid": In(1), "error": In(1),
            "w_en": Out(1), "w_addr": Out(range(capacity)), "w_data": Out(8),
            "full": Out(1), "payload": Out(range(capacity)), "release": In(1), "bad": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        crc = m.submodules.checksum = CRC32_ISO_HDLC(data_width=8).create()
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
        m.d.comb += [crc.data.eq(byte), crc.valid.eq(take), crc.start.eq(end),
                     self.w_en.eq(take & ~self.full), self.w_addr.eq(count), self.w_data.eq(byte)]
        m.d.sync += [matches.eq(crc.match_detected), long_enough.eq(count >= least), some.eq(count.any()),
                     self.bad.eq(0)]
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
                m.d.sync += [self.full.eq(1), self.payload.eq(count - least)]
            with m.Else():
                m.d.sync += self.bad.eq(some)
        with m.If(self.release):
            m.d.sync += self.full.eq(0)
        return m


class FrameSender(Part):
    """Sends frames: a header, a payload from the reply buffer, and their CRC.

    Parameters
    ----------
    capacity : int, power of two
        Bytes of the reply buffer.

    Members
    -------
    start : in, a pulse: send ``header`` and the first ``payload`` bytes of the buffer; only while not ``busy``
    busy : out
    r_addr : out, r_data : in, of the reply buffer
    data, valid : out, ready : in, to the serial transmitter
    """

    def __init__(self, capacity):
        self.capacity = capacity
        super().__init__("frame_sender", {
            "start": In(1), "header": In(8 * RESPONSE_HEADER_BYTES), "payload": In(range(capacity)), "busy": Out(1),
            "r_addr": Out(range(capacity)), "r_data": In(8),
            "data": Out(8), "valid": Out(1), "ready": In(1),
        })

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
        reader = _Reader(m, self.r_addr)
        m.d.comb += [crc.data.eq(byte), crc.valid.eq(absorb), crc.start.eq(self.start)]
        # One cycle late, which the next look at it is later still.
        m.d.sync += [more.eq(payload.any()), absorb.eq(0)]

        def put(value):
            m.d.sync += [self.data.eq(value), self.valid.eq(1)]

        free = ~self.valid
        with m.If(self.valid & self.ready):
            m.d.sync += self.valid.eq(0)
        with m.FSM() as fsm:
            with m.State("IDLE"):
                with m.If(self.start):
                    m.d.sync += [few.eq(self.header), left.eq(RESPONSE_HEADER_BYTES), payload.eq(self.payload),
                                 checked.eq(0)]
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


class _Reader:
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


class Link(Part):
    """Carries out what a host asks for, one request after the other; the module's description tells the rules.

    While there is no session the accelerator is held in reset, so that whatever an abandoned session left in it is
    gone when the next one begins.

    Parameters
    ----------
    config : Config
    watchdog : int
        Cycles that the accelerator may take for a register access, an input packet, or a beat of an output packet.

    Members
    -------
    rx_data, rx_valid, rx_error : in, from the serial receiver
    tx_data, tx_valid : out, tx_ready : in, to the serial transmitter
    m_axil_* : to the accelerator's control, see ``AXI_LITE``
    m_axis_input_*, s_axis_output_* : to and from the accelerator's streams
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
        self.capacity = _power_of_two(max(
            self.least_capacity, REQUEST_HEADER_BYTES + self.largest_packet * self.beat_bytes + CRC_BYTES))
        #: Bytes of payload that a request may have.
        self.largest_payload = self.capacity - REQUEST_HEADER_BYTES - CRC_BYTES
        # The packet and its marks, or what OPEN is answered.
        self.reply_capacity = _power_of_two(max(config.output_beats * self.beat_bytes + 1, NONCE_BYTES + 3))
        super().__init__("link", {
            "rx_data": In(8), "rx_valid": In(1), "rx_error": In(1),
            "tx_data": Out(8), "tx_valid": Out(1), "tx_ready": In(1),
            **{f"m_axil_{name}": direction.flip()(bits) for name, (direction, bits) in AXI_LITE.items()},
            "m_axis_input_tdata": Out(config.beat_bits), "m_axis_input_tvalid": Out(1),
            "m_axis_input_tready": In(1), "m_axis_input_tlast": Out(1),
            "s_axis_output_tdata": In(config.beat_bits), "s_axis_output_tuser": In(len(FLAGS)),
            "s_axis_output_tlast": In(1), "s_axis_output_tvalid": In(1), "s_axis_output_tready": Out(1),
            "accelerator_rst": Out(1, init=1), "opened": Out(1), "fault": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        receiver = place(m, "receiver", FrameReceiver(self.capacity))
        sender = place(m, "sender", FrameSender(self.reply_capacity))
        requests = place(m, "requests", Ram("ram_requests", width=8, depth=self.capacity))
        replies = place(m, "replies", Ram("ram_replies", width=8, depth=self.reply_capacity))
        m.d.comb += [
            receiver.data.eq(self.rx_data), receiver.valid.eq(self.rx_valid), receiver.error.eq(self.rx_error),
            requests.w_en.eq(receiver.w_en), requests.w_addr.eq(receiver.w_addr), requests.w_data.eq(receiver.w_data),
            replies.r_addr.eq(sender.r_addr), sender.r_data.eq(replies.r_data),
            self.tx_data.eq(sender.data), self.tx_valid.eq(sender.valid), sender.ready.eq(self.tx_ready),
        ]
        m.d.sync += self.accelerator_rst.eq(~self.opened)

        # The request, byte by byte. `left` counts its payload; `more` is up to date whenever `settled` is set.
        reader = _Reader(m, requests.r_addr)
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
            Signal(name=name, reset_less=True) for name in ("is_response", "is_open", "repeated", "following"))
        expected = Signal(8, reset_less=True)
        good_length = Signal(reset_less=True)
        aligned = Signal(reset_less=True)
        fits = Signal(reset_less=True)
        m.d.sync += [
            is_response.eq(command[7]), is_open.eq(command == Command.OPEN.value),
            expected.eq(last + 1), repeated.eq(sequence == last), following.eq(sequence == expected),
            aligned.eq(~receiver.payload[:(self.beat_bytes - 1).bit_length()].any()),
            fits.eq(receiver.payload <= self.largest_packet * self.beat_bytes),
        ]
        with m.Switch(command[:2]):
            with m.Case(Command.OPEN.value):
                m.d.sync += good_length.eq(receiver.payload == NONCE_BYTES)
            with m.Case(Command.READ.value):
                m.d.sync += good_length.eq(receiver.payload == 1)
            with m.Case(Command.WRITE.value):
                m.d.sync += good_length.eq((receiver.payload[:2] == 1) & receiver.payload[2:].any())
            with m.Case(Command.STEP.value):
                m.d.sync += good_length.eq(aligned & fits & more)

        # The response. The last one that belongs to a request carried out is kept, to be sent again.
        status = Signal(Status)
        kept_header = Signal(8 * RESPONSE_HEADER_BYTES, reset_less=True)
        written = Signal.like(sender.payload, reset_less=True)
        rewrite = Signal()
        m.d.comb += replies.w_addr.eq(written)
        m.d.sync += [replies.w_en.eq(0), rewrite.eq(0), sender.start.eq(0),
                     self.fault.eq(receiver.bad | self.rx_error)]
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

        word = Signal(8 * _WORD_BYTES, reset_less=True)
        beat = Signal(self.config.beat_bits, reset_less=True)
        user = Signal(len(FLAGS), reset_less=True)
        ends = Signal(reset_less=True)
        index = Signal(range(self.beat_bytes))
        word_end, beat_end = index[:2].all(), index.all()
        beats_left = Signal(range(self.config.output_beats), reset_less=True)
        m.d.comb += [
            self.m_axil_wstrb.eq(0b1111), self.m_axil_wdata.eq(word),
            self.m_axil_bready.eq(reader.settled), self.m_axil_rready.eq(1),
        ]
        # An input packet is collected here, so that its beats follow each other as in any other design.
        packet = place(m, "packet", DistributedRam(
            "ram_packet", width=self.config.beat_bits, depth=self.largest_packet))
        packet_at = Signal(packet.addr_bits, reset_less=True)
        to_come = Signal(range(self.largest_packet + 1), reset_less=True)
        next_is_last = Signal(reset_less=True)
        m.d.comb += [packet.w_addr.eq(packet_at), packet.r_addr.eq(packet_at), packet.w_data.eq(beat)]

        def put_beat(last):
            m.d.sync += [self.m_axis_input_tvalid.eq(1), self.m_axis_input_tdata.eq(packet.r_data),
                         self.m_axis_input_tlast.eq(last), next_is_last.eq(to_come == 2),
                         to_come.eq(to_come - 1), packet_at.eq(packet_at + 1)]

        for ready, valid in ((self.m_axil_awready, self.m_axil_awvalid), (self.m_axil_wready, self.m_axil_wvalid),
                             (self.m_axil_arready, self.m_axil_arvalid)):
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
                        with m.Case(Command.READ.value):
                            m.next = "READ"
                        with m.Case(Command.WRITE.value):
                            m.next = "WRITE"
                        with m.Case(Command.STEP.value):
                            m.next = "STEP"
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
                    m.d.sync += [self.m_axil_araddr.eq(byte[:ADDRESS_BITS]), self.m_axil_arvalid.eq(1)]
                    m.next = "READ WAIT"
            with m.State("READ WAIT"):
                with m.If(self.m_axil_rvalid):
                    m.d.sync += [word.eq(self.m_axil_rdata), index.eq(0)]
                    m.next = "READ REPLY"
                    with m.If(self.m_axil_rresp.any()):
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
                    m.d.sync += self.m_axil_awaddr.eq(byte[:ADDRESS_BITS])
                    take()
                    m.next = "WRITE WORD"
            with m.State("WRITE WORD"):
                with m.If(reader.settled):
                    m.d.sync += [word.eq(Cat(word[8:], byte)), index.eq(index + 1)]
                    take()
                    with m.If(word_end):
                        m.d.sync += [self.m_axil_awvalid.eq(1), self.m_axil_wvalid.eq(1)]
                        m.next = "WRITE WAIT"
            with m.State("WRITE WAIT"):
                with m.If(self.m_axil_bvalid & reader.settled):
                    m.next = "WRITE WORD"
                    with m.If(~more):
                        m.next = "KEEP"
                    with m.If(self.m_axil_bresp.any()):
                        m.d.sync += status.eq(Status.BUS)
                        m.next = "KEEP"
                give_up_if(overdue)

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
                with m.If(self.m_axis_input_tready):
                    put_beat(next_is_last)
                    with m.If(self.m_axis_input_tlast):
                        m.d.sync += [self.m_axis_input_tvalid.eq(0), self.s_axis_output_tready.eq(1)]
                        m.next = "STEP RECEIVE"
                give_up_if(overdue)
            with m.State("STEP RECEIVE"):
                with m.If(self.s_axis_output_tvalid):
                    m.d.sync += [self.s_axis_output_tready.eq(0), beat.eq(self.s_axis_output_tdata),
                                 user.eq(self.s_axis_output_tuser), ends.eq(self.s_axis_output_tlast)]
                    m.next = "STEP REPLY"
                give_up_if(overdue)
            with m.State("STEP REPLY"):
                write_reply(beat[:8])
                m.d.sync += [beat.eq(beat >> 8), index.eq(index + 1)]
                with m.If(beat_end):
                    with m.If(ends):
                        m.next = "STEP MARKS"
                    with m.Elif(beats_left == 0):
                        # More than the accelerator's queue holds: this will never end.
                        m.next = "GIVE UP"
                    with m.Else():
                        m.d.sync += [self.s_axis_output_tready.eq(1), beats_left.eq(beats_left - 1)]
                        m.next = "STEP RECEIVE"
            with m.State("STEP MARKS"):
                write_reply(user)
                m.next = "KEEP"

            with m.State("GIVE UP"):
                m.d.sync += [self.m_axil_awvalid.eq(0), self.m_axil_wvalid.eq(0), self.m_axil_arvalid.eq(0),
                             self.m_axis_input_tvalid.eq(0), self.s_axis_output_tready.eq(0),
                             self.opened.eq(0), status.eq(Status.TIMEOUT)]
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


def markdown():
    """Commands and statuses as Markdown tables, for the documentation."""
    lines = ["| code | command | payload of the request | payload of the response | meaning |",
             "|---|---|---|---|---|"]
    lines += [f"| {command.value} | `{command.name}` | {' | '.join(texts)} |" for command, texts in COMMANDS.items()]
    lines += ["", "| code | status | meaning |", "|---|---|---|"]
    lines += [f"| {status.value} | `{status.name}` | {text} |" for status, text in STATUSES.items()]
    return "\n".join(lines) + "\n"

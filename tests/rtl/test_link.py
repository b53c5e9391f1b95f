"""The link's hardware with the host's end of it: every command, every status, and a line that misbehaves."""

import os
import zlib

import numpy as np
import pytest

from faulty_line import FaultyLine
from rtl_bench import make_config, simulate
from spiccato.errors import DeviceError, LinkError, SessionError
from spiccato.host import Line, LinkTransport, Packet
from spiccato.host.link import FrameDecoder, encode_frame
from spiccato.isa.frames import END, ESC, LINK_VERSION, NONCE_BYTES, RESPONSE, STEP_HEADER_BYTES, Command, Status
from spiccato.isa.marks import request_word
from spiccato.rtl.part import ports
from spiccato.rtl.serial.link import Link
from spiccato.rtl.serial.receiver import FrameReceiver

#: Numbers of contexts have more than a byte.
CONFIG = make_config(output_beats=4, models=2, streams=256)
BEAT = CONFIG.beat_bits // 8
WATCHDOG = 100
#: One cycle, as the host's clock has it.
CYCLE_S = 1e-6
FREE, READ_ONLY, SCRATCH = 0x40, 0x00, 0x10
START, QUIET = (request_word.pack(**{name: 1}) for name in ("start", "quiet"))
NONCE = bytes(range(0xBC, 0xBC + NONCE_BYTES))  # some of them have to be escaped


@pytest.fixture(autouse=True)
def same_nonces(monkeypatch):
    """Nonces and first sequence numbers are the same in every run, and with them the length of frames."""
    monkeypatch.setattr(os, "urandom", np.random.default_rng(0).bytes)


class SmallLink(Link):
    """With a buffer that the tests fill quickly."""

    least_capacity = 16


class Board(Line):
    """A link, an accelerator that is a few lines of Python, and the line between link and host.

    The accelerator echoes packets with the number of the step added to each byte, so that a step too many or too few
    shows in all that follow. Packets that ask for no output get none.
    """

    name, byte_seconds = "board", FrameReceiver.byte_cycles * CYCLE_S

    def __init__(self, rng=None):
        self.link = SmallLink(CONFIG, watchdog=WATCHDOG)
        self.ports = {name: value for name, (_, value) in ports(self.link).items()}
        self.rng = rng
        self.to_device, self.from_device = bytearray(), bytearray()
        # No byte has arrived as soon as the clock runs.
        self.cycle, self.next_byte = 0, FrameReceiver.byte_cycles
        self.stuck, self.stops_after = False, None
        self.inputs_set = {}
        self.faults = 0
        self.reset_accelerator()

    def reset_accelerator(self):
        self.registers = {READ_ONLY: 0x1234C0DB, SCRATCH: 0}
        self.writes, self.inputs, self.outputs, self.beat_cycles = [], [], [], []
        self.aw = self.w = None
        self.answered = self.read_taken = False
        self.packet, self.named, self.accepts = b"", [], False
        self.steps = 0
        self.output_beats = None

    def simulate(self, script):
        """Run ``await script(board)``."""

        async def testbench(ctx):
            self.ctx = ctx
            await script(self)

        simulate(self.link, testbench)

    def get(self, name):
        return self.ctx.get(self.ports[name])

    def set(self, **values):
        # Few of them change from cycle to cycle.
        for name, value in values.items():
            if self.inputs_set.get(name) != value:
                self.inputs_set[name] = value
                self.ctx.set(self.ports[name], value)

    def chance(self):
        return self.rng is None or bool(self.rng.integers(2))

    async def tick(self, count=1):
        for _ in range(count):
            self.serve()
            await self.ctx.tick()
            self.cycle += 1

    def serve(self):
        """One cycle of everything around the link."""
        send = bool(self.to_device) and self.cycle >= self.next_byte
        self.set(rx_valid=send, rx_error=0)
        if send:
            self.next_byte = self.cycle + FrameReceiver.byte_cycles
            byte = self.to_device.pop(0)
            self.set(rx_data=byte)
        ready = self.cycle % FrameReceiver.byte_cycles == 0
        self.set(tx_ready=ready)
        if ready and self.get("tx_valid"):
            self.from_device.append(self.get("tx_payload"))
        self.faults += self.get("fault")
        if self.get("accelerator_rst"):
            self.reset_accelerator()
            self.set(m_axil_bvalid=0, m_axil_rvalid=0, s_axis_output_tvalid=0)
            self.set(m_axil_awready=0, m_axil_wready=0, m_axil_arready=0, m_axis_input_tready=0)
            return
        self.serve_bus()
        self.serve_streams()

    def serve_bus(self):
        """Registers. Handshakes of the cycle before are looked at first."""
        if self.answered:
            self.set(m_axil_bvalid=0)
        elif (
            not self.get("m_axil_bvalid")
            and self.aw is not None
            and self.w is not None
            and not self.stuck
            and self.chance()
        ):
            good = self.aw == SCRATCH
            if good:
                self.registers[SCRATCH] = self.w
                self.writes.append(self.w)
            self.set(m_axil_bvalid=1, m_axil_bresp=0 if good else 2)
            self.aw = self.w = None
        if self.read_taken:
            self.set(m_axil_rvalid=0)
        for channel, payload in (("aw", "awaddr"), ("w", "wdata")):
            ready = getattr(self, channel) is None and self.chance() and not self.stuck
            self.set(**{f"m_axil_{channel}ready": ready})
            if ready and self.get(f"m_axil_{channel}valid"):
                setattr(self, channel, self.get(f"m_axil_{payload}"))
        ready = self.chance() and not self.stuck and not self.get("m_axil_rvalid")
        self.set(m_axil_arready=ready)
        if ready and self.get("m_axil_arvalid"):
            value = self.registers.get(self.get("m_axil_araddr"))
            self.set(m_axil_rvalid=1, m_axil_rdata=value or 0, m_axil_rresp=0 if value is not None else 2)
        self.answered = self.get("m_axil_bvalid") and self.get("m_axil_bready")
        self.read_taken = self.get("m_axil_rvalid") and self.get("m_axil_rready")

    def serve_streams(self):
        # Once there is room for a packet, all of it is taken; unless that is what is wrong.
        self.accepts = (self.accepts or self.chance()) and not self.stuck
        ready = self.accepts and len(self.named) != self.stops_after
        self.set(m_axis_input_tready=ready)
        if self.get("s_axis_output_tvalid") and self.taken:
            self.outputs.pop(0)
            self.set(s_axis_output_tvalid=0)
        if ready and self.get("m_axis_input_tvalid"):
            self.beat_cycles.append(self.cycle)
            self.packet += self.get("m_axis_input_tdata").to_bytes(BEAT, "little")
            self.named.append((self.get("m_axis_input_tid"), self.get("m_axis_input_tuser")))
            if self.get("m_axis_input_tlast"):
                assert len(set(self.named)) == 1, "tid or tuser changes within a packet"
                tid, user = self.named[0]
                self.inputs.append(Packet(self.packet, tid, user))
                self.steps += 1
                echo = bytes((byte + self.steps) & 0xFF for byte in self.packet)
                count = 0 if user & QUIET else self.output_beats or len(echo) // BEAT
                self.outputs += [
                    (echo[BEAT * i : BEAT * (i + 1)] or bytes(BEAT), i == count - 1, tid) for i in range(count)
                ]
                self.packet, self.named, self.accepts = b"", [], False
        if self.outputs:
            beat, last, tid = self.outputs[0]
            self.set(
                s_axis_output_tvalid=1,
                s_axis_output_tdata=int.from_bytes(beat, "little"),
                s_axis_output_tlast=last,
                s_axis_output_tuser=5 if last else 2,
                s_axis_output_tid=tid,
            )
        self.taken = self.get("s_axis_output_tvalid") and self.get("s_axis_output_tready")

    # The line.
    def now(self):
        return self.cycle * CYCLE_S

    async def write(self, data):
        self.to_device += data

    async def read(self, timeout):
        deadline = self.cycle + timeout / CYCLE_S
        while not self.from_device and self.cycle <= deadline:
            await self.tick()
        data = bytes(self.from_device)
        self.from_device.clear()
        return data

    # Without the host's logic.
    async def raw(self, frame, cycles=600):
        """Send bytes; bodies of all frames that come back."""
        self.to_device += frame
        await self.tick(cycles)
        bodies = FrameDecoder(1 << 14).feed(bytes(self.from_device))
        self.from_device.clear()
        return bodies

    async def request(self, sequence, command, payload=b"", cycles=600):
        """Send a good frame; (status, payload) of the only response, whose header is checked, or None."""
        bodies = await self.raw(encode_frame(bytes((sequence, command)) + payload), cycles)
        assert len(bodies) <= 1
        for body in bodies:
            assert body[:2] == bytes((sequence, command | RESPONSE))
            return Status(body[2]), body[3:]

    async def opened(self, sequence=0):
        status, payload = await self.request(sequence, Command.OPEN.value, NONCE)
        assert status is Status.OK and payload[:NONCE_BYTES] == NONCE


def transport(line, **options):
    return LinkTransport(line, **{"timeout": 2500 * CYCLE_S, **options})


def step_packet(number, beats=2, *, user=0):
    """An input packet; what its context is follows from the number."""
    return Packet(bytes((number * 7 + i) & 0xFF for i in range(beats * BEAT)), number * 0xC1 & 0x1FF, user)


def request_of(packet):
    """A STEP's payload."""
    return packet.tid.to_bytes(2, "little") + bytes((packet.user,)) + packet.data


def echo(packet, steps):
    """What comes back."""
    return Packet(bytes((byte + steps) & 0xFF for byte in packet.data), packet.tid, 5)


def response_of(packet):
    """The response's payload."""
    return packet.data + bytes((packet.user,)) + packet.tid.to_bytes(2, "little")


@pytest.mark.parametrize("seed", [None, 1])
def test_commands(seed):
    """Each command with the host's own logic, accelerator at full speed and with pauses."""

    async def script(board):
        host = transport(board)
        await host.open()
        assert await host.read(READ_ONLY) == 0x1234C0DB
        words = [0xC0C0C0C0, 0xDBDCDDC0, *range(20)]
        await host.write(SCRATCH, words)
        assert board.writes == words and await host.read(SCRATCH) == 19
        for number, beats in enumerate((1, 2, 3, CONFIG.output_beats), 1):
            packet = step_packet(0xC0 - number, beats, user=START * (beats % 2))
            assert await host.step(packet) == echo(packet, number)
            assert board.inputs[-1] == packet
            if seed is None:
                assert np.ptp(board.beat_cycles[-beats:]) == beats - 1, "beats do not follow each other"
        for offset in (FREE, READ_ONLY):
            with pytest.raises(DeviceError, match=f"0x{offset:02x}.*SLVERR"):
                await host.write(offset, [1, 2])
        with pytest.raises(DeviceError, match="SLVERR"):
            await host.read(FREE)
        # The session has not suffered.
        assert await host.read(SCRATCH) == 19

    Board(None if seed is None else np.random.default_rng(seed)).simulate(script)


def test_statuses():
    """What the hardware says to requests that a host should not make."""

    async def script(board):
        for command in (Command.READ, Command.WRITE, Command.STEP):
            assert await board.request(5, command.value, b"\x10") == (Status.CLOSED, b"")
        assert await board.request(5, Command.OPEN.value, NONCE[:-1]) == (Status.LENGTH, b"")
        assert await board.request(5, Command.READ.value, b"\x10") == (Status.CLOSED, b"")
        assert board.get("accelerator_rst") and not board.get("opened")
        status, payload = await board.request(200, Command.OPEN.value, NONCE)
        capacity = int.from_bytes(payload[NONCE_BYTES + 1 :], "little")
        assert (status, payload[:NONCE_BYTES], payload[NONCE_BYTES]) == (Status.OK, NONCE, LINK_VERSION)
        assert board.get("opened") and not board.get("accelerator_rst") and len(payload) == NONCE_BYTES + 3
        sequence = 200
        faults = board.faults
        for command, payload, status in (
            (Command.READ, b"", Status.LENGTH),
            (Command.READ, b"\x10\x00", Status.LENGTH),
            (Command.WRITE, b"\x10", Status.LENGTH),
            (Command.WRITE, b"\x10\x00\x00\x00", Status.LENGTH),
            (Command.WRITE, b"\x10" + bytes(5), Status.LENGTH),
            (Command.STEP, b"", Status.LENGTH),
            (Command.STEP, bytes(STEP_HEADER_BYTES), Status.LENGTH),
            (Command.STEP, bytes(BEAT), Status.LENGTH),
            (Command.STEP, bytes(STEP_HEADER_BYTES + 2 * BEAT - 1), Status.LENGTH),
            (Command.STEP, bytes(STEP_HEADER_BYTES + 2 * BEAT + 1), Status.LENGTH),
            (Command.STEP, bytes(STEP_HEADER_BYTES + (CONFIG.input_blocks + 1) * BEAT), Status.LENGTH),
        ):
            sequence = (sequence + 1) & 0xFF
            assert await board.request(sequence, command.value, payload) == (status, b""), (command, payload)
        for command in (4, 0x43, 0x7F):
            sequence = (sequence + 1) & 0xFF
            assert await board.request(sequence, command, b"\x10") == (Status.COMMAND, b"")
        assert board.faults == faults + 14
        for wrong in (2, 100, 255):
            assert await board.request((sequence + wrong) & 0xFF, Command.READ.value, b"\x10") == (Status.SEQUENCE, b"")
        assert not board.writes and not board.inputs
        # A frame as long as the buffer; one byte more is too many.
        words = (capacity - 1) // 4
        sequence = (sequence + 1) & 0xFF
        assert await board.request(sequence, Command.WRITE.value, b"\x10" + bytes(4 * words), 3000) == (Status.OK, b"")
        assert len(board.writes) == words
        full = encode_frame(bytes(((sequence + 1) & 0xFF, Command.WRITE.value)) + bytes(capacity))
        assert (await board.raw(full, 1500))[0][2] == Status.LENGTH.value
        faults = board.faults
        assert (
            await board.raw(
                encode_frame(bytes(((sequence + 2) & 0xFF, Command.WRITE.value)) + bytes(capacity + 1)), 1500
            )
            == []
        )
        assert board.faults == faults + 1

    Board().simulate(script)


def test_repetitions_are_not_carried_out():
    """The last request again gets the same response again, also after answers that carried nothing out."""

    async def script(board):
        await board.opened(sequence=255)
        packet = step_packet(3)
        first = await board.request(0, Command.STEP.value, request_of(packet))
        assert first == (Status.OK, response_of(echo(packet, 1)))
        assert await board.request(0, Command.STEP.value, request_of(packet)) == first
        assert await board.request(7, Command.READ.value, b"\x10") == (Status.SEQUENCE, b"")
        assert await board.request(0, Command.STEP.value, request_of(packet)) == first
        assert board.steps == 1
        word = bytes((SCRATCH, 1, 2, 3, 4))
        for _ in range(2):
            assert await board.request(1, Command.WRITE.value, word) == (Status.OK, b"")
        assert board.writes == [0x04030201]
        refused = bytes((SCRATCH, *range(8), 9))
        for _ in range(2):
            assert await board.request(2, Command.WRITE.value, refused) == (Status.LENGTH, b"")
        quiet = step_packet(4, user=QUIET | START)
        for _ in range(3):
            assert await board.request(3, Command.STEP.value, request_of(quiet)) == (Status.OK, b"")
        assert board.inputs == [packet, quiet]
        answer = Status.OK, response_of(echo(packet, 3))
        assert await board.request(4, Command.STEP.value, request_of(packet)) == answer

    Board().simulate(script)


def test_quiet_packets():
    """They are answered when they have been accepted; the next answer is that of the next packet that has one."""

    async def script(board):
        host = transport(board)
        await host.open()
        packets = [
            step_packet(number, user=QUIET * (number % 4 > 0) | START * (number % 3 == 0)) for number in range(9)
        ]
        for number, packet in enumerate(packets, 1):
            assert await host.step(packet) == (None if packet.quiet else echo(packet, number))
        assert board.inputs == packets
        board.stuck = True
        with pytest.raises(SessionError, match="STEP was answered TIMEOUT"):
            await host.step(packets[1])
        assert board.steps == 0

    Board().simulate(script)


def test_damaged_frames_are_ignored():
    """No single damaged, lost or repeated byte of a frame makes it another one; the next good one is answered."""

    async def script(board):
        await board.opened()
        frame = encode_frame(bytes((1, Command.WRITE.value, SCRATCH, 0xC0, 0xDB, 0, 1)))
        for at in range(1, len(frame) - 1):
            for damaged in (
                frame[:at] + bytes((frame[at] ^ 0x21,)) + frame[at + 1 :],
                frame[:at] + frame[at + 1 :],
                frame[: at + 1] + frame[at:],
                frame[:at] + bytes((END,)) + frame[at:],
            ):
                if damaged.strip(bytes((END,))) != frame.strip(bytes((END,))):
                    assert await board.raw(damaged, 4 * len(damaged) + 60) == []
        assert await board.raw(bytes((END,)) * 3 + bytes((ESC, END, ESC, ESC, 1, END)), 100) == []
        short = zlib.crc32(b"\x01").to_bytes(4, "little")
        assert await board.raw(bytes((END, 1)) + short + bytes((END,)), 100) == []
        assert not board.writes
        assert [body[2] for body in await board.raw(frame)] == [Status.OK.value]
        # A response of its own, as a line that is looped back would bring it.
        assert await board.raw(encode_frame(bytes((2, Command.READ.value | RESPONSE, 0)))) == []
        assert (await board.request(2, Command.READ.value, bytes((SCRATCH,))))[0] is Status.OK

    Board().simulate(script)


def test_receive_error_loses_the_frame():
    """A byte that the serial receiver dropped is noticed even if what is left is a good frame."""

    async def script(board):
        frame = encode_frame(bytes((0, Command.OPEN.value)) + NONCE)
        board.to_device += frame[:5]
        await board.tick(5 * FrameReceiver.byte_cycles + 3)
        board.serve()
        board.set(rx_error=1)
        await board.ctx.tick()
        assert await board.raw(frame[5:]) == []
        assert (await board.raw(frame))[0][2] == Status.OK.value

    Board().simulate(script)


@pytest.mark.parametrize(
    "command, payload",
    [
        (Command.READ, bytes((SCRATCH,))),
        (Command.WRITE, bytes((SCRATCH, 1, 2, 3, 4))),
        (Command.STEP, bytes(STEP_HEADER_BYTES + 2 * BEAT)),
    ],
)
def test_watchdog(command, payload):
    """An accelerator that does not answer: TIMEOUT, the session has ended, and a new one starts from reset."""

    async def script(board):
        await board.opened()
        board.stuck = True
        assert await board.request(1, command.value, payload) == (Status.TIMEOUT, b"")
        assert not board.get("opened") and board.get("accelerator_rst")
        board.stuck = False
        assert await board.request(1, command.value, payload) == (Status.CLOSED, b"")
        assert await board.request(2, command.value, payload) == (Status.CLOSED, b"")
        await board.opened(sequence=9)
        packet = step_packet(1)
        answer = Status.OK, response_of(echo(packet, 1))
        assert await board.request(10, Command.STEP.value, request_of(packet)) == answer
        assert await board.request(11, Command.READ.value, bytes((READ_ONLY,))) == (
            Status.OK,
            (0x1234C0DB).to_bytes(4, "little"),
        )

    Board().simulate(script)


@pytest.mark.parametrize("beats", [1, 2, 3])
def test_a_packet_that_is_not_taken(beats):
    """The accelerator stops in the middle: TIMEOUT, even if there is no answer to wait for; the next session works."""

    async def script(board):
        await board.opened()
        board.stops_after = beats
        request = request_of(step_packet(0, 4, user=QUIET))
        assert await board.request(1, Command.STEP.value, request) == (Status.TIMEOUT, b"")
        assert not board.get("opened") and board.get("accelerator_rst") and not board.steps
        board.stops_after = None
        await board.opened(sequence=9)
        packet = step_packet(1, 4)
        answer = Status.OK, response_of(echo(packet, 1))
        assert await board.request(10, Command.STEP.value, request_of(packet)) == answer

    Board().simulate(script)


def test_endless_output():
    """A packet of more beats than the output queue holds ends like an accelerator that does not finish."""

    async def script(board):
        await board.opened()
        board.output_beats = CONFIG.output_beats
        request = request_of(step_packet(0, 1))
        status, payload = await board.request(1, Command.STEP.value, request, 3000)
        assert status is Status.OK and len(payload) == CONFIG.output_beats * BEAT + 3
        board.output_beats = CONFIG.output_beats + 1
        assert await board.request(2, Command.STEP.value, request, 3000) == (Status.TIMEOUT, b"")

    Board().simulate(script)


def test_host_sees_a_reset():
    """What a host is told when the device lost its session; it does not go on by itself, but can open again."""

    async def script(board):
        host = transport(board)
        with pytest.raises(LinkError, match="no session: open"):
            await host.read(SCRATCH)
        await host.open()
        await host.write(SCRATCH, [1])
        board.stuck = True
        with pytest.raises(SessionError, match="STEP was answered TIMEOUT.*load the program again"):
            await host.step(step_packet(0, 1))
        board.stuck = False
        with pytest.raises(LinkError, match="no session: open"):
            await host.step(step_packet(0, 1))
        await host.open()
        assert await host.read(SCRATCH) == 0
        other = transport(board)
        await other.open()
        with pytest.raises(SessionError, match="READ was answered (SEQUENCE|CLOSED)"):
            # Another host has begun a session; its sequence numbers are others (or one request meets a repetition).
            host._last = (other._last + 100) & 0xFF
            await host.read(SCRATCH)

    Board().simulate(script)


@pytest.mark.parametrize("cut", [1, 3, 9, 40, 75])
def test_host_restarts_in_the_middle(cut):
    """A host is killed while its frame is on the line, another one opens: whatever the first one left, it works."""

    async def script(board):
        host = transport(board)
        await host.open()
        frame = encode_frame(bytes(((host._last + 1) & 0xFF, Command.STEP.value)) + request_of(step_packet(0, 8)))
        await board.write(frame[:cut])
        # Without waiting for what the device may make of it.
        again = transport(board)
        await again.open()
        assert board.steps == 0
        packet = step_packet(5)
        assert await again.step(packet) == echo(packet, 1)

    Board().simulate(script)


def test_late_duplicates():
    """A host that repeats too early: the second response to one request is not taken for that to another."""

    async def script(board):
        for timeout in range(60, 260, 20):
            await transport(board).open()
            impatient = transport(board, timeout=timeout * CYCLE_S, retries=50)
            await impatient.open()
            for number in range(1, 4):
                packet = step_packet(number, user=QUIET * (number == 2))
                assert await impatient.step(packet) == (None if packet.quiet else echo(packet, number))
            assert board.steps == 3

    Board().simulate(script)


def test_silence(monkeypatch):
    """Nothing on the other end, noise, or only what an earlier session left: an error after a known time."""
    monkeypatch.setattr(os, "urandom", bytes)

    class Noise(Line):
        name, byte_seconds, time = "noise", 1e-5, 0.0

        def __init__(self, data):
            self.data = data

        def now(self):
            return self.time

        async def write(self, data):
            self.time += len(data) * self.byte_seconds

        async def read(self, timeout):
            self.time += len(self.data) * self.byte_seconds if self.data else timeout
            return self.data

    for data in (
        b"",
        b"\x00",
        encode_frame(b"\x00\x80\x00"),
        encode_frame(bytes(40)),
        encode_frame(bytes((1, Command.OPEN.value | RESPONSE, 0)) + NONCE + bytes((LINK_VERSION, 0, 8))),
    ):
        line = Noise(data)
        with pytest.raises(LinkError, match="noise: no answer to OPEN after 4 attempts of 0.5 s"):
            LinkTransport(line, timeout=0.5, retries=3).open().send(None)
        assert line.time < 5


@pytest.mark.parametrize("seed", range(4))
def test_faults(seed):
    """Damaged bytes in both directions: everything that succeeds is right and was done once, the rest is an error."""
    rng = np.random.default_rng(seed)

    async def script(board):
        line = FaultyLine(board, rng, rate=[0.006, 0.02][seed % 2])
        host = transport(line, timeout=450 * CYCLE_S, retries=4, largest_payload=17)
        done, failures, is_open, steps = 0, 0, False, 0
        while done < 9:
            try:
                if not is_open:
                    await host.open()
                    is_open, steps, written = True, 0, []
                if done % 3 == 0:
                    words = rng.integers(0, 1 << 32, 5).tolist()
                    await host.write(SCRATCH, words)
                    written += words
                    assert board.writes == written
                    assert await host.read(SCRATCH) == words[-1]
                data = rng.integers(0, 256, 2 * BEAT).astype(np.uint8).tobytes()
                packet = Packet(data, int(rng.integers(1 << CONFIG.tid_bits)), int(rng.integers(4)))
                answer = await host.step(packet)
                steps += 1
                assert answer == (None if packet.quiet else echo(packet, steps)) and board.steps == steps
                assert board.inputs[-1] == packet
                done += 1
            except LinkError:
                is_open = False
                failures += 1
                assert failures < 100
        assert line.faults

    Board(rng).simulate(script)

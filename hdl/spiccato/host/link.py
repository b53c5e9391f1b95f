"""The host's end of the link: frames, sequence numbers, timeouts and retries. ``docs/link.md`` tells the rules."""

import os
import zlib

import numpy as np

from ..errors import DeviceError, LinkError, SessionError
from ..isa.frames import (
    CRC_BYTES,
    END,
    ESC,
    ESCAPED,
    LINK_VERSION,
    NONCE_BYTES,
    REQUEST_HEADER_BYTES,
    RESPONSE,
    RESPONSE_HEADER_BYTES,
    STATUSES,
    TID_BYTES,
    Command,
    Status,
)
from .transport import Line, Packet, Transport

__all__ = ["LinkTransport", "FrameDecoder", "encode_frame"]

_UNESCAPED = {escaped: plain for plain, escaped in ESCAPED.items()}


def encode_frame(body: bytes) -> bytes:
    """A frame for the line: delimiters, escapes, and the CRC-32 of ``body`` behind it."""
    checked = body + zlib.crc32(body).to_bytes(CRC_BYTES, "little")
    escaped = b"".join(bytes((ESC, ESCAPED[byte])) if byte in ESCAPED else bytes((byte,)) for byte in checked)
    return bytes((END,)) + escaped + bytes((END,))


class FrameDecoder:
    """Finds the good frames in what a line delivers. A frame longer than ``longest`` bytes is not one."""

    def __init__(self, longest: int):
        self._longest = longest
        self._frame = bytearray()
        self._escape = False
        self._lost = True

    def feed(self, data: bytes) -> list[bytes]:
        """The bodies (without CRC) of all good frames that end in ``data``."""
        bodies = []
        for byte in data:
            if byte == END:
                body, crc = bytes(self._frame[:-CRC_BYTES]), bytes(self._frame[-CRC_BYTES:])
                if (
                    body
                    and not self._lost
                    and not self._escape
                    and (zlib.crc32(body).to_bytes(CRC_BYTES, "little") == crc)
                ):
                    bodies.append(body)
                self._frame.clear()
                self._lost = self._escape = False
            elif self._lost:
                pass
            elif self._escape:
                self._escape = False
                if byte in _UNESCAPED:
                    self._frame.append(_UNESCAPED[byte])
                else:
                    self._lost = True
            elif byte == ESC:
                self._escape = True
            else:
                self._frame.append(byte)
                self._lost = len(self._frame) > self._longest
        return bodies


class LinkTransport(Transport):
    """The link over any line.

    A request that gets no answer is repeated; the device carries it out once. What cannot be mended that way ends the
    session with an error, after which only :meth:`open` works.

    Parameters
    ----------
    line : Line
    timeout : float
        Seconds without an answer after which a request is repeated, besides the time that its bytes take on the line.
    retries : int
        Repetitions before the device counts as out of reach.
    largest_payload : int, optional
        Bytes of a request's payload, fewer than the device takes, for lines so bad that long frames hardly ever pass.
    """

    #: A response is no longer than this, whatever is built (64 beats of 64 16-bit values, and some more).
    longest_response = 1 << 14

    def __init__(self, line: Line, *, timeout: float = 0.3, retries: int = 10, largest_payload: int | None = None):
        if timeout <= 0 or retries < 0:
            raise LinkError(f"timeout must be positive and retries not negative, not {timeout!r} and {retries!r}")
        self._line, self._timeout, self._retries = line, timeout, retries
        self._wanted_payload = largest_payload
        self._largest_payload = NONCE_BYTES
        self._decoder = FrameDecoder(self.longest_response)
        self._last: int | None = None  # sequence number of the last request; None: there is no session

    async def open(self):
        """Begin a session, whatever state the device or an earlier host left the line in.

        Raises
        ------
        LinkError
            If nothing answers, or another version of the link.
        """
        nonce = os.urandom(NONCE_BYTES)
        # Responses to earlier sessions may still come; only the one with the nonce counts.
        self._last = os.urandom(1)[0]
        answer = await self._request(Command.OPEN, nonce, lambda payload: payload[:NONCE_BYTES] == nonce)
        version, capacity = answer[NONCE_BYTES], int.from_bytes(answer[NONCE_BYTES + 1 :], "little")
        if version != LINK_VERSION:
            self._last = None
            raise LinkError(
                f"{self._line.name}: the device speaks version {version} of the link, this host version {LINK_VERSION}"
            )
        self._largest_payload = min(capacity, self._wanted_payload or capacity)

    def close(self):
        self._last = None
        self._line.close()

    async def read(self, offset):
        return int.from_bytes(await self._request(Command.READ, bytes((offset,)), lambda p: len(p) == 4), "little")

    async def write(self, offset, words):
        data = np.asarray(words).astype("<u4").tobytes()
        most = max(4, (self._largest_payload - 1) // 4 * 4)
        for start in range(0, len(data), most):
            await self._request(Command.WRITE, bytes((offset,)) + data[start : start + most], lambda p: not p)

    async def step(self, packet):
        header = packet.tid.to_bytes(TID_BYTES, "little") + bytes((packet.user,))
        if packet.quiet:
            await self._request(Command.STEP, header + packet.data, lambda p: not p)
            return None
        answer = await self._request(Command.STEP, header + packet.data, lambda p: len(p) > 1 + TID_BYTES)
        data, (user, *tid) = answer[: -1 - TID_BYTES], answer[-1 - TID_BYTES :]
        return Packet(data, int.from_bytes(tid, "little"), user)

    async def _request(self, command, payload, expected):
        """Send a request until it is answered; returns the response's payload, for which ``expected(payload)``."""
        if self._last is None:
            raise LinkError(f"{self._line.name}: there is no session: open the device (again)")
        sequence = (self._last + 1) & 0xFF
        frame = encode_frame(bytes((sequence, command)) + payload)
        attempts = self._retries + 1
        # Whatever happens before the answer comes, this session does not go on.
        self._last = None
        for _ in range(attempts):
            await self._line.write(frame)
            answer = await self._answer(sequence, command, len(frame), expected)
            if answer is not None:
                break
        else:
            raise LinkError(
                f"{self._line.name}: no answer to {command.name} after {attempts} attempts of {self._timeout:g} s"
            )
        status, answer = answer
        if status in (Status.CLOSED, Status.SEQUENCE, Status.TIMEOUT):
            raise SessionError(
                f"{self._line.name}: {command.name} was answered {status.name}: {STATUSES[status]} "
                "Open the device and load the program again"
            )
        if status in (Status.COMMAND, Status.LENGTH):
            raise LinkError(
                f"{self._line.name}: {command.name} with {len(payload)} bytes was answered "
                f"{status.name}: {STATUSES[status]}"
            )
        self._last = sequence
        if status is Status.BUS:
            raise DeviceError(
                f"{self._line.name}: register 0x{payload[0]:02x} refuses to be accessed by {command.name} (SLVERR)"
            )
        return answer

    async def _answer(self, sequence, command, sent, expected):
        """Wait for the response to a request; (status, payload), or None if none comes in time."""
        deadline = self._line.now() + self._timeout + sent * self._line.byte_seconds
        # The response's own bytes take time as well; escaped, it has twice as many at most.
        extension = 2 * self.longest_response
        while (left := deadline - self._line.now()) > 0:
            data = await self._line.read(left)
            deadline += min(len(data), extension) * self._line.byte_seconds
            extension -= min(len(data), extension)
            for body in self._decoder.feed(data):
                if len(body) < RESPONSE_HEADER_BYTES or body[:REQUEST_HEADER_BYTES] != bytes(
                    (sequence, command | RESPONSE)
                ):
                    continue
                payload = body[RESPONSE_HEADER_BYTES:]
                try:
                    status = Status(body[REQUEST_HEADER_BYTES])
                except ValueError:
                    continue
                if status is not Status.OK or expected(payload):
                    return status, payload
        return None

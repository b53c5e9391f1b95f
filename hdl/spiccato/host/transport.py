"""What a device needs of the way to it, and what a link needs of its line.

All methods that may take time are coroutines, so that a simulation can go on meanwhile. Those of a real line do not
suspend: :class:`spiccato.host.Device` runs them like functions.
"""

import abc
from dataclasses import dataclass

from ..isa.marks import request_word

__all__ = ["Line", "Packet", "Transport"]


@dataclass(frozen=True)
class Packet:
    """A packet of one of the streams.

    Attributes
    ----------
    data : bytes, whole beats
    tid : int, the context
    user : int, ``tuser``: what an input packet asks for, or the marks of an output packet
    """

    data: bytes
    tid: int = 0
    user: int = 0

    @property
    def quiet(self) -> bool:
        """Of an input packet: there will be no output packet."""
        return bool(request_word.unpack(self.user)["quiet"])


class Transport(abc.ABC):
    """Register accesses and packets.

    Attributes
    ----------
    polls : int
        How often to look for something that the device does by itself before it counts as failed.
    """

    polls = 100

    async def open(self):
        """Reset the accelerator, so that it has neither program nor state, and begin to talk to it.

        Raises
        ------
        LinkError
            If it cannot be reached.
        """

    def close(self):
        """End it. Does nothing if it has ended already."""

    @abc.abstractmethod
    async def read(self, offset: int) -> int:
        """Read the register at byte ``offset``.

        Raises
        ------
        DeviceError
            If the device refuses; LinkError or SessionError if it does not answer or has lost its program.
        """

    @abc.abstractmethod
    async def write(self, offset: int, words) -> None:
        """Write 32-bit ``words``, one after the other, to the register at byte ``offset``. Raises as :meth:`read`."""

    @abc.abstractmethod
    async def step(self, packet: Packet) -> Packet | None:
        """Send an input packet; returns the output packet, or None as soon as a quiet one has been accepted.

        Raises as :meth:`read`. After LinkError the step may or may not have been made.
        """


class Line(abc.ABC):
    """A way for bytes in both directions, on which any of them may be lost, repeated or changed.

    Attributes
    ----------
    name : str
        What messages call it.
    byte_seconds : float
        Time that a byte takes on it.
    """

    name: str
    byte_seconds: float

    @abc.abstractmethod
    async def write(self, data: bytes) -> None:
        """Send ``data``; raises LinkError if the line is gone."""

    @abc.abstractmethod
    async def read(self, timeout: float) -> bytes:
        """What has arrived: as soon as there is anything, or nothing after ``timeout`` seconds. Raises LinkError."""

    @abc.abstractmethod
    def now(self) -> float:
        """A clock, in seconds."""

    def close(self) -> None:
        """Give the line back. Does nothing if that has been done."""

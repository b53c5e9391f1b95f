"""A serial port as a line."""

import time

from ..errors import LinkError
from .link import LinkTransport
from .transport import Line

__all__ = ["SerialLine", "SerialTransport"]

#: Start bit, data, stop bit.
_BITS_PER_BYTE = 10
#: A port that has taken nothing for so long is not going to.
_WRITE_TIMEOUT_S = 30.0


class SerialLine(Line):
    """A serial port, 8 data bits, no parity, one stop bit, for this process alone.

    Parameters
    ----------
    port : str
        As the system names it: ``/dev/ttyUSB0``, ``COM3``.
    baud : int
        Bits a second.

    Raises
    ------
    LinkError
        If pyserial is not installed, or the port cannot be opened.
    """

    def __init__(self, port: str, baud: int):
        try:
            import serial
        except ImportError:
            raise LinkError("serial ports need pyserial: pip install 'spiccato[host]'") from None
        self.name, self.byte_seconds = port, _BITS_PER_BYTE / baud
        # pyserial's own complaint about a port that has been closed comes too late to be it.
        self._errors = (serial.SerialException, OSError, TypeError)
        try:
            self._serial = serial.Serial(port, baud, exclusive=True, write_timeout=_WRITE_TIMEOUT_S)
            self._serial.reset_input_buffer()
        except (*self._errors, ValueError) as error:
            raise LinkError(f"{port}: cannot be opened as a serial port at {baud} baud: {error}") from None

    async def write(self, data):
        try:
            self._serial.write(data)
        except self._errors as error:
            raise LinkError(f"{self.name}: cannot be written: {error}") from None

    async def read(self, timeout):
        try:
            self._serial.timeout = timeout
            return self._serial.read(max(1, self._serial.in_waiting))
        except self._errors as error:
            raise LinkError(f"{self.name}: cannot be read: {error}") from None

    def now(self):
        return time.monotonic()

    def close(self):
        self._serial.close()


class SerialTransport(LinkTransport):
    """The link over a serial port; parameters as those of :class:`SerialLine` and :class:`LinkTransport`."""

    def __init__(self, port: str, baud: int, **link):
        super().__init__(SerialLine(port, baud), **link)

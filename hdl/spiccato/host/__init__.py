"""The host's side of a device: one API over any way to reach it.

::

    from spiccato.compiler import Program
    from spiccato.host import Device, SerialTransport

    with Device(SerialTransport("/dev/ttyUSB0", 3_000_000)) as device:
        device.load(Program.load("my_network.spiccato"))
        y = device.step(x)
        state = device.context(model=0, stream=1).save()
"""

from .contexts import AsyncContext, Context
from .device import AsyncDevice, Counters, Device, Identity
from .link import LinkTransport
from .serial_line import SerialTransport
from .transport import Line, Packet, Transport
from .windows import AsyncWindows, Windows

__all__ = [
    "AsyncContext",
    "AsyncDevice",
    "AsyncWindows",
    "Context",
    "Counters",
    "Device",
    "Identity",
    "Line",
    "LinkTransport",
    "Packet",
    "SerialTransport",
    "Transport",
    "Windows",
]

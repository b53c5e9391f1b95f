"""UART: bytes to and from a serial line, 8 data bits, no parity, one stop bit."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from ..part import Part

__all__ = ["UartReceiver", "UartTransmitter", "LEAST_CLOCKS_PER_BIT"]

#: Fewer leave no middle to sample a bit in.
LEAST_CLOCKS_PER_BIT = 4
DATA_BITS = 8


class _BitTimer:
    """Counts clock cycles; ``expired`` after as many as were asked for."""

    def __init__(self, m, longest):
        self._m = m
        # Below zero it has expired: the top bit tells, without a comparison.
        self._count = Signal(range(-1, longest), reset_less=True)
        self.expired = Signal()
        m.d.comb += self.expired.eq(self._count[-1])
        m.d.sync += self._count.eq(self._count - 1)

    def start(self, cycles):
        """Let ``expired`` come ``cycles`` (at least 2) cycles after the one in which this happens."""
        self._m.d.sync += self._count.eq(cycles - 2)


def _require_clocks(clocks_per_bit):
    if not isinstance(clocks_per_bit, int) or clocks_per_bit < LEAST_CLOCKS_PER_BIT:
        raise ValueError(
            f"clocks_per_bit must be an integer of at least {LEAST_CLOCKS_PER_BIT}, not {clocks_per_bit!r}"
        )


class UartReceiver(Part):
    """Bytes from a line that is idle high. Each bit is sampled in its middle.

    Levels that last for a single clock cycle do not count, nor does a start bit that has gone at its middle. A byte
    whose stop bit is low is reported as ``error`` instead of ``valid``; then the line has to be high before the next.

    Parameters
    ----------
    clocks_per_bit : int, at least 4

    Attributes
    ----------
    rx : in, asynchronous
    data, valid : out, a byte, for one cycle
    error : out, a pulse: a byte without a stop bit was dropped
    """

    def __init__(self, clocks_per_bit):
        _require_clocks(clocks_per_bit)
        self.clocks_per_bit = clocks_per_bit
        super().__init__("uart_receiver", {"rx": In(1), "data": Out(DATA_BITS), "valid": Out(1), "error": Out(1)})

    def elaborate(self, platform):
        m = Module()
        # Two registers against metastability, then the majority of three samples.
        samples = Signal(4, init=0b1111, reset_less=True)
        level = Signal(init=1, reset_less=True)
        recent = samples[1:]
        m.d.sync += [
            samples.eq(Cat(self.rx, samples[:-1])),
            level.eq((recent[0] & recent[1]) | (recent[0] & recent[2]) | (recent[1] & recent[2])),
        ]

        timer = _BitTimer(m, self.clocks_per_bit)
        bits = Signal(range(DATA_BITS))
        m.d.sync += [self.valid.eq(0), self.error.eq(0)]
        with m.FSM():
            with m.State("IDLE"):
                with m.If(~level):
                    timer.start(self.clocks_per_bit // 2)
                    m.next = "START"
            with m.State("START"):
                with m.If(timer.expired):
                    timer.start(self.clocks_per_bit)
                    m.d.sync += bits.eq(DATA_BITS - 1)
                    m.next = "DATA"
                    with m.If(level):
                        m.next = "IDLE"
            with m.State("DATA"):
                with m.If(timer.expired):
                    timer.start(self.clocks_per_bit)
                    m.d.sync += [self.data.eq(Cat(self.data[1:], level)), bits.eq(bits - 1)]
                    with m.If(bits == 0):
                        m.next = "STOP"
            with m.State("STOP"):
                with m.If(timer.expired):
                    m.d.sync += [self.valid.eq(level), self.error.eq(~level)]
                    m.next = "RELEASED"
            with m.State("RELEASED"):
                with m.If(level):
                    m.next = "IDLE"
        return m


class UartTransmitter(Part):
    """Bytes to a line that is idle high.

    Parameters
    ----------
    clocks_per_bit : int, at least 4

    Attributes
    ----------
    bytes : in, a stream
    tx : out, a register
    """

    def __init__(self, clocks_per_bit):
        _require_clocks(clocks_per_bit)
        self.clocks_per_bit = clocks_per_bit
        super().__init__("uart_transmitter", {"bytes": In(stream.Signature(DATA_BITS)), "tx": Out(1, init=1)})

    def elaborate(self, platform):
        m = Module()
        timer = _BitTimer(m, self.clocks_per_bit)
        # Data, then the stop bit; the start bit goes to the line at once.
        shift = Signal(DATA_BITS + 1, reset_less=True)
        left = Signal(range(DATA_BITS + 2))
        idle = Signal(init=1)
        m.d.comb += self.bytes.ready.eq(idle)
        with m.If(idle):
            # Whether or not there is a byte: so `valid` reaches few registers.
            timer.start(self.clocks_per_bit)
            m.d.sync += [shift.eq(Cat(self.bytes.payload, 1)), left.eq(DATA_BITS + 1)]
            with m.If(self.bytes.valid):
                m.d.sync += [self.tx.eq(0), idle.eq(0)]
        with m.Elif(timer.expired):
            timer.start(self.clocks_per_bit)
            m.d.sync += [shift.eq(shift >> 1), left.eq(left - 1), self.tx.eq(shift[0])]
            with m.If(left == 0):
                m.d.sync += [self.tx.eq(1), idle.eq(1)]
        return m

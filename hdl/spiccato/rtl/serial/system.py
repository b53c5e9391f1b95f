"""The accelerator behind a serial line: a whole design that needs a clock, a reset and two pins."""

from amaranth.hdl import Module, Signal
from amaranth.lib.wiring import In, Out, connect

from ..accelerator import Accelerator
from ..broadcast import held_reset
from ..part import Part, place
from .link import Link
from .uart import UartReceiver, UartTransmitter

__all__ = ["SerialSystem"]


class SerialSystem(Part):
    """Accelerator, host link and UART on one clock.

    Parameters
    ----------
    config : Config
    clocks_per_bit : int, at least 4
        Clock frequency over baud rate.
    watchdog : int
        Cycles that the accelerator may take for a register access, an input packet, or a beat of an output packet.
    led_cycles : int
        Least cycles that an event is shown for.

    Attributes
    ----------
    rx : in, tx : out, the serial line
    led_opened : out, a host has opened a session
    led_ready : out, the accelerator takes inputs, hence has a program
    led_rx, led_tx, led_fault : out, events: a byte came, a byte went, a frame was lost or a request refused
    """

    def __init__(self, config, *, clocks_per_bit, watchdog=1 << 20, led_cycles=1 << 22):
        if not isinstance(led_cycles, int) or led_cycles < 2:
            raise ValueError(f"led_cycles must be an integer of at least 2, not {led_cycles!r}")
        self.config = config
        #: All that the hardware depends on besides the configuration.
        self.parameters = {"clocks_per_bit": clocks_per_bit, "watchdog": watchdog, "led_cycles": led_cycles}
        super().__init__(
            "serial",
            {
                "rx": In(1),
                "tx": Out(1, init=1),
                "led_opened": Out(1),
                "led_ready": Out(1),
                "led_rx": Out(1),
                "led_tx": Out(1),
                "led_fault": Out(1),
            },
        )

    def elaborate(self, platform):
        m = Module()
        clocks_per_bit = self.parameters["clocks_per_bit"]

        def add(name, part):
            return place(m, name, part, reset=held_reset(m, name))

        receiver = add("receiver", UartReceiver(clocks_per_bit))
        transmitter = add("transmitter", UartTransmitter(clocks_per_bit))
        link = add("link", Link(self.config, watchdog=self.parameters["watchdog"]))
        accelerator = place(m, "accelerator", Accelerator(self.config), reset=link.accelerator_rst)
        m.d.comb += [
            receiver.rx.eq(self.rx),
            self.tx.eq(transmitter.tx),
            link.rx_data.eq(receiver.data),
            link.rx_valid.eq(receiver.valid),
            link.rx_error.eq(receiver.error),
        ]
        connect(m, link.tx, transmitter.bytes)
        connect(m, link.m_axil, accelerator.s_axil)
        connect(m, link.m_axis_input, accelerator.s_axis_input)
        connect(m, accelerator.m_axis_output, link.s_axis_output)

        m.d.sync += [self.led_opened.eq(link.opened), self.led_ready.eq(accelerator.s_axis_input.tready)]
        for led, event in ((self.led_rx, receiver.valid), (self.led_tx, link.tx.valid), (self.led_fault, link.fault)):
            # Below zero the time is over.
            left = Signal(range(-1, self.parameters["led_cycles"]), init=-1, reset_less=True, name=f"{led.name}_left")
            # What it comes from drives enough already.
            seen = Signal(name=f"{led.name}_seen", reset_less=True)
            m.d.sync += [led.eq(~left[-1]), seen.eq(event)]
            with m.If(seen):
                m.d.sync += left.eq(self.parameters["led_cycles"] - 1)
            with m.Elif(~left[-1]):
                m.d.sync += left.eq(left - 1)
        return m

"""The accelerator behind a serial link: a design that a host reaches through the board's UART."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from amaranth.hdl import Elaboratable, Module, ResetSignal, Signal
from amaranth.lib import io

from spiccato.config import Config
from spiccato.rtl.part import Part, module_instance
from spiccato.rtl.serial.system import SerialSystem

from .shell import BoardDesign

__all__ = ["Serial", "SerialDesign"]


@dataclass(frozen=True, kw_only=True)
class Serial(BoardDesign):
    """The serial system, with lights that tell what it does.

    Parameters
    ----------
    add_clock : function
        Called with the design's module, the platform and the frequency in Hz: makes the clock domain "sync".
    baud : int
        Bits a second.
    """

    name: ClassVar[str] = "serial"
    needs: ClassVar[tuple[str, ...]] = ("uart", "led")

    add_clock: Callable
    baud: int

    def part(self, config: Config) -> Part:
        """The serial system."""
        return SerialSystem(config, clocks_per_bit=round(config.clock_mhz * 1e6 / self.baud))

    def design(self, config: Config) -> Elaboratable:
        """The design."""
        return SerialDesign(self, config)


class SerialDesign(Elaboratable):
    """The whole design: clock, the serial system, the UART, and lights.

    Lights, from LED 0 on: the clock runs, a host has opened a session, a program is loaded, bytes come, bytes
    go, a frame was lost or a request refused.

    Parameters
    ----------
    shell : Serial
    config : Config
    """

    def __init__(self, shell: Serial, config: Config):
        self.shell, self.config = shell, config
        self.part = shell.part(config)

    def elaborate(self, platform):
        m = Module()
        self.shell.add_clock(m, platform, round(self.config.clock_mhz * 1e6))
        m.submodules.system = module_instance(self.part, reset=ResetSignal("sync"))
        uart = platform.request("uart", 0, dir={"rx": "-", "tx": "-", "rts": "-", "dtr": "-"})
        m.submodules.rx = rx = io.Buffer("i", uart.rx)
        m.submodules.tx = tx = io.Buffer("o", uart.tx)
        m.d.comb += [self.part.rx.eq(rx.i), tx.o.eq(self.part.tx)]
        # Counts 2**25 cycles: a third of a second at 100 MHz.
        alive = Signal(26, reset_less=True)
        m.d.sync += alive.eq(alive + 1)
        lights = (
            alive[-1],
            self.part.led_opened,
            self.part.led_ready,
            self.part.led_rx,
            self.part.led_tx,
            self.part.led_fault,
        )
        for number, light in enumerate(lights):
            m.submodules[f"led_{number}"] = led = io.Buffer("o", platform.request("led", number, dir="-"))
            m.d.comb += led.o.eq(light)
        return m

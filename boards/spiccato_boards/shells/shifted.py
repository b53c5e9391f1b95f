"""The accelerator behind two pins, to be placed and routed where a device has fewer pins than the accelerator ports."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from amaranth.hdl import Cat, Elaboratable, Module, ResetSignal, Signal
from amaranth.lib import io
from amaranth.lib.wiring import In, Out

from spiccato.config import Config
from spiccato.rtl.accelerator import Accelerator
from spiccato.rtl.part import Part, module_instance, place, ports

from .shell import BoardDesign

__all__ = ["Shifted", "ShiftedAccelerator", "ShiftedDesign"]


class ShiftedAccelerator(Part):
    """The accelerator between two shift registers.

    Each input comes from one register and each output ends in one, as in a design that registers them. What is
    shifted in sets all inputs; the outputs are added, modulo two, to what is shifted out, so that none can be removed.

    Parameters
    ----------
    config : Config

    Attributes
    ----------
    shift_in : in
    shift_out : out
    """

    def __init__(self, config):
        self.config = config
        super().__init__("shifted", {"shift_in": In(1), "shift_out": Out(1)})

    def elaborate(self, platform):
        m = Module()
        found = ports(place(m, "accelerator", Accelerator(self.config))).values()
        sinks = Cat(value for member, value in found if member.flow is In)
        sources = Cat(value for member, value in found if member.flow is Out)
        inputs = Signal(len(sinks), reset_less=True)
        outputs = Signal(len(sources), reset_less=True)
        m.d.sync += [inputs.eq(Cat(self.shift_in, inputs[:-1])), outputs.eq(sources ^ Cat(inputs[-1], outputs[:-1]))]
        m.d.comb += [sinks.eq(inputs), self.shift_out.eq(outputs[-1])]
        return m


@dataclass(frozen=True, kw_only=True)
class Shifted(BoardDesign):
    """The accelerator behind the two data pins of the UART.

    Parameters
    ----------
    add_clock : function
        Called with the design's module, the platform and the frequency in Hz: makes the clock domain "sync".
    """

    name: ClassVar[str] = "shifted"
    needs: ClassVar[tuple[str, ...]] = ("uart",)

    add_clock: Callable

    def part(self, config: Config) -> Part:
        """The accelerator between shift registers."""
        return ShiftedAccelerator(config)

    def design(self, config: Config) -> Elaboratable:
        """The design."""
        return ShiftedDesign(self, config)


class ShiftedDesign(Elaboratable):
    """The whole design: clock, pins, and what is between them.

    Parameters
    ----------
    shell : Shifted
    config : Config
    """

    def __init__(self, shell: Shifted, config: Config):
        self.shell, self.config = shell, config
        self.part = shell.part(config)

    def elaborate(self, platform):
        m = Module()
        self.shell.add_clock(m, platform, round(self.config.clock_mhz * 1e6))
        m.submodules.shifted = module_instance(self.part, reset=ResetSignal("sync"))
        uart = platform.request("uart", 0, dir={"rx": "-", "tx": "-", "rts": "-", "dtr": "-"})
        m.submodules.rx = rx = io.Buffer("i", uart.rx)
        m.submodules.tx = tx = io.Buffer("o", uart.tx)
        m.d.comb += [self.part.shift_in.eq(rx.i), tx.o.eq(self.part.shift_out)]
        return m

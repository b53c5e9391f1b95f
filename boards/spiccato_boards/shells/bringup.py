"""A first design for a board whose pins are known.

Does the board configure, does its clock run, does the accelerator answer? It has no host link, which is the vendor's
hard IP on these cards. What the lights do not depend on, synthesis removes: most of the accelerator but its control.
"""

from typing import ClassVar

from amaranth.hdl import Elaboratable, Module, ResetSignal, Signal
from amaranth.lib import io, wiring
from amaranth.lib.wiring import Out

from spiccato.config import Config
from spiccato.isa.registers import IDENTITY, REGISTERS
from spiccato.rtl.accelerator import Accelerator
from spiccato.rtl.axi import AxiLite, Response
from spiccato.rtl.part import Part, module_instance

from .shell import BoardDesign

__all__ = ["Bringup", "BringupDesign", "IdentityReader"]


class Bringup(BoardDesign):
    """The accelerator on the board's default clock, and two lights: up to a configuration file."""

    name: ClassVar[str] = "bringup"
    needs: ClassVar[tuple[str, ...]] = ("led_green", "led_red")

    def clock_mhz(self, board, config: Config) -> float:
        """The default clock's, straight from the pin."""
        return board.platform().default_clk_frequency / 1e6

    def part(self, config: Config) -> Part:
        """The accelerator."""
        return Accelerator(config)

    def design(self, config: Config) -> Elaboratable:
        """The design."""
        return BringupDesign(self.part(config))


class IdentityReader(wiring.Component):
    """Reads the identity register over AXI4-Lite, again and again.

    Attributes
    ----------
    axil : out
    found : out
        The last answer was the accelerator's identity.
    """

    def __init__(self):
        super().__init__({"axil": Out(AxiLite()), "found": Out(1)})

    def elaborate(self, platform):
        m = Module()
        axil = self.axil
        asking = Signal(init=1)
        m.d.comb += [axil.araddr.eq(REGISTERS["identity"].offset), axil.arvalid.eq(asking), axil.rready.eq(1)]
        with m.If(asking & axil.arready):
            m.d.sync += asking.eq(0)
        with m.If(axil.rvalid):
            m.d.sync += [self.found.eq((axil.rdata == IDENTITY) & (axil.rresp == Response.OKAY)), asking.eq(1)]
        return m


class BringupDesign(Elaboratable):
    """The accelerator on a board's default clock, as it comes from the pin, and two lights.

    The red one blinks once a second if the clock runs; the green one blinks with it if the accelerator has told its
    identity, and stands still otherwise. So it does not matter whether they light at one or at zero.
    """

    def __init__(self, part):
        self.part = part

    def elaborate(self, platform):
        m = Module()
        accelerator = self.part
        m.submodules.accelerator = module_instance(accelerator, reset=ResetSignal())
        m.submodules.reader = reader = IdentityReader()
        wiring.connect(m, reader.axil, accelerator.s_axil)
        m.d.comb += accelerator.m_axis_output.tready.eq(1)

        ticks = Signal(range(round(platform.default_clk_frequency / 2)))
        blink = Signal()
        m.d.sync += ticks.eq(ticks + 1)
        with m.If(ticks == round(platform.default_clk_frequency / 2) - 1):
            m.d.sync += [ticks.eq(0), blink.eq(~blink)]
        for name, value in zip(Bringup.needs, (blink & reader.found, blink)):
            m.submodules[name] = light = io.Buffer("o", platform.request(name, dir="-"))
            m.d.comb += light.o.eq(value)
        return m

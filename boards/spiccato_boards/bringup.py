"""A first design for a board whose pins are known.

Does the board configure, does its clock run, does the accelerator answer? It has no host link, which is the vendor's
hard IP on these cards. What the lights do not depend on, synthesis removes: most of the accelerator but its control.
"""

from amaranth.hdl import Elaboratable, Module, ResetSignal, Signal
from amaranth.lib import io, wiring
from amaranth.lib.wiring import In, Out

from spiccato.isa.registers import ADDRESS_BITS, IDENTITY, REGISTERS
from spiccato.rtl.accelerator import Accelerator
from spiccato.rtl.part import module_instance

__all__ = ["Bringup", "IdentityReader", "LIGHTS", "suits"]

#: The resources that the design needs besides a default clock.
LIGHTS = ("led_green", "led_red")


def suits(platform):
    """Whether a platform class has what the design needs."""
    return platform.default_clk is not None and set(LIGHTS) <= {resource.name for resource in platform.resources}


class IdentityReader(wiring.Component):
    """Reads the identity register over AXI4-Lite, again and again.

    Attributes
    ----------
    araddr, arvalid, rready : out
    arready, rdata, rresp, rvalid : in
    found : out
        The last answer was the accelerator's identity.
    """

    araddr: Out(ADDRESS_BITS)
    arvalid: Out(1, init=1)
    arready: In(1)
    rdata: In(32)
    rresp: In(2)
    rvalid: In(1)
    rready: Out(1)
    found: Out(1)

    def elaborate(self, platform):
        m = Module()
        m.d.comb += [self.araddr.eq(REGISTERS["identity"].offset), self.rready.eq(1)]
        with m.If(self.arvalid & self.arready):
            m.d.sync += self.arvalid.eq(0)
        with m.If(self.rvalid):
            m.d.sync += [self.found.eq((self.rdata == IDENTITY) & (self.rresp == 0)), self.arvalid.eq(1)]
        return m


class Bringup(Elaboratable):
    """The accelerator on a board's default clock, as it comes from the pin, and two lights.

    The red one blinks once a second if the clock runs; the green one blinks with it if the accelerator has told its
    identity, and stands still otherwise. So it does not matter whether they light at one or at zero.
    """

    def __init__(self, config):
        self.config = config

    def elaborate(self, platform):
        m = Module()
        accelerator = Accelerator(self.config)
        m.submodules.accelerator = module_instance(accelerator, reset=ResetSignal())
        m.submodules.reader = reader = IdentityReader()
        for name, member in reader.signature.members.items():
            if name != "found":
                ours, theirs = getattr(reader, name), getattr(accelerator, f"s_axil_{name}")
                m.d.comb += theirs.eq(ours) if member.flow is Out else ours.eq(theirs)
        m.d.comb += accelerator.m_axis_output_tready.eq(1)

        ticks = Signal(range(round(platform.default_clk_frequency / 2)))
        blink = Signal()
        m.d.sync += ticks.eq(ticks + 1)
        with m.If(ticks == round(platform.default_clk_frequency / 2) - 1):
            m.d.sync += [ticks.eq(0), blink.eq(~blink)]
        for name, value in zip(LIGHTS, (blink & reader.found, blink)):
            m.submodules[name] = light = io.Buffer("o", platform.request(name, dir="-"))
            m.d.comb += light.o.eq(value)
        return m

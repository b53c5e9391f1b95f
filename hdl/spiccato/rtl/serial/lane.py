"""A slice of the beats of the accelerator's streams, for what comes and goes byte by byte."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib.wiring import In, Out

from ..broadcast import copies
from ..memory import DistributedRam
from ..part import Part, place

__all__ = ["Lane"]


class Lane(Part):
    """Some bytes of the beats: a shift register for one beat, and the packet's memory.

    Its commands, and the address, take effect in the cycle after they are given.

    Parameters
    ----------
    width : int, multiple of 8
        Bits.
    depth : int
        Beats of a packet.

    Attributes
    ----------
    shift : in, take ``upper`` (8), the byte of the lane above, and give ``lower`` (8) to the one below
    load : in, take ``beat`` instead
    write : in, put the beat into the packet
    at : in, which beat of the packet
    tdata : out, that beat, ``latency`` cycles after ``at``
    """

    width = 32
    latency = 2

    def __init__(self, depth):
        self.depth = depth
        super().__init__(
            "link_lane",
            {
                "shift": In(1),
                "load": In(1),
                "write": In(1),
                "at": In(range(depth)),
                "upper": In(8),
                "lower": Out(8),
                "beat": In(self.width),
                "tdata": Out(self.width),
            },
        )

    def elaborate(self, platform):
        m = Module()
        packet = place(m, "packet", DistributedRam("ram_packet", width=self.width, depth=self.depth))
        shift, load, write, at = (
            copy
            for name, port in (("shifts", self.shift), ("loads", self.load), ("writes", self.write), ("here", self.at))
            for copy in copies(m, name, port, 1)
        )
        beat = Signal(self.width, reset_less=True)
        shown = Signal(self.width, reset_less=True)
        m.d.sync += shown.eq(packet.r_data)
        m.d.comb += [
            self.lower.eq(beat),
            packet.w_en.eq(write),
            packet.w_addr.eq(at),
            packet.w_data.eq(beat),
            packet.r_addr.eq(at),
            self.tdata.eq(shown),
        ]
        with m.If(load):
            m.d.sync += beat.eq(self.beat)
        with m.Elif(shift):
            m.d.sync += beat.eq(Cat(beat[8:], self.upper))
        return m

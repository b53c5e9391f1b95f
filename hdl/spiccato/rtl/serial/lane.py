"""A slice of the beats of the accelerator's streams, for what comes and goes byte by byte."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib.wiring import In, Out

from ..broadcast import copies, equal_register
from ..memory import DistributedRam
from ..part import Part, place

__all__ = ["Lane"]


class Lane(Part):
    """Some bytes of the beats: a shift register for one beat, and the packet's memory.

    Its commands take effect in the cycle after they are given.

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
    write : in, put the beat into the packet; rewind : in, go to the first beat of the packet
    sent : in, without a register: go to the packet's next beat
    tdata : out, the packet's present beat
    """

    width = 32

    def __init__(self, depth):
        self.depth = depth
        super().__init__(
            "link_lane",
            {
                "shift": In(1),
                "load": In(1),
                "write": In(1),
                "rewind": In(1),
                "sent": In(1),
                "upper": In(8),
                "lower": Out(8),
                "beat": In(self.width),
                "tdata": Out(self.width),
            },
        )

    def elaborate(self, platform):
        m = Module()
        packet = place(m, "packet", DistributedRam("ram_packet", width=self.width, depth=self.depth))
        shift, load, write, rewind = (
            copy
            for name in ("shift", "load", "write", "rewind")
            for copy in copies(m, f"{name}s", getattr(self, name), 1)
        )
        beat = Signal(self.width, reset_less=True)
        at = equal_register("packet_at", packet.addr_bits)
        m.d.comb += [
            self.lower.eq(beat),
            packet.w_en.eq(write),
            packet.w_addr.eq(at),
            packet.w_data.eq(beat),
            packet.r_addr.eq(at),
            self.tdata.eq(packet.r_data),
        ]
        with m.If(load):
            m.d.sync += beat.eq(self.beat)
        with m.Elif(shift):
            m.d.sync += beat.eq(Cat(beat[8:], self.upper))
        with m.If(rewind):
            m.d.sync += at.eq(0)
        with m.Elif(write | self.sent):
            m.d.sync += at.eq(at + 1)
        return m

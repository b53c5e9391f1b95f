"""The AXI4-Lite subordinate: from transfers on the bus to registers by name."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib.wiring import In, Out, Signature

from ...isa.registers import ADDRESS_BITS, REGISTERS
from ...isa.word import WORD_BITS
from ..axi import AxiLite, Response
from ..part import Part

__all__ = ["RegisterBus"]

_WRITABLE = [name for name, register in REGISTERS.items() if register.access != "r"]
_READABLE = [name for name, register in REGISTERS.items() if register.access != "w"]


class RegisterBus(Part):
    """AXI4-Lite subordinate with the registers of the register map.

    Writes with byte strobes other than all ones, and accesses to addresses without a register, answer SLVERR and
    change nothing.

    Attributes
    ----------
    axil : in, the bus
    write : out, a pulse for each register that can be written, at least two cycles after the one before
    value : out, with ``write``: what is written
    contents : in, of each register that can be read
    """

    def __init__(self):
        super().__init__(
            "register_bus",
            {
                "axil": In(AxiLite()),
                "write": Out(Signature({name: Out(1) for name in _WRITABLE})),
                "value": Out(WORD_BITS),
                "contents": In(Signature({name: Out(WORD_BITS) for name in _READABLE})),
            },
        )

    def elaborate(self, platform):
        m = Module()
        axil = self.axil

        # Write channel.
        have_addr = Signal()
        have_data = Signal()
        write_addr = Signal(ADDRESS_BITS)
        write_data = Signal(WORD_BITS)
        write_strobes = Signal(len(axil.wstrb))
        answer = Signal()
        writing = Signal()
        m.d.comb += [
            axil.awready.eq(~have_addr),
            axil.wready.eq(~have_data),
            answer.eq(have_addr & have_data & ~axil.bvalid),
        ]
        with m.If(axil.awvalid & ~have_addr):
            m.d.sync += [have_addr.eq(1), write_addr.eq(axil.awaddr)]
        with m.If(axil.wvalid & ~have_data):
            m.d.sync += [have_data.eq(1), write_data.eq(axil.wdata), write_strobes.eq(axil.wstrb)]
        writable = Cat(write_addr == REGISTERS[name].offset for name in _WRITABLE).any()
        with m.If(answer):
            good = Signal()
            m.d.comb += [good.eq(writable & write_strobes.all()), writing.eq(good)]
            m.d.sync += [
                have_addr.eq(0),
                have_data.eq(0),
                axil.bvalid.eq(1),
                axil.bresp.eq(Mux(good, Response.OKAY, Response.SLVERR)),
            ]
        with m.Elif(axil.bready):
            m.d.sync += axil.bvalid.eq(0)

        # Registered strobes: one pulse a write, with the data held beside it.
        m.d.sync += self.value.eq(write_data)
        for name in _WRITABLE:
            m.d.sync += getattr(self.write, name).eq(writing & (write_addr == REGISTERS[name].offset))

        # Read channel. What can only be written reads as zero.
        reading = Signal()
        read_addr = Signal(ADDRESS_BITS)
        m.d.comb += axil.arready.eq(~reading & ~axil.rvalid)
        with m.If(axil.arvalid & axil.arready):
            m.d.sync += [reading.eq(1), read_addr.eq(axil.araddr)]
        with m.If(reading):
            m.d.sync += [reading.eq(0), axil.rvalid.eq(1), axil.rdata.eq(0), axil.rresp.eq(Response.SLVERR)]
            with m.Switch(read_addr):
                for name, register in REGISTERS.items():
                    with m.Case(register.offset):
                        m.d.sync += axil.rresp.eq(Response.OKAY)
                        if name in _READABLE:
                            m.d.sync += axil.rdata.eq(getattr(self.contents, name))
        with m.Elif(axil.rready):
            m.d.sync += axil.rvalid.eq(0)
        return m

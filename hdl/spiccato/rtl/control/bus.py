"""The AXI4-Lite subordinate: from transfers on the bus to registers by name."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib.wiring import In, Out, Signature

from ...isa.registers import ADDRESS_BITS, REGISTERS
from ...isa.word import WORD_BITS
from ..axi import AxiLite, Response
from ..broadcast import copies, equal_register
from ..part import Part

__all__ = ["RegisterBus"]

_WRITABLE = [name for name, register in REGISTERS.items() if register.access != "r"]
_READABLE = [name for name, register in REGISTERS.items() if register.access != "w"]
#: Registers for halves of a word: what enables them reaches less far than a whole word.
_HALVES = 2


class RegisterBus(Part):
    """AXI4-Lite subordinate with the registers of the register map.

    Writes with byte strobes other than all ones, and accesses to addresses without a register, answer SLVERR and
    change nothing.

    Attributes
    ----------
    axil : in, the bus
    write : out, a pulse for each register that can be written, at least two cycles after the one before
    command : out, a pulse for each bit of the register ``control``
    value : out, what is written: with ``write``, and in the cycle after it; equal copies
    contents : in, of each register that can be read: as they are two cycles after a read's address was accepted
    """

    def __init__(self):
        super().__init__(
            "register_bus",
            {
                "axil": In(AxiLite()),
                "write": Out(Signature({name: Out(1) for name in _WRITABLE if name != "control"})),
                "command": Out(Signature({name: Out(1) for name in REGISTERS["control"].fields})),
                "value": Out(WORD_BITS).array(3),
                "contents": In(Signature({name: Out(WORD_BITS) for name in _READABLE})),
            },
        )

    def elaborate(self, platform):
        m = Module()
        axil = self.axil
        halves = [slice(WORD_BITS * i // _HALVES, WORD_BITS * (i + 1) // _HALVES) for i in range(_HALVES)]

        # Write channel. What comes with an address or a word is taken for as long as there is none.
        have_addr = Signal()
        have_data = equal_register("have_data", resettable=True)
        write_addr = Signal(ADDRESS_BITS, reset_less=True)
        write_data = Signal(WORD_BITS, reset_less=True)
        write_strobes = Signal(len(axil.wstrb), reset_less=True)
        answer = Signal()
        m.d.comb += [
            axil.awready.eq(~have_addr),
            axil.wready.eq(~have_data),
            answer.eq(have_addr & have_data & ~axil.bvalid),
        ]
        with m.If(~have_addr):
            m.d.sync += [have_addr.eq(axil.awvalid), write_addr.eq(axil.awaddr)]
        with m.If(~have_data):
            m.d.sync += [have_data.eq(axil.wvalid), write_strobes.eq(axil.wstrb)]
        for i, half in enumerate(halves):
            holds = equal_register(f"have_half_{i}", resettable=True)
            with m.If(~holds):
                m.d.sync += [holds.eq(axil.wvalid), write_data[half].eq(axil.wdata[half])]
            with m.If(answer):
                m.d.sync += holds.eq(0)
        wanted = {name: write_addr == REGISTERS[name].offset for name in _WRITABLE}
        good = Signal()
        m.d.comb += good.eq(Cat(wanted.values()).any() & write_strobes.all())
        with m.If(answer):
            m.d.sync += [
                have_addr.eq(0),
                have_data.eq(0),
                axil.bvalid.eq(1),
                axil.bresp.eq(Mux(good, Response.OKAY, Response.SLVERR)),
            ]
        with m.Elif(axil.bready):
            m.d.sync += axil.bvalid.eq(0)

        # Registered strobes: one pulse a write, with the data held beside it.
        writing = Signal()
        m.d.comb += writing.eq(answer & write_strobes.all())
        m.d.comb += [port.eq(copy) for port, copy in zip(self.value, copies(m, "value", write_data, len(self.value)))]
        pulses = {name: (getattr(self.write, name), wanted[name]) for name in self.write.signature.members}
        for name, field in REGISTERS["control"].fields.items():
            pulses[name] = getattr(self.command, name), wanted["control"] & write_data[field.offset]
        for name, (port, condition) in pulses.items():
            pulse = Signal(name=f"writes_{name}", reset_less=True)
            m.d.sync += pulse.eq(writing & condition)
            m.d.comb += port.eq(pulse)

        # Read channel: the address, which register that is, its contents. What can only be written reads as zero.
        reading = Signal()
        chosen = equal_register("chosen", resettable=True)
        read_addr = Signal(ADDRESS_BITS, reset_less=True)
        known = Signal(reset_less=True)
        m.d.comb += axil.arready.eq(~reading & ~chosen & ~axil.rvalid)
        m.d.sync += [
            reading.eq(axil.arvalid & axil.arready),
            chosen.eq(reading),
            known.eq(Cat(read_addr == register.offset for register in REGISTERS.values()).any()),
        ]
        with m.If(~reading):
            m.d.sync += read_addr.eq(axil.araddr)
        found: Value = Const(0)
        for name in _READABLE:
            register = Signal(name=f"read_{name}", reset_less=True)
            m.d.sync += register.eq(read_addr == REGISTERS[name].offset)
            found |= getattr(self.contents, name) & register.replicate(WORD_BITS)
        with m.If(chosen):
            m.d.sync += [axil.rvalid.eq(1), axil.rresp.eq(Mux(known, Response.OKAY, Response.SLVERR))]
        with m.Elif(axil.rready):
            m.d.sync += axil.rvalid.eq(0)
        read_data = Signal(WORD_BITS, reset_less=True)
        for half, take in zip(halves, copies(m, "chosen_half", reading, _HALVES)):
            with m.If(take):
                m.d.sync += read_data[half].eq(found[half])
        m.d.comb += axil.rdata.eq(read_data)
        return m

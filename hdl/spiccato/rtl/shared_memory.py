"""A memory that two readers share: each has a half, and a port of the blocks' two.

UltraRAM has two ports, either of which reads or writes. With one for each half, a block twice as deep as what is kept
there serves two. Nothing is left to write through; so a write borrows the first half's port, which nobody reads while
a program is loaded.
"""

from amaranth.hdl import Const, Module
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .memory import PRELOAD_PORTS, preload_text, vector_range
from .part import Part

__all__ = ["SharedRam"]


class SharedRam(Part):
    """Memories of two halves of ``depth`` words of ``width`` bits, ``banks`` of them side by side.

    Latency 2: the array's own latch, then the output register. While a bank is written, what its first half reads is
    left open.

    Parameters
    ----------
    kind : str
        Module name.
    width, depth, banks : int
        The depth a power of two.
    style : str
        What it is to be made of, see :class:`spiccato.families.Style`.
    preload : str
        Simulation only, as for :class:`.memory.Ram`; the second half's words are behind the first half's.

    Attributes
    ----------
    w_en (banks), w_data (width) : in
    addr_0 : in; of the first half's port: its highest bit is zero but for writing to the second half
    addr_1 : in; of the second half's port, within the half
    index, first : in, see ``preload``
    r_data (banks * 2 * width) : out; of each bank the first half's word, then the second's
    """

    latency = 2

    def __init__(self, kind, *, width, depth, banks, style, preload):
        self.width, self.depth, self.banks, self.style, self.preload = width, depth, banks, style, preload
        self.addr_bits = (depth - 1).bit_length()
        if depth != 1 << self.addr_bits:
            raise ValueError(f"half a memory has a power of two of words, not {depth}")
        super().__init__(
            kind,
            {
                "w_en": In(banks),
                "w_data": In(width),
                "addr_0": In(self.addr_bits + 1),
                "addr_1": In(self.addr_bits),
                "r_data": Out(2 * banks * width),
                **{name: In(bits) for name, bits in PRELOAD_PORTS.items()},
            },
        )

    def elaborate(self, platform):
        m = Module()
        for bank in range(self.banks):
            memory = m.submodules[f"bank{bank}"] = Memory(shape=self.width, depth=2 * self.depth, init=[])
            write, *reads = memory.write_port(), memory.read_port(), memory.read_port()
            m.d.comb += [
                write.en.eq(self.w_en[bank]),
                write.addr.eq(self.addr_0),
                write.data.eq(self.w_data),
                reads[0].addr.eq(self.addr_0),
                reads[0].en.eq(~self.w_en[bank]),
                reads[1].addr.eq(self.addr_1 | Const(self.depth)),
            ]
            m.d.sync += [
                self.r_data.word_select(2 * bank + half, self.width).eq(read.data) for half, read in enumerate(reads)
            ]
        return m

    def verilog(self, style):
        width = vector_range(self.width)
        declared = "".join(f"  input {vector_range(bits)}{name};\n" for name, bits in PRELOAD_PORTS.items())
        return f"""\
module {self.module}(clk, w_en, w_data, addr_0, addr_1, r_data, {", ".join(PRELOAD_PORTS)});
  input clk;
  input {vector_range(self.banks)}w_en;
  input {width}w_data;
  input {vector_range(self.addr_bits + 1)}addr_0;
  input {vector_range(self.addr_bits)}addr_1;
  output {vector_range(2 * self.banks * self.width)}r_data;
{declared}
  genvar bank;
  generate
    for (bank = 0; bank < {self.banks}; bank = bank + 1) begin : banks
      (* {getattr(style, self.style)} *)
      reg {width}mem [0:{2 * self.depth - 1}];
      reg {width}latch_0;
      reg {width}latch_1;
      reg {width}out_0;
      reg {width}out_1;
      // The first port writes or reads, the second one reads.
      always @(posedge clk) begin
        if (w_en[bank]) mem[addr_0] <= w_data;
        else latch_0 <= mem[addr_0];
        out_0 <= latch_0;
      end
      always @(posedge clk) begin
        latch_1 <= mem[{{1'b1, addr_1}}];
        out_1 <= latch_1;
      end
      assign r_data[bank * {2 * self.width} +: {2 * self.width}] = {{out_1, out_0}};

{preload_text(self.preload)}    end
  endgenerate
endmodule
"""

"""Memories: one write port, read ports, and for all but the smallest a registered output.

Each is a generated Verilog module with the vendors' style attributes (they are what makes M20K, URAM and block RAM
come out), and Amaranth's own memory under Amaranth's simulator. What a read returns when the same address is
written in the same cycle is left open: no schedule depends on it, and tools need no logic to define it.
"""

from amaranth.hdl import Module
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..isa.load import header_word
from .broadcast import DelayLine
from .part import Part

__all__ = ["PRELOAD_PORTS", "Ram", "DistributedRam", "Rom", "connect_write", "preload_text", "vector_range"]

#: Longest folder name that a simulation's preload takes.
PRELOAD_PATH_LENGTH = 256
#: Ports by which a memory knows its files: bits of a core's number, and of a bank's.
PRELOAD_PORTS = {"index": header_word["core"].width, "first": 10}


class Ram(Part):
    """Memory of ``depth`` words of ``banks * width`` bits; banks have write enables of their own.

    Latency 2: the array's own latch, then the output register. A word written in cycle n is seen by reads whose
    address is applied in cycle n + 1 or later.

    Parameters
    ----------
    kind : str
        Module name.
    width, depth, banks : int
    shared_data : bool
        All banks take the same ``width`` bits of write data (program load), instead of ``width`` bits each.
    style : str
        What it is to be made of: "block" or "ultra", see :class:`spiccato.families.Style`.
    cleared : bool
        Zero at power-up, as block memories are anyway: for words that are read without ever having been written,
        whose value then does not matter as long as it is a number.
    preload : str or None
        Simulation only: with plusarg ``+preload=DIR``, bank ``b`` is read from
        ``DIR/<preload>_<index>_<first + b>.hex`` at the first clock edge. Adds the input ports ``index`` and ``first``.

    Attributes
    ----------
    w_en (banks), w_addr, w_data (banks * width, or width), r_addr : in
    r_data (banks * width) : out
    """

    latency = 2

    def __init__(self, kind, *, width, depth, banks=1, shared_data=False, style="block", cleared=False, preload=None):
        self.width, self.depth, self.banks, self.style, self.preload = width, depth, banks, style, preload
        self.shared_data, self.cleared = shared_data, cleared
        self.addr_bits = max(1, (depth - 1).bit_length())
        signature = {
            "w_en": In(banks),
            "w_addr": In(self.addr_bits),
            "w_data": In(width if shared_data else banks * width),
            "r_addr": In(self.addr_bits),
            "r_data": Out(banks * width),
        }
        if preload is not None:
            signature |= {name: In(bits) for name, bits in PRELOAD_PORTS.items()}
        super().__init__(kind, signature)

    def elaborate(self, platform):
        m = Module()
        for bank in range(self.banks):
            w_data = self.w_data if self.shared_data else self.w_data.word_select(bank, self.width)
            memory = m.submodules[f"bank{bank}"] = Memory(shape=self.width, depth=self.depth, init=[])
            write, read = memory.write_port(), memory.read_port()
            m.d.comb += [
                write.en.eq(self.w_en[bank]),
                write.addr.eq(self.w_addr),
                write.data.eq(w_data),
                read.addr.eq(self.r_addr),
            ]
            m.d.sync += self.r_data.word_select(bank, self.width).eq(read.data)
        return m

    def verilog(self, style):
        preload_ports = PRELOAD_PORTS if self.preload is not None else {}
        ports = ["clk", "w_en", "w_addr", "w_data", "r_addr", "r_data", *preload_ports]
        declared = "".join(f"  input [{bits - 1}:0] {name};\n" for name, bits in preload_ports.items())
        preload = ""
        if self.preload is not None:
            preload = f"\n{preload_text(self.preload)}"
        clear = (
            f"""
      integer i;
      initial for (i = 0; i < {self.depth}; i = i + 1) mem[i] = 0;
"""
            if self.cleared
            else ""
        )
        w_data = "w_data" if self.shared_data else f"w_data[bank * {self.width} +: {self.width}]"
        return f"""\
module {self.module}({", ".join(ports)});
  input clk;
  input {vector_range(self.banks)}w_en;
  input {vector_range(self.addr_bits)}w_addr;
  input {vector_range(len(self.w_data))}w_data;
  input {vector_range(self.addr_bits)}r_addr;
  output {vector_range(self.banks * self.width)}r_data;
{declared}
  genvar bank;
  generate
    for (bank = 0; bank < {self.banks}; bank = bank + 1) begin : banks
      (* {getattr(style, self.style)} *)
      reg {vector_range(self.width)}mem [0:{self.depth - 1}];
      reg {vector_range(self.width)}latch;
      reg {vector_range(self.width)}out;
      always @(posedge clk) begin
        if (w_en[bank]) mem[w_addr] <= {w_data};
        latch <= mem[r_addr];
        out <= latch;
      end
      assign r_data[bank * {self.width} +: {self.width}] = out;
{clear}{preload}    end
  endgenerate
endmodule
"""


def preload_text(name):
    """Verilog by which bank ``bank`` of a memory takes its contents from a file of the preload."""
    return f"""\
`ifdef SPICCATO_PRELOAD
      // Simulation only: contents from a file, for speed. The same contents can be loaded through the port.
      reg loaded = 0;
      reg [8*{PRELOAD_PATH_LENGTH}-1:0] folder;
      always @(posedge clk) begin
        if (!loaded && $value$plusargs("preload=%s", folder))
          $readmemh($sformatf("%0s/{name}_%0d_%0d.hex", folder, index, first + bank), mem);
        loaded <= 1;
      end
`endif
"""


def connect_write(m, memory, name, *, enable, addr, data, registered):
    """Connect a memory's write port, with a register in front of it if ``registered``."""
    for port, value in (("w_en", enable), ("w_addr", addr), ("w_data", data)):
        m.d.comb += getattr(memory, port).eq(DelayLine(m, f"{name}_{port}", value).at(int(registered)))


class DistributedRam(Part):
    """Small memory in look-up tables: the read is combinational (latency 0). At most 256 words."""

    latency = 0

    def __init__(self, kind, *, width, depth):
        if depth > 256:
            raise ValueError(f"a distributed memory has at most 256 words, not {depth}")
        self.width, self.depth = width, depth
        self.addr_bits = max(1, (depth - 1).bit_length())
        super().__init__(
            kind,
            {
                "w_en": In(1),
                "w_addr": In(self.addr_bits),
                "w_data": In(width),
                "r_addr": In(self.addr_bits),
                "r_data": Out(width),
            },
        )

    def elaborate(self, platform):
        m = Module()
        memory = m.submodules.memory = Memory(shape=self.width, depth=self.depth, init=[])
        write, read = memory.write_port(), memory.read_port(domain="comb")
        m.d.comb += [
            write.en.eq(self.w_en),
            write.addr.eq(self.w_addr),
            write.data.eq(self.w_data),
            read.addr.eq(self.r_addr),
            self.r_data.eq(read.data),
        ]
        return m

    def verilog(self, style):
        return f"""\
module {self.module}(clk, w_en, w_addr, w_data, r_addr, r_data);
  input clk;
  input w_en;
  input {vector_range(self.addr_bits)}w_addr;
  input {vector_range(self.width)}w_data;
  input {vector_range(self.addr_bits)}r_addr;
  output {vector_range(self.width)}r_data;
  (* {style.distributed} *)
  reg {vector_range(self.width)}mem [0:{self.depth - 1}];
  always @(posedge clk)
    if (w_en) mem[w_addr] <= w_data;
  assign r_data = mem[r_addr];
endmodule
"""


class Rom(Part):
    """Constant table with ``ports`` read ports, latency 2 (the array's latch, then the output register)."""

    latency = 2

    def __init__(self, kind, *, contents, width, ports):
        self.contents, self.width, self.ports = [int(word) for word in contents], width, ports
        self.addr_bits = (len(self.contents) - 1).bit_length()
        super().__init__(
            kind,
            {
                f"{name}{i}": direction(bits)
                for i in range(ports)
                for name, direction, bits in (("addr", In, self.addr_bits), ("data", Out, width))
            },
        )

    def elaborate(self, platform):
        m = Module()
        memory = m.submodules.memory = Memory(shape=self.width, depth=len(self.contents), init=self.contents)
        for i in range(self.ports):
            read = memory.read_port()
            m.d.comb += read.addr.eq(getattr(self, f"addr{i}"))
            m.d.sync += getattr(self, f"data{i}").eq(read.data)
        return m

    def verilog(self, style):
        names = [f"{name}{i}" for i in range(self.ports) for name in ("addr", "data")]
        ports = "".join(
            f"  input {vector_range(self.addr_bits)}addr{i};\n  output reg {vector_range(self.width)}data{i};\n"
            f"  reg {vector_range(self.width)}latch{i};\n"
            for i in range(self.ports)
        )
        reads = "".join(f"    latch{i} <= mem[addr{i}];\n    data{i} <= latch{i};\n" for i in range(self.ports))
        digits = -(-self.width // 4)
        init = "".join(
            f"    mem[{address}] = {self.width}'h{word:0{digits}x};\n" for address, word in enumerate(self.contents)
        )
        return f"""\
module {self.module}(clk, {", ".join(names)});
  input clk;
{ports}  (* {style.rom} *)
  reg {vector_range(self.width)}mem [0:{len(self.contents) - 1}];
  always @(posedge clk) begin
{reads}  end
  initial begin
{init}  end
endmodule
"""


def vector_range(bits):
    """A vector's range in a declaration."""
    return f"[{bits - 1}:0] "

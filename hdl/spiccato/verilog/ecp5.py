"""Lattice ECP5: multipliers and memories with the registers inside their blocks.

The open tools infer neither the registers in a MULT18X18D nor the output register of a DP16KD, without which the
accelerator's clock would be a good deal lower. So the library here instantiates them for the parts that are made of
them; everything else is converted as for any device. The modules behave as the portable ones in every cycle.

Block and pin names are those of Lattice's technical notes FPGA-TN-02204 (memories) and FPGA-TN-02205 (DSP).
"""

from amaranth.hdl import Shape

from ..rtl.dsp import Multiply
from ..rtl.memory import Ram, Rom
from .library import VerilogLibrary

__all__ = ["Ecp5Library"]

#: Operand bits of a MULT18X18D, and result bits.
_FACTOR_BITS, _PRODUCT_BITS = 18, 36
#: Ways to use a DP16KD: words, bits, and the address pin that the lowest address bit takes.
_SHAPES = ((1024, 18, 4), (2048, 9, 3))
_ADDRESS_PINS, _DATA_PINS = 14, 18
#: Words of initial contents in one INITVAL parameter, and the bits that each of them takes there.
_INIT_WORDS, _INIT_STRIDE = 16, 20


class Ecp5Library(VerilogLibrary):
    """Verilog with ECP5 primitives."""

    def convert(self, part):
        if isinstance(part, Multiply):
            return self.multiplier(part)
        if isinstance(part, (Ram, Rom)):
            return self.memory(part)
        return super().convert(part)

    def multiplier(self, part):
        """A multiplication in MULT18X18D blocks.

        The operand registers (if it has any) and the first result registers are in them. An operand of up to 36 bits
        takes two blocks, whose results are added behind.
        """
        a, b = ((name, Shape.cast(part.signature.members[name].shape)) for name in ("a", "b"))
        narrow, wide = sorted((a, b), key=lambda operand: operand[1].width)
        if narrow[1].width > _FACTOR_BITS or wide[1].width > 2 * _FACTOR_BITS:
            raise ValueError(f"{part.kind}: a product of {narrow[1].width}x{wide[1].width} does not fit two MULT18X18D")
        blocks = ""
        if wide[1].width <= _FACTOR_BITS:
            blocks += _block_multiplier("p_block", _operand(*narrow), _operand(*wide), part.operand_registers)
            result = f"p_block[{len(part.p) - 1}:0]"
        else:
            (name, shape), low = wide, _FACTOR_BITS
            upper, lower = _extended(name, shape.width - 1, low, shape.signed), _extended(name, low - 1, 0, False)
            blocks += _block_multiplier("high", _operand(*narrow), upper, part.operand_registers)
            blocks += _block_multiplier("low", _operand(*narrow), lower, part.operand_registers)
            high = f"$signed(high[{len(part.p) - low - 1}:0])"
            # The low product is not negative unless the narrow operand may be.
            carry = (
                f"$signed(low[{_PRODUCT_BITS - 1}:{low}])"
                if narrow[1].signed
                else (f"$signed({{1'b0, low[{_PRODUCT_BITS - 1}:{low}]}})")
            )
            blocks += f"  wire signed [{len(part.p) - low - 1}:0] sum = {high} + {carry};\n"
            result = f"{{sum, low[{low - 1}:0]}}"
        if part.stages == 2:
            blocks += f"  reg [{len(part.p) - 1}:0] p_register;\n  always @(posedge clk) p_register <= {result};\n"
            result = "p_register"
        return (
            f"module {part.module}(clk, a, b, p);\n  input clk;\n"
            f"  input [{a[1].width - 1}:0] a;\n  input [{b[1].width - 1}:0] b;\n  output [{len(part.p) - 1}:0] p;\n"
            f"{blocks}  assign p = {result};\nendmodule\n"
        )

    def memory(self, part):
        """A memory in DP16KD blocks, read through their output registers.

        One block is as deep as the memory, so that there is no multiplexer behind the registers.
        """
        return _ram(part) if isinstance(part, Ram) else _rom(part)


def _extended(wire, high, low, is_signed):
    """An operand of a block from bits ``high`` to ``low`` of ``wire``: Verilog text, and whether it is signed."""
    missing = _FACTOR_BITS - (high - low + 1)
    fill = f"{wire}[{high}]" if is_signed else "1'b0"
    bits = f"{wire}[{high}:{low}]"
    return f"{{{{{missing}{{{fill}}}}}, {bits}}}" if missing else bits, is_signed


def _operand(name, shape):
    return _extended(name, shape.width - 1, 0, shape.signed)


def _block_multiplier(name, a, b, operand_registers):
    """One MULT18X18D and the wires of its operands and its result ``name``."""
    registers = [
        ("OUTPUT", True),
        ("INPUTA", operand_registers),
        ("INPUTB", operand_registers),
        ("INPUTC", False),
        ("PIPELINE", False),
    ]
    parameters = ", ".join(
        f'.REG_{register}_CLK("{"CLK0" if used else "NONE"}"), .REG_{register}_CE("CE0"), .REG_{register}_RST("RST0")'
        for register, used in registers
    )
    return f"""\
  wire [{_FACTOR_BITS - 1}:0] {name}_a = {a[0]};
  wire [{_FACTOR_BITS - 1}:0] {name}_b = {b[0]};
  wire [{_PRODUCT_BITS - 1}:0] {name};
  MULT18X18D #({parameters}, .GSR("DISABLED"), .RESETMODE("SYNC")) block_{name} (
    .CLK0(clk), .CE0(1'b1), .RST0(1'b0), .SIGNEDA(1'b{int(a[1])}), .SIGNEDB(1'b{int(b[1])}),
    .SOURCEA(1'b0), .SOURCEB(1'b0),
    {_pins("A", f"{name}_a", _FACTOR_BITS)},
    {_pins("B", f"{name}_b", _FACTOR_BITS)},
    {", ".join(f".C{i}(1'b0)" for i in range(_FACTOR_BITS))},
    {_pins("P", name, _PRODUCT_BITS)});
"""


def _pins(pin, wire, count):
    return ", ".join(f".{pin}{i}({wire}[{i}])" for i in range(count))


def _shape(depth):
    """How a DP16KD is used in a memory of ``depth`` words; raises ValueError if that is too deep."""
    for shape in _SHAPES:
        if depth <= shape[0]:
            return shape
    raise ValueError(f"a memory of {depth} words is deeper than a DP16KD can be ({_SHAPES[-1][0]})")


def _address(wire, bits, lowest):
    """Wires for an address port: ``bits`` bits from pin ``lowest`` on; below, in 18-bit words, byte enables."""
    pins = ["1'b1"] * (2 if lowest == 4 else 0)
    pins += ["1'b0"] * (lowest - len(pins)) + [f"{wire}[{i}]" for i in range(bits)]
    pins += ["1'b0"] * (_ADDRESS_PINS - len(pins))
    return pins


def _port(side, *, address, write_enable="1'b0", data=(), out=()):
    """Pins of one side of a DP16KD: written with ``data``, or read to ``out``."""
    pins = [
        f".CLK{side}(clk)",
        f".CE{side}(1'b1)",
        f".OCE{side}(1'b1)",
        f".RST{side}(1'b0)",
        f".WE{side}({write_enable})",
        *(f".CS{side}{i}(1'b0)" for i in range(3)),
    ]
    pins += [f".AD{side}{i}({pin})" for i, pin in enumerate(address)]
    data = [*data, *["1'b0"] * (_DATA_PINS - len(data))]
    pins += [f".DI{side}{i}({wire})" for i, wire in enumerate(data)]
    pins += [f".DO{side}{i}({wire})" for i, wire in enumerate(out)]
    return ", ".join(pins)


def _block_memory(name, width, sides, init=""):
    """One DP16KD with output registers on both sides."""
    parameters = ", ".join(
        f'.DATA_WIDTH_{side}({width}), .REGMODE_{side}("OUTREG"), .CLK{side}MUX("CLK{side}"), '
        f'.WRITEMODE_{side}("NORMAL"), .CSDECODE_{side}("0b000")'
        for side in "AB"
    )
    return f"""\
  DP16KD #({parameters}, .RESETMODE("SYNC"), .ASYNC_RESET_RELEASE("SYNC"), .GSR("DISABLED"){init}) {name} (
    {sides[0]},
    {sides[1]});
"""


def _ram(part):
    depth_pins, bits = part.addr_bits, part.width
    _, width, lowest = _shape(part.depth)
    ports = ["clk", "w_en", "w_addr", "w_data", "r_addr", "r_data"] + ["index"] * (part.preload is not None)
    blocks = ""
    for bank in range(part.banks):
        for low in range(0, bits, width):
            lanes = range(low, min(low + width, bits))
            base_w, base_r = 0 if part.shared_data else bank * bits, bank * bits
            blocks += _block_memory(
                f"bank_{bank}_{low}",
                width,
                (
                    _port(
                        "A",
                        address=_address("w_addr", depth_pins, lowest),
                        write_enable=f"w_en[{bank}]",
                        data=[f"w_data[{base_w + i}]" for i in lanes],
                    ),
                    _port(
                        "B",
                        address=_address("r_addr", depth_pins, lowest),
                        out=[f"r_data[{base_r + i}]" for i in lanes],
                    ),
                ),
            )
    index = "  input [3:0] index;\n" if part.preload is not None else ""
    return f"""\
module {part.module}({", ".join(ports)});
  input clk;
  input [{part.banks - 1}:0] w_en;
  input [{depth_pins - 1}:0] w_addr;
  input [{len(part.w_data) - 1}:0] w_data;
  input [{depth_pins - 1}:0] r_addr;
  output [{part.banks * bits - 1}:0] r_data;
{index}{blocks}endmodule
"""


def _rom(part):
    if part.ports > 2:
        raise ValueError(f"{part.kind}: a DP16KD has 2 ports, not {part.ports}")
    _, width, lowest = _shape(len(part.contents))
    header = "".join(
        f"  input [{part.addr_bits - 1}:0] addr{i};\n  output [{part.width - 1}:0] data{i};\n"
        for i in range(part.ports)
    )
    blocks = ""
    for low in range(0, part.width, width):
        lanes = range(low, min(low + width, part.width))
        sides = [
            _port(
                side,
                address=_address(f"addr{i}", part.addr_bits, lowest) if i < part.ports else ["1'b0"] * _ADDRESS_PINS,
                out=[f"data{i}[{lane}]" for lane in lanes] if i < part.ports else (),
            )
            for i, side in enumerate("AB")
        ]
        blocks += _block_memory(f"block_{low}", width, sides, _init(part.contents, low, width))
    names = [f"{name}{i}" for i in range(part.ports) for name in ("addr", "data")]
    return f"module {part.module}(clk, {', '.join(names)});\n  input clk;\n{header}{blocks}endmodule\n"


def _init(contents, low, width):
    """INITVAL parameters for bits ``low`` to ``low + width - 1`` of the contents."""
    per_word = _DATA_PINS // width
    text = ""
    for row, start in enumerate(range(0, len(contents), _INIT_WORDS * per_word)):
        value = 0
        for i, word in enumerate(contents[start : start + _INIT_WORDS * per_word]):
            field = (word >> low) & ((1 << width) - 1)
            value |= field << (i // per_word * _INIT_STRIDE + i % per_word * width)
        text += f",\n    .INITVAL_{row:02X}({_INIT_WORDS * _INIT_STRIDE}'h{value:080x})"
    return text

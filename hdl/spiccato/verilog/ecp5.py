"""Lattice ECP5: multipliers and memories with the registers inside their blocks.

The open tools infer neither the registers in a MULT18X18D nor the output register of a DP16KD, without which the
accelerator's clock would be a good deal lower. So the library here instantiates them for the parts that are made of
them; everything else is converted as for any device. The modules behave as the portable ones in every cycle.

Block and pin names are those of Lattice's technical notes FPGA-TN-02204 (memories) and FPGA-TN-02205 (DSP).
"""

from ..rtl.dsp import Multiply, MultiplyAdd
from ..rtl.memory import Ram, Rom
from .library import VerilogLibrary
from .primitives import delay, extended

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

    def primitives(self, part):
        if isinstance(part, Multiply):
            return _multiplication(part)
        if isinstance(part, MultiplyAdd) and part.registers.product:
            return _addition(part)
        # One block is as deep as the memory, so that there is no multiplexer behind the output registers.
        if isinstance(part, Ram):
            return _ram(part)
        if isinstance(part, Rom):
            return _rom(part)
        return None


def _multiplication(part):
    """Where one block is enough, all registers are in it.

    Of two blocks, the last registers are the products'; if the part has another one, their sum's.
    """
    registers, bits = part.registers, len(part.p)
    one = _blocks(part) == 1
    text, product = _product(part, pipeline=one and registers.product)
    if not one and registers.product:
        text += f"  reg [{bits - 1}:0] p_1;\n  always @(posedge clk)\n    p_1 <= {product};\n"
        product = "p_1"
    return f"{text}  assign p = {product};\n"


def _addition(part):
    """The product's register is the block's last; the addition is behind it."""
    text, product = _product(part, pipeline=False)
    bits = part.p_shift + len(part.p)
    shape = (part.a * part.b).shape()
    addend = f"{bits}'d{part.c_const << part.c_shift}"
    if "c" in part.signature.members:
        registers, waiting = delay("c", len(part.c), part.registers.addend_latency)
        text += registers
        addend = extended(waiting, part.c.shape(), bits, part.c_shift)
    return f"""\
{text}  wire [{shape.width - 1}:0] product = {product};
  wire [{bits - 1}:0] sum = {extended("product", shape, bits)} + {addend};
  reg [{len(part.p) - 1}:0] p_1;
  always @(posedge clk)
    p_1 <= sum[{bits - 1}:{part.p_shift}];
  assign p = p_1;
"""


def _operands(part):
    """The names and shapes of the factors, narrower first."""
    return sorted(((name, getattr(part, name).shape()) for name in "ab"), key=lambda operand: operand[1].width)


def _blocks(part):
    """MULT18X18D blocks of a product; raises ValueError if two are not enough."""
    (_, narrow), (_, wide) = _operands(part)
    if narrow.width > _FACTOR_BITS or wide.width > 2 * _FACTOR_BITS:
        raise ValueError(f"{part.kind}: a product of {narrow.width}x{wide.width} does not fit two MULT18X18D")
    return 1 if wide.width <= _FACTOR_BITS else 2


def _product(part, *, pipeline):
    """The product in MULT18X18D blocks with result registers: (Verilog text, the product).

    The operand registers (if it has any) are in them as well, and pipeline registers if wanted. An operand of up to 36
    bits takes two blocks, whose results are added behind.
    """
    narrow, (name, shape) = _operands(part)
    bits = (part.a * part.b).shape().width
    inputs = part.registers.operands
    if _blocks(part) == 1:
        return _block_multiplier("p_block", _operand(*narrow), _operand(name, shape), inputs, pipeline), (
            f"p_block[{bits - 1}:0]"
        )
    low = _FACTOR_BITS
    upper, lower = _extended(name, shape.width - 1, low, shape.signed), _extended(name, low - 1, 0, False)
    text = _block_multiplier("high", _operand(*narrow), upper, inputs, pipeline)
    text += _block_multiplier("low", _operand(*narrow), lower, inputs, pipeline)
    high = f"$signed(high[{bits - low - 1}:0])"
    # The low product is not negative unless the narrow operand may be.
    carry = (
        f"$signed(low[{_PRODUCT_BITS - 1}:{low}])"
        if narrow[1].signed
        else f"$signed({{1'b0, low[{_PRODUCT_BITS - 1}:{low}]}})"
    )
    text += f"  wire signed [{bits - low - 1}:0] joined = {high} + {carry};\n"
    return text, f"{{joined, low[{low - 1}:0]}}"


def _extended(wire, high, low, is_signed):
    """An operand of a block from bits ``high`` to ``low`` of ``wire``: Verilog text, and whether it is signed."""
    missing = _FACTOR_BITS - (high - low + 1)
    fill = f"{wire}[{high}]" if is_signed else "1'b0"
    bits = f"{wire}[{high}:{low}]"
    return f"{{{{{missing}{{{fill}}}}}, {bits}}}" if missing else bits, is_signed


def _operand(name, shape):
    return _extended(name, shape.width - 1, 0, shape.signed)


def _block_multiplier(name, a, b, inputs, pipeline):
    """One MULT18X18D and the wires of its operands and its result ``name``."""
    registers = [("OUTPUT", True), ("INPUTA", inputs), ("INPUTB", inputs), ("INPUTC", False), ("PIPELINE", pipeline)]
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
    return blocks


def _rom(part):
    if part.ports > 2:
        raise ValueError(f"{part.kind}: a DP16KD has 2 ports, not {part.ports}")
    _, width, lowest = _shape(len(part.contents))
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
    return blocks


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

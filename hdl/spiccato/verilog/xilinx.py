"""Versal and UltraScale+: DSP58 and DSP48E2 blocks with their registers.

Ports and attributes are those of AMD's AM004 (Versal DSP Engine) and UG579 (UltraScale DSP Slice), and of the libraries
guides UG1353 and UG974. Both blocks multiply by two's complement and add what comes at port C, or a constant (RND),
behind the multiplier's register; they differ in widths and in a few pins.

Products that do not fit one block stay portable, for Vivado to infer. So do memories: a latch and a register behind
the array, with ``ram_style``, is the form in which UG901 has the output registers of block RAM and UltraRAM inferred.
"""

from dataclasses import dataclass

from ..rtl.dsp import Multiply, MultiplyAdd, MultiplyTriple
from .library import VerilogLibrary
from .primitives import delay, extended, instance, signed_width

__all__ = ["UltraScalePlusLibrary", "VersalLibrary"]

#: The product in the multiplexers X and Y; C in Z, or the constant in W.
_PRODUCT, _ADD_C, _ADD_CONSTANT = 0b00_000_01_01, 0b00_011_00_00, 0b10_000_00_00


@dataclass(frozen=True)
class _Block:
    """A kind of DSP block.

    ``a``, ``b``, ``c``, ``d``: bits of its ports. ``wide``: bits of the multiplier's operand at port A; that at port B
    has all of the port's. ``parameters`` and ``pins``: those that the other kind does not have.
    """

    name: str
    a: int
    b: int
    c: int
    d: int
    wide: int
    parameters: dict
    pins: dict


class _XilinxLibrary(VerilogLibrary):
    block: _Block

    def primitives(self, part):
        if not isinstance(part, (Multiply, MultiplyAdd)):
            return None
        narrow, wide = sorted((part.a, part.b), key=lambda operand: signed_width(operand.shape()))
        fits = signed_width(narrow.shape()) <= self.block.b and signed_width(wide.shape()) <= self.block.wide
        if not fits:
            return None
        a, b = (extended(one.name, one.shape(), bits) for one, bits in ((wide, self.block.a), (narrow, self.block.b)))
        return _stage(self.block, part, a, b)


#: Signed factors of a DSP58's dot product of three, at ports A and B.
_DOT_A, _DOT_B = 9, 8


class VersalLibrary(_XilinxLibrary):
    """Verilog with DSP58 blocks."""

    block = _Block(
        name="DSP58",
        a=34,
        b=24,
        c=58,
        d=27,
        wide=27,
        parameters={"DSP_MODE": "INT24", "RESET_MODE": "SYNC"},
        pins={"ASYNC_RST": "1'b0", "NEGATE": "3'b000"},
    )

    def primitives(self, part):
        if not isinstance(part, MultiplyTriple):
            return super().primitives(part)
        weight, element = (signed_width(factor.shape()) for factor in part.factors[0])
        if weight > _DOT_B or element > _DOT_A:
            return None
        # The first product's factors lie lowest.
        weights, elements = zip(*reversed(part.factors))
        a = ", ".join(extended(one.name, one.shape(), _DOT_A) for one in elements)
        b = ", ".join(extended(one.name, one.shape(), _DOT_B) for one in weights)
        unused = self.block.a - 3 * _DOT_A
        return _stage(self.block, part, f"{{{unused}'d0, {a}}}", f"{{{b}}}", DSP_MODE="INT8")


class UltraScalePlusLibrary(_XilinxLibrary):
    """Verilog with DSP48E2 blocks."""

    block = _Block(name="DSP48E2", a=30, b=18, c=48, d=27, wide=27, parameters={}, pins={})


def _stage(block, part, a, b, **mode):
    """A stage in one block, with the text of what its ports A and B get, and parameters of its mode.

    Its one register for C is not enough if the product arrives two cycles later.
    """
    registers, text = part.registers, ""
    opmode, constant, addend, addend_register = _PRODUCT, 0, f"{block.c}'d0", 0
    if isinstance(part, MultiplyAdd):
        if "c" in part.signature.members:
            addend_register = min(registers.addend_latency, 1)
            text, waiting = delay("c", len(part.c), registers.addend_latency - addend_register)
            addend = extended(waiting, part.c.shape(), block.c, part.c_shift)
            opmode |= _ADD_C
        else:
            constant = part.c_const << part.c_shift
            opmode |= _ADD_CONSTANT
    operands, product = int(registers.operands), int(registers.product)
    parameters = {
        **block.parameters | mode,
        **dict.fromkeys(("A_INPUT", "B_INPUT"), "DIRECT"),
        "AMULTSEL": "A",
        "BMULTSEL": "B",
        "USE_MULT": "MULTIPLY",
        "RND": f"{block.c}'d{constant}",
        **dict.fromkeys(("AREG", "ACASCREG", "BREG", "BCASCREG"), operands),
        "CREG": addend_register,
        "MREG": product,
        "PREG": 1,
        **dict.fromkeys(("ADREG", "DREG", "ALUMODEREG", "CARRYINREG", "CARRYINSELREG", "INMODEREG", "OPMODEREG"), 0),
    }
    zeros = {
        "ACIN": block.a,
        "BCIN": block.b,
        "PCIN": block.c,
        "D": block.d,
        "ALUMODE": 4,
        "INMODE": 5,
        "CARRYINSEL": 3,
    }
    enables = {"A2": operands, "B2": operands, "C": addend_register, "M": product, "P": 1}
    unused = ("A1", "B1", "AD", "D", "ALUMODE", "CARRYIN", "CTRL", "INMODE")
    resets = ("A", "B", "C", "D", "M", "P", "ALLCARRYIN", "ALUMODE", "CTRL", "INMODE")
    pins = {
        "CLK": "clk",
        "A": a,
        "B": b,
        "C": addend,
        "OPMODE": f"9'b{opmode:09b}",
        **{pin: f"{bits}'d0" for pin, bits in zeros.items()},
        **dict.fromkeys(("CARRYIN", "CARRYCASCIN", "MULTSIGNIN"), "1'b0"),
        **{f"CE{name}": f"1'b{enabled}" for name, enabled in (enables | dict.fromkeys(unused, 0)).items()},
        **{f"RST{name}": "1'b0" for name in resets},
        **block.pins,
        "P": "result",
    }
    shift = getattr(part, "p_shift", 0)
    return (
        f"{text}  wire [{block.c - 1}:0] result;\n{instance(block.name, 'dsp', parameters, pins)}"
        f"  assign p = result[{shift + len(part.p) - 1}:{shift}];\n"
    )

"""Agilex 7: DSP blocks in the modes whose registers are documented.

A DSP block is a ``tennm_mac``. Its modes and the parameters are those of Altera's user guide 683037 (Agilex 7 Variable
Precision DSP Blocks: operation mode, pipelining, maximum widths), spelt as Quartus' own generators spell them. Of the
two pipeline registers, one alone has to be the second, which needs the input registers; without ``clr`` tied, Quartus
refuses the block.

Two kinds of stages stay portable, for Quartus to infer:

* A product and an addend that is no constant. The block has a mode for it (``m18x18_plus36``), but which registers the
  addend has there could not be established.
* Products that share a block with others that they are not added to.

Memories stay portable as well: a latch and a register behind the array, with ``ramstyle``, is the form in which the
user guide 683082 (Design Recommendations) has the blocks' output registers inferred.
"""

from ..rtl.dsp import Multiply, MultiplyAdd, MultiplyPair, MultiplyQuad
from .library import VerilogLibrary
from .primitives import extended, instance, signed_width

__all__ = ["AgilexLibrary"]

#: Signed factors of a sum of two products: x and y.
_PAIR = (18, 19)
#: Bits of the result, that of the sum included.
_PAIR_RESULT = 37
#: Signed factors of a sum of four products, and bits of the result.
_QUAD, _QUAD_RESULT = 9, 20
#: Signed factors of a block's largest product.
_LARGEST = 27


class AgilexLibrary(VerilogLibrary):
    """Verilog with Agilex DSP blocks."""

    def primitives(self, part):
        # The second pipeline register needs the input registers.
        kinds = Multiply, MultiplyAdd, MultiplyPair, MultiplyQuad
        if not isinstance(part, kinds) or part.registers == (False, True):
            return None
        if isinstance(part, MultiplyQuad):
            return _quad(part)
        if isinstance(part, MultiplyPair):
            return _pair(part, (part.b0, part.a0), (part.b1, part.a1))
        if isinstance(part, MultiplyAdd):
            return _rounded(part)
        return _largest(part)


def _fits(x, y):
    return signed_width(x.shape()) <= _PAIR[0] and signed_width(y.shape()) <= _PAIR[1]


def _result_bits(part):
    """Bits of the block's result, up to the highest one of ``p``."""
    return getattr(part, "p_shift", 0) + len(part.p)


def _pair(part, first, second):
    """Two products and their sum, if that is not too large."""
    if not _fits(*first) or _result_bits(part) > _PAIR_RESULT:
        return None
    operands = {}
    for product, (x, y) in zip("ab", (first, second)):
        operands[f"{product}x"] = (_PAIR[0], x)
        operands[f"{product}y"] = (_PAIR[1], y)
    return _block(part, "m18x18_sumof2", operands)


def _quad(part):
    """Four products and their sum, if they are not too large."""
    if max(signed_width(factor.shape()) for factor in part.factors[0]) > _QUAD or len(part.p) > _QUAD_RESULT:
        return None
    operands = {
        f"{product}{port}": (_QUAD, factor)
        for product, (a, b) in zip("abcd", part.factors)
        for port, factor in (("x", b), ("y", a))
    }
    return _block(part, "m9x9_sumof4", operands)


def _rounded(part):
    """A product and a power of two, which is the second product."""
    x, y = sorted((part.a, part.b), key=lambda operand: signed_width(operand.shape()))
    constant = part.c_const << part.c_shift
    if "c" in part.signature.members or constant.bit_count() != 1:
        return None
    half = (constant.bit_length() - 1) // 2
    powers = 1 << half, constant >> half
    return _pair(part, (x, y), powers) if powers[1] < 1 << (_PAIR[0] - 1) else None


def _largest(part):
    """A product that takes a block of its own."""
    x, y = part.a, part.b
    if _fits(*sorted((x, y), key=lambda operand: signed_width(operand.shape()))):
        return None
    if max(signed_width(x.shape()), signed_width(y.shape())) > _LARGEST:
        return None
    return _block(part, "m27x27", {"ax": (_LARGEST, x), "ay": (_LARGEST, y)})


def _block(part, mode, operands):
    """The block: ``operands`` are the bits and the value of each input, a port of the part or a constant."""
    bits = _result_bits(part)
    parameters = {"operation_mode": mode, "clear_type": "none", "use_chainadder": "false"}
    pins = {"clk": "clk", "ena": "3'b111", "clr": "2'b00"}
    inputs = "0" if part.registers.operands else "no_reg"
    for name, (width, value) in operands.items():
        # The first y operand may come from a neighbour.
        kind = "ay_scan_in" if name == "ay" else name
        parameters |= {f"{kind}_width": width, f"{kind}_clken": inputs, f"signed_m{name}": "true"}
        pins[name] = f"{width}'d{value}" if isinstance(value, int) else extended(value.name, value.shape(), width)
    parameters |= {
        "input_pipeline_clken": "no_reg",
        "second_pipeline_clken": "0" if part.registers.product else "no_reg",
        "output_clken": "0",
        "result_a_width": bits,
    }
    pins["resulta"] = "result"
    return (
        f"  wire [{bits - 1}:0] result;\n{instance('tennm_mac', 'dsp', parameters, pins)}"
        f"  assign p = result[{bits - 1}:{bits - len(part.p)}];\n"
    )

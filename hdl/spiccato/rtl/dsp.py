"""DSP stages: one multiplication (with an addition or a second product) and the registers of its block.

Each is a module of its own, named ``spiccato_dsp_*``, that takes a DSP block with the registers in it. Nothing but
these modules multiplies. Operands are given by their Amaranth shapes.
"""

from typing import NamedTuple

from amaranth.hdl import Const, Module, Mux, Shape, Signal, signed
from amaranth.lib.wiring import In, Out

from .broadcast import DelayLine
from .part import Part

__all__ = [
    "DspStage",
    "Multiply",
    "MultiplyAdd",
    "MultiplyPair",
    "MultiplyQuad",
    "MultiplyTriple",
    "RESULT_ONLY",
    "Registers",
    "SUMS",
    "SumOfProducts",
    "saturated",
    "shape_name",
]


def saturated(value, bits):
    """Signed ``value`` in ``bits`` bits, clipped; one level of logic behind one that is as wide as what is cut off."""
    top = value[bits - 1 :]
    limit = Mux(value[-1], 1 << (bits - 1), (1 << (bits - 1)) - 1)
    return Mux(top.all() | ~top.any(), value[:bits], limit).as_signed()


def shape_name(shape):
    """A shape in a module's name: ``s18`` for ``signed(18)``, ``u13`` for ``unsigned(13)``."""
    shape = Shape.cast(shape)
    return f"{'s' if shape.signed else 'u'}{shape.width}"


class Registers(NamedTuple):
    """The registers of a DSP stage besides that of its result, which is always there.

    Attributes
    ----------
    operands : bool
        Of the operands. Without them, whoever places the stage feeds it from registers.
    product : bool
        Of the products, before they are added to something. A product that takes several blocks is summed up behind
        it.
    """

    operands: bool = False
    product: bool = False

    @property
    def latency(self) -> int:
        """Cycles from the operands to the result."""
        return self.addend_latency + 1

    @property
    def addend_latency(self) -> int:
        """Cycles from the operands to the addition."""
        return self.operands + self.product

    @property
    def suffix(self) -> str:
        """In a module's name."""
        return "_operands" * self.operands + "_product" * self.product


RESULT_ONLY = Registers()


class DspStage(Part):
    """A multiplication, its additions and registers.

    Attributes
    ----------
    registers : Registers
    """

    module_style = "dsp"

    def __init__(self, kind, signature, registers):
        self.registers = registers
        super().__init__(f"dsp_{kind}", signature)

    @property
    def latency(self):
        """Cycles from the operands to ``p``."""
        return self.registers.latency

    def _product(self, m, a, b):
        """The product of the ports ``a`` and ``b``, as valid when something is added to it."""
        factors = [DelayLine(m, name, getattr(self, name)).at(self.registers.operands) for name in (a, b)]
        name = "product" + a.removeprefix("a")
        return DelayLine(m, name, factors[0] * factors[1]).at(self.registers.product)

    def _finish(self, m, result):
        """Put the result register behind ``result``."""
        p = Signal.like(self.p, reset_less=True)
        m.d.sync += p.eq(result)
        m.d.comb += self.p.eq(p)
        return m


class Multiply(DspStage):
    """``p = a * b``."""

    def __init__(self, a, b, *, registers=RESULT_ONLY):
        super().__init__(
            f"multiply_{shape_name(a)}_{shape_name(b)}{registers.suffix}",
            {"a": In(a), "b": In(b), "p": Out((Signal(a) * Signal(b)).shape())},
            registers,
        )

    def elaborate(self, platform):
        m = Module()
        return self._finish(m, self._product(m, "a", "b"))


class SumOfProducts(DspStage):
    """The sum of ``number`` products, signed: what some DSP blocks do with several multipliers.

    Attributes
    ----------
    number : int
    short_name : str
    """

    number: int
    short_name: str

    def __init__(self, a, b, *, registers=RESULT_ONLY):
        factors = {f"{name}{i}": In(shape) for i in range(self.number) for name, shape in (("a", a), ("b", b))}
        bits = Shape.cast(a).width + Shape.cast(b).width + (self.number - 1).bit_length()
        super().__init__(
            f"multiply_{self.short_name}_{shape_name(a)}_{shape_name(b)}{registers.suffix}",
            factors | {"p": Out(signed(bits))},
            registers,
        )

    @property
    def factors(self):
        """The products' operands: (a, b) of each."""
        return [(getattr(self, f"a{i}"), getattr(self, f"b{i}")) for i in range(self.number)]

    def elaborate(self, platform):
        m = Module()
        first, *others = (self._product(m, f"a{i}", f"b{i}") for i in range(self.number))
        return self._finish(m, sum(others, first))


class MultiplyPair(SumOfProducts):
    """``p = a0 * b0 + a1 * b1``, signed.

    It is the sum-of-two mode of a DSP block with two 18x19 multipliers.
    """

    number, short_name = 2, "pair"


class MultiplyTriple(SumOfProducts):
    """``p = a0 * b0 + a1 * b1 + a2 * b2``, signed.

    It is the dot product of a DSP block with three 9x8 multipliers.
    """

    number, short_name = 3, "triple"


class MultiplyQuad(SumOfProducts):
    """``p = a0 * b0 + a1 * b1 + a2 * b2 + a3 * b3``, signed.

    It is the sum-of-four mode of a DSP block with four 9x9 multipliers.
    """

    number, short_name = 4, "quad"


#: Sums of products by their number.
SUMS = {kind.number: kind for kind in (MultiplyPair, MultiplyTriple, MultiplyQuad)}


class MultiplyAdd(DspStage):
    """``p = (a * b + (c << c_shift)) >> p_shift``, signed; the result keeps ``p_bits`` bits.

    ``c`` may be a constant (``c_const``), as a rounding term is; then there is no ``c`` port.
    """

    def __init__(self, kind, *, a, b, c=None, c_shift=0, c_const=0, p_shift, p_bits, registers=RESULT_ONLY):
        self.c_shift, self.c_const, self.p_shift = c_shift, c_const, p_shift
        signature = {"a": In(a), "b": In(b), "p": Out(signed(p_bits))}
        if c is not None:
            signature["c"] = In(c)
        super().__init__(kind, signature, registers)

    def elaborate(self, platform):
        m = Module()
        addend = Const(self.c_const)
        if "c" in self.signature.members:
            addend = DelayLine(m, "c", self.c).at(self.registers.addend_latency)
        return self._finish(m, (self._product(m, "a", "b") + (addend << self.c_shift)) >> self.p_shift)

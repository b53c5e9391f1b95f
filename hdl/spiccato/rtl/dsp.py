"""DSP stages: one multiplication (with an addition or a second product), then a register.

Each is a module of its own, named ``spiccato_dsp_*``, that a vendor's tool packs into one DSP block together with the
registers in front of it. Nothing but these modules multiplies. Operands are given by their Amaranth shapes.
"""

from amaranth.hdl import Const, Module, Shape, Signal, signed
from amaranth.lib.wiring import In, Out

from .part import Part, place

__all__ = ["Multiply", "MultiplyPair", "MultiplyAdd", "shape_name"]


def shape_name(shape):
    """A shape in a module's name: ``s18`` for ``signed(18)``, ``u13`` for ``unsigned(13)``."""
    shape = Shape.cast(shape)
    return f"{'s' if shape.signed else 'u'}{shape.width}"


def _registered(m, **operands):
    """The block's operand registers."""
    registers = [Signal.like(operand, name=f"{name}_registered", reset_less=True) for name, operand in operands.items()]
    m.d.sync += [register.eq(operand) for register, operand in zip(registers, operands.values())]
    return registers


class Multiply(Part):
    """``p = a * b``.

    Parameters
    ----------
    a, b : Shape
        Of the operands.
    operand_registers : bool
        Register the operands in the block; otherwise whoever places the stage feeds it from registers.
    stages : 1 or 2
        Result registers in a row. A product that takes several blocks is summed up between the two.
    """

    module_style = "dsp"

    def __init__(self, a, b, *, operand_registers=False, stages=1):
        self.operand_registers, self.stages = operand_registers, stages
        name = f"dsp_multiply_{shape_name(a)}_{shape_name(b)}" + "_registered" * operand_registers
        super().__init__(
            name + "_2" * (stages - 1), {"a": In(a), "b": In(b), "p": Out((Signal(a) * Signal(b)).shape())}
        )

    @property
    def latency(self):
        """Cycles from the operands to ``p``."""
        return self.operand_registers + self.stages

    def elaborate(self, platform):
        m = Module()
        a, b = _registered(m, a=self.a, b=self.b) if self.operand_registers else (self.a, self.b)
        p = a * b
        for stage in range(self.stages):
            register = Signal.like(self.p, name=f"p_{stage}", reset_less=True)
            m.d.sync += register.eq(p)
            p = register
        m.d.comb += self.p.eq(p)
        return m


class MultiplyPair(Part):
    """``p = a0 * b0 + a1 * b1``, signed, all operands registered.

    It is the sum-of-two mode of a DSP block with two 18x19 multipliers.
    """

    latency, module_style = 2, "dsp"

    def __init__(self, a, b):
        super().__init__(
            f"dsp_multiply_pair_{shape_name(a)}_{shape_name(b)}",
            {
                "a0": In(a),
                "b0": In(b),
                "a1": In(a),
                "b1": In(b),
                "p": Out(signed(Shape.cast(a).width + Shape.cast(b).width + 1)),
            },
        )

    def elaborate(self, platform):
        m = Module()
        a0, b0, a1, b1 = _registered(m, a0=self.a0, b0=self.b0, a1=self.a1, b1=self.b1)
        p = Signal.like(self.p, reset_less=True)
        m.d.sync += p.eq(a0 * b0 + a1 * b1)
        m.d.comb += self.p.eq(p)
        return m


class MultiplyAdd(Part):
    """``p = (a * b + (c << c_shift)) >> p_shift``, signed; the result keeps ``p_bits`` bits.

    Operands come from registers. ``c`` may be a constant (``c_const``), as a rounding term is; then there is no ``c``
    port. With two ``stages`` there is a register between multiplication and addition, for devices whose DSP blocks do
    not add.
    """

    module_style = "dsp"

    def __init__(self, kind, *, a, b, c=None, c_shift=0, c_const=0, p_shift, p_bits, stages=1):
        self.factors, self.stages = (a, b), stages
        self.c_shift, self.c_const, self.p_shift = c_shift, c_const, p_shift
        signature = {"a": In(a), "b": In(b), "p": Out(signed(p_bits))}
        if c is not None:
            signature["c"] = In(c)
        super().__init__(f"dsp_{kind}", signature)

    @property
    def latency(self):
        """Cycles from the operands to ``p``."""
        return self.stages

    def elaborate(self, platform):
        m = Module()
        product, addend = self.a * self.b, Const(self.c_const)
        if "c" in self.signature.members:
            addend = self.c
        if self.stages == 2:
            multiply = place(m, "multiply", Multiply(*self.factors))
            m.d.comb += [multiply.a.eq(self.a), multiply.b.eq(self.b)]
            product = multiply.p
            if "c" in self.signature.members:
                (addend,) = _registered(m, c=self.c)
        p = Signal.like(self.p, reset_less=True)
        m.d.sync += p.eq((product + (addend << self.c_shift)) >> self.p_shift)
        m.d.comb += self.p.eq(p)
        return m

"""DSP stages: one multiplication (with an addition or a second product), then a register.

Each is a module of its own, named ``dsp_*``, that a vendor's tool packs into one DSP block together with the
registers in front of it. Nothing but these modules multiplies. Latency 1 from registered inputs.
"""

from amaranth.hdl import Const, Module, Signal, signed
from amaranth.lib.wiring import In, Out

from .part import Part

__all__ = ["Multiply", "MultiplyPair", "MultiplyAdd"]


class Multiply(Part):
    """``p = a * b``, signed, widths ``a_bits`` and ``b_bits``."""

    latency, module_style = 1, "dsp"

    def __init__(self, a_bits, b_bits):
        super().__init__(f"dsp_multiply_{a_bits}x{b_bits}", {
            "a": In(signed(a_bits)), "b": In(signed(b_bits)), "p": Out(signed(a_bits + b_bits))})

    def elaborate(self, platform):
        m = Module()
        p = Signal.like(self.p, reset_less=True)
        m.d.sync += p.eq(self.a * self.b)
        m.d.comb += self.p.eq(p)
        return m


class MultiplyPair(Part):
    """``p = a0 * b0 + a1 * b1``, signed: the sum-of-two mode of a DSP block with two 18x19 multipliers."""

    latency, module_style = 1, "dsp"

    def __init__(self, a_bits, b_bits):
        super().__init__(f"dsp_multiply_pair_{a_bits}x{b_bits}", {
            "a0": In(signed(a_bits)), "b0": In(signed(b_bits)), "a1": In(signed(a_bits)), "b1": In(signed(b_bits)),
            "p": Out(signed(a_bits + b_bits + 1))})

    def elaborate(self, platform):
        m = Module()
        p = Signal.like(self.p, reset_less=True)
        m.d.sync += p.eq(self.a0 * self.b0 + self.a1 * self.b1)
        m.d.comb += self.p.eq(p)
        return m


class MultiplyAdd(Part):
    """``p = (a * b + (c << c_shift)) >> p_shift``, signed; the result keeps ``p_bits`` bits.

    ``c`` may be a constant (``c_const``), as a rounding term is; then there is no ``c`` port.
    """

    latency, module_style = 1, "dsp"

    def __init__(self, kind, *, a_bits, b_bits, c_bits=0, c_shift=0, c_const=0, p_shift, p_bits):
        self.c_bits, self.c_shift, self.c_const, self.p_shift = c_bits, c_shift, c_const, p_shift
        signature = {"a": In(signed(a_bits)), "b": In(signed(b_bits)), "p": Out(signed(p_bits))}
        if c_bits:
            signature["c"] = In(signed(c_bits))
        super().__init__(f"dsp_{kind}", signature)

    def elaborate(self, platform):
        m = Module()
        addend = self.c << self.c_shift if self.c_bits else Const(self.c_const)
        p = Signal.like(self.p, reset_less=True)
        m.d.sync += p.eq((self.a * self.b + addend) >> self.p_shift)
        m.d.comb += self.p.eq(p)
        return m

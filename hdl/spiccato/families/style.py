"""Attributes by which each vendor's tool is told what memories and multipliers are to be made of."""

from dataclasses import dataclass

__all__ = ["Style"]


@dataclass(frozen=True, kw_only=True)
class Style:
    """Verilog attributes for each use, without the brackets.

    Read and write of one address in a cycle never matter here: ``no_rw_check`` saves the logic that would define what
    is read.

    Attributes
    ----------
    block : memories of a tool's ordinary memory blocks
    ultra : memories of its large blocks, or of ordinary ones if it has none
    distributed : memories in look-up tables
    rom : constant tables in ordinary memory blocks
    copy : registers that are equal to others, for the fan-out: not to be merged, nor made a shift register
    dsp : modules that are one DSP stage
    """

    block: str
    ultra: str
    distributed: str
    rom: str
    copy: str
    dsp: str | None = None

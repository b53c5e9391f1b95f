"""Attributes by which each vendor's tool is told what memories and multipliers are to be made of."""

from typing import NamedTuple

__all__ = ["STYLES", "Style"]


class Style(NamedTuple):
    """Verilog attributes for each use, without the brackets.

    Attributes
    ----------
    block : memories of a tool's ordinary memory blocks
    ultra : memories of its large blocks, or of ordinary ones if it has none
    distributed : memories in look-up tables
    rom : constant tables in ordinary memory blocks
    dsp : modules that are one DSP stage
    copies : modules that keep registers of their own equal to their siblings', for the fan-out: not to be merged
    """

    block: str
    ultra: str
    distributed: str
    rom: str
    dsp: str | None = None
    copies: str | None = None


_PORTABLE = 'ramstyle = "{}", ram_style = "{}"'

#: "portable" suits all tools, Quartus choosing the blocks itself; the others are made for one each. Read and write of
#: one address in a cycle never matter here: ``no_rw_check`` saves the logic that would define what is read.
STYLES = {
    "portable": Style(
        block=_PORTABLE.format("no_rw_check", "block"),
        ultra=_PORTABLE.format("no_rw_check", "ultra"),
        distributed=_PORTABLE.format("MLAB, no_rw_check", "distributed"),
        rom=_PORTABLE.format("no_rw_check", "block"),
    ),
    "quartus": Style(
        block='ramstyle = "M20K, no_rw_check"',
        ultra='ramstyle = "M20K, no_rw_check"',
        distributed='ramstyle = "MLAB, no_rw_check"',
        rom='romstyle = "M20K"',
        dsp='multstyle = "dsp"',
        copies='altera_attribute = "-name REMOVE_DUPLICATE_REGISTERS OFF"',
    ),
    "vivado": Style(
        block='ram_style = "block"',
        ultra='ram_style = "ultra"',
        distributed='ram_style = "distributed"',
        rom='rom_style = "block"',
        dsp='use_dsp = "yes"',
        copies='keep_hierarchy = "yes"',
    ),
    # For yosys, which refuses styles that the family does not have.
    "ecp5": Style(
        block='no_rw_check, ram_style = "block"',
        ultra='no_rw_check, ram_style = "block"',
        distributed='no_rw_check, ram_style = "distributed"',
        rom='rom_style = "block"',
        copies="keep_hierarchy",
    ),
}

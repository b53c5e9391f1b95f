"""Agilex 7: DSP blocks that add two products, memory blocks of 20 kbit."""

from .family import CONSERVATIVE, Family, Profile, Shape
from .style import Style

__all__ = ["FAMILY"]

_TWO_PORTS = (Shape(1024, 20), Shape(2048, 10))

# A DSP block does two products of 18x19, alone or summed, or one of 27x27, or four of 9x9 that are summed.
FAMILY = Family(
    name="agilex7",
    style=Style(
        block='ramstyle = "M20K, no_rw_check"',
        ultra='ramstyle = "M20K, no_rw_check"',
        distributed='ramstyle = "MLAB, no_rw_check"',
        rom='romstyle = "M20K"',
        dsp='multstyle = "dsp"',
        copy="dont_merge, preserve_syn_only",
    ),
    library="spiccato.verilog.agilex:AgilexLibrary",
    profiles={"aggressive": Profile(), "conservative": CONSERVATIVE},
    adds_products=True,
    narrow_products=4,
    logic_unit="ALM",
    logic_per_register=1.0,
    memory={"m20k": (Shape(512, 40), *_TWO_PORTS)},
    two_ports=_TWO_PORTS,
    distributed=Shape(32, 20),
    dsp_steps=(26, 26),
    half_dsp=(18, 19),
)

"""No device in particular: what simulations use where no family matters."""

from .family import CONSERVATIVE, Family, Profile, Shape
from .style import Style

__all__ = ["FAMILY"]

#: A memory block of 20 kbit, to count with.
_BLOCK = (Shape(512, 40), Shape(1024, 20))
_ATTRIBUTES = 'ramstyle = "{}", ram_style = "{}"'

# The attributes suit all tools; Quartus chooses the blocks itself.
FAMILY = Family(
    name="portable",
    style=Style(
        block=_ATTRIBUTES.format("no_rw_check", "block"),
        ultra=_ATTRIBUTES.format("no_rw_check", "ultra"),
        distributed=_ATTRIBUTES.format("MLAB, no_rw_check", "distributed"),
        rom=_ATTRIBUTES.format("no_rw_check", "block"),
        copy='keep = "true", dont_merge, preserve_syn_only, shreg_extract = "no"',
    ),
    profiles={"aggressive": Profile(), "conservative": CONSERVATIVE},
    logic_unit="LUT",
    logic_per_register=1.0,
    memory={"block": _BLOCK},
    two_ports=_BLOCK,
    distributed=Shape(32, 16),
    dsp_steps=(18, 18),
)

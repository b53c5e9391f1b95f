"""No device in particular: what simulations use where no family matters."""

from .family import Family, Profile
from .style import Style

__all__ = ["FAMILY"]

_ATTRIBUTES = 'ramstyle = "{}", ram_style = "{}"'

# The attributes suit all tools; Quartus chooses the blocks itself.
FAMILY = Family(
    name="portable",
    style=Style(
        block=_ATTRIBUTES.format("no_rw_check", "block"),
        ultra=_ATTRIBUTES.format("no_rw_check", "ultra"),
        distributed=_ATTRIBUTES.format("MLAB, no_rw_check", "distributed"),
        rom=_ATTRIBUTES.format("no_rw_check", "block"),
    ),
    profiles={"aggressive": Profile()},
    logic_unit="LUT",
    logic_per_register=1.0,
    memory={},
    two_ports=(),
    dsp_steps=(18, 18),
)

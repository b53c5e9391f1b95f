"""No device in particular: what simulations use where no family matters."""

from .family import Family, Profile

__all__ = ["FAMILY"]

FAMILY = Family(
    name="portable",
    tool_name="",
    tool="any",
    style="portable",
    profiles={"aggressive": Profile()},
    logic_unit="LUT",
    logic_per_register=1.0,
    memory={},
    two_ports=(),
    dsp_steps=(18, 18),
)

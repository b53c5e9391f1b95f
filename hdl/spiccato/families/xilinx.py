"""What the families have in common that Vivado is for: block RAM of 36 kbit, UltraRAM, attributes, profiles."""

from .family import CONSERVATIVE, Family, Profile, Shape
from .style import Style

__all__ = ["vivado_family"]

_STYLE = Style(
    block='ram_style = "block"',
    ultra='ram_style = "ultra"',
    distributed='ram_style = "distributed"',
    rom='rom_style = "block"',
    dsp='use_dsp = "yes"',
    copy='keep = "true", shreg_extract = "no"',
)

# A BRAM36 is two blocks of 18 Kbit, each of which can serve a memory of its own.
_TWO_PORTS = (
    Shape(1024, 18, 1),
    Shape(2048, 9, 1),
    Shape(4096, 4, 1),
    Shape(1024, 36),
    Shape(2048, 18),
    Shape(4096, 9),
)
_BRAM36 = (Shape(512, 36, 1), Shape(512, 72), *_TWO_PORTS)
_URAM = (Shape(4096, 72),)
# Eight LUTs that share their write address: one port writes, seven bits are read.
_LUT_RAM = Shape(64, 7)


def vivado_family(**different) -> Family:
    """A family; what differs from one to the other is given as :class:`.family.Family` takes it."""
    return Family(
        style=_STYLE,
        profiles={"aggressive": Profile(), "conservative": CONSERVATIVE},
        logic_unit="LUT",
        logic_per_register=1.4,
        memory={"bram36": _BRAM36, "uram": _URAM},
        two_ports=_TWO_PORTS,
        distributed=_LUT_RAM,
        large="uram",
        large_ports=True,
        **different,
    )

"""What the families have in common that Vivado is for: block RAM of 36 kbit, UltraRAM, attributes."""

from .family import Shape
from .style import Style

__all__ = ["BRAM36", "BRAM36_TWO_PORTS", "LUT_RAM", "URAM", "VIVADO"]

VIVADO = Style(
    block='ram_style = "block"',
    ultra='ram_style = "ultra"',
    distributed='ram_style = "distributed"',
    rom='rom_style = "block"',
    dsp='use_dsp = "yes"',
    copy='keep = "true", shreg_extract = "no"',
)

# A BRAM36 is two blocks of 18 Kbit, each of which can serve a memory of its own.
BRAM36_TWO_PORTS = (
    Shape(1024, 18, 1),
    Shape(2048, 9, 1),
    Shape(4096, 4, 1),
    Shape(1024, 36),
    Shape(2048, 18),
    Shape(4096, 9),
)
BRAM36 = (Shape(512, 36, 1), Shape(512, 72), *BRAM36_TWO_PORTS)
URAM = (Shape(4096, 72),)
# Eight LUTs that share their write address: one port writes, seven bits are read.
LUT_RAM = Shape(64, 7)

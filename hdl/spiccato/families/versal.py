"""Versal: DSP58 blocks, block RAM, UltraRAM."""

from .xilinx import vivado_family

__all__ = ["FAMILY"]

# A DSP58 does one product of 24x27, with or without addition, or three of 8x9 that are summed.
FAMILY = vivado_family(
    name="versal", library="spiccato.verilog.xilinx:VersalLibrary", dsp_steps=(23, 26), narrow_products=3
)

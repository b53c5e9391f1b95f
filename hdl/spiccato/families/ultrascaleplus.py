"""UltraScale+: as Versal, with DSP48E2 blocks; yosys knows this family, so estimates are compared with its counts."""

from .xilinx import vivado_family

__all__ = ["FAMILY"]

# A DSP48E2 does one product of 18x27, with or without addition.
FAMILY = vivado_family(
    name="ultrascaleplus", library="spiccato.verilog.xilinx:UltraScalePlusLibrary", dsp_steps=(17, 26)
)

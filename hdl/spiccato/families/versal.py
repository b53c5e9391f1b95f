"""Versal: DSP58 blocks, block RAM, UltraRAM."""

from .family import CONSERVATIVE, Family, Profile
from .xilinx import BRAM36, BRAM36_TWO_PORTS, LUT_RAM, URAM, VIVADO

__all__ = ["FAMILY"]

# A DSP58 does one product of 24x27, with or without addition.
FAMILY = Family(
    name="versal",
    style=VIVADO,
    profiles={"aggressive": Profile(), "conservative": CONSERVATIVE},
    logic_unit="LUT",
    logic_per_register=1.4,
    memory={"bram36": BRAM36, "uram": URAM},
    two_ports=BRAM36_TWO_PORTS,
    distributed=LUT_RAM,
    large="uram",
    dsp_steps=(23, 26),
)

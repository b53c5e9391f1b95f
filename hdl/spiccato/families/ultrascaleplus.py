"""UltraScale+: as Versal, with DSP48E2 blocks; yosys knows this family, so estimates are compared with its counts."""

from .family import CONSERVATIVE, Family, Profile
from .xilinx import BRAM36, BRAM36_TWO_PORTS, LUT_RAM, URAM, VIVADO

__all__ = ["FAMILY"]

# A DSP48E2 does one product of 18x27, with or without addition.
FAMILY = Family(
    name="ultrascaleplus",
    style=VIVADO,
    profiles={"aggressive": Profile(), "conservative": CONSERVATIVE},
    logic_unit="LUT",
    logic_per_register=1.4,
    memory={"bram36": BRAM36, "uram": URAM},
    two_ports=BRAM36_TWO_PORTS,
    distributed=LUT_RAM,
    large="uram",
    dsp_steps=(17, 26),
)

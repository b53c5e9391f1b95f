"""AMD Alveo V80."""

import dataclasses

from spiccato.config import Config

from .board import ALL_KINDS, Board, Resources
from .flows.vivado import VIVADO
from .platforms import VersalPlatform
from .shells.device_image import DeviceImage
from .shells.out_of_context import OutOfContext

__all__ = ["V80Platform", "BOARD"]

_REPORT = "report_utilization of Vivado 2025.1 for this part, column Available, quoted in tests of the xdb project"


class V80Platform(VersalPlatform):
    """A design in the programmable logic has no pins of its own: all of them belong to the processor system."""

    part = "xcv80-lsva4737-2MHP-e-S"


_DEFAULT = Config(
    name="v80",
    family="versal",
    cores=6,
    block=32,
    weight_depth=4096,
    models=4,
    streams=256,
    state_slots=1984,
    program_depth=8192,
    clock_mhz=300.0,
)
# Words for all kinds are wider; with half as many, an address reaches half as many memory blocks.
_KINDS = dataclasses.replace(_DEFAULT, name="v80-kinds", epilogues=ALL_KINDS, program_depth=4096)
# Three 9x8 multipliers where one of 27x24 is. As many cores as 85 % of the DSP blocks make. Weights of 8 bits take half
# the depth, so that two rows share their UltraRAM; slots are twice as large.
_FAST = dataclasses.replace(
    _DEFAULT,
    name="v80-fast",
    cores=12,
    columns=64,
    multiplier="9x9",
    weight_depth=2048,
    state_slots=960,
    input_blocks=16,
)

BOARD = Board(
    configurations={"default": _DEFAULT, "kinds": _KINDS, "fast": _FAST},
    title="AMD Alveo V80",
    device="Versal XCV80",
    platform=V80Platform,
    flow=VIVADO,
    shells=(OutOfContext(), DeviceImage()),
    resources=Resources(logic=2_574_208, dsp=10_848, memory={"bram36": 3_741, "uram": 1_925}),
    sources={
        "part": "Xilinx/AVED, hw/amd_v80_gen5x8_24.1",
        "logic": _REPORT,
        "dsp": _REPORT,
        "bram36": _REPORT,
        "uram": _REPORT,
    },
)

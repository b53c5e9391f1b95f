"""BittWare IA-840F."""

import dataclasses

from spiccato.config import Config

from .board import ALL_KINDS, RECALLED, Board, Resources
from .flows.quartus import QUARTUS
from .platforms import AgilexPlatform
from .shells.out_of_context import OutOfContext

__all__ = ["IA840FPlatform", "BOARD"]


class IA840FPlatform(AgilexPlatform):
    """No list of its pins and no configuration settings are public: for out-of-context projects only."""

    part = "AGFB027R25A2E2V"


_DEFAULT = Config(
    name="ia840f", family="agilex7", cores=3, block=64, models=4, streams=256, state_slots=448, clock_mhz=320.0
)
_KINDS = dataclasses.replace(_DEFAULT, name="ia840f-kinds", epilogues=ALL_KINDS)
# Four 9x9 multipliers where two of 18x19 are: twice the columns, 8-bit weights.
_FAST = dataclasses.replace(_DEFAULT, name="ia840f-fast", columns=128, multiplier="9x9", input_blocks=16)

BOARD = Board(
    configurations={"default": _DEFAULT, "kinds": _KINDS, "fast": _FAST},
    title="BittWare IA-840F",
    device="Agilex 7 AGF027",
    platform=IA840FPlatform,
    flow=QUARTUS,
    shells=(OutOfContext(),),
    resources=Resources(logic=912_800, dsp=8_528, memory={"m20k": 13_272}),
    sources={"part": RECALLED, "logic": RECALLED, "dsp": RECALLED, "m20k": RECALLED},
)

"""BittWare IA-420F."""

from spiccato.config import PRESETS

from .board import RECALLED, Board, Resources

__all__ = ["IA420F"]

IA420F = Board(
    name="ia420f",
    title="BittWare IA-420F",
    device="Agilex 7 AGF014",
    part="AGFB014R24B2E2V",
    family="agilex7",
    config=PRESETS["ia420f"],
    resources=Resources(logic=487_200, dsp=4_510, memory={"m20k": 7_110}),
    sources={
        "part": "corundum/corundum, fpga/mqnic/IA_420F/fpga_100g",
        "logic": RECALLED,
        "dsp": RECALLED,
        "m20k": RECALLED,
    },
)

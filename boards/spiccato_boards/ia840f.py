"""BittWare IA-840F."""

from spiccato.config import PRESETS

from .board import RECALLED, Board, Resources

__all__ = ["IA840F"]

IA840F = Board(
    name="ia840f",
    title="BittWare IA-840F",
    device="Agilex 7 AGF027",
    part="AGFB027R25A2E2V",
    family="agilex7",
    config=PRESETS["ia840f"],
    resources=Resources(logic=912_800, dsp=8_528, memory={"m20k": 13_272}),
    sources={
        "part": RECALLED,
        "logic": RECALLED,
        "dsp": RECALLED,
        "m20k": RECALLED,
    },
)

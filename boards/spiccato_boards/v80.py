"""AMD Alveo V80."""

from spiccato.config import PRESETS

from .board import RECALLED, Board, Resources

__all__ = ["V80"]

V80 = Board(
    name="v80",
    title="AMD Alveo V80",
    device="Versal XCV80",
    part="xcv80-lsva4737-2MHP-e-S",
    family="versal",
    config=PRESETS["v80"],
    resources=Resources(logic=2_570_000, dsp=10_848, memory={"bram36": 3_741, "uram": 1_925}),
    sources={
        "part": "Xilinx/AVED, hw/amd_v80_gen5x8_24.1",
        "logic": RECALLED,
        "dsp": RECALLED,
        "bram36": RECALLED,
        "uram": RECALLED,
    },
)

"""A small accelerator of two cores, with the cells and products of the larger boards, for tests: on no device."""

from spiccato.config import Config
from spiccato.registry import Target

__all__ = ["BOARD"]

BOARD = Target(
    configurations={
        "default": Config(
            name="test8",
            family="agilex7",
            cores=2,
            block=8,
            weight_depth=256,
            slots=32,
            state_slots=32,
            vector_blocks=16,
            input_blocks=8,
            program_depth=512,
            output_beats=8,
        )
    }
)

"""The smallest accelerator worth simulating, for tests: on no device."""

from spiccato.config import Config
from spiccato.registry import Target

__all__ = ["BOARD"]

BOARD = Target(
    configurations={
        "default": Config(
            name="test4",
            cores=1,
            block=4,
            weight_depth=512,
            slots=32,
            state_slots=32,
            vector_blocks=16,
            input_blocks=8,
            program_depth=1024,
            output_beats=8,
        )
    }
)

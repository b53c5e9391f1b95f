"""The issue word: what the matrix-vector unit, the cell units and the output path do in one cycle."""

import enum

from ..config import Config
from ..numbers import QUARTERS
from .word import Word

__all__ = ["RUN_TIME_FIELDS", "Source", "VectorFrom", "core_word", "issue_word"]


class Source(enum.IntEnum):
    """What an issue word's row sums are added to."""

    #: The accumulator register, as the previous issue word left it.
    CONTINUE = 0
    #: Bias of the slot.
    BIAS = 1
    #: Partial sum that the previous inference left (the recurrent half).
    PREVIOUS = 2
    #: Partial sum that this inference stored.
    STORED = 3


class VectorFrom(enum.IntEnum):
    """Where an issue word takes its vector block from."""

    #: All zero.
    NONE = 0
    #: The inference's input packet.
    X = 1
    #: Outputs of earlier layers.
    H = 2


#: Fields of a core's word that the sequencer fills in when the word is issued; no program has them.
RUN_TIME_FIELDS = ("side", "zero_c")


def core_word(config: Config) -> Word:
    """The part of an issue word that cores act on."""
    numbers = len(config.epilogues) - 1
    epilogue = {"epilogue": (numbers.bit_length(), "which one, by its number in the configuration")} if numbers else {}
    return Word(
        {
            "valid": (1, "accumulate; otherwise the word is idle"),
            "weight": ((config.weight_depth - 1).bit_length(), "address in the weight memory"),
            "int8": (1, "the weight word holds two 8-bit blocks"),
            "high": (1, "take the high one"),
            "slot": ((config.slots - 1).bit_length(), "slot of the accumulator file"),
            "recurrent": (1, "row shifts: those of W_hh instead of W_ih"),
            "source": (Source, "what the row sums are added to"),
            "store": (1, "write the sums back to the accumulator file"),
            "side": (1, "half of all state memories that is being written"),
            "zero_c": (1, "take c of the previous step as zero"),
            "cell": (1, "the slot is finished: on to its epilogue, and update its cells"),
            **epilogue,
        }
    )


def issue_word(config: Config) -> Word:
    """An issue word as the program memory holds it."""
    blocks = max(config.vector_blocks, config.input_blocks)
    return Word(
        {
            **{
                field.name: (field.values or field.width, field.meaning)
                for field in core_word(config)
                if field.name not in RUN_TIME_FIELDS
            },
            "vector_from": (VectorFrom, "where the vector block comes from"),
            "vector": ((blocks - 1).bit_length(), "number of the vector block"),
            "quarter": ((QUARTERS * config.vector_blocks - 1).bit_length(), "first quarter of h that the cells write"),
            "seed": (1, "work on the committed state instead of on the new one"),
            "wait_block": (1, "wait for one more block of the input packet"),
            "start": (1, "first word of an inference: wait for room in the output queue"),
            "commit": (1, "last word of an inference: the new state becomes the state"),
            "output": (1, "the slot's sums are outputs"),
            "output_beats": (
                (config.cores * config.beats_per_block - 1).bit_length() or 1,
                "beats of the slot, less one",
            ),
            "output_last": (1, "the slot ends the packet"),
        }
    )

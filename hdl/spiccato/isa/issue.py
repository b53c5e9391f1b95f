"""The issue word: what the matrix-vector unit, the cell units and the output path do in one cycle."""

import enum

from ..config import Config
from .activation import DENSE_FIELDS
from .word import Word

__all__ = ["PASSES", "Pass", "Source", "VectorFrom", "core_word", "issue_word"]


class Source(enum.IntEnum):
    """What an issue word's row sums are added to."""

    #: The accumulator register, as the previous issue word left it.
    CONTINUE = 0
    #: Bias of the slot.
    BIAS = 1
    #: Partial sum that the context's previous inference left (the recurrent half); from the initial state, the bias.
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


class Pass(enum.IntEnum):
    """Which halves of its weights and vector elements a word of 9x9 multipliers multiplies."""

    #: Ordinary weights, with elements rounded to the nearest.
    ONLY = 0
    #: The upper halves of both: what of the elements 9 bits do not hold is left out.
    HIGH = 1
    #: The lower halves of the weights, with the same elements.
    LOW_WEIGHT = 2
    #: The upper halves of the weights, with what was left out of the elements.
    LOW_ELEMENT = 3


#: Of a matrix of two halves. What both lower halves make is too small to matter.
PASSES = (Pass.HIGH, Pass.LOW_WEIGHT, Pass.LOW_ELEMENT)


def core_word(config: Config) -> Word:
    """The part of an issue word that cores act on."""
    numbers = len(config.epilogues) - 1
    halves = {"int8": (1, "the weight word holds two 8-bit blocks"), "high": (1, "take the high one")}
    epilogue = {"epilogue": (numbers.bit_length(), "which one, by its number in the configuration")} if numbers else {}
    return Word(
        {
            "valid": (1, "accumulate; otherwise the word is idle"),
            "weight": ((config.weight_depth - 1).bit_length(), "address in the weight memory"),
            **({} if config.narrow else halves),
            "slot": ((config.slots - 1).bit_length(), "row slot, counted through all models"),
            "recurrent": (1, "row shifts: those of W_hh instead of W_ih"),
            "source": (Source, "what the row sums are added to"),
            "store": (1, "write the sums back to the accumulator file"),
            "cell": (1, "the slot is finished: on to its epilogue, and update its cells"),
            **epilogue,
            **(DENSE_FIELDS if "dense" in config.epilogues else {}),
        }
    )


def issue_word(config: Config) -> Word:
    """An issue word as the program memory holds it."""
    blocks = max(config.vector_blocks, config.input_blocks)
    narrow: dict[str, tuple[int | type[enum.IntEnum], str]] = {
        "quarters": ((config.quarters - 1).bit_length(), "quarters of the block that count, less one"),
        "multiplied": (Pass, "which halves of weights and vector elements"),
    }
    return Word(
        {
            **{field.name: (field.values or field.width, field.meaning) for field in core_word(config)},
            "vector_from": (VectorFrom, "where the vector block comes from"),
            "vector": ((blocks - 1).bit_length(), "number of the vector block"),
            **(narrow if config.narrow else {}),
            "quarter": (
                (config.quarters * config.vector_blocks - 1).bit_length(),
                "first quarter of h that the cells write",
            ),
            "wait_block": (1, "wait for one more block of the input packet"),
            "start": (1, "first word of an inference: wait for room in the output queue"),
            "commit": (1, "last word of an inference: the new state becomes the state"),
            "output": (1, "the slot's sums are outputs"),
            "output_beats": (
                (config.cores * config.beats_per_core - 1).bit_length() or 1,
                "beats of the slot, less one",
            ),
            "output_last": (1, "the slot ends the packet"),
        }
    )

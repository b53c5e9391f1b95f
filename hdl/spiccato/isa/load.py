"""Loads: the words that a host writes to ``load_data`` to fill the memories, record after record."""

import enum
import zlib
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..config import Config
from ..numbers import ADJUST_BITS, FLOAT_EXPONENT_BITS
from .word import Word

__all__ = [
    "TARGET_BITS",
    "Record",
    "RecordKind",
    "TransferTarget",
    "context_word",
    "feature_word",
    "header_words",
    "load_stream",
    "model_word",
    "parameters_word",
    "state_bits",
]


class RecordKind(enum.IntEnum):
    """What a record of a load holds. Those up to ``CONTEXTS`` are memories and tables.

    The records without entries (``BEGIN_*``, ``END``) have a header of one word.
    """

    WEIGHTS = 0
    SHIFTS = 1
    ACCUMULATORS = 2
    CELL_STATE = 3
    FEATURES = 4
    #: Issue words of all models but their first ones, model after model.
    ISSUE_WORDS = 5
    #: The first issue words of each model.
    HEADS = 6
    #: :func:`model_word` of each model.
    MODELS = 7
    #: :func:`context_word` of each context that ``tid`` can name.
    CONTEXTS = 8
    PARAMETERS = 9
    #: First record: the next two words are the digest of the program's configuration, low half first.
    BEGIN_PROGRAM = 12
    #: Last record: the next word is the CRC-32 of all words before it. Then no context has a state.
    END = 15


class TransferTarget(enum.IntEnum):
    """Memories that transfers alone write over the load bus: no record of a load is of them."""

    #: h that contexts keep.
    H_STATE = 10


#: Bits of a kind that tell the memories apart.
TARGET_BITS = max(RecordKind.CONTEXTS, *TransferTarget).bit_length()

#: First word of a record, and the second one.
header_word = Word(
    {
        "kind": (RecordKind, "what it holds"),
        "_0": (4, ""),
        "core": (4, "core"),
        "_1": (4, ""),
        "row": (6, "row of the core"),
        "_2": (2, ""),
        "words": (6, "32-bit words of an entry, less one"),
        "_3": (2, ""),
    }
)
place_word = Word({"addr": (20, "address of the first entry"), "entries": (12, "entries, less one")})

#: A digest, as the first record of a load carries it.
digest_word = Word({"digest": (64, "of the configuration")})

#: One input feature: what ingress adds to the exponent, and whether there is such a feature.
feature_word = Word(
    {"adjust": (ADJUST_BITS, "what is added to the exponent, with ADJUST_OFFSET"), "enable": (1, "the feature exists")}
)


#: Run-time parameters of a program, loaded with it.
parameters_word = Word({"digest": (digest_word.size, "of the program")})


def state_bits(config: Config) -> int:
    """Width of an address in the accumulator file: the state of both sides, and the constants."""
    return (2 * config.state_slots + config.slots - 1).bit_length()


def model_word(config: Config) -> Word:
    """What the hardware knows of one model."""
    addr_bits = (config.program_depth - 1).bit_length()
    return Word(
        {
            "last_input_beat": (7, "beats of an input packet, less one"),
            "output_beats": (7, "beats of an output packet"),
            "last_values": (6, "values in its last beat, less one"),
            "output_exponent": (FLOAT_EXPONENT_BITS, "127 less the fraction bits of the output sums"),
            "first": (addr_bits, "where the issue words behind its first ones begin"),
            "before_last": (addr_bits, "where its last issue word but one lies"),
            "has_initial": (1, "its initial state is not zero, but lies in the state memories"),
            "initial": (state_bits(config), "what is added to a slot's number for its initial state"),
        }
    )


def context_word(config: Config) -> Word:
    """What the hardware knows of one context."""
    return Word(
        {
            "known": (1, "there is such a context"),
            "base": (state_bits(config), "what is added to a slot's number for its state of side 0"),
        }
    )


class Record(NamedTuple):
    """``image`` (entries, 32-bit words) for consecutive addresses of one memory."""

    kind: RecordKind
    image: NDArray[np.uint32]
    addr: int = 0
    core: int = 0
    row: int = 0


def header_words(
    kind: RecordKind, *, core: int = 0, row: int = 0, words: int = 1, addr: int = 0, entries: int = 1
) -> list[int]:
    """The two header words of a record of ``entries`` entries of ``words`` 32-bit words each."""
    return [
        header_word.pack(kind=kind, core=core, row=row, words=words - 1),
        place_word.pack(addr=addr, entries=entries - 1),
    ]


def load_stream(records: Iterable[Record], digest: str) -> NDArray[np.uint32]:
    """The words of a load: the begin with the configuration's hexadecimal ``digest``, all records, the end, the CRC."""
    halves = digest_word.split(int(digest, 16))
    stream = [np.array([header_word.pack(kind=RecordKind.BEGIN_PROGRAM), *halves], dtype=np.uint32)]
    limit = 1 << place_word["entries"].width
    for kind, image, addr, core, row in records:
        for start in range(0, len(image), limit):
            part = image[start : start + limit]
            stream.append(
                np.array(
                    header_words(kind, core=core, row=row, words=image.shape[1], addr=addr + start, entries=len(part)),
                    dtype=np.uint32,
                )
            )
            stream.append(part.reshape(-1))
    stream.append(np.array([header_word.pack(kind=RecordKind.END)], dtype=np.uint32))
    words = np.concatenate(stream)
    return np.append(words, np.uint32(zlib.crc32(words.astype("<u4").tobytes())))

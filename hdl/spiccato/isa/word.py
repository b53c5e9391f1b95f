"""Words of named bit fields: each described once, for the hardware, the models, the host and the documentation."""

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["WORD_BITS", "Field", "Word", "pack_bits"]

#: Bits of the words that hosts and program files move.
WORD_BITS = 32


@dataclass(frozen=True)
class Field:
    """``width`` bits of a word from bit ``offset`` on; ``values`` names them if they are an enumeration's."""

    name: str
    width: int
    offset: int
    meaning: str
    values: type[enum.IntEnum] | None = None


class Word:
    """Fields side by side, the first one in the lowest bits.

    Parameters
    ----------
    fields : {name: (width, meaning)}
        The width in bits, or an ``enum.IntEnum``, which takes as many bits as its largest member.

    Attributes
    ----------
    fields : {name: Field}, in order
    size : int, bits in all
    """

    def __init__(self, fields: Mapping[str, tuple[int | type[enum.IntEnum], str]]):
        self.fields: dict[str, Field] = {}
        self.size = 0
        for name, (width, meaning) in fields.items():
            values = None if isinstance(width, int) else width
            bits = width if isinstance(width, int) else max(width).bit_length()
            self.fields[name] = Field(name, bits, self.size, meaning, values)
            self.size += bits

    def __contains__(self, name: str) -> bool:
        return name in self.fields

    def __iter__(self) -> Iterator[Field]:
        return iter(self.fields.values())

    def __getitem__(self, name: str) -> Field:
        return self.fields[name]

    @property
    def words(self) -> int:
        """How many 32-bit words it takes."""
        return -(-self.size // WORD_BITS)

    def pack(self, **values: int) -> int:
        """The word as one integer; fields left out are zero.

        Raises
        ------
        KeyError
            If there is no field of a name.
        ValueError
            If a value does not fit its field.
        """
        word = 0
        for name, value in values.items():
            field = self.fields[name]
            if not 0 <= value < 1 << field.width:
                raise ValueError(f"field {name} has {field.width} bits, {int(value)} does not fit")
            word |= int(value) << field.offset
        return word

    def unpack(self, word: int) -> dict[str, int]:
        """Field values of a word; the inverse of :meth:`pack`."""
        return {field.name: (word >> field.offset) & ((1 << field.width) - 1) for field in self}

    def split(self, word: int) -> list[int]:
        """A word as its 32-bit words, the lowest first."""
        return [(word >> WORD_BITS * i) & ((1 << WORD_BITS) - 1) for i in range(self.words)]

    def encode(self, values: Mapping[str, ArrayLike]) -> NDArray[np.uint32]:
        """Many words at once: {field: integers (n,)} to 32-bit words (n, words); fields left out are zero.

        Raises as :meth:`pack` does.
        """
        count = len(np.asarray(next(iter(values.values()))))
        bits = np.zeros((count, self.words * WORD_BITS), dtype=np.uint8)
        for name, column in values.items():
            field = self.fields[name]
            numbers = np.asarray(column, dtype=np.int64)
            if numbers.min(initial=0) < 0 or numbers.max(initial=0) >> field.width:
                raise ValueError(f"field {name} has {field.width} bits: a value does not fit")
            bits[:, field.offset : field.offset + field.width] = (numbers[:, None] >> np.arange(field.width)) & 1
        return np.packbits(bits, axis=1, bitorder="little").view("<u4").astype(np.uint32)

    def decode(self, words: NDArray[np.uint32]) -> dict[str, NDArray[np.int64]]:
        """The inverse of :meth:`encode`: {field: integers (n,)} of every field."""
        bits = np.unpackbits(np.asarray(words).astype("<u4").view(np.uint8), axis=1, bitorder="little")
        return {
            field.name: bits[:, field.offset : field.offset + field.width].astype(np.int64)
            @ (1 << np.arange(field.width, dtype=np.int64))
            for field in self
        }


def pack_bits(values: ArrayLike, bits: int) -> NDArray[np.uint32]:
    """Pack the integers of each row (entries, n) into 32-bit words (entries, words).

    One lies after the other, ``bits`` each in two's complement, the first in the lowest bits.
    """
    numbers = np.asarray(values, dtype=np.int64)
    expanded = ((numbers[..., None] >> np.arange(bits)) & 1).astype(np.uint8).reshape(len(numbers), -1)
    padded = np.pad(expanded, ((0, 0), (0, -expanded.shape[1] % WORD_BITS)))
    return np.packbits(padded, axis=1, bitorder="little").view("<u4").astype(np.uint32)

"""Last pass: the weight memories' contents and the issue words."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..isa.issue import Pass, VectorFrom, issue_word
from ..numbers import INT8_BITS, LOW_BITS, WEIGHT_BITS
from .fit import issue_words, matrix_words, tiles_per_word, weight_words
from .layout import Layout, Matrix
from .schedule import Schedule

__all__ = ["WeightMemory", "encode"]


class WeightMemory:
    """Where each matrix lies in the weight memories: one after the other.

    Parameters
    ----------
    layout : Layout
    formats : sequence of str
        Weight format of each layer.
    """

    def __init__(self, layout: Layout, formats: Sequence[str]) -> None:
        self._layout, self._formats = layout, formats
        self._start: dict[Matrix, int] = {}
        address = 0
        for matrix in layout.matrices:
            self._start[matrix] = address
            address += matrix_words(layout.config, matrix, formats)

    def is_paired(self, matrix: Matrix) -> bool:
        """Whether two tiles share a word."""
        return tiles_per_word(self._layout.config, self._formats[matrix.layer]) == 2

    def place(self, matrix: Matrix, tile: NDArray, multiplied: NDArray) -> tuple[NDArray, NDArray]:
        """(Addresses, high halves of words) of tiles number ``slot * blocks + block``, in their passes.

        Lower halves of weights lie behind the upper ones of the whole matrix.
        """
        if self.is_paired(matrix):
            return self._start[matrix] + tile // 2, tile % 2
        return self._start[matrix] + tile + matrix.tiles * (multiplied == Pass.LOW_WEIGHT), tile * 0

    def image(self, mantissas: dict[Matrix, NDArray]) -> NDArray[np.int16]:
        """The contents (cores, words, block, columns) for the mantissas (slots, cores, block, blocks, columns)."""
        config = self._layout.config
        shape = config.cores, weight_words(self._layout, self._formats), config.block, config.columns
        image = np.zeros(shape, dtype=np.int16)
        for matrix, values in mantissas.items():
            tiles = values.transpose(1, 0, 3, 2, 4).reshape(config.cores, matrix.tiles, *shape[2:])
            if self.is_paired(matrix):
                # 8-bit mantissas come widened, in the high byte.
                bytes_ = (tiles >> (WEIGHT_BITS - INT8_BITS)) & 0xFF
                words = bytes_[:, 0::2].copy()
                words[:, : bytes_.shape[1] // 2] |= bytes_[:, 1::2] << INT8_BITS
                tiles = words
            elif len(matrix.passes) > 1:
                # The upper half is the nearest to the whole, the lower one what is left.
                upper = (tiles + (1 << LOW_BITS - 1)) >> LOW_BITS
                tiles = np.concatenate([upper, tiles - (upper << LOW_BITS)], axis=1)
            start = self._start[matrix]
            image[:, start : start + tiles.shape[1]] = tiles.astype(np.uint16).view(np.int16)
        return image


def encode(layout: Layout, plan: Schedule, memory: WeightMemory) -> NDArray[np.uint32]:
    """The schedule as the issue words of an inference."""
    config = layout.config
    word = issue_word(config)
    fields = {field.name: np.zeros(issue_words(layout, plan), dtype=np.int64) for field in word}

    for number, matrix in enumerate(layout.matrices):
        to = np.flatnonzero(plan.matrix == number)
        slot, block, finish = plan.slot[to], plan.block[to], plan.finish[to]
        fields["valid"][to] = 1
        fields["weight"][to], high = memory.place(matrix, slot * matrix.blocks + block, plan.multiplied[to])
        if "int8" in word:
            fields["int8"][to], fields["high"][to] = memory.is_paired(matrix), high
        if "multiplied" in word:
            fields["multiplied"][to] = plan.multiplied[to]
            fields["quarters"][to] = layout.counted_quarters(matrix, block) - 1
        fields["slot"][to] = matrix.first_slot + slot
        fields["recurrent"][to] = matrix.recurrent
        fields["source"][to] = plan.source[to]
        fields["store"][to] = plan.store[to]
        fields["vector_from"][to] = matrix.vector_from.value
        fields["vector"][to] = matrix.first_block + block
        if matrix.sends_output:
            fields["output"][to] = finish
            fields["output_beats"][to] = [layout.slot_output_beats(s) - 1 for s in slot] * finish
            fields["output_last"][to] = finish & (slot == matrix.slots - 1)
        elif matrix.writes_vectors:
            fields["cell"][to] = finish
            if "epilogue" in word:
                fields["epilogue"][to] = config.epilogues.index(layout.layers[matrix.layer].kind.epilogue) * finish
            layer = layout.layers[matrix.layer]
            fields["quarter"][to] = config.quarters * layer.first_block + slot * layer.turns * config.cores
            for name, value in layer.settings:
                fields[name][to] = value * finish
    # Blocks of x arrive in order; the first word that reads each one waits for it.
    from_x = (fields["vector_from"] == VectorFrom.X.value) & (fields["valid"] == 1)
    _, where = np.unique(fields["vector"][from_x], return_index=True)
    fields["wait_block"][np.flatnonzero(from_x)[where]] = 1
    fields["start"][0] = 1
    fields["commit"][-1] = 1
    return word.encode(fields)

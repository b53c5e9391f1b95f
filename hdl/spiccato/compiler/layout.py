"""Where everything lies: rows on cores, units in slots, vector blocks, slots in the accumulator file.

A slot is ``cores * block`` rows, a vector block ``columns`` elements. The rows of a layer's units lie one after the
other: those of unit 0, of unit 1, and so on; row r is row ``r % block`` of core ``r // block % cores`` of the layer's
slot ``r // (cores * block)``. With the four rows of an LSTM unit, each core so has whole quarters, ``block / 4`` units,
of a vector block. h of unit u is element ``u % columns`` of the layer's block ``u // columns``, so that vectors lie in
their natural order and only rows are dealt out.

A *turn* is what the cores have of h at once, a quarter each. Units of one row are four in a lane, whose turns follow
each other: unit ``cores * block / 4`` is the second one of the first lane.
"""

import copy
import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..config import WIDE, Config
from ..isa.issue import PASSES, Pass, Source, VectorFrom
from ..layers import Layer, LoweredLayer
from ..numbers import GATES
from .units import settings

__all__ = ["Layout", "Matrix", "PlacedLayer", "dealt", "rows_of"]


@dataclass(frozen=True)
class Matrix:
    """One weight matrix on the MVU: ``slots x blocks`` tiles, each an issue word of an inference for each pass.

    Attributes
    ----------
    layer : int
        Number of its layer.
    recurrent : bool
        It belongs to the next timestep: its sums are stored. It also selects the row shifts.
    starts_from : Source
        What a slot's first tile is added to.
    writes_vectors, sends_output : bool
        Where a slot goes when its last tile was added: through an epilogue to the vector file, or out.
    vector_from : VectorFrom
    producers : tuple of int
        Which layers' results its columns meet, one behind the other; none for the network's input.
    first_block, blocks : int
        Which blocks of the vector file these are, with what lies between them.
    first_slot, slots : int
    passes : tuple of Pass
        Several, where weights and vector elements are multiplied in halves.
    """

    layer: int
    recurrent: bool
    starts_from: Source
    writes_vectors: bool
    sends_output: bool
    vector_from: VectorFrom
    producers: tuple[int, ...]
    first_block: int
    blocks: int
    first_slot: int
    slots: int
    passes: tuple[Pass, ...] = (Pass.ONLY,)

    @property
    def tiles(self) -> int:
        """How many there are."""
        return self.slots * self.blocks

    @property
    def slot_words(self) -> int:
        """Issue words of a slot in an inference."""
        return self.blocks * len(self.passes)

    @property
    def words(self) -> int:
        """Issue words of an inference."""
        return self.slots * self.slot_words


@dataclass(frozen=True)
class PlacedLayer:
    """A layer's place: its slots, the blocks of its results if they are vectors, and its matrices.

    It ``reads`` so many layers before it. ``turns`` of h come of each slot. ``allocated_blocks`` are those that whole
    slots write, ``blocks`` those that hold units. ``settings`` are fields of the words that finish slots.
    """

    number: int
    kind: type[Layer]
    units: int
    reads: int
    first_slot: int
    slots: int
    turns: int
    first_block: int
    blocks: int
    allocated_blocks: int
    settings: tuple[tuple[str, int], ...]
    input: Matrix
    recurrent: Matrix | None

    @property
    def matrices(self) -> tuple[Matrix, ...]:
        """The input matrix and, if there is one, the recurrent matrix."""
        return (self.input,) if self.recurrent is None else (self.input, self.recurrent)

    @property
    def all_slots(self) -> slice:
        """Its part of arrays over all slots."""
        return slice(self.first_slot, self.first_slot + self.slots)

    @property
    def tiles(self) -> int:
        """Tiles of all its matrices."""
        return sum(matrix.tiles for matrix in self.matrices)


class Layout:
    """The layout of a lowered network on ``config``; unbounded, :mod:`.fit` compares it with the memories.

    Attributes
    ----------
    config : Config
    layers : list of PlacedLayer
        The last one sends the outputs.
    input_blocks, vector_blocks, slots : int
        What it takes of the input buffer, the vector file and the accumulator file.
    has_initial : bool
        Sequences start from another state than zero, which takes as many slots of state memory as a context.
    """

    def __init__(self, lowered: Sequence[LoweredLayer], config: Config) -> None:
        self.config = config
        self.input_blocks = _divide_up(lowered[0].inputs, config.columns)
        self.layers: list[PlacedLayer] = []
        self.slots = self.vector_blocks = 0
        self.has_initial = any(
            part is not None and part.any() for layer in lowered for part in (layer.initial_h, layer.initial_c)
        )
        for number, layer in enumerate(lowered):
            vectors, recurrent = layer.kind.epilogue is not None, layer.recurrent is not None
            slots = _divide_up(layer.units * len(layer.kind.rows), config.slot_rows)
            turns = GATES // len(layer.kind.rows) if vectors else 0
            own = (VectorFrom.H, (number,), self.vector_blocks, _divide_up(layer.units, config.columns))
            start = Source.PREVIOUS if recurrent else Source.BIAS
            place = self.slots, slots
            self.layers.append(
                PlacedLayer(
                    number=number,
                    kind=layer.kind,
                    units=layer.units,
                    reads=layer.reads,
                    first_slot=self.slots,
                    slots=slots,
                    turns=turns,
                    first_block=self.vector_blocks,
                    blocks=own[-1] if vectors else 0,
                    allocated_blocks=_divide_up(slots * turns * config.cores, config.quarters),
                    settings=tuple(settings(layer).items()),
                    input=Matrix(number, False, start, vectors, not vectors, *self._source(layer.reads), *place),
                    recurrent=Matrix(number, True, Source.BIAS, False, False, *own, *place) if recurrent else None,
                )
            )
            self.slots += slots
            self.vector_blocks += self.layers[-1].allocated_blocks

    def in_formats(self, formats: Sequence[str]) -> "Layout":
        """The same for layers of these weight formats: the input matrices of wide ones take several passes."""
        found = copy.copy(self)
        found.layers = [
            dataclasses.replace(layer, input=dataclasses.replace(layer.input, passes=PASSES)) if form == WIDE else layer
            for layer, form in zip(self.layers, formats, strict=True)
        ]
        return found

    def _source(self, reads: int) -> tuple[VectorFrom, tuple[int, ...], int, int]:
        """What the next layer reads: where it is, which layers' results, their first block and how many there are."""
        if not self.layers:
            return VectorFrom.X, (), 0, self.input_blocks
        first, last = self.layers[-reads], self.layers[-1]
        producers = tuple(layer.number for layer in self.layers[-reads:])
        return VectorFrom.H, producers, first.first_block, last.first_block + last.blocks - first.first_block

    @property
    def hidden(self) -> list[PlacedLayer]:
        """The layers whose results are vectors."""
        return self.layers[:-1]

    @property
    def output(self) -> PlacedLayer:
        """The layer whose sums are the outputs."""
        return self.layers[-1]

    @property
    def matrices(self) -> list[Matrix]:
        """All matrices, layer after layer."""
        return [matrix for layer in self.layers for matrix in layer.matrices]

    @property
    def output_beats(self) -> int:
        """Beats of an output packet."""
        return _divide_up(self.output.units, self.config.beat_values)

    def slot_output_beats(self, slot: int) -> int:
        """Beats that output slot number ``slot`` (0 = first) sends."""
        rows = self.config.slot_rows
        return _divide_up(min(self.output.units - slot * rows, rows), self.config.beat_values)

    def counted_quarters(self, matrix: Matrix, block: NDArray) -> NDArray:
        """Of blocks (numbers within the matrix), how many quarters count: those of turns that hold units.

        The others have not been written when the block is read, or are beyond what its slots write. One at least: of
        blocks that hold no units none matters.
        """
        if not matrix.producers:
            return np.full(len(block), self.config.quarters)
        cores, quarters = self.config.cores, self.config.quarters
        there = np.zeros(self.vector_blocks, dtype=np.int64)
        for layer in self.hidden:
            own = np.arange(layer.allocated_blocks)
            written = cores * _divide_up(layer.units, self.config.slot_units)
            there[layer.first_block + own] = written - quarters * own
        return np.clip(there[matrix.first_block + block], 1, quarters)

    def turns_of_block(self, layer: PlacedLayer, block: int) -> tuple[int, int]:
        """The layer's first and last turn (0 = its first slot's first) that hold units of its ``block``."""
        per_slot = self.config.slot_units
        first = block * self.config.columns
        last = min(first + self.config.columns, layer.units) - 1
        return first // per_slot, last // per_slot

    def owner(self, matrix: Matrix, block: int) -> tuple[PlacedLayer, int] | None:
        """Whose results a matrix' block holds, and which one of that layer's it is; None: x, or what lies between."""
        where = matrix.first_block + block
        for layer in (self.layers[number] for number in matrix.producers):
            if 0 <= where - layer.first_block < layer.blocks:
                return layer, where - layer.first_block
        return None

    def deal_out(self, array: NDArray, layer: PlacedLayer) -> NDArray:
        """Deal out a layer's rows (units, rows per unit, ...) to (slots, cores, block, ...), zero-padded."""
        rows = array.reshape(-1, *array.shape[2:])
        padded = np.zeros((layer.slots * self.config.slot_rows, *rows.shape[1:]), dtype=array.dtype)
        padded[: len(rows)] = rows
        return dealt(padded, layer.slots, self.config, layer.turns)

    def columns_of(self, matrix: Matrix, array: NDArray) -> NDArray:
        """Split the last axis, what a matrix' columns meet, into (blocks, block), zero-padded."""
        if len(matrix.producers) <= 1:
            return self.columns(array, matrix.blocks)
        layers = [self.layers[number] for number in matrix.producers]
        parts = np.split(array, np.cumsum([layer.units for layer in layers])[:-1], axis=-1)
        blocks = [following.first_block - layer.first_block for layer, following in itertools.pairwise(layers)] + [
            layers[-1].blocks
        ]
        return np.concatenate([self.columns(part, number) for part, number in zip(parts, blocks)], axis=-2)

    def columns(self, array: NDArray, blocks: int) -> NDArray:
        """Split the last axis into (blocks, columns), zero-padded."""
        padded = np.zeros((*array.shape[:-1], blocks * self.config.columns), dtype=array.dtype)
        padded[..., : array.shape[-1]] = array
        return padded.reshape(*array.shape[:-1], blocks, self.config.columns)


def dealt(rows: NDArray, slots: int, config: Config, turns: int) -> NDArray:
    """Rows (slots * cores * block, ...) to (slots, cores, block, ...), those of a lane's turns next to each other."""
    if turns <= 1:
        return rows.reshape(slots, config.cores, config.block, *rows.shape[1:])
    in_turns = rows.reshape(slots, turns, config.cores, config.block // turns, *rows.shape[1:])
    return np.moveaxis(in_turns, 1, 3).reshape(slots, config.cores, config.block, *rows.shape[1:])


def rows_of(array: NDArray, turns: int) -> NDArray:
    """The inverse of :func:`dealt`: (slots, cores, block, ...) to (slots * cores * block, ...)."""
    slots, cores, block, *rest = array.shape
    if turns > 1:
        array = np.moveaxis(array.reshape(slots, cores, block // turns, turns, *rest), 3, 1)
    return array.reshape(-1, *rest)


def _divide_up(a: int, b: int) -> int:
    return -(-a // b)

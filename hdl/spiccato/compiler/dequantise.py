"""Back from a program's integers to the real numbers that they stand for."""

import numpy as np
from numpy.typing import NDArray

from ..isa.issue import VectorFrom
from ..layers import Layer, LinearLayer, LoweredLayer, kind_named
from ..network import Network
from ..numbers import EXPONENT_RANGE, FLOAT_BIAS, GATE_FRAC_BITS, WEIGHT_FRAC_BITS
from ..program import LayerPlace, Program
from ..rtl.row import DotProductRow
from .rows import halved_rows, row_point

__all__ = ["quantised_network"]


def quantised_network(program: Program) -> Network:
    """The network whose weights and biases are exactly those that ``program`` computes with.

    Read from the memory images by way of the issue words, as the hardware reads them: it depends on nothing that
    the compiler remembers of the original network. Consecutive linear layers are one, and the two biases of a gate
    are their sum.

    Returns
    -------
    spiccato.network.Network
    """
    first_slot = program.layers[-1].first_slot + program.layers[-1].slots
    output = LayerPlace(LinearLayer.kind, program.output_size, 0, 0, first_slot, len(program.biases) - first_slot)
    layers: list[Layer] = []
    inputs, vector_from = program.input_size, VectorFrom.X
    for place in (*program.layers, output):
        kind = kind_named(place.kind)
        frac_bits = program.output_frac_bits if kind.epilogue is None else GATE_FRAC_BITS
        layers.append(kind.from_lowered(_lowered(program, place, kind, inputs, vector_from, frac_bits)))
        inputs, vector_from = place.units, VectorFrom.H
    return Network(tuple(layers), program.name)


def _lowered(
    program: Program, place: LayerPlace, kind: type[Layer], inputs: int, vector_from: VectorFrom, frac_bits: int
) -> LoweredLayer:
    """A layer's rows, of sums with so many fraction bits."""
    slots = slice(place.first_slot, place.first_slot + place.slots)
    shape = place.slots, program.config.cores, program.config.block

    def rows(dealt: NDArray) -> NDArray:
        """(slots, cores, block, ...) to (units, rows per unit, ...)."""
        return dealt.reshape(-1, len(kind.rows), *dealt.shape[3:])[: place.units]

    def matrix(recurrent: bool, columns: int, point: NDArray) -> tuple[NDArray, int]:
        tiles = _tiles(program, place, recurrent)
        exponents = point - program.shifts[int(recurrent), slots].astype(np.int64)
        flat = tiles.reshape(*shape, -1)[..., :columns]
        return rows(np.ldexp(flat, (exponents - WEIGHT_FRAC_BITS)[..., None])), tiles.shape[3]

    weights, terms = matrix(False, inputs, row_point(kind.rows, shape, frac_bits, vector_from, 0))
    if vector_from is VectorFrom.X:
        # Of each feature: log2 of what its mantissas are multiplied by, the scale that its weights carry included.
        adjust = program.adjust.astype(np.int64).reshape(-1)[:inputs]
        weights = np.ldexp(weights, adjust - (EXPONENT_RANGE - 1 - FLOAT_BIAS))
    recurrent = None
    if kind.recurrent:
        point = row_point(kind.rows, shape, frac_bits, VectorFrom.H, 0)
        recurrent, more = matrix(True, place.units, point)
        terms += more
    # The compiler added half a unit for each term that is rounded down.
    bias = (program.biases[slots] - terms // 2).astype(np.float64)
    return LoweredLayer(kind, weights, recurrent, rows(np.ldexp(bias, halved_rows(kind.rows, shape) - frac_bits)))


def _tiles(program: Program, place: LayerPlace, recurrent: bool) -> NDArray:
    """Mantissas (slots, cores, block, blocks, block) of one of a layer's matrices."""
    config = program.config
    fields = {name: values[program.body :] for name, values in program.decode().items()}
    words = np.flatnonzero(
        (fields["valid"] == 1)
        & (fields["vector_from"] != VectorFrom.NONE.value)
        & (fields["recurrent"] == recurrent)
        & (fields["slot"] >= place.first_slot)
        & (fields["slot"] < place.first_slot + place.slots)
    )
    blocks = fields["vector"][words] - fields["vector"][words].min()
    dealt = np.zeros((place.slots, config.cores, config.block, blocks.max() + 1, config.block))
    dealt[fields["slot"][words] - place.first_slot, :, :, blocks] = DotProductRow.widen(
        program.weights[:, fields["weight"][words]].swapaxes(0, 1),
        fields["int8"][words][:, None, None, None] == 1,
        fields["high"][words][:, None, None, None] == 1,
    )
    return dealt

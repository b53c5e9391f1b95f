"""Back from a model's integers to the real numbers that they stand for."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..isa.issue import Pass, VectorFrom
from ..layers import Layer, LinearLayer, LoweredLayer, kind_named
from ..network import Network
from ..numbers import (
    C_FRAC_BITS,
    EXPONENT_RANGE,
    FLOAT_BIAS,
    GATE_FRAC_BITS,
    H_FRAC_BITS,
    LOW_BITS,
    REMAINDER_BITS,
    split_remainder,
)
from ..program import LayerPlace, Model
from ..program.tiles import row_scales, tiles
from .layout import rows_of
from .rows import halved_rows, row_point
from .units import unscaled

__all__ = ["quantised_network"]


def quantised_network(model: Model) -> Network:
    """The network whose weights and biases are exactly those that ``model`` computes with.

    Read from the memory images by way of the issue words, as the hardware reads them: it depends on nothing that
    the compiler remembers of the original network. Consecutive linear layers are one, and the two biases of a gate
    are their sum.

    Returns
    -------
    spiccato.network.Network
    """
    first_slot = model.state_slots
    output = LayerPlace(
        kind=LinearLayer.kind,
        units=model.output_size,
        reads=model.output_reads,
        cells=0,
        state_is_h=False,
        first_block=0,
        first_slot=first_slot,
        slots=model.slots - first_slot,
        turns=0,
        activation=None,
        recurrent=False,
    )
    layers: list[Layer] = []
    columns, vector_from = np.arange(model.input_size), VectorFrom.X
    #: What each layer's results are multiples of.
    multiples: list[NDArray] = []
    first_unit = 0
    for number, place in enumerate((*model.layers, output)):
        kind = kind_named(place.kind)
        frac_bits = model.output_frac_bits if kind.epilogue is None else GATE_FRAC_BITS
        if number:
            columns, vector_from = _columns(model, model.layers[number - place.reads : number]), VectorFrom.H
        lowered = _lowered(model, place, kind, columns, vector_from, frac_bits)
        if number:
            read = np.concatenate(multiples[-place.reads :])
            lowered = dataclasses.replace(lowered, input=lowered.input / read)
        own = np.ones(place.units)
        if place.activation is not None:
            log2_scale = model.log2_scales[first_unit : first_unit + place.units].astype(np.int64)
            lowered, own = unscaled(dataclasses.replace(lowered, activation=place.activation), log2_scale)
        multiples.append(own)
        first_unit += place.units
        if model.has_initial and kind.epilogue is not None:
            h, c = _initial_state(model, place)
            lowered = dataclasses.replace(lowered, initial_h=h, initial_c=c)
        layers.append(kind.from_lowered(lowered))
    reads = (*(place.reads for place in model.layers), model.output_reads)
    return Network(tuple(layers), model.name, outputs=model.outputs, reads=reads)


def _columns(model: Model, places: Sequence[LayerPlace]) -> NDArray[np.int64]:
    """Which columns of a matrix that reads these layers meet their units."""
    columns = model.config.columns
    first = columns * places[0].first_block
    return np.concatenate([columns * one.first_block - first + np.arange(one.units) for one in places])


def _initial_state(model: Model, place: LayerPlace) -> tuple[NDArray, NDArray]:
    """h and c that sequences start from, of one layer."""
    first = sum(layer.units for layer in model.layers if layer.first_slot < place.first_slot)
    h = model.initial_h[first : first + place.units]
    c = model.initial_c[place.all_slots].reshape(-1)[: place.cells]
    if place.state_is_h:
        high, low = split_remainder(c)
        exact = np.ldexp(np.ldexp(high.astype(np.float64), REMAINDER_BITS) + low, -H_FRAC_BITS - REMAINDER_BITS)
        return exact, exact
    return np.ldexp(h.astype(np.float64), -H_FRAC_BITS), np.ldexp(c.astype(np.float64), -C_FRAC_BITS)


def _lowered(
    model: Model,
    place: LayerPlace,
    kind: type[Layer],
    columns: NDArray[np.int64],
    vector_from: VectorFrom,
    frac_bits: int,
) -> LoweredLayer:
    """A layer's rows, of sums with so many fraction bits."""
    shape = place.slots, model.config.cores, model.config.block

    def rows(dealt: NDArray) -> NDArray:
        """(slots, cores, block, ...) to (units, rows per unit, ...)."""
        return rows_of(dealt, place.turns).reshape(-1, len(kind.rows), *dealt.shape[3:])[: place.units]

    def matrix(recurrent: bool, columns: NDArray[np.int64], point: NDArray) -> tuple[NDArray, int]:
        dealt, terms = _dealt(model, place, recurrent)
        shifts, factors = row_scales(model.config, model.shifts[int(recurrent), place.all_slots])
        exponents = point - shifts - model.config.factor_bits - (model.config.operands.weight - 1)
        flat = dealt.reshape(*shape, -1)[..., columns] * factors[..., None]
        return rows(np.ldexp(flat, exponents[..., None])), terms

    weights, terms = matrix(False, columns, row_point(kind.rows, shape, frac_bits, vector_from, 0))
    if vector_from is VectorFrom.X:
        # Of each feature: log2 of what its mantissas are multiplied by, the scale that its weights carry included.
        adjust = model.adjust.astype(np.int64).reshape(-1)[columns]
        weights = np.ldexp(weights, adjust - (EXPONENT_RANGE - 1 - FLOAT_BIAS))
    recurrent = None
    if kind.recurrent:
        point = row_point(kind.rows, shape, frac_bits, VectorFrom.H, 0)
        recurrent, more = matrix(True, np.arange(place.units), point)
        terms += more
    # The compiler added half a unit for each term that is rounded down.
    bias = (model.biases[place.all_slots] - terms // 2).astype(np.float64)
    return LoweredLayer(kind, weights, recurrent, rows(np.ldexp(bias, halved_rows(kind.rows, shape) - frac_bits)))


def _dealt(model: Model, place: LayerPlace, recurrent: bool) -> tuple[NDArray, int]:
    """Mantissas (slots, cores, block, blocks, columns) of one of a layer's matrices, and issue words of a slot."""
    config = model.config
    fields = model.decode()
    words = np.flatnonzero(
        (fields["valid"] == 1)
        & (fields["vector_from"] != VectorFrom.NONE.value)
        & (fields["recurrent"] == recurrent)
        & (fields["slot"] >= place.first_slot)
        & (fields["slot"] < place.first_slot + place.slots)
    )
    blocks = fields["vector"][words] - fields["vector"][words].min()
    dealt = np.zeros((place.slots, config.cores, config.block, blocks.max() + 1, config.columns))
    multiplied = fields["multiplied"][words] if "multiplied" in fields else np.full(len(words), Pass.ONLY)
    stored = np.ldexp(
        tiles(model, fields, words), np.where(multiplied == Pass.LOW_WEIGHT, -LOW_BITS, 0)[:, None, None, None]
    )
    slots = fields["slot"][words] - place.first_slot
    # In the third pass the upper halves are multiplied again.
    for which in (Pass.ONLY, Pass.HIGH, Pass.LOW_WEIGHT):
        now = multiplied == which
        dealt[slots[now], :, :, blocks[now]] += stored[now]
    return dealt, len(words) // place.slots

"""Fourth pass: all layers from real numbers to the integers of the memories."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..errors import FitError
from ..layers import LoweredLayer
from ..network import Network
from ..numbers import (
    C_BITS,
    C_FRAC_BITS,
    GATE_FRAC_BITS,
    H_FRAC_BITS,
    LOW_BITS,
    REMAINDER_BITS,
    VECTOR_BITS,
    WEIGHT_BITS,
    join_remainder,
)
from .fit import matrix_format
from .layout import Layout, Matrix
from .moments import Moments, moments
from .notes import calibration_note, output_note
from .rows import check_row_range, format_bits, output_frac_bits, quantise_matrix, row_bias, row_point
from .scales import InputScale, calibrated_scale, check_input_weights, weight_scale
from .units import multiple

__all__ = ["Quantised", "quantise"]

#: Of what a sequence starts from; its products with weights fit 64 bits.
_INITIAL_H_BITS = 32


@dataclass(frozen=True, eq=False)
class Quantised:
    """A network's integers.

    Attributes
    ----------
    scale : InputScale
        Of the input features.
    output_frac_bits : int
        Fraction bits of the output sums.
    mantissas : dict
        Of each :class:`Matrix`: int32 (slots, cores, block, blocks, columns); both halves of those that have two.
    shifts : uint8 (2, slots, cores, block)
        Of input and recurrent matrices: row shifts, and in the bits above the factors of rows that have one.
    biases : int64 (slots, cores, block)
    initial_h, initial_c : list of int64 (units,)
        What sequences start from, 17 fraction bits, of each layer whose results are vectors. Layers without a cell
        state have an empty c.
    notes : list of str
    """

    scale: InputScale
    output_frac_bits: int
    shifts: NDArray[np.uint8]
    biases: NDArray[np.int64]
    initial_h: list[NDArray[np.int64]]
    initial_c: list[NDArray[np.int64]]
    notes: list[str]
    mantissas: dict[Matrix, NDArray[np.int32]] = field(default_factory=dict)


def quantise(
    network: Network, lowered: Sequence[LoweredLayer], layout: Layout, formats: Sequence[str], *, feedback: bool = True
) -> Quantised:
    """Quantise a network.

    Parameters
    ----------
    network : Network
    lowered : sequence of LoweredLayer
        Its layers.
    layout : Layout
        Their places.
    formats : sequence of str
        Weight format of each layer.
    feedback : bool
        Round weights of fewer than 16 bits by error feedback, if there are calibration inputs.

    Raises
    ------
    FitError
        If numbers are beyond what the hardware's formats hold.
    """
    config = layout.config
    names = [f"{network.name}: layer {layer.number}" for layer in layout.hidden] + [f"{network.name}: linear layer"]
    notes = []
    input_weights = lowered[0].input.reshape(-1, network.input_size)
    check_input_weights(input_weights, names[0])
    if network.calibration is None:
        scale = weight_scale(input_weights, names[0])
    else:
        scale = calibrated_scale(
            lowered[0], network.calibration, config=config, weight_format=formats[0], name=names[0]
        )
        notes += calibration_note(network.calibration, scale.adjust, config.io_format)
    weight, bias = lowered[-1].input[:, 0], lowered[-1].bias[:, 0]
    frac_bits = output_frac_bits(weight, bias, names[-1])
    notes += output_note(weight, bias, frac_bits)

    result = Quantised(
        scale,
        frac_bits,
        np.zeros((2, layout.slots, config.cores, config.block), dtype=np.uint8),
        np.zeros((layout.slots, config.cores, config.block), dtype=np.int64),
        *_initial_state(lowered, layout, names),
        notes,
    )
    bits_of = {
        matrix: format_bits(config, matrix_format(config, formats[matrix.layer], recurrent=matrix.recurrent))
        for matrix in layout.matrices
    }
    known = moments(network) if feedback and any(bits < WEIGHT_BITS for bits in bits_of.values()) else None
    for layer, place, name in zip(lowered, layout.layers, names):
        rows, point_bits = place.kind.rows, frac_bits if place.input.sends_output else GATE_FRAC_BITS
        if place.input.writes_vectors:
            check_row_range(layer, network_input=not place.input.producers, name=name)
        for matrix, array in zip(place.matrices, layer.matrices):
            scaled = np.ldexp(array, scale.log2_scale) if not matrix.producers else array
            dealt = layout.columns_of(matrix, layout.deal_out(scaled, place))
            point = row_point(rows, dealt.shape[:3], point_bits, matrix.vector_from, scale.cap)
            bits = bits_of[matrix]
            low_bits = LOW_BITS if len(matrix.passes) > 1 else 0
            inputs = None if known is None else _matrix_moments(known[place.number], matrix, layout, scale, lowered)
            quantised = quantise_matrix(
                dealt,
                point,
                bits,
                name,
                width=config.operands.weight + low_bits,
                fine=config.narrow,
                low_bits=low_bits,
                moments=inputs,
            )
            result.mantissas[matrix] = quantised.mantissas
            result.shifts[int(matrix.recurrent), place.all_slots] = quantised.stored
        terms = sum(matrix.slot_words for matrix in place.matrices)
        result.biases[place.all_slots] = row_bias(rows, layout.deal_out(layer.bias, place), point_bits, terms)
    return result


def _matrix_moments(
    known: Moments, matrix: Matrix, layout: Layout, scale: InputScale, lowered: Sequence[LoweredLayer]
) -> NDArray[np.float64] | None:
    """Moments of a matrix's columns, dealt out and scaled as the hardware has them; zero where there is none."""
    products = known.recurrent if matrix.recurrent else known.input
    if products is None:
        return None
    if matrix.producers:
        read = [lowered[number] for number in matrix.producers]
        units = np.concatenate([multiple(low.activation, low.log2_scales) for low in read])
    else:
        units = np.ldexp(1.0, scale.log2_scale)
    products = products / np.outer(units, units)
    # Both axes are the columns.
    for _ in range(2):
        products = layout.columns_of(matrix, products).reshape(len(products), -1).T
    return products


def _initial_state(
    lowered: Sequence[LoweredLayer], layout: Layout, names: Sequence[str]
) -> tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]]:
    """h and c that sequences start from; refuses what is beyond the formats. h may be wider than the hardware's own."""
    h, c = [], []
    for layer, place, name in zip(lowered, layout.hidden, names):
        kind = place.kind
        cells = layer.units * kind.has_state
        # What contexts keep has the width of the hardware's own.
        kept = kind.has_state and layout.config.keep_h
        bits, why = (VECTOR_BITS, ", since the configuration keeps h") if kept else (_INITIAL_H_BITS, "")
        h.append(_integers(f"{name}: an initial h", layer.initial_h, layer.units, H_FRAC_BITS, bits, why))
        if kind.state_is_h:
            exact = H_FRAC_BITS + REMAINDER_BITS
            # One more bit: 1 itself becomes the largest that there is.
            c.append(join_remainder(_integers(f"{name}: an initial h", layer.initial_c, cells, exact, C_BITS + 1)))
        else:
            c.append(_integers(f"{name}: an initial c", layer.initial_c, cells, C_FRAC_BITS, C_BITS))
    return h, c


def _integers(
    what: str, values: NDArray[np.float64] | None, size: int, frac_bits: int, bits: int, why: str = ""
) -> NDArray[np.int64]:
    """Values, or zeros, with so many fraction bits; refuses what is beyond so many bits, and says ``why`` so few."""
    scaled = np.rint(np.ldexp(np.zeros(size) if values is None else values, frac_bits))
    largest = np.abs(scaled).max(initial=0)
    if largest >= 2.0 ** (bits - 1):
        raise FitError(
            f"{what} of magnitude {np.ldexp(largest, -frac_bits):.3g} is beyond what there may be "
            f"({2 ** (bits - 1 - frac_bits)}{why})"
        )
    return scaled.astype(np.int64)

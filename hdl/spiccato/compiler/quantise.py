"""Fourth pass: all layers from real numbers to the integers of the memories."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..errors import FitError
from ..layers import LoweredLayer
from ..network import Network
from ..numbers import C_BITS, C_FRAC_BITS, GATE_FRAC_BITS, H_FRAC_BITS, REMAINDER_BITS, VECTOR_BITS, join_remainder
from .layout import Layout, Matrix
from .notes import calibration_note, output_note
from .rows import check_row_range, output_frac_bits, quantise_matrix, row_bias, row_point
from .scales import InputScale, calibrated_scale, weight_scale

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
        Of each :class:`Matrix`: int32 (slots, cores, block, blocks, block).
    shifts : uint8 (2, slots, cores, block)
        Row shifts of input and recurrent matrices.
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


def quantise(network: Network, lowered: Sequence[LoweredLayer], layout: Layout, formats: Sequence[str]) -> Quantised:
    """Quantise a network.

    Parameters
    ----------
    network : Network
    lowered : sequence of LoweredLayer
        Its layers.
    layout : Layout
        Their places.
    formats : sequence of "int16" or "int8"
        Weight format of each layer.

    Raises
    ------
    FitError
        If numbers are beyond what the hardware's formats hold.
    """
    config = layout.config
    names = [f"{network.name}: layer {layer.number}" for layer in layout.hidden] + [f"{network.name}: linear layer"]
    notes = []
    if network.calibration is None:
        scale = weight_scale(lowered[0].input.reshape(-1, network.input_size), names[0])
    else:
        scale = calibrated_scale(
            lowered[0],
            network.calibration,
            block=config.block,
            int8=formats[0] == "int8",
            io_format=config.io_format,
            name=names[0],
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
    for layer, place, name in zip(lowered, layout.layers, names):
        rows, bits = place.kind.rows, frac_bits if place.input.sends_output else GATE_FRAC_BITS
        if place.input.writes_vectors:
            check_row_range(layer, network_input=not place.input.producers, name=name)
        for matrix, array in zip(place.matrices, layer.matrices):
            scaled = np.ldexp(array, scale.log2_scale) if not matrix.producers else array
            dealt = layout.columns_of(matrix, layout.deal_out(scaled, place))
            point = row_point(rows, dealt.shape[:3], bits, matrix.vector_from, scale.cap)
            quantised = quantise_matrix(dealt, point, formats[place.number] == "int8", name)
            result.mantissas[matrix] = quantised.mantissas
            result.shifts[int(matrix.recurrent), place.all_slots] = quantised.shifts
        terms = sum(matrix.blocks for matrix in place.matrices)
        result.biases[place.all_slots] = row_bias(rows, layout.deal_out(layer.bias, place), bits, terms)
    return result


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

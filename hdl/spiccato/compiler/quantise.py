"""Third pass: all layers from real numbers to the integers of the memories."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..errors import FitError
from ..layers import LoweredLayer
from ..network import Network
from ..numbers import C_BITS, C_FRAC_BITS, GATE_FRAC_BITS, H_FRAC_BITS, VECTOR_BITS, WEIGHT_BITS
from .layout import Layout, Matrix
from .moments import Moments, moments
from .notes import calibration_note, output_note
from .rows import check_row_range, format_bits, output_frac_bits, quantise_matrix, row_bias, row_point
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
        Of each :class:`Matrix`: int32 (slots, cores, block, blocks, columns).
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
    if network.calibration is None:
        scale = weight_scale(lowered[0].input.reshape(-1, network.input_size), names[0])
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
    known = moments(network) if feedback and any(format_bits(form) < WEIGHT_BITS for form in formats) else None
    for layer, place, name in zip(lowered, layout.layers, names):
        rows, point_bits = place.kind.rows, frac_bits if place.input.sends_output else GATE_FRAC_BITS
        if place.input.writes_vectors:
            check_row_range(layer, network_input=place.input.producer is None, name=name)
        for matrix, array in zip(place.matrices, layer.matrices):
            scaled = np.ldexp(array, scale.log2_scale) if matrix.producer is None else array
            dealt = layout.columns(layout.deal_out(scaled, place), matrix.blocks)
            point = row_point(rows, dealt.shape[:3], point_bits, matrix.vector_from, scale.cap)
            bits = format_bits(formats[place.number])
            inputs = None if known is None else _matrix_moments(known[place.number], matrix, layout, scale)
            quantised = quantise_matrix(
                dealt, point, bits, name, width=config.operands.weight, fine=config.narrow, moments=inputs
            )
            result.mantissas[matrix] = quantised.mantissas
            result.shifts[int(matrix.recurrent), place.all_slots] = quantised.stored
        terms = sum(matrix.blocks for matrix in place.matrices)
        result.biases[place.all_slots] = row_bias(rows, layout.deal_out(layer.bias, place), point_bits, terms)
    return result


def _matrix_moments(known: Moments, matrix: Matrix, layout: Layout, scale: InputScale) -> NDArray[np.float64] | None:
    """Moments of a matrix's columns, dealt out and scaled as the hardware has them; zero where there is none."""
    products = known.recurrent if matrix.recurrent else known.input
    if products is None:
        return None
    if matrix.producer is None:
        products = np.ldexp(products, -scale.log2_scale - scale.log2_scale[:, None])
    padding = matrix.blocks * layout.config.columns - len(products)
    return np.pad(products, (0, padding))


def _initial_state(
    lowered: Sequence[LoweredLayer], layout: Layout, names: Sequence[str]
) -> tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]]:
    """h and c that sequences start from; refuses what is beyond the formats. h may be wider than the hardware's own."""
    h, c = [], []
    # What contexts keep has the width of the hardware's own.
    keeps = layout.config.keep_h
    for layer, place, name in zip(lowered, layout.hidden, names):
        parts = []
        for what, values, frac_bits, bits, size in (
            ("h", layer.initial_h, H_FRAC_BITS, VECTOR_BITS if keeps else _INITIAL_H_BITS, layer.units),
            ("c", layer.initial_c, C_FRAC_BITS, C_BITS, layer.units * place.kind.has_state),
        ):
            scaled = np.rint(np.ldexp(np.zeros(size) if values is None else values, frac_bits))
            largest = np.abs(scaled).max(initial=0)
            if largest >= 2.0 ** (bits - 1):
                limit = f"{2 ** (bits - 1 - frac_bits)}{', since the configuration keeps h' * (bits == VECTOR_BITS)}"
                raise FitError(
                    f"{name}: an initial {what} of magnitude {np.ldexp(largest, -frac_bits):.3g} is beyond what there "
                    f"may be ({limit})"
                )
            parts.append(scaled.astype(np.int64))
        h.append(parts[0])
        c.append(parts[1])
    return h, c

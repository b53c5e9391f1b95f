"""Back from a program's integers to the real numbers that they stand for."""

import numpy as np

from ..isa.issue import VectorFrom
from ..network import LinearLayer, LSTMLayer, Network
from ..numbers import EXPONENT_RANGE, FLOAT_BIAS, GATE_FRAC_BITS, GATES, WEIGHT_FRAC_BITS
from ..rtl.row import DotProductRow
from .quantise import gate_point, output_point, sigmoid_rows

__all__ = ["quantised_network"]


def quantised_network(program):
    """The network whose weights and biases are exactly those that ``program`` computes with.

    Read from the memory images by way of the issue words, as the hardware reads them: it depends on nothing that
    the compiler remembers of the original network. Consecutive linear layers are one, and the two biases of a gate
    are their sum.

    Returns
    -------
    spiccato.network.Network
    """
    config, layers = program.config, program.layers
    fields = {name: values[program.body :] for name, values in program.decode().items()}
    busy = (fields["valid"] == 1) & (fields["vector_from"] != VectorFrom.NONE.value)
    # Of each feature: log2 of what its mantissas are multiplied by, the scale that its weights carry included.
    features = (EXPONENT_RANGE - 1 - FLOAT_BIAS - program.adjust.astype(np.int64)).reshape(-1)[: program.input_size]

    def matrix(first_slot, slots, recurrent, inputs, point):
        """Weights as dealt out (slots, cores, block, inputs), and how many blocks each row sums."""
        words = np.flatnonzero(
            busy
            & (fields["recurrent"] == recurrent)
            & (fields["slot"] >= first_slot)
            & (fields["slot"] < first_slot + slots)
        )
        blocks = fields["vector"][words] - fields["vector"][words].min()
        tiles = DotProductRow.widen(
            program.weights[:, fields["weight"][words]].swapaxes(0, 1),
            fields["int8"][words][:, None, None, None] == 1,
            fields["high"][words][:, None, None, None] == 1,
        )
        dealt = np.zeros((slots, config.cores, config.block, blocks.max() + 1, config.block))
        dealt[fields["slot"][words] - first_slot, :, :, blocks] = tiles
        exponents = point - program.shifts[recurrent, first_slot : first_slot + slots].astype(np.int64)
        flat = dealt.reshape(*dealt.shape[:3], -1)[..., :inputs]
        return np.ldexp(flat, (exponents - WEIGHT_FRAC_BITS)[..., None]), dealt.shape[3]

    lstm, inputs, vector_from = [], program.input_size, VectorFrom.X
    for layer in layers:
        shape = (layer.slots, config.cores, config.block)
        weight_ih, input_blocks = matrix(layer.first_slot, layer.slots, 0, inputs, gate_point(shape, vector_from, 0))
        if vector_from is VectorFrom.X:
            weight_ih = np.ldexp(weight_ih, -features)
        weight_hh, own_blocks = matrix(
            layer.first_slot, layer.slots, 1, layer.units, gate_point(shape, VectorFrom.H, 0)
        )
        # The compiler added half a unit for each term that is rounded down.
        bias = program.biases[layer.first_slot : layer.first_slot + layer.slots] - (input_blocks + own_blocks) // 2
        bias = np.ldexp(bias.astype(np.float64), sigmoid_rows(shape) - GATE_FRAC_BITS)
        lstm.append(LSTMLayer(*(_gate_rows(array, layer.units) for array in (weight_ih, weight_hh, bias))))
        inputs, vector_from = layer.units, VectorFrom.H

    first_slot = layers[-1].first_slot + layers[-1].slots
    slots = len(program.biases) - first_slot
    weight, blocks = matrix(
        first_slot, slots, 0, inputs, output_point((slots, config.cores, config.block), program.output_frac_bits)
    )
    bias = np.ldexp((program.biases[first_slot:] - blocks // 2).astype(np.float64), -program.output_frac_bits)
    outputs = slice(program.output_size)
    linear = LinearLayer(weight.reshape(-1, inputs)[outputs], bias.reshape(-1)[outputs])
    return Network(tuple(lstm), (linear,), program.name)


def _gate_rows(dealt, units):
    """Inverse of :meth:`.layout.Layout.gate_rows`: (slots, cores, block, ...) to PyTorch's (4 * units, ...)."""
    rows = dealt.reshape(-1, GATES, *dealt.shape[3:])[:units]
    return rows.swapaxes(0, 1).reshape(GATES * units, *dealt.shape[3:])

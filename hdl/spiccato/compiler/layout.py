"""Where everything lies: rows on cores, units in slots, vector blocks, slots in the accumulator file.

Hidden unit u of a layer belongs to quarter ``u // lanes`` (``lanes = block / 4``). Slot j of the layer is its quarters
``j * cores .. (j + 1) * cores - 1``, one for each core; row ``4 * (u % lanes) + gate`` of that core is one gate of
the unit. h of unit u is element ``u % block`` of the layer's block ``u // block``, so that vectors lie in their natural
order and only rows are dealt out.
"""

from dataclasses import dataclass

import numpy as np

from ..isa.issue import VectorFrom
from ..numbers import GATES, QUARTERS

__all__ = ["Matrix", "LayerLayout", "LinearLayout", "Layout"]


@dataclass(frozen=True)
class Matrix:
    """One weight matrix on the MVU: ``slots x blocks`` tiles, each one issue word of an inference.

    ``vector_from`` and ``first_block`` tell which blocks of the vector file its columns meet; ``recurrent`` selects
    the row shifts. ``layer`` is the LSTM layer, or the number of LSTM layers for the linear layer.
    """

    layer: int
    recurrent: bool
    vector_from: VectorFrom
    first_block: int
    blocks: int
    first_slot: int
    slots: int

    @property
    def tiles(self):
        """Issue words, and 16-bit weight memory words."""
        return self.slots * self.blocks


@dataclass(frozen=True)
class LayerLayout:
    """An LSTM layer's place: slots, blocks of h, and its two matrices."""

    units: int
    first_slot: int
    slots: int
    first_block: int
    allocated_blocks: int
    input: Matrix
    recurrent: Matrix


@dataclass(frozen=True)
class LinearLayout:
    """The linear layer's place.

    Output o is row ``o % block`` of core ``o // block % cores`` of slot ``o // (cores * block)``.
    """

    outputs: int
    first_slot: int
    slots: int
    input: Matrix


class Layout:
    """The layout of ``network`` on ``config``; unbounded, :mod:`.compile` compares it with the memories."""

    def __init__(self, network, config):
        self.config = config
        self.input_blocks = _divide_up(network.input_size, config.block)
        self.layers = []
        slot, block = 0, 0
        source = (VectorFrom.X, 0, self.input_blocks)
        for number, layer in enumerate(network.lstm):
            units = layer.hidden_size
            slots = _divide_up(units, config.slot_units)
            own = (VectorFrom.H, block, _divide_up(units, config.block))
            self.layers.append(
                LayerLayout(
                    units=units,
                    first_slot=slot,
                    slots=slots,
                    first_block=block,
                    allocated_blocks=_divide_up(slots * config.cores, QUARTERS),
                    input=Matrix(number, False, *source, slot, slots),
                    recurrent=Matrix(number, True, *own, slot, slots),
                )
            )
            slot += slots
            block += self.layers[-1].allocated_blocks
            source = own
        self.vector_blocks = block
        self.lstm_slots = slot
        slots = _divide_up(network.output_size, config.slot_rows)
        self.linear = LinearLayout(
            outputs=network.output_size,
            first_slot=slot,
            slots=slots,
            input=Matrix(len(network.lstm), False, *source, slot, slots),
        )
        self.slots = slot + slots

    @property
    def matrices(self):
        """All matrices: each layer's input and recurrent one, then the linear layer's."""
        return [m for layer in self.layers for m in (layer.input, layer.recurrent)] + [self.linear.input]

    @property
    def output_beats(self):
        """Beats of an output packet."""
        return _divide_up(self.linear.outputs, self.config.beat_values)

    def slot_output_beats(self, slot):
        """Beats that output slot number ``slot`` (0 = first) sends."""
        rows = self.config.slot_rows
        return _divide_up(min(self.linear.outputs - slot * rows, rows), self.config.beat_values)

    def slots_of_block(self, layer, block):
        """The layer's first and last slot (0 = its first) that hold units of its ``block``."""
        per_slot = self.config.slot_units
        first = block * self.config.block
        last = min(first + self.config.block, layer.units) - 1
        return first // per_slot, last // per_slot

    def gate_rows(self, array, slots):
        """Deal out rows of a PyTorch matrix or bias (4 * units, ...) to (slots, cores, block, ...), zero-padded."""
        units = array.shape[0] // GATES
        padded = np.zeros((slots * self.config.slot_units, GATES, *array.shape[1:]), dtype=array.dtype)
        padded[:units] = array.reshape(GATES, units, *array.shape[1:]).swapaxes(0, 1)
        return padded.reshape(slots, self.config.cores, self.config.block, *array.shape[1:])

    def output_rows(self, array, slots):
        """Deal out rows of a linear layer's matrix or bias (outputs, ...), likewise."""
        padded = np.zeros((slots * self.config.slot_rows, *array.shape[1:]), dtype=array.dtype)
        padded[: array.shape[0]] = array
        return padded.reshape(slots, self.config.cores, self.config.block, *array.shape[1:])

    def columns(self, array, blocks):
        """Split the last axis into (blocks, block), zero-padded."""
        padded = np.zeros((*array.shape[:-1], blocks * self.config.block), dtype=array.dtype)
        padded[..., : array.shape[-1]] = array
        return padded.reshape(*array.shape[:-1], blocks, self.config.block)


def _divide_up(a, b):
    return -(-a // b)

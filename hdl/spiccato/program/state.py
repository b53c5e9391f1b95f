"""A state (h, c) as a load over the bus."""

import numpy as np

from ..errors import ProgramError
from ..isa.load import Record, RecordKind, load_stream
from ..isa.word import pack_bits
from ..numbers import ACC_BITS, C_BITS, VECTOR_BITS
from ..rtl.accumulator import RowAccumulator
from ..rtl.row import DotProductRow

__all__ = ["state_words"]


def state_words(program, h, c):
    """The words of a state image: after it has been loaded, inferences go on from this state (uint32 array).

    The hardware has to run ``program``. It keeps the recurrent half of every sum rather than h, so these words
    hold the halves that ``h`` leads to. (``probe`` shows the h of the last inference, which the next one never
    reads.)

    Parameters
    ----------
    h, c : sequences of integer arrays (units,), one for each layer but the linear one
        As read back: 17 fraction bits, 18 and 27 bits wide. Of layers without a cell state c is empty.

    Raises
    ------
    ProgramError
        If there are not as many layers or units as the program has, or a value is out of range.
    """
    config = program.config
    h, c = (
        _state_arrays(program, name, values, sizes, bits)
        for name, values, sizes, bits in (
            ("h", h, [layer.units for layer in program.layers], VECTOR_BITS),
            ("c", c, [layer.cells for layer in program.layers], C_BITS),
        )
    )
    slots = max(layer.first_slot + layer.slots for layer in program.layers)
    cells = np.zeros((slots, config.cores, config.lanes), dtype=np.int64)
    for layer, values in zip(program.layers, c):
        cells[layer.first_slot : layer.first_slot + layer.slots].reshape(-1)[: layer.cells] = values
    halves = _recurrent_halves(program, h)[:slots]
    records = [
        Record(RecordKind.CELL_STATE, pack_bits(cells[:, core], C_BITS), core=core) for core in range(config.cores)
    ]
    records += [
        Record(RecordKind.ACCUMULATORS, pack_bits(halves[:, core, row, None], ACC_BITS), core=core, row=row)
        for core in range(config.cores)
        for row in range(config.block)
    ]
    return load_stream(records, RecordKind.BEGIN_STATE, program.digest)


def _state_arrays(program, name, values, sizes, bits):
    values = [np.asarray(value) for value in values]
    shapes, wanted = [value.shape for value in values], [(size,) for size in sizes]
    if shapes != wanted:
        raise ProgramError(f"state of program {program.name!r}: {name} has shapes {shapes}, the layers have {wanted}")
    for number, value in enumerate(values):
        if value.dtype.kind not in "iu" or (value >> (bits - 1) != value >> 63).any():
            raise ProgramError(
                f"state of program {program.name!r}: {name} of layer {number} has to hold integers of "
                f"{bits} bits, as they are read back"
            )
    return [value.astype(np.int64) for value in values]


def _recurrent_halves(program, h):
    """Sums (slots, cores, block) of biases and W_hh h, as an inference leaves them for the next one."""
    config, fields = program.config, program.decode()
    vectors = np.zeros((config.vector_blocks, config.block), dtype=np.int64)
    for layer, values in zip(program.layers, h):
        vectors.reshape(-1)[config.block * layer.first_block :][: layer.units] = values
    sums = program.biases.astype(np.int64)
    for word in np.flatnonzero((fields["valid"] == 1) & (fields["recurrent"] == 1)):
        tile = DotProductRow.widen(
            program.weights[:, fields["weight"][word]], fields["int8"][word] == 1, fields["high"][word] == 1
        )
        slot = fields["slot"][word]
        sums[slot] += RowAccumulator.align(tile @ vectors[fields["vector"][word]], program.shifts[1, slot])
    return sums

"""Cycles of a core's stages, composed from its parts' latencies."""

from .accumulator import RowAccumulator
from .epilogue import epilogues
from .memory import Ram
from .row import DotProductRow
from .sum_shift import SumShift
from .vector_file import VectorFile

__all__ = ["CoreTiming"]


class CoreTiming:
    """Cycles of a core's stages, counted from the issue register (cycle 0), composed from its parts' latencies."""

    def __init__(self, config):
        stages = config.stages
        #: The vector file's output register: where ``vector`` and ``exponent`` enter the core.
        self.vector = VectorFile(config).latency
        #: Operands at the rows: the core's own copy of the vector; and the weight memory's output, which some profiles
        #: have a cycle earlier.
        self.row = self.vector + 1 + stages.vector_register
        self.weights = self.row - DotProductRow(config).weight_lead
        self.weight_addr = self.weights - Ram.latency
        self.sum = self.row + DotProductRow(config).latency
        #: Row shifts with the block's exponent: for the accumulators, or for the last register of the rows.
        self.shift = self.sum - bool(SumShift(config).coarse_bits)
        #: Row shifts as the memory gives them; with 9x9 multipliers, factors as well, which the sums need before.
        self.row_scale = self.shift - 1 - config.narrow
        self.shift_addr = self.row_scale - Ram.latency
        self.operand = self.sum + RowAccumulator.add_offset
        self.operand_addr = self.operand - Ram.latency - stages.start_register
        #: Accumulator registers.
        self.acc = self.sum + RowAccumulator.latency
        units = epilogues(config)
        states = [unit for unit in units if unit.has_state]
        #: One time for all epilogues with a state, so that what they write cannot meet: c is read for the first one
        #: that wants it, and written when the last one has it. Nothing waits for it before the next inference.
        self.c_old = self.acc + min(unit.gate_latency for unit in states)
        self.c_old_addr = self.c_old - 1 - Ram.latency
        self.c = self.acc + max(unit.c_latency for unit in states)
        #: h is there when an epilogue has it, by name: the schedule keeps two from being there at once.
        self.h_of = {unit.name: self.acc + unit.latency for unit in units}
        #: How many cycles in a row there is one, of a slot.
        self.turns_of = {unit.name: unit.turns for unit in units}
        #: The last h of the slowest epilogue.
        self.h = max(self.h_of[unit.name] + unit.turns - 1 for unit in units)
        #: When h of epilogues with a state is written where contexts keep it: nobody waits for that, so its registers
        #: reach no further.
        self.h_kept = max(self.h_of[unit.name] for unit in states) + 1
        #: Least distance between two issue words that store and load the same slot's partial sums: the write port
        #: takes the accumulator register, and a read has to come one cycle later.
        self.reload = self.acc + stages.write_register + 1 - self.operand_addr
        #: The same for c of a slot.
        self.c_reuse = self.c + stages.write_register + 1 - self.c_old_addr

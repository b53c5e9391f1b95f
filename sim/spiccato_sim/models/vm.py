"""The virtual machine: a bit-exact and cycle-exact model of the accelerator that runs the same program.

What the accelerator computes is integer arithmetic in which the order of additions does not matter, so the machine
need not follow the cycles: it reads from the issue words which tile adds to which slot and which slot waits for
which, and computes all tiles that are independent of each other at once. Dot products are sums of at most 64
products of 16 and 18 bits, which float64 matrix multiplication gives exactly.

When things happen is a recurrence over the issue words that wait (:class:`Timeline`).
"""

import warnings
from collections import Counter
from dataclasses import dataclass

import numpy as np

from spiccato.arrays import bit_array, real_array
from spiccato.formats import from_bits, to_bits
from spiccato.isa.issue import Source, VectorFrom
from spiccato.numbers import ACC_BITS, EXPONENT_STEP, GATES, QUARTERS, SHIFT_MAX
from spiccato.rtl.accelerator import Timing
from spiccato.rtl.accumulator import RowAccumulator
from spiccato.rtl.epilogue import epilogues
from spiccato.rtl.ingress import Ingress
from spiccato.rtl.output_lane import OutputLane
from spiccato.rtl.row import DotProductRow

__all__ = ["InputWarning", "StepResult", "Timeline", "VirtualMachine", "to_bits", "from_bits"]


class InputWarning(UserWarning):
    """Inputs that are computed with, but not as they are: the accelerator marks such steps."""


@dataclass(frozen=True)
class StepResult:
    """One inference.

    Attributes
    ----------
    bits : int64 (output_size,), output bit patterns
    sums : int64 (output_size,)
        The outputs before they are rounded to the streams' format, with ``program.output_frac_bits`` fraction bits.
    flags : dict, the marks of ``tuser`` as {name: bool}
    """

    bits: np.ndarray
    sums: np.ndarray
    flags: dict


@dataclass
class _Level:
    """Tiles that can be computed together, and the slots they finish."""

    weights: np.ndarray  # (tiles, cores * block, block) float64
    shifts: np.ndarray  # (tiles, cores * block)
    from_x: np.ndarray  # (tiles,) bool
    vectors: np.ndarray  # (tiles,) block numbers
    starts: np.ndarray  # first tile of each chain, for reduceat
    chains: np.ndarray  # the chains
    cells: np.ndarray  # chains that end in cells here
    outputs: np.ndarray  # chains that end in outputs here
    halves: np.ndarray  # chains that end as recurrent halves here


class VirtualMachine:
    """Runs ``program``; the state starts from zero.

    What is no ordinary number is treated as by the hardware: a NaN counts as 0 and the step is marked ``nan``; what
    is beyond the range of the program, infinity above all, becomes the largest value of that range, and the step is
    marked ``saturated``.

    Attributes
    ----------
    marks : collections.Counter
        Steps that were marked since the state was reset, by the name of the mark.
    h : list of int64 arrays (hidden size,), 17 fraction bits, one for each layer
    c : list of int64 arrays (hidden size,), 17 fraction bits; empty for layers without a cell state
    """

    def __init__(self, program):
        self.program = program
        config = program.config
        self._rows = config.cores * config.block
        fields = program.decode()
        self._plan(fields)
        self.reset()

    def _plan(self, fields):
        program, config = self.program, self.program.config
        words = np.flatnonzero(fields["valid"] == 1)
        seeds, words = words[words < program.body], words[words >= program.body]
        self._seeded = fields["slot"][seeds]

        # Chains: the tiles that are summed up in one slot, from a bias or an earlier sum on.
        chain_of = np.zeros(len(words), dtype=np.int64)
        starts: list[Source] = []
        slots: list[int] = []
        ends: list[int] = []
        open_chain: dict[int, int] = {}
        register = -1  # the chain in the accumulators: none
        for i, word in enumerate(words):
            slot, source = fields["slot"][word], Source(int(fields["source"][word]))
            if source in (Source.BIAS, Source.PREVIOUS):
                chain = len(starts)
                starts.append(source)
                slots.append(slot)
                ends.append(i)
            else:
                chain = register if source is Source.CONTINUE else open_chain[slot]
            open_chain[slot] = register = chain
            chain_of[i] = chain
            ends[chain] = i
        self._from_bias = np.array([start is Source.BIAS for start in starts])
        self._slots = np.array(slots)
        last = words[ends]
        is_cell, is_output = fields["cell"][last] == 1, fields["output"][last] == 1
        self._quarters = np.where(is_cell, fields["quarter"][last], -1)
        self._epilogues = epilogues(config)
        # A single epilogue needs no field.
        self._epilogue = fields["epilogue"][last] if "epilogue" in fields else np.zeros_like(last)

        # Levels: a tile that reads h comes after the chains that write it.
        writer = {}
        for chain in np.flatnonzero(is_cell).tolist():
            for quarter in range(self._quarters[chain], self._quarters[chain] + config.cores):
                writer[quarter] = chain
        level_of_chain = np.zeros(len(starts), dtype=np.int64)
        level = np.zeros(len(words), dtype=np.int64)
        from_x = fields["vector_from"][words] == VectorFrom.X.value
        blocks = fields["vector"][words]
        for i in range(len(words)):
            if not from_x[i]:
                first = QUARTERS * blocks[i]
                level[i] = 1 + max(level_of_chain[writer[q]] for q in range(first, first + QUARTERS) if q in writer)
            level_of_chain[chain_of[i]] = max(level_of_chain[chain_of[i]], level[i])

        self._levels = []
        for number in range(int(level.max()) + 1):
            at = np.flatnonzero(level == number)
            at = at[np.argsort(chain_of[at], kind="stable")]
            chains, first = np.unique(chain_of[at], return_index=True)
            word = words[at]
            tiles = DotProductRow.widen(
                program.weights[:, fields["weight"][word]].transpose(1, 0, 2, 3),
                fields["int8"][word][:, None, None, None] == 1,
                fields["high"][word][:, None, None, None] == 1,
            )
            closing = np.flatnonzero(level_of_chain == number)
            self._levels.append(
                _Level(
                    weights=tiles.reshape(len(at), self._rows, config.block).astype(np.float64),
                    shifts=program.shifts[fields["recurrent"][word], fields["slot"][word]]
                    .reshape(len(at), self._rows)
                    .astype(np.int64),
                    from_x=from_x[at],
                    vectors=blocks[at],
                    starts=first,
                    chains=chains,
                    cells=closing[is_cell[closing]],
                    outputs=closing[is_output[closing]],
                    halves=closing[~is_cell[closing] & ~is_output[closing]],
                )
            )

    def reset(self):
        """Set h and c to zero, as a state reset of the accelerator does."""
        program, config = self.program, self.program.config
        self._halves = np.zeros((len(program.biases), self._rows), dtype=np.int64)
        self._halves[self._seeded] = program.biases[self._seeded].reshape(-1, self._rows)
        self._c = np.zeros((len(program.biases), config.cores, config.lanes), dtype=np.int64)
        self._h = np.zeros((QUARTERS * config.vector_blocks + config.cores, config.lanes), dtype=np.int64)
        self.marks: Counter[str] = Counter()

    def step_bits(self, bits, malformed=False):
        """One timestep.

        Parameters
        ----------
        bits : unsigned integer array (input_size,)
            Inputs as on the wire.
        malformed : bool
            The packet had another length than ``input_size`` (``bits`` being what was made of it): outputs are
            computed, the state stays.

        Returns
        -------
        StepResult

        Raises
        ------
        InputError
            If ``bits`` has another shape, or holds something else than bit patterns of the streams' format.
        """
        program, config = self.program, self.program.config
        padded = np.zeros(program.adjust.size, dtype=np.int64)
        padded[: program.input_size] = bit_array(bits, program.input_size, config.io_bits, "bits")
        x, exponents, flags = Ingress.compute(
            padded.reshape(program.adjust.shape), program.adjust.astype(np.int64), program.enable, config.io_format
        )
        halves, c, h = self._halves.copy(), self._c.copy(), np.zeros_like(self._h)
        acc = np.where(
            self._from_bias[:, None], program.biases.reshape(-1, self._rows)[self._slots], self._halves[self._slots]
        )
        outputs = []
        for level in self._levels:
            vectors = np.empty((len(level.vectors), config.block))
            shifts = level.shifts
            h_blocks = h[: QUARTERS * config.vector_blocks].reshape(-1, config.block)
            from_h = ~level.from_x
            vectors[from_h] = h_blocks[level.vectors[from_h]]
            if level.from_x.any():
                vectors[level.from_x] = x[level.vectors[level.from_x]]
                shifts = shifts.copy()
                shifts[level.from_x] += EXPONENT_STEP * exponents[level.vectors[level.from_x], None]
                shifts = np.minimum(shifts, SHIFT_MAX)
            sums = np.matmul(level.weights, vectors[:, :, None])[:, :, 0].astype(np.int64)
            aligned = RowAccumulator.align(sums, shifts)
            acc[level.chains] += np.add.reduceat(aligned, level.starts, axis=0)
            for number, epilogue in enumerate(self._epilogues):
                cells = level.cells[self._epilogue[level.cells] == number]
                if not len(cells):
                    continue
                rows = _wrap(acc[cells]).reshape(-1, config.cores, config.lanes, GATES)
                slots = self._slots[cells]
                new_c, new_h = epilogue.compute(np.moveaxis(rows, -1, 0)[: len(epilogue.sums)], self._c[slots])
                if epilogue.has_state:
                    c[slots] = new_c
                for chain, values in zip(cells, new_h):
                    h[self._quarters[chain] : self._quarters[chain] + config.cores] = values
            halves[self._slots[level.halves]] = _wrap(acc[level.halves])
            outputs.extend(acc[level.outputs])
        sums = _wrap(np.concatenate(outputs))[: program.output_size]
        result = OutputLane.compute(sums, program.output_frac_bits, config.io_format)
        if not malformed:
            self._halves, self._c, self._h = halves, c, h
        flags = {"malformed": bool(malformed), **flags}
        self.marks.update(name for name, marked in flags.items() if marked)
        return StepResult(result, sums, flags)

    def step(self, x):
        """One timestep of real inputs (input_size,), rounded to the streams' format; returns (output_size,).

        Raises InputError if ``x`` has another shape, or holds something else than real numbers.
        """
        x = real_array(x, (self.program.input_size,), "x", finite=False)
        result = self.step_bits(to_bits(x, self.program.config.io_format))
        return from_bits(result.bits, self.program.config.io_format)

    def run(self, xs):
        """Consecutive timesteps, from the present state.

        Parameters
        ----------
        xs : real array (steps, input_size)
            Rounded to the streams' format. Of NaN, infinity and what else is beyond the program's range, the
            outputs are the hardware's, and an :class:`InputWarning` tells how many steps it marks.

        Returns
        -------
        float64 (steps, output_size)

        Raises
        ------
        InputError
            If ``xs`` has another shape, or holds something else than real numbers.
        """
        xs = real_array(xs, ("steps", self.program.input_size), "xs", empty=True, finite=False)
        before = self.marks.copy()
        ys = np.array([self.step(x) for x in xs]).reshape(len(xs), self.program.output_size)
        marked = self.marks - before
        if marked:
            told = [f"{count} of {len(xs)} steps {_MARKS[name]}" for name, count in sorted(marked.items())]
            warnings.warn("; ".join(told), InputWarning, stacklevel=2)
        return ys

    @property
    def h(self):
        block = self.program.config.block
        flat = self._h[: QUARTERS * self.program.config.vector_blocks].reshape(-1)
        return [flat[p.first_block * block : p.first_block * block + p.units] for p in self.program.layers]

    @property
    def c(self):
        return [self._c[p.first_slot : p.first_slot + p.slots].reshape(-1)[: p.cells] for p in self.program.layers]


#: What inputs have done that leave a mark.
_MARKS = {"nan": "hold NaN, which counts as 0", "saturated": "are beyond the program's range and saturate"}


def _wrap(acc):
    """Accumulators as the hardware keeps them; no program that compiles ever gets here with more than 48 bits."""
    half = 1 << (ACC_BITS - 1)
    return ((acc + half) & ((1 << ACC_BITS) - 1)) - half


class Timeline:
    """When a program's inferences start and end, in cycles; inputs come without gaps, outputs never stall.

    An issue word that waits for an input block is issued ``timing.input`` cycles after the block's last beat was
    accepted or, if that is past, one cycle after the word before it. A packet's first beat is accepted one cycle
    after the previous packet's last beat, or after the inference before that has ended, two packets being buffered.
    """

    def __init__(self, program):
        self.program = program
        self.timing = Timing(program.config)
        fields = program.decode()
        body = slice(program.body, None)
        self._waits = np.flatnonzero(fields["wait_block"][body])
        self._length = len(fields["wait_block"][body])
        self._outputs = [
            (position, fields["output_beats"][body][position] + 1)
            for position in np.flatnonzero(fields["output"][body])
        ]

    def stream(self, inferences, spacing=0):
        """Cycles of consecutive inferences, the pipeline being idle before.

        Parameters
        ----------
        inferences : int
        spacing : int
            Least cycles between the acceptance of the first beats of consecutive packets; 0: always waiting.

        Returns
        -------
        list of (cycle of the first input beat, cycle of the last output beat)
        """
        per_block = self.program.config.beats_per_block
        # The last block is filled up at the pace of beats.
        beats = len(self.program.adjust) * per_block
        result: list[tuple[int, int]] = []
        ends: list[int] = []
        accept, previous_end = 0, -1
        for number in range(inferences):
            if number:
                accept = max(accept + max(beats, spacing), ends[-2] + 1 if number >= 2 else 0)
            # Issue cycle of the word at position p is p + offset, where the offset grows with every wait.
            offset = previous_end + 1
            offsets = []
            for block, position in enumerate(self._waits):
                offset = max(offset, accept + (block + 1) * per_block - 1 + self.timing.input - position)
                offsets.append(offset)

            def issued(position, offsets=offsets):
                return position + offsets[np.searchsorted(self._waits, position, side="right") - 1]

            last = max(issued(position) + self.timing.output + sent - 1 for position, sent in self._outputs)
            previous_end = issued(self._length - 1)
            ends.append(previous_end)
            result.append((accept, last))
        return result

"""What one inference of a model computes, bit by bit.

It is integer arithmetic in which the order of additions does not matter, so the cycles need not be followed: the issue
words say which tile adds to which slot and which slot waits for which, and all tiles that are independent of each other
are computed at once. Dot products are sums of at most 64 products of 16 and 18 bits, or 128 of 9 and 9 bits, which
float64 matrix multiplication gives exactly.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spiccato.arrays import bit_array
from spiccato.isa.issue import Pass, Source, VectorFrom
from spiccato.numbers import ACC_BITS, EXPONENT_STEP, GATES, SHIFT_MAX
from spiccato.program import Model
from spiccato.program.tiles import row_scales, tiles
from spiccato.rtl.accumulator import RowAccumulator
from spiccato.rtl.alignment import Alignment
from spiccato.rtl.epilogue import epilogues
from spiccato.rtl.ingress import Ingress
from spiccato.rtl.output_lane import OutputLane

__all__ = ["Datapath", "Inference"]


class Inference(NamedTuple):
    """What comes of one input packet.

    Attributes
    ----------
    bits, sums : int64 (output_size,)
        Output bit patterns, and the outputs before they are rounded to the streams' format.
    flags : dict
        Marks of the input, and of results that saturated: {name: bool}.
    state_sums : int64 (state slots, cores, block), recurrent halves for the next inference
    c : int64 (state slots, cores, lanes)
    h : int64 (vector blocks, columns), the vector file
    state_h : int64 (state slots, cores, lanes), the same by slots, of layers that have a state
    """

    bits: NDArray[np.int64]
    sums: NDArray[np.int64]
    flags: dict
    state_sums: NDArray[np.int64]
    c: NDArray[np.int64]
    h: NDArray[np.int64]
    state_h: NDArray[np.int64]


@dataclass
class _Level:
    """Tiles that can be computed together, and the slots they finish."""

    weights: np.ndarray  # (tiles, cores * block, columns) float64
    shifts: np.ndarray  # (tiles, cores * block)
    factors: np.ndarray  # (tiles, cores * block)
    from_x: np.ndarray  # (tiles,) bool
    vectors: np.ndarray  # (tiles,) block numbers
    counted: np.ndarray  # (tiles, columns) bool, elements of these that are read; the others are zero
    multiplied: np.ndarray  # (tiles,) which halves
    starts: np.ndarray  # first tile of each chain, for reduceat
    chains: np.ndarray  # the chains
    cells: np.ndarray  # chains that end in cells here
    outputs: np.ndarray  # chains that end in outputs here
    halves: np.ndarray  # chains that end as recurrent halves here


class Datapath:
    """The arithmetic of ``model``; it keeps no state."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self._rows = model.config.slot_rows
        self._plan(model.decode())

    def _plan(self, fields):
        model, config = self.model, self.model.config
        words = np.flatnonzero(fields["valid"] == 1)

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
        self._settings = [
            {name: int(fields[name][word]) for name in self._epilogues[number].settings}
            for word, number in zip(last, self._epilogue)
        ]

        # Levels: a tile that reads h comes after the chains that write it.
        writer = {}
        for chain in np.flatnonzero(is_cell).tolist():
            quarters = config.cores * self._epilogues[self._epilogue[chain]].turns
            for quarter in range(self._quarters[chain], self._quarters[chain] + quarters):
                writer[quarter] = chain
        level_of_chain = np.zeros(len(starts), dtype=np.int64)
        level = np.zeros(len(words), dtype=np.int64)
        from_x = fields["vector_from"][words] == VectorFrom.X.value
        blocks = fields["vector"][words]
        last_quarter = fields["quarters"][words] if config.narrow else np.full(len(words), config.quarters - 1)
        counted = np.arange(config.columns) // config.lanes <= last_quarter[:, None]
        multiplied = fields["multiplied"][words] if config.narrow else np.full(len(words), Pass.ONLY)
        for i in range(len(words)):
            if not from_x[i]:
                quarters = range(config.quarters * blocks[i], config.quarters * (blocks[i] + 1))
                level[i] = 1 + max(level_of_chain[writer[quarter]] for quarter in quarters if quarter in writer)
            level_of_chain[chain_of[i]] = max(level_of_chain[chain_of[i]], level[i])

        self._levels = []
        for number in range(int(level.max()) + 1):
            at = np.flatnonzero(level == number)
            at = at[np.argsort(chain_of[at], kind="stable")]
            chains, first = np.unique(chain_of[at], return_index=True)
            own = words[at]
            closing = np.flatnonzero(level_of_chain == number)
            stored = model.shifts[fields["recurrent"][own], fields["slot"][own]].reshape(len(at), self._rows)
            shifts, factors = row_scales(config, stored)
            self._levels.append(
                _Level(
                    weights=tiles(model, fields, own).reshape(len(at), self._rows, config.columns).astype(np.float64),
                    shifts=shifts,
                    factors=factors,
                    from_x=from_x[at],
                    vectors=blocks[at],
                    counted=counted[at],
                    multiplied=multiplied[at],
                    starts=first,
                    chains=chains,
                    cells=closing[is_cell[closing]],
                    outputs=closing[is_output[closing]],
                    halves=closing[~is_cell[closing] & ~is_output[closing]],
                )
            )

    def compute(self, bits: ArrayLike, state_sums: NDArray[np.int64], c: NDArray[np.int64]) -> Inference:
        """One inference.

        Parameters
        ----------
        bits : unsigned integer array (input_size,)
            Inputs as on the wire.
        state_sums : int64 (state slots, cores, block)
        c : int64 (state slots, cores, lanes)
            What the context's previous inference left; neither is changed.

        Returns
        -------
        Inference

        Raises
        ------
        InputError
            If ``bits`` has another shape, or holds something else than bit patterns of the streams' format.
        """
        model, config = self.model, self.model.config
        padded = np.zeros(model.adjust.size, dtype=np.int64)
        padded[: model.input_size] = bit_array(bits, model.input_size, config.io_bits, "bits")
        x, exponents, flags = Ingress.compute(
            padded.reshape(model.adjust.shape), model.adjust.astype(np.int64), model.enable, config.io_format
        )
        # The linear layer's slots keep no state.
        previous = np.zeros((model.slots, self._rows), dtype=np.int64)
        previous[: model.state_slots] = state_sums.reshape(model.state_slots, self._rows)
        halves, new_state, state_h = np.zeros_like(previous), c.copy(), np.zeros_like(c)
        # The last slot may write quarters that no block reads.
        h_quarters = config.quarters * config.vector_blocks
        h = np.zeros((h_quarters + GATES * config.cores, config.lanes), dtype=np.int64)
        h_blocks = h[:h_quarters].reshape(-1, config.columns)
        acc = np.where(
            self._from_bias[:, None], model.biases.reshape(-1, self._rows)[self._slots], previous[self._slots]
        )
        outputs: list[NDArray[np.int64]] = []
        saturated = False
        for level in self._levels:
            vectors = np.empty((len(level.vectors), config.columns), dtype=np.int64)
            exponent = np.zeros(len(vectors), dtype=np.int64)
            from_x, from_h = level.from_x, ~level.from_x
            vectors[from_h] = h_blocks[level.vectors[from_h]] * level.counted[from_h]
            vectors[from_x] = x[level.vectors[from_x]]
            exponent[from_x] = exponents[level.vectors[from_x]]
            if config.narrow:
                positions = Alignment.positions(np.where(from_x[:, None], np.abs(vectors), vectors))
                vectors, added = Alignment.compute(vectors, positions, exponent, level.multiplied)
            else:
                added = EXPONENT_STEP * exponent
            shifts = np.minimum(level.shifts + added[:, None], SHIFT_MAX)
            products = np.matmul(level.weights, vectors[:, :, None].astype(np.float64))[:, :, 0].astype(np.int64)
            aligned = RowAccumulator.align(level.factors * products, shifts, config.align_left)
            acc[level.chains] += np.add.reduceat(aligned, level.starts, axis=0)
            for epilogue, settings, cells in self._finished(level.cells):
                rows = _wrap(acc[cells]).reshape(-1, config.cores, config.lanes, GATES)
                sums, slots = np.moveaxis(rows, -1, 0)[: len(epilogue.sums)], self._slots[cells]
                new_c, new_h = epilogue.compute(sums, c[slots], **settings)
                if new_c is not None:
                    new_state[slots], state_h[slots] = new_c, new_h
                saturated |= epilogue.saturates(sums, **settings)
                in_turns = np.moveaxis(new_h.reshape(epilogue.turns, len(cells), config.cores, config.lanes), 0, 1)
                for chain, values in zip(cells, in_turns.reshape(len(cells), -1, config.lanes)):
                    h[self._quarters[chain] : self._quarters[chain] + len(values)] = values
            halves[self._slots[level.halves]] = _wrap(acc[level.halves])
            outputs.extend(acc[level.outputs])
        sums = _wrap(np.concatenate(outputs))[: model.output_size]
        return Inference(
            bits=OutputLane.compute(sums, model.output_frac_bits, config.io_format),
            sums=sums,
            flags=flags | {"saturated": flags["saturated"] or saturated},
            state_sums=halves[: model.state_slots].reshape(state_sums.shape),
            c=new_state,
            h=h_blocks,
            state_h=state_h,
        )

    def _finished(self, cells):
        """Chains that are finished together, by epilogue and settings: (epilogue, settings, chains)."""
        groups: dict[tuple, list[int]] = {}
        for chain in cells.tolist():
            groups.setdefault((int(self._epilogue[chain]), *self._settings[chain].items()), []).append(chain)
        return [
            (self._epilogues[number], dict(settings), np.array(chains))
            for (number, *settings), chains in groups.items()
        ]


def _wrap(acc):
    """Accumulators as the hardware keeps them; no program that compiles ever gets here with more than 48 bits."""
    half = 1 << (ACC_BITS - 1)
    return ((acc + half) & ((1 << ACC_BITS) - 1)) - half

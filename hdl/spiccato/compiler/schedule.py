"""The static schedule: which tile of which matrix is multiplied in which cycle.

Every cycle issues one word: one tile (one vector block with ``cores * block`` rows). What an inference's output waits
for are the tiles of the input matrices; those are *critical*. The recurrent tiles belong to the next timestep, whose
first half they compute; they fill the cycles that the critical ones leave.

A list scheduler decides cycle by cycle: of the critical tiles whose vector block is there, the one of the lowest layer
and slot; else a recurrent one; else none. Blocks of x come with the input beats; blocks of h are there
``timing.dependency_of`` cycles after the last of their slots was finished, so that the next layer starts on the first
blocks while later slots are still being multiplied. Epilogues take different times, and some give h in several turns:
a slot is not finished when any of its h would be there with another one's.
"""

from dataclasses import dataclass

import numpy as np

from ..isa.issue import Pass, Source
from ..rtl.accelerator import Timing
from .heads import LEAST_WORDS
from .layout import Layout

__all__ = ["Schedule", "schedule"]

_NEVER = 1 << 60


@dataclass
class Schedule:
    """One inference's issue words, in order; all arrays have one entry per cycle, cycle 0 first.

    Cycle 0 is the first word's, which is issued ``first_cycle`` cycles after the first input beat was accepted.

    Attributes
    ----------
    matrix : int, number in ``layout.matrices``, -1 for an idle word
    slot : int, slot within the matrix
    block : int, block of columns within the matrix
    multiplied : Pass of the tile
    source : Source of each word's addition
    store : bool, sums go back to the accumulator file
    finish : bool, the slot's last word (cells, outputs, or the end of the recurrent half)
    first_cycle : int
    spaced_latency : int
        Cycles from the acceptance of the first input beat to the last output beat, both spaced and unstalled.
    """

    matrix: np.ndarray
    slot: np.ndarray
    block: np.ndarray
    multiplied: np.ndarray
    source: np.ndarray
    store: np.ndarray
    finish: np.ndarray
    first_cycle: int
    spaced_latency: int

    @property
    def initiation_interval(self):
        """Cycles from one inference's start to the next one's when inputs are always waiting."""
        return len(self.matrix)


class _Chain:
    """The tiles of one slot of one matrix that are yet to be issued."""

    __slots__ = ("matrix", "number", "slot", "global_slot", "remaining", "started", "last")

    def __init__(self, matrix, number, slot):
        self.matrix, self.number, self.slot = matrix, number, slot
        self.global_slot = matrix.first_slot + slot
        self.remaining = [(block, which) for block in range(matrix.blocks) for which in matrix.passes]
        self.started = False
        self.last = -_NEVER


def schedule(layout: Layout, timing: Timing) -> Schedule:
    """Schedule one inference of ``layout`` on hardware with ``timing`` (:class:`spiccato.rtl.accelerator.Timing`)."""
    config = layout.config
    matrices = layout.matrices
    critical = [
        _Chain(matrix, number, slot)
        for number, matrix in enumerate(matrices)
        if not matrix.recurrent
        for slot in range(matrix.slots)
    ]
    fill = [
        _Chain(matrix, number, slot)
        for number, matrix in enumerate(matrices)
        if matrix.recurrent
        for slot in range(matrix.slots)
    ]

    # When each block can first be issued, counted from the acceptance of the first input beat. Blocks that hold no
    # units meet weights of zero.
    beats = config.beats_per_block
    x_ready = [(block + 1) * beats - 1 + timing.input for block in range(layout.input_blocks)]
    h_ready = [0] * layout.vector_blocks
    for layer in layout.hidden:
        h_ready[layer.first_block : layer.first_block + layer.blocks] = [_NEVER] * layer.blocks
    turn_done = [[_NEVER] * (layer.slots * layer.turns) for layer in layout.layers]
    #: Cycles in which h of some slot is there.
    h_taken: set[int] = set()
    ready = [h_ready if matrix.producers else x_ready for matrix in matrices]

    words: list[list | None] = []
    first_cycle = cycle = x_ready[0]
    current: _Chain | None = None
    last_word: list = []
    next_output, output_free = 0, 0
    spaced_latency = 0

    def h_cycles(chain, cycle):
        """When h is there of a slot that is finished in ``cycle``."""
        layer = layout.layers[chain.matrix.layer]
        first = cycle + timing.h_of[layer.kind.epilogue]
        return range(first, first + layer.turns)

    def pick(chains, cycle):
        """First tile that can be issued: (chain, index in its remaining blocks), or None."""
        for chain in chains:
            times, first = ready[chain.number], chain.matrix.first_block
            if chain is not current and cycle < chain.last + timing.reload:
                continue
            for index, (block, _) in enumerate(chain.remaining):
                if times[first + block] <= cycle:
                    if (
                        len(chain.remaining) == 1
                        and chain.matrix.sends_output
                        and (chain.slot != next_output or cycle < output_free)
                    ):
                        break
                    if (
                        len(chain.remaining) == 1
                        and chain.matrix.writes_vectors
                        and not h_taken.isdisjoint(h_cycles(chain, cycle))
                    ):
                        break
                    return chain, index
        return None

    def continues_soon(cycle):
        """Whether the open critical chain gets its next block before it could be reloaded."""
        if current is None or current.matrix.recurrent or not current.remaining:
            return False
        times, first = ready[current.number], current.matrix.first_block
        return min(times[first + block] for block, _ in current.remaining) < current.last + timing.reload

    while critical or fill:
        choice = pick(critical, cycle)
        if choice is None and not continues_soon(cycle):
            if current is not None and current.matrix.recurrent and current.remaining:
                choice = pick([current], cycle)
            choice = choice or pick(fill, cycle)
        if choice is None:
            words.append(None)
        else:
            chain, index = choice
            block, which = chain.remaining.pop(index)
            if chain is current:
                source = Source.CONTINUE
            elif chain.started:
                source = Source.STORED
            else:
                source = chain.matrix.starts_from
            if current is not None and current is not chain and current.remaining:
                last_word[5] = True
            last_word = [chain.number, chain.slot, block, which.value, source.value, False, not chain.remaining]
            words.append(last_word)
            chain.started, chain.last = True, cycle
            current = chain
            if not chain.remaining:
                if chain.matrix.recurrent:
                    fill.remove(chain)
                    last_word[5] = True
                else:
                    critical.remove(chain)
                    if chain.matrix.sends_output:
                        sent = layout.slot_output_beats(chain.slot)
                        next_output, output_free = next_output + 1, cycle + sent
                        spaced_latency = cycle + timing.output + sent - 1
                    else:
                        h_taken.update(h_cycles(chain, cycle))
                        _finish_slot(layout, timing, turn_done, h_ready, chain, cycle)
                current = None
        cycle += 1

    words += [None] * _gap_before_repeat(layout, timing, words)
    idle = [-1, 0, 0, Pass.ONLY.value, Source.CONTINUE.value, False, False]
    table = np.array([word or idle for word in words], dtype=np.int64).T
    return Schedule(
        matrix=table[0],
        slot=table[1],
        block=table[2],
        multiplied=table[3],
        source=table[4],
        store=table[5].astype(bool),
        finish=table[6].astype(bool),
        first_cycle=first_cycle,
        spaced_latency=spaced_latency,
    )


def _finish_slot(layout, timing, turn_done, h_ready, chain, cycle):
    """Note from when on a slot's h can be read that is finished in ``cycle``, and with it perhaps some blocks."""
    number = chain.matrix.layer
    layer = layout.layers[number]
    for turn in range(layer.turns):
        when = cycle + timing.dependency_of[layer.kind.epilogue] + turn
        turn_done[number][chain.slot * layer.turns + turn] = when
    for block in range(layer.blocks):
        if h_ready[layer.first_block + block] == _NEVER:
            first, last = layout.turns_of_block(layer, block)
            h_ready[layer.first_block + block] = max(turn_done[number][first : last + 1])


def _gap_before_repeat(layout, timing, words):
    """Idle words needed at the end so that the next inference may follow at once.

    It must not reload a slot too early, nor send outputs while the last ones are being sent, and the output queue has
    to have room for its packet.
    """
    matrices = layout.matrices
    first_use: dict[int, int] = {}
    last_use: dict[int, int] = {}
    outputs: list[tuple[int, int]] = []
    for cycle, word in enumerate(words):
        if word is not None:
            slot = matrices[word[0]].first_slot + word[1]
            first_use.setdefault(slot, cycle)
            last_use[slot] = cycle
            if matrices[word[0]].sends_output and word[6]:
                outputs.append((cycle, layout.slot_output_beats(word[1])))
    length = max(
        len(words),
        *(last_use[slot] + timing.reload - first_use[slot] for slot in first_use),
        sum(outputs[-1]) - outputs[0][0],
        timing.c_reuse,
        LEAST_WORDS,
    )
    # An inference starts when as many beats were taken as its own do not fit beside the earlier ones': beat `beat` of
    # the packet `before` inferences earlier.
    sent = [cycle + timing.output + beat for cycle, beats in outputs for beat in range(beats)]
    before, beat = divmod(len(sent) - layout.config.output_beats - 1, len(sent))
    # (A packet that the queue does not hold at all is refused by the compiler; such a schedule is only an estimate.)
    if before < 0:
        length = max(length, -(-(sent[beat] + timing.room) // -before))
    return length - len(words)

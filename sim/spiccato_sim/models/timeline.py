"""When inferences start and end, in cycles: a recurrence over the issue words that wait."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from spiccato.program import Model, Program
from spiccato.rtl.accelerator import Timing

__all__ = ["Packet", "Passage", "Timeline"]


@dataclass(frozen=True)
class Packet:
    """An input packet.

    Attributes
    ----------
    model, stream : int
        If there is no such context, the output is one beat.
    quiet : bool
        It asks for no output.
    spacing : int
        Least cycles between the acceptance of the first beats of the packet before and this one; 0: always waiting.
    surplus : int
        Beats behind those of the model's input, which are discarded. What a packet lacks takes no other time.
    """

    model: int = 0
    stream: int = 0
    quiet: bool = False
    spacing: int = 0
    surplus: int = 0


class Passage(NamedTuple):
    """What becomes of a packet: the cycle of its first input beat, and of its last output beat (None: it is quiet)."""

    accepted: int
    finished: int | None


class _Inference:
    """What one model's issue words say of when they are issued."""

    def __init__(self, model: Model) -> None:
        fields = model.decode()
        # The last block is filled up at the pace of beats.
        self.input_beats = len(model.adjust) * model.config.beats_per_block
        self.length = len(fields["valid"])
        self.waits = np.flatnonzero(fields["wait_block"])
        sends = np.flatnonzero(fields["output"])
        #: Position of the word that each output beat comes from, and how many beats of the same word come before it.
        self.output_words = np.repeat(sends, fields["output_beats"][sends] + 1)
        self.output_beats = np.concatenate([np.arange(beats + 1) for beats in fields["output_beats"][sends]])


class Timeline:
    """When a program's inferences start and end, in cycles; inputs come without gaps, outputs never stall.

    An issue word that waits for an input block is issued ``timing.input`` cycles after the block's last beat was
    accepted or, if that is past, one cycle after the word before it. The first one also waits until there is room in
    the output queue for all beats of the packet: ``timing.room`` cycles after the beat was taken that leaves it. A
    packet's first beat is accepted one cycle after the previous packet's last beat, or after the inference before that
    has ended, two packets being buffered.

    What is for an unknown context is computed as its model's, or as the first one's if there is no such model, and
    waits for as much room; the one beat that comes is the first one of the last output slot.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.timing = Timing(program.config)
        self._inferences = [_Inference(model) for model in program.models]

    def stream(self, packets: Iterable[Packet]) -> list[Passage]:
        """Cycles of consecutive inferences, the pipeline being idle before."""
        config, timing = self.program.config, self.timing
        per_block = config.beats_per_block
        result: list[Passage] = []
        ends: list[int] = []
        #: When each output beat so far was taken.
        taken: list[int] = []
        accept, previous_beats, previous_end = 0, 0, -1
        for number, packet in enumerate(packets):
            inference = self._inferences[packet.model if packet.model < len(self._inferences) else 0]
            if number:
                accept += max(previous_beats, packet.spacing)
            if number >= 2:
                accept = max(accept, ends[-2] + 1)
            # Issue cycle of the word at position p is p + offset, where the offset grows with every wait.
            offset = previous_end + 1
            short = len(taken) + len(inference.output_words) - config.output_beats
            if short > 0 and not packet.quiet:
                offset = max(offset, taken[short - 1] + timing.room)
            offsets = np.empty(len(inference.waits), dtype=np.int64)
            for block, position in enumerate(inference.waits):
                offset = max(offset, accept + (block + 1) * per_block - 1 + timing.input - position)
                offsets[block] = offset
            finished = None
            if not packet.quiet:
                words, beats = inference.output_words, inference.output_beats
                if not self.program.has_context(packet.model, packet.stream):
                    words, beats = words[-1:], np.zeros(1, dtype=np.int64)
                sent = words + offsets[np.searchsorted(inference.waits, words, side="right") - 1] + timing.output
                taken += (sent + beats).tolist()
                finished = taken[-1]
            previous_beats = inference.input_beats + packet.surplus
            previous_end = int(inference.length - 1 + offsets[-1])
            ends.append(previous_end)
            result.append(Passage(int(accept), finished))
        return result

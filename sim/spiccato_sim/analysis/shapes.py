"""What networks need of an accelerator of some size, and the configuration that holds just that."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from spiccato.compiler.fit import issue_words, weight_formats, weight_words
from spiccato.compiler.heads import HEAD_WORDS
from spiccato.compiler.layout import Layout
from spiccato.compiler.link import lengths_in_turns
from spiccato.compiler.lower import lower
from spiccato.compiler.schedule import Schedule, schedule
from spiccato.config import Config
from spiccato.families import FAMILIES
from spiccato.network import Network
from spiccato.rtl.accelerator import Timing

__all__ = ["Shape", "surely_short", "weight_depth"]

#: Words of weight memory from which on a family's large blocks are used, if it has any: their depth.
_LARGE_DEPTH = 4096
#: Words of the other memories' blocks at their widest.
_DEPTH = 512


class Shape:
    """Networks on an accelerator of some cores and block size.

    Parameters
    ----------
    base : Config
        Cores, rows, columns, multiplier, profile, format of the streams, and the least that the memories shall hold.
    networks : sequence of Network
        Of different names.
    """

    def __init__(self, base: Config, networks: Sequence[Network]) -> None:
        lowered = {network.name: lower(network) for network in networks}
        beats = max(Layout(layers, base).output_beats for layers in lowered.values())
        # The schedule depends on how many beats wait.
        self.base = dataclasses.replace(base, output_beats=max(base.output_beats, beats))
        self.timing = Timing(self.base)
        self.layouts = {name: Layout(layers, self.base) for name, layers in lowered.items()}
        #: Words of weight memory that each network needs in each format.
        self.words = {
            name: {form: weight_words(layout, weight_formats(layout, form)) for form in base.weight_formats}
            for name, layout in self.layouts.items()
        }
        self.plan = functools.cache(self._plan)

    def _plan(self, name: str) -> Schedule:
        """The schedule of a network; the same for every depth of the memories."""
        return schedule(self.layouts[name], self.timing)

    def least(self, name: str) -> int:
        """A bound of a network's spaced latency that needs no schedule.

        The output comes after all critical tiles, which come after the first block of x.
        """
        critical = sum(matrix.words for matrix in self.layouts[name].matrices if not matrix.recurrent)
        return critical - 1 + self.timing.input + self.timing.output

    def intervals(self) -> list[int]:
        """Initiation intervals of all networks loaded together, whichever follows."""
        lengths = lengths_in_turns([self._outputs(name) for name in self.layouts])
        return [max(self.plan(name).initiation_interval, length) for name, length in zip(self.layouts, lengths)]

    def _outputs(self, name: str) -> tuple[int, int]:
        """From the first word on: when the first output slot is finished, and when the last one's beats have passed."""
        layout, plan = self.layouts[name], self.plan(name)
        sending = [number for number, matrix in enumerate(layout.matrices) if matrix.sends_output]
        sends = np.flatnonzero(plan.finish & np.isin(plan.matrix, sending))
        return int(sends[0]), int(sends[-1]) + layout.slot_output_beats(int(plan.slot[sends[-1]]))

    def config(self, depth: int, names: Sequence[str]) -> Config:
        """The configuration with weight memories of ``depth`` that holds each of ``names``, loaded by itself.

        Raises
        ------
        ConfigError
            If a memory would be larger than configurations can have.
        """
        layouts = [self.layouts[name] for name in names]
        tails = [issue_words(layout, self.plan(name)) - HEAD_WORDS for name, layout in zip(names, layouts)]
        config = self._roomy(
            layouts,
            weight_depth=depth,
            slots=self._room("slots", max(layout.slots for layout in layouts)),
            state_slots=self._room("state_slots", max(layout.slots * (1 + layout.has_initial) for layout in layouts)),
            program_depth=self._room("program_depth", max(tails), granule=_DEPTH),
        )
        if config.digest == self.base.digest:
            return config
        return dataclasses.replace(config, name=f"{self.base.name}_{config.cores}x{config.block}")

    def config_together(self, depth: int, contexts: int) -> Config:
        """The configuration with weight memories of ``depth`` that holds all networks at once, ``contexts`` of each.

        State memories end where the memory blocks end that they begin, as the boards' do; those of the base do not
        count. Raises as :meth:`config`.
        """
        layouts = list(self.layouts.values())
        slots = self._room("slots", sum(layout.slots for layout in layouts))
        states = sum(layout.slots * (contexts + layout.has_initial) for layout in layouts)
        # States of both sides and constants share a memory.
        state_slots = (_whole_blocks(2 * states + slots, _DEPTH) - slots) // 2
        tails = sum(self.intervals()) - len(layouts) * HEAD_WORDS
        config = self._roomy(
            layouts,
            weight_depth=depth,
            slots=slots,
            state_slots=state_slots,
            program_depth=self._room("program_depth", tails, granule=_DEPTH),
            models=self._room("models", len(layouts)),
            streams=self._room("streams", contexts),
        )
        name = f"{self.base.name}_{config.cores}x{config.block}_{depth}_{state_slots}"
        return dataclasses.replace(config, name=name)

    def _roomy(self, layouts: Sequence[Layout], **fields) -> Config:
        """The base with ``fields`` and with the rest that is one network's at a time large enough for each of them."""
        return dataclasses.replace(
            self.base,
            vector_blocks=self._room("vector_blocks", max(layout.vector_blocks for layout in layouts)),
            input_blocks=self._room("input_blocks", max(layout.input_blocks for layout in layouts)),
            **fields,
        )

    def _room(self, field: str, needed: int, *, granule: int | None = None) -> int:
        """The base's value of a field, or more if that is needed: a power of two or whole blocks."""
        larger = _whole_blocks(needed, granule) if granule else 1 << (needed - 1).bit_length()
        return max(getattr(self.base, field), larger)


def _whole_blocks(words: int, depth: int) -> int:
    """Words rounded up to whole memory blocks of a depth."""
    return -(-words // depth) * depth


def weight_depth(config: Config, words: int) -> int:
    """Weight memories of so many words, rounded up to the whole memory blocks that they are made of."""
    large = FAMILIES[config.family].large and words > _LARGE_DEPTH // 2
    return _whole_blocks(words, _LARGE_DEPTH if large else _DEPTH)


def surely_short(board, config: Config, depth: int, share: float) -> list[str]:
    """What multipliers and weights alone take more of than ``share`` of a board has, to spare elaborating it.

    The weight memories are ``depth`` words deep, whatever ``config`` says.

    Returns
    -------
    list of str
        "DSP blocks", "memory blocks", both or none.
    """
    products_per_block = config.row_products if config.narrow else 2 if board.family.half_dsp else 1
    bits = {
        kind: max(shape.depth * shape.width * 2 // shape.halves for shape in shapes)
        for kind, shapes in board.family.memory.items()
    }
    memory = sum(bits[kind] * count for kind, count in board.resources.memory.items())
    short = []
    if config.multipliers > share * board.resources.dsp * products_per_block:
        short.append("DSP blocks")
    if config.operands.weight * config.multipliers * depth > share * memory:
        short.append("memory blocks")
    return short

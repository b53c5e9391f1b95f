"""The fastest configuration for a board: over cores and block size, by the scheduler's prediction.

A configuration is a candidate when what it takes stays within a share of the device, so that it can be
placed and routed. Of two configurations the one that more networks fit is the better, then the one with the
lower product of spaced latencies. A device can be reconfigured: where the latencies of a configuration that
is there anyway are given, a network counts with the better of the two. Branch and bound: a shape is only
scheduled while no shape known to fit beats what its multiplications alone would take.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from spiccato.compiler.fit import fitting_schedule, issue_words, weight_formats, weight_words
from spiccato.compiler.heads import HEAD_WORDS
from spiccato.compiler.layout import Layout
from spiccato.compiler.lower import lower
from spiccato.compiler.schedule import schedule
from spiccato.config import Config
from spiccato.errors import ConfigError
from spiccato.rtl.accelerator import Timing
from spiccato_boards.resources import check

__all__ = ["Found", "search", "own_latencies", "SHARE", "CORES", "BLOCKS"]

#: Share of a device's blocks that a design may take.
SHARE = 0.85
CORES = range(1, 13)
BLOCKS = (16, 32, 64)


@dataclass(frozen=True)
class Found:
    """The best configuration found.

    Attributes
    ----------
    config : Config
    latencies : dict
        Predicted spaced latency in cycles of each network that fits, by name.
    formats : dict
        The weight format of each, "int16" or "int8".
    """

    config: Config
    latencies: dict
    formats: dict


class _Shape:
    """Cores and block size, with what each network needs on them."""

    def __init__(self, board, networks, cores, block):
        self.base = dataclasses.replace(board.config, cores=cores, block=block)
        self.timing = Timing(self.base)
        self.layouts = {network.name: Layout(lower(network), self.base) for network in networks}
        self.words = {
            name: {form: weight_words(layout, weight_formats(layout, form)) for form in ("int16", "int8")}
            for name, layout in self.layouts.items()
        }
        # The output comes after all critical tiles, which come after the first block of x.
        self.least = {
            name: sum(m.tiles for m in layout.matrices if not m.recurrent) - 1 + self.timing.input + self.timing.output
            for name, layout in self.layouts.items()
        }
        self._plans = {}

    def plan(self, name):
        """The schedule of a network; the same for every depth of the memories."""
        if name not in self._plans:
            self._plans[name] = schedule(self.layouts[name], self.timing)
        return self._plans[name]

    def formats(self, depth):
        """{network: weight format} of all networks whose weights fit memories of ``depth``."""
        chosen = {}
        for name, words in self.words.items():
            for form in ("int8", "int16"):  # the widest that fits
                if words[form] <= depth:
                    chosen[name] = form
        return chosen

    def config(self, depth, names):
        """The configuration with weight memories of ``depth`` and everything else large enough for ``names``.

        Raises ConfigError if a memory would be larger than configurations can have.
        """

        def room(field, needed, granule=None):
            larger = _round_up(needed, granule) if granule else 1 << (needed - 1).bit_length()
            return max(getattr(self.base, field), larger)

        layouts = [self.layouts[name] for name in names]
        config = dataclasses.replace(
            self.base,
            weight_depth=depth,
            slots=room("slots", max(layout.slots for layout in layouts)),
            state_slots=room("state_slots", max(layout.slots * (1 + layout.has_initial) for layout in layouts)),
            vector_blocks=room("vector_blocks", max(layout.vector_blocks for layout in layouts)),
            input_blocks=room("input_blocks", max(layout.input_blocks for layout in layouts)),
            output_beats=room("output_beats", max(layout.output_beats for layout in layouts)),
            program_depth=room(
                "program_depth",
                max(issue_words(layout, self.plan(name)) - HEAD_WORDS for name, layout in zip(names, layouts)),
                512,
            ),
        )
        if config.digest == self.base.digest:
            return config
        return dataclasses.replace(config, name=f"{self.base.name}_{config.cores}x{config.block}")


def own_latencies(board, networks):
    """Predicted spaced latency on the board's own configuration of each network that fits it, by name."""
    latencies = {}
    for network in networks:
        layout = Layout(lower(network), board.config)
        plan, short = fitting_schedule(layout, weight_formats(layout, "auto"), Timing(board.config))
        if plan is not None and not short:
            latencies[network.name] = plan.spaced_latency
    return latencies


def search(board, networks, *, beside=None, share=SHARE, cores=CORES, blocks=BLOCKS):
    """The best configuration of ``board`` for ``networks`` together.

    Parameters
    ----------
    board : spiccato_boards.Board
        Its configuration gives what is not searched for: clock, DSP mode, stream format and least memories.
    networks : list of Network
    beside : dict, optional
        Latencies by network of a configuration that can be used instead.
    share : float
        Of the device that may be taken.
    cores, blocks : iterables of int

    Returns
    -------
    Found, or None if none of the networks fits any configuration
    """
    beside = beside or {}

    def score(latencies):
        better = beside | {name: min(latency, beside.get(name, latency)) for name, latency in latencies.items()}
        return -len(better), sum(math.log(latency) for latency in better.values())

    options = []
    for block in blocks:
        for count in cores:
            if not _may_fit(board, count, block, 0, share):
                continue
            shape = _Shape(board, networks, count, block)
            for depth in _depths(board, shape):
                chosen = shape.formats(depth)
                if chosen and _may_fit(board, count, block, depth, share):
                    # Of equally fast ones, the one with more networks in 16 bits, then the smaller.
                    last = (-list(chosen.values()).count("int16"), depth)
                    options.append((score({name: shape.least[name] for name in chosen}), last, shape, chosen))

    best: tuple[Found, Any] | None = None
    for bound, last, shape, chosen in sorted(options, key=lambda option: option[:2]):
        if best is not None and bound >= best[1][0]:
            break
        latencies = {name: shape.plan(name).spaced_latency for name in chosen}
        key = score(latencies), last
        if best is not None and key >= best[1]:
            continue
        try:
            config = shape.config(last[-1], list(chosen))
            check(config, board, share)
        except ConfigError:
            continue
        best = Found(config, latencies, chosen), key
    return best and best[0]


def _round_up(value, granule):
    return -(-value // granule) * granule


def _depths(board, shape):
    """Depths of weight memories at which one network more fits, rounded up to whole memory blocks."""
    needed = {words for forms in shape.words.values() for words in forms.values()}
    return sorted({_round_up(words, 4096 if board.family.large and words > 2048 else 512) for words in needed})


def _may_fit(board, cores, block, depth, share):
    """Whether multipliers and weights alone could fit, to spare elaborating what cannot."""
    products_per_block = 2 if board.family.half_dsp else 1
    bits = {
        kind: max(shape.depth * shape.width * 2 // shape.halves for shape in shapes)
        for kind, shapes in board.family.memory.items()
    }
    return (
        cores * block** 2 <= share * board.resources.dsp * products_per_block
        and 16 * cores * block** 2 * depth
        <= share * sum(bits[kind] * count for kind, count in board.resources.memory.items())
    )

"""The fastest configuration for a board: over cores and block size, by the scheduler's prediction.

A configuration is a candidate when what it takes stays within a share of the device, so that it can be
placed and routed. Of two configurations the one that more networks fit is the better, then the one with the
lower product of spaced latencies. A device can be reconfigured: where the latencies of a configuration that
is there anyway are given, a network counts with the better of the two. Branch and bound: a shape is only
scheduled while no shape known to fit beats what its multiplications alone would take.
"""

import math
from dataclasses import dataclass
from typing import Any

from spiccato.compiler.fit import fitting_schedule, weight_formats
from spiccato.compiler.layout import Layout
from spiccato.compiler.lower import lower
from spiccato.config import Config
from spiccato.errors import ConfigError
from spiccato.rtl.accelerator import Timing
from spiccato_boards.resources import check

from .shapes import Shape, surely_short, weight_depth

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
        The weight format of each.
    """

    config: Config
    latencies: dict
    formats: dict


def own_latencies(board, networks):
    """Predicted spaced latency on the board's own configuration of each network that fits it, by name."""
    latencies = {}
    for network in networks:
        layout = Layout(lower(network), board.config)
        _, plan, short = fitting_schedule(layout, weight_formats(layout, "auto"), Timing(board.config))
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
            base = board.config.resized(count, block)
            if surely_short(board, base, 0, share):
                continue
            shape = Shape(base, networks)
            for depth in _depths(shape):
                chosen = _formats(shape, depth)
                if chosen and not surely_short(board, base, depth, share):
                    # Of equally fast ones, the one with more networks in the widest format, then the smaller.
                    last = (-list(chosen.values()).count(shape.base.weight_formats[0]), depth)
                    options.append((score({name: shape.least(name) for name in chosen}), last, shape, chosen))

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


def _formats(shape, depth):
    """{network: weight format} of all networks whose weights fit memories of ``depth``: the widest that fits."""
    return {
        name: next(form for form in shape.base.weight_formats if words[form] <= depth)
        for name, words in shape.words.items()
        if min(words.values()) <= depth
    }


def _depths(shape):
    """Depths of weight memories at which one network more fits."""
    needed = {words for forms in shape.words.values() for words in forms.values()}
    return sorted({weight_depth(shape.base, words) for words in needed})

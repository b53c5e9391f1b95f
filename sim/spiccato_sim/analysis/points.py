"""Points of an exploration: one accelerator each, and what is predicted of it."""

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from spiccato.compiler.fit import missing_epilogues
from spiccato.config import Config
from spiccato.errors import ConfigError
from spiccato.families import FAMILIES, Family
from spiccato.network import Network
from spiccato_boards import Board, Resources, resources

from .shapes import Shape, surely_short, weight_depth

__all__ = ["Device", "Outcome", "Point", "Space", "evaluate"]

#: Why points are not feasible, besides blocks of the device.
_LIMITS, _WEIGHTS, _EPILOGUES, _MEMORY = "limits of configurations", "weight memory", "epilogues", "memory blocks"


@dataclass(frozen=True)
class Point:
    """One accelerator.

    Attributes
    ----------
    profile : str
    cores, block : int
    weight_depth : int or None
        None: as many words as the weights take, in whole memory blocks.
    weights : str
        One of the board's weight formats.
    contexts : int
        Of every model, at least.
    """

    profile: str
    cores: int
    block: int
    weight_depth: int | None
    weights: str
    contexts: int

    @property
    def shape(self) -> tuple[str, int, int]:
        """Points of the same shape have the same schedule."""
        return self.profile, self.cores, self.block


@dataclass(frozen=True, kw_only=True)
class Space:
    """The values of each of a point's attributes; each sequence has one at least."""

    profiles: Sequence[str]
    cores: Sequence[int]
    blocks: Sequence[int]
    depths: Sequence[int | None] = (None,)
    weights: Sequence[str]
    contexts: Sequence[int] = (1, 16)

    def points(self) -> list[Point]:
        """All points, in the order of the attributes."""
        axes = (self.profiles, self.cores, self.blocks, self.depths, self.weights, self.contexts)
        return [Point(*values) for values in itertools.product(*axes)]


@dataclass(frozen=True)
class Device:
    """What counts of a board: other than a board, it can be sent to where the board's file is not."""

    name: str
    title: str
    device: str
    config: Config
    resources: Resources

    @classmethod
    def of(cls, board: Board, io_format: str) -> "Device":
        """That of a board, with a format of the streams."""
        config = dataclasses.replace(board.config, io_format=io_format)
        return cls(board.name, board.title, board.device, config, board.resources)

    @property
    def family(self) -> Family:
        """Its device family."""
        return FAMILIES[self.config.family]


@dataclass(frozen=True)
class Outcome:
    """What is predicted of a point.

    Attributes
    ----------
    point : Point
    reasons : tuple of str
        Why it is not feasible, in the same words for all points; empty if it is.
    detail : str
        The same with figures.
    config : Config or None
        The accelerator; None, as all that follows, if it is not feasible.
    spaced_cycles, interval_cycles : tuple of int
        Of each model: spaced latency, and initiation interval whatever model follows.
    contexts_that_fit : int or None
        Contexts of every model that there is room for.
    resources : dict
        DSP and memory blocks of the device that it takes, by kind.
    """

    point: Point
    reasons: tuple[str, ...] = ()
    detail: str = ""
    config: Config | None = None
    spaced_cycles: tuple[int, ...] = ()
    interval_cycles: tuple[int, ...] = ()
    contexts_that_fit: int | None = None
    resources: dict[str, float] = dataclasses.field(default_factory=dict)

    @property
    def fits(self) -> bool:
        """It is feasible."""
        return not self.reasons

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> "Outcome":
        """The inverse of ``dataclasses.asdict``, after JSON."""
        fields = plain | {name: tuple(plain[name]) for name in ("reasons", "spaced_cycles", "interval_cycles")}
        fields["point"] = Point(**plain["point"])
        fields["config"] = None if plain["config"] is None else Config.from_dict(plain["config"])
        return cls(**fields)


def evaluate(points: Sequence[Point], device: Device, networks: Sequence[Network], share: float) -> list[Outcome]:
    """Predict points of one shape; of the device's blocks ``share`` may be taken."""
    profile, cores, block = points[0].shape
    try:
        shape = Shape(device.config.resized(cores, block, profile=profile), networks)
    except ConfigError as error:
        return [Outcome(point, (_LIMITS,), str(error)) for point in points]
    return [_predicted(point, shape, device, share) for point in points]


def _predicted(point: Point, shape: Shape, device: Device, share: float) -> Outcome:
    words = sum(own[point.weights] for own in shape.words.values())
    depth = weight_depth(shape.base, words) if point.weight_depth is None else point.weight_depth
    short = {}
    if words > depth:
        short[_WEIGHTS] = f"{_WEIGHTS} {words} of {depth} words a core"
    missing = list(dict.fromkeys(text for layout in shape.layouts.values() for text in missing_epilogues(layout)))
    if missing:
        short[_EPILOGUES] = ", ".join(missing)
    for unit in surely_short(device, shape.base, depth, share):
        short[unit] = f"more than {share:.0%} of the {unit} for multipliers and weights alone"
    if short:
        return Outcome(point, tuple(short), f"needs {', '.join(short.values())}")
    try:
        config = shape.config_together(depth, point.contexts)
    except ConfigError as error:
        return Outcome(point, (_LIMITS,), str(error))
    taken = resources.estimate(config, device)
    lacking = resources.shortages(taken, device, share)
    if lacking:
        units = dict.fromkeys(unit if unit == resources.DSP_UNIT else _MEMORY for unit, *_ in lacking)
        texts = [f"{count:,} of {there:,} {unit}" for unit, count, there in lacking]
        return Outcome(point, tuple(units), f"needs {', '.join(texts)}")
    initial = sum(layout.slots for layout in shape.layouts.values() if layout.has_initial)
    return Outcome(
        point,
        config=config,
        spaced_cycles=tuple(shape.plan(name).spaced_latency for name in shape.layouts),
        interval_cycles=tuple(shape.intervals()),
        contexts_that_fit=min(
            (config.state_slots - initial) // sum(layout.slots for layout in shape.layouts.values()), config.streams
        ),
        resources={"dsp": taken.dsp, **taken.memory},
    )

"""What a model of another framework has computed so far: stages, each with a label of its own for every value.

Importers run a model on *labels*: integers that tell which value an element of an array stands for (which result of
which layer, of which sequence in the batch, at which step). Whatever merely moves values, such as transposing, slicing
or reshaping, is executed on the labels as it is. What a model does that is not supported is noted, and its results are
labels as well, so that the run goes on and tells which part of the model would run by itself.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError
from ..layers import Layer
from .cut import WHOLE, Cut, Refusal
from .streaming import Labels

__all__ = ["UNNAMED", "Misfit", "Names", "Stage", "Stages"]

_RESULT = "the result of "


class Misfit(ModelError):
    """Sizes that do not go together; with an input of another shape they might.

    ``refusal`` is what the model did before that is not supported, if anything.
    """

    def __init__(self, message: str, refusal: Refusal | None = None) -> None:
        super().__init__(message)
        self.refusal = refusal


class Names(NamedTuple):
    """What a part of the model that begins or ends with an operation is called by (:class:`.cut.Cut`)."""

    start: str | None
    end: str | None


UNNAMED = Names(None, None)


@dataclass(frozen=True, eq=False)
class Stage:
    """What a layer, or the model's input, gives.

    Attributes
    ----------
    what, name : str
        In words; and what the model's author calls the layer.
    first : int
        The first of its labels, which are numbered through ``shape`` in order.
    shape : tuple of int
        Where ``is_timed``, (steps, sequences, features); where ``is_arranged``, features come last; else the one that
        the model's input, or what an unsupported operation gives, has.
    names : Names
        What a cut calls the operation.
    layer : Layer or None
        What gives the values from those of ``parent``.
    constants : two float64 arrays, or None
        The values are those of ``parent``, each times the first, plus the second: one number for each label, NaN where
        the model applied none.
    addends : tuple of (Stage, float)
        The values are sums of these stages', each times a number; all are on the path of ``parent``.
    reads : int
        ``layer`` reads so many layers of that path, one behind the other.
    axes : tuple
        Of the model's input, the axis that each axis of ``shape`` is; None for those that are none.
    before : dict, or None
        Name of a state ("h", "c") -> labels that a recurrent layer starts from, if these are not constants.
    replaced : Stage or None
        The stage that this one computes as well, as one layer with what follows it.
    """

    what: str
    name: str
    first: int
    shape: tuple[int, ...]
    names: Names = UNNAMED
    layer: Layer | None = None
    parent: "Stage | None" = None
    constants: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
    addends: "tuple[tuple[Stage, float], ...]" = ()
    reads: int = 1
    axes: tuple[int | None, ...] = ()
    before: dict[str, Labels] | None = None
    replaced: "Stage | None" = None
    is_arranged: bool = False
    is_timed: bool = False
    is_cell_state: bool = False
    is_initial_state: bool = False

    @property
    def labels(self) -> Labels:
        """Of all values, in ``shape``."""
        return self.first + np.arange(np.prod(self.shape), dtype=np.int64).reshape(self.shape)

    @property
    def place(self) -> str:
        """Where in the model the values are computed."""
        return self.what.removeprefix(_RESULT)

    @property
    def base(self) -> "Stage":
        """The layer, or the input, whose values these are but for constants."""
        return self if self.constants is None or self.parent is None else self.parent

    def back(self) -> "Iterator[Stage]":
        """The stage and those that it comes from, up to the input."""
        stage: Stage | None = self
        while stage is not None:
            yield stage
            stage = stage.parent

    @property
    def root(self) -> "Stage":
        """The input, or the result of an unsupported operation, that the values are computed from."""
        *_, root = self.back()
        return root

    def path(self) -> "list[Stage]":
        """The layers from the first one to this one, each of which reads the one before."""
        return [stage for stage in self.back() if stage.layer is not None][::-1]


class Stages:
    """Everything that a model has computed, and what of it was refused.

    Parameters
    ----------
    cut : Cut
        The part of the model that is wanted; the importer calls :meth:`begin` and :meth:`finish` at its ends.
    """

    def __init__(self, cut: Cut = WHOLE) -> None:
        self.cut = cut
        #: What a cut calls the operation that is being followed.
        self.names = UNNAMED
        self.states: dict[str, Labels] = {}
        #: The axis of the model's input that is time, once a recurrent layer reads several steps of it.
        self.time_axis: int | None = None
        #: Labels of what the part gives, by its name.
        self.finished: dict[str, Labels] = {}
        #: Places of steps that the model has between layers, and the accelerator, which computes finer, has not.
        self.left_out: dict[str, None] = {}
        self._stages: list[Stage] = []
        self._refusal: ModelError | None = None
        self._is_spoilt = False
        self._begun: Stage | None = None
        #: First label of a stage -> what a cut calls what ends with it, besides its own name.
        self._ends: dict[int, str] = {}

    def add(self, what: str, name: str, shape: tuple[int, ...], **fields: Any) -> Stage:
        """A new stage."""
        last = self._stages[-1] if self._stages else None
        first = last.first + int(np.prod(last.shape)) if last else 1
        self._stages.append(Stage(what, name, first, tuple(shape), self.names, **fields))
        return self._stages[-1]

    def add_result(self, place: str, name: str, shape: tuple[int, ...], **fields: Any) -> Stage:
        """The stage of an operation's result."""
        return self.add(f"{_RESULT}{place}", name, shape, **fields)

    def __iter__(self) -> Iterator[Stage]:
        return iter(self._stages)

    # Where values come from.

    def sources(self, labels: Labels) -> list[Stage]:
        """The stages that the labels come from."""
        found = np.searchsorted([stage.first for stage in self._stages], labels.reshape(-1), side="right") - 1
        return [self._stages[number] for number in np.flatnonzero(np.bincount(found))]

    def source(self, place: str, labels: Labels) -> Stage:
        """The one layer that the labels come from."""
        sources = self.sources(labels)
        if not sources:
            raise Misfit(f"{place} reads an empty array: a slice leaves nothing; supported: all steps")
        if len(sources) != 1:
            raise ModelError(f"{place} reads {self.what(labels)} at once; supported: what one layer gives")
        if sources[0].is_cell_state:
            raise ModelError(f"{place} reads {sources[0].what}; supported: a layer's results, h")
        if sources[0].is_initial_state:
            raise ModelError(
                f"{place} reads {sources[0].what}; supported: state that is the initial h and c of recurrent layers, "
                "unchanged, and nothing else"
            )
        return sources[0]

    def what(self, labels: Labels) -> str:
        """Where labels come from, in words."""
        return " and ".join(stage.what for stage in self.sources(labels)) or "an empty array"

    # The ends of the model, and of the part that is wanted.

    def input(self, shape: tuple[int, ...]) -> Labels:
        """Labels of the model's input."""
        stage = self.add("the model's input", "", shape, axes=tuple(range(len(shape))))
        if self.cut.start is None:
            self._begun = stage
        return stage.labels

    def state(self, name: str, shape: tuple[int, ...]) -> Labels:
        """Labels of state that the model takes from the call before, as an input or from where it keeps it."""
        stage = self.add(f"the state '{name}'", name, shape, is_initial_state=True)
        self.states[name] = stage.labels
        return stage.labels

    def begin(self, labels: Labels) -> Labels:
        """Labels of the part's input, in the place of what the model has computed up to there."""
        if any(stage.is_initial_state for stage in self.sources(labels)):
            raise ModelError(f"--from {self.cut.start}: {self.what(labels)}; supported: the data that a layer reads")
        if self._begun is not None:
            return labels  # what comes by again does so within the part
        if not self._is_spoilt:
            self._refusal = None
        self._begun = self.add("the part's input", "", labels.shape, axes=(None,) * labels.ndim)
        return self._begun.labels

    def finish(self, labels: Labels) -> None:
        """Note what the part gives."""
        assert self.cut.end is not None
        self.finished[self.cut.end] = labels

    def call_end(self, labels: Labels, name: str) -> None:
        """Note that a cut may call what ends with these values ``name``."""
        sources = self.sources(labels)
        if len(sources) == 1:
            self._ends.setdefault(sources[0].first, name)

    @property
    def begun(self) -> Stage:
        """The input of the model, or of the part."""
        if self._begun is None:
            raise ModelError(f"--from {self.cut.start}: the model computes its result without it")
        return self._begun

    def outside(self, ends: list[Stage]) -> tuple[list[str], list[str]]:
        """Places of what the model computes before the part that ends with ``ends``, and elsewhere but in the part."""
        used: set[str] = set()
        for found in (stage for last in ends for stage in last.back()):
            stage: Stage | None = found
            while stage is not None:
                used.add(stage.place)
                stage = stage.replaced
        before: dict[str, None] = {}
        after: dict[str, None] = {}
        for stage in self:
            if stage.what.startswith(_RESULT) and stage.place not in used:
                (before if stage.first < self.begun.first else after)[stage.place] = None
        return list(before), list(after)

    # After a refusal.

    def refuse(self, error: ModelError, spoils: bool = False) -> None:
        """Note what the model does that is not supported. The first refusal is the one that :meth:`refusal` tells.

        With ``spoils``, what follows may be wrong anywhere, so that no part of the model is accepted. Otherwise what
        lies behind the part does not matter.
        """
        if self.finished and not spoils:
            return
        self._refusal = error if spoils and not self._is_spoilt else self._refusal or error
        self._is_spoilt = self._is_spoilt or spoils

    def foreign(self, place: str, shape: tuple[int, ...]) -> Labels:
        """Labels of what an operation gives that has been refused; layers may read them like the model's input."""
        return self.add_result(place, "", shape, axes=(None,) * len(shape)).labels

    @property
    def refused(self) -> bool:
        """Whether anything was refused that a result may depend on: of a part, its path tells all the rest."""
        return self._is_spoilt or self._refusal is not None and not self.finished

    def part(self) -> int:
        """Number of layers in the longest chain of supported layers."""
        return max((len(stage.path()) for stage in self._stages), default=0)

    def refusal(self, error: ModelError | None = None) -> Refusal:
        """The first refusal, by default ``error``, with parts of the model that may run by themselves."""
        return Refusal(str(self._refusal or error), () if self._is_spoilt else self._cuts())

    def _cuts(self) -> list[Cut]:
        """The chains of supported layers, the longest first; of equal ones the last."""
        found: list[tuple[int, Cut]] = []
        for last in reversed(self._stages):
            chain = [stage for stage in last.back() if stage.layer is not None or stage.constants is not None]
            end = last.names.end or self._ends.get(last.first)
            if not chain or end is None or last.is_cell_state:
                continue
            start = self.cut.start
            if last.root is not self._begun:
                named = [number for number, stage in enumerate(chain) if stage.names.start is not None]
                if not named:
                    continue
                chain = chain[: named[-1] + 1]
                start = chain[-1].names.start
            if any(stage.layer is not None for stage in chain):
                found.append((len(chain), Cut(start, end)))
        found.sort(key=lambda entry: -entry[0])
        return list(dict.fromkeys(cut for _, cut in found if cut != self.cut))

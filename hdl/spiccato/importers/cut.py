"""Cuts: names in a model between which the accelerator computes, and refusals that tell which would do.

What a name may be is the importer's: a tensor or a node of an ONNX graph, a module of PyTorch's, a layer of Keras', a
module of a state dict. Named by a layer, a part begins with it or ends with it; named by a tensor, there.
"""

import shlex
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from ..errors import ModelError

__all__ = ["WHOLE", "Cut", "Refusal", "told"]

#: Parts that are tried, longest first, before a refusal names none.
_MOST_TRIES = 8


_Read = TypeVar("_Read")


@dataclass(frozen=True)
class Cut:
    """The part of a model that is taken: from ``start`` to ``end``; None where that is the model's own."""

    start: str | None = None
    end: str | None = None

    def __str__(self) -> str:
        """The part in words."""
        parts = [f"{word} {name!r}" for word, name in (("from", self.start), ("to", self.end)) if name is not None]
        return " ".join(parts) or "the whole model"

    @property
    def options(self) -> str:
        """The part as options of the command line."""
        options = (("--from", self.start), ("--to", self.end))
        return " ".join(f"{option} {shlex.quote(name)}" for option, name in options if name is not None)

    @property
    def arguments(self) -> str:
        """The part as arguments in Python."""
        arguments = (("from_", self.start), ("to", self.end))
        return ", ".join(f"{argument}={name!r}" for argument, name in arguments if name is not None)

    def names(self) -> Iterator[tuple[str, str]]:
        """(option, name) of the ends that are stated."""
        for option, name in (("--from", self.start), ("--to", self.end)):
            if name is not None:
                yield option, name

    def check(self, known: Iterable[str], what: str) -> None:
        """Refuse a name that the model does not have."""
        names = list(dict.fromkeys(known))
        for option, name in self.names():
            if name not in names:
                shown = ", ".join(map(repr, names[:_MOST_NAMES])) + ", ..." * (len(names) > _MOST_NAMES)
                raise ModelError(f"{option} {name}: the model has no {what} of that name; it has {shown}")


#: Names that a message lists.
_MOST_NAMES = 40

WHOLE = Cut()


class Refusal(ModelError):
    """A model that is not supported as a whole, with parts of it that may be, the longest first."""

    def __init__(self, message: str, cuts: Iterable[Cut] = ()) -> None:
        super().__init__(message)
        self.cuts = tuple(cuts)


def told(refusal: Refusal, read: Callable[[Cut], object]) -> ModelError:
    """The refusal with the first of its parts that can in fact be read, and how to take that."""
    for cut in refusal.cuts[:_MOST_TRIES]:
        try:
            read(cut)
        except ModelError:
            continue
        return ModelError(f"{refusal}; the part {cut} would run: {cut.options} (in Python {cut.arguments})")
    return ModelError(str(refusal))

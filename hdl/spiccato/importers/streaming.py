"""State that a model takes and hands on from call to call: what of it is a recurrent layer's h and c, nothing else.

A streaming model gets h and c as inputs and gives them as outputs, or keeps them between calls. The accelerator keeps
them itself, for each context its own, so the import has to prove for every element of the state that it starts one
unit of one layer in one sequence, and that in the same place of what is handed on stands what this unit ends with.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError
from ..program import StateName

__all__ = ["TAKEN_AS_STATE", "Labels", "StatefulLayer", "handed_on", "in_words", "named_states", "one_for_all"]

#: Integers that tell which value an element stands for (:mod:`.chain`).
Labels = NDArray[np.int64]

#: How :attr:`..network.Network.origin` tells of state.
TAKEN_AS_STATE = "taken as state, which the accelerator keeps for each context"
_READ = "no output, but read from a context's states"

_SUPPORTED = "h and c of recurrent layers, handed on unchanged and in the same order"


@dataclass(frozen=True, eq=False)
class StatefulLayer:
    """A recurrent layer that starts from state: labels of its h and, if it has one, c, each (sequences, units)."""

    place: str
    name: str
    before: Mapping[str, Labels]
    after: Mapping[str, Labels]


def _check_units(layers: Sequence[StatefulLayer]) -> None:
    """Refuse an element of state that more than one unit starts from."""
    seen: set[int] = set()
    for layer in layers:
        for kind, labels in layer.before.items():
            own = set(labels.reshape(-1).tolist())
            if len(own) < labels.size or own & seen:
                raise ModelError(
                    f"{layer.place}: the initial {kind} holds an element of state that another unit or layer starts "
                    f"from as well; supported: {_SUPPORTED}"
                )
            seen |= own


def handed_on(
    states: Mapping[str, Labels],
    layers: Sequence[StatefulLayer],
    results: Mapping[str, Labels],
    kept: Mapping[str, Labels | None],
) -> dict[str, str | None]:
    """What hands each state on to the next call.

    Parameters
    ----------
    states : mapping
        Name -> labels of what a call starts from.
    layers : sequence of StatefulLayer
    results : mapping
        Name -> labels of what the model gives.
    kept : mapping
        State that is no input but kept by the model: name -> labels of what it holds after the call; None if that
        does not come from the model's input and state alone.

    Returns
    -------
    dict
        Name of a state that a layer starts from -> name of the result that hands it on; None for what is kept.

    Raises
    ------
    ModelError
        A state is not, element by element, the same layer's h or c before and after.
    """
    _check_units(layers)
    following = {
        before: after
        for layer in layers
        for kind in layer.before
        for before, after in zip(*(side[kind].reshape(-1).tolist() for side in (layer.before, layer.after)))
    }
    handed: dict[str, str | None] = {}
    for name, labels in states.items():
        expected = np.array([following.get(label, 0) for label in labels.reshape(-1).tolist()]).reshape(labels.shape)
        if not expected.any():
            continue  # no layer starts from it
        if not expected.all():
            raise ModelError(
                f"of the state '{name}', only a part is h or c of a recurrent layer; supported: {_SUPPORTED}"
            )
        if name in kept:
            after = kept[name]
            if after is None or not np.array_equal(after, expected):
                raise ModelError(
                    f"the state '{name}' is {_role(labels, layers)} before a call, but does not hold that layer's "
                    f"final one after it{_disorder(expected, after)}; supported: {_SUPPORTED}"
                )
            handed[name] = None
            continue
        fitting = (
            key for key, given in results.items() if key not in handed.values() and np.array_equal(given, expected)
        )
        handed[name] = next(fitting, None)
        if handed[name] is None:
            disorder = next(filter(None, (_disorder(expected, given, key) for key, given in results.items())), "")
            raise ModelError(
                f"the state '{name}' is {_role(labels, layers)} before a call, but no result of the model is that "
                f"layer's final one{disorder}; supported: {_SUPPORTED}"
            )
    order = [key for key in results if key in handed.values()]
    if order != [key for key in handed.values() if key is not None]:
        raise ModelError(
            f"the state is {_listed(handed)}, but handed on as {_listed(order)}, in another order; supported: the same "
            "order, so that results can be given back as they come"
        )
    return handed


def _listed(names: Iterable[str]) -> str:
    return ", then ".join(f"'{name}'" for name in names)


def _role(labels: Labels, layers: Sequence[StatefulLayer]) -> str:
    """What a state is, in words: "h of 'lstm'"."""
    own = set(labels.reshape(-1).tolist())
    roles = [
        f"{kind} of '{layer.name}'"
        for kind in ("h", "c")
        for layer in layers
        if kind in layer.before and own & set(layer.before[kind].reshape(-1).tolist())
    ]
    return " and ".join(dict.fromkeys(roles))


def _disorder(expected: Labels, given: Labels | None, name: str = "") -> str:
    """Words on a result that holds what is expected in another order or shape, if it does."""
    if given is None or not np.array_equal(np.sort(expected, axis=None), np.sort(given, axis=None)):
        return ""
    what = f"'{name}' has it" if name else "it is there"
    how = "in another order" if given.shape == expected.shape else f"in shape {given.shape} for {expected.shape}"
    return f" ({what} {how})"


def named_states(
    handed: Iterable[str], states: Mapping[str, Labels], layers: Sequence[tuple[int, StatefulLayer]]
) -> Iterator[StateName]:
    """Names of h and c that lie whole in one state: the state's, with a number behind it if it holds more.

    ``layers`` come with their numbers among the network's that have a state.
    """
    for name in handed:
        labels = states[name].reshape(-1)
        whole = {
            (kind, layer_number): own
            for layer_number, layer in layers
            for kind, own in ((kind, before.reshape(-1)) for kind, before in layer.before.items())
            if np.isin(own, labels).all()
        }
        order = sorted(whole, key=lambda part: int(np.flatnonzero(np.isin(labels, whole[part]))[0]))
        for number, (kind, layer_number) in enumerate(order):
            alone = len(whole[kind, layer_number]) == len(labels)
            yield StateName(name if alone else f"{name}[{number}]", kind, layer_number)


def in_words(
    handed: Mapping[str, str | None],
    states: Mapping[str, Labels],
    layers: Sequence[StatefulLayer],
    read: Mapping[str, str],
) -> str | None:
    """One line on what was taken as state, and on results that are to be ``read`` there; None if there is nothing.

    ``read`` tells what these are, by their names.
    """
    parts = [
        f"'{name}' ({_role(states[name], layers)}{f', handed on as {result!r}' if result else ''})"
        for name, result in handed.items()
    ]
    told = [f"{TAKEN_AS_STATE}: {', '.join(parts)}"] if parts else []
    told += [f"{_READ}: {', '.join(f'{name!r} ({what})' for name, what in read.items())}"] if read else []
    return "; ".join(told) or None


def one_for_all(place: str, what: str, states: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """The constant initial state of each sequence, from an array (sequences, units); None if it is zero.

    Raises
    ------
    ModelError
        Sequences start from different states.
    """
    if len(states) and not (states == states[0]).all():
        raise ModelError(f"{place}: {what} is not the same in every sequence; supported: one state to start from")
    return states[0] if states.any() else None

"""A context's state as data: saved, moved to another device, loaded again, bit by bit.

It is the recurrent half of every sum, and c. No inference reads the previous one's h: it is part of a state only where
the configuration keeps it, for the host to read.
"""

import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import ProgramError, SpiccatoError
from ..numbers import ACC_BITS, C_BITS, C_FRAC_BITS, H_FRAC_BITS, VECTOR_BITS, split_remainder
from .container import checksum, read_container, write_container
from .model import Model, StateName

__all__ = ["STATE_VERSION", "State", "initial_state", "read_names", "values_of"]

STATE_VERSION = 2
_ARRAYS = ("sums", "c", "h")


@dataclass(frozen=True, eq=False)
class State:
    """What an inference leaves for its context's next one.

    Attributes
    ----------
    model : str
        Digest of the model that it is a state of.
    sums : int64 (slots, cores, block)
        Recurrent halves, biases included, of the model's slots but for those of its linear layer; 0 in slots of layers
        without recurrence.
    c : int64 (slots, cores, block / 4)
        Cell states with 17 fraction bits, or h and its remainder (``split_remainder``); 0 in
        slots of layers without a state.
    h : int64 (slots, cores, block / 4), or None
        Results with 17 fraction bits of layers that have a state, where the configuration keeps them.
    """

    model: str
    sums: NDArray[np.int64]
    c: NDArray[np.int64]
    h: NDArray[np.int64] | None = None

    @property
    def slots(self) -> int:
        """How many slots it is of."""
        return len(self.sums)

    def require(self, model: Model) -> None:
        """Raise ProgramError unless it is a state of ``model``."""
        if self.model != model.digest:
            raise ProgramError(
                f"this is no state of model {model.name!r} (digest {model.digest}), but of one of digest {self.model}"
            )
        config = model.config
        if (self.h is not None) != config.keep_h:
            keeps, without = ("keeps", "was saved without it") if config.keep_h else ("does not keep", "holds it")
            raise ProgramError(
                f"state of model {model.name!r}: configuration {config.name!r} {keeps} h (keep_h), and the state "
                f"{without}: load a state from a device with keep_h={config.keep_h}"
            )
        for name, array, wanted, bits in (
            ("sums", self.sums, (model.state_slots, config.cores, config.block), ACC_BITS),
            ("c", self.c, (model.state_slots, config.cores, config.lanes), C_BITS),
            ("h", self.h, (model.state_slots, config.cores, config.lanes), VECTOR_BITS),
        ):
            if array is None:
                continue
            if array.shape != wanted:
                raise ProgramError(
                    f"state of model {model.name!r}: {name} has shape {array.shape}, the model has {wanted}"
                )
            if array.dtype.kind not in "iu" or (array >> (bits - 1) != array >> 63).any():
                raise ProgramError(f"state of model {model.name!r}: {name} has to hold integers of {bits} bits")

    def save(self, path: str | os.PathLike) -> None:
        """Write the state to ``path``, all or nothing."""
        arrays = self._arrays()
        write_container(path, "state", STATE_VERSION, {"model": self.model, "checksum": self._checksum()}, arrays)

    @classmethod
    def load(cls, path: str | os.PathLike) -> "State":
        """Read a state.

        Raises
        ------
        ProgramError
            If the file is missing, damaged, or not a state of this version. :meth:`require` tells whose it is.
        """
        header, arrays = read_container(path, "state", STATE_VERSION, "save a context's state")
        try:
            state = cls(model=header["model"], **arrays)
            damaged = state._checksum() != header["checksum"] or any(
                array.dtype != np.int64 for array in arrays.values()
            )
        except (SpiccatoError, ValueError, KeyError, TypeError, AttributeError):
            damaged = True
        if damaged:
            raise ProgramError(f"{os.fspath(path)}: damaged: the contents do not match the checksum in the header")
        return state

    def _arrays(self) -> dict[str, NDArray[np.int64]]:
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        return {name: array for name, array in arrays.items() if array is not None}

    def _checksum(self) -> int:
        shapes = {name: list(array.shape) for name, array in self._arrays().items()}
        data = {name: array.astype("<i8").tobytes().hex() for name, array in self._arrays().items()}
        return checksum([self.model, shapes, data])


def initial_state(model: Model) -> State:
    """What a sequence of ``model`` starts from."""
    config = model.config
    h = _initial_h(model) if config.keep_h else None
    if model.has_initial:
        return State(model.digest, model.initial_sums, model.initial_c, h)
    sums = np.zeros((model.state_slots, config.cores, config.block), dtype=np.int64)
    for layer in model.layers:
        if layer.recurrent:
            sums[layer.all_slots] = model.biases[layer.all_slots]
    return State(model.digest, sums, np.zeros((model.state_slots, config.cores, config.lanes), dtype=np.int64), h)


def _initial_h(model: Model) -> NDArray[np.int64]:
    """h that a sequence starts from, as (state slots, cores, lanes)."""
    ends = np.cumsum([layer.units for layer in model.layers])[:-1]
    return model.dealt(np.split(model.initial_h, ends) if model.has_initial else [])


def read_names(model: Model, names: tuple[str, ...]) -> list[StateName]:
    """The states of ``model`` of these names; without any, all that its configuration keeps.

    Raises
    ------
    ProgramError
        If there is none of a name, or it is h that is not kept.
    """
    if not names:
        return [state for state in model.states if _kept(model, state)]
    by_name = {state.name: state for state in model.states}
    for name in names:
        if name not in by_name:
            raise ProgramError(f"model {model.name!r} has no state {name!r}; it has {', '.join(map(repr, by_name))}")
        if not _kept(model, by_name[name]):
            raise ProgramError(
                f"state {name!r} of model {model.name!r} is h of layer {by_name[name].layer}, which configuration "
                f"{model.config.name!r} does not keep: needs keep_h=True"
            )
    return [by_name[name] for name in names]


def _kept(model: Model, one: StateName) -> bool:
    """Whether there is a memory that has it."""
    return model.lies_in_c(one) or model.config.keep_h


def values_of(model: Model, state: State, names: tuple[str, ...] = ()) -> dict[str, NDArray[np.float64]]:
    """What a state of ``model`` holds, in its own numbers: {name: (units,)}; names as for :func:`read_names`."""
    found = {}
    for one in read_names(model, names):
        place = model.stateful_layers[one.layer]
        array = state.c if model.lies_in_c(one) else state.h
        assert array is not None
        values = array[place.all_slots].reshape(-1)[: place.units]
        if place.state_is_h:
            values, _ = split_remainder(values)
        found[one.name] = np.ldexp(values.astype(np.float64), -(H_FRAC_BITS if one.kind == "h" else C_FRAC_BITS))
    return found

"""A context's state as data: saved, moved to another device, loaded again, bit by bit.

It is the recurrent half of every sum, and c. h itself is not part of it: no inference reads the previous one's.
"""

import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import ProgramError, SpiccatoError
from ..numbers import ACC_BITS, C_BITS
from .container import checksum, read_container, write_container
from .model import Model

__all__ = ["STATE_VERSION", "State", "initial_state"]

STATE_VERSION = 1
_ARRAYS = ("sums", "c")


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
        Cell states with 17 fraction bits; 0 in slots of layers without one.
    """

    model: str
    sums: NDArray[np.int64]
    c: NDArray[np.int64]

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
        for name, array, wanted, bits in (
            ("sums", self.sums, (model.state_slots, config.cores, config.block), ACC_BITS),
            ("c", self.c, (model.state_slots, config.cores, config.lanes), C_BITS),
        ):
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
        return {name: getattr(self, name) for name in _ARRAYS}

    def _checksum(self) -> int:
        shapes = {name: list(array.shape) for name, array in self._arrays().items()}
        data = {name: array.astype("<i8").tobytes().hex() for name, array in self._arrays().items()}
        return checksum([self.model, shapes, data])


def initial_state(model: Model) -> State:
    """What a sequence of ``model`` starts from."""
    config = model.config
    if model.has_initial:
        return State(model.digest, model.initial_sums, model.initial_c)
    sums = np.zeros((model.state_slots, config.cores, config.block), dtype=np.int64)
    for layer in model.layers:
        if layer.recurrent:
            sums[layer.all_slots] = model.biases[layer.all_slots]
    return State(model.digest, sums, np.zeros((model.state_slots, config.cores, config.lanes), dtype=np.int64))

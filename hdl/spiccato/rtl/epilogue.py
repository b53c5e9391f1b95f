"""Epilogues: what takes a unit's finished sums to its element of a vector. The registry of their kinds."""

from collections.abc import Callable, Sequence
from typing import ClassVar, TypeVar, cast

import numpy as np
from amaranth.hdl import signed
from amaranth.lib.wiring import In, Out
from numpy.typing import NDArray

from ..config import Config
from ..errors import ConfigError
from ..numbers import ACC_BITS, C_BITS, VECTOR_BITS
from .part import Part

__all__ = ["EPILOGUES", "Epilogue", "epilogues", "register"]


class Epilogue(Part):
    """One unit a cycle, no handshake. Subclasses are made from a configuration alone.

    Parameters
    ----------
    kind : str
        The part's.

    Attributes
    ----------
    name : str
        The epilogue's name in :data:`EPILOGUES`, in configurations and in layers' kinds.
    sums : sequence of str
        What the rows of a unit are called that it takes: the first ones, four at most.
    has_state : bool
        It reads c of the previous step and gives a new one.
    latency, gate_latency, c_latency : int
        Cycles from the sums to h, to when ``c_old`` is read, and to c. The last two only with a state.
    acc_SUM : in, signed 48, 26 fraction bits, for each of ``sums``
    c_old : in, signed 27, 17 fraction bits, ``gate_latency`` cycles after the sums; only with a state
    c : out, ``c_latency`` cycles after the sums; only with a state
    h : out, signed 18, 17 fraction bits, ``latency`` cycles after the sums
    """

    name: ClassVar[str]
    sums: ClassVar[Sequence[str]]
    has_state: ClassVar[bool] = False
    latency: int
    gate_latency: int
    c_latency: int

    def __init__(self, kind: str) -> None:
        members = {f"acc_{name}": In(signed(ACC_BITS)) for name in self.sums}
        if self.has_state:
            members |= {"c_old": In(signed(C_BITS)), "c": Out(signed(C_BITS))}
        super().__init__(kind, members | {"h": Out(signed(VECTOR_BITS))})

    @staticmethod
    def compute(acc: NDArray[np.int64], c_old: NDArray[np.int64]) -> tuple[NDArray[np.int64] | None, NDArray[np.int64]]:
        """Integer model: sums (rows, ...) and ``c_old`` (...) to ``(c, h)``; c is None without a state."""
        raise NotImplementedError


#: Epilogues by name.
EPILOGUES: dict[str, type[Epilogue]] = {}

_Kind = TypeVar("_Kind", bound=type[Epilogue])


def register(kind: _Kind) -> _Kind:
    """Add an epilogue to :data:`EPILOGUES`; a class decorator.

    Raises
    ------
    ValueError
        If there is another one of its name.
    """
    if kind.name in EPILOGUES:
        raise ValueError(f"two epilogues are named {kind.name!r}")
    EPILOGUES[kind.name] = kind
    return kind


def epilogues(config: Config) -> list[Epilogue]:
    """The epilogues that a lane of ``config`` has, one of each, in the order of their numbers in issue words.

    Raises
    ------
    ConfigError
        If one is unknown, or if none has a state.
    """
    for name in config.epilogues:
        if name not in EPILOGUES:
            raise ConfigError(
                f"configuration {config.name!r}: there is no epilogue {name!r}; known: {', '.join(EPILOGUES)}"
            )
    makers = [cast("Callable[[Config], Epilogue]", EPILOGUES[name]) for name in config.epilogues]
    units = [make(config) for make in makers]
    if not any(unit.has_state for unit in units):
        raise ConfigError(f"configuration {config.name!r}: none of the epilogues has a cell state; one has to: lstm")
    return units

"""Epilogues: what takes a unit's finished sums to its element of a vector. The registry of their kinds."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar, cast

import numpy as np
from amaranth.hdl import signed
from amaranth.lib.wiring import In, Out
from numpy.typing import NDArray

from ..config import Config
from ..errors import ConfigError
from ..numbers import ACC_BITS, C_BITS, VECTOR_BITS
from .memory import Rom
from .part import Part

__all__ = ["EPILOGUES", "Epilogue", "epilogues", "register"]


class Epilogue(Part):
    """One slot a cycle, no handshake. Subclasses are made from a configuration alone.

    Epilogues that are parts of one kind share its hardware: it is placed once for all of them.

    Parameters
    ----------
    kind : str
        The part's.

    Attributes
    ----------
    name : str
        The epilogue's name in :data:`EPILOGUES`, in configurations and in layers' kinds.
    sums : sequence of str
        What a lane's rows are called that it takes: the first ones, four at most.
    turns : int
        Units of a lane, whose h follow each other, one a cycle: one of four rows, or four of one row each.
    selects : sequence of str
        Names of epilogues for which the part has an input of that name: high, all bits, with the sums of a finished
        slot that is for it.
    settings : sequence of str
        Fields of the issue word that the epilogue takes, with the sums.
    tables : mapping of str to function
        Tables that two lanes share, which the core has beside the parts: a part has ``NAME_addr`` and ``NAME_word``,
        and the function makes the table for so many lanes.
    has_state : bool
        It reads c of the previous step and gives a new one.
    latency, gate_latency, c_latency : int
        Cycles from the sums to the first h, to when ``c_old`` is read, and to c. The last two only with a state.
    acc_SUM : in, signed 48, 26 fraction bits, for each of ``sums``
    c_old : in, signed 27, 17 fraction bits, ``gate_latency`` cycles after the sums; only with a state
    c : out, ``c_latency`` cycles after the sums; only with a state
    h : out, signed 18, 17 fraction bits, ``latency`` cycles after the sums
    """

    name: ClassVar[str]
    sums: ClassVar[Sequence[str]]
    turns: ClassVar[int] = 1
    selects: Sequence[str] = ()
    settings: ClassVar[Sequence[str]] = ()
    tables: Mapping[str, Callable[[int], Rom]] = MappingProxyType({})
    has_state: ClassVar[bool] = False
    latency: int
    gate_latency: int
    c_latency: int

    def __init__(self, kind: str, members: Mapping[str, Any] | None = None) -> None:
        super().__init__(kind, dict(self.members() if members is None else members))

    @classmethod
    def members(cls) -> dict[str, Any]:
        """Those above."""
        members = {f"acc_{name}": In(signed(ACC_BITS)) for name in cls.sums}
        if cls.has_state:
            members |= {"c_old": In(signed(C_BITS)), "c": Out(signed(C_BITS))}
        return members | {"h": Out(signed(VECTOR_BITS))}

    @staticmethod
    def compute(
        acc: NDArray[np.int64], c_old: NDArray[np.int64], **settings: int
    ) -> tuple[NDArray[np.int64] | None, NDArray[np.int64]]:
        """Integer model: sums (rows, ...) and ``c_old`` (...) to ``(c, h)``.

        c is None without a state. With several ``turns``, h has them as its first axis.
        """
        raise NotImplementedError

    @staticmethod
    def saturates(acc: NDArray[np.int64], **settings: int) -> bool:
        """Integer model: whether results are beyond what a vector can hold, so that the output is marked."""
        return False


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

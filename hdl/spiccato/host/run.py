"""Coroutines for callers without an event loop."""

from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["finished"]

_Result = TypeVar("_Result")


def finished(coroutine: Coroutine[Any, Any, _Result]) -> _Result:
    """The result of a coroutine that never suspends."""
    try:
        coroutine.send(None)
    except StopIteration as result:
        return result.value
    coroutine.close()
    raise TypeError("this transport suspends: use AsyncDevice with it")

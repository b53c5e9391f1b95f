"""Sliding windows: each answer is that of the last T inputs from the model's initial state."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ProgramError
from .run import finished

if TYPE_CHECKING:
    from .device import AsyncDevice

__all__ = ["AsyncWindows", "Windows"]


class AsyncWindows:
    """:class:`Windows`, all methods being coroutines."""

    def __init__(self, device: "AsyncDevice", length: int, model: int = 0):
        if type(length) is not int or length < 1:
            raise ProgramError(f"a window has an integer number of inputs, at least 1, not {length!r}")
        found, program = device.require(model, 0), device.loaded
        if length > program.streams[model]:
            raise ProgramError(
                f"windows of {length} inputs need as many contexts; program {program.name!r} has "
                f"{program.streams[model]} of model {model} ({found.name!r})"
            )
        self.device, self.length, self.model = device, length, model
        self.restart()

    def restart(self) -> None:
        """Begin anew: the next input is the first one."""
        self._inputs = 0

    async def step(
        self, x: ArrayLike, on_answer: Callable[[NDArray[np.float64]], object] | None = None
    ) -> NDArray[np.float64] | None:
        """The next input: see :meth:`Windows.step`."""
        number, length = self._inputs, self.length
        # The window that began with stream s goes on there until its last input comes.
        first, due = number % length, (number + 1) % length
        answer = None
        if number >= length - 1:
            answer = await self.device.step(x, self.model, due, start=due == first)
            assert answer is not None  # it was not quiet
            if on_answer is not None:
                on_answer(answer)
        for stream in range(min(number + 1, length)):
            if answer is None or stream != due:
                await self.device.step(x, self.model, stream, start=stream == first, quiet=True)
        self._inputs = number + 1
        return answer


class Windows:
    """Windows of the last ``length`` inputs, one context for each; :meth:`Device.windows` makes it.

    They are the model's first streams, of which the next input starts one and is the last one of another: the answer.
    """

    def __init__(self, windows: AsyncWindows):
        self._windows = windows

    def restart(self) -> None:
        """Begin anew: the next input is the first one."""
        self._windows.restart()

    def step(
        self, x: ArrayLike, on_answer: Callable[[NDArray[np.float64]], object] | None = None
    ) -> NDArray[np.float64] | None:
        """The next input (input_size,).

        Parameters
        ----------
        x : real array (input_size,)
        on_answer : function, optional
            Called with the answer as soon as that is there; the other windows get the input after it.

        Returns
        -------
        float64 (output_size,)
            What the model gives for the last ``length`` inputs; None until there are as many.
        """
        return finished(self._windows.step(x, on_answer))

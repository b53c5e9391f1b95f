"""The virtual machine: a bit-exact model of the accelerator that runs the same program.

It keeps the contexts; what one inference computes is :mod:`.datapath`, and when it happens :mod:`.timeline`.
"""

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spiccato.arrays import real_array
from spiccato.errors import InputError
from spiccato.formats import from_bits, to_bits
from spiccato.isa.marks import MARKS
from spiccato.program import Model, Program, State, initial_state, values_of

from .datapath import Datapath, Inference

__all__ = ["InputWarning", "StepResult", "VirtualMachine", "from_bits", "to_bits"]

#: What inputs have done that leave a mark.
_MARKS = {"nan": "hold NaN, which counts as 0", "saturated": "are beyond the program's range and saturate"}


class InputWarning(UserWarning):
    """Inputs that are computed with, but not as they are: the accelerator marks such steps."""


@dataclass(frozen=True)
class StepResult:
    """One inference.

    Attributes
    ----------
    bits : int64 (output_size,), output bit patterns
    sums : int64 (output_size,)
        The outputs before they are rounded to the streams' format, with the model's ``output_frac_bits`` fraction bits.
    flags : dict, the marks of ``tuser`` as {name: bool}
    """

    bits: NDArray[np.int64]
    sums: NDArray[np.int64]
    flags: dict[str, bool]


class VirtualMachine:
    """Runs ``program``; all contexts start from their model's initial state.

    A context is a stream of a model, both named by their numbers. Methods that are not told which take the first one.

    What is no ordinary number is treated as by the hardware: a NaN counts as 0 and the step is marked ``nan``; what
    is beyond the range of the program, infinity above all, becomes the largest value of that range, and the step is
    marked ``saturated``.

    Attributes
    ----------
    marks : collections.Counter
        Steps that were marked since all states were reset, by the name of the mark.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self._datapaths = [Datapath(model) for model in program.models]
        self.reset()

    def reset(self, model: int | None = None, stream: int | None = None) -> None:
        """Let the next inference start from the initial state: of one context, of all of a model, or of all.

        Raises
        ------
        ProgramError
            If there is no such context.
        """
        if model is None and stream is None:
            self._states: dict[tuple[int, int], State] = {}
            self._last: tuple[Model, NDArray[np.int64]] | None = None
            self.marks: Counter[str] = Counter()
            return
        model = model or 0
        self.program.require_context(model, stream or 0)
        for one in range(self.program.streams[model]) if stream is None else [stream]:
            self._states.pop((model, one), None)

    def state(self, model: int = 0, stream: int = 0) -> State:
        """What a context's next inference goes on from; raises ProgramError if there is no such context."""
        found = self.program.require_context(model, stream)
        return self._states.get((model, stream)) or initial_state(found)

    def set_state(self, state: State, model: int = 0, stream: int = 0) -> None:
        """Let a context go on from ``state``; raises ProgramError if it is none of its model, or there is none."""
        state.require(self.program.require_context(model, stream))
        self._states[model, stream] = state

    def states(self, model: int = 0, stream: int = 0, *, names: Sequence[str] = ()) -> dict[str, NDArray[np.float64]]:
        """h and c after a context's last step, as :meth:`spiccato.host.Context.states` reads them of a device."""
        return values_of(self.program.require_context(model, stream), self.state(model, stream), tuple(names))

    @property
    def h(self) -> list[NDArray[np.int64]]:
        """h of the last inference that was not malformed, 17 fraction bits: (units,) of each of its model's layers."""
        model, blocks = self._last or (self.program.models[0], None)
        config = model.config
        flat = np.zeros(config.vector_blocks * config.columns, dtype=np.int64) if blocks is None else blocks.reshape(-1)
        return [flat[place.first_block * config.columns :][: place.units] for place in model.layers]

    def c(self, model: int = 0, stream: int = 0) -> list[NDArray[np.int64]]:
        """c of a context, 17 fraction bits: (cells,) of each layer, empty for those without a cell state."""
        cells = self.state(model, stream).c
        return [cells[p.all_slots].reshape(-1)[: p.cells] for p in self.program.models[model].layers]

    def step_bits(
        self, bits: ArrayLike, *, model: int = 0, stream: int = 0, start: bool = False, malformed: bool = False
    ) -> StepResult:
        """One timestep.

        Parameters
        ----------
        bits : unsigned integer array (input_size,)
            Inputs as on the wire.
        model, stream : int
            The context. If there is none of these numbers, the result is one beat of zeros, marked ``unknown``.
        start : bool
            Start from the model's initial state.
        malformed : bool
            The packet had another length than ``input_size`` (``bits`` being what was made of it): outputs are
            computed, the state stays.

        Returns
        -------
        StepResult

        Raises
        ------
        InputError
            If ``bits`` has another shape, or holds something else than bit patterns of the streams' format, or if no
            packet can name the context.
        """
        self._require_name(model, stream)
        if not self.program.has_context(model, stream):
            zeros = np.zeros(self.program.config.beat_values, dtype=np.int64)
            return self._marked(zeros, zeros, {"unknown": True})
        state = initial_state(self.program.models[model]) if start else self.state(model, stream)
        result: Inference = self._datapaths[model].compute(bits, state.sums, state.c)
        if not malformed:
            h = result.state_h if self.program.config.keep_h else None
            self._states[model, stream] = State(state.model, result.state_sums, result.c, h)
            self._last = self.program.models[model], result.h
        return self._marked(result.bits, result.sums, {"malformed": bool(malformed), **result.flags})

    def _require_name(self, model, stream):
        config = self.program.config
        for what, number, count in (("model", model, config.models), ("stream", stream, config.streams)):
            if not 0 <= number < count:
                raise InputError(f"{what} {number!r}: a packet names one of 0 to {count - 1}")

    def _marked(self, bits, sums, flags):
        flags = dict.fromkeys(MARKS, False) | flags
        self.marks.update(name for name, marked in flags.items() if marked)
        return StepResult(bits, sums, flags)

    def step(self, x: ArrayLike, *, model: int = 0, stream: int = 0, start: bool = False) -> NDArray[np.float64]:
        """One timestep of real inputs (input_size,), rounded to the streams' format; returns (output_size,).

        Raises
        ------
        InputError
            If ``x`` has another shape, or holds something else than real numbers.
        ProgramError
            If there is no such context.
        """
        x = real_array(x, (self.program.require_context(model, stream).input_size,), "x", finite=False)
        io_format = self.program.config.io_format
        result = self.step_bits(to_bits(x, io_format), model=model, stream=stream, start=start)
        return from_bits(result.bits, io_format)

    def run(self, xs: ArrayLike, *, model: int = 0, stream: int = 0, start: bool = False) -> NDArray[np.float64]:
        """Consecutive timesteps of one context, from its present state.

        Parameters
        ----------
        xs : real array (steps, input_size)
            Rounded to the streams' format. Of NaN, infinity and what else is beyond the program's range, the
            outputs are the hardware's, and an :class:`InputWarning` tells how many steps it marks.
        model, stream : int
        start : bool
            Start from the model's initial state instead.

        Returns
        -------
        float64 (steps, output_size)

        Raises
        ------
        InputError
            If ``xs`` has another shape, or holds something else than real numbers.
        ProgramError
            If there is no such context.
        """
        found = self.program.require_context(model, stream)
        xs = real_array(xs, ("steps", found.input_size), "xs", empty=True, finite=False)
        before = self.marks.copy()
        ys = [self.step(x, model=model, stream=stream, start=start and number == 0) for number, x in enumerate(xs)]
        marked = self.marks - before
        if marked:
            told = [f"{count} of {len(xs)} steps {_MARKS[name]}" for name, count in sorted(marked.items())]
            warnings.warn("; ".join(told), InputWarning, stacklevel=2)
        return np.array(ys).reshape(len(xs), found.output_size)

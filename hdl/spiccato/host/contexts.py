"""One context of a device: its steps, and its state as data."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arrays import real_array
from ..errors import DeviceError
from ..isa.registers import REGISTERS, TransferKind
from ..isa.word import WORD_BITS, pack_bits
from ..numbers import ACC_BITS, C_BITS, VECTOR_BITS
from ..program import Model, State, initial_state, read_names, values_of
from .run import finished

if TYPE_CHECKING:
    from .device import AsyncDevice

__all__ = ["AsyncContext", "Context"]


class AsyncContext:
    """A context, all methods being coroutines. :class:`Context` is the same for callers without an event loop.

    All raise ProgramError if the program that is loaded has no such context.
    """

    def __init__(self, device: "AsyncDevice", model: int = 0, stream: int = 0):
        device.require(model, stream)
        self.device, self.model, self.stream = device, model, stream

    async def step(self, x: ArrayLike, *, start: bool = False, quiet: bool = False) -> NDArray[np.float64] | None:
        """One timestep, as :meth:`AsyncDevice.step`."""
        return await self.device.step(x, self.model, self.stream, start=start, quiet=quiet)

    async def run(self, xs: ArrayLike, *, start: bool = False, quiet: bool = False) -> NDArray[np.float64]:
        """Consecutive timesteps (steps, input_size); (steps, output_size), or the last output if ``quiet``."""
        model = self.device.require(self.model, self.stream)
        xs = real_array(xs, ("steps", model.input_size), "xs", empty=not quiet, finite=False)
        ys = []
        for number, x in enumerate(xs):
            y = await self.step(x, start=start and number == 0, quiet=quiet and number < len(xs) - 1)
            if y is not None:
                ys.append(y)
        return ys[-1] if quiet else np.array(ys).reshape(len(xs), model.output_size)

    async def reset(self) -> None:
        """Forget the state: the next step starts from the model's initial one."""
        await self._choose(drained=False)
        await self._transfer(TransferKind.FORGET)

    async def save(self) -> State:
        """What the next step goes on from, whatever other contexts do meanwhile.

        Raises
        ------
        DeviceError
            If the context itself had an inference meanwhile.
        """
        model, alive = await self._choose()
        if not alive:
            return initial_state(model)
        sums = await self._array(TransferKind.READ_SUM, model, _slots_with_sums(model), model.config.block)
        c = await self._array(TransferKind.READ_C, model, _slots_with_cells(model))
        h = await self._array(TransferKind.READ_H, model, _slots_with_cells(model)) if model.config.keep_h else None
        await self._require_untouched("saved")
        return State(model.digest, sums, c, h)

    async def states(self, *names: str) -> dict[str, NDArray[np.float64]]:
        """h and c after the last step, in the model's own numbers: {name: (units,)}, as :meth:`Context.states`."""
        model = self.device.require(self.model, self.stream)
        wanted = read_names(model, names)
        _, alive = await self._choose()
        state = initial_state(model)
        if alive:
            layers = [{one.layer for one in wanted if model.lies_in_c(one) is in_c} for in_c in (True, False)]
            slots_c, slots_h = (
                [slot for number in own for slot in _numbers(model.stateful_layers[number])] for own in layers
            )
            c = await self._array(TransferKind.READ_C, model, slots_c)
            h = await self._array(TransferKind.READ_H, model, slots_h)
            await self._require_untouched("read")
            state = State(model.digest, state.sums, c, h)
        return values_of(model, state, names)

    async def load(self, state: State) -> None:
        """Let the next step go on from ``state``, whatever other contexts do meanwhile.

        Raises
        ------
        ProgramError
            If it is no state of the context's model.
        DeviceError
            If the context itself had an inference meanwhile; it has no state then.
        """
        model = self.device.require(self.model, self.stream)
        state.require(model)
        await self._choose()
        # What is half written is never begun from.
        await self._transfer(TransferKind.FORGET)
        for slot in _slots_with_sums(model):
            for core, lane in np.ndindex(state.sums.shape[1:]):
                await self._write(pack_bits(state.sums[slot, core, lane, None], ACC_BITS))
                await self._transfer(TransferKind.WRITE_SUM, slot, core, lane)
        for slot in _slots_with_cells(model):
            await self._write_units(TransferKind.WRITE_C, slot, state.c[slot], C_BITS)
            if state.h is not None:
                await self._write_units(TransferKind.WRITE_H, slot, state.h[slot], VECTOR_BITS)
        await self._transfer(TransferKind.ADOPT)
        try:
            await self._require_untouched("loaded")
        except DeviceError:
            await self._transfer(TransferKind.FORGET)
            raise

    async def _choose(self, *, drained: bool = True) -> tuple[Model, int]:
        """Choose the context for transfers: its model; and whether it has a state, if it is waited for."""
        device = self.device
        model = device.require(self.model, self.stream)
        # A packet that waits would find the state that comes after it.
        await device.settle()
        await device.write("context", REGISTERS["context"].pack(tid=device.loaded.tid(self.model, self.stream)))
        if not drained:
            return model, False
        await device.wait("transferred")
        status = await device.status()
        if not status["known"]:
            raise DeviceError(f"the device has no {self}: it has lost its program; load it again")
        return model, status["alive"]

    async def _transfer(self, kind, slot=0, core=0, lane=0):
        """Carry out a transfer; ``slot`` is one of the model's own."""
        slot += self.device.loaded.places[self.model].slot
        word = REGISTERS["transfer"].pack(kind=kind, slot=int(slot), core=int(core), lane=int(lane))
        await self.device.write("transfer", word)
        await self.device.wait("transferred")

    async def _array(self, kind, model, slots, lanes=None):
        """What transfers of ``kind`` read of these slots, 0 in others: (state slots, cores, lanes)."""
        config = model.config
        array = np.zeros((model.state_slots, config.cores, lanes or config.lanes), dtype=np.int64)
        for slot in slots:
            for core, lane in np.ndindex(array.shape[1:]):
                await self._transfer(kind, slot, core, lane)
                array[slot, core, lane] = await self._element()
        return array

    async def _element(self):
        """What the last transfer has read."""
        low, high = await self.device.read("element_low"), await self.device.read("element_high")
        word = high << WORD_BITS | low
        return word - (word >> 2 * WORD_BITS - 1 << 2 * WORD_BITS)

    async def _write(self, words):
        """The words that the next transfer is to write."""
        await self.device.transport.write(REGISTERS["state_data"].offset, words.reshape(-1))

    async def _write_units(self, kind, slot, values, bits):
        """Write what all units of a slot have, (cores, lanes)."""
        for core, own in enumerate(values):
            await self._write(pack_bits(own[None], bits))
            await self._transfer(kind, slot, core)

    async def _require_untouched(self, done):
        if (await self.device.status())["touched"]:
            raise DeviceError(f"{self} had an inference while its state was being {done}: do it again")

    def __str__(self):
        return f"stream {self.stream} of model {self.model}"


def _slots_with_sums(model: Model) -> Iterator[int]:
    return (slot for layer in model.layers if layer.recurrent for slot in _numbers(layer))


def _slots_with_cells(model: Model) -> Iterator[int]:
    return (slot for layer in model.stateful_layers for slot in _numbers(layer))


def _numbers(layer) -> range:
    return range(layer.first_slot, layer.first_slot + layer.slots)


class Context:
    """A context of a device's program; :meth:`Device.context` makes it.

    All methods raise what :class:`Device` raises, and ProgramError if another program without such a context has been
    loaded meanwhile.
    """

    def __init__(self, context: AsyncContext):
        self._context = context

    def step(self, x: ArrayLike, *, start: bool = False, quiet: bool = False) -> NDArray[np.float64] | None:
        """One timestep, as :meth:`Device.step`."""
        return finished(self._context.step(x, start=start, quiet=quiet))

    def run(self, xs: ArrayLike, *, start: bool = False, quiet: bool = False) -> NDArray[np.float64]:
        """Consecutive timesteps, a packet each.

        Parameters
        ----------
        xs : real array (steps, input_size)
        start : bool
            Start from the model's initial state instead of the context's.
        quiet : bool
            Only the last step is to have an output.

        Returns
        -------
        float64 (steps, output_size), or (output_size,) if ``quiet``
        """
        return finished(self._context.run(xs, start=start, quiet=quiet))

    def reset(self) -> None:
        """Forget the state: the next step starts from the model's initial one."""
        finished(self._context.reset())

    def save(self) -> State:
        """What the next step goes on from; loaded into any context of the same model, on any device, it does so there.

        Other contexts go on meanwhile, and are not delayed. DeviceError if this one did.
        """
        return finished(self._context.save())

    def load(self, state: State) -> None:
        """Let the next step go on from ``state``; raises ProgramError if it is no state of the context's model.

        Other contexts go on meanwhile, and are not delayed. DeviceError if this one did; it has no state then.
        """
        finished(self._context.load(state))

    def states(self, *names: str) -> dict[str, NDArray[np.float64]]:
        """h and c after the last step, in the model's own numbers; of a context without a state, what it starts from.

        Of layers that have a state: dense ones are not among them, and a GRU's is its h, which is always kept.

        Other contexts go on meanwhile, and are not delayed. DeviceError if this one did.

        Parameters
        ----------
        *names : str
            Those to read, of ``Model.states``: what the model calls them, otherwise ``h_l0``, ``c_l0`` and so on.
            Without any: all, h only if the configuration keeps it (``keep_h``).

        Returns
        -------
        dict
            Name -> float64 (units,).

        Raises
        ------
        ProgramError
            If there is none of a name, or it is h that is not kept.
        """
        return finished(self._context.states(*names))

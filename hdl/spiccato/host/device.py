"""A device as its user sees it. What registers have to be accessed, and in which order, is written down here, once."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arrays import bit_array, real_array
from ..config import Config, shape_text
from ..errors import DeviceError
from ..formats import from_beats, from_bits, to_beats, to_bits
from ..isa.marks import MARKS, request_word
from ..isa.registers import IDENTITY, LOAD_ERRORS, REGISTERS, VERSION
from ..program import Model, Program
from .contexts import AsyncContext, Context
from .run import finished
from .transport import Packet, Transport
from .windows import AsyncWindows, Windows

__all__ = ["AsyncDevice", "Counters", "Device", "Identity"]

_COUNTER = 1 << 32
_NO_PROGRAM = "there is no program: load one first"


@dataclass(frozen=True)
class Identity:
    """What a device says it is: ``digest`` is that of its configuration (hexadecimal), as programs carry it."""

    cores: int
    block: int
    columns: int
    io_format: str
    keep_h: bool
    digest: str

    def __str__(self):
        kept = ", h kept" if self.keep_h else ""
        return f"{shape_text(self)}, {self.io_format} streams{kept}, digest {self.digest}"


@dataclass(frozen=True)
class Counters:
    """Inferences since reset, cycles in which one had to wait for room, and cycles that the last one took."""

    inferences: int
    stall_cycles: int
    latency: int


class AsyncDevice:
    """A device, all methods being coroutines. :class:`Device` is the same for callers without an event loop.

    Parameters
    ----------
    transport : Transport
    config : Config, optional
        What the device was built with; otherwise known after a program has been loaded.
    """

    def __init__(self, transport: Transport, config: Config | None = None):
        self.transport, self.config = transport, config
        self.program: Program | None = None
        #: What ``inferences`` will read when all packets that were sent have been computed; None: none was.
        self._expected: int | None = None

    async def write(self, name: str, word: int) -> None:
        """Write a register by name."""
        await self.transport.write(REGISTERS[name].offset, [int(word)])

    async def read(self, name: str) -> int:
        """Read a register by name: an unsigned integer."""
        return await self.transport.read(REGISTERS[name].offset)

    async def fields(self, name: str) -> dict[str, int]:
        """Fields of a register."""
        return REGISTERS[name].unpack(await self.read(name))

    async def status(self) -> dict[str, int]:
        """Fields of the status register."""
        return await self.fields("status")

    async def wait(self, field: str) -> None:
        """Poll the status register until ``field`` is set; raises DeviceError if that does not come."""
        if not await self._comes(field):
            raise DeviceError(f"status.{field} does not come: {REGISTERS['status'].fields[field].meaning}")

    async def _comes(self, field):
        for _ in range(self.transport.polls):
            if (await self.status())[field]:
                return True
        return False

    async def open(self) -> Identity:
        """Reset the accelerator and find out what it is; raises DeviceError if it is nothing known."""
        self.program = self._expected = None
        await self.transport.open()
        identity, version = await self.read("identity"), await self.read("version")
        if identity != IDENTITY:
            raise DeviceError(f"this is no Spiccato: its identity reads 0x{identity:08x} instead of 0x{IDENTITY:08x}")
        if version != VERSION:
            raise DeviceError(
                f"the device has version {version} of the registers and the load format, this host version {VERSION}"
            )
        return await self.identity()

    async def identity(self) -> Identity:
        """What the device says it is."""
        built = await self.fields("configuration")
        digest = f"{await self.read('digest_high'):08x}{await self.read('digest_low'):08x}"
        io_format = "float32" if built["float32"] else "bfloat16"
        shape = built["cores"], built["block"], built["columns"]
        return Identity(*shape, io_format, bool(built["keep_h"]), digest)

    async def load(self, program: Program) -> None:
        """Load a program; then no context has a state.

        Raises
        ------
        DeviceError
            If it was compiled for another configuration, or the device does not accept it.
        """
        identity = await self.identity()
        if program.config.digest != identity.digest:
            raise DeviceError(
                f"program {program.name!r} was compiled for configuration {program.config.name!r} (profile "
                f"{program.config.profile!r}, digest {program.config.digest}), the device is another one: {identity}"
            )
        self.program = self._expected = None
        await self.load_image(program.load_words())
        self.config, self.program = program.config, program

    async def load_image(self, words: ArrayLike) -> None:
        """Load the words of a program; raises DeviceError if they were not accepted.

        An inference that does not end, because the rest of its input is missing, is given up.
        """
        # Errors of earlier loads are not to be taken for this one's.
        await self.write("errors", REGISTERS["errors"].pack(**dict.fromkeys(LOAD_ERRORS, 1)))
        await self.write("control", REGISTERS["control"].pack(load=1))
        if not await self._comes("idle"):
            await self.write("control", REGISTERS["control"].pack(load=1, reset=1))
            await self.wait("idle")
        await self.transport.write(REGISTERS["load_data"].offset, words)
        if not (await self.status())["loaded"]:
            errors = await self.errors()
            reasons = "; ".join(f"{name}: {errors[name]}" for name in LOAD_ERRORS if name in errors)
            raise DeviceError(f"the load was not accepted: {reasons or 'no error is set'}")

    async def reset(self) -> None:
        """Stop whatever goes on, at once. Packets are forgotten, also one that is half sent; no context has a state.

        A program stays, unless it was being overwritten. A program that is damaged and hangs only ends with the next
        load.
        """
        self._expected = None
        await self.write("control", REGISTERS["control"].pack(reset=1))
        await self.wait("idle")
        if not (await self.status())["loaded"]:
            self.program = None

    async def reset_state(self) -> None:
        """Let all contexts forget their states before the next inference."""
        await self.settle()
        await self.write("control", REGISTERS["control"].pack(reset_state=1))

    async def settle(self) -> None:
        """Wait until all steps have been computed, to their ends: an answer may come before, a quiet one's does."""
        if self._expected is None:
            return
        for _ in range(self.transport.polls):
            if (await self.read("inferences") - self._expected) % _COUNTER < _COUNTER // 2:
                return
        raise DeviceError("an inference does not end")

    async def step(
        self, x: ArrayLike, model: int = 0, stream: int = 0, *, start: bool = False, quiet: bool = False
    ) -> NDArray[np.float64] | None:
        """One timestep of real inputs (input_size,), rounded to the streams' format; (output_size,), None if quiet."""
        found = self.require(model, stream)
        io_format = found.config.io_format
        x = real_array(x, (found.input_size,), "x", finite=False)
        answer = await self.step_bits(to_bits(x, io_format), model, stream, start=start, quiet=quiet)
        return None if answer is None else from_bits(answer[0], io_format)

    async def step_bits(
        self, bits: ArrayLike, model: int = 0, stream: int = 0, *, start: bool = False, quiet: bool = False
    ) -> tuple[NDArray[np.int64], dict[str, bool]] | None:
        """One timestep of bit patterns (input_size,): the output's bit patterns (output_size,), and its marks."""
        found = self.require(model, stream)
        config, tid = found.config, self.loaded.tid(model, stream)
        data = to_beats(bit_array(bits, found.input_size, config.io_bits, "bits"), config, found.input_beats)
        if self._expected is None:
            self._expected = await self.read("inferences")
        answer = await self.transport.step(Packet(data, tid, request_word.pack(start=start, quiet=quiet)))
        self._expected = (self._expected + 1) % _COUNTER
        if answer is None:
            return None
        if answer.tid != tid:
            raise DeviceError(f"an output of context {answer.tid} came instead of one of context {tid}")
        if len(answer.data) != found.output_beats * config.beat_bits // 8:
            raise DeviceError(
                f"an output of {len(answer.data)} bytes came, model {found.name!r} has "
                f"{found.output_beats} beats of {config.beat_bits // 8}"
            )
        return (
            from_beats(answer.data, config)[: found.output_size].astype(np.int64),
            {name: bool(answer.user >> bit & 1) for bit, name in enumerate(MARKS)},
        )

    @property
    def loaded(self) -> Program:
        """The program; raises DeviceError if there is none."""
        if self.program is None:
            raise DeviceError(_NO_PROGRAM)
        return self.program

    def require(self, model: int, stream: int) -> Model:
        """The model of a context; raises ProgramError if the program has no such context, DeviceError without one."""
        return self.loaded.require_context(model, stream)

    async def counters(self) -> Counters:
        """Inferences, stall cycles and the latency of the last inference."""
        return Counters(*[await self.read(name) for name in ("inferences", "stall_cycles", "latency")])

    async def errors(self, *, clear: bool = False) -> dict[str, str]:
        """Sticky errors that are set, as {name: what happened}; ``clear`` makes them forgotten."""
        word = await self.read("errors")
        if clear:
            await self.write("errors", word)
        return {
            name: REGISTERS["errors"].fields[name].meaning
            for name, value in REGISTERS["errors"].unpack(word).items()
            if value
        }


class Device:
    """A device at the end of a transport that does not suspend, such as :class:`SerialTransport`.

    Use it as a context manager, or call :meth:`open` and :meth:`close`. One inference is under way at a time.

    All methods raise LinkError if the device does not answer, and SessionError if it was reset, in which cases it has
    to be opened and loaded again; DeviceError if it refuses something.

    Parameters
    ----------
    transport : Transport
    """

    def __init__(self, transport: Transport):
        self._device = AsyncDevice(transport)

    def __enter__(self):
        try:
            self.open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def open(self) -> Identity:
        """Reset the accelerator and find out what it is. A program has to be loaded after this."""
        return finished(self._device.open())

    def close(self) -> None:
        """Give the transport back."""
        self._device.transport.close()

    def identity(self) -> Identity:
        """What the device says it is."""
        return finished(self._device.identity())

    def load(self, program: Program) -> None:
        """Load a program, which has to be compiled for the device's configuration; then no context has a state."""
        finished(self._device.load(program))

    def reset(self) -> None:
        """Stop whatever goes on, at once: packets and states are forgotten, a whole program stays loaded."""
        finished(self._device.reset())

    def reset_state(self) -> None:
        """Let all contexts forget their states before the next inference."""
        finished(self._device.reset_state())

    def step(
        self, x: ArrayLike, model: int = 0, stream: int = 0, *, start: bool = False, quiet: bool = False
    ) -> NDArray[np.float64] | None:
        """One timestep of a context.

        Parameters
        ----------
        x : real array (input_size,)
            Rounded to the streams' format.
        model, stream : int
            The context.
        start : bool
            Start from the model's initial state.
        quiet : bool
            Do not wait for an output: there is none.

        Returns
        -------
        float64 (output_size,), None if ``quiet``

        Raises
        ------
        ProgramError
            If the program has no such context.
        """
        return finished(self._device.step(x, model, stream, start=start, quiet=quiet))

    def step_bits(
        self, bits: ArrayLike, model: int = 0, stream: int = 0, *, start: bool = False, quiet: bool = False
    ) -> tuple[NDArray[np.int64], dict[str, bool]] | None:
        """One timestep of bit patterns (input_size,): the output's bit patterns (output_size,), and its marks."""
        return finished(self._device.step_bits(bits, model, stream, start=start, quiet=quiet))

    def context(self, model: int = 0, stream: int = 0) -> Context:
        """A context of the loaded program; raises ProgramError if there is no such one."""
        return Context(AsyncContext(self._device, model, stream))

    def windows(self, length: int, model: int = 0) -> Windows:
        """Sliding windows of ``length`` inputs; raises ProgramError if the model has fewer contexts."""
        return Windows(AsyncWindows(self._device, length, model))

    def counters(self) -> Counters:
        """Inferences, stall cycles and the latency of the last inference."""
        return finished(self._device.counters())

    def errors(self, *, clear: bool = False) -> dict[str, str]:
        """Sticky errors that are set, as {name: what happened}; ``clear`` makes them forgotten."""
        return finished(self._device.errors(clear=clear))

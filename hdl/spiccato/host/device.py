"""A device as its user sees it. What registers have to be accessed, and in which order, is written down here, once."""

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arrays import bit_array, real_array
from ..config import Config, shape_text
from ..errors import DeviceError
from ..formats import from_beats, from_bits, to_beats, to_bits
from ..isa.marks import MARKS
from ..isa.registers import IDENTITY, LOAD_ERRORS, REGISTERS, VERSION
from ..program import Program
from .transport import Transport

__all__ = ["AsyncDevice", "Device", "Identity", "Counters"]

_Result = TypeVar("_Result")
_NO_PROGRAM = "there is no program: load one first"


@dataclass(frozen=True)
class Identity:
    """What a device says it is: ``digest`` is that of its configuration (hexadecimal), as programs carry it."""

    cores: int
    block: int
    io_format: str
    digest: str

    def __str__(self):
        return f"{shape_text(self)}, {self.io_format} streams, digest {self.digest}"


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
        self.program = None
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
        return Identity(built["cores"], built["block"], "float32" if built["float32"] else "bfloat16", digest)

    async def load(self, program: Program) -> None:
        """Load a program; inferences then start from state zero.

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
        self.program = None
        await self.load_image(program.load_words())
        self.config, self.program = program.config, program

    async def load_image(self, words: ArrayLike) -> None:
        """Load the words of a program or of a state image; raises DeviceError if they were not accepted.

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
        """Stop whatever goes on, at once. Packets are forgotten, also one that is half sent; the state is zero.

        A program stays, unless it was being overwritten. A program that is damaged and hangs only ends with the next
        load.
        """
        await self.write("control", REGISTERS["control"].pack(reset=1))
        await self.wait("idle")
        if not (await self.status())["loaded"]:
            self.program = None

    async def reset_state(self) -> None:
        """Set h and c to zero before the next inference."""
        await self.write("control", REGISTERS["control"].pack(reset_state=1))

    async def step(self, x: ArrayLike) -> NDArray[np.float64]:
        """One timestep of real inputs (input_size,), rounded to the streams' format; returns (output_size,)."""
        model = self._loaded().model
        x = real_array(x, (model.input_size,), "x", finite=False)
        bits, _ = await self.step_bits(to_bits(x, model.config.io_format))
        return from_bits(bits, model.config.io_format)

    async def step_bits(self, bits: ArrayLike) -> tuple[NDArray[np.int64], dict[str, bool]]:
        """One timestep of bit patterns (input_size,): the output's bit patterns (output_size,), and its marks."""
        model = self._loaded().model
        config = model.config
        packet = to_beats(bit_array(bits, model.input_size, config.io_bits, "bits"), config, model.input_beats)
        data, user = await self.transport.step(packet)
        if len(data) != model.output_beats * config.beat_bits // 8:
            raise DeviceError(
                f"an output of {len(data)} bytes came, model {model.name!r} has "
                f"{model.output_beats} beats of {config.beat_bits // 8}"
            )
        return (
            from_beats(data, config)[: model.output_size].astype(np.int64),
            {name: bool(user >> bit & 1) for bit, name in enumerate(MARKS)},
        )

    def _loaded(self):
        if self.program is None:
            raise DeviceError(_NO_PROGRAM)
        return self.program

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


def _run(coroutine: Coroutine[Any, Any, _Result]) -> _Result:
    """The result of a coroutine that never suspends."""
    try:
        coroutine.send(None)
    except StopIteration as result:
        return result.value
    coroutine.close()
    raise TypeError("this transport suspends: use AsyncDevice with it")


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
        return _run(self._device.open())

    def close(self) -> None:
        """Give the transport back."""
        self._device.transport.close()

    def identity(self) -> Identity:
        """What the device says it is."""
        return _run(self._device.identity())

    def load(self, program: Program) -> None:
        """Load a program, which has to be compiled for the device's configuration; the state is zero then."""
        _run(self._device.load(program))

    def reset(self) -> None:
        """Stop whatever goes on, at once: packets are forgotten, the state is zero, a whole program stays loaded."""
        _run(self._device.reset())

    def reset_state(self) -> None:
        """Set h and c to zero before the next inference."""
        _run(self._device.reset_state())

    def step(self, x: ArrayLike) -> NDArray[np.float64]:
        """One timestep of real inputs (input_size,), rounded to the streams' format; returns (output_size,)."""
        return _run(self._device.step(x))

    def step_bits(self, bits: ArrayLike) -> tuple[NDArray[np.int64], dict[str, bool]]:
        """One timestep of bit patterns (input_size,): the output's bit patterns (output_size,), and its marks."""
        return _run(self._device.step_bits(bits))

    def counters(self) -> Counters:
        """Inferences, stall cycles and the latency of the last inference."""
        return _run(self._device.counters())

    def errors(self, *, clear: bool = False) -> dict[str, str]:
        """Sticky errors that are set, as {name: what happened}; ``clear`` makes them forgotten."""
        return _run(self._device.errors(clear=clear))

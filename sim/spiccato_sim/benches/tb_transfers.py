"""Test bench of what the host does with contexts: transfers that are disturbed, sequences, sliding windows.

It judges by itself, beside the virtual machine. ``tests/system/test_transfers.py`` prepares the job. States that move
while others run are :mod:`.moves`.
"""

import os
import pickle
from dataclasses import dataclass

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles
from cocotb.utils import get_sim_time

from spiccato.errors import DeviceError
from spiccato.formats import to_bits
from spiccato.host import AsyncContext, AsyncWindows
from spiccato.isa.marks import request_word
from spiccato.isa.registers import REGISTERS, TransferKind
from spiccato.program import Program

from ..models.vm import VirtualMachine
from ..models.windows import windows
from .device import Device
from .moves import same
from .tb_accelerator import PERIOD

#: Model and stream of the context whose state is moved, and of another one.
MOVED, OTHER = (1, 0), (1, 2)


@dataclass
class Job:
    """What the test bench works with.

    Attributes
    ----------
    program : Program
        Of three models; :data:`MOVED` and :data:`OTHER` are contexts of it.
    alone : Program
        The moved context's model by itself, with streams 0 to 3.
    xs : inputs (steps, input_size) of that model
    """

    program: Program
    alone: Program
    xs: np.ndarray


async def start(dut, name="program"):
    """Job, device with the job's program of that name, and a virtual machine."""
    with open(os.environ["SPICCATO_JOB"], "rb") as file:
        job = pickle.load(file)
    program = getattr(job, name)
    Clock(dut.clk, PERIOD, unit="step").start(start_high=False)
    device = Device(dut, program.config)
    await device.open()
    await device.load(program)
    return job, device, VirtualMachine(program)


async def check(device, machine, x, model, stream, **options):
    """A step gives what the virtual machine gives."""
    bits = to_bits(x, machine.program.config.io_format)
    wanted = machine.step_bits(bits, model=model, stream=stream, start=options.get("start", False))
    got, marks = await device.step_bits(bits, model, stream, **options)
    assert got.tolist() == wanted.bits.tolist() and marks == wanted.flags


@cocotb.test()
async def touched_contexts(dut):
    """A context that has an inference while its state moves: an error, and after a load no state."""
    job, device, machine = await start(dut)
    context = AsyncContext(device, *MOVED)
    await check(device, machine, job.xs[0], *MOVED)
    saved = await context.save()
    saving = cocotb.start_soon(refused(context.save(), "saved"))
    await ClockCycles(dut.clk, 500)
    await check(device, machine, job.xs[1], *MOVED)
    await saving
    assert same(await context.save(), machine.state(*MOVED))
    loading = cocotb.start_soon(refused(context.load(saved), "loaded"))
    await ClockCycles(dut.clk, 500)
    # It begins from the initial state, since what is there is half written.
    machine.reset(*MOVED)
    await check(device, machine, job.xs[2], *MOVED)
    await loading
    machine.reset(*MOVED)
    assert same(await context.save(), machine.state(*MOVED))
    await check(device, machine, job.xs[3], *MOVED)


async def refused(coroutine, done):
    """The coroutine raises what a touched context does."""
    try:
        await coroutine
    except DeviceError as error:
        assert f"had an inference while its state was being {done}" in str(error)
    else:
        raise AssertionError("nothing was raised")


@cocotb.test()
async def reset_and_load_in_a_transfer(dut):
    """A command at any time of a transfer: it is forgotten, and everything goes on as after that command."""
    job, device, machine = await start(dut)
    write = REGISTERS["transfer"].pack
    writes = TransferKind.WRITE_SUM, TransferKind.WRITE_C
    cuts = [(kind, cycles, device.reset) for kind in TransferKind for cycles in range(0, 32, 5)]
    cuts += [(kind, cycles, lambda: device.load(job.program)) for kind in writes for cycles in (0, 9)]
    for kind, cycles, command in cuts:
        await check(device, machine, job.xs[0], *MOVED)
        await check(device, machine, job.xs[1], *OTHER)
        await device.settle()
        await device.write("context", job.program.tid(*MOVED))
        await device.wait("transferred")
        await device.transport.write(REGISTERS["state_data"].offset, [0x12345678, 0x1234])
        await device.write("transfer", write(kind=kind, slot=job.program.places[1].slot))
        await ClockCycles(dut.clk, cycles)
        await command()
        assert not (await device.status())["transferred"]
        machine.reset()
    await check(device, machine, job.xs[0], *MOVED)


@cocotb.test()
async def marks_and_unknown_contexts(dut):
    """What the registers tell of contexts: known, with a state; nothing is written to one that there is not."""
    job, device, machine = await start(dut)
    program, write = job.program, REGISTERS["transfer"].pack

    async def look(tid):
        await device.write("context", tid)
        await device.wait("transferred")
        status = await device.status()
        assert not status["touched"]
        return status["known"], status["alive"]

    for context in (MOVED, (0, 0)):
        await check(device, machine, job.xs[0][: program.models[context[0]].input_size], *context)
    await device.settle()
    for tid in range(program.config.models * program.config.streams):
        model, stream = divmod(tid, program.config.streams)
        assert await look(tid) == (program.has_context(model, stream), (model, stream) in (MOVED, (0, 0)))
    # The unknown context's base is that of no model.
    await look(program.tid(3, 0))
    for slot in range(4):
        await device.transport.write(REGISTERS["state_data"].offset, [0x12345678, 0x1234])
        for kind in (TransferKind.WRITE_SUM, TransferKind.WRITE_C):
            await device.write("transfer", write(kind=kind, slot=slot))
            await device.wait("transferred")
    for context in (MOVED, (0, 0)):
        assert same(await AsyncContext(device, *context).save(), machine.state(*context))


@cocotb.test()
async def sequences(dut):
    """Whole sequences with one answer; what comes behind a quiet step comes behind its inference."""
    job, device, machine = await start(dut)
    context = AsyncContext(device, *MOVED)
    for _ in range(2):
        got = await context.run(job.xs, start=True, quiet=True)
        assert (got == machine.run(job.xs, model=MOVED[0], stream=MOVED[1], start=True)[-1]).all()
    assert (await context.run(job.xs) == machine.run(job.xs, model=MOVED[0], stream=MOVED[1])).all()
    for quiet in range(1, 4):
        for x in job.xs[:quiet]:
            assert await context.step(x, quiet=True) is None
            machine.step(x, model=MOVED[0], stream=MOVED[1])
        assert same(await context.save(), machine.state(*MOVED))
        await context.step(job.xs[0], quiet=True)
        await context.reset()
        machine.reset(*MOVED)
        assert same(await context.save(), machine.state(*MOVED))
        await context.step(job.xs[0], quiet=True)
        await device.reset_state()
        await check(device, machine, job.xs[1], *MOVED)


@cocotb.test()
async def sliding_windows(dut):
    """Each answer is that of its window alone; latency and distance of inputs as predicted, and no less will do."""
    job, device, _ = await start(dut, "alone")
    program = job.alone
    predicted = windows(program)
    length = predicted.contexts
    sliding = AsyncWindows(device, length)
    for number, x in enumerate(job.xs):
        early: list = []
        answer = await sliding.step(x, on_answer=early.append)
        if number < length - 1:
            assert answer is None and not early
            continue
        window = job.xs[number - length + 1 : number + 1]
        assert (answer == VirtualMachine(program).run(window)[-1]).all() and early[0] is answer

    for distance, latencies in ((predicted.distance, {predicted.latency}), (predicted.distance - 1, None)):
        await device.settle()
        await device.wait("idle")
        while not device.accepted.empty():
            device.accepted.recv_nowait()
        begin = int(get_sim_time("step")) // PERIOD
        for number in range(5):
            # A few cycles are enough for the packets to be behind each other.
            await ClockCycles(dut.clk, begin + 1 + number * distance - int(get_sim_time("step")) // PERIOD)
            for stream in range(length):
                user = request_word.pack(start=0, quiet=int(stream > 0))
                bits = to_bits(job.xs[0], program.config.io_format)
                device.source.send_nowait(device.packet(bits, program.model.input_beats, tid=stream, user=user))
        found = set()
        for _ in range(5):
            accepted = [(await device.accepted.recv()).sim_time_start // PERIOD for _ in range(length)]
            found.add((await device.sink.recv()).sim_time_end // PERIOD - accepted[0])
        if latencies is None:
            assert max(found) > predicted.latency
        else:
            assert found == latencies

"""Test bench of h and c as the host reads them of contexts that keep h: on the RTL as in the virtual machine.

``tests/system/test_streaming.py`` prepares the job.
"""

import os
import pickle
from dataclasses import dataclass

import cocotb
import numpy as np
from cocotb.clock import Clock

from spiccato.errors import ProgramError
from spiccato.formats import to_bits
from spiccato.host import AsyncContext
from spiccato.isa.marks import request_word
from spiccato.program import Program, State

from ..models.vm import VirtualMachine
from .device import Device
from .tb_accelerator import PERIOD


@dataclass
class Job:
    """What the test bench works with.

    Attributes
    ----------
    program : Program
        Of one model with three streams; packets can name more. Its configuration keeps h.
    xs : inputs (steps, input_size)
    state : path
        Where a state is saved.
    busy : int
        So many packets of another stream run while states are read and written.
    """

    program: Program
    xs: np.ndarray
    state: str
    busy: int


@cocotb.test()
async def h_of_contexts(dut):
    """Read, saved, loaded and forgotten while another stream runs; packets that hand nothing on leave it."""
    with open(os.environ["SPICCATO_JOB"], "rb") as file:
        job: Job = pickle.load(file)
    program, model = job.program, job.program.model
    Clock(dut.clk, PERIOD, unit="step").start(start_high=False)
    device, machine = Device(dut, program.config), VirtualMachine(program)
    await device.open()
    assert (await device.identity()).keep_h
    await device.load(program)
    contexts = [AsyncContext(device, 0, stream) for stream in range(3)]

    async def check(*streams):
        """These contexts hold what those of the virtual machine do."""
        for stream in streams:
            states, wanted = await contexts[stream].states(), machine.states(0, stream)
            assert states.keys() == wanted.keys() == {state.name for state in model.states}
            for name, values in wanted.items():
                assert (states[name] == values).all(), (stream, name)

    async def send(xs, stream, *, beats=model.input_beats, start=False):
        """Quiet packets, one behind the other; returns when the source has sent them."""
        user = request_word.pack(quiet=1, start=start)
        for x in xs:
            bits = to_bits(x, program.config.io_format)
            device.source.send_nowait(device.packet(bits, beats, tid=program.tid(0, stream), user=user))
            machine.step_bits(bits, stream=stream, start=start, malformed=beats != model.input_beats)
        await device.source.wait()

    async def settle():
        """Wait until all packets have been computed: they count as inferences, whatever their marks."""
        while await device.read("inferences") != sum(computed):
            pass

    computed = []
    await check(0, 1, 2)
    for number, x in enumerate(job.xs):
        for stream, own in ((0, x), (1, x[::-1].copy())):
            await send([own], stream, start=number == 2)
            computed.append(1)
        await settle()
        await check(0, 1, 2)

    # What hands nothing on leaves it: a packet that is too long, one for a context that there is not.
    before = machine.states()
    await send([job.xs[0]], 0, beats=model.input_beats + 1, start=True)
    await send([job.xs[0]], 3)
    computed.append(2)
    await settle()
    assert all(np.array_equal(values, before[name]) for name, values in machine.states().items())
    await check(0)

    # While another stream runs as fast as it can.
    rng = np.random.default_rng(7)
    running = cocotb.start_soon(send(rng.normal(size=(job.busy, model.input_size)), 1))
    computed.append(job.busy)
    state = await contexts[0].save()
    own = machine.state()
    assert (
        state.h is not None
        and own.h is not None
        and np.array_equal(state.h, own.h)
        and np.array_equal(state.c, own.c)
        and state.h.any()
    )
    state.save(job.state)
    await contexts[2].load(State.load(job.state))
    machine.set_state(state, 0, 2)
    await check(0, 2)
    await contexts[0].reset()
    machine.reset(0, 0)
    await check(0, 2)
    assert not running.done(), "too few packets to be busy all the time"
    await running
    await settle()
    for stream in range(3):
        await send(job.xs, stream)
        computed.append(len(job.xs))
    await settle()
    await check(0, 1, 2)
    name = next(one.name for one in model.states if one.result)
    assert list(await contexts[2].states(name)) == [name]
    try:
        await contexts[2].load(State(state.model, state.sums, state.c))
    except ProgramError as error:
        assert "the state was saved without it" in str(error)
    else:
        raise AssertionError("nothing was raised")

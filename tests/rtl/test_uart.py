"""The UART: bytes both ways at odd rates, and a line that misbehaves."""

import numpy as np
import pytest
from amaranth.hdl import Module

from rtl_bench import simulate
from spiccato.rtl.serial.uart import UartReceiver, UartTransmitter

pytestmark = pytest.mark.fast

RATES = (4, 5, 16)
BYTES = [0x00, 0xFF, 0x55, 0xAA, 0x01, 0x80]


def levels(byte, clocks, stop=1):
    """The line's level in each cycle of a byte; ``clocks`` may be a fraction."""
    bits = [0, *((byte >> i) & 1 for i in range(8)), stop]
    return [bits[int(cycle / clocks)] for cycle in range(int(np.ceil(10 * clocks)))]


def receive(clocks_per_bit, line):
    """What a receiver makes of a line (level in each cycle): bytes, None for each error."""
    part, seen = UartReceiver(clocks_per_bit), []

    async def testbench(ctx):
        for level in [*line, *[1] * 4 * clocks_per_bit]:
            ctx.set(part.rx, level)
            if ctx.get(part.valid):
                seen.append(ctx.get(part.data))
            if ctx.get(part.error):
                seen.append(None)
            await ctx.tick()

    simulate(part, testbench)
    return seen


@pytest.mark.parametrize("clocks", RATES)
@pytest.mark.parametrize("pause", [0, 1, 3])
def test_receive(clocks, pause):
    """Bytes back to back and with pauses."""
    data = BYTES + np.random.default_rng(clocks).integers(0, 256, 40).tolist()
    line = [1] * 5
    for byte in data:
        line += levels(byte, clocks) + [1] * pause
    assert receive(clocks, line) == data


@pytest.mark.parametrize("deviation", [-0.03, 0.03])
def test_rate_deviates(deviation):
    """A sender whose clock is 3% off."""
    line = [1] * 5
    for byte in BYTES:
        line += levels(byte, 16 * (1 + deviation))
    assert receive(16, line) == BYTES


@pytest.mark.parametrize("clocks", RATES)
def test_glitches(clocks):
    """Levels of one cycle change nothing: neither between bytes nor within bits; nor does half a start bit."""
    line = [1] * 8 + [0] + [1] * 2 * clocks
    short = clocks // 2 - 1
    line += [0] * short + [1] * 10 * clocks
    for byte in BYTES:
        bits = levels(byte, clocks)
        for at in range(clocks, 9 * clocks, 2 * clocks):
            bits[at + clocks // 2] ^= 1
        line += bits
    assert receive(clocks, line) == BYTES


@pytest.mark.parametrize("clocks", RATES)
def test_framing_error(clocks):
    """A byte without a stop bit is an error, and so is a break, once; the byte after it is received."""
    line = [1] * 5 + levels(0x5A, clocks, stop=0) + [1] * clocks + levels(0xA5, clocks)
    line += [0] * 100 * clocks + [1] * clocks + levels(0x3C, clocks)
    assert receive(clocks, line) == [None, 0xA5, None, 0x3C]


@pytest.mark.parametrize("clocks", RATES)
def test_transmit(clocks):
    """Each bit lasts as long as it has to; without pauses, bytes follow each other in ten bits and a cycle."""
    part, line = UartTransmitter(clocks), []

    async def testbench(ctx):
        for byte in BYTES:
            ctx.set(part.bytes.payload, byte)
            ctx.set(part.bytes.valid, 1)
            while True:
                line.append(ctx.get(part.tx))
                ready = ctx.get(part.bytes.ready)
                await ctx.tick()
                if ready:
                    break
            ctx.set(part.bytes.valid, 0)
        for _ in range(12 * clocks):
            line.append(ctx.get(part.tx))
            await ctx.tick()

    simulate(part, testbench)
    expected = [1]
    for byte in BYTES:
        expected += levels(byte, clocks) + [1]
    assert line[: len(expected)] == expected and all(line[len(expected) :])


def test_back_to_back():
    """A transmitter and a receiver: everything that is sent arrives."""
    m, sent, seen = Module(), list(range(256)), []
    transmitter = m.submodules.transmitter = UartTransmitter(4)
    receiver = m.submodules.receiver = UartReceiver(4)
    m.d.comb += receiver.rx.eq(transmitter.tx)

    async def send(ctx):
        ctx.set(transmitter.bytes.valid, 1)
        for byte in sent:
            ctx.set(transmitter.bytes.payload, byte)
            while not ctx.get(transmitter.bytes.ready):
                await ctx.tick()
            await ctx.tick()
        ctx.set(transmitter.bytes.valid, 0)

    async def collect(ctx):
        for _ in range(len(sent) * 42):
            if ctx.get(receiver.valid):
                seen.append(ctx.get(receiver.data))
            await ctx.tick()

    simulate(m, send, collect)
    assert seen == sent


@pytest.mark.parametrize("part", [UartReceiver, UartTransmitter])
@pytest.mark.parametrize("clocks", [3, 0, 4.5])
def test_refused_rates(part, clocks):
    with pytest.raises(ValueError, match=f"at least 4, not {clocks}"):
        part(clocks)

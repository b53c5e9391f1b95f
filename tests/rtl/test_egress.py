"""The output stream: conversion against its model and numpy, then slots, packets and the queue."""

import numpy as np
import pytest

from rtl_bench import make_config, play, random_signed, simulate
from spiccato.config import IO_FORMATS
from spiccato.isa.marks import MARKS
from spiccato.numbers import ACC_BITS, GATE_FRAC_BITS
from spiccato.rtl.egress import Egress, output_event_layout
from spiccato.rtl.output_lane import OutputLane


def exponent_port(frac_bits):
    """What the ``exponent`` port takes for sums of ``frac_bits`` fraction bits."""
    return 127 - frac_bits


def sample_sums(rng, count):
    """Sums of all magnitudes, powers of two and their neighbours, and the ends of the range."""
    powers = 1 << np.arange(ACC_BITS - 1)
    near = np.concatenate([powers - 1, powers, powers + 1])
    ends = np.array([-(1 << (ACC_BITS - 1)), (1 << (ACC_BITS - 1)) - 1, -1, 0])
    return np.concatenate([near, -near, ends, random_signed(rng, ACC_BITS, count)])


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("io_format", IO_FORMATS)
def test_lane_is_its_model(io_format, seed):
    """A sum a cycle, each with an exponent of its own or blank, the value ``latency`` cycles later."""
    rng = np.random.default_rng(seed)
    sums = sample_sums(rng, 600)
    frac_bits = rng.choice([GATE_FRAC_BITS, 40, 3, 30], len(sums))
    blank = rng.random(len(sums)) < 0.2
    lane = OutputLane(IO_FORMATS[io_format])
    stimulus = [{"sum": int(s), "sign": int(s < 0)} for s in sums] + [{} for _ in range(lane.exponent_cycle)]
    for n in range(len(sums)):
        scale = {"exponent": exponent_port(int(frac_bits[n])), "blank": int(blank[n])}
        stimulus[n + lane.exponent_cycle] |= scale
    seen = play(lane, stimulus, ["value"], drain=lane.latency - lane.exponent_cycle)["value"]
    expected = np.zeros(len(sums), dtype=np.int64)
    for bits in set(frac_bits.tolist()):
        mine = (frac_bits == bits) & ~blank
        expected[mine] = OutputLane.compute(sums[mine], bits, io_format)
    assert seen[lane.latency :].tolist() == expected.tolist()


@pytest.mark.parametrize("io_format", IO_FORMATS)
def test_model_rounds_to_nearest(io_format):
    """Within half a unit in the last place of the exact value, and one unit of the sum for negative ones."""
    sums = sample_sums(np.random.default_rng(1), 5000)
    bits = OutputLane.compute(sums, GATE_FRAC_BITS, io_format)
    wide = (bits << (32 - IO_FORMATS[io_format])).astype(np.uint32).view(np.float32).astype(np.float64)
    exact = sums / 2.0**GATE_FRAC_BITS
    significand_bits = {"bfloat16": 8, "float32": 24}[io_format]
    ulp = 2.0 ** (np.frexp(np.where(sums == 0, 1e-30, exact))[1] - significand_bits)
    allowed = 0.5 * ulp + np.where(sums < 0, 2.0**-GATE_FRAC_BITS, 0)
    assert (np.abs(wide - exact) <= allowed).all()
    assert bits[sums == 0].tolist() == [0] * (sums == 0).sum()
    if io_format == "float32":
        units = np.abs(bits - exact.astype(np.float32).view(np.uint32))
        assert units[np.abs(sums) > 1 << 24].max() <= 1


class Bench:
    """Slots of a linear layer with their cycles, and the packets they should make."""

    def __init__(self, config, rng, last_values=None):
        self.config, self.rng, self.last_values = config, rng, last_values
        self.part = Egress(config)
        self.events = {}  # cycle -> (event, sums (cores, block))
        self.expected = []  # beats: (data, keep, last, user, tid)
        self.beat_at = []  # cycle in which each beat is valid, if nothing is ahead of it
        self.cycles = []  # for each packet

    def slot(self, cycle, beats, *, last=False, started=0):
        """A finished slot whose accumulators are there in ``cycle``, of any context, model and so range, or unknown."""
        config, rng = self.config, self.rng
        flags = {name: int(rng.integers(2)) for name in MARKS}
        tid, frac_bits, blank = (
            int(rng.integers(1 << config.tid_bits)),
            int(rng.choice([30, GATE_FRAC_BITS, 12])),
            bool(rng.random() < 0.2),
        )
        last_values = self.last_values or int(rng.integers(1, config.beat_values + 1))
        sums = random_signed(rng, ACC_BITS, (config.cores, config.block))
        event = {"last_beat": beats - 1, "last": int(last), "flags": flags, "started": started, "tid": tid}
        event |= {"exponent": exponent_port(frac_bits), "blank": int(blank), "last_values": last_values - 1}
        self.events[cycle] = event, sums
        values = OutputLane.compute(sums, frac_bits, config.io_format).reshape(-1, config.beat_values) * (not blank)
        for beat in range(beats):
            ends = last and beat == beats - 1
            kept = last_values if ends else config.beat_values
            self.expected.append(
                (
                    sum(int(v) << config.io_bits * i for i, v in enumerate(values[beat])),
                    (1 << kept * config.io_bits // 8) - 1,
                    int(ends),
                    flags,
                    tid,
                )
            )
            self.beat_at.append(cycle + self.part.latency + beat)
        if last:
            self.cycles.append(self.beat_at[-1] - started)

    def run(self, ready):
        """Play with ``tready`` by ``ready(cycle)`` and check everything; returns the cycles of the beats."""
        part, layout = self.part, output_event_layout(self.config)
        taken, taken_pulses, cycles = [], [], []

        async def testbench(ctx):
            for _ in range(part.wake_cycles):
                await ctx.tick()
            cycle, held = -part.capture_lead, None
            while len(taken) < len(self.expected) or cycle < taken[-1] + 4:
                # Where there is none it may be anything.
                garbage = int.from_bytes(self.rng.bytes(layout.size // 8 + 1)) % (1 << layout.size)
                event, _ = self.events.get(cycle + part.capture_lead, (layout.from_bits(garbage), None))
                ctx.set(part.event, event)
                ctx.set(part.valid, cycle + part.capture_lead in self.events)
                if cycle in self.events:
                    _, sums = self.events[cycle]
                    ctx.set(part.acc, sums.tolist())
                elif cycle - 1 in self.events:  # accumulators go on to something else at once
                    ctx.set(part.acc, (~sums).tolist())
                ctx.set(part.now, cycle % (1 << 32))
                ctx.set(part.axis.tready, int(ready(cycle)))
                if ctx.get(part.taken):
                    taken_pulses.append(cycle)
                if ctx.get(part.done):
                    cycles.append(ctx.get(part.cycles))
                if ctx.get(part.axis.tvalid):
                    user = {name: ctx.get(getattr(part.axis.tuser, name)) for name in MARKS}
                    beat = tuple(ctx.get(getattr(part.axis, name)) for name in ("tdata", "tkeep", "tlast"))
                    beat += (user, ctx.get(part.axis.tid))
                    assert held in (None, beat), "a beat changed while it waited"
                    held = beat
                    if ctx.get(part.axis.tready):
                        assert beat == self.expected[len(taken)], len(taken)
                        taken.append(cycle)
                        held = None
                else:
                    assert held is None, "a beat was withdrawn"
                await ctx.tick()
                cycle += 1
                assert cycle < 5000, "no progress"

        simulate(part, testbench)
        assert len(taken) == len(self.expected)
        assert taken_pulses == [cycle + 1 for cycle in taken]
        assert cycles == self.cycles
        return taken


def fill(bench, rng, packets, slots):
    """Random packets of ``slots`` slots, as close as they may come: each has as many cycles as beats."""
    config = bench.config
    most = config.cores * config.beats_per_core
    cycle = 3
    for number in range(packets):
        for slot in range(slots):
            beats = int(rng.integers(1, most + 1)) if slot == slots - 1 else most
            bench.slot(cycle, beats, last=slot == slots - 1, started=cycle - 20 - number)
            cycle += beats


@pytest.mark.parametrize("io_format", IO_FORMATS)
@pytest.mark.parametrize(
    "cores, block, profile",
    [(1, 4, "aggressive"), (3, 8, "aggressive"), (2, 8, "conservative"), (1, 16, "conservative")],
)
def test_latency_and_rate(cores, block, profile, io_format):
    """Never stalled: each beat is taken ``latency`` cycles after its accumulators and its turn."""
    config = make_config(cores=cores, block=block, io_format=io_format, profile=profile, models=2, streams=8)
    rng = np.random.default_rng(1)
    bench = Bench(config, rng)
    fill(bench, rng, 6, 3)
    assert bench.run(lambda cycle: True) == bench.beat_at


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(
    "cores, io_format, output_beats, profile",
    [
        (1, "bfloat16", 8, "aggressive"),
        (3, "bfloat16", 11, "aggressive"),
        (3, "float32", 16, "aggressive"),
        (3, "bfloat16", 11, "conservative"),
    ],
)
def test_queue(cores, io_format, output_beats, profile, seed):
    """With a slow and random host all beats come in order and unchanged, as long as they fit the queue."""
    rng = np.random.default_rng(seed)
    config = make_config(cores=cores, io_format=io_format, output_beats=output_beats, profile=profile, streams=1024)
    bench = Bench(config, rng)
    cycle, most = 3, config.cores * config.beats_per_core
    while len(bench.expected) < 90:
        begin = len(bench.expected)
        while len(bench.expected) + most - begin <= output_beats:
            bench.slot(cycle, most, last=bool(rng.integers(2)), started=cycle - 9)
            cycle += most
        cycle += 3 * output_beats  # the host takes three in five: by now the queue is nearly empty again
    paused = rng.random(20000) < 0.4
    bench.run(lambda cycle: not paused[cycle])


def test_full_queue():
    """A host that stops leaves exactly ``output_beats``, and loses nothing."""
    config = make_config(output_beats=6)
    bench = Bench(config, np.random.default_rng(1), last_values=config.beat_values)
    for number in range(config.output_beats):
        bench.slot(3 + number, 1, last=number % 2 == 1)
    taken = bench.run(lambda cycle: cycle >= 40)
    assert taken == list(range(40, 40 + config.output_beats))

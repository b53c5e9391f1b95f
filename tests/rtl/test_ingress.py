"""The input stream: packets in random condition against the integer model and a model of the framing."""

import numpy as np
import pytest

from rtl_bench import make_config, simulate
from spiccato.config import IO_FORMATS
from spiccato.isa.load import feature_word
from spiccato.isa.marks import MARKS, request_word
from spiccato.numbers import ADJUST_MIN, ADJUST_OFFSET, EXPONENT_RANGE
from spiccato.rtl.accelerator import Timing
from spiccato.rtl.alignment import Alignment
from spiccato.rtl.features import Features
from spiccato.rtl.ingress import Ingress
from spiccato.rtl.sequencer import Sequencer
from spiccato.rtl.vector_file import VectorFile

FRACTION_BITS = {"bfloat16": 7, "float32": 23}


def random_values(rng, adjust, io_format, special):
    """Bit patterns; without ``special`` only zeros, denormals and numbers that do not saturate."""
    m_bits = FRACTION_BITS[io_format]
    center = rng.integers(-4, EXPONENT_RANGE)
    q = np.clip(center + rng.integers(-30, 10, adjust.shape), None, EXPONENT_RANGE - 1)
    exponent = np.clip(q - adjust, 1, 254)
    exponent = np.where(exponent + adjust >= EXPONENT_RANGE, 0, exponent)
    fraction = rng.integers(0, 1 << m_bits, adjust.shape)
    ends = rng.choice([0, (1 << m_bits) - 1], adjust.shape)
    fraction = np.where(rng.random(adjust.shape) < 0.2, ends, fraction)
    exponent = np.where(rng.random(adjust.shape) < 0.1, 0, exponent)
    if special:
        exponent = np.where(rng.random(adjust.shape) < special, 255, exponent)
        exponent = np.where(rng.random(adjust.shape) < special, rng.integers(0, 256, adjust.shape), exponent)
        fraction = np.where(rng.random(adjust.shape) < 0.3, 0, fraction)
    return rng.integers(0, 2, adjust.shape) << (m_bits + 8) | exponent << m_bits | fraction


class Packet:
    """What is sent, and when what became of it was seen."""

    def __init__(self, number, values, expected, length, tid, request):
        self.model = number
        self.tid, self.request = tid, request  # of its first beat
        self.values = values  # (beats, beat_values): beats as sent
        self.expected = expected  # beats of a well-formed packet
        self.length = length  # beats that make whole blocks
        self.accepted = []  # cycle of each accepted beat
        self.released = None

    @property
    def malformed(self):
        return len(self.values) != self.expected

    @property
    def fill_cycles(self):
        """Cycles in which zeros are taken instead of beats."""
        taken = self.accepted[: self.expected]
        return [taken[-1] + k + 1 for k in range(self.length - len(taken))]

    @property
    def beat_cycles(self):
        """Cycles of the ``length`` beats that count: those accepted, then one a cycle of filling."""
        return self.accepted[: self.expected] + self.fill_cycles

    def blocks(self, config):
        """The packet's bit patterns as the model sees them, filled up or cut."""
        beats = np.zeros((self.length, config.beat_values), dtype=np.int64)
        kept = self.values[: self.expected]
        beats[: len(kept)] = kept
        return beats.reshape(-1, config.columns)


async def wake(ctx, part, beats):
    """Wait until packets, of ``beats`` beats whatever their model, may come."""
    for port in part.models:
        ctx.set(port.last_input_beat, beats - 1)
    for _ in range(part.wake_cycles):
        assert not ctx.get(part.axis.tready)
        await ctx.tick()
    ctx.set(part.enable, 1)


class Bench:
    """An Ingress with random features, sources that pause, and a log of everything.

    ``blocks``, and the beats ``missing`` of the last one, are those of each model: lists, or for a single model.
    """

    def __init__(self, config, rng, *, blocks, lead=None, missing=0):
        self.config, self.rng = config, rng
        self.lead = Timing(config).block_lead if lead is None else lead
        self.part = Ingress(config, lead=self.lead)
        blocks = np.atleast_1d(blocks)
        self.lengths = [int(n) * config.beats_per_block for n in blocks]
        self.expected = [n - int(m) for n, m in zip(self.lengths, np.broadcast_to(missing, len(blocks)))]
        self.adjust, self.enable = [], []
        for length in self.lengths:
            shape = (length, config.beat_values)
            adjust, wild = rng.integers(-130, -90, shape), rng.random(shape) < 0.1
            self.adjust.append(np.where(wild, rng.choice([ADJUST_MIN, 0, ADJUST_OFFSET - 1], shape), adjust))
            self.enable.append(rng.random(shape) < 0.9)
        self.outputs, self.ready, self.flags, self.treadys, self.announced, self.packets = {}, [], [], [], [], []
        self.codes = []
        self.now = 1000

    def packet(self, beats=None, special=0.0, number=None):
        """A packet of a model, by default any, of one of its streams; well-formed if ``beats`` are not given."""
        rng, config = self.rng, self.config
        number = int(rng.integers(len(self.lengths))) if number is None else number
        expected = self.expected[number]
        beats = expected if beats is None else beats
        adjust = np.resize(self.adjust[number], (beats, config.beat_values))
        values = random_values(rng, adjust, config.io_format, special)
        tid = number << config.stream_bits | int(rng.integers(config.streams))
        request = {name: int(rng.integers(2)) for name in request_word.fields}
        return Packet(number, values, expected, self.lengths[number], tid, request)

    async def load_features(self, ctx):
        part = self.part
        for number, (adjusts, enables) in enumerate(zip(self.adjust, self.enable)):
            for beat, (adjust, enable) in enumerate(zip(adjusts, enables)):
                word = 0
                for i in range(self.config.beat_values):
                    entry = feature_word.pack(adjust=int(adjust[i]) + ADJUST_OFFSET, enable=int(enable[i]))
                    word |= entry << (feature_word.size * i)
                ctx.set(part.w_feature_en, 1)
                ctx.set(part.w_feature_addr, number << len(part.w_feature_addr) - self.config.model_bits | beat)
                ctx.set(part.w_feature_data, word)
                await ctx.tick()
        ctx.set(part.w_feature_en, 0)
        for _ in range(Features.load_latency):
            await ctx.tick()

    def run(self, packets, *, valid=1.0, release_after=12, release=1.0):
        """Send the packets; release each at random, ``release_after`` cycles after its last beat or later."""
        part, rng, bits = self.part, self.rng, self.config.io_bits

        async def testbench(ctx):
            await wake(ctx, part, 1)
            for port, beats in zip(part.models, self.expected):
                ctx.set(port.last_input_beat, beats - 1)
            await self.load_features(ctx)
            beats = [(packet, k) for packet in packets for k in range(len(packet.values))]
            offered, cycle, places = False, 0, {}
            while beats or packets[-1].released is None or cycle < packets[-1].released + part.latency:
                offered = offered or (bool(beats) and rng.random() < valid)
                ctx.set(part.axis.tvalid, offered)
                ctx.set(part.axis.tdata, int(rng.integers(1 << 63)))
                ctx.set(part.axis.tlast, int(rng.integers(2)))
                # What a packet is counts with its first beat only.
                ctx.set(part.axis.tid, int(rng.integers(1 << self.config.tid_bits)))
                ctx.set(part.axis.tuser, {name: int(rng.integers(2)) for name in request_word.fields})
                if offered:
                    packet, k = beats[0]
                    if k == 0:
                        ctx.set(part.axis.tid, packet.tid)
                        ctx.set(part.axis.tuser, packet.request)
                    ctx.set(part.axis.tdata, sum(int(v) << bits * i for i, v in enumerate(packet.values[k])))
                    ctx.set(part.axis.tlast, k == len(packet.values) - 1)
                ctx.set(part.now, self.now + cycle)
                oldest = next((p for p in packets if p.released is None), None)
                settled = (
                    oldest
                    and len(oldest.accepted) >= min(oldest.expected, len(oldest.values))
                    and cycle >= oldest.beat_cycles[-1] + release_after
                )
                ctx.set(part.release, bool(settled and rng.random() < release))
                if ctx.get(part.release):
                    oldest.released = cycle

                self.treadys.append(ctx.get(part.axis.tready))
                self.flags.append(
                    [
                        {name: ctx.get(getattr(part.flags[side], name)) for name in MARKS}
                        | {"started": ctx.get(part.started[side])}
                        for side in range(2)
                    ]
                )
                self.packets.append(
                    [
                        {"model": ctx.get(part.model[side])}
                        | {name: ctx.get(getattr(part.packet[side], name)) for name in ("tid", *request_word.fields)}
                        for side in range(2)
                    ]
                )
                if ctx.get(part.announce):
                    self.announced.append(cycle)
                # Where a block goes comes ahead of it.
                if ctx.get(part.x_en):
                    places[cycle + VectorFile.x_lead] = ctx.get(part.x_block), ctx.get(part.x_side_w)
                if cycle in places:
                    self.outputs[cycle] = (*places[cycle], list(ctx.get(part.x)), ctx.get(part.x_exponent))
                    if self.config.narrow:
                        self.check_codes(list(ctx.get(part.x)), list(ctx.get(part.x_codes)))
                if ctx.get(part.block_ready):
                    self.ready.append(cycle)
                if offered and self.treadys[-1]:
                    packet.accepted.append(cycle)
                    beats.pop(0)
                    offered = False
                await ctx.tick()
                cycle += 1
                assert cycle < 10000, "no progress"

        simulate(part, testbench)
        self.check(packets)

    def check(self, packets):
        """All that holds for any run."""
        config, part = self.config, self.part
        expected, ready = {}, []
        for number, packet in enumerate(packets):
            side = number % 2
            done = packet.beat_cycles[config.beats_per_block - 1 :: config.beats_per_block]
            mantissas, exponents, flags = Ingress.compute(
                packet.blocks(config),
                self.adjust[packet.model].reshape(-1, config.columns),
                self.enable[packet.model].reshape(-1, config.columns),
                config.io_format,
            )
            for block, cycle in enumerate(done):
                expected[cycle + part.latency] = (block, side, mantissas[block].tolist(), int(exponents[block]))
                ready.append(cycle + part.ready_cycle)
            # Known when the word that waited for the last block is in the issue register, until the cycle after the
            # release. That a context is unknown is not found out here.
            marks = flags | {"malformed": packet.malformed, "unknown": 0, "started": self.now + packet.accepted[0]}
            for cycle in range(done[-1] + part.ready_cycle + Sequencer.block_to_issue, packet.released + 2):
                assert self.flags[cycle][side] == marks, (number, cycle)
            told = {"model": packet.model, "tid": packet.tid} | packet.request
            for cycle in range(packet.accepted[0] + 1, packet.released + 2):
                assert self.packets[cycle][side] == told, (number, cycle)
        assert self.announced == [packet.accepted[0] + 1 for packet in packets]
        assert self.outputs == expected
        assert self.ready == ready
        self.check_tready(packets)

    def check_codes(self, mantissas, codes):
        """The largest code of a quarter is the block's; quarters without a value of the largest group have none."""
        quarters = np.array(mantissas).reshape(self.config.quarters, -1)
        positions = Alignment.positions(np.abs(quarters))
        counts = [code.bit_count() for code in codes]
        assert codes == [(1 << count) - 1 for count in counts]
        assert max(counts) == positions.max()
        assert all(count in (0, position) for count, position in zip(counts, positions))
        self.codes.append(max(counts))

    def check_tready(self, packets):
        """Ready but for filling, and between packets while two are outstanding."""
        for cycle, tready in enumerate(self.treadys[: packets[-1].accepted[-1] + 1]):
            begun = [p for p in packets if p.accepted[0] < cycle]
            filling = any(cycle in p.fill_cycles for p in begun)
            inside = any(cycle <= p.accepted[-1] for p in begun)
            outstanding = sum(p.released >= cycle for p in begun)
            assert tready == (not filling and (inside or outstanding < 2)), cycle


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("block", [4, 8])
@pytest.mark.parametrize("profile", ["aggressive", "conservative"])
@pytest.mark.parametrize("io_format", IO_FORMATS)
def test_values(io_format, profile, block, seed):
    """Values of all kinds, with pauses: each block in its cycle, marks with the packet they belong to."""
    rng = np.random.default_rng(seed)
    bench = Bench(make_config(io_format=io_format, block=block, profile=profile), rng, blocks=3)
    packets = [bench.packet(special=[0, 0, 0.02, 0.3][n % 4]) for n in range(24)]
    bench.run(packets, valid=0.7, release=0.2)
    marks = [flags for cycle in bench.flags for flags in cycle]
    assert {True, False} == {bool(m["nan"]) for m in marks} == {bool(m["saturated"]) for m in marks}


@pytest.mark.parametrize("io_format, profile", [("bfloat16", "conservative"), ("float32", "aggressive")])
def test_codes_of_narrow_elements(io_format, profile):
    """Blocks of two beats and of four: each quarter's code is its largest value's."""
    config = make_config(block=4, columns=8, multiplier="9x9", io_format=io_format, profile=profile)
    bench = Bench(config, np.random.default_rng(1), blocks=3)
    packets = [bench.packet(special=[0, 0, 0.02, 0.3][n % 4]) for n in range(24)]
    bench.run(packets, valid=0.7, release=0.2)
    assert {6, 7, 8, 9} <= set(bench.codes)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("blocks", [1, 2, 5])
@pytest.mark.parametrize(
    "io_format, missing, profile",
    [
        ("bfloat16", 0, "aggressive"),
        ("float32", 0, "aggressive"),
        ("float32", 1, "aggressive"),
        ("float32", 1, "conservative"),
    ],
)
def test_framing(io_format, missing, profile, blocks, seed):
    """Short packets are filled up, long ones cut, right ones pass between them; marks tell which is which."""
    rng = np.random.default_rng(seed)
    bench = Bench(make_config(io_format=io_format, profile=profile), rng, blocks=blocks, missing=missing)
    lengths = rng.integers(1, 2 * bench.lengths[0] + 2, 30)
    lengths = np.where(rng.random(30) < 0.4, bench.expected[0], lengths)
    bench.run([bench.packet(int(n), special=0.02) for n in lengths], valid=0.8, release=0.1)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("profile", ["aggressive", "conservative"])
@pytest.mark.parametrize(
    "io_format, blocks, missing",
    [("bfloat16", [3, 1, 8, 2], 0), ("float32", [1, 5, 2, 1], [1, 0, 1, 0]), ("bfloat16", [1, 1], 0)],
)
def test_models(io_format, blocks, missing, profile, seed):
    """Packets of any models, a beat in every cycle and with pauses: length, features and ``tid`` are its own."""
    rng = np.random.default_rng(seed)
    config = make_config(io_format=io_format, profile=profile, models=len(blocks), streams=4)
    bench = Bench(config, rng, blocks=blocks, missing=missing)
    packets = []
    for _ in range(40):
        number = int(rng.integers(len(blocks)))
        beats = bench.expected[number] if rng.random() < 0.6 else int(rng.integers(1, 2 * bench.lengths[number] + 2))
        packets.append(bench.packet(beats, special=0.02, number=number))
    # When the word that waited for the last block is in the issue register, it may be an inference's last.
    least = bench.part.ready_cycle + Sequencer.block_to_issue
    bench.run(packets, valid=[1.0, 0.7][seed - 1], release_after=least, release=[1.0, 0.2][seed - 1])


@pytest.mark.parametrize("beats, last", [(1, False), (2, False), (2, True), (3, True)])
def test_drop(beats, last):
    """After ``drop`` nothing of earlier packets is left, and the rest of an unfinished one is discarded."""
    part = Ingress(make_config(), lead=Timing(make_config()).block_lead)

    async def testbench(ctx):
        await wake(ctx, part, 3)
        ctx.set(part.axis.tvalid, 1)
        for beat in range(beats):
            ctx.set(part.axis.tlast, last and beat == beats - 1)
            await ctx.tick()
        ctx.set(part.axis.tvalid, 0)
        ctx.set(part.enable, 0)
        ctx.set(part.drop, 1)
        for _ in range(part.latency + 2):
            await ctx.tick()
        ended = last
        assert ctx.get(part.axis.tready) == (not ended)
        ctx.set(part.drop, 0)
        ctx.set(part.enable, 1)
        # The rest of the old packet, then one of the right length: only that is seen.
        seen = []
        for tlast in ([] if ended else [0, 1]) + [0, 0, 1] + [None] * part.latency:
            ctx.set(part.axis.tvalid, tlast is not None)
            ctx.set(part.axis.tlast, tlast or 0)
            assert tlast is None or ctx.get(part.axis.tready)
            if ctx.get(part.x_en):
                seen.append((ctx.get(part.x_block), ctx.get(part.x_side_w)))
            await ctx.tick()
        assert seen == [(0, 0), (1, 0), (2, 0)]
        assert not ctx.get(part.flags[0].malformed)

    simulate(part, testbench)


#: Beats of packets of three (a list of ``tlast``) before a drop, ``tlast`` of a beat in its first cycle (None: there is
#: none), and whether there is a rest to discard.
CUTS = {
    "nothing": ([], None, False),
    "whole": ([0, 0, 1], None, False),
    "half": ([0, 0], None, True),
    "second-half": ([0, 0, 1, 0], None, True),
    "half-goes-on": ([0], 0, True),
    "half-ends": ([0, 0], 1, False),
    "short": ([0, 1], None, False),
    "without-tlast": ([0, 0, 0], None, True),
    "overlong": ([0, 0, 0, 0], None, True),
    "overlong-goes-on": ([0, 0, 0, 0], 0, True),
    "overlong-ends": ([0, 0, 0, 0], 1, False),
}


@pytest.mark.parametrize("case", CUTS)
def test_half_packet(case):
    """One pulse for a drop that leaves something to discard, none for others, also if that lasts into the next drop."""
    tlasts, with_drop, cut = CUTS[case]
    part = Ingress(make_config(), lead=Timing(make_config()).block_lead)
    pulses = 0

    async def testbench(ctx):
        nonlocal pulses

        async def tick(count=1):
            nonlocal pulses
            for _ in range(count):
                pulses += ctx.get(part.half_packet)
                await ctx.tick()

        await wake(ctx, part, 3)
        for tlast in tlasts:
            ctx.set(part.axis.tvalid, 1)
            ctx.set(part.axis.tlast, tlast)
            while not ctx.get(part.axis.tready):
                await tick()
            await tick()
        ctx.set(part.axis.tvalid, with_drop is not None)
        ctx.set(part.axis.tlast, with_drop or 0)
        ctx.set(part.enable, 0)
        for expected in (cut, 2 * cut):
            ctx.set(part.drop, 1)
            await tick()
            ctx.set(part.axis.tvalid, 0)
            await tick(6)
            ctx.set(part.drop, 0)
            await tick(3)
            assert pulses == expected
        assert ctx.get(part.axis.tready) == cut

    simulate(part, testbench)


class Interrupted:
    """Packets of all lengths with pauses, interrupted by ``drop`` at any cycle; and when blocks should be announced.

    As control has it: nothing new is begun from some cycles before ``drop`` on, and all the time the rest of what was
    begun may come.
    """

    def __init__(self, config, rng, *, beats, drop_cycles):
        self.config, self.rng, self.beats, self.drop_cycles = config, rng, beats, drop_cycles
        self.part = Ingress(config, lead=Timing(config).block_lead)
        self.announced, self.expected = [], []  # cycles of blocks, but for those during ``drop``
        self.begun, self.first_beats = [], []  # cycles of ``announce``, of first beats
        self.left, self.first = 0, True  # of the packet on the wire: its beats, and whether this is the first
        self.ends_in_drop = 0  # times that a packet ended in the first cycle of ``drop``

    async def cycle(self, ctx, now, *, enable, drop):
        """One cycle; returns the ``tlast`` of the beat that was accepted, or None, and whether it was the first."""
        part = self.part
        if self.left == 0:
            self.left = self.beats if self.rng.random() < 0.6 else int(self.rng.integers(1, 2 * self.beats + 2))
            self.first = True
        valid = bool(self.rng.random() < 0.8)
        ctx.set(part.enable, enable)
        ctx.set(part.drop, drop)
        ctx.set(part.axis.tvalid, valid)
        ctx.set(part.axis.tlast, self.left == 1)
        accepted = valid and ctx.get(part.axis.tready)
        if ctx.get(part.block_ready) and not drop:
            self.announced.append(now)
        if ctx.get(part.announce):
            self.begun.append(now)
        beat = (self.first, self.left == 1) if accepted else None
        if accepted:
            self.left -= 1
            self.first = False
        await ctx.tick()
        return beat

    async def run(self, ctx, rounds):
        part, halves, now = self.part, self.config.beats_per_block, 0
        length = -(-self.beats // halves) * halves
        await wake(ctx, part, self.beats)
        for _ in range(rounds):
            taken, number, outstanding = [], None, 0  # cycles of beats and of fillings, beats so far of a packet
            closing = int(self.rng.integers(1, 25))
            begin = closing + int(self.rng.integers(0, 4))
            for cycle in range(begin + self.drop_cycles):
                complete = outstanding > (number is not None)
                release = complete and cycle < closing and self.rng.random() < 0.3
                ctx.set(part.release, release)
                outstanding -= release
                beat = await self.cycle(ctx, now + cycle, enable=cycle < closing, drop=cycle >= begin)
                assert not beat or not beat[0] or cycle < closing, "a packet was begun that nobody waits for"
                if beat and cycle <= begin:
                    first, last = beat
                    if first:
                        self.first_beats.append(now + cycle)
                        number = 0
                        outstanding += 1
                    if number is not None and number < self.beats:
                        taken.append(cycle)
                        number += 1
                        if last or number == self.beats:
                            taken += [cycle + k + 1 for k in range(length - number)]
                    self.ends_in_drop += last and cycle == begin
                    if last:
                        number = None
            ready = [cycle + part.ready_cycle for cycle in taken[halves - 1 :: halves]]
            self.expected += [now + cycle for cycle in ready if cycle < begin]
            now += begin + self.drop_cycles


@pytest.mark.parametrize("seed", [1])
@pytest.mark.parametrize(
    "io_format, beats, profile",
    [
        ("bfloat16", 2, "aggressive"),
        ("bfloat16", 3, "aggressive"),
        ("float32", 3, "aggressive"),
        ("float32", 4, "aggressive"),
        ("bfloat16", 3, "conservative"),
    ],
)
def test_drop_at_any_cycle(io_format, beats, profile, seed):
    """Only packets that begin after ``drop`` count, and all of them; one that lasts a cycle less is too short."""

    def run(shorter):
        config, rng = make_config(io_format=io_format, profile=profile), np.random.default_rng(seed)
        drop_cycles = Ingress(config, lead=Timing(config).block_lead).drop_cycles
        bench = Interrupted(config, rng, beats=beats, drop_cycles=drop_cycles - shorter)
        simulate(bench.part, lambda ctx: bench.run(ctx, 100))
        assert bench.ends_in_drop > 0
        assert bench.begun == [cycle + 1 for cycle in bench.first_beats]
        return bench.announced, bench.expected

    announced, expected = run(0)
    assert announced == expected
    announced, expected = run(1)
    assert announced != expected


@pytest.mark.parametrize("io_format", IO_FORMATS)
def test_full_speed(io_format):
    """With early release a beat is taken in every cycle, also from one packet to the next."""
    rng = np.random.default_rng(1)
    bench = Bench(make_config(io_format=io_format, input_blocks=32), rng, blocks=16)
    packets = [bench.packet() for _ in range(6)]
    bench.run(packets)
    cycles = [cycle for packet in packets for cycle in packet.accepted]
    assert cycles == list(range(cycles[0], cycles[0] + len(cycles)))


@pytest.mark.parametrize("lead", range(1, Ingress(make_config(), lead=4).latency + 1))
def test_announcement(lead):
    """``block_ready`` comes ``lead`` cycles before the block is in the vector file's write register."""
    bench = Bench(make_config(), np.random.default_rng(1), blocks=2, lead=lead)
    assert bench.part.ready_cycle == bench.part.latency + 1 - lead
    part, cycles = bench.part, {}

    async def testbench(ctx):
        await wake(ctx, part, 2)
        ctx.set(part.axis.tvalid, 1)
        for cycle in range(2 * part.latency):
            for name in ("x_en", "block_ready"):
                if ctx.get(getattr(part, name)):
                    cycles.setdefault(name, cycle)
            await ctx.tick()

    simulate(part, testbench)
    assert cycles == {"x_en": part.latency - VectorFile.x_lead, "block_ready": part.ready_cycle}


def test_too_early_announcement_is_refused():
    """Nothing can be announced before it is there."""
    with pytest.raises(ValueError, match="cycles ahead"):
        Ingress(make_config(), lead=100)


@pytest.mark.parametrize("seed", [1])
@pytest.mark.parametrize("io_format, error", [("bfloat16", 0.5), ("float32", 1.0)])
def test_model_keeps_values(io_format, error, seed):
    """Mantissa and exponent are the value to half a unit (float32: one, its lowest bits are cut off)."""
    rng = np.random.default_rng(seed)
    adjust = np.repeat(rng.integers(-110, -100, (1, 8)), 2000, axis=0)
    bits = random_values(rng, adjust, io_format, 0)
    mantissas, exponents, flags = Ingress.compute(bits, adjust, np.ones_like(bits), io_format)
    assert not any(flags.values())
    assert (abs(mantissas) < 1 << 17).all() and (abs(mantissas).max(axis=1) >= 1 << 13).mean() > 0.9
    wide = (bits << (32 - IO_FORMATS[io_format])).astype(np.uint32).view(np.float32).astype(np.float64)
    group = 15 - exponents[:, None]
    unit = 2.0 ** (4 * group - 13 - 127 - adjust)
    flushed = (bits >> FRACTION_BITS[io_format] & 0xFF) + adjust < 0
    wide = np.where(flushed, 0, wide)
    assert np.abs(wide / unit - mantissas).max() <= error

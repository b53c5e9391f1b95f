"""The sequencer: order and cycles of the issue words of packets of any models, waiting, sides, drops."""

from types import SimpleNamespace

import numpy as np
import pytest

from rtl_bench import make_config, simulate
from spiccato.isa.issue import Source, VectorFrom, issue_word
from spiccato.rtl.sequencer import Sequencer

pytestmark = pytest.mark.fast

#: An inference's least length.
LEAST = Sequencer.head_words + Sequencer.least_tail


def sequencer_config(models, **changes):
    return make_config(**{"models": models, "weight_depth": 512, "program_depth": 256, "streams": 2} | changes)


def make_models(rng, lengths, *, waits=0.0, start_waits=False):
    """The issue words of each model, told apart by their weight address."""
    models, weight = [], 0
    for length in lengths:
        words = []
        for n in range(length):
            words.append(
                {
                    "valid": 1,
                    "weight": weight,
                    "slot": int(rng.integers(8)),
                    "source": Source(int(rng.integers(4))),
                    "vector_from": VectorFrom.H,
                    "output": 1,
                    "start": int(n == 0),
                    "commit": int(n == length - 1),
                    "wait_block": int(start_waits if n == 0 else rng.random() < waits),
                }
            )
            weight += 1
        models.append(words)
    return models


class Packet:
    """One inference: its model, the least cycle of its announcement, and what was seen of it."""

    def __init__(self, model, earliest=0):
        self.model, self.earliest = model, earliest
        self.announced = self.started = self.committed = None


def word_of(part, ctx):
    """The fields of the issue register, of which no two copies differ."""
    fields = {}
    for port in [*part.issue, *part.read, part.finish, *part.state]:
        bits = ctx.get(port.as_value())
        for name, field in port.shape():
            value = bits >> field.offset & ((1 << field.width) - 1)
            assert fields.setdefault(name, value) == value, name
    return fields


class Bench:
    """A sequencer, the packets that are announced to it as the input does, and what it issued in each cycle.

    A packet is announced when its ``earliest`` cycle has come and there are not more than two that have not ended: at
    the least two cycles after an inference's last word, as that releases a packet, and the next one's first beat is
    announced a cycle after it came. A side's model is anything while it has no packet, nor gets one in the next cycle.
    """

    def __init__(self, config, models, packets, *, seed=1):
        self.config, self.models, self.packets = config, models, packets
        self.part = Sequencer(config)
        self.rng = np.random.default_rng(seed)
        self.trace = []
        self.waiting = list(packets)
        self.open = [None, None]  # the packets of both sides
        self.free_from = [0, 0]  # when each side may be announced again
        self.running = []  # announced, not ended
        self.side = 0  # of the next announcement
        #: First words of the models, in any order in the memory, with a gap between them.
        self.first = {}

    async def load(self, ctx):
        part, addr = self.part, 3
        entries = []
        for number in self.rng.permutation(len(self.models)):
            self.first[number] = addr
            addr += len(self.models[number]) - part.head_words + 1
        for number, words in enumerate(self.models):
            for n, word in enumerate(words):
                kind = "head" if n < part.head_words else "tail"
                place = number << part.head_bits | n if kind == "head" else self.first[number] + n - part.head_words
                ctx.set(getattr(part, f"w_{kind}_en"), 1)
                ctx.set(getattr(part, f"w_{kind}_addr"), int(place))
                ctx.set(getattr(part, f"w_{kind}_data"), word)
                await ctx.tick()
                ctx.set(getattr(part, f"w_{kind}_en"), 0)
            first = int(self.first[number])
            entries.append({"first": first, "before_last": first + len(words) - part.head_words - 2})
        for port, entry in zip(part.models, entries):
            ctx.set(port, entry)
        if self.packets:
            ctx.set(part.coming[0], self.packets[0].model)
        await ctx.tick().repeat(part.drain_cycles)

    def announce(self, ctx, cycle):
        """Set what the input says of the packets in this cycle; returns the one that is announced."""
        part, announced = self.part, None
        if self.waiting and cycle >= max(self.waiting[0].earliest, self.free_from[self.side]):
            if self.open[self.side] is None:
                announced = self.waiting.pop(0)
                announced.announced, announced.side = cycle, self.side
                self.open[self.side] = announced
                self.running.append(announced)
                self.side = 1 - self.side
        ctx.set(part.announce, int(announced is not None))
        for s, packet in enumerate(self.open):
            if packet is None and self.waiting and s == self.side:
                soon = cycle + 1 >= max(self.waiting[0].earliest, self.free_from[s])
                packet = self.waiting[0] if soon else None
            ctx.set(part.coming[s], packet.model if packet else int(self.rng.integers(1 << self.config.model_bits)))
        return announced

    def drop(self, cycle):
        """Forget the packets."""
        self.open, self.running, self.side, self.free_from = [None, None], [], 0, [cycle, cycle]

    async def cycle(self, ctx, cycle, inputs):
        """One cycle: inputs ({member: value}), a record of what is to be seen, the tick."""
        part = self.part
        usual = {"enable": 1, "room": 3, "block_ready": 0, "drop": 0}
        for name, value in (usual | inputs).items():
            ctx.set(getattr(part, name), value)
        self.announce(ctx, cycle)
        step = SimpleNamespace(
            cycle=cycle,
            word=word_of(part, ctx),
            **{name: ctx.get(getattr(part, name)) for name in ("started", "committed", "stalled", "idle", "side")},
        )
        self.trace.append(step)
        if step.started:
            self.running[0].started = cycle
            assert step.side == self.running[0].side, "its room is charged to another packet"
        if step.committed:
            ended = self.running.pop(0)
            ended.committed = cycle
            self.open[ended.side], self.free_from[ended.side] = None, cycle + 2
        await ctx.tick()

    def run(self, inputs, cycles, *, goes_on=False):
        """Load, then ``inputs(cycle)`` in each cycle; if it ``goes_on``, also after all packets have ended."""

        async def testbench(ctx):
            await self.load(ctx)
            ended = 0
            for cycle in range(cycles):
                await self.cycle(ctx, cycle, inputs(cycle))
                ended = 0 if self.waiting or self.running else ended + 1
                if ended > 20 and not goes_on:
                    break

        simulate(self.part, testbench)
        return self

    def issued(self):
        """The steps that hold a word of a program."""
        return [t for t in self.trace if t.word["valid"]]

    def check(self, *, packets=None, ready=(), open_at=None, since=0, until=None):
        """All words of the packets in their order, each in the very cycle in which it is due.

        ``ready`` are the cycles of blocks; ``open_at(cycle, side)`` tells whether an inference may have been let go
        by what was the case in a cycle. Returns how many words had to wait for a block.
        """
        packets = self.packets if packets is None else packets
        trace = self.trace[since:until]
        steps, blocks = iter(t for t in trace if t.word["valid"]), iter(ready)
        free, waited = 0, 0
        for packet in packets:
            for n, word in enumerate(self.models[packet.model]):
                step = next(steps)
                due = free
                if n == 0:
                    due = max(due, packet.announced + Sequencer.announce_to_issue)
                if word["wait_block"]:
                    arrival = next(blocks) + Sequencer.block_to_issue
                    waited += arrival > due
                    due = max(due, arrival)
                if n == 0 and open_at:
                    while not open_at(due - Sequencer.room_to_issue, packet.side):
                        due += 1
                expected = dict.fromkeys(issue_word(self.config).fields, 0) | word | {"side": packet.side}
                assert {name: expected.get(name) for name in step.word} == step.word, (step.cycle, packet.model, n)
                assert step.cycle == due, (packet.model, n)
                assert (step.started, step.committed) == (word["start"], word["commit"])
                free = due + 1
        assert next(steps, None) is None
        for t in trace:
            if not t.word["valid"]:  # an idle word has no effects
                effects = [t.word[name] for name in ("output", "start", "commit")]
                assert not any([*effects, t.started, t.committed]), t.cycle
                assert t.word["vector_from"] == VectorFrom.NONE, t.cycle
        return waited


@pytest.mark.parametrize("profile", ["aggressive", "conservative"])
@pytest.mark.parametrize(
    "lengths", [(LEAST,), (LEAST, LEAST + 1), (LEAST, 30, LEAST + 2, 60), (13, 9), tuple(range(LEAST, LEAST + 14))]
)
def test_a_word_every_cycle(lengths, profile):
    """With packets that wait there is never a gap, whichever model comes after whichever."""
    rng = np.random.default_rng(1)
    models = make_models(rng, lengths)
    number = len(lengths)
    config = sequencer_config(max(1, 1 << (number - 1).bit_length()), profile=profile)
    # Every pair, and the same one twice.
    order = [0] + [m for a in range(number) for b in range(number) for m in (a, b)] * 2
    packets = [Packet(m) for m in order[:40]]
    cycles = sum(len(models[p.model]) for p in packets) + 20
    bench = Bench(config, models, packets).run(lambda cycle: {}, cycles)
    bench.check()
    seen = [t.cycle for t in bench.issued()]
    assert seen == list(range(Sequencer.announce_to_issue, Sequencer.announce_to_issue + len(seen)))


class Blocks:
    """Input blocks that come at random, but no more of them ahead of the words that wait than packets may have."""

    def __init__(self, rng, models, most):
        self.rng, self.most = rng, most
        self.waits = {word["weight"]: word["wait_block"] for words in models for word in words}
        self.ready = []
        self.used = 0

    def comes(self, bench, cycle, wanted):
        """Whether one comes in this cycle; ``wanted`` in all."""
        if bench.trace:
            last = bench.trace[-1].word
            self.used += last["valid"] and self.waits[last["weight"]]
        ahead = len(self.ready) - self.used
        likely = self.rng.random() < [0.15, 0.95][cycle // 60 % 2]
        if not likely or ahead >= self.most or len(self.ready) == wanted:
            return 0
        self.ready.append(cycle)
        return 1


@pytest.mark.parametrize("seed", range(1, 10))
def test_random_traffic(seed):
    """Announced at any time, of any model, words that wait for blocks, starts that wait for room: no cycle too late."""
    rng = np.random.default_rng(seed)
    number = [1, 2, 4, 8][seed % 4]
    lengths = [int(rng.choice([LEAST, LEAST + 1, rng.integers(LEAST, 24)])) for _ in range(number)]
    models = make_models(rng, lengths, waits=[0, 0.2, 0.5][seed % 3], start_waits=bool(rng.integers(2)))
    packets, earliest = [], 0
    for _ in range(60):
        # Now and then all falls idle for longer than the fetch takes; now and then the next one comes just as it ends.
        earliest += int(rng.choice([0, 1, rng.integers(LEAST), rng.integers(30), rng.integers(80)]))
        packets.append(Packet(int(rng.integers(number)), earliest))
    cycles = 3500
    always = rng.random() < 0.5
    room = [3 if always or rng.random() < 0.7 else int(rng.integers(3)) for _ in range(cycles)]
    enable = [always or bool(rng.random() < 0.9) for _ in range(cycles)]
    wanted = sum(word["wait_block"] for packet in packets for word in models[packet.model])
    blocks = Blocks(rng, models, most=int(rng.choice([2, 40])))
    bench = Bench(sequencer_config(number), models, packets, seed=seed)
    bench.run(
        lambda cycle: {
            "block_ready": blocks.comes(bench, cycle, wanted),
            "room": room[cycle],
            "enable": int(enable[cycle]),
        },
        cycles,
    )
    assert packets[-1].committed, "not all were played"
    waited = bench.check(
        ready=blocks.ready, open_at=lambda cycle, side: cycle >= 0 and room[cycle] >> side & 1 and enable[cycle]
    )
    assert waited > 0 or not wanted or blocks.most > 2


@pytest.mark.parametrize("length", [LEAST, LEAST + 1, 20])
def test_announced_beside_an_end(length):
    """A packet that comes around the end of the one before, or of its heads, and is followed by two more at once."""
    models = make_models(np.random.default_rng(1), [length, LEAST, LEAST + 3])
    gaps, apart = range(-12, 12), 100
    groups = []
    for n, gap in enumerate(gaps):
        begin = n * apart
        end = begin + Sequencer.announce_to_issue + length - 1
        groups.append([Packet(0, begin), Packet(1, max(begin + 1, end + gap)), Packet(2), Packet(1)])
    bench = Bench(sequencer_config(4), models, [packet for group in groups for packet in group])
    bench.run(lambda cycle: {}, len(groups) * apart).check()
    assert [packets[0].announced for packets in groups] == [n * apart for n in range(len(groups))]


@pytest.mark.parametrize("gate", ["room", "enable"])
def test_start_waits_for_room_and_enable(gate):
    """Words of an inference never wait for ``room`` or ``enable``, only its first; it then goes at once."""
    models = make_models(np.random.default_rng(1), [12])
    cycles = 400
    open_at = [cycle for cycle in range(cycles) if cycle // 30 % 2]
    opened = 3 if gate == "room" else 1
    packets = [Packet(0) for _ in range(14)]
    bench = Bench(sequencer_config(1), models, packets)
    bench.run(lambda cycle: {gate: opened * (cycle in open_at)}, cycles)
    bench.check(open_at=lambda cycle, side: cycle in open_at)
    starts = [t.cycle for t in bench.trace if t.started]
    for start in starts:
        assert [t.word["valid"] for t in bench.trace[start : start + 12]] == [1] * 12
    edges = [cycle for cycle in open_at if cycle - 1 not in open_at][: len(starts) // 3]
    assert len(edges) > 3 and all(cycle + Sequencer.room_to_issue in starts for cycle in edges)


@pytest.mark.parametrize("lacking", [0, 1])
def test_room_of_the_packet_whose_turn_it_is(lacking):
    """That the other packet has none is no matter."""
    models = make_models(np.random.default_rng(1), [LEAST, 9])
    packets = [Packet(n % 2) for n in range(4)]
    bench = Bench(sequencer_config(2), models, packets)
    wait_until = 60
    bench.run(lambda cycle: {"room": 3 if cycle >= wait_until else 3 ^ (1 << lacking)}, 150)
    bench.check(open_at=lambda cycle, side: cycle >= wait_until or side != lacking)
    assert (packets[lacking].started, packets[1].started >= wait_until) == (wait_until + 2, True)
    assert (packets[0].started < wait_until) == (lacking == 1)


def test_stalled_counts_missing_room():
    """``stalled`` tells the cycles in which a start had its block but no room, and no others."""
    models = make_models(np.random.default_rng(1), [7], start_waits=True)
    bench = Bench(sequencer_config(1), models, [Packet(0), Packet(0)])
    bench.run(lambda cycle: {"room": 2 if cycle < 60 else 3, "block_ready": cycle == 40}, 90)
    assert [t.cycle for t in bench.trace if t.stalled] == list(range(40 + Sequencer.block_to_issue, 61))
    assert [t.cycle for t in bench.trace if t.started] == [60 + Sequencer.room_to_issue]


def test_idle():
    """Idle ``drain_cycles`` after an inference's last word, never in one, however long its input pauses."""
    models = make_models(np.random.default_rng(1), [LEAST], start_waits=True)
    models[0][2]["wait_block"] = 1
    first, second = 100, 300
    bench = Bench(sequencer_config(1), models, [Packet(0)])
    trace = bench.run(lambda cycle: {"block_ready": cycle in (first, second)}, 450, goes_on=True).trace
    bench.check(ready=[first, second])
    end = max(t.cycle for t in bench.issued())
    assert trace[first].idle
    assert not any(t.idle for t in trace[first + Sequencer.block_to_issue : end + Sequencer.drain_cycles])
    assert all(t.idle for t in trace[end + Sequencer.drain_cycles + 2 :])


def dropped(rng, drop_cycles, *, rounds=25):
    """Packets that are played, others that wait for what never comes until a drop at any cycle, and so on.

    Returns whether nothing is left of the latter: all that follow are played as they should be. As control has it,
    nothing starts from some cycles before ``drop`` on; a packet's first beat may be accepted in the last cycle before
    it at the latest, and again in the first one without it.
    """
    number = 4
    models = make_models(rng, [int(rng.integers(LEAST, LEAST + 8)) for _ in range(number)], start_waits=True)
    bench = Bench(sequencer_config(number), models, [])
    part = bench.part
    played = []

    async def testbench(ctx):
        await bench.load(ctx)
        cycle = 0

        async def tick(count=1, **inputs):
            nonlocal cycle
            for _ in range(count):
                await bench.cycle(ctx, cycle, inputs)
                cycle += 1

        for _ in range(rounds):
            # Some that are played, each with its block.
            begin = cycle
            packets = [Packet(int(rng.integers(number)), begin + 1) for _ in range(int(rng.integers(1, 4)))]
            bench.waiting = list(packets)
            blocks = []
            while len(blocks) < len(packets) or bench.waiting or bench.running:
                comes = int(len(blocks) < len(packets) and rng.random() < 0.5)
                blocks += [cycle] * comes
                await tick(block_ready=comes)
                if cycle > begin + 300:
                    raise AssertionError("no progress")
            played.append((begin, cycle, packets, blocks))
            while not bench.trace[-1].idle:
                await tick()
            # Up to two that wait: without a block, or let go by nothing; their words are on their way.
            bench.waiting = [Packet(int(rng.integers(number)), cycle + int(rng.integers(12))) for _ in range(2)]
            bench.waiting = bench.waiting[: int(rng.integers(3))]
            await tick(int(rng.integers(12)))
            for _ in range(int(rng.integers(12))):
                await tick(enable=0, block_ready=int(rng.random() < 0.1))
            late = len(bench.waiting) and rng.integers(2)
            if late:
                bench.waiting[0].earliest = 0
            for number_of_cycle in range(drop_cycles):
                # In the first one a packet may still be announced that came in the cycle before.
                if number_of_cycle or not late:
                    bench.waiting = []
                await tick(enable=0, drop=1, block_ready=int(rng.random() < 0.2))
            bench.drop(cycle)
            bench.waiting = []

    try:
        simulate(part, testbench)
        for begin, end, packets, blocks in played:
            bench.check(packets=packets, ready=blocks, since=begin, until=end)
    except AssertionError:
        return False
    return True


@pytest.mark.parametrize("seed", [1, 2])
def test_drop_at_any_cycle(seed):
    """Nothing is left of packets that were announced before a drop, nor of their blocks; one cycle is too short."""
    assert dropped(np.random.default_rng(seed), Sequencer.drop_cycles)
    assert not dropped(np.random.default_rng(seed), 1)

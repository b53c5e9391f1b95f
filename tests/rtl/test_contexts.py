"""Contexts: the addresses of every word of random packets against a model that keeps each context's state by itself."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from rtl_bench import make_config, simulate
from spiccato.isa.issue import Source
from spiccato.isa.load import state_bits
from spiccato.rtl.contexts import Contexts
from spiccato.rtl.memory import Ram
from spiccato.rtl.sequencer import Sequencer

pytestmark = pytest.mark.fast

LEAST = Sequencer.head_words + Sequencer.least_tail


def contexts_config(models=4, streams=4, **changes):
    return make_config(**{"models": models, "streams": streams, "cores": 2, "state_slots": 100, "slots": 32} | changes)


@dataclass
class Packet:
    """A packet: what is known with its first beat, and how its inference goes.

    Attributes
    ----------
    gap : cycles by which it could have been announced earlier
    pause : cycles by which its first word could have come earlier
    length : words of its inference; pauses between them are part of the test
    """

    tid: int
    start: bool = False
    quiet: bool = False
    malformed: bool = False
    gap: int = 0
    pause: int = 0
    length: int = LEAST
    words: dict = field(default_factory=dict)


class Tables:
    """Random tables of models and contexts."""

    def __init__(self, config, rng, known=0.9):
        bits = state_bits(config)
        self.models = [
            {"has_initial": int(rng.integers(2)), "initial": int(rng.integers(1 << bits)), "output_beats": 77}
            for _ in range(config.models)
        ]
        self.contexts = [
            {"known": int(rng.random() < known or tid == 0), "base": int(rng.integers(1 << bits))}
            for tid in range(1 << config.tid_bits)
        ]


class Model:
    """What each context's state is, and which addresses that means."""

    def __init__(self, config, tables):
        self.config, self.tables = config, tables
        self.mask = (1 << state_bits(config)) - 1
        self.flags = {}
        self.clear()

    def clear(self):
        self.flags = dict.fromkeys(range(len(self.tables.contexts)), (False, 0))

    def begin(self, packet):
        """An inference's first word."""
        alive, self.side = self.flags[packet.tid]
        self.tid, self.alive = packet.tid, alive and not packet.start
        self.context = self.tables.contexts[packet.tid]
        self.model = self.tables.models[packet.tid >> self.config.stream_bits if self.config.models > 1 else 0]

    def access(self, source, slot):
        """Addresses of one of its words."""
        base, states = self.context["base"], self.config.state_slots
        new, old = base + (1 - self.side) * states, base + self.side * states
        zero = not self.alive and not self.model["has_initial"]
        constants = 2 * states
        previous = old
        if not self.alive:
            old = self.model["initial"]
            previous = self.model["initial"] if self.model["has_initial"] else constants
        sums = {Source.STORED: new, Source.PREVIOUS: previous}.get(source, constants)
        addresses = {"sums": sums, "store": new, "c": old}
        addresses = {name: (value + slot) & self.mask for name, value in addresses.items()}
        return addresses | {"zero": int(zero), "keep": self.context["known"]}

    def end(self, malformed):
        if self.context["known"] and not malformed:
            self.flags[self.tid] = (True, 1 - self.side)


class Bench:
    """Contexts as the input announces packets and the sequencer issues words, and the addresses that come of it.

    Of what is not defined the bench makes a point: a side's packet is anything while it has none, and so are a word's
    bits that do not count.
    """

    def __init__(self, config, rng, known=0.9):
        self.config, self.rng = config, rng
        self.part = Contexts(config)
        self.tables = Tables(config, rng, known)
        self.model = Model(config, self.tables)
        self.now = 0
        self.expected = {}  # cycle -> access
        self.unknown = {}  # (cycle, side) -> bool
        self.open = [None, None]
        self.side = 0
        self.valids = {}  # cycle -> a word was
        self.asks = 0.0  # how likely a request begins in a cycle
        self.ask = None
        self.changed = {}  # tid -> cycle of the last change of its flags, or of what is asked
        self.running = None  # tid of the inference whose first word has been issued
        self.moved, self.marked, self.after, self.asked_until = set(), [], None, 0
        self.tids = [0]
        #: Cycles until the answer to what is asked is there, and the flags that were written are in it; announcements
        #: delay it.
        self.settled = 10

    async def load(self, ctx):
        part = self.part
        for port, entry in zip(part.models, self.tables.models):
            ctx.set(port, entry)
        for addr, entry in enumerate(self.tables.contexts):
            ctx.set(part.w_en, 1)
            ctx.set(part.w_addr, addr)
            ctx.set(part.w_data, entry)
            await ctx.tick()
        ctx.set(part.w_en, 0)
        await self.clear(ctx)

    async def clear(self, ctx):
        """No context has a state; in the next cycle a packet may be announced."""
        ctx.set(self.part.clear, 1)
        for _ in range(Contexts.clear_cycles(self.config)):
            await self.cycle(ctx)
        ctx.set(self.part.clear, 0)
        self.model.clear()

    async def drop(self, ctx):
        self.open, self.side, self.unknown = [None, None], 0, {}
        ctx.set(self.part.drop, 1)
        await self.cycle(ctx)
        ctx.set(self.part.drop, 0)

    def model_of(self, tid):
        """A context's model, as the input tells it."""
        return tid >> self.config.stream_bits if self.config.models > 1 else 0

    def garbage(self):
        return {
            "tid": int(self.rng.integers(1 << self.config.tid_bits)),
            "start": int(self.rng.integers(2)),
            "quiet": int(self.rng.integers(2)),
        }

    async def cycle(self, ctx, *, announced=None, word=None, malformed=None):
        """One cycle: a packet that is announced, a word that is issued; checks what is due."""
        part, rng = self.part, self.rng
        if announced:
            assert self.open[self.side] is None
            self.open[self.side] = announced
            unknown = not self.tables.contexts[announced.tid]["known"]
            self.unknown[self.side] = (self.now + part.unknown_cycles, int(unknown))
            self.side = 1 - self.side
        ctx.set(part.announce, int(announced is not None))
        for s, packet in enumerate(self.open):
            known = {name: getattr(packet, name) for name in ("tid", "start", "quiet")} if packet else self.garbage()
            ctx.set(part.packet[s], known)
            ctx.set(part.model[s], self.model_of(known["tid"]))
        if word is None:
            word = {"source": Source(int(rng.integers(4))), "slot": int(rng.integers(self.config.slots))}
            word |= {"valid": 0, "start": 0, "commit": 0, "side": int(rng.integers(2))}
        for copy in part.word:
            ctx.set(copy, word)
        ctx.set(part.malformed, int(rng.integers(2)) if malformed is None else malformed)
        self.valids[self.now] = word["valid"]
        self.request(ctx, word)
        if self.now in self.expected:
            for port in part.access:
                seen = {name: ctx.get(getattr(port, name)) for name in self.expected[self.now]}
                assert seen == self.expected[self.now], (self.now, seen, self.expected[self.now])
        assert ctx.get(part.moved) == (self.now in self.moved)
        for side, (since, unknown) in self.unknown.items():
            if self.now >= since and self.open[side]:
                assert ctx.get(part.unknown) >> side & 1 == unknown
        await ctx.tick()
        self.now += 1
        if word["start"]:
            self.running = self.open[word["side"]].tid
        if word["commit"]:
            self.changed[self.running], self.running = self.now, None

    def request(self, ctx, word):
        """Ask for a context's state in cycles that no inference needs, and mark that it has one, or none.

        As transfers have it: an address is asked for when it is known, and a context that runs is not said to have
        another state.
        """
        part, rng = self.part, self.rng
        # One request after the other, what it says held until all has followed.
        if self.ask is None and self.now >= self.asked_until + 4 and rng.random() < self.asks:
            tid = int(rng.integers(len(self.tables.contexts)) if rng.random() < 0.3 else rng.choice(self.tids))
            kind = str(rng.choice(["move", "adopt", "forget", "forget"]))
            self.ask = {"tid": tid, "kind": kind, "slot": int(rng.integers(self.config.slots)), "since": self.now}
        ask = self.ask
        if ask:
            self.asked_until = self.now
        else:
            for name in ("move", "mark"):
                ctx.set(getattr(part, name), 0)
            return
        tid = ask["tid"]
        ctx.set(part.ask_tid, tid)
        ctx.set(part.ask_slot, ask["slot"])
        stable = self.now - max(ask["since"], self.changed.get(tid, 0)) >= self.settled
        runs = self.running == tid
        if self.now > ask["since"] + 1:
            assert ctx.get(part.ask_running) == runs
        alive, side = self.model.flags[tid]
        if stable and not runs:
            assert (ctx.get(part.ask_known), ctx.get(part.ask_alive)) == (self.tables.contexts[tid]["known"], alive)
        moves = stable and ask["kind"] == "move" and not runs
        marks = ask["kind"] != "move" and stable and (ask["kind"] == "forget" or not runs)
        ctx.set(part.move, int(moves))
        ctx.set(part.mark, int(marks))
        ctx.set(part.alive, int(ask["kind"] == "adopt"))
        if moves and not self.valids.get(self.now - 2, 0):
            addr = self.tables.contexts[tid]["base"] + side * self.config.state_slots + ask["slot"] & self.model.mask
            there = self.now + part.latency - 2
            self.expected[there] = self.expected.get(there, {}) | {"sums": addr, "c": addr, "zero": 0}
            self.moved.add(there - 1)
            self.ask = None
        if ask.get("marks"):
            # It was set in the cycle before.
            ends = runs and word["commit"] and ask["kind"] == "forget"
            done = ends or not (runs or word["start"] or word["commit"])
            assert ctx.get(part.marked) == done, self.now
            if done:
                self.marked.append((ask["kind"], runs))
                # Of an inference that ends in this cycle, after what that does.
                self.after = (tid, True, side) if ask["kind"] == "adopt" else (tid, False, 0)
                self.ask = None
                if not ends:
                    self.apply()
        elif not moves:
            assert not ctx.get(part.marked)
        ask["marks"] = marks
        # What was asked for and is not due any more.
        if self.ask and self.now - ask["since"] > 60 and not marks:
            self.ask = None

    def apply(self):
        """What a mark changes."""
        if self.after:
            tid, alive, side = self.after
            self.model.flags[tid], self.changed[tid], self.after = (alive, side), self.now + 1, None

    async def play(self, ctx, packets):
        """Announce the packets as early as two places and their gaps allow, and play an inference for each."""
        rng, part = self.rng, self.part
        waiting, running = list(packets), []
        announce_at = [self.now + packets[0].gap, self.now + packets[0].gap]
        earliest, current, number = 0, None, 0
        while waiting or running:
            announced = None
            if waiting and self.open[self.side] is None and self.now >= max(announce_at[self.side], earliest):
                announced = waiting.pop(0)
                announced.due = self.now + part.announce_delay + Sequencer.announce_to_issue + announced.pause
                announced.side = self.side
                earliest = self.now + 1 + (waiting[0].gap if waiting else 0)
                running.append(announced)
            word, malformed = None, None
            if current is None and running and self.now >= running[0].due:
                current, number = running[0], 0
                self.model.begin(current)
            if current and (number == 0 or rng.random() < 0.9):
                last = number == current.length - 1
                word = {
                    "source": Source(int(rng.integers(4))),
                    "slot": int(rng.integers(self.config.slots)),
                    "valid": int(rng.random() < 0.9),
                    "start": int(number == 0),
                    "side": current.side,
                    "commit": int(last),
                }
                self.expected[self.now + part.latency] = self.model.access(word["source"], word["slot"])
                malformed = int(current.malformed) if last else None
                number += 1
            await self.cycle(ctx, announced=announced, word=word, malformed=malformed)
            if word and word["commit"]:
                self.model.end(current.malformed)
                self.apply()
                running.pop(0)
                # Released in this cycle, the next one's first beat is accepted in the next, and announced after that.
                self.open[current.side] = None
                announce_at[current.side] = self.now + 1
                current = None
            assert self.now < 20000, "no progress"

    async def settle(self, ctx):
        for _ in range(self.part.latency):
            await self.cycle(ctx)


def random_packets(rng, config, count, tids=None):
    """Few contexts, so that the same one comes often, one right after the other."""
    tids = rng.choice(1 << config.tid_bits, min(3, 1 << config.tid_bits), replace=False) if tids is None else tids
    return [
        Packet(
            int(rng.choice(tids)),
            start=bool(rng.random() < 0.2),
            quiet=bool(rng.integers(2)),
            malformed=bool(rng.random() < 0.3),
            gap=int(rng.choice([0, 0, 0, rng.integers(12), rng.integers(30)])),
            pause=int(rng.choice([0, 0, 0, rng.integers(30)])),
            length=int(rng.choice([LEAST, LEAST + 1, rng.integers(LEAST, 14)])),
        )
        for _ in range(count)
    ]


@pytest.mark.parametrize("profile", ["aggressive", "conservative"])
@pytest.mark.parametrize("models, streams", [(1, 1), (1, 8), (2, 1), (4, 4), (16, 2)])
@pytest.mark.parametrize("seed", [1, 2])
def test_random_traffic(profile, models, streams, seed):
    """Addresses, zero and keep of each word; starts, malformed packets, unknown and initial states among them."""
    rng = np.random.default_rng(seed)
    config = contexts_config(models, streams, profile=profile)
    bench = Bench(config, rng)

    async def testbench(ctx):
        await bench.load(ctx)
        for _ in range(4):
            await bench.play(ctx, random_packets(rng, config, 40))
        await bench.settle(ctx)

    simulate(bench.part, testbench)
    assert len(bench.expected) > 160 * LEAST


@pytest.mark.parametrize("profile", ["aggressive", "conservative"])
@pytest.mark.parametrize("models, streams", [(1, 2), (2, 4)])
@pytest.mark.parametrize("seed", [1, 2])
def test_requests(profile, models, streams, seed):
    """Addresses given out in idle words, and marks in any cycle, beside random packets: all know of them."""
    rng = np.random.default_rng(seed)
    config = contexts_config(models, streams, profile=profile)
    bench = Bench(config, rng)

    async def testbench(ctx):
        await bench.load(ctx)
        bench.tids = [int(tid) for tid in rng.choice(1 << config.tid_bits, 2, replace=False)]
        bench.asks = 0.3
        for _ in range(8):
            await bench.play(ctx, random_packets(rng, config, 40, bench.tids))
        await bench.settle(ctx)

    simulate(bench.part, testbench)
    assert len(bench.moved) > 20
    assert {("adopt", False), ("forget", False), ("forget", True)} <= set(bench.marked)


@pytest.mark.parametrize("malformed", [False, True])
@pytest.mark.parametrize("other", [False, True])
def test_announced_around_an_end(other, malformed):
    """One context's next packet, announced in any cycle around the end of the one before: it knows what that has left.

    So does a packet of another context, which is not to take it for its own.
    """
    rng = np.random.default_rng(1)
    config = contexts_config()
    bench = Bench(config, rng, known=1)
    # First word to the cycle after which a packet reads what was written.
    distances = range(Sequencer.announce_to_issue + LEAST + Ram.latency + 4)

    async def testbench(ctx):
        await bench.load(ctx)
        for tid in (5, 9):
            # A state on side 1, then on side 0: both have to be told from the flags of a context without one.
            await bench.play(ctx, [Packet(5), Packet(9)])
            for distance in distances:
                await bench.play(
                    ctx,
                    [
                        Packet(tid, malformed=malformed),
                        Packet(14 - tid if other else tid, gap=distance),
                        Packet(tid),
                        Packet(14 - tid),
                    ],
                )
        await bench.settle(ctx)

    simulate(bench.part, testbench)


def test_a_start_keeps_no_other_state():
    """A start in mid-sequence begins from the initial state; what follows goes on from there, on the sides in turn."""
    rng = np.random.default_rng(1)
    config = contexts_config()
    bench = Bench(config, rng, known=1)

    async def testbench(ctx):
        await bench.load(ctx)
        for tid in (0, 5, 10, 15):
            for starts in ([1, 0, 0], [1, 1, 0], [0, 0, 1], [0, 1, 0]):
                await bench.play(ctx, [Packet(tid, start=bool(start), malformed=not start) for start in starts])
                await bench.play(ctx, [Packet(tid, start=bool(start)) for start in starts])
        await bench.settle(ctx)

    simulate(bench.part, testbench)


@pytest.mark.parametrize("streams", [1, 4])
def test_clear(streams):
    """No context has a state, whichever had one, also none whose packet was announced before."""
    rng = np.random.default_rng(1)
    config = contexts_config(2, streams)
    bench = Bench(config, rng, known=1)
    tids = range(1 << config.tid_bits)

    async def testbench(ctx):
        await bench.load(ctx)
        for waiting in range(6):
            last = [Packet(0) for _ in range(waiting)]
            await bench.play(ctx, [Packet(int(tid)) for tid in rng.permutation(tids)] + last)
            # The sweep begins anywhere.
            for _ in range(waiting):
                await bench.clear(ctx)
                await bench.play(ctx, [Packet(0), Packet(1)])
            await bench.clear(ctx)
            await bench.play(ctx, [Packet(int(tid)) for tid in rng.permutation(tids)])
        await bench.settle(ctx)

    simulate(bench.part, testbench)


@pytest.mark.parametrize("before", range(1, 8))
def test_clear_reaches_packets_that_wait(before):
    """Both were announced, the one just ``before`` cycles ago; after the clear their contexts have no state."""
    rng = np.random.default_rng(1)
    config = contexts_config()
    bench = Bench(config, rng, known=1)

    async def testbench(ctx):
        await bench.load(ctx)
        await bench.play(ctx, [Packet(5), Packet(9), Packet(5)])
        bench.side = 1  # three have been announced
        first, second = Packet(9), Packet(5)
        await bench.cycle(ctx, announced=first)
        await bench.cycle(ctx, announced=second)
        for _ in range(before - 1):
            await bench.cycle(ctx)
        await bench.clear(ctx)
        for packet, side in ((first, 1), (second, 0)):
            bench.model.begin(packet)
            for number in range(LEAST):
                word = {"source": Source.PREVIOUS, "slot": number, "valid": 1, "side": side}
                word |= {"start": number == 0, "commit": number == LEAST - 1}
                bench.expected[bench.now + bench.part.latency] = bench.model.access(Source.PREVIOUS, number)
                await bench.cycle(ctx, word=word, malformed=0)
            bench.model.end(False)
            bench.open[side] = None
        await bench.cycle(ctx)
        await bench.play(ctx, random_packets(rng, config, 10, [5, 9]))
        await bench.settle(ctx)

    simulate(bench.part, testbench)


@pytest.mark.parametrize("announced", [1, 2])
@pytest.mark.parametrize("before", range(4))
def test_drop(announced, before):
    """After a drop the next packet is of side 0, however many were announced; states stay."""
    rng = np.random.default_rng(1)
    config = contexts_config()
    bench = Bench(config, rng, known=1)

    async def testbench(ctx):
        await bench.load(ctx)
        await bench.play(ctx, random_packets(rng, config, 9, [5, 9]))
        for _ in range(3):
            for _ in range(announced):
                await bench.cycle(ctx, announced=Packet(int(rng.integers(16))))
            for _ in range(before):
                await bench.cycle(ctx)
            await bench.drop(ctx)
            await bench.play(ctx, random_packets(rng, config, 8, [5, 9]))
        await bench.settle(ctx)

    simulate(bench.part, testbench)

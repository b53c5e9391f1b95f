"""The whole accelerator with two small models written by hand: every context is what it would be alone."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from rtl_bench import make_config, random_signed, simulate
from spiccato.isa.issue import Source, VectorFrom, issue_word
from spiccato.isa.load import Record, RecordKind, context_word, feature_word, load_stream, model_word, parameters_word
from spiccato.isa.marks import MARKS
from spiccato.isa.registers import REGISTERS, TransferKind
from spiccato.isa.word import pack_bits
from spiccato.numbers import ACC_BITS, ADJUST_OFFSET, C_BITS, EXPONENT_STEP, GATES, SHIFT_BITS, SHIFT_MAX, WEIGHT_BITS
from spiccato.rtl.accelerator import Accelerator, Timing
from spiccato.rtl.accumulator import RowAccumulator
from spiccato.rtl.cell import CellUnit
from spiccato.rtl.ingress import Ingress
from spiccato.rtl.output_lane import OutputLane
from spiccato.rtl.sequencer import Sequencer

CONFIG = make_config(models=2, streams=4, state_slots=24, slots=8, output_beats=4)
#: Contexts, {(model, stream): first state slot}: not all that ``tid`` can name, their ranges in no order.
BASES = {(0, 0): 20, (0, 1): 0, (0, 3): 6, (1, 0): 10, (1, 2): 17}
#: Slots of the models: their first, how many.
SLOTS = {0: (0, 2), 1: (2, 2)}
KEEPS_SUMS, KEEPS_C = (0, 2, 3), (0,)
BEATS = {0: 1, 1: 2}
FRAC_BITS = {0: 30, 1: 33}
LAST_VALUES = {0: 3, 1: 4}


class Program:
    """Both models' words and images. Rows add to what the context's last inference left, so that each counts.

    Model 0 (one block of x) keeps its sums, updates a cell and has what follows from h as output. Model 1 (two blocks)
    has two slots of sums as output, and an initial state.
    """

    def __init__(self, config, rng):
        timing = Timing(config)
        block = config.block
        self.weights = rng.integers(-(1 << WEIGHT_BITS - 1), 1 << WEIGHT_BITS - 1, (8, block, block))
        self.weights[4, :, 1:] = 0  # of the block of h only the first unit is there
        # Gates between their limits for many steps, outputs of any size.
        least, most = (
            np.array(values)[:, None] for values in ([31, 24, 18, 18, 0, 0, 0, 0], [35, 28, 26, 26, 1, 1, 1, 1])
        )
        self.shifts = rng.integers(least, most, (2, config.slots, block))
        self.sums = random_signed(rng, 28, (2 * config.state_slots + config.slots, block))
        self.cells = random_signed(rng, C_BITS - 2, (2 * config.state_slots, config.lanes))
        self.adjust = {m: rng.integers(-70, -62, (BEATS[m], block)) for m in BEATS}
        x = {"valid": 1, "vector_from": VectorFrom.X}
        first, second = SLOTS[0][0], SLOTS[1][0]
        h = {"vector_from": VectorFrom.H, "slot": first + 1, "source": Source.BIAS, "output": 1, "output_last": 1}
        # Each is padded until another inference may follow at once: sums, c, outputs.
        pad = max(timing.reload, timing.c_reuse, Sequencer.head_words + Sequencer.least_tail)
        self.words = {
            0: [
                x | {"slot": first, "source": Source.PREVIOUS, "store": 1, "cell": 1, "wait_block": 1, "start": 1},
                *[{}] * (timing.dependency - 1),
                {"valid": 1, "weight": 4} | h,
                *[{}] * pad,
            ],
            1: [
                x | {"weight": 1, "slot": second, "source": Source.PREVIOUS, "wait_block": 1, "start": 1},
                x
                | {"weight": 2, "vector": 1, "slot": second, "source": Source.CONTINUE, "store": 1, "wait_block": 1}
                | {"output": 1},
                x
                | {"weight": 3, "slot": second + 1, "source": Source.PREVIOUS, "store": 1, "recurrent": 1}
                | {"output": 1, "output_last": 1},
                *[{}] * pad,
            ],
        }
        for words in self.words.values():
            words[-1] = {"commit": 1}
        self.initial = 14
        self.bases = {m << config.stream_bits | stream: base for (m, stream), base in BASES.items()}

    def records(self):
        """The records of the load."""
        config = CONFIG
        modulus = 1 << context_word(config)["base"].width

        def image(word, entries):
            names = [field.name for field in word]
            return word.encode({name: [int(entry.get(name, 0)) for entry in entries] for name in names})

        def of_state(m, base):
            """What is added to a slot's number."""
            return (base - SLOTS[m][0]) % modulus

        for row in range(config.block):
            yield Record(RecordKind.WEIGHTS, pack_bits(self.weights[:, row], WEIGHT_BITS), row=row)
            yield Record(RecordKind.ACCUMULATORS, pack_bits(self.sums[:, row : row + 1], ACC_BITS), row=row)
        yield Record(RecordKind.SHIFTS, pack_bits(self.shifts.reshape(-1, config.block), SHIFT_BITS))
        yield Record(RecordKind.CELL_STATE, pack_bits(self.cells, C_BITS))
        beat_bits = (config.input_blocks - 1).bit_length()
        word, heads, tails, first = issue_word(config), Sequencer.head_words, {}, 0
        for m, adjust in self.adjust.items():
            packed = [
                sum(
                    feature_word.pack(adjust=int(value) + ADJUST_OFFSET, enable=1) << feature_word.size * i
                    for i, value in enumerate(beat)
                )
                for beat in adjust
            ]
            entries = np.array([[p >> 32 * k & 0xFFFFFFFF for k in range(2)] for p in packed], dtype=np.uint32)
            yield Record(RecordKind.FEATURES, entries, addr=m << beat_bits)
            yield Record(RecordKind.HEADS, image(word, self.words[m][:heads]), addr=m << Sequencer.head_bits)
            yield Record(RecordKind.ISSUE_WORDS, image(word, self.words[m][heads:]), addr=first)
            tails[m], first = first, first + len(self.words[m]) - heads
        yield Record(
            RecordKind.MODELS,
            image(
                model_word(config),
                [
                    {
                        "last_input_beat": BEATS[m] - 1,
                        "output_beats": m + 1,
                        "last_values": LAST_VALUES[m] - 1,
                        "output_exponent": 127 - FRAC_BITS[m],
                        "first": tails[m],
                        "before_last": tails[m] + len(self.words[m]) - heads - 2,
                        "has_initial": m,
                        "initial": of_state(m, self.initial),
                    }
                    for m in SLOTS
                ],
            ),
        )
        contexts = [
            {"known": int(tid in self.bases), "base": of_state(tid >> config.stream_bits, self.bases.get(tid, 0))}
            for tid in range(1 << config.tid_bits)
        ]
        yield Record(RecordKind.CONTEXTS, image(context_word(config), contexts))
        yield Record(RecordKind.PARAMETERS, image(parameters_word, [{"digest": 77}]))


class Context:
    """One stream by itself: sums and c of each slot."""

    def __init__(self, program, m):
        self.program, self.m = program, m
        self.forget()

    def forget(self):
        program, (first, number) = self.program, SLOTS[self.m]
        if self.m:
            self.sums = {first + n: program.sums[program.initial + n] for n in range(number)}
            self.cells = {first + n: program.cells[program.initial + n] for n in range(number)}
        else:
            self.sums = {first + n: program.sums[2 * CONFIG.state_slots + first + n] for n in range(number)}
            self.cells = {first + n: 0 * program.cells[0] for n in range(number)}

    def step(self, blocks, exponents, keep):
        """The output's sums, one array for each output word."""
        program, sums, cells, outputs = self.program, dict(self.sums), dict(self.cells), []
        acc, h = np.zeros(CONFIG.block, dtype=np.int64), None
        for word in program.words[self.m]:
            if not word.get("valid"):
                continue
            slot = word["slot"]
            if word["vector_from"] is VectorFrom.X:
                vector, exponent = blocks[word.get("vector", 0)], int(exponents[word.get("vector", 0)])
            else:
                vector, exponent = np.array([h[0], 0, 0, 0]), 0
            shift = np.minimum(program.shifts[word.get("recurrent", 0), slot] + EXPONENT_STEP * exponent, SHIFT_MAX)
            bias = program.sums[2 * CONFIG.state_slots + slot]
            operand = {Source.CONTINUE: acc, Source.BIAS: bias, Source.PREVIOUS: self.sums[slot]}[word["source"]]
            acc = operand + RowAccumulator.align(program.weights[word.get("weight", 0)] @ vector, shift)
            assert (abs(acc) < 1 << (ACC_BITS - 1)).all()
            if word.get("store"):
                sums[slot] = acc
            if word.get("cell"):
                cells[slot], h = CellUnit.compute(acc.reshape(-1, GATES).T, self.cells[slot])
            if word.get("output"):
                outputs.append(acc)
        if keep:
            self.sums, self.cells = sums, cells
        return outputs


class Host:
    """A host that loads, sends packets and takes outputs."""

    def __init__(self, rng, profile="aggressive"):
        self.rng = rng
        self.config = dataclasses.replace(CONFIG, profile=profile)
        self.part = Accelerator(self.config)
        self.program = Program(self.config, rng)
        self.contexts = {tid: Context(self.program, tid >> CONFIG.stream_bits) for tid in self.program.bases}
        self.expected, self.taken = [], []  # beats
        self.now = 0
        self.firsts, self.lasts, self.shown = [], [], []  # cycles: acceptance of packets, tvalid of first output beats
        self.ready = 1.0

    async def tick(self, ctx):
        port = self.part.m_axis_output
        ready = int(self.rng.random() < self.ready)
        ctx.set(port.tready, ready)
        if ctx.get(port.tvalid):
            begins = not self.taken or self.taken[-1].tlast
            if begins and len(self.shown) == sum(beat.tlast for beat in self.taken):
                self.shown.append(self.now)
            if ready:
                beat = SimpleNamespace(
                    **{name: ctx.get(getattr(port, name)) for name in ("tdata", "tkeep", "tlast", "tid")},
                    marks={name: ctx.get(getattr(port.tuser, name)) for name in MARKS},
                )
                assert beat == self.expected[len(self.taken)], (len(self.taken), beat, self.expected[len(self.taken)])
                self.taken.append(beat)
        await ctx.tick()
        self.now += 1

    async def write(self, ctx, name, words):
        axil = self.part.s_axil
        ctx.set(axil.awaddr, REGISTERS[name].offset)
        ctx.set(axil.wstrb, 0xF)
        ctx.set(axil.bready, 1)
        ctx.set(axil.awvalid, 1)
        ctx.set(axil.wvalid, 1)
        for word in words:
            ctx.set(axil.wdata, int(word))
            while not ctx.get(axil.wready):
                await self.tick(ctx)
            await self.tick(ctx)
        ctx.set(axil.awvalid, 0)
        ctx.set(axil.wvalid, 0)
        for _ in range(4):
            await self.tick(ctx)

    async def load(self, ctx):
        for _ in range(Sequencer.drain_cycles + 40):
            await self.tick(ctx)
        await self.write(ctx, "control", [REGISTERS["control"].pack(load=1)])
        await self.write(ctx, "load_data", load_stream(self.program.records(), self.config.digest))
        for context in self.contexts.values():
            context.forget()

    async def forget(self, ctx):
        """All states, when the packets before have been computed."""
        while len(self.taken) < len(self.expected):
            await self.tick(ctx)
        for _ in range(2 * Sequencer.drain_cycles):
            await self.tick(ctx)
        await self.write(ctx, "control", [REGISTERS["control"].pack(reset_state=1)])
        for context in self.contexts.values():
            context.forget()

    def expect(self, tid, start, quiet, values, length):
        """What comes of a packet."""
        m = tid >> CONFIG.stream_bits
        context, beats = self.contexts.get(tid), BEATS[m]
        ones = (1 << 16 * CONFIG.block // 8) - 1
        if context is None:
            marks = {name: int(name == "unknown") for name in MARKS}
            if not quiet:
                self.expected.append(SimpleNamespace(tdata=0, tkeep=ones, tlast=1, tid=tid, marks=marks))
            return
        padded = np.zeros((beats, CONFIG.block), dtype=np.int64)
        padded[: min(length, beats)] = values[:beats]
        enable = np.ones_like(padded)
        mantissas, exponents, flags = Ingress.compute(padded, self.program.adjust[m], enable, "bfloat16")
        malformed = length != beats
        before = dict(context.sums), dict(context.cells)
        if start:
            context.forget()
        outputs = context.step(mantissas, exponents, not malformed)
        if malformed:
            context.sums, context.cells = before
        marks = {name: int(flags.get(name, 0)) for name in MARKS} | {"malformed": int(malformed)}
        for n, sums in enumerate(outputs):
            last = n == len(outputs) - 1
            data = sum(int(v) << 16 * i for i, v in enumerate(OutputLane.compute(sums, FRAC_BITS[m], "bfloat16")))
            keep = (1 << 2 * LAST_VALUES[m]) - 1 if last else ones
            if not quiet:
                self.expected.append(SimpleNamespace(tdata=data, tkeep=keep, tlast=int(last), tid=tid, marks=marks))

    async def send(self, ctx, tid, *, start=0, quiet=0, length=None, pause=0.0):
        rng, port = self.rng, self.part.s_axis_input
        length = BEATS[tid >> CONFIG.stream_bits] if length is None else length
        exponent = rng.integers(105, 126, (length, CONFIG.block))
        exponent = np.where(rng.random(exponent.shape) < 0.01, 255, exponent)
        fraction = rng.integers(0, 128, exponent.shape) * (rng.random(exponent.shape) < 0.9)
        # NaN and infinity among them.
        fraction = np.where(exponent == 255, rng.integers(0, 2, exponent.shape), fraction)
        values = rng.integers(0, 2, exponent.shape) << 15 | exponent << 7 | fraction
        self.expect(tid, start, quiet, values, length)
        for n, beat in enumerate(values):
            while rng.random() < pause:
                ctx.set(port.tvalid, 0)
                await self.tick(ctx)
            ctx.set(port.tvalid, 1)
            ctx.set(port.tdata, sum(int(v) << 16 * i for i, v in enumerate(beat)))
            ctx.set(port.tlast, n == length - 1)
            # They count with the first beat.
            ctx.set(port.tid, tid if n == 0 else int(rng.integers(8)))
            others = {name: int(rng.integers(2)) for name in ("start", "quiet")}
            ctx.set(port.tuser, {"start": start, "quiet": quiet} if n == 0 else others)
            waited = 0
            while not ctx.get(port.tready):
                await self.tick(ctx)
                waited += 1
                assert waited < 2000, "no progress"
            if n == 0:
                self.firsts.append(self.now)
            if n == BEATS[tid >> CONFIG.stream_bits] - 1:
                self.lasts.append(self.now)
            await self.tick(ctx)
        ctx.set(port.tvalid, 0)

    async def settle(self, ctx, cycles=150):
        for _ in range(cycles):
            await self.tick(ctx)
        assert len(self.taken) == len(self.expected)


@pytest.mark.parametrize("seed", [1, 2])
def test_contexts(seed):
    """Packets of all contexts and of none, as fast as they are taken and with pauses, to quick and slow hosts."""
    rng = np.random.default_rng(seed)
    host = Host(rng)

    async def testbench(ctx):
        await host.load(ctx)
        for pause, ready, gap in ((0.0, 1.0, 0), (0.5, 0.3, 0), (0.0, 0.05, 0), (0.3, 1.0, 60)):
            host.ready = ready
            for _ in range(25):
                tid = int(rng.integers(8) if rng.random() < 0.2 else rng.choice(list(host.contexts)))
                beats = BEATS[tid >> CONFIG.stream_bits]
                await host.send(
                    ctx,
                    tid,
                    start=int(rng.random() < 0.15),
                    quiet=int(rng.random() < 0.3),
                    length=beats if rng.random() < 0.75 else int(rng.integers(1, 5)),
                    pause=pause,
                )
                for _ in range(int(rng.integers(gap + 1))):
                    await host.tick(ctx)
            host.ready = 1.0
            await host.forget(ctx)
        await host.load(ctx)
        for tid in host.contexts:
            await host.send(ctx, tid)
        await host.settle(ctx)

    simulate(host.part, testbench)
    assert {name for beat in host.taken for name, value in beat.marks.items() if value} == set(MARKS)
    assert len({beat.tdata for beat in host.taken}) > len(host.taken) // 2


def test_latency_is_the_same_in_every_context():
    """Spaced: from a packet's last beat to the first of its output, as the timing predicts, whichever was before."""
    host, timing = Host(np.random.default_rng(1)), Timing(CONFIG)
    tids = []

    async def testbench(ctx):
        await host.load(ctx)
        for a in range(8):
            for b in (0, 4, a):
                for tid in (a, b):
                    tids.append(tid)
                    await host.send(ctx, tid)
                    await host.settle(ctx)

    simulate(host.part, testbench)
    at = {m: next(n for n, word in enumerate(host.program.words[m]) if word.get("output")) for m in SLOTS}
    # Of an unknown context's packet only the last output word makes a beat.
    last = {m: next(n for n, word in enumerate(host.program.words[m]) if word.get("output_last")) for m in SLOTS}
    for tid, accepted, shown in zip(tids, host.firsts, host.shown, strict=True):
        m = tid >> CONFIG.stream_bits
        word = (at if tid in host.contexts else last)[m]
        # The first block's words can go when it is there; the second block comes a cycle later.
        assert shown - accepted == timing.input + word + timing.output, tid


class Transfer:
    """A host's accesses to one context's state, beside the packets."""

    def __init__(self, part):
        self.part = part

    async def write(self, ctx, name, value):
        axil = self.part.s_axil
        ctx.set(axil.awaddr, REGISTERS[name].offset)
        ctx.set(axil.wdata, value)
        ctx.set(axil.wstrb, 0xF)
        ctx.set(axil.awvalid, 1)
        ctx.set(axil.wvalid, 1)
        ctx.set(axil.bready, 1)
        await ctx.tick()
        ctx.set(axil.awvalid, 0)
        ctx.set(axil.wvalid, 0)
        while not ctx.get(axil.bvalid):
            await ctx.tick()
        await ctx.tick()

    async def read(self, ctx, name):
        axil = self.part.s_axil
        ctx.set(axil.araddr, REGISTERS[name].offset)
        ctx.set(axil.arvalid, 1)
        ctx.set(axil.rready, 1)
        await ctx.tick()
        ctx.set(axil.arvalid, 0)
        while not ctx.get(axil.rvalid):
            await ctx.tick()
        value = ctx.get(axil.rdata)
        await ctx.tick()
        return REGISTERS[name].unpack(value) if REGISTERS[name].fields else value

    async def move(self, ctx, kind, slot=0, lane=0):
        await self.write(ctx, "transfer", REGISTERS["transfer"].pack(kind=kind, slot=slot, lane=lane))
        for _ in range(1000):
            status = await self.read(ctx, "status")
            if status["transferred"]:
                return status
        raise AssertionError("no transfer")

    async def choose(self, ctx, tid):
        await self.write(ctx, "context", REGISTERS["context"].pack(tid=tid))

    async def save(self, ctx, tid):
        """Sums and c of all slots."""
        await self.choose(ctx, tid)
        first, number = SLOTS[tid >> CONFIG.stream_bits]
        found = []
        for kind, lanes in ((TransferKind.READ_SUM, CONFIG.block), (TransferKind.READ_C, CONFIG.lanes)):
            values = {}
            for slot in range(first, first + number):
                values[slot] = []
                for lane in range(lanes):
                    status = await self.move(ctx, kind, slot, lane)
                    assert (status["known"], status["alive"], status["touched"]) == (1, 1, 0)
                    high, low = await self.read(ctx, "element_high"), await self.read(ctx, "element_low")
                    value = high << 32 | low
                    values[slot].append(value - (value >> 63 << 64))
            found.append({slot: np.array(elements) for slot, elements in values.items()})
        return found

    async def restore(self, ctx, tid, sums, cells):
        """The inverse; from then on they are the context's state."""
        await self.choose(ctx, tid)
        for slot in sums:
            for row, value in enumerate(sums[slot]):
                for k in range(2):
                    await self.write(ctx, "state_data", int(value) >> 32 * k & 0xFFFFFFFF)
                await self.move(ctx, TransferKind.WRITE_SUM, slot, row)
            (word,) = pack_bits(cells[slot][None, :], C_BITS)
            for part in word:
                await self.write(ctx, "state_data", int(part))
            await self.move(ctx, TransferKind.WRITE_C, slot)
        await self.move(ctx, TransferKind.ADOPT)


@pytest.mark.parametrize("profile", ["aggressive", "conservative"])
@pytest.mark.parametrize("source, target", [(3, 0), (4, 6)])
def test_transfers(source, target, profile):
    """A context's state is read, and written to another one, while others run at full speed; then it is forgotten.

    What was read is what the model has; the other one goes on as the first would have; those that ran are untouched.
    """
    rng = np.random.default_rng(1)
    host = Host(rng, profile)
    transfer = Transfer(host.part)
    begun, ended = [], []
    found = []

    async def packets(ctx):
        await host.load(ctx)
        for _ in range(20):
            await host.send(ctx, int(rng.choice(list(host.contexts))), start=int(rng.random() < 0.1))
        await host.send(ctx, source)
        await host.settle(ctx)
        begun.append(host.now)
        others = [tid for tid in host.contexts if tid not in (source, target)]
        while not ended:
            await host.send(ctx, int(rng.choice(others)), length=int(rng.integers(1, 3)))
        first, second = host.contexts[source], host.contexts[target]
        sums, cells = found
        # Of a slot that keeps none they may be anything.
        for kept, expected, seen in ((KEEPS_SUMS, first.sums, sums), (KEEPS_C, first.cells, cells)):
            for slot in expected:
                assert slot not in kept or seen[slot].tolist() == expected[slot].tolist(), slot
        second.sums, second.cells = dict(first.sums), dict(first.cells)
        first.forget()
        for _ in range(20):
            await host.send(ctx, int(rng.choice(list(host.contexts))))
        await host.settle(ctx)

    async def transfers(ctx):
        while not begun:
            await ctx.tick()
        found.extend(await transfer.save(ctx, source))
        await transfer.restore(ctx, target, *found)
        await transfer.choose(ctx, source)
        await transfer.move(ctx, TransferKind.FORGET)
        assert not (await transfer.read(ctx, "status"))["alive"]
        ended.append(True)

    simulate(host.part, packets, transfers)

"""A core playing random issue words, against the blocks' integer models put together."""

import numpy as np
import pytest

from rtl_bench import make_config, random_signed, simulate
from spiccato.isa.issue import Source
from spiccato.isa.load import RecordKind, TransferTarget
from spiccato.numbers import ACC_BITS, C_BITS, EXPONENT_STEP, GATES, SHIFT_BITS, SHIFT_MAX, VECTOR_BITS
from spiccato.rtl.accumulator import RowAccumulator
from spiccato.rtl.cell import CellUnit
from spiccato.rtl.contexts import Contexts
from spiccato.rtl.core import Core
from spiccato.rtl.core_timing import CoreTiming
from spiccato.rtl.load_tree import LoadTree
from spiccato.rtl.row import DotProductRow
from spiccato.rtl.weights import Weights

INDEX = 3
#: Of weights that are used.
WORDS = 16
BLOCK = 4


def core_config(**changes):
    """State memories that are no power of two deep."""
    return make_config(block=BLOCK, slots=4, state_slots=5, **changes)


class Model:
    """The core without its pipeline: one issue word after the other, each with its addresses."""

    def __init__(self, config, rng):
        self.config = config
        # Sums of what random words store and add again must fit: row sums shifted well down, few additions.
        # Loading takes time: the first words of deep memories.
        weights = min(WORDS, config.weight_depth), config.block, config.columns
        self.weights = random_signed(rng, config.operands.weight, weights)
        self.shifts = rng.integers(24, 45, (2, config.slots, config.block))
        self.factors = rng.integers(1 << config.factor_bits, size=self.shifts.shape)
        self.sums = random_signed(rng, 31, (2 * config.state_slots + config.slots, config.block))
        self.cells = random_signed(rng, C_BITS, (2 * config.state_slots, config.lanes))
        self.kept_h = random_signed(rng, VECTOR_BITS, (2 * config.state_slots, config.lanes))
        self.acc = np.zeros(config.block, dtype=np.int64)

    def load_words(self):
        """(target, row, addr, data) of everything, as the load bus takes it."""

        def packed(values, bits):
            return sum((int(value) & ((1 << bits) - 1)) << (bits * i) for i, value in enumerate(values))

        config = self.config
        for addr, rows in enumerate(self.weights):
            for row, values in enumerate(rows):
                yield RecordKind.WEIGHTS, row, addr, packed(values, config.operands.weight)
        scales = self.shifts + (self.factors << SHIFT_BITS)
        for addr, values in enumerate(scales.reshape(-1, config.block)):
            yield RecordKind.SHIFTS, 0, addr, packed(values, SHIFT_BITS + config.factor_bits)
        for addr, values in enumerate(self.sums):
            for row, value in enumerate(values):
                yield RecordKind.ACCUMULATORS, row, addr, packed([value], ACC_BITS)
        for addr, values in enumerate(self.cells):
            yield RecordKind.CELL_STATE, 0, addr, packed(values, C_BITS)
        for addr, values in enumerate(self.kept_h):
            yield TransferTarget.H_STATE, 0, addr, packed(values, VECTOR_BITS)

    def play(self, word, access, vector, exponent):
        """The accumulators after ``word``; if it finishes a slot also the units' h; sums, c, h as read, idle or not."""
        sums, h_old = self.sums[access["sums"]].copy(), self.kept_h[access["c"]].copy()
        c_old = 0 * self.cells[0] if access["zero"] else self.cells[access["c"]].copy()
        if not word["valid"]:
            return self.acc, None, sums, c_old, h_old
        weights, step, times, row = self.weights[word["weight"]], 1, 1, (word["recurrent"], word["slot"])
        if self.config.narrow:
            times = 4 + self.factors[row]
        else:
            weights, step = DotProductRow.widen(weights, word["int8"], word["high"]), EXPONENT_STEP
        shift = np.minimum(self.shifts[row] + step * exponent, SHIFT_MAX)
        operand = self.acc if word["source"] is Source.CONTINUE else sums
        self.acc = operand + RowAccumulator.align(times * (weights @ vector), shift, self.config.align_left)
        assert (abs(self.acc) < 1 << (ACC_BITS - 1)).all()
        if word["store"] and access["keep"]:
            self.sums[access["store"]] = self.acc
        if not word["cell"]:
            return self.acc, None, sums, c_old, h_old
        c, h = CellUnit.compute(self.acc.reshape(-1, GATES).T, c_old)
        if access["keep"]:
            self.cells[access["store"]], self.kept_h[access["store"]] = c, h
        return self.acc, h, sums, c_old, h_old


def random_words(rng, config, timing, count):
    """Words and their addresses that keep the core's rules: distances from stores to loads, and between c's updates.

    Of h, which nothing reads but transfers, the distance is that after which it is in its memory.
    """
    reuse = timing.c_reuse
    if config.keep_h:
        reuse += timing.h_kept - timing.c
    words, stored, updated = [], {}, {}
    states, depth = 2 * config.state_slots, 2 * config.state_slots + config.slots
    for n in range(count):
        word = {
            "valid": int(rng.random() < 0.9),
            "slot": int(rng.integers(config.slots)),
            "weight": int(rng.integers(min(WORDS, config.weight_depth))),
            **({} if config.narrow else {"int8": int(rng.integers(2)), "high": int(rng.integers(2))}),
            "recurrent": int(rng.integers(2)),
            "source": Source(int(rng.integers(4))),
            "store": int(rng.random() < 0.4),
            "cell": int(rng.random() < 0.3),
        }
        access = {
            "sums": int(rng.integers(depth)),
            "store": int(rng.integers(states)),
            "c": int(rng.integers(states)),
            "zero": int(rng.random() < 0.2),
            "keep": int(rng.random() < 0.8),
        }
        while n - stored.get(access["sums"], -99) < timing.reload:
            access["sums"] = int(rng.integers(depth))
        while n - updated.get(access["c"], -99) < reuse:
            access["c"] = int(rng.integers(states))
        if word["valid"] and word["store"] and access["keep"]:
            stored[access["store"]] = n
        if word["valid"] and word["cell"] and access["keep"]:
            updated[access["store"]] = n
        words.append((word, access))
    return words


@pytest.mark.parametrize("read", ["sums", "c", "h"])
@pytest.mark.parametrize("profile", ["aggressive", "conservative"])
@pytest.mark.parametrize("family", ["portable", "agilex7", "ecp5"])
def test_core(family, profile, read):
    """All loaded over the load bus, then a word a cycle: ``acc``, ``h``, ``element`` in their exact cycles."""
    check_core(core_config(family=family, profile=profile, keep_h=read == "h"), read)


@pytest.mark.parametrize(
    "family, depth, profile",
    [
        ("versal", 2048, "aggressive"),
        ("ecp5", 16, "conservative"),
        ("ecp5", 16, "aggressive"),
        ("agilex7", 16, "aggressive"),
    ],
)
def test_narrow_core(family, depth, profile):
    """The same with rows of 9x9 multipliers, twice as many columns as rows; on a Versal two rows share their memory."""
    config = core_config(columns=2 * BLOCK, multiplier="9x9", family=family, profile=profile, weight_depth=depth)
    check_core(config, "sums")


def check_core(config, read):
    rng = np.random.default_rng(len(read))
    timing = CoreTiming(config)
    core = Core(config)
    model = Model(config, rng)
    words = random_words(rng, config, timing, 500)
    vectors = random_signed(rng, config.operands.element, (len(words), config.columns))
    exponents = rng.integers(0, 16, len(words))
    loads = list(model.load_words())
    stored, reloads = set(), 0
    for word, access in words:
        reloads += word["valid"] and word["source"] is not Source.CONTINUE and access["sums"] in stored
        if word["valid"] and word["store"] and access["keep"]:
            stored.add(access["store"])
    expected = [model.play(*word, *args) for word, *args in zip(words, vectors, exponents)]
    assert reloads > 50 and sum(h is not None for _, h, *_ in expected) > 50
    memory = ["sums", "c", "h"].index(read)
    lane = int(rng.integers(config.lanes if memory else config.block))
    element_at = (timing.c_old if memory else timing.operand) + core.element_latency

    async def testbench(ctx):
        ctx.set(core.index, INDEX)
        ctx.set(core.lane, lane)
        ctx.set(core.of_c, read == "c")
        if config.keep_h:
            ctx.set(core.of_h, read == "h")
        for target, row, addr, data in loads:
            # The same word to another core first: it must not land here.
            for index, value in ((INDEX, data), (INDEX + 1, ~data & ((1 << 64) - 1))):
                ctx.set(
                    core.load, {"enable": 1, "target": target, "core": index, "row": row, "addr": addr, "data": value}
                )
                await ctx.tick()
        ctx.set(core.load.enable, 0)
        await ctx.tick().repeat(Weights.load_cycles(config) + 1)
        for cycle in range(len(words) + timing.h + core.element_latency + 1):
            ctx.set(core.issue, words[cycle][0] if cycle < len(words) else {"valid": 0, "source": Source.BIAS})
            if 0 <= cycle - Contexts.latency < len(words):
                ctx.set(core.access, words[cycle - Contexts.latency][1])
            if 0 <= cycle - timing.vector < len(words):
                ctx.set(core.vector, vectors[cycle - timing.vector].tolist())
                ctx.set(core.exponent, int(exponents[cycle - timing.vector]))
            if 0 <= cycle - timing.acc < len(words):
                assert list(ctx.get(core.acc)) == expected[cycle - timing.acc][0].tolist(), cycle - timing.acc
            if 0 <= cycle - timing.h < len(words):
                h = expected[cycle - timing.h][1]
                assert h is None or list(ctx.get(core.h)) == h.tolist(), cycle - timing.h
            if 0 <= cycle - element_at < len(words):
                assert ctx.get(core.element) == expected[cycle - element_at][2 + memory][lane], cycle - element_at
            await ctx.tick()

    simulate(core, testbench)


@pytest.mark.parametrize("family", ["portable", "ecp5"])
@pytest.mark.parametrize("profile", ["aggressive", "conservative"])
def test_reload_distance(profile, family):
    """A partial sum can be loaded ``reload`` cycles after it was stored, not one cycle earlier."""
    config = core_config(profile=profile, family=family)
    timing = CoreTiming(config)
    loaded = {}
    for distance in (timing.reload - 1, timing.reload):
        core = Core(config)

        async def testbench(ctx):
            bias, constant, state = 12345, 2 * config.state_slots + 3, 7
            for row in range(BLOCK):
                load = {"enable": 1, "target": RecordKind.ACCUMULATORS, "core": 0, "row": row}
                ctx.set(core.load, load | {"addr": constant, "data": bias})
                await ctx.tick()
            ctx.set(core.load.enable, 0)
            await ctx.tick().repeat(LoadTree.latency + 1 + config.stages.write_register)
            # Bias to partial sum, then that sum once more; weights are zero.
            for cycle in range(distance + timing.acc):
                first = cycle == 0
                source = Source.BIAS if first else Source.STORED
                ctx.set(core.issue, {"valid": cycle in (0, distance), "store": first, "source": source})
                sums = constant if cycle == Contexts.latency else state
                ctx.set(core.access, {"sums": sums, "store": state, "keep": 1})
                await ctx.tick()
            loaded[distance] = list(ctx.get(core.acc)) == [bias] * BLOCK

        simulate(core, testbench)
    assert loaded == {timing.reload - 1: False, timing.reload: True}

"""A core playing random issue words, against the blocks' integer models put together."""

import numpy as np
import pytest

from rtl_bench import make_config, random_signed, simulate
from spiccato.isa.issue import Source
from spiccato.isa.load import RecordKind
from spiccato.numbers import ACC_BITS, C_BITS, EXPONENT_STEP, GATES, SHIFT_BITS, SHIFT_MAX, VECTOR_BITS, WEIGHT_BITS
from spiccato.rtl.accumulator import RowAccumulator
from spiccato.rtl.cell import CellUnit
from spiccato.rtl.core import Core
from spiccato.rtl.core_timing import CoreTiming
from spiccato.rtl.load_tree import LoadTree
from spiccato.rtl.row import DotProductRow

INDEX = 3
BLOCK = 4


class Model:
    """The core without its pipeline: one issue word after the other."""

    def __init__(self, config, rng):
        self.config = config
        # Sums of what random words store and add again must fit: row sums shifted well down, few additions.
        self.weights = random_signed(rng, WEIGHT_BITS, (config.weight_depth, config.block, config.block))
        self.shifts = rng.integers(24, 45, (2, config.slots, config.block))
        self.partials = random_signed(rng, 31, (3, config.slots, config.block))
        self.cells = random_signed(rng, C_BITS, (2, config.slots, config.lanes))
        self.acc = np.zeros(config.block, dtype=np.int64)

    def load_words(self):
        """(target, row, addr, data) of everything, as the load bus takes it."""

        def packed(values, bits):
            return sum((int(value) & ((1 << bits) - 1)) << (bits * i) for i, value in enumerate(values))

        config = self.config
        for addr, rows in enumerate(self.weights):
            for row, values in enumerate(rows):
                yield RecordKind.WEIGHTS, row, addr, packed(values, WEIGHT_BITS)
        for addr, values in enumerate(self.shifts.reshape(-1, config.block)):
            yield RecordKind.SHIFTS, 0, addr, packed(values, SHIFT_BITS)
        for addr, values in enumerate(self.partials.reshape(-1, config.block)):
            for row, value in enumerate(values):
                yield RecordKind.ACCUMULATORS, row, addr, packed([value], ACC_BITS)
        for addr, values in enumerate(self.cells.reshape(-1, config.lanes)):
            yield RecordKind.CELL_STATE, 0, addr, packed(values, C_BITS)

    def play(self, word, vector, exponent):
        """The accumulators after ``word``; if it finishes a slot also the units' h and old c."""
        slot, side = word["slot"], word["side"]
        if not word["valid"]:
            return self.acc, None, None
        weights = DotProductRow.widen(self.weights[word["weight"]], word["int8"], word["high"])
        shift = np.minimum(self.shifts[word["recurrent"], slot] + EXPONENT_STEP * exponent, SHIFT_MAX)
        operand = {
            Source.CONTINUE: self.acc,
            Source.BIAS: self.partials[2, slot],
            Source.PREVIOUS: self.partials[1 - side, slot],
            Source.STORED: self.partials[side, slot],
        }[word["source"]]
        self.acc = operand + RowAccumulator.align(weights @ vector, shift)
        assert (abs(self.acc) < 1 << (ACC_BITS - 1)).all()
        if word["store"]:
            self.partials[side, slot] = self.acc
        if not word["cell"]:
            return self.acc, None, None
        c_old = 0 * self.cells[side, slot] if word["zero_c"] else self.cells[1 - side, slot].copy()
        c, h = CellUnit.compute(self.acc.reshape(-1, GATES).T, c_old)
        self.cells[side, slot] = c
        return self.acc, h, c_old


def random_words(rng, config, timing, count):
    """Words that keep the core's rules: distances from stores to loads, and between a cell's updates."""
    words, stored, updated = [], {}, {}
    for n in range(count):
        word = {
            "valid": int(rng.random() < 0.9),
            "slot": int(rng.integers(config.slots)),
            "weight": int(rng.integers(config.weight_depth)),
            "int8": int(rng.integers(2)),
            "high": int(rng.integers(2)),
            "recurrent": int(rng.integers(2)),
            "source": Source(int(rng.integers(4))),
            "store": int(rng.random() < 0.4),
            "side": int(n // 97 % 2),
            "zero_c": int(rng.random() < 0.2),
            "cell": int(rng.random() < 0.3),
        }
        slot, side = word["slot"], word["side"]
        if word["source"] in (Source.PREVIOUS, Source.STORED):
            half = side if word["source"] is Source.STORED else 1 - side
            if n - stored.get((half, slot), -99) < timing.reload:
                word["source"] = Source.BIAS
        if n - updated.get((1 - side, slot), -99) < timing.c_reuse:
            word["cell"] = 0
        if word["valid"] and word["store"]:
            stored[side, slot] = n
        if word["valid"] and word["cell"]:
            updated[side, slot] = n
        words.append(word)
    return words


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("profile", ["aggressive", "conservative"])
@pytest.mark.parametrize("family", ["portable", "agilex7"])
def test_core(family, profile, seed):
    """All loaded over the load bus, then a word a cycle: ``acc``, ``c_old``, ``h`` in their exact cycles."""
    rng = np.random.default_rng(seed)
    config = make_config(block=BLOCK, slots=4, family=family, profile=profile)
    timing = CoreTiming(config)
    core = Core(config)
    model = Model(config, rng)
    words = random_words(rng, config, timing, 500)
    vectors = random_signed(rng, VECTOR_BITS, (len(words), config.block))
    exponents = rng.integers(0, 16, len(words))
    loads = list(model.load_words())
    expected = [model.play(*args) for args in zip(words, vectors, exponents)]
    reloads = sum(w["valid"] and w["source"] in (Source.PREVIOUS, Source.STORED) for w in words)
    assert reloads > 50 and sum(h is not None for _, h, _ in expected) > 50

    async def testbench(ctx):
        ctx.set(core.index, INDEX)
        for target, row, addr, data in loads:
            # The same word to another core first: it must not land here.
            for index, value in ((INDEX, data), (INDEX + 1, ~data & ((1 << 64) - 1))):
                ctx.set(
                    core.load, {"enable": 1, "target": target, "core": index, "row": row, "addr": addr, "data": value}
                )
                await ctx.tick()
        ctx.set(core.load.enable, 0)
        await ctx.tick().repeat(LoadTree.latency + 1)
        for cycle in range(len(words) + timing.h + 1):
            ctx.set(core.issue, words[cycle] if cycle < len(words) else {"valid": 0, "source": Source.BIAS})
            if 0 <= cycle - timing.vector < len(words):
                ctx.set(core.vector, vectors[cycle - timing.vector].tolist())
                ctx.set(core.exponent, int(exponents[cycle - timing.vector]))
            if 0 <= cycle - timing.acc < len(words):
                assert list(ctx.get(core.acc)) == expected[cycle - timing.acc][0].tolist(), cycle - timing.acc
            if 0 <= cycle - timing.h < len(words):
                h = expected[cycle - timing.h][1]
                assert h is None or list(ctx.get(core.h)) == h.tolist(), cycle - timing.h
            if 0 <= cycle - timing.c_old < len(words):
                c_old = expected[cycle - timing.c_old][2]
                assert c_old is None or list(ctx.get(core.c_old)) == c_old.tolist(), cycle - timing.c_old
            await ctx.tick()

    simulate(core, testbench)


def test_reload_distance():
    """A partial sum can be loaded ``reload`` cycles after it was stored, not one cycle earlier."""
    config = make_config(block=BLOCK)
    timing = CoreTiming(config)
    loaded = {}
    for distance in (timing.reload - 1, timing.reload):
        core = Core(config)

        async def testbench(ctx):
            bias = 12345
            for row in range(BLOCK):
                ctx.set(
                    core.load,
                    {
                        "enable": 1,
                        "target": RecordKind.ACCUMULATORS,
                        "core": 0,
                        "row": row,
                        "addr": 2 * config.slots,
                        "data": bias,
                    },
                )
                await ctx.tick()
            ctx.set(core.load.enable, 0)
            await ctx.tick().repeat(LoadTree.latency + 1)
            # Bias to partial sum, then that sum once more; weights are zero.
            for cycle in range(distance + timing.acc):
                ctx.set(
                    core.issue,
                    {
                        "valid": cycle in (0, distance),
                        "store": cycle == 0,
                        "source": Source.BIAS if cycle == 0 else Source.STORED,
                    },
                )
                await ctx.tick()
            loaded[distance] = list(ctx.get(core.acc)) == [bias] * BLOCK

        simulate(core, testbench)
    assert loaded == {timing.reload - 1: False, timing.reload: True}

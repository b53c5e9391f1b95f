"""The vector file against a list of writes with the cycle in which each reaches its write register."""

import math

import numpy as np
import pytest

from rtl_bench import make_config, random_signed, simulate
from spiccato.isa.issue import Pass, VectorFrom
from spiccato.numbers import EXPONENT_STEP, VECTOR_BITS
from spiccato.rtl.alignment import Alignment
from spiccato.rtl.vector_file import VectorFile


class Bench:
    """Reads and writes by cycle: drives them, and works out what each read should have seen."""

    def __init__(self, config):
        self.config = config
        self.part = VectorFile(config)
        self.reads = {}  # cycle -> members
        self.h = {}  # cycle of h -> (quarter, side, values (cores, lanes))
        self.x = {}  # cycle of x -> (block, side, values (columns), exponent)

    def expected(self, cycle):
        """Vector and exponent that the read issued in ``cycle`` sees."""
        read, horizon, part = self.reads[cycle], cycle + self.part.forward, self.part
        number = self.config.quarters
        quarters = np.zeros((number, self.config.lanes), dtype=np.int64)
        exponent = 0
        if read["vector_from"] is VectorFrom.H:
            for n in sorted(self.h):
                first, side, values = self.h[n]
                if n + part.h_latency <= horizon and side == read["side"]:
                    for core, lanes in enumerate(values):
                        if (first + core) // number == read["vector"]:
                            quarters[(first + core) % number] = lanes
            quarters[read.get("quarters", number) + 1 :] = 0
        elif read["vector_from"] is VectorFrom.X:
            for n in sorted(self.x):
                block, side, values, block_exponent = self.x[n]
                if n + part.x_latency <= horizon and (block, side) == (read["vector"], read["side"]):
                    quarters, exponent = values.reshape(number, -1), block_exponent
        vector = quarters.ravel()
        if self.config.narrow:
            from_x = read["vector_from"] is VectorFrom.X
            positions = Alignment.positions(np.abs(vector) if from_x else vector)
            vector, exponent = Alignment.compute(vector, positions, exponent, read["multiplied"])
        return vector.tolist(), int(exponent)

    def run(self):
        """Play the schedule; returns [(cycle of a read, what it saw, what it should have seen)]."""
        part, results = self.part, []
        begin = min([*self.reads, *self.h, *self.x]) - part.h_lead
        end = max([*self.reads, *self.h, *self.x]) + part.latency + 1

        async def testbench(ctx):
            for cycle in range(begin, end):
                for port in part.read:
                    ctx.set(port, self.reads.get(cycle, {"vector_from": VectorFrom.NONE}))
                # A slot's place and a block's come ahead of their values.
                quarter, side, _ = self.h.get(cycle + part.h_lead, (0, 0, None))
                enable = int(cycle + part.h_lead in self.h)
                ctx.set(part.h_write, {"enable": enable, "quarter": int(quarter), "side": int(side)})
                if cycle in self.h:
                    ctx.set(part.h, self.h[cycle][2].tolist())
                else:
                    ctx.set(part.h, [[1] * self.config.lanes] * self.config.cores)
                block, side, _, _ = self.x.get(cycle + part.x_lead, (0, 0, None, None))
                ctx.set(part.x_en, cycle + part.x_lead in self.x)
                ctx.set(part.x_block, block)
                ctx.set(part.x_side_w, side)
                if cycle in self.x:
                    _, _, values, exponent = self.x[cycle]
                    ctx.set(part.x, values.tolist())
                    ctx.set(part.x_exponent, exponent)
                    if self.config.narrow:
                        codes = Alignment.positions(np.abs(values.reshape(self.config.quarters, -1)))
                        ctx.set(part.x_codes, [(1 << int(code)) - 1 for code in codes])
                if cycle - part.latency in self.reads:
                    seen = (list(ctx.get(part.vector)), ctx.get(part.exponent))
                    results.append((cycle - part.latency, seen))
                await ctx.tick()

        simulate(part, testbench)
        assert len(results) == len(self.reads)
        return [(cycle, seen, self.expected(cycle)) for cycle, seen in results]


@pytest.mark.parametrize("vector_blocks, seed", [(4, 1), (16, 2)])
@pytest.mark.parametrize("cores, block", [(1, 4), (2, 8), (3, 4), (5, 8), (6, 4), (12, 4), (12, 8)])
def test_random_traffic(cores, block, vector_blocks, seed):
    """Reads and writes of h and x in any order, often of the same few blocks, one of each a cycle."""
    check_traffic(make_config(cores=cores, block=block, vector_blocks=vector_blocks, input_blocks=4), seed)


@pytest.mark.parametrize("profile, seed", [("aggressive", 1), ("conservative", 2)])
@pytest.mark.parametrize("cores, block, columns", [(1, 4, 8), (3, 8, 8), (3, 4, 8), (12, 4, 8)])
def test_random_traffic_of_narrow_elements(cores, block, columns, profile, seed):
    """The same with alignment to 9 bits, and quarters that do not count."""
    shape = {"cores": cores, "block": block, "columns": columns, "vector_blocks": 16, "input_blocks": 4}
    check_traffic(make_config(**shape, multiplier="9x9", profile=profile), seed)


def check_traffic(config, seed):
    rng = np.random.default_rng(seed)
    cores, vector_blocks = config.cores, config.vector_blocks
    bench = Bench(config)
    step = math.gcd(cores, config.quarters)
    firsts = range(0, config.quarters * vector_blocks - cores + 1, step)
    for cycle in range(1, 200):
        if rng.random() < 0.6:
            bench.h[cycle] = (
                int(rng.choice(firsts)),
                int(rng.integers(2)),
                random_signed(rng, VECTOR_BITS, (cores, config.lanes)),
            )
        if rng.random() < 0.6:
            bench.x[cycle] = (
                int(rng.integers(4)),
                int(rng.integers(2)),
                random_signed(rng, VECTOR_BITS, config.columns),
                int(rng.integers(16)),
            )
            if config.narrow:
                # As they come: no magnitude beyond the mantissas', and the largest one of the exponent's step.
                values = bench.x[cycle][2]
                values[:] = np.maximum(values, 1 - (1 << VECTOR_BITS - 1))
                values[0] = 1 << VECTOR_BITS - EXPONENT_STEP
        source = VectorFrom(int(rng.choice(3, p=[0.1, 0.3, 0.6])))
        bench.reads[cycle] = {
            "vector_from": source,
            "side": int(rng.integers(2)),
            "vector": int(rng.integers(4 if source is VectorFrom.X else vector_blocks)),
        }
        if config.narrow:
            counts = source is VectorFrom.H and rng.random() < 0.3
            bench.reads[cycle]["multiplied"] = Pass(int(rng.integers(len(Pass))))
            bench.reads[cycle]["quarters"] = int(rng.integers(config.quarters)) if counts else config.quarters - 1
    results = bench.run()
    assert any(any(vector) for _, (vector, _), _ in results)
    for cycle, seen, expected in results:
        assert seen == expected, (cycle, bench.reads[cycle])


@pytest.mark.parametrize("distance", range(-3, 4))
@pytest.mark.parametrize("source", [VectorFrom.H, VectorFrom.X])
def test_forwarding(source, distance):
    """A write in the write register ``distance`` cycles after a read's issue is seen up to ``forward``."""
    config = make_config()
    bench = Bench(config)
    part, issue, block = bench.part, 20, 2
    old, new = np.arange(1, 5), np.arange(11, 15)
    if source is VectorFrom.H:
        # One core of four rows: a slot is a quarter, so a block takes four writes; the last is what matters.
        quarters = config.quarters
        for quarter in range(quarters):
            place = quarters * block + quarter
            bench.h[1 + quarter] = (place, 0, old[quarter].reshape(1, 1))
            late = issue + distance - part.h_latency - (quarters - 1 - quarter)
            bench.h[late] = (place, 0, new[quarter].reshape(1, 1))
    else:
        bench.x[1] = (block, 0, old, 7)
        bench.x[issue + distance - part.x_latency] = (block, 0, new, 8)
    bench.reads[issue] = {"vector_from": source, "vector": block, "side": 0}
    [(_, (vector, exponent), expected)] = bench.run()
    assert (vector, exponent) == expected
    assert vector[-1] == (new if distance <= part.forward else old)[-1]
    if source is VectorFrom.X:
        assert exponent == (8 if distance <= part.forward else 7)


def test_no_source_is_zero():
    """Without a source the vector is zero, whatever is written and forwarded meanwhile."""
    bench = Bench(make_config())
    for cycle in range(1, 12):
        bench.h[cycle] = (0, 0, np.array([[cycle]]))
        bench.x[cycle] = (0, 0, np.full(4, cycle), 9)
        bench.reads[cycle] = {"vector_from": VectorFrom.NONE, "vector": 0, "side": 0}
    assert all(seen == ([0] * 4, 0) for _, seen, _ in bench.run())

"""What the tests of the hardware blocks share: simulating a part, feeding a pipeline, random integers.

All tests count cycles in one way: in cycle n a test sets inputs, then reads outputs, then the clock ticks. An
output of latency L shows in cycle n + L what was set in cycle n.
"""

from operator import attrgetter

import numpy as np
from amaranth.hdl import Elaboratable, Module
from amaranth.sim import Simulator

from spiccato.config import Config

__all__ = ["CLOCK_PERIOD_S", "WithTables", "make_config", "play", "random_signed", "simulate", "wrapped"]

#: Any would do: the simulator has no delays.
CLOCK_PERIOD_S = 10e-9


def make_config(**changes):
    """A configuration as small as the blocks' tests like it."""
    return Config(
        **{
            "name": "bench",
            "cores": 1,
            "block": 4,
            "weight_depth": 16,
            "slots": 8,
            "vector_blocks": 16,
            "input_blocks": 8,
            "program_depth": 64,
            "output_beats": 8,
        }
        | changes
    )


class WithTables(Elaboratable):
    """A part together with the tables that two of them share in a core, by name; otherwise the part itself."""

    def __init__(self, unit, tables):
        self._unit, self._tables = unit, tables

    def __getattr__(self, name):
        return getattr(self._unit, name)

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = self._unit
        for name, make in self._tables.items():
            m.submodules[name] = table = make(1)
            m.d.comb += [
                table.addr0.eq(getattr(self._unit, f"{name}_addr")),
                getattr(self._unit, f"{name}_word").eq(table.data0),
            ]
        return m


def simulate(part, *testbenches):
    """Run a part under Amaranth's simulator until all testbenches (``async def bench(ctx)``) have ended."""
    finished = []

    def watched(testbench):
        async def run(ctx):
            await testbench(ctx)
            finished.append(testbench)

        return run

    simulator = Simulator(part)
    simulator.add_clock(CLOCK_PERIOD_S)
    for testbench in testbenches:
        simulator.add_testbench(watched(testbench))
    simulator.run()
    assert len(finished) == len(testbenches)


def play(part, stimulus, outputs, *, drain):
    """Set ``stimulus[n]`` ({member: value}) in cycle n; return what each of ``outputs`` showed in each cycle.

    Members of interfaces are named with a dot. Members that a cycle does not name keep their value. ``drain`` more
    cycles follow the stimulus.
    """
    seen = {name: [] for name in outputs}

    async def testbench(ctx):
        for values in [*stimulus, *[{}] * drain]:
            for name, value in values.items():
                ctx.set(attrgetter(name)(part), value)
            for name in outputs:
                value = ctx.get(attrgetter(name)(part))
                seen[name].append(value if isinstance(value, int) else list(value))
            await ctx.tick()

    simulate(part, testbench)
    return {name: np.array(values, dtype=object) for name, values in seen.items()}


def random_signed(rng, bits, shape, *, extremes=0.2):
    """Random two's-complement integers: of all magnitudes, a share of them at or beside the ends and zero."""
    size = int(np.prod(shape))
    magnitude = rng.integers(0, bits, size)
    value = rng.integers(-(1 << 62), 1 << 62, size) >> (62 - magnitude)
    ends = np.array([-(1 << (bits - 1)), -(1 << (bits - 1)) + 1, (1 << (bits - 1)) - 1, -1, 0, 1])
    value = np.where(rng.random(size) < extremes, rng.choice(ends, size), value)
    return value.reshape(shape)


def wrapped(value, bits):
    """The lowest ``bits`` of an integer, as two's complement."""
    return ((value + (1 << (bits - 1))) & ((1 << bits) - 1)) - (1 << (bits - 1))

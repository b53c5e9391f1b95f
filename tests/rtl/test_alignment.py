"""Alignment of vector blocks against its integer model."""

import numpy as np
import pytest
from amaranth.hdl import Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl_bench import make_config, play, random_signed
from spiccato.isa.issue import Pass
from spiccato.numbers import EXPONENT_BITS, EXPONENT_STEP, LOW_BITS, NARROW_SHIFT, VECTOR_BITS
from spiccato.rtl.alignment import Alignment, leading_code

pytestmark = pytest.mark.fast

#: How far ahead a block's alignment is told which halves it takes.
LEAD = 3


class Codes(wiring.Component):
    """The code of three mantissas."""

    def __init__(self):
        super().__init__({**{f"m{i}": In(signed(VECTOR_BITS)) for i in range(3)}, "code": Out(NARROW_SHIFT)})

    def elaborate(self, platform):
        m = Module()
        # A clock for the bench.
        m.d.sync += Signal(name="unused").eq(1)
        m.d.comb += self.code.eq(leading_code([self.m0, self.m1, self.m2]))
        return m


def test_leading_code():
    """As many ones as bits are to be left out so that the largest fits nine bits with its sign."""
    rng = np.random.default_rng(1)
    values = random_signed(rng, VECTOR_BITS, (400, 3))
    values[:4] = [[255, -256, 0], [256, 0, 0], [0, -257, 0], [-(1 << 17), 0, 0]]
    positions = Alignment.positions(values)
    assert positions[:4].tolist() == [0, 1, 1, NARROW_SHIFT]
    seen = play(Codes(), [{f"m{i}": int(v) for i, v in enumerate(row)} for row in values], ["code"], drain=0)["code"]
    assert seen.tolist() == [(1 << int(p)) - 1 for p in positions]


@pytest.mark.parametrize("profile", ["aggressive", "conservative"])
@pytest.mark.parametrize("block, columns", [(4, 4), (4, 8), (8, 16)])
def test_alignment(block, columns, profile):
    """Another block each cycle, of any magnitudes and halves: elements and exponent are the model's."""
    rng = np.random.default_rng(2)
    config = make_config(block=block, columns=columns, multiplier="9x9", profile=profile)
    part, cycles = Alignment(config, LEAD), 600
    mantissas = random_signed(rng, VECTOR_BITS, (cycles, columns)) >> rng.integers(0, 18, (cycles, 1))
    mantissas[:2] = [[(1 << 17) - 1], [-(1 << 17)]]
    # Rounded beyond the largest element, and up to zero.
    mantissas[2:4] = 0
    mantissas[2, :2], mantissas[3, :2] = (511, -511), (256, -1)
    quarters = Alignment.positions(mantissas.reshape(cycles, config.quarters, -1))
    # Of x, which alone has another exponent than 0, the largest element is within a step.
    of_x = quarters.max(axis=1) >= NARROW_SHIFT - EXPONENT_STEP + 1
    exponents = np.where(of_x, rng.integers(0, 1 << EXPONENT_BITS, cycles), 0)
    multiplied = rng.choice(Pass, cycles)
    multiplied[:4] = Pass.ONLY
    stimulus = [
        {"mantissas": m.tolist(), "codes": [(1 << int(p)) - 1 for p in codes], "exponent": int(e)}
        for m, codes, e in zip(mantissas, quarters, exponents)
    ]
    stimulus = [{} for _ in range(LEAD)] + stimulus
    for inputs, which in zip(stimulus, multiplied):
        inputs["multiplied"] = int(which)
    seen = play(part, stimulus, ["vector", "shift"], drain=part.latency)
    elements, shifts = Alignment.compute(mantissas, Alignment.positions(mantissas), exponents, multiplied)
    assert elements[2, :2].tolist() == [255, -255] and elements[3, :2].tolist() == [128, 0]
    assert [list(v) for v in seen["vector"][LEAD + part.latency :]] == elements.tolist()
    assert seen["shift"][LEAD + part.latency :].tolist() == shifts.tolist()


def test_how_far_elements_are_off():
    """Half a unit of a block's own nine bits, and a whole one where rounding would go beyond the largest."""
    values = random_signed(np.random.default_rng(3), VECTOR_BITS, (1000, 8)) >> 3
    elements, rest = Alignment.compute(values, Alignment.positions(values))
    unit = 1 << (NARROW_SHIFT - rest)[:, None]
    assert (abs(elements * unit - values) <= np.where(elements == 255, unit, unit // 2)).all()


@pytest.mark.parametrize("exponent", [0, 5])
def test_halves_hold_all(exponent):
    """Both halves together are the mantissas, but for the last bit of the largest ones."""
    values = random_signed(np.random.default_rng(4), VECTOR_BITS, (1000, 8)) >> np.arange(18).repeat(56)[:1000, None]
    positions = Alignment.positions(values)
    high, shift = Alignment.compute(values, positions, exponent, Pass.HIGH)
    low, low_shift = Alignment.compute(values, positions, exponent, Pass.LOW_ELEMENT)
    _, weight_shift = Alignment.compute(values, positions, exponent, Pass.LOW_WEIGHT)
    assert (weight_shift == shift + LOW_BITS).all()
    assert (abs(high) <= 256).all() and (high < 256).all() and (low >= 0).all() and (low < 256).all()
    unit = NARROW_SHIFT + EXPONENT_STEP * exponent
    missing = values - (high << (unit - shift)[:, None]) - (low << (unit - low_shift)[:, None])
    assert (missing == (values & 1) * (positions == NARROW_SHIFT)[:, None]).all()

"""The row accumulator against alignment and addition of integers."""

import numpy as np
import pytest

from rtl_bench import make_config, play, random_signed, wrapped
from spiccato.numbers import ACC_BITS, SHIFT_MAX
from spiccato.rtl.accumulator import RowAccumulator
from spiccato.rtl.sum_shift import SumShift

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("profile", ["aggressive", "conservative"])
@pytest.mark.parametrize("multiplier", ["18x18", "9x9"])
@pytest.mark.parametrize("family", ["portable", "ecp5"])
@pytest.mark.parametrize("block", [4, 64])
def test_accumulator(block, family, multiplier, profile, seed):
    """A random mix of load, continue and hold: ``value`` after each operand is the model's."""
    rng = np.random.default_rng(seed)
    config = make_config(block=block, family=family, multiplier=multiplier, profile=profile)
    part, step = RowAccumulator(config), SumShift(config)
    cycles = 400
    sums = random_signed(rng, config.row_sum_bits, cycles)
    shifts = rng.integers(0, SHIFT_MAX + 1, cycles)
    given, rest = sums, shifts
    if step.coarse_bits:
        given = RowAccumulator.align(sums, shifts >> step.fine_bits << step.fine_bits, config.align_left)
        rest = shifts & ((1 << step.fine_bits) - 1)
    operands = random_signed(rng, ACC_BITS, cycles)
    load, enable = rng.integers(2, size=cycles), rng.random(cycles) < 0.8

    drive = [{} for _ in range(cycles + part.add_offset)]
    for n in range(cycles):
        for i in range(part.slices):
            drive[n] |= {f"sum_{i}": wrapped(int(given[n]), step.shape.width), f"shift_{i}": int(rest[n])}
        drive[n + part.add_offset]["operand"] = int(operands[n])
        drive[n + part.add_offset - part.select_lead] |= {"load": int(load[n]), "enable": int(enable[n])}
    seen = play(part, drive, ["value"], drain=part.latency - part.add_offset)["value"]

    value, expected = 0, []
    aligned = RowAccumulator.align(sums, shifts, config.align_left)
    for n in range(cycles):
        if enable[n]:
            value = wrapped(int(operands[n] if load[n] else value) + int(aligned[n]), ACC_BITS)
        expected.append(value)
    assert seen[part.latency :].tolist() == expected


def test_align_is_a_floor():
    """``align`` multiplies by 2**24 and divides by 2**shift, rounding down."""
    assert RowAccumulator.align([-1, 1, 3, -3], [25, 25, 24, 63]).tolist() == [-1, 0, 3, -1]
    largest = -(1 << (make_config(block=64).row_sum_bits - 1))
    assert RowAccumulator.align(largest, 0) == largest << 24

"""The dot product row against exact integer arithmetic."""

import numpy as np
import pytest

from rtl_bench import make_config, play, random_signed, wrapped
from spiccato.numbers import VECTOR_BITS, WEIGHT_BITS
from spiccato.rtl.row import DotProductRow
from spiccato.rtl.sum_shift import SumShift

pytestmark = pytest.mark.fast


def check(row, config, rng, stimulus, lead, sums):
    """What a row gives to each slice of an accumulator, ``latency`` cycles after ``lead``; coarse shifts are random."""
    shift = SumShift(config)
    coarse = rng.integers(1 << shift.coarse_bits, size=len(sums))
    if shift.coarse_bits:
        for cycle, amount in enumerate(coarse, lead + row.latency - 1):
            stimulus[cycle] |= {f"coarse_{i}": int(amount) for i in range(row.copies)}
    seen = play(row, stimulus, [f"sum_{i}" for i in range(row.copies)], drain=0)
    assert len(seen) == row.copies
    for found in seen.values():
        expected = sums.tolist()
        if shift.coarse_bits:
            expected = [
                wrapped(int(one) << config.align_left >> (int(amount) << shift.fine_bits), shift.shape.width)
                for one, amount in zip(sums, coarse)
            ]
        assert found[lead + row.latency :].tolist() == expected


@pytest.mark.parametrize("seed", [1])
@pytest.mark.parametrize("profile", ["aggressive", "conservative"])
@pytest.mark.parametrize("family", ["portable", "agilex7", "ecp5"])
@pytest.mark.parametrize("block", [4, 16])
def test_row(block, family, profile, seed):
    """Every cycle another vector, weights and 8-bit mode: the exact sum comes ``latency`` cycles later."""
    rng = np.random.default_rng(seed)
    config = make_config(block=block, family=family, profile=profile)
    row, cycles = DotProductRow(config), 300
    vectors = random_signed(rng, VECTOR_BITS, (cycles, block))
    weights = random_signed(rng, WEIGHT_BITS, (cycles, block)) & 0xFFFF
    int8, high = rng.integers(2, size=(2, cycles))
    # All products at their largest, of either sign: nothing may overflow.
    vectors[0], weights[0], int8[0] = -(1 << 17), 0x8000, 0
    vectors[1], weights[1], int8[1] = (1 << 17) - 1, 0x8000, 0
    lead = DotProductRow.select_lead + row.weight_lead
    stimulus = [{} for _ in range(cycles + lead)]
    for cycle in range(cycles):
        stimulus[cycle] |= {"int8": int(int8[cycle]), "high": int(high[cycle])}
        stimulus[cycle + DotProductRow.select_lead] |= {"weights": weights[cycle].tolist()}
        stimulus[cycle + lead] |= {"vector": vectors[cycle].tolist()}
    widened = DotProductRow.widen(weights, int8[:, None], high[:, None])
    check(row, config, rng, stimulus + [{} for _ in range(row.latency)], lead, (widened * vectors).sum(axis=1))


@pytest.mark.parametrize("profile", ["aggressive", "conservative"])
@pytest.mark.parametrize("family", ["portable", "agilex7", "versal", "ecp5"])
@pytest.mark.parametrize("block, columns", [(4, 4), (4, 8), (8, 16)])
def test_narrow_row(block, columns, family, profile):
    """The same of 9x9 multipliers: their blocks add one, three or four products, and each sum has a factor."""
    rng = np.random.default_rng(1)
    config = make_config(block=block, columns=columns, multiplier="9x9", family=family, profile=profile)
    row, cycles = DotProductRow(config), 300
    weights, vectors = (random_signed(rng, bits, (cycles, columns)) for bits in config.operands)
    for i, end in enumerate((-1, 1)):
        # All products at their largest.
        vectors[i], weights[i] = end * 256 - (end > 0), -(1 << config.operands.weight - 1)
    raw = weights & ((1 << config.operands.weight) - 1)
    factors = rng.integers(4, size=cycles)
    factors[:2] = 3
    lead = row.weight_lead
    stimulus = [{} for _ in range(cycles + lead + row.latency)]
    for cycle in range(cycles):
        stimulus[cycle] |= {"weights": raw[cycle].tolist()}
        stimulus[cycle + lead] |= {"vector": vectors[cycle].tolist()}
    for cycle, factor in enumerate(factors, lead + row.latency - 1):
        stimulus[cycle] |= {f"factor_{i}": int(factor) for i in range(row.copies)}
    check(row, config, rng, stimulus, lead, (weights * vectors).sum(axis=1) * (4 + factors))


def test_widen():
    """16-bit words are themselves; 8-bit ones are bytes of the lane times 256."""
    words = [0x7F80, 0x80FF, 0x0001]
    assert DotProductRow.widen(words, 0, 1).tolist() == [0x7F80, 0x80FF - 0x10000, 1]
    assert DotProductRow.widen(words, 1, 0).tolist() == [-128 * 256, -256, 256]
    assert DotProductRow.widen(words, 1, 1).tolist() == [127 * 256, -128 * 256, 0]


def test_the_conservative_profile_adds_a_cycle():
    aggressive, conservative = (DotProductRow(make_config(profile=name)) for name in ("aggressive", "conservative"))
    assert conservative.latency == aggressive.latency + 1


def test_adding_blocks_save_a_level():
    """The DSP block's own adder takes the place of the first level of the tree."""
    plain, pairs = (DotProductRow(make_config(block=16, family=family)) for family in ("portable", "agilex7"))
    assert plain.latency == pairs.latency + 1

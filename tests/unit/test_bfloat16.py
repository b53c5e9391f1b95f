"""bfloat16 rounding against arithmetic on exact values, and the pipeline against its own rules."""

import numpy as np
import pytest

from spiccato.layers import LinearLayer, LSTMLayer
from spiccato.network import Network
from spiccato_sim.models.bfloat16 import BFloat16Pipeline, from_bits, round_bfloat16, to_bits
from spiccato_sim.models.reference import Reference
from spiccato_sim.models.zoo import inputs, random_network

pytestmark = pytest.mark.fast

ALL_BITS = np.arange(1 << 16, dtype=np.uint16)
LARGEST = 255 * 2.0**120


def test_every_pattern_survives():
    values = from_bits(ALL_BITS)
    nan = np.isnan(values)
    assert nan.sum() == 2 * 127
    np.testing.assert_array_equal(to_bits(values[~nan]), ALL_BITS[~nan])
    assert np.isnan(round_bfloat16(values[nan])).all()


@pytest.mark.parametrize("sign", [1, -1])
def test_ties_go_to_even_and_anything_beyond_does_not(sign):
    below = from_bits(np.arange(0x7F7F, dtype=np.uint16))  # all finite positive numbers but the last
    above = from_bits(np.arange(1, 0x7F80, dtype=np.uint16))
    middle = (below + above) / 2
    even = np.where(np.arange(0x7F7F) % 2, above, below)
    np.testing.assert_array_equal(round_bfloat16(sign * middle), sign * even)
    # One float64 step off the middle: rounding to float32 first would fall onto the tie.
    np.testing.assert_array_equal(round_bfloat16(sign * np.nextafter(middle, 0)), sign * below)
    np.testing.assert_array_equal(round_bfloat16(sign * np.nextafter(middle, np.inf)), sign * above)


def test_nearest_of_random_numbers():
    rng = np.random.default_rng(0)
    x = rng.standard_normal(2000) * 2.0 ** rng.integers(-120, 120, 2000)
    grid = np.sort(from_bits(ALL_BITS)[np.isfinite(from_bits(ALL_BITS))])
    nearest = np.abs(grid[np.clip(np.searchsorted(grid, x) + [[-1], [0]], 0, grid.size - 1)] - x).min(axis=0)
    np.testing.assert_array_equal(np.abs(round_bfloat16(x) - x), nearest)


def test_corners():
    limit = LARGEST + 2.0**119  # half a step above the largest number
    x = [np.inf, -np.inf, limit, np.nextafter(limit, 0), -1e308, 1e-300, -0.0, 2.0**-134]
    expected = [np.inf, -np.inf, np.inf, LARGEST, -np.inf, 0, 0, 0]
    np.testing.assert_array_equal(round_bfloat16(x), expected)
    assert to_bits(-0.0) == 0x8000
    assert to_bits(np.float32(1.0)) == 0x3F80
    assert to_bits(np.nan) & 0x7FFF > 0x7F80
    assert round_bfloat16(3.14159) == 3.140625
    assert round_bfloat16(np.zeros((2, 3))).shape == (2, 3)


def test_pipeline_is_the_reference_when_nothing_needs_rounding():
    # Gates saturate to 0 and 1 and tanh(c) is the only inexact number.
    weights = np.array([[64.0], [-64.0], [64.0], [64.0]])
    network = Network((LSTMLayer(weights, np.zeros((4, 1))), LinearLayer([[1.0]])))
    exact = Reference(network).run([[1.0]])
    np.testing.assert_array_equal(BFloat16Pipeline(network).run([[1.0]]), round_bfloat16(exact))


def test_pipeline_rounds_weights_and_inputs_but_not_outputs():
    weights = np.zeros((4, 1))
    network = Network((LSTMLayer(weights, weights, [80.0, -80, 80, 80]), LinearLayer([[1.001]], [1 / 3])))
    h = round_bfloat16(np.tanh(1.0))
    y = BFloat16Pipeline(network).run([[0.0]])
    np.testing.assert_allclose(y, [[1.0 * h + 1 / 3]], rtol=1e-15)
    assert y != round_bfloat16(y)


def test_pipeline_one_unit_by_hand():
    w, u, b = (np.array([0.3, -0.7, 1.1, 0.9]), np.array([1.3, 0.2, -0.6, 0.4]), np.array([0.1, 1.7, -0.2, 0.6]))
    pipeline = BFloat16Pipeline(Network((LSTMLayer(w[:, None], u[:, None], b),)))
    bf = round_bfloat16
    h, c = 0.0, np.float32(0)
    for x in np.random.default_rng(0).normal(0, 2, 100):
        z = bf(w) * bf(x) + bf(u) * h + b
        i, f, _, o = bf(1 / (1 + np.exp(-z)))
        c = np.float32(f * float(c) + i * bf(np.tanh(z[2])))
        h = bf(o * np.tanh(c))
        assert pipeline.step([x]) == h
        assert pipeline.c[0] == c


@pytest.mark.parametrize("seed", range(3))
def test_pipeline_error_is_that_of_eight_bits(seed):
    network = random_network(np.random.default_rng(seed), layers=2, min_size=20)
    xs = inputs(network, 100, seed)
    exact = Reference(network).run(xs)
    error = np.sqrt(np.mean((BFloat16Pipeline(network).run(xs) - exact) ** 2)) / exact.std()
    assert 2.0**-14 < error < 2.0**-6


def test_reset_starts_again():
    network = random_network(np.random.default_rng(0), layers=2)
    xs = inputs(network, 20)
    pipeline = BFloat16Pipeline(network)
    first = pipeline.run(xs)
    assert (pipeline.run(xs) != first).any()
    pipeline.reset()
    np.testing.assert_array_equal(pipeline.run(xs), first)

"""A quick share of ``make fuzz``: random sets of models, their contexts' packets interleaved at random, on the RTL."""

import pytest

from spiccato_sim.checks.fuzz import check
from spiccato_sim.checks.fuzz_cases import CONFIGS, draw

pytestmark = pytest.mark.simulates


@pytest.mark.parametrize("seed", range(len(CONFIGS)), ids=[f"{name}-{seed}" for seed, name in enumerate(CONFIGS)])
def test_random_contexts(seed, build_folder):
    """One case on each configuration: every bit, mark, tid, cycle and saved state, each context as if it were alone."""
    found = check(draw(seed, packets=25), build_folder)
    assert found.failures == [] and found.packets >= 40 and found.cycles > 0
    assert found.moves > 0 and (found.meanwhile > 0 or found.config == "single")

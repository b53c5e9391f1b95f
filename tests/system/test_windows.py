"""Sliding windows on the RTL, as close to each other as is predicted; ``make windows`` does so for whole boards."""

import pytest

from programs import CONFIG, network
from spiccato.compiler import compile_program
from spiccato_sim.checks.windows import measure
from spiccato_sim.models.windows import windows

pytestmark = pytest.mark.simulates


def test_windows(build_folder):
    """The due answers come as soon as one alone, at the least distance and no closer."""
    program = compile_program([network(21)], CONFIG, contexts=5)
    predicted = windows(program)
    found = measure(program, predicted.distance, build_folder)
    assert found == ([predicted.latency] * 4, [predicted.distance] * 3, [])
    found = measure(program, predicted.distance - 1, build_folder)
    assert found.failures == [] and max(found.latencies) > predicted.latency

"""Networks of GRU and dense layers on the RTL: every bit, every cycle, every mark."""

import dataclasses

import numpy as np
import pytest

from spiccato.compiler import compile_program
from spiccato.layers import DenseLayer, LinearLayer
from spiccato.network import Network
from spiccato.registry import configuration
from spiccato_sim.benches.simulate import simulate
from spiccato_sim.models import zoo
from spiccato_sim.models.vm import VirtualMachine

pytestmark = pytest.mark.simulates


@pytest.fixture(scope="module")
def config():
    #: An order in which no number is that of the name's own place elsewhere.
    return dataclasses.replace(
        configuration("test4"), name="kinds", io_format="float32", epilogues=("dense", "lstm", "gru"), output_beats=32
    )


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kinds", [("gru",), ("dense",), ("lstm", "gru", "dense")])
def test_random_networks(kinds, seed, config, build_folder):
    rng = np.random.default_rng(seed)
    network = zoo.random_network(rng, layers=3, linear=seed % 2, max_size=20, kinds=kinds, scale=1 + seed % 3)
    formats = [str(one) for one in rng.choice(["int16", "int8"], len(network.hidden_layers) + 1)]
    program = compile_program([network], config, weight_formats=[formats])
    result = simulate(program, zoo.inputs(network, 12, seed), spaced=4, preload=False, build_folder=build_folder)
    assert not result.failures and result.bit_exact


def test_saturation_marks_its_own_packet(config, build_folder):
    """Whatever comes before and behind it, as close as may be."""
    rng = np.random.default_rng(0)
    network = Network(
        [DenseLayer(rng.uniform(-1, 1, (9, 6)), None, "relu"), LinearLayer(rng.uniform(-1, 1, (3, 9)))],
        calibration=rng.standard_normal((40, 6)) / 8,
    )
    program = compile_program([network], config)
    xs = zoo.inputs(network, 24) * np.where(rng.integers(3, size=24) == 0, 1.0, 1 / 16)[:, None]
    machine = VirtualMachine(program)
    for x in xs:
        machine.step(x)
    assert 4 < machine.marks["saturated"] < 20
    result = simulate(program, xs, spaced=4, preload=False, build_folder=build_folder)
    assert not result.failures and result.bit_exact

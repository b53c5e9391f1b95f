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
        configuration("test4"),
        name="kinds",
        io_format="float32",
        weight_depth=2048,
        slots=128,
        state_slots=256,
        vector_blocks=64,
        program_depth=4096,
        output_beats=32,
        epilogues=("dense", "lstm", "gru"),
    )


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kinds", [("gru",), ("dense",), ("lstm", "gru", "dense")])
def test_random_networks(kinds, seed, config, build_folder):
    rng = np.random.default_rng(seed)
    network = zoo.random_network(
        rng, layers=3, linear=seed % 2, max_size=20, kinds=kinds, scale=1 + seed % 3, around=seed > 1
    )
    formats = [str(one) for one in rng.choice(["int16", "int8"], len(network.hidden_layers) + 1)]
    program = compile_program([network], config, weight_formats=[formats])
    result = simulate(program, zoo.inputs(network, 12, seed), spaced=4, preload=False, build_folder=build_folder)
    assert not result.failures and result.bit_exact


@pytest.mark.parametrize("family, profile", [("agilex7", "conservative"), ("ecp5", "aggressive")])
def test_many_lanes(family, profile, build_folder):
    """That share tables, and have copies of what chooses."""
    config = dataclasses.replace(
        configuration("test8"),
        name="lanes",
        cores=2,
        block=16,
        columns=16,
        family=family,
        profile=profile,
        epilogues=("gru", "lstm", "dense"),
    )
    network = zoo.random_network(np.random.default_rng(3), layers=4, min_size=9, max_size=50, kinds=config.epilogues)
    assert {layer.kind for layer in network.hidden_layers} == {*config.epilogues}
    program = compile_program([network], config)
    result = simulate(program, zoo.inputs(network, 10), spaced=4, build_folder=build_folder)
    assert not result.failures and result.bit_exact


@pytest.mark.long
def test_full_size(build_folder):
    """A GRU and a network of all kinds on the RTL of a board, at full size."""
    config = configuration("ia420f-kinds")
    mixed = zoo.random_network(
        np.random.default_rng(1), layers=5, min_size=100, max_size=260, kinds=config.epilogues, name="mixed"
    )
    assert {layer.kind for layer in mixed.hidden_layers} == {*config.epilogues}
    for network in (zoo.build("gru_tiny"), mixed):
        result = simulate(
            compile_program([network], config), zoo.inputs(network, 9), spaced=4, build_folder=build_folder
        )
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

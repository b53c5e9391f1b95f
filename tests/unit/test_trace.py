"""What pictures and memory maps show is what the program does."""

import dataclasses

import numpy as np
import pytest

from spiccato.compiler import compile_program
from spiccato.registry import configuration
from spiccato_sim.analysis.memory_map import memory_map
from spiccato_sim.analysis.trace import runs, trace
from spiccato_sim.models.timeline import Packet, Timeline
from spiccato_sim.models.zoo import random_network

CASES = [
    ("test4", "bfloat16", "int16"),
    ("test8", "float32", "int8"),
    ("test8", "bfloat16", ("int8", "int16", "int16")),
]


def compiled(seed, board="test4", io_format="bfloat16", weights="int16", layers=2):
    network = random_network(np.random.default_rng(seed), layers=layers, min_size=4, max_size=10, name="small")
    config = dataclasses.replace(configuration(board), io_format=io_format)
    return network, compile_program([network], config, weight_formats=[weights])


def test_every_tile_once():
    """Every tile of every layer once, in the cycles in which the scheduler put them."""
    network, program = compiled(1)
    model = program.model
    words = trace(model)
    first = words.cycles[0]
    assert words.cycles.tolist() == list(range(first, first + model.initiation_interval))
    block = model.config.block
    sizes = [network.input_size, *(layer.units for layer in model.layers)]
    for number, layer in enumerate(model.layers):
        for kind, size in (("input", sizes[number]), ("recurrent", layer.units)):
            tiles = ((words.kinds == kind) & (words.layers == number)).sum()
            assert tiles == layer.slots * -(-size // block)
    linear = words.cycles[words.kinds == "linear"]
    assert len(linear) == -(-model.output_size // block) * -(-sizes[-1] // block)
    assert max(linear) < model.spaced_latency
    assert set(words.layers[words.kinds == "linear"]) == {len(model.layers)}
    assert set(words.layers[words.kinds == "idle"]) <= {-1}


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case[:2])))
@pytest.mark.parametrize("seed", range(3))
def test_streams(seed, case):
    """Beats come and go when the timeline says."""
    _, program = compiled(seed, *case)
    model = program.model
    words = trace(model)
    ((accepted, sent),) = Timeline(program).stream([Packet()])
    assert words.input_cycles[0] == accepted
    assert words.output_cycles[-1] == sent == model.spaced_latency
    assert len(words.input_cycles) == model.input_beats
    assert len(words.output_cycles) == model.output_beats
    assert (np.diff(words.output_cycles) > 0).all()
    assert (words.h_ready >= 0).sum() == sum(layer.slots for layer in model.layers)


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case[:2])))
@pytest.mark.parametrize("seed", range(3))
def test_h_is_ready_when_it_is_first_read(seed, case):
    """Not later, and not earlier either: such small layers wait for the pipeline."""
    _, program = compiled(seed, *case)
    model = program.model
    config, words = model.config, trace(model)
    for number, layer in enumerate(model.layers):
        finishes = (words.layers == number) & (words.h_ready >= 0)
        ready = dict(zip(words.fields["slot"][finishes] - layer.first_slot, words.h_ready[finishes]))
        reads = np.flatnonzero((words.layers == number + 1) & (words.kinds != "recurrent"))
        slack = []
        for at in reads:
            first = (words.fields["vector"][at] - layer.first_block) * config.block
            units = range(first, min(first + config.block, layer.units))
            slack.append(words.cycles[at] - max(ready[unit // config.slot_units] for unit in units))
        assert min(slack) == 0


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case[:2])))
@pytest.mark.parametrize("seed", range(3))
def test_memory_map(seed, case):
    """Regions lie one after the other, from address 0 on, and add up to what the program says it uses."""
    _, program = compiled(seed, *case)
    regions = memory_map(program)
    for memory, used, capacity, _ in program.memory_use():
        own = [region for region in regions if region.memory == memory]
        assert [region.first for region in own] == np.cumsum([0, *(region.size for region in own)])[:-1].tolist()
        assert sum(region.size for region in own) == used <= capacity
    assert {region.memory for region in regions} == {row[0] for row in program.memory_use()}


def test_runs():
    assert runs([]) == []
    assert runs([3, 4, 5, 8, 10, 11]) == [(3, 3), (8, 1), (10, 2)]

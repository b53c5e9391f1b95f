"""Compiled networks on the whole RTL: every bit and every cycle as the virtual machine and the compiler predict."""

import dataclasses
import json
import pickle
import re

import numpy as np
import pytest

from spiccato.compiler import compile_program
from spiccato.config import Config
from spiccato.layers import LinearLayer
from spiccato.registry import configuration
from spiccato.verilog import SIDE_CAR, generate_verilog, listing
from spiccato_sim.benches import runner
from spiccato_sim.benches.simulate import simulate
from spiccato_sim.benches.simulators import icarus_available
from spiccato_sim.models import series, zoo
from spiccato_sim.models.vm import VirtualMachine, to_bits

pytestmark = pytest.mark.simulates
needs_icarus = pytest.mark.skipif(not icarus_available(), reason="Icarus Verilog (iverilog) is not installed")

#: Small memories, so that small networks are near their limits.
SMALL = {
    "weight_depth": 256,
    "slots": 64,
    "vector_blocks": 64,
    "input_blocks": 16,
    "program_depth": 1024,
    "output_beats": 16,
}

#: (cores, block, other parameters): both stream formats, DSP modes and profiles, core counts that divide nothing.
SHAPES = {
    "1x4": (1, 4, {}),
    "3x8-float32": (3, 8, {"io_format": "float32"}),
    "5x4-pair": (5, 4, {"family": "agilex7", "slots": 32}),
    "12x4": (12, 4, {}),
    "2x16-pair-float32": (2, 16, {"family": "agilex7", "io_format": "float32"}),
    "1x64-pair": (1, 64, {"family": "agilex7"}),
    "1x4-conservative": (1, 4, {"profile": "conservative"}),
    "2x8-pair-conservative": (2, 8, {"family": "agilex7", "profile": "conservative"}),
    # Rows of weights that are no whole words of a load.
    "1x8x16-ecp5": (1, 8, {"family": "ecp5", "columns": 16, "multiplier": "9x9"}),
    "3x16-ecp5-float32-conservative": (3, 16, {"family": "ecp5", "profile": "conservative", "io_format": "float32"}),
}


def random_shape(seed):
    """Any cores, any block and any other choice, as long as the simulator is built in reasonable time."""
    rng = np.random.default_rng(seed)
    block = int(rng.choice([4, 8, 16]))
    return (
        int(rng.integers(1, 13 if block < 16 else 5)),
        block,
        {
            "family": str(rng.choice(["portable", "agilex7"])),
            "io_format": str(rng.choice(["bfloat16", "float32"])),
            "slots": int(rng.choice([32, 64])),
            "output_beats": int(rng.integers(8, 40)),
            "weight_depth": int(rng.integers(256, 600)),
            "profile": str(rng.choice(["aggressive", "conservative"])),
        },
    )


SHAPES |= {f"random-{seed}": random_shape(seed) for seed in (11, 12, 14)}


def each_shape(*names):
    """Parameters whose tests share a simulator, and so run in the same worker: two would wait for each other."""
    return [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in names]


def small_config(name):
    cores, block, more = SHAPES[name]
    return Config(name=name, cores=cores, block=block, **{**SMALL, **more})


def random_case(config, seed):
    """A random network that fits, its program, and inputs over many magnitudes."""
    rng = np.random.default_rng(seed)
    network = zoo.random_network(
        rng,
        layers=int(rng.integers(1, 4)),
        linear=int(rng.integers(0, 3)),
        max_size=min(24, max(4 * config.slot_units, config.columns) + 3),
        scale=float(rng.choice([1, 3])),
    )
    formats = [str(f) for f in rng.choice(config.weight_formats, size=len(network.hidden_layers) + 1)]
    program = compile_program([network], config, weight_formats=[formats])
    xs = zoo.inputs(network, 14, seed, spread=2.0 ** rng.integers(-6, 6, network.input_size))
    return program, xs


def check(result):
    assert not result.failures
    assert result.bit_exact


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("shape", each_shape(*SHAPES))
def test_random_network(shape, seed, build_folder):
    """Random networks with random weight formats: outputs, marks, spaced and streamed cycles."""
    program, xs = random_case(small_config(shape), seed)
    check(simulate(program, xs, spaced=5, preload=False, build_folder=build_folder))


@needs_icarus
@pytest.mark.parametrize("shape", ["1x4", "3x8-float32", "1x4-conservative"])
def test_random_network_icarus(shape, build_folder):
    """The same on a simulator that knows undefined values."""
    program, xs = random_case(small_config(shape), 3)
    check(simulate(program, xs[:9], spaced=3, preload=False, simulator="icarus", build_folder=build_folder))


@pytest.mark.parametrize("shape", each_shape("3x8-float32", "5x4-pair", "2x8-pair-conservative"))
def test_pauses_malformed_packets_and_reset(shape, build_folder):
    """Pauses on both streams, short and long packets, NaN and infinity, a state reset: still the same bits."""
    program, xs = random_case(small_config(shape), 4)
    rng = np.random.default_rng(4)
    xs = np.concatenate([xs, xs])
    xs[3, 0], xs[9, -1], xs[17, 0] = np.nan, np.inf, -np.inf
    beats = [None] * len(xs)
    for step in rng.choice(len(xs), size=6, replace=False):
        beats[step] = max(1, program.model.input_beats + int(rng.integers(-2, 3)))
    check(
        simulate(
            program,
            xs,
            spaced=8,
            preload=False,
            beats=beats,
            reset_before_stream=True,
            pause_seed=4,
            build_folder=build_folder,
        )
    )


@pytest.fixture(scope="module")
def without_initial_values(tmp_path_factory):
    """Verilog of the smallest shape in which no register and no memory but the tables has an initial value."""
    folder = tmp_path_factory.mktemp("uninitialised")
    contents = generate_verilog(small_config("1x4"))
    registers = memories = 0
    for name in [name for name in contents if name.endswith(".v")]:
        contents[name], count = re.subn(r"^( *reg\b[^;=]*?) *= *[^;]*;", r"\1 ;", contents[name], flags=re.MULTILINE)
        registers += count
        contents[name], count = re.subn(r"initial for \([^)]*\) mem\[i\] = 0;", "", contents[name])
        memories += count
    assert registers > 100 and memories > 0
    side_car = json.loads(contents[SIDE_CAR])
    side_car["files"] = listing({name: contents[name] for name in side_car["files"]})
    contents[SIDE_CAR] = json.dumps(side_car)
    for name, text in contents.items():
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_power_up(seed, without_initial_values, build_folder):
    """Whatever registers and memories hold before the reset: outputs, state, marks, counters, cycles are the same."""
    program, xs = random_case(small_config("1x4"), seed)
    check(
        simulate(
            program,
            xs,
            spaced=5,
            preload=False,
            netlist=without_initial_values,
            power_up=seed,
            build_folder=build_folder,
        )
    )


@pytest.mark.xdist_group("3x8-float32")
def test_preload_equals_load(build_folder):
    """Memories filled from files and over AXI4-Lite hold the same."""
    program, xs = random_case(small_config("3x8-float32"), 5)
    loaded, filled = (
        simulate(program, xs, spaced=3, preload=preload, build_folder=build_folder) for preload in (False, True)
    )
    check(loaded)
    check(filled)
    assert (loaded.outputs == filled.outputs).all()


def with_outputs(config, beats):
    """A small network whose output packets have so many beats."""
    rng = np.random.default_rng(6)
    network = zoo.random_network(rng, layers=1, max_size=4)
    outputs = beats * config.beat_values
    linear = LinearLayer(rng.uniform(-1, 1, (outputs, network.output_layer.input_size)), np.zeros(outputs))
    return dataclasses.replace(network, layers=(*network.hidden_layers, linear))


@pytest.mark.xdist_group("1x4")
def test_output_queue_limits_the_interval(build_folder):
    """Packets of which the output queue does not hold two: the compiler spaces inferences so that none has to wait."""
    config = small_config("1x4")
    network = with_outputs(config, config.output_beats - 1)
    program = compile_program([network], config)
    assert program.model.initiation_interval > program.model.spaced_latency
    check(simulate(program, zoo.inputs(network, 9), spaced=2, build_folder=build_folder))


@pytest.mark.xdist_group("1x4")
@pytest.mark.parametrize("beats", [1, 3])
def test_host_that_does_not_take_outputs(beats, build_folder, tmp_path):
    """Inferences run as long as the queue holds their outputs, to the beat; nothing is lost, and nothing is late after.

    With one beat a packet one more would fit than the queue is said to hold, with three there is none too many.
    """
    config = small_config("1x4")
    network = with_outputs(config, beats)
    program = compile_program([network], config)
    spaced = 2
    waiting = config.output_beats // beats + 4
    packets = [to_bits(x, config.io_format) for x in zoo.inputs(network, waiting + spaced)]
    job = {
        "config": config,
        "load_words": program.load_words(),
        "packets": packets,
        "spaced": spaced,
        "single_beats": 3 * beats + 1,
        "settle": len(program.model.words) + program.model.spaced_latency + 80,
        "result": str(tmp_path / "result"),
    }
    (tmp_path / "job").write_bytes(pickle.dumps(job))
    runner.run(
        runner.build(config, folder=build_folder),
        "spiccato_sim.benches.tb_queue",
        results_dir=tmp_path,
        env={"SPICCATO_JOB": str(tmp_path / "job")},
    )
    result = pickle.loads((tmp_path / "result").read_bytes())
    assert result["ran"] == [(taken, (config.output_beats + taken) // beats) for taken in range(job["single_beats"])]
    (stalls, cycle), (later_stalls, later_cycle) = result["stalled"]
    assert later_stalls - stalls == later_cycle - cycle > 0
    machine = VirtualMachine(program)
    assert [bits.tolist() for bits in result["outputs"]] == [machine.step_bits(bits).bits.tolist() for bits in packets]
    assert result["latencies"] == [program.model.spaced_latency] * spaced
    assert (result["stalls_afterwards"], result["errors"]) == (0, 0)


@pytest.mark.xdist_group("3x8-float32")
@pytest.mark.parametrize("delay", [1, 3, 90])
def test_load_of_another_program(delay, build_folder, tmp_path):
    """A program of another size is loaded while inputs are queued: its results are as on a fresh device."""
    config = small_config("3x8-float32")
    (first, first_xs), (second, second_xs) = random_case(config, 7), random_case(config, 11)
    assert first.model.input_beats != second.model.input_beats
    as_bits = [[to_bits(x, config.io_format) for x in xs] for xs in (first_xs[:5], second_xs)]
    job = {
        "config": config,
        "first": as_bits[0],
        "second": as_bits[1],
        "delay": delay,
        "load_words": [first.load_words(), second.load_words()],
        "settle": len(second.model.words) + second.model.spaced_latency + 100 * len(as_bits[0]),
        "result": str(tmp_path / "result"),
    }
    (tmp_path / "job").write_bytes(pickle.dumps(job))
    runner.run(
        runner.build(config, folder=build_folder),
        "spiccato_sim.benches.tb_reload",
        results_dir=tmp_path,
        env={"SPICCATO_JOB": str(tmp_path / "job")},
    )
    machine = VirtualMachine(second)
    expected = [machine.step_bits(bits).bits.tolist() for bits in as_bits[1]]
    outputs = pickle.loads((tmp_path / "result").read_bytes())
    assert [bits.tolist() for bits, _ in outputs] == expected


@pytest.mark.long
@pytest.mark.parametrize(
    "board, profile", [("ia420f", "aggressive"), ("ia840f", "aggressive"), ("v80", "conservative")]
)
def test_full_size(board, profile, build_folder):
    """lstm_tiny on the RTL of a real board, at full size."""
    network = zoo.build("lstm_tiny")
    program = compile_program([network], configuration(board, profile=profile))
    check(simulate(program, zoo.inputs(network, 9), spaced=4, build_folder=build_folder))


@pytest.mark.long
def test_trained_example(build_folder):
    """The trained example on real data: the task's error on the RTL is float64's."""
    from spiccato_sim.models.reference import Reference

    task, network = series.load("seattle_weather"), zoo.resolve("seattle_weather")
    config = dataclasses.replace(configuration("test8"), io_format="float32")
    result = simulate(compile_program([network], config), task.inputs, spaced=2, build_folder=build_folder)
    check(result)
    exact = Reference(network).run(task.inputs)
    assert task.metric(task.predict(result.outputs)) == pytest.approx(task.metric(task.predict(exact)), abs=1e-4)


@pytest.mark.xdist_group("1x4")
def test_difference_is_found(build_folder):
    """The comparison is not blind: one changed bias, shift or cycle count is reported."""
    program, xs = random_case(small_config("1x4"), 1)
    biases = program.model.biases.copy()
    biases += 1 << 24
    later = program.model.spaced_latency + 1
    other = dataclasses.replace(program, models=(dataclasses.replace(program.model, biases=biases),))
    # The simulated hardware gets `other`, the virtual machine runs `program`.
    result = simulate(
        dataclasses.replace(program, models=(dataclasses.replace(program.model, spaced_latency=later),)),
        xs,
        spaced=3,
        preload=False,
        build_folder=build_folder,
        hardware_program=other,
    )
    assert not result.bit_exact
    assert any("output bits" in line for line in result.failures)
    assert any("spaced latency" in line for line in result.failures)

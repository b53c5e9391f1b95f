"""Networks of GRU and dense layers through compiler and virtual machine: numbers, cycles, marks, refusals."""

import dataclasses
import re

import numpy as np
import pytest

from spiccato.compiler import compile_network, compile_program, quantised_network
from spiccato.compiler.check import check_schedule
from spiccato.compiler.layout import Layout
from spiccato.compiler.lower import lower
from spiccato.compiler.schedule import schedule
from spiccato.errors import FitError, ModelError
from spiccato.layers import ACTIVATIONS, DenseLayer, GRULayer, LinearLayer, LSTMLayer
from spiccato.network import Network
from spiccato.program import Program, StateName
from spiccato.registry import configuration
from spiccato.rtl.accelerator import Timing
from spiccato_sim.analysis.accuracy import matrix_errors
from spiccato_sim.models import zoo
from spiccato_sim.models.bfloat16 import BFloat16Pipeline
from spiccato_sim.models.reference import Reference
from spiccato_sim.models.vm import VirtualMachine

KINDS = ("lstm", "gru", "dense")


@pytest.fixture(scope="module")
def config():
    return dataclasses.replace(
        configuration("test4"),
        name="kinds",
        io_format="float32",
        weight_depth=4096,
        slots=128,
        state_slots=256,
        vector_blocks=128,
        input_blocks=16,
        output_beats=64,
        program_depth=1 << 14,
        epilogues=KINDS,
    )


@pytest.fixture(scope="module")
def narrow(config):
    """The same with 9x9 multipliers."""
    return dataclasses.replace(config, name="narrow", columns=8, multiplier="9x9")


def rms(values):
    return float(np.sqrt(np.mean(np.square(values))))


def drawn(seed, *shapes, spread=0.5):
    rng = np.random.default_rng(seed)
    return [rng.uniform(-spread, spread, shape) for shape in shapes]


def dense(seed, inputs, units, activation, **more):
    return DenseLayer(*drawn(seed, (units, inputs), (units,)), activation, **more)


def gru(seed, inputs, units, **more):
    return GRULayer(*drawn(seed, (3 * units, inputs), (3 * units, units), (3 * units,), (3 * units,)), **more)


def lstm(seed, inputs, units):
    return LSTMLayer(*drawn(seed, (4 * units, inputs), (4 * units, units), (4 * units,)))


def linear(seed, inputs, units):
    return LinearLayer(*drawn(seed, (units, inputs), (units,)))


@pytest.mark.parametrize("scale", [1, 3])
@pytest.mark.parametrize("kinds", [("gru",), KINDS])
def test_error_is_a_twentieth_of_a_bfloat16_pipelines(kinds, scale, config):
    errors, theirs = [], []
    for seed in range(3):
        network = zoo.random_network(
            np.random.default_rng(seed), layers=3, min_size=16, max_size=48, kinds=kinds, scale=scale
        )
        program = compile_program([network], config, weight_formats="int16")
        xs = zoo.inputs(network, 120)
        exact = Reference(network).run(xs)
        machine = VirtualMachine(program)
        errors.append(rms(machine.run(xs) - exact) / rms(exact))
        theirs.append(rms(BFloat16Pipeline(network).run(xs) - exact) / rms(exact))
        assert not machine.marks
    assert 20 * rms(errors) < rms(theirs)


def test_error_with_narrow_multipliers(narrow):
    """All kinds on 9x9 multipliers, with results read by several layers: no more than three bfloat16 pipelines'."""
    errors, theirs = [], []
    for seed in range(4):
        network = zoo.random_network(
            np.random.default_rng(seed), layers=3, min_size=16, max_size=48, kinds=KINDS, around=True
        )
        xs = zoo.inputs(network, 120)
        exact = Reference(network).run(xs)
        errors.append(rms(VirtualMachine(compile_program([network], narrow)).run(xs) - exact) / rms(exact))
        theirs.append(rms(BFloat16Pipeline(network).run(xs) - exact) / rms(exact))
    assert rms(errors) < 3 * rms(theirs)


def test_units_that_there_are_not_count_for_nothing(narrow):
    """The alignment of a block is that of its units: beside small results, a slot's other lanes have sigmoid(0)."""
    network = Network(
        [DenseLayer(drawn(0, (5, 4), spread=0.1)[0], np.full(5, -9.0), "sigmoid"), linear(1, 5, 2)],
        calibration=np.random.default_rng(5).standard_normal((50, 4)),
    )
    program = compile_program([network], narrow)
    xs = zoo.inputs(network, 30)
    read = Reference(network).run(xs) - network.output_layer.bias
    assert rms(VirtualMachine(program).run(xs) - network.output_layer.bias - read) < 0.05 * rms(read)


@pytest.mark.parametrize("board", ["config", "narrow"])
def test_feedback_of_all_kinds(board, request):
    """Weights of layers that read scaled results, or several ones, are rounded by what they read."""
    board = request.getfixturevalue(board)
    rng = np.random.default_rng(2)
    layers = [gru(1, 6, 9), dense(2, 9, 11, "relu"), dense(3, 20, 10, "relu6"), lstm(4, 21, 7), linear(5, 7, 3)]
    # Units of very different size, which count as much as others where they are read.
    sizes = 2.0 ** rng.integers(-6, 7, 11)
    layers[1] = DenseLayer(layers[1].weight * sizes[:, None], layers[1].bias * sizes, "relu")
    for number, field, columns in ((2, "weight", slice(9, 20)), (3, "weight_ih", slice(0, 11))):
        weight = np.array(getattr(layers[number], field))
        weight[:, columns] /= sizes
        layers[number] = dataclasses.replace(layers[number], **{field: weight})
    xs = rng.standard_normal((300, 6))
    network = Network(layers, calibration=xs + 2 * xs[:, :1], reads=(1, 1, 2, 2, 1))
    form = board.weight_formats[-1]
    found = matrix_errors(compile_network(network, board, weight_format=form), network)
    assert [(one.layer, one.matrix) for one in found] == [
        (0, "W_ih"),
        (0, "W_hh"),
        (1, "W"),
        (2, "W"),
        (3, "W_ih"),
        (3, "W_hh"),
        (4, "W"),
    ]
    assert all(one.sums < 0.98 * one.nearest_sums for one in found if one.weight_format == form), found


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_each_activation(name, config, tmp_path):
    """Behind the input and behind a layer, in a file, and back to real numbers."""
    network = Network(
        [dense(1, 9, 40, name), dense(2, 40, 11, name), lstm(3, 11, 6), dense(4, 6, 5, name)],
        calibration=np.random.default_rng(5).standard_normal((50, 9)),
    )
    program = compile_program([network], config)
    program.save(tmp_path / "p.spiccato")
    program = Program.load(tmp_path / "p.spiccato")
    xs = zoo.inputs(network, 30)
    exact = Reference(network).run(xs)
    assert rms(VirtualMachine(program).run(xs) - exact) < 1e-4 * max(1, rms(exact))
    stored = quantised_network(program.model)
    if name != "identity":
        assert [getattr(layer, "activation", None) for layer in stored.layers] == [name, name, None, name, None]
    assert rms(Reference(stored).run(xs) - exact) < 1e-4 * max(1, rms(exact))


def test_lstm_loses_nothing_beside_other_epilogues(config):
    """Neither a cycle nor a bit."""
    for seed in range(4):
        network = zoo.random_network(np.random.default_rng(seed), layers=2, max_size=40)
        ours, alone = (
            compile_network(network, one) for one in (config, dataclasses.replace(config, epilogues=("lstm",)))
        )
        for name in ("spaced_latency", "initiation_interval"):
            assert getattr(ours, name) == getattr(alone, name)
        for name in ("weights", "shifts", "biases", "adjust"):
            assert (getattr(ours, name) == getattr(alone, name)).all()


def test_gru_takes_as_many_cycles_as_the_lstm(config):
    for sizes in ((6, 8, 8), (20, 33, 17)):
        twins = [
            Network([*(make(0, *pair) for pair in zip(sizes, sizes[1:])), linear(1, sizes[-1], 3)])
            for make in (gru, lstm)
        ]
        cycles = [
            (model.spaced_latency, model.initiation_interval)
            for model in (compile_network(network, config) for network in twins)
        ]
        assert cycles[0] == cycles[1]


@pytest.mark.parametrize("name", ["gru_tiny", "gru_small"])
def test_gru_twins_on_a_board(name):
    """At most three cycles a layer more than the LSTM twin; that is as fast where other epilogues are built, too."""
    twin = name.replace("gru", "lstm")
    ours, theirs, alone = (
        compile_network(zoo.build(model), configuration(board))
        for model, board in ((name, "ia420f-kinds"), (twin, "ia420f-kinds"), (twin, "ia420f"))
    )
    assert (theirs.spaced_latency, theirs.initiation_interval) == (alone.spaced_latency, alone.initiation_interval)
    assert ours.spaced_latency <= alone.spaced_latency + 3 * len(ours.layers)


def test_slow_gru_keeps_what_rounding_leaves():
    """A unit that moves by less than half a unit of h's last place in a step follows float64 over thousands of them."""
    weight_ih = np.zeros((3, 1))
    weight_ih[2] = 1.0
    # 1 - z is 4 of the 2**-17 that gates are multiples of, give or take a half.
    network = Network([GRULayer(weight_ih, np.zeros((3, 1)), [0.0, 10.4, 0.0])])
    config = dataclasses.replace(configuration("test4"), io_format="float32", epilogues=("gru",))
    machine, reference = VirtualMachine(compile_program([network], config)), Reference(network)
    for _ in range(3000):
        ours, exact = machine.step([0.1]), reference.step([0.1])
    assert abs(ours[0] - exact[0]) < 0.15 * exact[0]


@pytest.mark.parametrize("h0", [0.3, -1.0, 1.0])
def test_gru_starts_from_its_initial_state(h0, config):
    network = Network([gru(1, 3, 5, h0=np.full(5, h0)), linear(2, 5, 2)])
    program = compile_program([network], config)
    xs = zoo.inputs(network, 5)
    np.testing.assert_allclose(VirtualMachine(program).run(xs), Reference(network).run(xs), rtol=0, atol=1e-4)
    stored = quantised_network(program.model)
    np.testing.assert_allclose(stored.layers[0].h0, h0, rtol=0, atol=2.0**-16)
    with pytest.raises(FitError, match=re.escape("an initial h of magnitude 2.5 is beyond what there may be (2)")):
        compile_program([Network([gru(1, 3, 5, h0=np.full(5, 2.5))])], config)


@pytest.mark.parametrize("keeps", [False, True])
def test_states_by_name(keeps, config):
    """Of layers that have one, by their numbers among those; a GRU's is h, which is always kept."""
    network = Network(
        [dense(1, 4, 7, "tanh"), gru(2, 7, 5), dense(3, 5, 6, "tanh"), lstm(4, 6, 9), linear(5, 9, 2)],
        states=[StateName("features", "h", 0, True)],
    )
    program = compile_program([network], dataclasses.replace(config, keep_h=keeps))
    machine, reference = VirtualMachine(program), Reference(network)
    for x in zoo.inputs(network, 5):
        machine.step(x)
        reference.step(x)
    states = machine.states()
    assert set(states) == {"features", "c_l1", *["h_l1"] * keeps}
    for name, exact in (("features", reference.h[1]), ("h_l1", reference.h[3]), ("c_l1", reference.c[3])):
        if name in states:
            np.testing.assert_allclose(states[name], exact, rtol=0, atol=1e-3)
    _, features, _, h = machine.h
    assert (states["features"] == features / 2**17).all()
    if keeps:
        assert (states["h_l1"] == h / 2**17).all()
        # What a state holds besides is nothing: dense layers have none.
        state = machine.state()
        assert np.count_nonzero(state.h) == np.count_nonzero(features) + np.count_nonzero(h)
    for kind, layer in (("c", 0), ("h", 2)):
        with pytest.raises(ModelError, match=f"state 's' is {kind} of layer {layer}; expected h, or c unless that is"):
            dataclasses.replace(network, states=[StateName("s", kind, layer)])
    result = dataclasses.replace(network, states=[StateName("s", "h", 1, True)])
    if not keeps:
        with pytest.raises(FitError, match="gives 's', h of layer 1, .* does not keep h: needs keep_h=True"):
            compile_program([result], config)


#: Layers, and how many each reads: two and three that lie one behind the other, and what a linear layer gives.
AROUND = {
    "an LSTM": (lambda: [lstm(1, 4, 6), lstm(2, 6, 6), linear(3, 12, 2)], (1, 1, 2)),
    "a GRU between dense layers": (
        lambda: [
            dense(1, 4, 9, "tanh"),
            gru(2, 9, 9),
            dense(3, 18, 7, "relu"),
            dense(4, 16, 5, "silu"),
            linear(5, 5, 3),
        ],
        (1, 1, 2, 2, 1),
    ),
    "two layers": (lambda: [gru(1, 4, 7), lstm(2, 7, 7), dense(3, 14, 7, "elu"), lstm(4, 21, 5)], (1, 1, 2, 3)),
    "one behind a linear layer": (
        lambda: [lstm(1, 4, 5), linear(2, 5, 11), gru(3, 11, 11), linear(4, 22, 2)],
        (1, 1, 1, 2),
    ),
    "of many slots": (lambda: [lstm(1, 4, 41), lstm(2, 41, 33), lstm(3, 74, 9)], (1, 1, 2)),
}


@pytest.mark.parametrize("make, reads", AROUND.values(), ids=AROUND)
def test_what_goes_around_layers(make, reads, config, tmp_path):
    """Layers that read several: in float64, in the virtual machine, in a file, and back to real numbers."""
    network = Network(make(), reads=reads, calibration=np.random.default_rng(5).standard_normal((50, 4)))
    # Written out by hand.
    xs = zoo.inputs(network, 20)
    states, expected = [layer.initial_state for layer in network.layers], []
    for x in xs:
        results = []
        for number, (layer, count) in enumerate(zip(network.layers, reads)):
            step = layer.step(np.concatenate(results[number - count :]) if number else x, *states[number])
            states[number] = step.h, step.c
            results.append(step.h)
        expected.append(results[-1])
    exact = Reference(network).run(xs)
    np.testing.assert_array_equal(exact, expected)
    np.testing.assert_allclose(Reference(network.as_computed).run(xs), exact, rtol=0, atol=1e-12)
    program = compile_program([network], config, weight_formats="int16")
    program.save(tmp_path / "p.spiccato")
    program = Program.load(tmp_path / "p.spiccato")
    assert rms(VirtualMachine(program).run(xs) - exact) < 1e-4 * max(1, rms(exact))
    stored = quantised_network(program.model)
    assert rms(Reference(stored).run(xs) - exact) < 1e-4 * max(1, rms(exact))


def test_layers_that_read_what_there_is_not():
    layers = [lstm(1, 4, 6), lstm(2, 6, 6), linear(3, 12, 2)]
    for reads, message in (
        ((1, 2, 1), "LSTM layer 1 reads 2 layers; expected 1 to 1: those before it"),
        ((1, 0, 1), "LSTM layer 1 reads 0 layers; expected 1 to 1"),
        ((1, 1), "reads tells of 2 layers; expected 3"),
        ((1, 1, 1), "linear layer 0 takes 12 inputs; expected 6, the outputs of LSTM layer 1"),
        ((1, 1, 3), "linear layer 0 reads 3 layers; expected 1 to 2"),
    ):
        with pytest.raises(ModelError, match=re.escape(message)):
            Network(layers, reads=reads)


def test_what_saturates_is_marked(config):
    """Results beyond four times the calibration inputs' saturate, and the output says so; below, it does not."""
    network = Network(
        [DenseLayer(np.eye(3), None, "relu"), linear(1, 3, 2)], calibration=np.array([[1.0, -1.0, 0.5], [-0.5, 1, 1]])
    )
    program = compile_program([network], config)
    machine = VirtualMachine(program)
    for x, marked in (([4.0, 1, 1], False), ([1, 9.0, 1], True), ([1, -9.0, 1], False), ([1, 1, 1], False)):
        machine.step(x)
        assert (machine.marks["saturated"] > 0) == marked
        machine.marks.clear()


@pytest.mark.parametrize(
    "message, layers, calibrated",
    [("layer 0: how large the results of relu behind the network's input are is not known", ["relu"], False)],
)
def test_refusals(message, layers, calibrated, config):
    network = Network(
        [dense(k, 4, 4, name) for k, name in enumerate(layers)], calibration=np.ones((3, 4)) if calibrated else None
    )
    with pytest.raises(FitError, match=re.escape(message)):
        compile_network(network, config)


def test_refusals_of_parameters_and_of_configurations(config):
    steep = Network([lstm(0, 3, 4), dense(1, 4, 4, "leaky_relu", alpha=1.5)])
    with pytest.raises(FitError, match=re.escape("the slope of leaky_relu is 1.5; at most 1")):
        compile_network(steep, config)
    with pytest.raises(FitError, match=re.escape("needs epilogue 'gru' for a GRU layer (built: lstm)")):
        compile_network(Network([gru(0, 3, 4)]), configuration("test4"))


def test_check_knows_the_port_of_h(config):
    """Of slots as close as the scheduler puts them; none may have more turns."""
    network = Network([lstm(0, 3, 4), dense(1, 4, 3 * config.slot_rows, "tanh")])
    layout, timing = Layout(lower(network), config), Timing(config)
    plan = schedule(layout, timing)
    check_schedule(plan, layout, timing)
    layout.layers[1] = dataclasses.replace(layout.layers[1], turns=5)
    with pytest.raises(AssertionError, match="is there together with another slot's"):
        check_schedule(plan, layout, timing)


def test_heads_are_one_packet(config):
    trunk = [gru(0, 4, 9)]
    heads = {"policy": [dense(1, 9, 8, "tanh"), linear(2, 8, 3)], "value": [dense(3, 9, 5, "tanh"), linear(4, 5, 1)]}
    network = Network.with_heads(trunk, heads, name="agent")
    program = compile_program([network], config)
    assert program.model.outputs == (("policy", 3), ("value", 1))
    xs = zoo.inputs(network, 6)
    parts = program.model.split(VirtualMachine(program).run(xs))
    for name, head in heads.items():
        alone = Reference(Network([*trunk, *head])).run(xs)
        np.testing.assert_allclose(parts[name], alone, rtol=0, atol=1e-4)
    with pytest.raises(ModelError, match=re.escape("heads 'a' (identity) and 'b' (tanh identity) have other activ")):
        Network.with_heads(trunk, {"a": [linear(1, 9, 2)], "b": [dense(1, 9, 2, "tanh")]})
    with pytest.raises(ModelError, match=re.escape("head 'a' has a GRU layer; supported: linear and dense layers")):
        Network.with_heads(trunk, {"a": [gru(1, 9, 2)]})
    with pytest.raises(
        ModelError, match=re.escape("outputs a 2: expected different names, and sizes that add up to 9")
    ):
        Network(trunk, outputs=(("a", 2),))

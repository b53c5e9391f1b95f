"""Contexts in the virtual machine, states as data, initial states, and when packets of several models come and go."""

import dataclasses

import numpy as np
import pytest

from programs import CONFIG, network, with_initial
from spiccato.compiler import compile_network, compile_program, quantised_network
from spiccato.errors import FitError, InputError, ModelError, ProgramError
from spiccato.formats import to_bits
from spiccato.layers import LinearLayer, LSTMLayer
from spiccato.network import Network
from spiccato.numbers import SHIFT_MAX
from spiccato.program import State, initial_state
from spiccato.program.halves import state_of
from spiccato.program.tiles import row_scales
from spiccato.registry import configuration
from spiccato_sim.models import zoo
from spiccato_sim.models.bfloat16 import BFloat16Pipeline
from spiccato_sim.models.reference import Reference
from spiccato_sim.models.timeline import Packet, Timeline
from spiccato_sim.models.vm import VirtualMachine

pytestmark = pytest.mark.fast


KEEPS_H = dataclasses.replace(CONFIG, name="keeps", keep_h=True)


def program_of(seed, contexts=(3, 2, 1), config=CONFIG):
    """A program of three models, one of them with an initial state."""
    return compile_program(
        [network(seed), with_initial(network(seed + 1, layers=1)), network(seed + 2)], config, contexts=contexts
    )


def same(state, other):
    assert (state.h is None) == (other.h is None)
    kept = state.h is None or (state.h == other.h).all()
    return state.model == other.model and (state.sums == other.sums).all() and (state.c == other.c).all() and kept


@pytest.mark.parametrize("seed", range(6))
def test_each_context_is_what_it_would_be_alone(seed):
    """Packets of random contexts, malformed ones, starts, resets, saves and loads: each as on a machine of its own."""
    rng = np.random.default_rng(seed)
    program = program_of(10 * seed, config=(CONFIG, KEEPS_H)[seed % 2])
    contexts = [(model, stream) for model, streams in enumerate(program.streams) for stream in range(streams)]
    shared, alone = VirtualMachine(program), {context: VirtualMachine(program) for context in contexts}
    saved = {}
    for _step in range(150):
        model, stream = context = contexts[rng.integers(len(contexts))]
        single, action = alone[context], rng.integers(12)
        if action == 0:
            shared.reset(*context)
            single.reset()
        elif action == 1:
            saved[context] = shared.state(*context)
        elif action == 2 and context in saved:
            for machine in (shared, single):
                machine.set_state(saved[context], *context)
        x = to_bits(rng.normal(size=program.models[model].input_size), "bfloat16")
        options = {"model": model, "stream": stream, "start": action == 3, "malformed": action == 4}
        ours, theirs = shared.step_bits(x, **options), single.step_bits(x, **options)
        assert (ours.bits == theirs.bits).all() and ours.flags == theirs.flags
        assert ours.flags["malformed"] == (action == 4) and not ours.flags["unknown"]
        for other in contexts:
            assert same(shared.state(*other), alone[other].state(*other))
    assert saved


def test_start_is_a_fresh_context():
    program = program_of(1)
    xs = {model: zoo.inputs(network(1 + model, layers=2 - model % 2), 8) for model in range(3)}
    for model in range(3):
        machine = VirtualMachine(program)
        first = machine.run(xs[model], model=model)
        assert (machine.run(xs[model], model=model) != first).any()
        assert (machine.run(xs[model], model=model, start=True) == first).all()


def test_a_malformed_start_changes_nothing():
    """The context goes on from what it had, or still has nothing."""
    program = program_of(2)
    x = to_bits(np.ones(program.models[1].input_size), "bfloat16")
    machine, other = VirtualMachine(program), VirtualMachine(program)
    for one in (machine, other):
        one.step_bits(x, model=1)
    h, before = [values.copy() for values in machine.h], machine.state(1)
    machine.step_bits(x, model=1, start=True, malformed=True)
    assert machine.state(1) is before and all((a == b).all() for a, b in zip(h, machine.h))
    assert (machine.step_bits(x, model=1).bits == other.step_bits(x, model=1).bits).all()


def test_unknown_contexts():
    """A beat of zeros and a mark, whatever the packet holds; everything else stays. Python refuses what is meant."""
    program = program_of(3)
    machine = VirtualMachine(program)
    x = to_bits(np.ones(program.models[0].input_size), "bfloat16")
    machine.step_bits(x)
    before, h = machine.state(), machine.h
    for model, stream in ((0, 3), (2, 1), (3, 0), (3, 7)):
        result = machine.step_bits(x, model=model, stream=stream, start=True, malformed=True)
        assert result.bits.tolist() == [0] * CONFIG.beat_values
        assert [name for name, marked in result.flags.items() if marked] == ["unknown"]
        for method in (machine.state, machine.reset, machine.c):
            with pytest.raises(ProgramError, match="has no (model|stream)"):
                method(model, stream)
        with pytest.raises(ProgramError, match="has no (model|stream)"):
            machine.run(np.ones((1, program.models[0].input_size)), model=model, stream=stream)
    assert machine.marks == {"unknown": 4}
    assert machine.state() is before and all((a == b).all() for a, b in zip(h, machine.h))
    for model, stream in ((4, 0), (0, 8), (-1, 0), (0, -1)):
        with pytest.raises(InputError, match="a packet names one of 0 to"):
            machine.step_bits(x, model=model, stream=stream)


def test_reset_of_one_model():
    program = program_of(4)
    machine = VirtualMachine(program)
    for model, streams in enumerate(program.streams):
        for stream in range(streams):
            machine.step(np.ones(program.models[model].input_size), model=model, stream=stream)
    fresh = VirtualMachine(program)
    machine.reset(0)
    assert all(same(machine.state(0, stream), fresh.state(0, stream)) for stream in range(3))
    assert not any(same(machine.state(1, stream), fresh.state(1, stream)) for stream in range(2))
    machine.reset()
    assert same(machine.state(1, 1), fresh.state(1, 1)) and not machine.h[0].any()


# States as data.


def test_a_state_moves(tmp_path):
    """Saved, and loaded in another program in which the same model is another number: it goes on bit by bit."""
    program, path = program_of(5), tmp_path / "state"
    other = compile_program([network(9), network(5)], CONFIG, contexts=2)
    xs = zoo.inputs(network(5), 10)
    machine, there = VirtualMachine(program), VirtualMachine(other)
    machine.run(xs[:5], stream=2)
    machine.state(0, 2).save(path)
    state = State.load(path)
    assert same(state, machine.state(0, 2)) and state.slots == program.models[0].state_slots
    there.set_state(state, model=1, stream=1)
    assert (there.run(xs[5:], model=1, stream=1) == machine.run(xs[5:], stream=2)).all()
    with pytest.raises(ProgramError, match="no state of model 'net9'"):
        there.set_state(state, model=0)


def test_a_state_of_other_shapes_or_values_is_refused():
    model = compile_network(network(5), KEEPS_H)
    state = initial_state(model)
    for changes, message in (
        ({"sums": state.sums[:-1]}, "sums has shape"),
        ({"c": state.c[:, :1]}, "c has shape"),
        ({"sums": state.sums + (1 << 47)}, "sums has to hold integers of 48 bits"),
        ({"c": state.c - (1 << 26) - 1}, "c has to hold integers of 27 bits"),
        ({"c": state.c + 0.5}, "c has to hold integers"),
        ({"h": state.h + (1 << 17)}, "h has to hold integers of 18 bits"),
    ):
        with pytest.raises(ProgramError, match=f"state of model 'net5': {message}"):
            dataclasses.replace(state, **changes).require(model)


def test_damaged_state_files(tmp_path):
    path = tmp_path / "s.state"
    program = program_of(6)
    machine = VirtualMachine(program)
    machine.step(np.ones(program.models[0].input_size))
    machine.state().save(path)
    data = path.read_bytes()
    for cut in (0, 7, 100, len(data) - 1):
        path.write_bytes(data[:cut])
        with pytest.raises(ProgramError, match="s.state: .*damaged"):
            State.load(path)
    for place in range(8, len(data), len(data) // 97):
        path.write_bytes(data[:place] + bytes([data[place] ^ 2]) + data[place + 1 :])
        with pytest.raises(ProgramError, match="s.state: (not|damaged)"):
            State.load(path)
    program.save(path)
    with pytest.raises(ProgramError, match="not a state file"):
        State.load(path)
    with pytest.raises(ProgramError, match="no such file"):
        State.load(tmp_path / "none")


# h where it is kept.


def by_layer(machine, program, model):
    """h and c of the last inference, which was of ``model``, stream 1, in the model's own numbers, by their names."""
    found = {}
    for number, (h, c) in enumerate(zip(machine.h, machine.c(model, 1))):
        found |= {f"h_l{number}": h / 2**17, f"c_l{number}": c / 2**17}
    return found


def equal(states, others):
    return states.keys() == others.keys() and all((states[name] == others[name]).all() for name in states)


def test_h_and_c_by_name():
    """What the model computed, near to what float64 has; and what it starts from where it has computed nothing."""
    program, networks = program_of(1, config=KEEPS_H), [network(1), with_initial(network(2, layers=1))]
    machine = VirtualMachine(program)
    for model, own in enumerate(networks):
        starts = machine.states(model, 1)
        for number, layer in enumerate(own.hidden_layers):
            for kind, start in zip("hc", layer.initial_state):
                assert np.abs(starts[f"{kind}_l{number}"] - start).max() <= 2**-18
        reference = Reference(own)
        for x in zoo.inputs(own, 5):
            machine.step(x, model=model, stream=1)
            reference.step(x)
            assert equal(machine.states(model, 1), by_layer(machine, program, model))
        for number, (h, c) in enumerate(zip(reference.h, reference.c)):
            assert np.abs(machine.states(model, 1)[f"h_l{number}"] - h).max() < 0.02
            assert np.abs(machine.states(model, 1)[f"c_l{number}"] - c).max() < 0.05
        assert equal(machine.states(model, 0), starts)
        assert equal(machine.states(model, 1, names=["h_l0"]), {"h_l0": machine.h[0] / 2**17})


def test_h_stays_where_nothing_was_handed_on():
    """Malformed and unknown packets leave h, also if they ask for a start; a start counts when its step has ended."""
    program = program_of(2, config=KEEPS_H)
    machine = VirtualMachine(program)
    x = to_bits(np.ones(program.models[1].input_size), "bfloat16")
    machine.step_bits(x, model=1)
    one = machine.states(1)
    machine.step_bits(x, model=1)
    two = machine.states(1)
    assert not equal(one, two)
    machine.step_bits(x, model=1, start=True, malformed=True)
    machine.step_bits(x, model=1, stream=5)
    assert equal(machine.states(1), two)
    machine.step_bits(x, model=1, start=True)
    assert equal(machine.states(1), one)
    machine.reset(1, 0)
    assert equal(machine.states(1), VirtualMachine(program).states(1))


def test_h_that_is_not_kept():
    """c alone; h is refused by its name."""
    machine = VirtualMachine(program_of(1))
    machine.step(np.ones(machine.program.models[0].input_size))
    assert list(machine.states()) == ["c_l0", "c_l1"]
    with pytest.raises(ProgramError, match="state 'h_l1' of model 'net1' is h of layer 1, .* needs keep_h=True"):
        machine.states(names=["c_l0", "h_l1"])
    with pytest.raises(ProgramError, match="model 'net1' has no state 'h'; it has 'h_l0', 'c_l0', 'h_l1', 'c_l1'"):
        machine.states(names=["h"])


@pytest.mark.parametrize("keeps", [True, False])
def test_states_with_and_without_h(tmp_path, keeps):
    """A state that was saved with h is none of a device without it, nor the other way round."""
    there, here = (compile_program([network(5)], config) for config in (CONFIG, KEEPS_H)[:: 1 if keeps else -1])
    machine = VirtualMachine(there)
    machine.step(np.ones(there.model.input_size))
    machine.state().save(tmp_path / "s.state")
    state = State.load(tmp_path / "s.state")
    assert same(state, machine.state()) and there.model.digest == here.model.digest
    message = "'keeps' keeps h .* saved without it" if keeps else "'shared' does not keep h .* holds it"
    with pytest.raises(ProgramError, match=f"state of model 'net5': configuration {message}.* keep_h={keeps}$"):
        VirtualMachine(here).set_state(state)
    VirtualMachine(there).set_state(state)


def test_configurations_with_and_without_h():
    """Another digest, for a host has to know; the same issue words and cycles."""
    plain, keeps = (compile_program([network(5)], config) for config in (CONFIG, KEEPS_H))
    assert CONFIG.digest != KEEPS_H.digest and (plain.model.words == keeps.model.words).all()
    with pytest.raises(ProgramError, match="keep_h False instead of True"):
        plain.require(KEEPS_H)


def test_initial_h_that_cannot_be_kept():
    with pytest.raises(
        FitError, match="layer 0: an initial h of magnitude 2 is beyond .* since the configuration keeps h"
    ):
        compile_network(Network((LSTMLayer(np.zeros((4, 1)), np.zeros((4, 1)), h0=np.full(1, 2.0)),)), KEEPS_H)


def test_a_shift_beyond_all_bits_leads_to_the_state():
    """A small recurrent matrix and a small h: row shift and the block's exponent together are more than there are."""
    config = configuration("ia840f-fast")
    units = config.columns
    # A sigmoid of i near 0: equal h of some hundred units, of whatever small exponent.
    bias = np.repeat([-5.85, -20.0, 3.0, 0.0], units)
    layer = LSTMLayer(np.zeros((4 * units, 1)), np.full((4 * units, units), 1.7 * 2.0**-29), bias, 0 * bias)
    program = compile_program([Network((layer, LinearLayer(np.zeros((1, units)), np.zeros(1))))], config)
    machine = VirtualMachine(program)
    machine.run(np.zeros((3, 1)))
    shifts, _ = row_scales(config, program.model.shifts[1])
    assert shifts.max() + 9 > SHIFT_MAX and (np.abs(machine.h[0]) > 0).all()
    assert (state_of(program.model, machine.h, machine.c()).sums == machine.state().sums).all()


@pytest.mark.parametrize("weights, scale", [("int16", 1), ("int8", 1), ("int16", 1000)])
def test_h_and_c_lead_to_the_state(weights, scale):
    """What an inference leaves is what follows from its h and c, also of weights that are shifted to the left."""
    drawn = network(7, min_size=8, scale=scale)
    program = compile_program([drawn], CONFIG, weight_formats=weights)
    assert (program.model.shifts[1][program.model.shifts[1] > 0].min() < 24) == (scale > 1)
    machine = VirtualMachine(program)
    machine.run(zoo.inputs(drawn, 4))
    state = state_of(program.model, machine.h, machine.c())
    assert (state.sums == machine.state().sums).all()
    again = VirtualMachine(program)
    again.set_state(state)
    x = np.ones(program.model.input_size)
    assert (again.step(x) == machine.step(x)).all()
    h, c = machine.h, machine.c()
    for bad_h, bad_c, message in (
        (h[:1], c, "h has shapes"),
        (h, [values[1:] for values in c], "c has shapes"),
        ([h[0], h[1] + (1 << 17)], c, "h of layer 1 has to hold integers of 18 bits"),
        (h, [c[0] + 0.5, c[1]], "c of layer 0 has to hold integers"),
    ):
        with pytest.raises(ProgramError, match=message):
            state_of(program.model, bad_h, bad_c)


# Initial states.


@pytest.mark.parametrize("scale", [0.5, 4])
@pytest.mark.parametrize("weights", ["int16", "int8"])
def test_initial_state(weights, scale):
    """As float64 has it, also of h that no layer itself could have; and read back from the program."""
    plain = network(8, min_size=6, scale=2)
    started = with_initial(plain, scale=scale)
    config = dataclasses.replace(CONFIG, io_format="float32")
    program = compile_program([started], config, weight_formats=weights)
    xs = zoo.inputs(plain, 12)
    stored = quantised_network(program.model)
    for layer, exact in zip(stored.hidden_layers, started.hidden_layers):
        assert np.abs(layer.h0 - exact.h0).max() <= 2**-18 and np.abs(layer.c0 - exact.c0).max() <= 2**-18
    machine, reference = VirtualMachine(program), Reference(stored)
    assert np.abs(machine.run(xs) - reference.run(xs)).max() < 1e-4
    assert np.abs(Reference(plain).run(xs) - Reference(started).run(xs))[0].max() > 1e-2
    # Another sequence starts there again.
    reference.reset()
    assert np.abs(machine.run(xs, start=True) - reference.run(xs)).max() < 1e-4


def test_initial_state_is_what_the_hardware_would_compute():
    """From an h that it could have had itself, the same sums."""
    started = with_initial(network(8), scale=0.9)
    model = compile_network(started, CONFIG)
    h = np.split(model.initial_h, np.cumsum([layer.units for layer in model.layers])[:-1])
    c = [model.initial_c[layer.all_slots].reshape(-1)[: layer.cells] for layer in model.layers]
    assert same(state_of(model, h, c), initial_state(model))


def test_initial_state_of_zeros_is_none():
    plain = network(8)
    zeros = with_initial(plain, scale=0.0)
    model, other = (compile_network(one, CONFIG) for one in (plain, zeros))
    assert not other.has_initial and model.digest == other.digest
    assert compile_network(with_initial(plain), CONFIG).digest != model.digest


def test_initial_state_of_some_layers():
    """h0 alone, c0 alone, in one layer of two."""
    plain = network(8)
    for field in ("h0", "c0"):
        layer = dataclasses.replace(plain.layers[1], **{field: np.full(plain.layers[1].hidden_size, 0.5)})
        started = dataclasses.replace(plain, layers=(plain.layers[0], layer, *plain.layers[2:]))
        xs = zoo.inputs(plain, 3)
        ours = VirtualMachine(compile_program([started], CONFIG)).run(xs)
        assert np.abs(ours - Reference(started).run(xs)).max() < 0.02 < np.abs(ours - Reference(plain).run(xs)).max()


@pytest.mark.parametrize(
    "field, value, message",
    [
        ("c0", 512.0, "layer 0: an initial c of magnitude 512 is beyond what there may be"),
        ("h0", 2.0**15, "layer 0: an initial h of magnitude 3.28e"),
    ],
)
def test_initial_states_beyond_the_formats(field, value, message):
    plain = network(8)
    layer = dataclasses.replace(plain.layers[0], **{field: np.full(plain.layers[0].hidden_size, value)})
    with pytest.raises(FitError, match=message):
        compile_network(dataclasses.replace(plain, layers=(layer, *plain.layers[1:])), CONFIG)


def test_initial_h_counts_for_the_range_of_the_sums():
    layer = LSTMLayer(np.zeros((4, 1)), np.full((4, 1), 100.0), h0=np.full(1, 10000.0))
    with pytest.raises(FitError, match="a row's weights and bias sum to 1e"):
        compile_network(Network((layer,)), CONFIG)


def test_layers_with_an_initial_state():
    """Shapes are checked, values kept, and a state dict has them."""
    layer = LSTMLayer(np.zeros((8, 3)), np.zeros((8, 2)), h0=[0.5, -0.5])
    assert layer.c0 is None and [part.tolist() for part in layer.initial_state] == [[0.5, -0.5], [0, 0]]
    assert set(layer.tensors(1)) == {"weight_ih_l1", "weight_hh_l1", "bias_ih_l1", "bias_hh_l1", "h0_l1"}
    assert "h0_l0" not in LSTMLayer(np.zeros((8, 3)), np.zeros((8, 2))).tensors(0)
    for values in ([1, 2, 3], [np.nan, 0]):
        with pytest.raises(ModelError, match="h0"):
            LSTMLayer(np.zeros((8, 3)), np.zeros((8, 2)), h0=values)
    rounded = BFloat16Pipeline(Network((dataclasses.replace(layer, h0=[0.1234567, 0]),)))
    assert rounded.h[0][0] == 0.12353515625


# When packets come and go.


def random_packets(rng, program, count):
    return [
        Packet(
            model=int(rng.integers(len(program.models))),
            quiet=bool(rng.integers(4) == 0),
            spacing=int(rng.choice([0, 0, 0, 20, 200])),
        )
        for _ in range(count)
    ]


def test_packets_that_come_alone():
    """The spaced latency of each model, whichever ran before."""
    program, rng = program_of(1), np.random.default_rng(1)
    packets = [dataclasses.replace(packet, spacing=1000) for packet in random_packets(rng, program, 40)]
    for packet, (accepted, finished) in zip(packets, Timeline(program).stream(packets)):
        assert packet.quiet == (finished is None)
        if not packet.quiet:
            assert finished - accepted == program.models[packet.model].spaced_latency


@pytest.mark.parametrize("seed", range(4))
def test_intervals_between_models(seed):
    """When packets are always waiting, the interval behind a packet is its own model's, whatever follows."""
    program, rng = program_of(10 * seed), np.random.default_rng(seed)
    models = rng.integers(3, size=60).tolist()
    # Outputs of the same model after different ones: all words between their starts are those of the packets before.
    finished = [last for _, last in Timeline(program).stream([Packet(model) for model in models])]
    first = {}
    for number, model in enumerate(models):
        begun = sum(program.models[one].initiation_interval for one in models[:number])
        assert finished[number] - begun == first.setdefault(model, finished[number] - begun)


@pytest.mark.parametrize("seed", range(4))
def test_rules_of_the_timeline(seed):
    """Two packets are buffered, beats leave one a cycle, the queue never holds more than it can."""
    rng = np.random.default_rng(seed)
    config = dataclasses.replace(CONFIG, output_beats=6)
    networks = [network(1, outputs=16), network(2, layers=1, min_size=1, max_size=2, outputs=1), network(3, outputs=9)]
    program = compile_program(networks, config)
    packets = random_packets(rng, program, 100)
    passages = Timeline(program).stream(packets)
    for number in range(1, len(packets)):
        beats = len(program.models[packets[number - 1].model].adjust) * config.beats_per_block
        gap = passages[number].accepted - passages[number - 1].accepted
        assert gap >= max(beats, packets[number].spacing)
    loud = [(packet, passage) for packet, passage in zip(packets, passages) if not packet.quiet]
    for (_, before), (packet, passage) in zip(loud, loud[1:]):
        assert passage.finished - before.finished >= program.models[packet.model].output_beats
    # Without what is quiet the others come no later.
    sooner = Timeline(program).stream([packet for packet, _ in loud])
    assert all(one.finished <= passage.finished for one, (_, passage) in zip(sooner, loud))


def test_room_in_the_output_queue():
    """A packet waits for as many beats before it to leave as its own need; a quiet one does not."""
    networks = [network(1, outputs=16), network(2, layers=1, min_size=1, max_size=2, outputs=1)]
    wide, narrow = (compile_program(networks, dataclasses.replace(CONFIG, output_beats=beats)) for beats in (64, 4))
    assert [model.output_beats for model in wide.models] == [4, 1]
    (_, last), (_, bound) = Timeline(narrow).stream([Packet(1), Packet(0)])
    (_, same_last), (_, free) = Timeline(wide).stream([Packet(1), Packet(0)])
    # From the second one's first word, which waits for the first one's beat, to its output.
    timing, model = Timeline(narrow).timing, narrow.models[0]
    after = model.spaced_latency - (CONFIG.beats_per_block - 1 + timing.input)
    assert bound == last + timing.room + after > free and last == same_last
    quiet = Timeline(narrow).stream([Packet(1, quiet=True), Packet(0)])
    assert quiet[1].finished == free


def test_unknown_packets_in_time():
    """One beat, when the model's last output slot is due; the first model's if there is no such model."""
    program = program_of(1)
    timeline = Timeline(program)
    for packet, model in ((Packet(2, stream=1), 2), (Packet(3), 0), (Packet(0, stream=5), 0)):
        one = program.models[model]
        beats = int(one.decode()["output_beats"][one.decode()["output_last"] == 1][0])
        [(accepted, finished)] = timeline.stream([packet])
        assert (accepted, finished) == (0, one.spaced_latency - beats)
        after = timeline.stream([packet, Packet(0)])[1].finished
        assert after == timeline.stream([Packet(model), Packet(0)])[1].finished
    assert timeline.stream([Packet(3, quiet=True)])[0].finished is None

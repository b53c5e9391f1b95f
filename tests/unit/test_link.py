"""Models that are loaded together: each is what it is alone, and what does not fit is refused."""

import dataclasses

import numpy as np
import pytest

import spiccato
from programs import CONFIG, network, with_initial
from spiccato.compiler import compile_network, compile_program, link, most_contexts
from spiccato.errors import FitError, ProgramError, SpiccatoError
from spiccato.isa.issue import issue_word
from spiccato.isa.load import RecordKind, context_word, feature_word, header_word, model_word, place_word
from spiccato.program import Program
from spiccato.registry import configuration
from spiccato_sim.analysis.memory_map import memory_map
from spiccato_sim.models import zoo
from spiccato_sim.models.vm import VirtualMachine

pytestmark = pytest.mark.fast


def records(words):
    """A load's records, by kind: (address, core, row, entries)."""
    found, at = {}, 3
    while header_word.unpack(int(words[at]))["kind"] != RecordKind.END:
        header, place = header_word.unpack(int(words[at])), place_word.unpack(int(words[at + 1]))
        count, size = place["entries"] + 1, header["words"] + 1
        entries = words[at + 2 : at + 2 + count * size].reshape(count, size)
        found.setdefault(RecordKind(header["kind"]), []).append((place["addr"], header["core"], header["row"], entries))
        at += 2 + count * size
    assert at == len(words) - 2
    return found


def memory(found, kind, core=0, row=0):
    """What a load leaves at each address of one memory; an address is written once."""
    result = {}
    for addr, at_core, at_row, entries in found[kind]:
        if (at_core, at_row) == (core, row):
            for offset, entry in enumerate(entries):
                assert addr + offset not in result, (kind, addr + offset)
                result[addr + offset] = sum(int(word) << 32 * i for i, word in enumerate(entry))
    return result


def sums_of(value, bits=48):
    return (value ^ 1 << bits - 1) - (1 << bits - 1)


@pytest.mark.parametrize("seed", range(4))
def test_each_model_is_what_it_is_alone(seed):
    """Outputs, latencies and all that is loaded, wherever it lies."""
    networks = [network(10 * seed + number, layers=1 + number % 2) for number in range(3)]
    alone = [compile_program([one], CONFIG) for one in networks]
    program = compile_program(networks, CONFIG, contexts=[1, 3, 2])
    assert program.name == f"net{10 * seed}+net{10 * seed + 1}+net{10 * seed + 2}"
    for number, (one, single) in enumerate(zip(networks, alone)):
        xs = zoo.inputs(one, 5, seed)
        assert program.models[number].digest == single.model.digest
        assert program.models[number].spaced_latency == single.model.spaced_latency
        for stream in range(program.streams[number]):
            together = VirtualMachine(program).run(xs, model=number, stream=stream)
            assert (together == VirtualMachine(single).run(xs)).all()


@pytest.mark.parametrize("seed", range(4))
def test_relocation(seed):
    """Every issue word reads and writes its own model's weights, shifts, biases and states, and no other's."""
    networks = [network(10 * seed), with_initial(network(10 * seed + 1)), network(10 * seed + 2, layers=1)]
    program = compile_program(networks, CONFIG, contexts=(2, 3, 1))
    found = records(program.load_words())
    config, word = CONFIG, issue_word(CONFIG)
    tails, heads = memory(found, RecordKind.ISSUE_WORDS), memory(found, RecordKind.HEADS)
    table, contexts = memory(found, RecordKind.MODELS), memory(found, RecordKind.CONTEXTS)
    assert sorted(table) == list(range(config.models)) and sorted(contexts) == list(range(32))
    assert sorted(tails) == list(range(len(tails)))
    weights = memory(found, RecordKind.WEIGHTS, core=1, row=2)
    biases = memory(found, RecordKind.ACCUMULATORS, core=1, row=2)
    shifts = memory(found, RecordKind.SHIFTS, core=1)
    cells = memory(found, RecordKind.CELL_STATE, core=1)
    taken = []
    for number, (one, streams) in enumerate(zip(program.models, program.streams)):
        entry = model_word(config).unpack(table[number])
        last = entry["before_last"] + 1
        own = [heads[number << 2 | i] for i in range(program.head_words)]
        own += [tails[address] for address in range(entry["first"], last + 1)]
        local = one.decode()
        assert len(own) == len(local["valid"]) >= program.head_words + 2
        for at, value in enumerate(own):
            fields = word.unpack(value)
            for name, column in local.items():
                if name not in ("weight", "slot"):
                    assert fields[name] == column[at], (name, at)
            if not fields["valid"]:
                continue
            tile = one.weights[1, local["weight"][at], 2]
            assert weights[fields["weight"]] == sum((int(v) & 0xFFFF) << 16 * i for i, v in enumerate(tile))
            slot = local["slot"][at]
            assert sums_of(biases[2 * config.state_slots + fields["slot"]]) == one.biases[slot, 1, 2]
            for recurrent in range(2):
                packed = sum(int(v) << 6 * i for i, v in enumerate(one.shifts[recurrent, slot, 1]))
                assert shifts[recurrent * config.slots + fields["slot"]] == packed
        first_slot = word.unpack(own[0])["slot"] - local["slot"][0]
        bits = model_word(config)["initial"].width
        ranges = []
        for stream in range(config.streams):
            context = context_word(config).unpack(contexts[number * config.streams + stream])
            assert context["known"] == (stream < streams)
            if context["known"]:
                ranges.append((context["base"] + first_slot) % (1 << bits))
        assert entry["has_initial"] == one.has_initial == (number == 1)
        if one.has_initial:
            at = (entry["initial"] + first_slot) % (1 << bits)
            ranges.append(at)
            for slot in range(one.state_slots):
                assert sums_of(biases[at + slot]) == one.initial_sums[slot, 1, 2]
                assert cells[at + slot] == sum(
                    (int(v) & (1 << 27) - 1) << 27 * i for i, v in enumerate(one.initial_c[slot, 1])
                )
        taken += [slot for first in ranges for slot in range(first, first + one.slots)]
    # Ranges of states do not meet, and lie on side 0.
    assert len(set(taken)) == len(taken) and max(taken) < config.state_slots
    assert not any(context_word(config).unpack(contexts[tid])["known"] for tid in range(24, 32))


def test_features_and_unknown_models():
    """Features lie by model and beat; a number of no model finds the first one's, so that packets have an end."""
    program = compile_program([network(1), network(2)], CONFIG)
    found = records(program.load_words())
    features = memory(found, RecordKind.FEATURES)
    beats = CONFIG.input_blocks * CONFIG.beats_per_block
    enable = feature_word["enable"]
    for number in range(CONFIG.models):
        one = program.models[number if number < 2 else 0]
        exist = [
            features[number * beats + beat] >> feature_word.size * value + enable.offset & 1
            for beat in range(len(one.adjust))
            for value in range(CONFIG.beat_values)
        ]
        assert exist == one.enable.reshape(-1).tolist()
    table, heads = memory(found, RecordKind.MODELS), memory(found, RecordKind.HEADS)
    assert table[2] == table[3] == table[0] != table[1]
    assert [heads[3 << 2 | i] for i in range(program.head_words)] == [heads[i] for i in range(program.head_words)]


def test_preload_is_the_rest_of_the_load(tmp_path):
    """What the files hold and what is loaded beside them are the whole load."""
    program = compile_program([network(1), with_initial(network(2))], CONFIG, contexts=2)
    whole, beside = (records(program.load_words(memories=memories)) for memories in (True, False))
    program.write_preload(tmp_path)
    names = {"weights": RecordKind.WEIGHTS, "shifts": RecordKind.SHIFTS, "biases": RecordKind.ACCUMULATORS}
    names |= {"words": RecordKind.ISSUE_WORDS}
    assert set(whole) - set(beside) == set(names.values())
    for path in tmp_path.iterdir():
        name, core, row = path.stem.split("_")
        preloaded, at = {}, 0
        for line in path.read_text().split():
            if line.startswith("@"):
                at = int(line[1:], 16)
            else:
                preloaded[at] = int(line, 16)
                at += 1
        assert preloaded == memory(whole, names[name], int(core), int(row)), path.name
    for kind, parts in beside.items():
        assert [part[:3] for part in parts] == [part[:3] for part in whole[kind]]


def test_outputs_of_models_that_take_turns_do_not_meet():
    """Idle words at the end of one that would still send when the other begins to, and only there."""
    first, second = (compile_network(network(seed, layers=1, min_size=2, max_size=4), CONFIG) for seed in (1, 2))
    word = issue_word(CONFIG)

    def moved(model, at, beats):
        fields = model.decode()
        old = np.flatnonzero(fields["output"])
        fields["output"][old] = 0
        fields["output"][at], fields["output_beats"][at] = 1, beats - 1
        return dataclasses.replace(model, words=word.encode(fields))

    length = len(first.words)
    late, early = moved(first, length - 2, 2), moved(second, 1, 1)
    linked = link([late, early])
    # Two beats from the last word but one on, and the other's word 1: one cycle lies between them already.
    assert [len(one.words) - len(own.words) for one, own in zip(linked.models, (late, early))] == [0, 0]
    linked = link([moved(first, length - 1, 2), moved(second, 0, 1)])
    assert [len(one.words) for one in linked.models] == [length + 1, len(second.words)]
    assert linked.models[0].initiation_interval == length + 1


@pytest.mark.parametrize(
    "changes, contexts, message",
    [
        (
            {"weight_depth": 90},
            1,
            r"weight memory \d+ of 90 words a core .*; 8 contexts of each would fit the state memory$",
        ),
        ({"slots": 16}, 1, r"needs accumulator file \d+ of 16 slots"),
        (
            {"state_slots": 60},
            4,
            r"state memory 104 of 60 slots \('net1' 4 contexts of 14 slots, 'net2' 4 contexts of 12 ",
        ),
        ({"program_depth": 120}, 1, r"needs program memory \d+ of 120 issue words"),
        ({"models": 1}, 1, r"needs model table 2 of 1 models"),
        ({"streams": 2}, (3, 1), r"needs context table 3 of 2 streams a model"),
    ],
)
def test_what_does_not_fit_together_is_refused(changes, contexts, message):
    """In one line: what is needed, what each context takes, how many would fit; and then as many do."""
    models = [network(1, min_size=9), network(2, min_size=9)]
    config = dataclasses.replace(CONFIG, **changes)
    compiled = [compile_network(one, config, weight_format="int16") for one in models]
    with pytest.raises(FitError, match=message) as caught:
        link(compiled, contexts=contexts)
    assert "\n" not in str(caught.value) and str(caught.value).startswith("program 'net1+net2' does not fit 'shared': ")
    if "state_slots" in changes or "streams" in changes:
        assert str(caught.value).endswith("; 2 contexts of each would fit")
        assert link(compiled, contexts=most_contexts(compiled)).streams == (2, 2)
        with pytest.raises(FitError):
            link(compiled, contexts=3)


def test_not_one_context_fits():
    models = [network(seed, min_size=9) for seed in (1, 2)]
    config = dataclasses.replace(CONFIG, state_slots=20)
    compiled = [compile_network(one, config) for one in models]
    assert most_contexts(compiled) == 0
    with pytest.raises(FitError, match="; not one context of each would fit the state memory$"):
        link(compiled)


def test_initial_states_take_state_memory():
    """A range of its own: as much as one more context."""
    model = compile_network(with_initial(network(1)), CONFIG)
    config = dataclasses.replace(CONFIG, state_slots=4 * model.slots)
    model = compile_network(with_initial(network(1)), config)
    assert ("state memory", 4 * model.slots, 4 * model.slots, "slots") in link([model], contexts=3).memory_use()
    with pytest.raises(FitError, match=rf"\('net1' 4 contexts of {model.slots} slots and .*; 3 contexts would fit$"):
        link([model], contexts=4)
    plain = compile_network(network(1), config)
    assert link([plain], contexts=4).streams == (4,)


@pytest.mark.parametrize("contexts", [0, -1, (1,), (1, 2, 3), (1, 0), (1, 2.0), (True, 1)])
def test_contexts_are_numbers_from_one_on(contexts):
    models = [compile_network(network(seed), CONFIG) for seed in (1, 2)]
    with pytest.raises(SpiccatoError, match="contexts .*: expected a number from 1 on, or one for each of 2 models"):
        link(models, contexts=contexts)


def test_models_of_one_configuration():
    models = [compile_network(network(1), one) for one in (CONFIG, dataclasses.replace(CONFIG, slots=32))]
    with pytest.raises(SpiccatoError, match="model 'net1' was compiled for configuration 'shared'"):
        link(models)
    with pytest.raises(SpiccatoError, match="needs a model"):
        link([])


def test_largest_layers_give_way_first():
    """Of all models' layers, 8 bits for the largest, as few as make all fit; stated formats stay."""
    networks = [network(1, layers=1, min_size=4, max_size=5), network(2, layers=1, min_size=12, max_size=12)]
    wide = compile_program(networks, CONFIG)
    needed = wide.memory_use()[0][1]
    assert {form for model in wide.models for form in model.weight_formats} == {"int16"}
    config = dataclasses.replace(CONFIG, weight_depth=needed - 1)
    narrow = compile_program(networks, config)
    assert [model.weight_formats for model in narrow.models] == [("int16", "int16"), ("int8", "int16")]
    with pytest.raises(FitError, match="weight memory"):
        compile_program(networks, config, weight_formats="int16")
    other = compile_program(networks, config, weight_formats=["auto", ["int8", "int8"]])
    assert [model.weight_formats for model in other.models] == [("int16", "int16"), ("int8", "int8")]
    with pytest.raises(SpiccatoError, match="1 weight formats for 2 networks"):
        compile_program(networks, config, weight_formats=["int8"])


def test_file_of_several_models(tmp_path):
    """Read back it is the same program: the load's every word, names and notes."""
    path = tmp_path / "p.spiccato"
    program = compile_program([network(1), with_initial(network(2))], CONFIG, contexts=(3, 2), name="both")
    program.save(path)
    loaded = Program.load(path)
    assert (loaded.name, loaded.streams, loaded.digest) == ("both", (3, 2), program.digest)
    assert [model.name for model in loaded.models] == ["net1", "net2"]
    assert [model.digest for model in loaded.models] == [model.digest for model in program.models]
    assert (loaded.load_words() == program.load_words()).all()
    assert link([program.models[0], program.models[1]], contexts=(3, 1)).digest != program.digest
    data = path.read_bytes()
    for place in range(8, len(data), len(data) // 199):
        path.write_bytes(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
        with pytest.raises(ProgramError, match="p.spiccato: (not|damaged)"):
            Program.load(path)


def test_one_model_where_one_is_expected():
    program = compile_program([network(1), network(2)], CONFIG)
    with pytest.raises(ProgramError, match=r"program 'net1\+net2' has 2 models \('net1', 'net2'\); expected one"):
        _ = program.model
    assert spiccato.compile(network(1), network(2), config=CONFIG, contexts=2).streams == (2, 2)


def test_memory_map_of_several_models():
    """Regions lie one after the other and add up to what is used."""
    program = compile_program([network(1), with_initial(network(2))], CONFIG, contexts=(3, 2))
    regions = memory_map(program)
    for name, used, _, _ in program.memory_use():
        own = [region for region in regions if region.memory == name]
        assert [region.first for region in own] == np.cumsum([0, *(region.size for region in own)])[:-1].tolist()
        assert sum(region.size for region in own) == used
    owners = [region.owner for region in regions if region.memory == "state memory"]
    assert owners == ["net1: 3 states", "net2: 2 states", "net2: initial state"]


def test_benchmark_models_share_a_board():
    """16 contexts of lstm_small on the IA-420F, and with lstm_tiny beside it: latencies and intervals as alone."""
    config = dataclasses.replace(configuration("ia420f"), models=2, streams=16, state_slots=512)
    program = compile_program([zoo.build("lstm_small"), zoo.build("lstm_tiny")], config, contexts=16)
    assert [(model.spaced_latency, model.initiation_interval) for model in program.models] == [(185, 296), (77, 68)]
    rows = {row[0]: row[1] for row in program.memory_use()}
    assert rows["state memory"] == 16 * sum(model.slots for model in program.models)

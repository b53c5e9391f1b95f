"""The compiler: schedules, fit, programs as files."""

import dataclasses
import itertools

import numpy as np
import pytest

from spiccato.compiler import compile_network, compile_program, quantised_network
from spiccato.compiler.check import check_schedule
from spiccato.compiler.fit import fitting_schedule, weight_formats
from spiccato.compiler.layout import Layout
from spiccato.compiler.lower import lower
from spiccato.compiler.schedule import schedule
from spiccato.config import Config
from spiccato.errors import ConfigError, FitError, ProgramError, SpiccatoError
from spiccato.layers import LinearLayer, LSTMLayer
from spiccato.network import Network
from spiccato.program import Program
from spiccato.registry import configuration, targets
from spiccato.rtl.accelerator import Timing
from spiccato_sim.analysis import published
from spiccato_sim.analysis.requirements import REQUIRED, required_interval
from spiccato_sim.models import zoo
from spiccato_sim.models.timeline import Packet, Timeline
from spiccato_sim.models.vm import VirtualMachine

pytestmark = pytest.mark.fast

PROFILES = ("aggressive", "conservative")

#: Configurations and models that are to be so fast; the largest does not fit every board.
REQUIREMENTS = [
    (name, model)
    for name, models in REQUIRED["aggressive"].items()
    for model in models
    if (name, model) != ("ia420f", "lstm_large")
]
#: How much more of each latency any board may take in the conservative profile.
MORE = {"dependency": 12, "output": 4, "input": 2, "reload": 1}
#: With 9x9 multipliers: two more such registers in the vector file, one of them on the way of the vector.
MORE_NARROW = MORE | {"dependency": 14, "output": 5}


@pytest.fixture(scope="module")
def tiny():
    return zoo.build("lstm_tiny")


def with_linear(network, weight, bias):
    """The network with another linear layer."""
    return dataclasses.replace(network, layers=(*network.hidden_layers, LinearLayer(weight, bias)))


@pytest.mark.parametrize("board, model", REQUIREMENTS)
def test_required_latency(board, model):
    """Predicted latency and interval are within the required figures (the RTL equals them: make bench)."""
    program = compile_program([zoo.build(model)], configuration(board))
    compiled = program.model
    assert compiled.spaced_latency <= REQUIRED["aggressive"][board][model].spaced_cycles
    if not compiled.config.narrow:
        assert compiled.initiation_interval <= required_interval(compiled.spaced_latency, compiled.full_mac_bound)
    timeline = Timeline(program)
    spaced = timeline.stream([Packet(spacing=100_000)] * 3)
    assert {last - first for first, last in spaced} == {compiled.spaced_latency}
    ends = [last for _, last in timeline.stream([Packet()] * 6)]
    assert set(np.diff(ends)) == {compiled.initiation_interval}


def planned(model, config):
    """The schedule of a benchmark model with the widest weights that fit; None if none do."""
    layout = Layout(lower(zoo.build(model)), config)
    _, plan, short = fitting_schedule(layout, weight_formats(layout, "auto"), Timing(config))
    return None if short else plan


@pytest.mark.parametrize("model", REQUIRED["conservative"]["v80"])
def test_required_latency_conservative(model):
    required = REQUIRED["conservative"]["v80"][model]
    assert planned(model, configuration("v80", profile="conservative")).spaced_latency <= required.spaced_cycles


@pytest.mark.parametrize("board", targets())
def test_what_the_conservative_profile_costs(board):
    """Registers cost cycles, and no more than was set."""
    aggressive, conservative = (vars(Timing(configuration(board, profile=name))) for name in PROFILES)
    allowed = MORE_NARROW if configuration(board).narrow else MORE
    more = {name: conservative[name] - aggressive[name] for name in allowed}
    assert {name: more[name] <= most for name, most in allowed.items()} == dict.fromkeys(allowed, True), more
    assert conservative["dependency"] > aggressive["dependency"] and conservative["output"] > aggressive["output"]


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("board", sorted(published.boards()))
def test_every_latency_is_shorter_than_the_published_one(board, profile):
    """At the boards' clocks, in either profile, of every model that was published."""
    config, compared = configuration(board, profile=profile), 0
    for model in zoo.MODELS:
        theirs_us = published.compute_us(board, model, zoo.build(model).input_size)
        if theirs_us is not None:
            assert planned(model, config).spaced_latency / config.clock_mhz < theirs_us, model
            compared += 1
    assert compared >= 2


@pytest.mark.parametrize("seed", range(40))
def test_any_schedule_keeps_the_rules(seed):
    """Random sizes on random configurations; the checker is independent of the scheduler."""
    rng = np.random.default_rng(seed)
    config = Config(
        name="random",
        cores=int(rng.integers(1, 13)),
        block=int(rng.choice([4, 8, 16, 32, 64])),
        family=str(rng.choice(["portable", "agilex7"])),
        io_format=str(rng.choice(["bfloat16", "float32"])),
        profile=PROFILES[seed % 2],
        multiplier="9x9" if seed % 3 == 2 else "18x18",
    )
    network = zoo.random_network(rng, layers=int(rng.integers(1, 5)), max_size=int(rng.integers(2, 300)))
    if rng.integers(2) or Layout(lower(network), config).output_beats > config.output_beats:
        # Many outputs of few units: the output queue and the slots of the linear layer are what limits.
        hidden = network.output_layer.input_size
        outputs = int(rng.integers(1, config.output_beats * config.beat_values + 1))
        network = with_linear(network, np.zeros((outputs, hidden)), np.zeros(outputs))
    layout, timing = Layout(lower(network), config), Timing(config)
    layout = layout.in_formats([str(rng.choice(config.layer_formats)) for _ in layout.layers])
    check_schedule(schedule(layout, timing), layout, timing, repeats=3)


@pytest.mark.parametrize("change", ["swap", "source", "store", "pass", "early"])
def test_checker_finds_errors(tiny, change):
    """A schedule that was tampered with is noticed."""
    config = configuration("ia420f-fast")
    layout, timing = Layout(lower(tiny), config).in_formats(["wide", "int8", "int8"]), Timing(config)
    plan = schedule(layout, timing)
    check_schedule(plan, layout, timing)
    used = np.flatnonzero(plan.matrix >= 0)
    if change == "swap":
        for array in (plan.matrix, plan.slot, plan.block):
            array[[used[0], used[-1]]] = array[[used[-1], used[0]]]
    elif change == "source":
        plan.source[used[5]] = (plan.source[used[5]] + 1) % 4
    elif change == "pass":
        plan.multiplied[np.flatnonzero(plan.multiplied)[0]] = 0
    elif change == "store":
        plan.store[np.flatnonzero(plan.store)[0]] = False
    else:
        idle = np.flatnonzero(plan.matrix < 0)[0]
        for field in ("matrix", "slot", "block", "multiplied", "source", "store", "finish"):
            setattr(plan, field, np.delete(getattr(plan, field), idle))
    with pytest.raises(AssertionError, match="schedule, cycle"):
        check_schedule(plan, layout, timing)


def test_fit_message():
    """A network that does not fit is refused with what it needs, what there is and what would fit."""
    with pytest.raises(FitError, match=r"lstm_large.*ia420f.*weight memory 1830 of 1024 words.*would fit: .*v80"):
        compile_network(zoo.build("lstm_large"), configuration("ia420f"))
    with pytest.raises(
        FitError,
        match=r"weight memory 3630 of 1024 words.*would fit: ia840f with int8 weights, ia840f-fast with int8 weights, "
        r"v80 with int16",
    ):
        compile_network(zoo.build("lstm_large"), configuration("ia420f"), weight_format="int16")


@pytest.mark.parametrize(
    "memory, field",
    [
        ("accumulator file", "slots"),
        ("state memory", "state_slots"),
        ("vector file", "vector_blocks"),
        ("input buffer", "input_blocks"),
        ("program memory", "program_depth"),
        ("output queue", "output_beats"),
    ],
)
def test_each_memory_is_checked(tiny, memory, field):
    if field == "output_beats":
        tiny = with_linear(tiny, np.zeros((130, 128)), np.zeros(130))
    config = dataclasses.replace(
        configuration("ia420f"), **{field: 2 if field in ("input_blocks", "output_beats") else 4}
    )
    with pytest.raises(FitError, match=memory):
        compile_network(tiny, config)


def test_huge_weights_are_refused(tiny):
    huge = dataclasses.replace(tiny.layers[0], weight_hh=tiny.layers[0].weight_hh * 1e9)
    with pytest.raises(FitError, match="layer 0.*sum to"):
        compile_network(dataclasses.replace(tiny, layers=(huge, *tiny.layers[1:])), configuration("ia420f"))


@pytest.mark.parametrize("power", [-40, -20, 20, 60])
def test_output_weights_of_any_size(tiny, power):
    """Tiny and large output weights keep the relative accuracy, also where rows are padding."""
    from spiccato_sim.models.reference import Reference

    weight = np.ldexp(np.random.default_rng(0).uniform(-1, 1, (5, 128)), power)
    network = with_linear(tiny, weight, weight[:, 0])
    config = dataclasses.replace(configuration("ia420f"), io_format="float32")
    xs = zoo.inputs(tiny, 5)
    exact = Reference(network).run(xs)
    assert np.abs(VirtualMachine(compile_program([network], config)).run(xs) - exact).max() < 1e-4 * np.abs(exact).max()


def test_outputs_beyond_the_format_are_refused(tiny):
    with pytest.raises(FitError, match="linear layer: outputs up to .* beyond the output format"):
        huge = with_linear(tiny, np.full((1, 128), 1e39), np.zeros(1))
        compile_network(huge, configuration("ia420f"))


def test_small_input_weights(tiny):
    """Input weights far too small to matter compile, and do not matter."""
    layer = dataclasses.replace(tiny.layers[0], weight_ih=tiny.layers[0].weight_ih * 1e-12)
    compile_network(dataclasses.replace(tiny, layers=(layer, *tiny.layers[1:])), configuration("ia420f"))


def test_weight_formats(tiny):
    """auto takes 8 bits only where 16 do not fit; unknown formats are refused."""
    assert compile_network(tiny, configuration("ia420f")).weight_formats == ("int16",) * 3
    small = dataclasses.replace(configuration("ia420f"), weight_depth=48)
    program = compile_network(tiny, small)
    assert program.weight_formats.count("int8") == 1
    with pytest.raises(SpiccatoError, match="weight format 'int4'.*int16, int8"):
        compile_network(tiny, configuration("ia420f"), weight_format="int4")


def test_wide_layers(tiny):
    """Only 9x9 multipliers take them, of layers that are told so; they have the only weights beyond 8 bits there."""
    fast = configuration("ia420f-fast")
    assert compile_network(tiny, fast).weight_formats == ("int8",) * 3
    assert compile_network(tiny, fast, weight_format="wide").weight_formats == ("wide", "wide", "int8")
    with pytest.raises(SpiccatoError, match="'int16': the 9x9 multipliers of 'ia420f-fast' take int8, wide weights"):
        compile_network(tiny, fast, weight_format="int16")
    with pytest.raises(SpiccatoError, match="'wide': the 18x18 multipliers of 'ia420f' take int16, int8 weights"):
        compile_network(tiny, configuration("ia420f"), weight_format=["wide", "int8", "int8"])


@pytest.mark.parametrize("weight_format", ["wide", ["wide", "int8", "wide"], ["int8", "int8", "wide"]])
def test_passes_of_wide_layers(tiny, weight_format):
    """Input matrices take twice the weight memory and three times the words; their rounding is that of 16 bits."""
    config = configuration("ia420f-fast")
    model = compile_network(tiny, config, weight_format=weight_format)
    plain = compile_network(tiny, config)
    lowered = Layout(lower(tiny), config)
    wide = [layer.input for layer, form in zip(lowered.layers, model.weight_formats) if form == "wide"]
    assert model.weights.shape[1] == plain.weights.shape[1] + sum(matrix.tiles for matrix in wide)
    valid = [one.decode()["valid"].sum() for one in (plain, model)]
    assert valid[1] == valid[0] + 2 * sum(matrix.tiles for matrix in wide)
    for layer, stored, form in zip(tiny.layers, quantised_network(model).layers, model.weight_formats):
        for name, weights in layer.matrices.items():
            bits = 16 if form == "wide" and name != "W_hh" else 8
            largest = np.abs(weights).max(axis=1, keepdims=True)
            error = np.abs(stored.matrices[name] - weights) / largest
            # A row's scale is at most a quarter more than its largest weight.
            assert error.max() <= 1.3 * 2.0**-bits, name
            assert error.max() > 0.5 * 2.0**-bits, name


@pytest.mark.parametrize(
    "field, value",
    [
        ("cores", 0),
        ("cores", 13),
        ("block", 12),
        ("block", 128),
        ("slots", 100),
        ("io_format", "float16"),
        ("clock_mhz", 0),
        ("weight_depth", 1),
    ],
)
def test_bad_configuration(field, value):
    with pytest.raises(ConfigError, match=f"{field}.*{value!r}"):
        dataclasses.replace(configuration("test4"), **{field: value})


def test_program_file(tiny, tmp_path):
    """A program read back is the same; two compilations give the same bytes."""
    paths = [tmp_path / "a.spiccato", tmp_path / "b.spiccato"]
    for path in paths:
        compile_program([tiny], configuration("ia420f")).save(path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    program = Program.load(paths[0])
    program.require(configuration("ia420f"))
    xs = zoo.inputs(tiny, 3)
    original = VirtualMachine(compile_program([tiny], configuration("ia420f"))).run(xs)
    assert (VirtualMachine(program).run(xs) == original).all()


def test_bad_program_files(tiny, tmp_path):
    """Missing, truncated, damaged and foreign files, and programs for another configuration."""
    path = tmp_path / "p.spiccato"
    compile_program([tiny], configuration("ia420f")).save(path)
    data = path.read_bytes()
    with pytest.raises(ProgramError, match="no such file"):
        Program.load(tmp_path / "none.spiccato")
    for cut in (0, 7, 100, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:cut])
        with pytest.raises(ProgramError, match="p.spiccato: .*damaged"):
            Program.load(path)
    header = data.index(b"__metadata__")
    for place in (*range(header, header + 400, 3), len(data) // 3, len(data) - 5):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(ProgramError, match="p.spiccato: (not|damaged)"):
            Program.load(path)
    from spiccato.importers import save_safetensors

    save_safetensors(tiny, path)
    with pytest.raises(ProgramError, match="not a program file"):
        Program.load(path)
    with pytest.raises(ProgramError, match="ia420f.*not for 'ia840f'.*cores 6 instead of 3"):
        compile_program([tiny], configuration("ia420f")).require(configuration("ia840f"))


def test_odd_sizes():
    """Sizes that are multiples of nothing, one unit, no linear layer: the virtual machine follows float64."""
    from spiccato_sim.models.reference import Reference

    rng = np.random.default_rng(0)

    def lstm(inputs, hidden):
        draw = lambda *shape: rng.uniform(-0.3, 0.3, shape)  # noqa: E731
        return LSTMLayer(draw(4 * hidden, inputs), draw(4 * hidden, hidden), draw(4 * hidden), draw(4 * hidden))

    for sizes, outputs in itertools.product(([37, 100], [1, 1], [5, 33, 2]), (7, None)):
        layers = tuple(lstm(a, b) for a, b in itertools.pairwise(sizes))
        linear = (LinearLayer(rng.uniform(-1, 1, (outputs, sizes[-1])), np.ones(outputs)),) if outputs else ()
        network = Network(layers + linear)
        config = dataclasses.replace(configuration("ia840f"), io_format="float32")
        xs = zoo.inputs(network, 20)
        difference = VirtualMachine(compile_program([network], config)).run(xs) - Reference(network).run(xs)
        assert np.abs(difference).max() < 5e-4


@pytest.mark.parametrize(
    "field, value",
    [
        ("name", 3),
        ("name", ""),
        ("name", "a/b"),
        ("name", "-x"),
        ("name", None),
        ("cores", True),
        ("cores", 1.0),
        ("cores", "1"),
        ("cores", None),
        ("block", 8.0),
        ("block", "8"),
        ("block", True),
        ("block", [8]),
        ("slots", 32.0),
        ("slots", -32),
        ("input_blocks", "x"),
        ("vector_blocks", 24),
        ("program_depth", 1e3),
        ("output_beats", None),
        ("io_format", 16),
        ("io_format", ["bfloat16"]),
        ("family", 1),
        ("family", "none"),
        ("profile", None),
        ("profile", "none"),
        ("epilogues", "lstm"),
        ("epilogues", ()),
        ("epilogues", ("lstm", "lstm")),
        ("epilogues", ("lstm", 1)),
        ("epilogues", ("LSTM",)),
        ("epilogues", None),
        ("keep_h", 1),
        ("keep_h", "yes"),
        ("keep_h", None),
        ("clock_mhz", "300"),
        ("clock_mhz", True),
        ("clock_mhz", None),
        ("clock_mhz", -1),
        ("clock_mhz", np.nan),
        ("clock_mhz", np.inf),
        ("clock_mhz", 1j),
        ("clock_mhz", 10**400 * -1),
    ],
)
def test_configurations_are_strict(field, value):
    """No value of another type is taken for one that is meant: one line, with the field and the value."""
    with pytest.raises(ConfigError, match=f"configuration .*: {field} must be .*, not ") as caught:
        dataclasses.replace(configuration("test4"), **{field: value})
    assert str(caught.value).endswith(f"not {value!r}") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "data, message",
    [
        (None, "expected a dictionary, not None"),
        ([1], "expected a dictionary, not"),
        ("x", "expected a dictionary, not"),
        ({}, "missing name, cores, block"),
        ({"name": "x", "cores": 1}, "missing block"),
        ({"name": "x", "cores": 1, "block": 4, "colour": 1, 2: 3}, "unknown colour, 2"),
        ({"name": "x", "cores": "1", "block": 4}, "cores must be an integer in 1..12, not '1'"),
    ],
)
def test_configuration_of_garbage(data, message):
    with pytest.raises(ConfigError, match=message):
        Config.from_dict(data)
    config = configuration("test4")
    assert Config.from_dict(config.to_dict()) == config


@pytest.mark.parametrize("depth, fits", [(63, False), (64, True)])
def test_program_memory_is_counted_with_idle_words(tiny, depth, fits):
    """lstm_tiny has 53 tiles and 68 words, of which 4 are kept elsewhere: what would fit is what then does."""
    config = dataclasses.replace(configuration("ia420f"), name="mine", program_depth=depth)
    if fits:
        assert len(compile_network(tiny, config).words) == 68
        return
    with pytest.raises(FitError) as caught:
        compile_network(tiny, config)
    needs, _, fitting = str(caught.value).partition("; would fit: ")
    assert needs == (
        "network 'lstm_tiny' does not fit 'mine' with auto weights: needs program memory 64 of 63 issue words"
    )
    assert {option.split()[0] for option in fitting.split(", ")} == {
        *("ia420f", "ia420f-fast", "ia420f-windows", "ia840f", "ia840f-fast", "v80", "v80-fast")
    }
    for option in fitting.split(", "):
        board, weights = option.split()[::2]
        assert len(compile_network(tiny, configuration(board), weight_format=weights).words) > 0


def test_what_would_fit_is_named_alone():
    """A wide input fits one board: each claim as it then turns out."""
    network = Network((LSTMLayer(np.zeros((4, 2000)), np.zeros((4, 1))),))
    with pytest.raises(
        FitError,
        match="needs input buffer 63 of 32 blocks; would fit: ia840f with int16 weights, ia840f with int8 weights, "
        "ia840f-fast with int8 weights$",
    ):
        compile_network(network, configuration("ia420f"))
    for board, weights in (("ia840f", "int16"), ("ia840f", "int8"), ("ia840f-fast", "int8")):
        compile_network(network, configuration(board), weight_format=weights)


def test_far_too_large_a_network_is_refused_without_its_schedule(monkeypatch):
    """Which would take minutes for some."""
    monkeypatch.setattr("spiccato.compiler.fit.schedule", lambda *_: pytest.fail("scheduled"))
    network = Network((LSTMLayer(np.zeros((8000, 2000)), np.zeros((8000, 2000))),))
    with pytest.raises(
        FitError,
        match=r"needs weight memory \d+ of 512.* program memory at least \d+ of 1024 issue "
        r".*would fit: no board",
    ):
        compile_network(network, dataclasses.replace(configuration("test4"), weight_depth=512))

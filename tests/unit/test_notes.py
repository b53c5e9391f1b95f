"""What summaries must not hide.

It is rounding on the streams, saturation, calibration that hurts, outputs of unlike size, and gates too slow for their
resolution. Each is measured on the virtual machine, and told of in one line.
"""

import dataclasses
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from paths import ROOT
from spiccato.compiler import compile_network, compile_program, link, scales
from spiccato.compiler.notes import input_limits, numbers_text, saturation
from spiccato.errors import FitError
from spiccato.formats import to_bits
from spiccato.importers import save_safetensors
from spiccato.layers import LinearLayer, LSTMLayer
from spiccato.network import Network
from spiccato.program import Program
from spiccato.registry import configuration
from spiccato_cli import main
from spiccato_sim.analysis.accuracy import accuracy, rms
from spiccato_sim.analysis.estimate import estimate
from spiccato_sim.analysis.slow_gates import slow_gate_notes
from spiccato_sim.models import zoo
from spiccato_sim.models.reference import Reference
from spiccato_sim.models.vm import VirtualMachine

BOARDS = {name: dataclasses.replace(configuration(name), io_format="float32") for name in ("test4", "test8")}
DOCS = ROOT / "docs"


def run(*arguments):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result


def noted(result):
    """The notes on standard error, which holds nothing else."""
    lines = result.stderr.splitlines()
    assert all(line.startswith("note: ") for line in lines)
    return [line.removeprefix("note: ") for line in lines]


def small(seed=0, name="small"):
    return zoo.random_network(np.random.default_rng(seed), layers=1, min_size=6, max_size=9, name=name)


def machine_error(network, config, xs, weight_format="int16"):
    program = compile_program([network], config, weight_formats=[weight_format])
    return rms(VirtualMachine(program).run(xs) - Reference(network).run(xs))


# Rounding on the streams.


def far_from_zero(mean=1000.0, steps=60):
    """A network for features of a large mean and of spread 1, and such inputs."""
    network = small()
    first = network.layers[0]
    bias = first.bias_ih - first.weight_ih @ np.full(network.input_size, mean)
    xs = mean + np.random.default_rng(1).standard_normal((steps, network.input_size))
    return dataclasses.replace(network, layers=(dataclasses.replace(first, bias_ih=bias), *network.layers[1:])), xs


def test_the_error_that_a_user_sees():
    """Features of mean 1000: the accelerator's own error hides what bfloat16 does to them."""
    network, xs = far_from_zero()
    program = compile_program([network], configuration("test8"))
    truth = rms(VirtualMachine(program).run(xs) - Reference(network).run(xs))
    found = accuracy(program, network, xs)
    assert found.seen.rms == pytest.approx(truth, rel=1e-12) and truth > 10 * found.sent.rms
    assert found.seen.rms == pytest.approx(rms(found.seen.steps))
    [note] = found.notes
    assert note.startswith("rounding the inputs to bfloat16 costs")
    assert "--format float32" in note and f"means of features 0 to {network.input_size - 1}" in note

    told = estimate(network, xs, boards=["ulx3s"])
    row = told.rows[0]
    wide = compile_program([network], configuration("ulx3s"))
    assert row.rms_error_seen == pytest.approx(
        rms(VirtualMachine(wide).run(xs) - Reference(network).run(xs)), rel=1e-12
    )
    assert row.rms_error_seen > 10 * row.rms_error_sent and told.rms_error_inputs > 10 * row.rms_error_sent
    assert [note[:36] for note in told.notes] == ["rounding the inputs to bfloat16 costs"[:36]]
    # What the note advises helps, and then there is nothing to say.
    better = estimate(network, xs, boards=["ulx3s"], io_format="float32")
    assert better.rows[0].rms_error_seen < row.rms_error_seen / 10 and better.notes == ()
    assert not accuracy(compile_program([small()], configuration("test8")), small(), xs - 1000).notes


def test_rounding_of_outputs_far_from_zero():
    network = small()
    layer = network.layers[-1]
    bias = layer.bias.copy()
    bias[1] += 300
    network = dataclasses.replace(network, layers=(*network.layers[:-1], dataclasses.replace(layer, bias=bias)))
    xs = zoo.inputs(network, 60)
    [note] = accuracy(compile_program([network], configuration("test8")), network, xs).notes
    assert note.startswith("rounding the outputs to bfloat16 costs output 1 up to") and "last bias" in note
    assert not accuracy(compile_program([network], BOARDS["test8"]), network, xs).notes


def test_both_errors_on_the_command_line(tmp_path, monkeypatch):
    """Table, JSON and page: the same figures, and the note in all of them."""
    monkeypatch.chdir(tmp_path)
    network, xs = far_from_zero(steps=30)
    save_safetensors(network, "net.safetensors")
    np.save("x.npy", xs)
    shown = run("estimate", "net.safetensors", "--input", "x.npy")
    data = json.loads(run("estimate", "net.safetensors", "--input", "x.npy", "--json").stdout)
    assert noted(shown) == data["notes"] and "rounding the inputs" in data["notes"][0]
    assert f"{data['rows'][0]['rms_error_seen']:.1e}" in shown.stdout
    assert max(map(len, shown.stdout.splitlines()[1:9])) <= 80
    pytest.importorskip("bokeh")
    page = run("report", "net.safetensors", "--board", "test8", "--input", "x.npy")
    text = Path("report.html").read_text(encoding="utf-8")
    [note] = noted(page)
    assert f"<li>{note}</li>" in text
    program = compile_program([network], configuration("test8"))
    assert f"{rms(VirtualMachine(program).run(xs) - Reference(network).run(xs)):.2e}" in text


# Saturation.


@pytest.mark.parametrize("io_format", ["bfloat16", "float32"])
def test_saturation_is_what_the_machine_marks(io_format):
    network = dataclasses.replace(small(3), calibration=None)
    program = compile_program([network], dataclasses.replace(configuration("test4"), io_format=io_format))
    adjust = program.model.adjust.reshape(-1)[: network.input_size]
    rng = np.random.default_rng(3)
    limits = input_limits(adjust)
    xs = limits * rng.choice(
        [0.1, 0.999, 0.9999999, 1, 1.5, -2], (60, network.input_size), p=[0.8, 0.1, 0.02, 0.02, 0.03, 0.03]
    )
    machine = VirtualMachine(program)
    marked = [machine.step_bits(to_bits(x, io_format)).flags["saturated"] for x in xs]
    found = saturation(xs, adjust, io_format)
    assert found.steps == np.flatnonzero(marked).tolist() and 0 < len(found.steps) < len(xs)
    assert saturation(0.5 * limits[None], adjust, io_format) is None
    assert (found.of, found.of_steps, found.largest) == (xs.size, len(xs), 2)
    xs[0, :2] = np.inf, np.nan  # which is zero
    found = saturation(xs[:1, :2], adjust[:2], io_format)
    assert (found.values, found.features, found.largest) == (1, [0], None) and "infinity" in str(found)


def test_run_counts_what_saturates(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    network = small()
    save_safetensors(network, "net.safetensors")
    run("compile", "net.safetensors", "--board", "test8", "-o", "p.spiccato")
    xs = zoo.inputs(network, 20)
    np.save("x.npy", xs)
    assert noted(run("run", "p.spiccato", "--input", "x.npy")) == []
    xs[3:5, 2] = xs[7, 4] = 1e9
    np.save("x.npy", xs)
    result = run("run", "p.spiccato", "--input", "x.npy", "--json")
    data = json.loads(result.stdout)
    assert data["saturated"] | {"largest": 0} == {
        "values": 3,
        "of": xs.size,
        "features": [2, 4],
        "steps": [3, 4, 7],
        "of_steps": 20,
        "largest": 0,
    }
    assert noted(result) == data["notes"]
    assert "3 of" in data["notes"][0] and "features 2, 4" in data["notes"][0].replace(" and ", ", ")
    assert noted(run("run", "p.spiccato", "--input", "x.npy", "-o", "y.npy")) == data["notes"]


@pytest.mark.filterwarnings("ignore:.*saturate:spiccato_sim.models.vm.InputWarning")
@pytest.mark.parametrize("factor, noted_", [(1e3, False), (1e5, True), (1e30, True)])
def test_calibration_with_large_features(factor, noted_):
    """Large features are no reason to refuse, and what saturates all the same is told of with the figures."""
    network = small(4)
    xs = factor * zoo.inputs(network, 40)
    with_samples = dataclasses.replace(network, calibration=xs)
    program = compile_program([with_samples], BOARDS["test8"])
    assert machine_error(with_samples, BOARDS["test8"], xs) <= machine_error(network, BOARDS["test8"], xs)
    assert len(program.notes) == noted_
    if noted_:
        assert "values are beyond the program's range and saturate" in program.notes[0]
        found = saturation(xs, program.model.adjust.reshape(-1)[: network.input_size], "float32")
        assert f"{found.values} of {found.of}" in program.notes[0]


@pytest.mark.parametrize("power", [-100, 100, 124])
def test_features_of_any_size_are_calibrated(power):
    """Weights that match a feature of 2^100 or 2^-100 make it like any other, and infinity stays beyond the range."""
    network = small(4)
    first, xs = network.layers[0], zoo.inputs(network, 40)
    weight_ih = first.weight_ih.copy()
    weight_ih[:, 0] = np.ldexp(weight_ih[:, 0], -power)
    raw = xs.copy()
    raw[:, 0] = np.ldexp(raw[:, 0], power)
    sized = dataclasses.replace(
        network, layers=(dataclasses.replace(first, weight_ih=weight_ih), *network.layers[1:]), calibration=raw
    )
    program = compile_program([sized], BOARDS["test8"])
    assert program.notes == () and (input_limits(program.model.adjust) <= 2.0**128).all()
    assert machine_error(sized, BOARDS["test8"], raw) < 1.5 * machine_error(network, BOARDS["test8"], xs)


def test_calibration_beyond_the_streams_is_refused():
    network = small()
    calibration = np.ones((3, network.input_size))
    calibration[2, 1] = 1e40
    with pytest.raises(FitError, match=r"calibration input \[2, 1\] is 1e\+40, beyond the range of bfloat16"):
        compile_network(dataclasses.replace(network, calibration=calibration), configuration("test8"))


# Calibration.

_DRAWS = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "heavy tails": lambda rng, shape: rng.standard_normal(shape) ** 5,
    "outliers": lambda rng, shape: rng.standard_t(2, shape),
    "unlike": lambda rng, shape: rng.standard_normal(shape) * 10 ** rng.uniform(-3, 3, shape[1]),
}


def sampled(seed, kind):
    """A network, and samples that it is calibrated with."""
    rng = np.random.default_rng(seed)
    network = zoo.random_network(rng, layers=1, min_size=6, max_size=16)
    xs = _DRAWS[kind](rng, (100, network.input_size)).astype(np.float32).astype(np.float64)
    if kind == "unlike":
        # Weights are not exactly as small as features are large: the samples know better.
        first = network.layers[0]
        off = 10 ** rng.uniform(-1, 1, network.input_size)
        network = dataclasses.replace(
            network,
            layers=(dataclasses.replace(first, weight_ih=first.weight_ih / xs.std(axis=0) / off), *network.layers[1:]),
        )
    return dataclasses.replace(network, calibration=xs)


@pytest.mark.parametrize("kind", _DRAWS)
@pytest.mark.parametrize("seed", range(3))
def test_calibration_never_makes_errors_larger(seed, kind):
    network = sampled(seed, kind)
    first, xs = network.layers[0].lowered(), network.calibration
    board, weight_format = (("test4", "int16"), ("test8", "int8"), ("test8", "int16"))[seed]
    config = BOARDS[board]
    options = {"config": config, "weight_format": weight_format}
    chosen = scales.calibrated_scale(first, xs, name="", **options)
    without = scales.weight_scale(network.layers[0].weight_ih, "")
    assert scales.scale_error(first, xs, chosen, **options) <= scales.scale_error(first, xs, without, **options)
    bare = dataclasses.replace(network, calibration=None)
    assert machine_error(network, config, xs, weight_format) <= machine_error(bare, config, xs, weight_format)


def test_largest_samples_alone_are_no_rule():
    """With outliers, scaling each feature by its largest sample costs the rows' other weights their bits."""
    network = sampled(5, "outliers")
    config, first, xs = BOARDS["test4"], network.layers[0].lowered(), network.calibration
    weights = network.layers[0].weight_ih
    options = {"config": config, "weight_format": "int16"}
    largest = scales._capped(weights, scales._patterns(weights, xs, config.block)[0], 0)
    without = scales.scale_error(first, xs, scales.weight_scale(weights, ""), **options)
    assert scales.scale_error(first, xs, largest, **options) > 2 * without
    assert scales.scale_error(first, xs, scales.calibrated_scale(first, xs, name="", **options), **options) <= without


@pytest.mark.parametrize(
    "seed, kind, best",
    [(3, "normal", 0), (51, "heavy tails", 1), (13, "outliers", 2), (13, "unlike", 3), (39, "unlike", None)],
)
def test_calibration_helps_where_it_can(seed, kind, best):
    """Each way to choose the scales is the best for some samples; None: a mixture of them, block by block."""
    network = sampled(seed, kind)
    config, first, xs = BOARDS["test8"], network.layers[0].lowered(), network.calibration
    weights = network.layers[0].weight_ih
    options = {"config": config, "weight_format": "int16"}
    chosen = scales.calibrated_scale(first, xs, name="", **options)
    ways = [scales._capped(weights, one, 0) for one in scales._patterns(weights, xs, config.block)]
    errors = [scales.scale_error(first, xs, one, **options) for one in ways]
    error = scales.scale_error(first, xs, chosen, **options)
    assert error == min(errors) == errors[best] if best is not None else error < 0.9 * min(errors)
    bare = dataclasses.replace(network, calibration=None)
    assert machine_error(network, config, xs) < 0.9 * machine_error(bare, config, xs)


def test_calibration_decides_the_same_on_any_number_of_cores():
    network = sampled(5, "unlike")
    adjust = [compile_network(network, dataclasses.replace(BOARDS["test8"], cores=cores)).adjust for cores in (2, 4)]
    assert (adjust[0] == adjust[1]).all()


# Outputs of unlike size.


@pytest.mark.parametrize("bias, told", [(1e3, False), (1e10, True), (1e12, True)])
def test_outputs_share_one_binary_point(bias, told, tmp_path):
    """One large output costs the others bits; the program says how many, and keeps saying so in its file."""
    network = small()
    layer, xs = network.layers[-1], zoo.inputs(network, 40)
    biases = layer.bias.copy()
    biases[1] = bias
    network = dataclasses.replace(network, layers=(*network.layers[:-1], dataclasses.replace(layer, bias=biases)))
    program = compile_program([network], BOARDS["test8"])
    others = np.arange(network.output_size) != 1
    errors = (VirtualMachine(program).run(xs) - Reference(network).run(xs))[:, others]
    resolution = 2.0**-program.model.output_frac_bits
    assert (rms(errors) > 5e-5) == told
    assert bool(program.notes) == told
    program.save(tmp_path / "p.spiccato")
    assert Program.load(tmp_path / "p.spiccato").notes == program.notes
    if told:
        [note] = program.notes
        last = network.output_size - 1
        assert f"outputs 0 to {last} lose up to" in note and f"output 1 reaches {bias:.3g}" in note
        assert f"resolved to {resolution:.2g}" in note
        assert note in estimate(network, xs, boards=["ulx3s"], io_format="float32").notes


def test_notes_decide_nothing():
    """They are no part of what the program's digest is about."""
    program = compile_program([small()], configuration("test8"))
    noted_ = dataclasses.replace(program.model, notes=("a note",))
    assert noted_.digest == program.model.digest and link([noted_]).digest == program.digest


@pytest.mark.parametrize(
    "numbers, text",
    [
        ([3], "3"),
        ([0, 1], "0, 1"),
        ([0, 1, 2, 5], "0 to 2 and 5"),
        ([1, 3, 5], "1, 3 and 5"),
        (list(range(0, 40, 2)), "0, 2, 4, 6, 8, 10 and others (20 in all)"),
    ],
)
def test_numbers_in_words(numbers, text):
    assert numbers_text(numbers) == text


# Slow gates.


def slow_cell(input_bias, forget_bias):
    """One unit that adds up a constant: g is tanh(20), and the output gate is open."""
    return Network(
        (
            LSTMLayer(
                np.array([[0.0], [0], [20], [0]]), np.zeros((4, 1)), np.array([input_bias, forget_bias, 0.0, 20.0])
            ),
            LinearLayer(np.eye(1)),
        ),
        "slow",
    )


def docs_script():
    spec = importlib.util.spec_from_file_location("slow_gates", DOCS / "slow_gates.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "biases, steps, h, exact",
    [
        ((-11.5, 11), 60000, 0.245, 0.366),
        ((-12.5, 20), 20000, 0.151, 0.074),
        ((-11, 20), 20000, 0.296, 0.322),
        ((-8, 9), 20000, 0.9868, 0.9862),
    ],
)
def test_slow_gates_are_off_and_told_of(biases, steps, h, exact):
    [(ours, truth)] = docs_script().cell(*biases, [steps])
    assert np.tanh([ours, truth]) == pytest.approx([h, exact], abs=10.0 ** -len(str(h).split(".")[1]))
    # Seen in a run that is much too short to show it.
    [note] = slow_gate_notes(slow_cell(*biases), np.ones((20, 1)))
    assert note.startswith("a unit remembers for longer than gates resolve (layer 0, unit 0")
    assert f"forget gate up to 1 - {1 / (1 + np.exp(float(biases[1]))):.1e}" in note


@pytest.mark.parametrize("biases", [(0, 5), (-9, 2), (-20, 3), (0, 20), (-30, 20)])
def test_other_gates_are_not_told_of(biases):
    """Short memories, a cell that counts, and one that holds: all as good as ever."""
    assert slow_gate_notes(slow_cell(*biases), np.ones((20, 1))) == []
    config, xs = BOARDS["test4"], np.ones((300, 1))
    assert machine_error(slow_cell(*biases), config, xs) < 2e-4


def test_table_of_slow_gates():
    """The page's table is what the script prints, and the script computes as the machine does."""
    script = docs_script()
    assert script.table() in (DOCS / "accuracy.md").read_text(encoding="utf-8")
    machine = VirtualMachine(compile_program([slow_cell(-9.5, 9.25)], BOARDS["test4"]))
    machine.run(np.ones((100, 1)))
    [(ours, _)] = script.cell(-9.5, 9.25, [100])
    assert machine.c()[0][0] == ours * 2**17


def test_compile_and_report_tell_of_slow_gates(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_safetensors(slow_cell(-11.5, 11), "slow.safetensors")
    np.save("x.npy", np.ones((20, 1)))
    compiled = run("compile", "slow.safetensors", "--board", "test4", "--calibration", "x.npy", "-o", "p.spiccato")
    [note] = noted(compiled)
    assert noted(run("inspect", "p.spiccato")) == [note]
    assert json.loads(run("inspect", "p.spiccato", "--json").stdout)["notes"] == [note]
    assert noted(run("compile", "slow.safetensors", "--board", "test4")) == []
    pytest.importorskip("bokeh")
    # The program's note, and once only though these inputs show the same.
    assert noted(run("report", "p.spiccato", "--input", "x.npy")) == [note]
    assert f"<li>{note}</li>" in Path("report.html").read_text(encoding="utf-8")

"""The command line: its verbs, and what users type wrong, which gets one line and a non-zero exit status."""

import dataclasses
import json
import shlex
from pathlib import Path

import numpy as np
import onnx
import pytest
import safetensors.numpy
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from paths import FIXTURES
from spiccato import registry
from spiccato.importers import save_safetensors
from spiccato.layers import LinearLayer, LSTMLayer
from spiccato.network import Network
from spiccato.program import Program
from spiccato.registry import configuration
from spiccato_boards import boards, find
from spiccato_cli import main
from spiccato_sim.benches.round_robin import ContextCycles, RoundRobin
from spiccato_sim.benches.simulate import Comparison
from spiccato_sim.models.vm import VirtualMachine
from spiccato_sim.models.zoo import inputs, resolve

ONNX = str(FIXTURES / "torch_dynamo.onnx")


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def refused(text, *arguments):
    """The command ends with status 1 and one line on standard error that has ``text``."""
    result = run(*arguments)
    assert result.exit_code == 1, result.output
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
    assert text in result.stderr
    return result


@pytest.fixture
def program(tmp_path):
    """A program of the network in ONNX (5 inputs, 3 outputs) for the smallest configuration."""
    path = tmp_path / "p.spiccato"
    assert run("compile", ONNX, "--board", "test4", "-o", path).exit_code == 0
    return path


@pytest.fixture
def series(tmp_path):
    """Inputs of 8 steps for it."""
    path = tmp_path / "x.npy"
    np.save(path, np.random.default_rng(0).standard_normal((8, 5)).astype(np.float32))
    return path


@pytest.fixture
def doubtful(tmp_path):
    """A state dict (5 inputs, 3 outputs) that leaves a doubt: two linear layers in a row."""
    network = Network(
        (LSTMLayer(np.ones((8, 5)), np.ones((8, 2))), LinearLayer(np.ones((4, 2))), LinearLayer(np.ones((3, 4))))
    )
    path = tmp_path / "net.safetensors"
    safetensors.numpy.save_file(network.to_state_dict(), path)
    return path


def test_a_stated_order_is_told(doubtful, series, program, tmp_path):
    """Every verb that takes a state dict takes an order, and says in one line what was stated."""
    order = ["--layers", "lstm,fc0,fc1"]
    origin = "taken from a state dict, as stated by layers: lstm, then fc0, then fc1; nothing before, between or after"
    page = tmp_path / "r.html"
    for verb, *options in (
        ["compile", "--board", "test4"],
        ["estimate", "--steps", 1],
        ["report", "--board", "test4", "--input", series, "-o", page],
    ):
        refused("a state dict does not tell what lies between fc0 and fc1", verb, doubtful, *options)
        result = run(verb, doubtful, *options, *order)
        assert result.exit_code == 0, result.output
        assert result.stdout.splitlines().count(f"net: {origin}") == 1
        if verb != "report":
            assert json.loads(run(verb, doubtful, *options, *order, "--json").stdout)["origin"] == origin
    assert f">{origin}<" in page.read_text() and "--layers lstm,fc0,fc1" in page.read_text()
    refused("does not tell what lies between", "sim", "--board", "test4", doubtful)
    refused("layers: fc1 left out", "demo", "--board", "test4", "--model", doubtful, "--layers", "lstm,fc0")
    refused("--layers is for files of models; a program is compiled already", "report", program, *order)
    refused("--layers is for files of models", "sim", "--board", "test4", program, *order)
    refused("--layers: 'lstm_tiny' is no file of a model; supported: those", "compile", "lstm_tiny", *order)


@pytest.fixture
def with_softmax(tmp_path):
    """The network in ONNX with a softmax behind it."""
    model = onnx.load(ONNX)
    (result, *_) = model.graph.output
    model.graph.node.append(onnx.helper.make_node("Softmax", [result.name], ["probabilities"], name="softmax"))
    kind = onnx.helper.make_tensor_value_info("probabilities", onnx.TensorProto.FLOAT, ("batch", 3))
    del model.graph.output[:]
    model.graph.output.append(kind)
    path = tmp_path / "with softmax.onnx"
    onnx.save(model, path)
    return path, result.name


def test_a_part_of_a_model(with_softmax, series, program, tmp_path):
    """What a refusal prints is what the command takes; it computes what the model without its softmax computes."""
    path, end = with_softmax
    part, page, compiled = ["--to", end], tmp_path / "r.html", tmp_path / "part.spiccato"
    told = f"with softmax: the part to '{end}'; outside stay: before it nothing, elsewhere node 'softmax' (Softmax)"
    for verb, *options in (
        ["compile", "--board", "test4", "-o", compiled],
        ["estimate", "--steps", 1, "--board", "test4"],
        ["report", "--board", "test4", "--input", series, "-o", page],
    ):
        result = refused("softmax stays on the host", verb, path, *options)
        printed = result.stderr.partition(" would run: ")[2].partition(" (in Python ")[0]
        assert shlex.split(printed) == part
        result = run(verb, path, *options, *part)
        assert result.exit_code == 0, result.output
        assert result.stdout.splitlines().count(told) == 1
    assert Program.load(compiled).digest == Program.load(program).digest
    assert run("inspect", compiled).stdout.splitlines().count(told) == 1
    origin = told.partition(": ")[2]
    assert json.loads(run("inspect", compiled, "--json").stdout)["models"][0]["origin"] == origin
    assert "outside stay" in page.read_text() and f"--to {end}" in page.read_text()
    refused("softmax stays on the host", "sim", "--board", "test4", path)
    refused("softmax stays on the host", "demo", "--board", "test4", "--model", path)
    refused("--to is for files of models; a program is compiled already", "report", program, *part)
    refused("--to is for one model, not for 2", "compile", "--board", "test4", path, path, *part)
    refused("--from nonesuch: the model has no tensor or node of that name", "compile", path, "--from", "nonesuch")


@pytest.mark.parametrize(
    "arguments, text",
    [
        (
            ["sim", "--board", "nonesuch"],
            "unknown board 'nonesuch'; known: ia420f, ia420f-fast, ia420f-kinds, ia420f-windows, ia840f, ia840f-fast, "
            "ia840f-kinds, test4",
        ),
        (["sim", "nonesuch"], "unknown model 'nonesuch'; known: lstm_tiny"),
        (["sim", "none.spiccato"], "none.spiccato: no such file"),
        (["sim", "none.safetensors"], "none.safetensors"),
        (["sim", "lstm_large"], "does not fit 'ia420f'"),
        (["compile", "none.onnx"], "none.onnx: no such file"),
        (["compile", "none.spiccato"], "unknown model 'none.spiccato'"),
        (["compile", "lstm_tiny", "--weights", "int4"], "weight format 'int4'"),
        (["compile", "lstm_tiny", "-o", "/nonesuch/folder/p.spiccato"], "cannot be written"),
        (["compile", "lstm_tiny", "--calibration", "none.npy"], "none.npy: cannot be read: No such file"),
        (["estimate", "lstm_tiny", "--input", "pyproject.toml"], "pyproject.toml: not a .npy file"),
        (["inspect", "pyproject.toml"], "damaged, or not a program file"),
        (["run", "none.spiccato", "--input", "none.npy"], "none.spiccato: no such file"),
        (["verilog", "--board", "nonesuch"], "unknown board"),
        (
            ["run", "model.pt", "--input", "none.npy"],
            "model.pt is a model, not a program: compile it first (spiccato compile model.pt -o NAME.spiccato)",
        ),
        (["inspect", "lstm_tiny"], "lstm_tiny is a model, not a program"),
        (["inspect", "."], ".: is a folder; expected a program file"),
        (["report", "lstm_tiny", "-o", "."], "cannot be written: it is a folder"),
        (["report", "lstm_tiny", "--calibration", ""], "cannot be read: No such file"),
        (["verilog", "--board", "test4", "-o", "pyproject.toml/x"], "pyproject.toml is not a folder"),
        (["estimate", "lstm_tiny", "--board", "none.py"], "none.py: no such file; a board is a name or a Python file"),
        (["boards", "--board", "test4"], "'test4' is for simulation only, it has no device; boards: ulx3s, "),
    ],
)
def test_refusals(arguments, text):
    refused(text, *arguments)


@pytest.mark.parametrize(
    "array, text",
    [
        (np.ones((8, 5), dtype=bool), "x.npy: holds bool; expected real numbers"),
        (np.ones((8, 5), dtype=complex), "x.npy: holds complex128"),
        (np.array([["a"] * 5]), "x.npy: holds <U1"),
        (np.ones((8, 5), dtype="V2"), "x.npy: holds |V2"),
        (np.ones((8, 4)), "x.npy: has shape (8, 4); expected (steps, 5)"),
        (np.ones(5), "x.npy: has shape (5,); expected (steps, 5)"),
        (np.ones((1, 1, 8, 5)), "x.npy: has shape (1, 1, 8, 5); expected (steps, 5)"),
        (np.ones((0, 5)), "x.npy: has shape (0, 5)"),
        (np.array([[0, 1, 2, 3, np.nan]]), "x.npy: [0, 4] is nan; every value must be finite"),
        (np.array([[0, np.inf, 2, 3, 4]]), "x.npy: [0, 1] is inf"),
        (np.array([[0, 1, 1e300, 3, 4]]), "input [0, 2] is beyond the range of bfloat16"),
    ],
)
def test_refused_inputs(array, text, program, tmp_path):
    np.save(tmp_path / "x.npy", array)
    refused(text, "run", program, "--input", tmp_path / "x.npy", "-o", tmp_path / "y.npy")
    refused(text, "estimate", ONNX, "--input", tmp_path / "x.npy")
    assert not (tmp_path / "y.npy").exists()


def test_nothing_is_half_written(program, series, tmp_path, monkeypatch):
    """A disk that is full leaves the old files, and nothing beside them."""
    (tmp_path / "y.npy").write_text("old")
    before = sorted(path.name for path in tmp_path.iterdir()), program.read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device", "disk")

    monkeypatch.setattr("os.replace", fail)
    refused("No space left", "run", program, "--input", series, "-o", tmp_path / "y.npy")
    refused("No space left", "compile", "lstm_tiny", "-o", program)
    assert (sorted(path.name for path in tmp_path.iterdir()), program.read_bytes()) == before
    assert (tmp_path / "y.npy").read_text() == "old"


@pytest.mark.parametrize("verb", [[], *([verb] for verb in main.commands)])
def test_help(verb):
    shown = [run(*verb, option) for option in ("-h", "--help")]
    assert {result.exit_code for result in shown} == {0} and shown[0].output == shown[1].output
    assert shown[0].output.startswith("Usage: ")


@pytest.mark.parametrize("output", ["nodir/y.npy", "", "program.spiccato/y"])
def test_the_way_to_the_output_is_looked_at_first(program, series, monkeypatch, output):
    """Before the long work, and told with the name that the user gave."""
    Path("program.spiccato").write_bytes(program.read_bytes())
    for name in ("arguments.Program.load", "programs.compile_program", "report.compile_program"):
        monkeypatch.setattr(f"spiccato_cli.{name}", lambda *_, **__: pytest.fail("worked"))
    for arguments in (
        ["run", "program.spiccato", "--input", series],
        ["compile", ONNX],
        ["report", ONNX],
        ["report", "program.spiccato"],
    ):
        refused(f"error: {output or '.'}: cannot be written: ", *arguments, "-o", output)


def test_too_little_memory(monkeypatch):
    def fail(*_, **__):
        raise MemoryError("Unable to allocate 7 EiB")

    monkeypatch.setattr("spiccato_cli.programs.compile_program", fail)
    refused("error: not enough memory: Unable to allocate 7 EiB", "compile", ONNX)


@pytest.mark.parametrize(
    "arguments",
    [
        ["sim", "--seed", "-1"],
        ["estimate", "lstm_tiny", "--steps", "0"],
        ["estimate", "lstm_tiny", "--steps", "1e3"],
        ["estimate", "lstm_tiny", "--steps", "9" * 20],
        ["demo", "--baud", "9" * 20],
        ["demo", "--steps", "-1"],
        ["bitstream", "--seeds", "0"],
        ["report", "lstm_tiny", "--seed", "0.5"],
        ["run", "p.spiccato", "--input", "."],
        ["nonesuch"],
        ["compile"],
        ["compile", "lstm_tiny", "--nonesuch"],
        ["sim", "--steps", "4"],
        ["run", "p.spiccato"],
        ["compile", "lstm_tiny", "--format", "float16"],
    ],
)
def test_wrong_usage(arguments):
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("Usage: ") and not result.stdout


def test_a_port_without_a_rate():
    """The rate is the board's; that of another one has to be told."""
    refused("error: board ia420f has no serial shell that tells", "demo", "--board", "ia420f", "--port", "/dev/none")
    refused("cannot be opened as a serial port at 3000000 baud", "demo", "--port", "/dev/none")


def test_boards():
    """The table, and the same as data."""
    shown, data = run("boards"), json.loads(run("boards", "--json").output)
    assert shown.exit_code == 0
    rows = {row["board"]: row for row in data}
    assert set(rows) == set(boards()) and "simulation only, on no device: test4 (1 x 4), test8" in shown.output
    assert rows["ia420f"]["published"]["dsp"] == 3744 and rows["v80"]["published"] is None
    for row in data:
        assert row["estimate"]["dsp"] <= row["device"]["dsp"]
        assert f"{row['estimate']['dsp']:,}" in shown.output


def test_what_does_not_fit_a_board_is_refused(monkeypatch):
    """Before anything is written or compiled."""
    board = find("ia420f")
    config = dataclasses.replace(configuration("ia840f"), name="ia420f")
    monkeypatch.setitem(registry._installed(), "ia420f", dataclasses.replace(board, configurations={"default": config}))
    for arguments in (["verilog", "--board", "ia420f"], ["compile", "lstm_tiny"], ["project"]):
        result = run(*arguments)
        assert result.exit_code == 1
        assert "does not fit BittWare IA-420F" in result.output and "6,528 of 4,510 DSP blocks" in result.output


def test_compile_and_inspect(tmp_path):
    """A program written by compile is shown by inspect, with the same predictions."""
    path = tmp_path / "p.spiccato"
    compiled = run("compile", "lstm_tiny", "-o", path)
    shown = run("inspect", path)
    assert compiled.exit_code == shown.exit_code == 0
    assert "predicted spaced latency: 77 cycles" in compiled.output
    assert "3,456 of 4,510 DSP blocks (77%)" in compiled.output
    lines = [line for line in compiled.output.splitlines() if not line.startswith("wrote")]
    assert shown.output.splitlines()[: len(lines)] == lines
    # Where the model lies.
    assert "0..51" in shown.output.splitlines()[-1]


def test_json_of_a_program(tmp_path):
    path = tmp_path / "p.spiccato"
    compiled = json.loads(run("compile", ONNX, "-o", path, "--json").stdout)
    shown = json.loads(run("inspect", path, "--json").stdout)
    assert compiled == shown | {"origin": None, "output": str(path)}
    program = Program.load(path)
    [model] = shown["models"]
    assert (shown["digest"], model["spaced_cycles"]) == (program.digest, program.model.spaced_latency)
    assert (model["input_size"], model["hidden_sizes"], model["output_size"]) == (5, [12, 12], 3)


#: Boards of which an estimate of an LSTM network tells: those with further epilogues are as fast.
_FOR_LSTM = [name for name in boards() if not name.endswith("-kinds")]


def test_estimate():
    """Boards, formats, latencies and errors, of a small benchmark model beside what is published."""
    result = run("estimate", "lstm_tiny", "--steps", "20", "--json")
    assert result.exit_code == 0 and not result.stderr
    data = json.loads(result.stdout)
    assert {(row["board"], row["profile"]) for row in data["rows"]} == {
        (name, profile) for name in _FOR_LSTM for profile in boards()[name].family.profiles
    }
    rows = {(row["board"], row["weights"]): row for row in data["rows"] if row["profile"] == "aggressive"}
    assert [*rows] == [(board, weights) for board in _FOR_LSTM for weights in configuration(board).layer_formats]
    for row in data["rows"]:
        own = rows[row["board"], row["weights"]]
        assert row["rms_error"] == own["rms_error"]
        assert row is own or not row["fits"] or row["spaced_cycles"] > own["spaced_cycles"]
    assert rows["ia420f", "int16"]["spaced_cycles"] == 77
    assert rows["ia420f", "int16"]["spaced_us"] == pytest.approx(77 / 320)
    assert rows["ia420f", "int16"]["published_us"] == pytest.approx(0.82, abs=0.01)
    for (board, _), row in rows.items():
        assert row["fits"] == (not board.startswith("ulx3s"))
        if not row["fits"]:
            continue
        assert row["interval_cycles"] < row["spaced_cycles"]
        if row["weights"] == "int16":
            assert row["rms_error"] < data["rms_error_bfloat16"] / 20 < row["rms_error_sent"]
    # What is computed depends on the block size only.
    machine = VirtualMachine(Program.load(_compiled("v80"))).run(inputs(resolve("lstm_tiny"), 20))
    assert (machine == VirtualMachine(Program.load(_compiled("ia420f"))).run(inputs(resolve("lstm_tiny"), 20))).all()
    assert (data["steps"], data["inputs"]) == (20, "random")
    shown = run("estimate", "lstm_tiny", "--steps", "20").output
    assert "aggressive profile:" in shown and "conservative profile:" in shown
    assert "room for contexts, of a state each: ia420f 64, ia420f-fast 64, ia420f-windows 228, ia840f 64, " in shown
    assert "77 0.241" in shown and max(map(len, shown.splitlines()[1:10])) <= 80


def test_estimate_of_other_kinds():
    """On the configurations that have their epilogues, in as many cycles as the LSTM twin."""
    result = run("estimate", "gru_tiny", "--steps", "10", "--profile", "aggressive", "--json")
    rows = {(row["board"], row["weights"]): row for row in json.loads(result.stdout)["rows"]}
    assert [board for board, weights in rows if weights == "int16"] == [
        "ulx3s-kinds", "ia420f-kinds", "ia420f-windows", "ia840f-kinds", "v80-kinds",
    ]  # fmt: skip
    assert rows["ia420f-kinds", "int16"]["spaced_cycles"] == 77
    assert "epilogue 'gru' for a GRU layer (built: lstm)" in rows["ia420f-windows", "int16"]["reason"]
    refused(
        "needs epilogue 'gru' for a GRU layer (built: lstm); would fit: ia420f-kinds with int16 weights, "
        "ia420f-kinds with int8 weights, ia840f-kinds",
        "compile",
        "gru_tiny",
    )


def _compiled(board):
    path = f"{board}.spiccato"
    assert run("compile", "lstm_tiny", "--board", board, "-o", path).exit_code == 0
    return path


@pytest.fixture(autouse=True)
def own_folder(monkeypatch, tmp_path_factory):
    """Commands run in a folder of their own."""
    folder = tmp_path_factory.mktemp("cwd")
    (folder / "pyproject.toml").write_text("[project]")
    monkeypatch.chdir(folder)


def test_estimate_of_what_does_not_fit(tmp_path):
    """Boards that are too small are told with what they lack; a network that fits nowhere is refused."""
    result = run("estimate", "lstm_med", "--steps", "2", "--json")
    assert result.exit_code == 0
    assert "v80" in [row["board"] for row in json.loads(result.stdout)["rows"] if row["fits"]]
    network = Network((LSTMLayer(np.ones((8, 3)), np.ones((8, 2))), LinearLayer(np.ones((4000, 2)))))
    wide = tmp_path / "wide.safetensors"
    save_safetensors(network, wide)
    result = refused(
        "network 'wide' fits no board in any weight format; v80-fast with wide weights: needs output queue 125 of 32 "
        "beats",
        "estimate",
        wide,
    )
    assert "ia840f with int16 weights: needs output queue 63 of 32 beats" in result.stdout
    refused("would fit: no board", "compile", wide, "-o", tmp_path / "wide.spiccato")
    assert not (tmp_path / "wide.spiccato").exists()


def test_run(program, series, tmp_path):
    """Outputs are the virtual machine's; inputs are rounded to the streams' format."""
    expected = VirtualMachine(Program.load(program)).run(np.load(series))
    result = run("run", program, "--input", series, "-o", tmp_path / "y.npy")
    assert result.exit_code == 0 and "8 steps, 3 outputs each" in result.output
    written = np.load(tmp_path / "y.npy")
    assert written.dtype == np.float32 and (written == expected).all()
    data = json.loads(run("run", program, "--input", series, "--json").stdout)
    assert data["outputs"] == expected.tolist() and data["rtl"] is None
    assert f"last outputs: {expected[-1][0]:.6g}" in run("run", program, "--input", series).output


def test_run_of_sequences(program, tmp_path):
    """Each begins from the initial state, whatever came before."""
    xs = np.random.default_rng(1).standard_normal((3, 4, 5)).astype(np.float32)
    np.save(tmp_path / "x.npy", xs)
    result = run("run", program, "--input", tmp_path / "x.npy", "-o", tmp_path / "y.npy")
    assert result.exit_code == 0 and "3 sequences of 4 steps, 3 outputs each" in result.output
    written = np.load(tmp_path / "y.npy")
    assert written.shape == (3, 4, 3)
    for sequence, outputs in zip(xs, written):
        assert (VirtualMachine(Program.load(program)).run(sequence) == outputs).all()
    for array, text in (
        (np.ones((1, 8, 4)), "x.npy: has shape (1, 8, 4); expected (sequences, steps, 5)"),
        (np.full((2, 3, 5), 1e300), "input [0, 0, 0] is beyond the range of bfloat16"),
    ):
        np.save(tmp_path / "x.npy", array)
        refused(text, "run", program, "--input", tmp_path / "x.npy")
    np.save(tmp_path / "x.npy", xs)
    refused("expected (steps, 5)", "estimate", ONNX, "--input", tmp_path / "x.npy")


@pytest.fixture
def two_models(tmp_path, monkeypatch):
    """A program of two models, of 3 and 2 contexts, and the board that it is for; what compile printed."""
    room = {"weight_depth": 4096, "program_depth": 4096, "vector_blocks": 64, "slots": 64, "state_slots": 200}
    config = dataclasses.replace(configuration("test4"), name="pair", cores=2, models=2, streams=8, **room)
    monkeypatch.setitem(registry._installed(), "pair", registry.Target(configurations={"default": config}))
    path = tmp_path / "two.spiccato"
    arguments = ["compile", ONNX, "seattle_weather", "--board", "pair", "--contexts", "3,2", "--weights", "int8,auto"]
    result = run(*arguments, "-o", path)
    assert result.exit_code == 0, result.output
    return path, "pair", result.output


def test_several_models_and_contexts(two_models, tmp_path):
    """One file: what each model's contexts take, how many would fit, where all lies."""
    path, _, shown = two_models
    loaded = Program.load(path)
    assert loaded.streams == (3, 2) and [model.weight_formats[0] for model in loaded.models] == ["int8", "int16"]
    for number, model in enumerate(loaded.models):
        streams = loaded.streams[number]
        first = loaded.tid(number, 0)
        assert f"contexts of model {number}: {streams}, tid {first} to {first + streams - 1}; state memory: " in shown
        assert f"{model.slots} slots each" in shown
    data = json.loads(run("inspect", path, "--json").stdout)
    assert data["contexts_that_fit"] == 200 // sum(model.slots for model in loaded.models)
    assert f"room for {data['contexts_that_fit']} contexts of each model" in shown
    assert [(one["contexts"], one["first_tid"], one["slots"]) for one in data["models"]] == [
        (3, 0, loaded.models[0].slots),
        (2, 8, loaded.models[1].slots),
    ]
    tables = run("inspect", path).output.splitlines()[-2:]
    for line, model, place in zip(tables, loaded.models, loaded.places):
        assert f" {place.state}.." in line and f" {place.weight}..{place.weight + model.weights.shape[1] - 1} " in line
    # What is run is chosen by name or number.
    np.save(tmp_path / "x.npy", np.ones((6, 5), np.float32))
    by_name = run(
        "run", path, "--model", loaded.models[0].name, "--context", "2", "--input", tmp_path / "x.npy", "--json"
    )
    by_number = run("run", path, "--model", "0", "--input", tmp_path / "x.npy", "--json")
    told = json.loads(by_name.stdout)
    assert (told["model"], told["context"]) == (0, 2) and told["outputs"] == json.loads(by_number.stdout)["outputs"]


def test_refused_models_and_contexts(two_models, program, tmp_path):
    path, board, _ = two_models
    np.save(tmp_path / "x.npy", np.ones((6, 5), np.float32))
    name = Program.load(path).models[0].name
    choose = ["run", path, "--input", tmp_path / "x.npy"]
    refused(f"has 2 models: choose one with --model: 0 ({name}), 1 (seattle_weather)", *choose)
    refused("--model 2: program", *choose, "--model", "2")
    refused("has no stream 3 of model 0", *choose, "--model", "0", "--context", "3")
    two = ["compile", ONNX, ONNX, "--board", board]
    for contexts in ("0", "1,2,3", "-1", "a", "1,", "1.5"):
        refused(
            f"--contexts {contexts}: expected a number from 1 on, or 2 of them with commas",
            *two,
            "--contexts",
            contexts,
        )
    refused("--contexts 1,2: expected a number from 1 on", "compile", ONNX, "--board", board, "--contexts", "1,2")
    refused(
        "3 formats for 2 models; expected one, or one for each", *two, "--weights", "int8,int8", "--weights", "auto"
    )
    refused("--calibration is for one model, not for 2", *two, "--calibration", tmp_path / "x.npy")
    refused("of each would fit", *two, "--contexts", "8")
    refused("a program has its models and contexts already", "sim", program, "--contexts", "2", "--board", "test4")
    refused("model table 2 of 1 models", "compile", ONNX, ONNX, "--board", "test4")


def test_sim_of_contexts(two_models, monkeypatch):
    """A line for each context; a difference fails."""
    path, board, _ = two_models
    asked = []

    def round_robin(program, inputs, **options):
        asked.append([xs.shape for xs in inputs])
        contexts = [
            ContextCycles(model, stream, [7], [7], [5, 5], [5, 5])
            for model, streams in enumerate(program.streams)
            for stream in range(streams)
        ]
        return RoundRobin(contexts, 30, True, list(failures))

    monkeypatch.setattr("spiccato_sim.benches.round_robin.round_robin", round_robin)
    failures = []
    shown = run("sim", path, "--board", board)
    assert shown.exit_code == 0, shown.output
    assert "5 contexts take turns, 30 packets" in shown.output and shown.output.endswith("PASS\n")
    failures.append("output bits: 1 of 30 packets differ")
    result = run("sim", ONNX, "--board", board, "--contexts", "4", "--steps", "7", "--json")
    assert result.exit_code == 1
    data = json.loads(result.stdout)
    assert data["failures"] == failures and len(data["contexts"]) == 4 and not data["passed"]
    sizes = [model.input_size for model in Program.load(path).models]
    assert asked == [[(6, size) for size in sizes], [(7, 5)]]


@pytest.mark.parametrize("failures", [[], ["output bits: 1 of 24 differ"]])
def test_run_on_the_rtl(program, series, monkeypatch, failures):
    """The comparison is told, and decides the exit status."""
    asked = []

    def simulate(loaded, xs, *, spaced, model, stream, starts):
        asked.append((len(xs), spaced, model, stream, list(starts)))
        return Comparison(
            outputs=xs,
            bit_exact=not failures,
            spaced_cycles=[9] * spaced,
            predicted_spaced_cycles=9,
            stream_cycles=[7],
            predicted_initiation_interval=7,
            failures=failures,
        )

    monkeypatch.setattr("spiccato_sim.benches.simulate.simulate", simulate)
    result = run("run", program, "--input", series, "--rtl", "--json")
    assert result.exit_code == bool(failures)
    assert json.loads(result.stdout)["rtl"] == {
        "passed": not failures,
        "bit_exact": not failures,
        "spaced_cycles": [9] * 4,
        "interval_cycles": 7,
        "failures": failures,
    }
    assert asked == [(8, 4, 0, 0, [0])]
    assert ("FAIL" in run("run", program, "--input", series, "--rtl").output) == bool(failures)


def test_run_on_the_rtl_needs_steps(program, tmp_path):
    np.save(tmp_path / "x.npy", np.ones((4, 5), np.float32))
    refused("x.npy: 4 steps; --rtl needs 5 or more", "run", program, "--input", tmp_path / "x.npy", "--rtl")


def test_a_weight_format_for_each_layer():
    """With slashes, the linear one last; of several models with a comma in between."""
    formats = ["wide", "int8", "int8"]
    options = ["--board", "ia420f-fast", "--weights"]
    result = run("compile", ONNX, *options, "/".join(formats), "--json")
    assert json.loads(result.stdout)["models"][0]["weight_formats"] == formats
    result = run("compile", ONNX, "lstm_tiny", *options, f"{'/'.join(formats)},auto", "--json")
    assert [model["weight_formats"] for model in json.loads(result.stdout)["models"]] == [formats, ["int8"] * 3]
    refused("one of these for each layer: 2 and the linear one", "compile", ONNX, *options, "wide/int8")


def test_what_is_for_models_is_refused_with_a_program(program, series, tmp_path):
    """Rather than ignored."""
    page = ["-o", tmp_path / "page.html"]
    for option, value in (("--weights", "int8"), ("--calibration", series), ("--format", "float32")):
        refused(f"{option} is for files of models; a program is compiled", "report", program, option, value, *page)
        if option != "--format":
            refused(f"{option} is for files of models", "sim", "--board", "test4", program, option, value)
    assert not (tmp_path / "page.html").exists()


def test_more_steps_than_a_file_has(series):
    steps = len(np.load(series))
    for verb, *options in (("estimate", "--json"), ("report",)):
        refused(
            f"has {steps} timesteps; {steps + 1} were asked for",
            verb,
            ONNX,
            "--input",
            series,
            "--steps",
            str(steps + 1),
            *options,
        )


def test_a_profile_is_refused_for_the_configuration_that_was_named():
    refused(
        "configuration 'ulx3s-fast': profile must be one of",
        "compile",
        ONNX,
        "--board",
        "ulx3s-fast",
        "--profile",
        "fast",
    )


def test_calibration_changes_the_program(tmp_path):
    np.save(tmp_path / "c.npy", np.random.default_rng(0).standard_normal((8, 5)) * [1, 1e3, 1e-3, 1, 1])
    digests = [
        json.loads(run("compile", ONNX, *options, "--json").stdout)["digest"]
        for options in ([], ["--calibration", tmp_path / "c.npy"])
    ]
    assert len(set(digests)) == 2
    result = run("estimate", ONNX, "--calibration", tmp_path / "c.npy", "--json")
    assert json.loads(result.stdout)["inputs"] == "calibration"


def test_sim_refuses_program_of_another_board(tmp_path):
    path = tmp_path / "p.spiccato"
    assert run("compile", "lstm_tiny", "--board", "ia840f", "-o", path).exit_code == 0
    refused("compiled for configuration 'ia840f', not for 'ia420f'", "sim", path)


@pytest.mark.parametrize(
    "arguments, incomplete, expected",
    [
        (["compile"], "lstm_t", "lstm_tiny"),
        (["compile", "lstm_tiny", "--board"], "v", "v80"),
        (["compile", "lstm_tiny", "--weights"], "a", "auto"),
        ([], "est", "estimate"),
    ],
)
def test_shell_completion(arguments, incomplete, expected):
    completions = ShellComplete(main, {}, "spiccato", "_SPICCATO_COMPLETE").get_completions(arguments, incomplete)
    assert expected in [item.value for item in completions]


def test_no_colours_and_no_progress_off_a_terminal():
    result = run("estimate", ONNX, "--steps", "2")
    assert "\x1b" not in result.output and not result.stderr


def test_sim(monkeypatch):
    """The comparison on the RTL, as a table and as JSON; a trained example is scored on its own data."""

    def simulate(program, xs, *, spaced, simulator, waves, preload):
        outputs = VirtualMachine(program).run(xs)
        return Comparison(
            outputs=outputs,
            bit_exact=True,
            spaced_cycles=[program.model.spaced_latency] * spaced,
            predicted_spaced_cycles=program.model.spaced_latency,
            stream_cycles=[program.model.initiation_interval],
            predicted_initiation_interval=program.model.initiation_interval,
        )

    monkeypatch.setattr("spiccato_sim.benches.simulate.simulate", simulate)
    data = json.loads(run("sim", ONNX, "--steps", "12", "--json").stdout)
    assert (data["passed"], data["bit_exact"], data["steps"], data["task"]) == (True, True, 12, {})
    assert data["spaced_cycles"] == [data["program"]["models"][0]["spaced_cycles"]] * 6
    assert 0 < data["errors"]["RMS error against float64"] < data["errors"]["largest error against float64"]
    shown = run("sim", "seattle_weather").output
    assert "mean absolute error, RTL, degrees C" in shown and shown.endswith("PASS\n")
    assert json.loads(run("sim", "seattle_weather", "--json").stdout)["task"]["persistence"] > 2.2


def _verbs_on_boards():
    return {name: verb for name, verb in main.commands.items() if {"board", "boards"} & {p.name for p in verb.params}}


@pytest.mark.parametrize("name, verb", _verbs_on_boards().items())
def test_every_verb_on_boards_takes_a_profile(name, verb):
    """And refuses one that there is not, in one line, with those there are."""
    assert "profile" in {option.name for option in verb.params}
    takes = {p.name for p in verb.params if p.param_type_name == "argument"} & {"model", "models"}
    model = ["lstm_tiny"] * len(takes)
    refused(
        "profile must be one of aggressive, conservative with family agilex7, not 'bold'",
        *(name, *model, "--board", "ia420f", "--profile", "bold"),
    )


def test_a_program_is_for_one_profile(program, series, tmp_path):
    """The other refuses it; both compute the same, in other cycles, and tell what they are."""
    other = tmp_path / "conservative.spiccato"
    assert (
        "conservative profile"
        in run("compile", ONNX, "--board", "test4", "--profile", "conservative", "-o", other).output
    )
    shown = [json.loads(run("inspect", path, "--json").stdout) for path in (program, other)]
    assert [one["profile"] for one in shown] == ["aggressive", "conservative"]
    assert [one["board"] for one in shown] == ["test4", "test4"]
    assert shown[0]["digest"] != shown[1]["digest"] and _spaced(shown[0]) < _spaced(shown[1])
    outputs = [json.loads(run("run", path, "--input", series, "--json").stdout) for path in (program, other)]
    assert outputs[0]["outputs"] == outputs[1]["outputs"]
    assert [one["profile"] for one in outputs] == ["aggressive", "conservative"]
    differing = "not for 'test4' (profile conservative instead of aggressive): compile the network for 'test4'"
    refused(differing, "sim", "--board", "test4", other)
    refused(differing, "demo", "--board", "test4", "--model", other)
    refused(differing, "report", other, "--board", "test4")
    refused(differing, "report", other, "--profile", "aggressive")
    refused("(profile aggressive instead of", "sim", "--board", "test4", program, "--profile", "conservative")


def _spaced(summary):
    return [model["spaced_cycles"] for model in summary["models"]]


def test_files_of_profiles_do_not_meet(tmp_path):
    """Each profile has folders of its own, and its name in what is written there."""
    for profile in ("aggressive", "conservative"):
        result = run("verilog", "--board", "test4", "--profile", profile, "-o", tmp_path)
        assert result.exit_code == 0, result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["test4", "test4.conservative"]
    for path, profile in ((tmp_path / "test4", "aggressive"), (tmp_path / "test4.conservative", "conservative")):
        told = json.loads((path / "spiccato.json").read_text())
        assert (told["configuration"]["name"], told["configuration"]["profile"]) == ("test4", profile)
        for name in ("spiccato_accelerator.v", "spiccato.h"):
            assert f"test4, {profile} profile" in (path / name).read_text()
    # Of the board as of the side car beside the Verilog.
    [row] = json.loads(run("boards", "--board", "ia420f", "--profile", "conservative", "--json").stdout)
    assert (row["board"], row["profile"]) == ("ia420f", "conservative")

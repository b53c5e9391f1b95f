"""Boards are found wherever they are: installed, brought by another package, or in a file."""

import dataclasses
import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import spiccato
from paths import ROOT
from spiccato import registry
from spiccato.config import Config
from spiccato.errors import BoardError, ConfigError
from spiccato.registry import Target, configuration, find, targets
from spiccato_boards import boards
from spiccato_cli import main
from spiccato_sim.checks import depth, lint, reach
from spiccato_sim.models import zoo

HOWTO = (ROOT / "docs" / "howto-add-a-board.md").read_text()
MODEL = ROOT / "tests" / "fixtures" / "torch_dynamo.onnx"
SIMULATED = """\
from spiccato.registry import Target
from spiccato.config import Config

BOARD = Target(configurations={{"default": Config(name="{name}", cores=1, block=4)}})
"""


def code(kind):
    """The how-to's only block of that kind."""
    [block] = re.findall(rf"```{kind}\n(.*?)```", HOWTO, re.DOTALL)
    return block


@pytest.fixture(autouse=True)
def nowhere(installed_boards, monkeypatch, tmp_path):
    """Nothing is known but what is installed, and the working directory is empty."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def board_file(tmp_path):
    """The how-to's board, in a folder of its own."""
    (tmp_path / "elsewhere").mkdir()
    path = tmp_path / "elsewhere" / "my_board.py"
    path.write_text(code("python"))
    return path


def run(*arguments):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.simulates
@pytest.mark.long
def test_a_board_is_one_new_file(board_file, build_folder, monkeypatch):
    """The how-to's file, as it stands there, goes through all the commands that the how-to gives."""
    ran, commands = set(), dict.fromkeys(re.findall(r"^spiccato (\w+)", code("sh"), re.MULTILINE))

    def verb(name, *arguments):
        ran.add(name)
        return run(name, "--board", board_file, *arguments)

    [row] = json.loads(verb("boards", "--json"))
    assert (row["board"], row["title"], row["clock_mhz"]) == ("my_board", "My board", 250)
    rows = json.loads(verb("estimate", MODEL, "--steps", "2", "--json"))["rows"]
    assert {(row["board"], row["fits"]) for row in rows} == {("my_board", True)}
    data = json.loads(verb("compile", MODEL, "-o", "p.spiccato", "--json"))
    assert data["board"] == "my_board" and data["resources"]["part"] == "AGFB014R24B2E2V"
    # Another process knows the program's configuration without the board.
    assert json.loads(run("inspect", "p.spiccato", "--json"))["models"] == data["models"]

    assert "my_board" in verb("verilog", "-o", "verilog")
    side_car = json.loads(Path("verilog/my_board/spiccato.json").read_text())
    assert side_car["configuration"]["clock_mhz"] == 250 and side_car["resources"]["board"] == "my_board"
    assert 'ramstyle = "M20K' in "".join(path.read_text() for path in Path("verilog/my_board").glob("*.v"))
    assert "quartus_sh" in verb("project", "-o", "project")
    assert "AGFB014R24B2E2V" in Path("project/my_board/settings.tcl").read_text()

    # For real, on the RTL. The same hardware as test8's, so that both have one simulator.
    assert dataclasses.replace(find(board_file).config, name="test8", clock_mhz=300.0) == configuration("test8")
    for folder in (Path("build"), build_folder / "sim"):
        folder.mkdir(parents=True, exist_ok=True)
    Path("build/sim").symlink_to(build_folder / "sim")
    result = json.loads(verb("sim", MODEL, "--steps", "6", "--json"))
    assert result["passed"] and result["bit_exact"] and result["program"]["board"] == "my_board"
    assert result["spaced_cycles"] == [data["models"][0]["spaced_cycles"]] * 2

    # What else takes long is tested where it belongs; here, that it is asked for this board's hardware.
    asked = []
    monkeypatch.setattr(
        lint,
        "lint",
        lambda folder: asked.append(json.loads((folder / "spiccato.json").read_text())["configuration"]["name"]),
    )
    assert "my_board: no warnings" in verb("lint")
    monkeypatch.setattr(depth, "synthesise", lambda files, top: asked.append(files[0].parent.name))
    for check, judge, show in (depth, "judge", "print_report"), (reach, "count", "print_reach"):
        monkeypatch.setattr(check, judge, lambda *arguments, **options: type("Report", (), {"ok": True}))
        monkeypatch.setattr(check, show, lambda report, console: None)
    verb("timing")

    def run_bench(boards, names, *, out, profile, console):
        asked.append(find(boards[0]).config)
        Path(out).mkdir(parents=True)
        (Path(out) / "latency.md").write_text("")
        return type("Benchmark", (), {"failures": [], "passed": True})

    monkeypatch.setattr("spiccato_sim.analysis.bench.run_bench", run_bench)
    verb("bench", "--model", MODEL)
    config = find(board_file).config
    assert asked == ["my_board", "my_board", config]
    assert ran == set(commands)


def test_a_board_file_in_python(board_file):
    """By path, as an object, and by name once it was loaded; compiled for once more, the program is the same."""
    network = zoo.random_network(np.random.default_rng(0), layers=1, max_size=8)
    by_path = spiccato.compile(network, board=board_file)
    board = find(str(board_file))
    assert board is find(board_file) is find("my_board") and "my_board" in targets() and "my_board" in boards()
    assert by_path.digest == spiccato.compile(network, board=board).digest
    assert spiccato.compile(network, board=board_file, io_format="float32").config.io_format == "float32"


def test_a_board_file_in_another_process(board_file):
    """As the benchmark's workers: they load the file, then a board arrives that was pickled here."""
    board = find(board_file)
    program = (
        "import pickle, sys; from spiccato.registry import find; find(sys.argv[1]); "
        "board = pickle.loads(sys.stdin.buffer.read()); print(board.name, board.part)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, board_file], input=pickle.dumps(board), check=True, stdout=subprocess.PIPE
    )
    assert done.stdout.decode().split() == ["my_board", board.part]


def test_another_package_brings_boards(tmp_path, monkeypatch):
    """An installed distribution with the how-to's entry point: its boards are known by name, for all commands."""
    [package] = re.findall(r'= "(my_package\.boards)"', code("toml"))
    folder = tmp_path.joinpath("site", *package.split("."))
    folder.mkdir(parents=True)
    for where in (folder, folder.parent):
        (where / "__init__.py").write_text("")
    (folder / "mine.py").write_text(code("python"))
    (folder / "helper.py").write_text("import spiccato_boards\n")
    metadata = tmp_path / "site" / "my_package-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: my_package\nVersion: 1.0\n")
    entry = code("toml").replace("project.entry-points.", "").replace('"', "")
    (metadata / "entry_points.txt").write_text(entry)
    monkeypatch.syspath_prepend(tmp_path / "site")
    registry._installed.cache_clear()
    try:
        assert list(boards()) == [
            *(
                "ulx3s",
                "ulx3s-fast",
                "ulx3s-kinds",
                "ia420f",
                "ia420f-fast",
                "ia420f-kinds",
                "ia420f-windows",
                "my_board",
            ),
            *("ia840f", "ia840f-fast", "ia840f-kinds", "v80", "v80-fast", "v80-kinds"),
        ]
        assert json.loads(run("compile", MODEL, "--board", "my_board", "--json"))["board"] == "my_board"
        (folder / "again.py").write_text(code("python"))
        registry._installed.cache_clear()
        with pytest.raises(
            BoardError,
            match=r"two boards have the name 'my_board': my_package.boards.again and "
            r"my_package.boards.mine",
        ):
            targets()
        (folder / "again.py").write_text("import nothing_of_that_name\n")
        del sys.modules["my_package.boards.again"]
        with pytest.raises(
            BoardError,
            match=r"^my_package.boards.again: cannot be imported as a board: "
            r"ModuleNotFoundError: .*nothing_of_that_name",
        ):
            targets()
    finally:
        registry._installed.cache_clear()
        for name in [name for name in sys.modules if name.startswith("my_package")]:
            del sys.modules[name]


@pytest.mark.parametrize(
    "text, message",
    [
        (None, "x.py: no such file; a board is a name or a Python file with a BOARD"),
        ("", "x.py: BOARD is missing; expected a spiccato_boards.Board"),
        ("BOARD = {}", "x.py: BOARD is 'dict'; expected a spiccato_boards.Board"),
        ("BOARD = (", "x.py: cannot be imported as a board: SyntaxError: '(' was never closed"),
        ("import nonesuch", "x.py: cannot be imported as a board: ModuleNotFoundError: No module named 'nonesuch'"),
        ("raise ValueError('one\\ntwo')", "x.py: cannot be imported as a board: ValueError: one"),
        (SIMULATED.format(name="ia420f"), "x.py: there is a board 'ia420f' already: give this one another name"),
        (SIMULATED.format(name="a/b"), "x.py: cannot be imported as a board: ConfigError: configuration 'a/b': name "),
    ],
)
def test_board_files_that_are_refused(tmp_path, text, message):
    """With one line, on the command line, too; and when the file has been mended, it is a board."""
    path = tmp_path / "x.py"
    if text is not None:
        path.write_text(text)
    with pytest.raises(BoardError, match=re.escape(message)) as caught:
        find(path)
    assert "\n" not in str(caught.value)
    result = CliRunner().invoke(main, ["compile", str(MODEL), "--board", str(path), "-o", "p.spiccato"])
    assert result.exit_code == 1 and message in result.stderr and result.stderr.count("\n") == 1
    assert not os.path.exists("p.spiccato")
    path.write_text(SIMULATED.format(name="mended_board"))
    assert find(path).name == "mended_board" and [other.name for other in tmp_path.iterdir()] == ["x.py"]


@pytest.mark.parametrize("board", [None, 3, b"ia420f", ["ia420f"]])
def test_what_names_no_board(board):
    with pytest.raises(BoardError):
        find(board)


def test_simulation_only(tmp_path):
    """A configuration without a device can be compiled for; there is no row of resources and no project of it."""
    (tmp_path / "sim_only.py").write_text(SIMULATED.format(name="sim_only"))
    assert "resources" not in json.loads(run("compile", MODEL, "--board", "sim_only.py", "--json"))
    for verb in ("project", "boards", "bitstream"):
        result = CliRunner().invoke(main, [verb, "--board", "sim_only.py"])
        assert result.exit_code == 1 and "error: 'sim_only' is for simulation only, it has no device" in result.stderr
    assert find("sim_only").simulated_only and find("sim_only").verilog_family == "portable"
    assert "sim_only" not in boards()
    target = Target(configurations={"default": Config(name="x", cores=1, block=4)})
    assert configuration(target, "float32").io_format == "float32"


TWO = """\
import dataclasses
from spiccato.registry import Target
from spiccato.config import Config

small = Config(name="two", cores=1, block=4)
BOARD = Target(configurations={"default": small, "fast": dataclasses.replace(small, name="two-fast", cores=2)})
"""


def test_several_configurations(tmp_path):
    """Each by its own name: of the board, once its file was loaded, and of the file."""
    (tmp_path / "x.py").write_text(TWO)
    assert (find("x.py").name, find("x.py").config.cores) == ("two", 1)
    assert (find("x.py-fast").name, find("x.py-fast").config.cores) == ("two-fast", 2)
    assert find("two-fast") == find("x.py-fast") and {"two", "two-fast"} <= set(targets())
    assert json.loads(run("compile", MODEL, "--board", "x.py-fast", "--json"))["cores"] == 2
    with pytest.raises(BoardError, match="^'two' has no configuration 'slow'; it has default, fast$"):
        find("x.py-slow")
    with pytest.raises(BoardError, match="unknown board 'two-slow'; known: .*two, two-fast"):
        find("two-slow")
    (tmp_path / "y.py").write_text(SIMULATED.format(name="two-fast"))
    with pytest.raises(BoardError, match="y.py: there is a board 'two-fast' already"):
        find("y.py")


@pytest.mark.parametrize(
    "configurations, message",
    [
        ({}, "there is no configuration 'default', only none"),
        ({"default": None}, "configuration 'default' must be a Config, not None"),
        ({"fast": "x-fast"}, "there is no configuration 'default', only fast"),
        ({"default": "x", "fast": "x_fast"}, "configuration 'fast' must be called 'x-fast', not 'x_fast'"),
    ],
)
def test_configurations_that_are_refused(configurations, message):
    made = {key: name and Config(name=name, cores=1, block=4) for key, name in configurations.items()}
    with pytest.raises(BoardError, match=f"^{message}$"):
        Target(configurations=made)


def test_profiles(board_file):
    """A board is found in any profile of its family; without one it is in its file's."""
    assert find("test4") is find("test4", None) and configuration("test4").profile == "aggressive"
    found = find("test4", "conservative")
    assert (found.name, found.config.profile, found.config.label) == ("test4", "conservative", "test4.conservative")
    assert dataclasses.replace(found.config, profile="aggressive") == configuration("test4")
    assert found.in_profile("aggressive") == find("test4")
    assert configuration(board_file, "float32", "conservative").label == "my_board.conservative"
    with pytest.raises(
        ConfigError, match="profile must be one of aggressive, conservative with family portable, not 'x'"
    ):
        configuration("test4", profile="x")
    network = zoo.resolve("lstm_tiny")
    assert spiccato.compile(network, board="v80", profile="conservative").config == configuration(
        "v80", None, "conservative"
    )
    board_file.write_text(board_file.read_text().replace("cores=", 'profile="conservative", cores='))
    sys.modules.pop(next(name for name in sys.modules if name.startswith("_spiccato_board_")))
    registry._loaded.clear()
    assert (configuration(board_file).profile, configuration(board_file, profile="aggressive").profile) == (
        "conservative",
        "aggressive",
    )

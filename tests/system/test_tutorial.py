"""Every code block of the README, the tutorial and the how-tos does what its page says.

A page's blocks run in order, in a folder of their own: those in Python share a namespace, commands find ``spiccato``
where the package is installed, and ``.venv`` and ``build/sim`` are the tests' own. The commands of a make target are
those that make would run. A block ``text`` is what the block before it has printed; a line ``...`` in it stands for any
number of lines.
"""

import contextlib
import importlib.resources
import importlib.util
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import click
import numpy as np
import onnx
import pytest

from paths import ROOT
from spiccato.layers import KINDS
from spiccato.rtl.epilogue import EPILOGUES
from spiccato_cli import main
from spiccato_sim.benches.simulators import verilator_executable

FIXTURES = ROOT / "tests" / "fixtures"
PAGES = {
    page.name: page
    for page in (ROOT / "README.md", ROOT / "docs" / "tutorial.md", *sorted((ROOT / "docs").glob("howto-*.md")))
}

#: Commands that are not run here, and why. Their targets and options are checked all the same.
ELSEWHERE = {
    "make venv": "the environment of these tests is what it makes",
    ". .venv/bin/activate": "it is active",
    "make test": "this is part of it",
    "make sim BOARD=ia840f MODEL=lstm_small STEPS=20 SEED=1": "the better part of a minute; test_end_to_end.py runs a "
    "smaller model on this board",
    "make sim BOARD=v80 MODEL=lstm_large": "a simulator of its own, which takes minutes",
    "make sim WAVES=1": "a simulator of its own; test_runner.py records waves",
    "make verilog BOARD=ia420f": "test_verilog.py writes it",
    "make project BOARD=ia420f": "the tutorial runs its command",
    "make timing BOARD=ia420f": "minutes of synthesis; test_clock.py measures small configurations",
    "make demo PORT=sim": "a simulator of its own; test_host.py runs it on a small board",
    "make fuzz": "many minutes; test_fuzz.py runs a share of it",
    "make bitstream": "many minutes of placement and routing; test_gates.py tests parts of the flow",
    "make gates": "many minutes; runs test_gates.py",
    "make mutate": "many minutes; test_mutations.py looks at its list",
    "make scaling": "hours; test_scaling.py asks its tools",
    "make bench": "ten minutes; test_bench.py runs a small one",
    "make docs": "test_site.py builds it",
    "make report BOARD=ia420f MODEL=lstm_small": "the README runs its command",
    "spiccato report my_network.spiccato": "test_html_report.py and test_wheel.py make one of a program",
    "dask scheduler": "does not end; test_explore.py starts one",
    "dask worker tcp://HOST:8786 --nthreads 1": "does not end; test_explore.py starts a cluster",
    **dict.fromkeys(
        (
            "make explore BOARD=ia420f MODEL=lstm_small",
            "spiccato explore lstm_small --board ia420f",
            "spiccato explore lstm_small --board ia420f --write 31 my_board.py",
            "spiccato explore lstm_small --scheduler tcp://HOST:8786",
            "spiccato sim lstm_small --board my_board.py --weights int8",
        ),
        "minutes; test_explore.py does it with small boards",
    ),
    **dict.fromkeys(
        (
            "make sim BOARD=my_board.py",
            "spiccato bench --board my_board.py --model my_model.onnx",
            "spiccato boards --board my_board.py",
            "spiccato compile my_model.onnx --board my_board.py -o my_model.spiccato",
            "spiccato estimate my_model.onnx --board my_board.py",
            "spiccato lint --board my_board.py",
            "spiccato project --board my_board.py",
            "spiccato sim my_model.onnx --board my_board.py",
            "spiccato timing --board my_board.py",
            "spiccato verilog --board my_board.py",
        ),
        "test_registry.py does them with the page's board",
    ),
}


def a_copy(name):
    """A file of tests/fixtures."""
    return lambda path: shutil.copy(FIXTURES / name, path)


def a_state_dict(path):
    """A state dict that leaves a doubt: two linear layers in a row."""
    torch = pytest.importorskip("torch")
    model = torch.nn.ModuleDict(
        {"lstm": torch.nn.LSTM(5, 8), "fc1": torch.nn.Linear(8, 4), "fc2": torch.nn.Linear(4, 3)}
    )
    torch.save(model.state_dict(), path)


def a_classifier(path):
    """An ONNX model with a convolution in front of its layers, and a softmax behind them."""
    rng = np.random.default_rng(0)
    arrays = {"K": (5, 2, 3), "W": (1, 32, 5), "R": (1, 32, 8), "V": (8, 3)}
    nodes = [
        onnx.helper.make_node("Conv", ["x", "K"], ["filtered"], pads=[1, 1], name="conv"),
        onnx.helper.make_node("Transpose", ["filtered"], ["frames"], perm=[2, 0, 1]),
        onnx.helper.make_node("LSTM", ["frames", "W", "R"], ["", "h"], hidden_size=8, name="lstm"),
        onnx.helper.make_node("MatMul", ["h", "V"], ["scores"], name="linear"),
        onnx.helper.make_node("Softmax", ["scores"], ["y"], name="softmax"),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "classifier",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ("batch", 2, "steps"))],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, (1, "batch", 3))],
        [
            onnx.numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)
            for name, shape in arrays.items()
        ],
    )
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), path)


def a_series(path):
    """Inputs for the networks in tests/fixtures."""
    np.save(path, np.random.default_rng(0).standard_normal((20, 5)))


#: What the reader of a page is supposed to have: what writes it.
PRESENT = {
    "README.md": {
        "my_network.safetensors": a_copy("torch.safetensors"),
        "my_model.onnx": a_copy("torch_dynamo.onnx"),
        "other.onnx": a_copy("torch_script.onnx"),
        "x.npy": a_series,
    },
    "howto-import.md": {
        "my_model.onnx": a_copy("torch_dynamo.onnx"),
        "my_classifier.onnx": a_classifier,
        "my_model.pt": a_state_dict,
    },
    "howto-own-design.md": {"my_model.safetensors": a_copy("torch.safetensors")},
    "howto-report.md": {"my_network.safetensors": a_copy("torch.safetensors"), "x.npy": a_series},
    "howto-weight-format.md": {"my_model.safetensors": a_copy("torch.safetensors"), "x.npy": a_series},
}

#: Pages whose commands run the RTL.
SIMULATING = ("README.md", "tutorial.md")


@dataclass
class Block:
    """A fenced block: its language, its text, and its place for messages."""

    language: str
    text: str
    place: str


def blocks(page):
    """The blocks of a page in order."""
    fence = re.compile(r"^```(\S*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    text = page.read_text()
    return [
        Block(match[1], match[2], f"{page.name}:{text.count(chr(10), 0, match.start()) + 1}")
        for match in fence.finditer(text)
    ]


def commands(block):
    """The commands of a block, without comments; a backslash continues a line."""
    lines = (
        shlex.join(shlex.split(line, comments=True)) if "#" in line else line.strip()
        for line in block.text.replace("\\\n", " ").splitlines()
    )
    return [line for line in lines if line]


def recipe(command):
    """The commands that ``make ...`` runs; an error if there is no such target."""
    # --old-file: the environment is there; make called by make would add lines about its folder.
    done = subprocess.run(
        [*shlex.split(command), "--dry-run", "--no-print-directory", "--old-file=.venv/installed"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout.replace("\\\n", " ").splitlines()


def check_usage(command):
    """Have click parse a command, without running it."""
    words = shlex.split(command)
    if Path(words[0]).name == "spiccato":
        verb = main.commands[words[1]]
        # With the parent's settings: a verb keeps the names of its help option.
        verb.make_context(words[1], words[2:], parent=click.Context(main, **main.context_settings))


class Reader:
    """Somebody who does what a page says, in ``folder``."""

    def __init__(self, folder, build_folder):
        self.folder, self.namespace, self.printed, self.not_run = folder, {}, None, False
        (folder / ".venv").symlink_to(sys.prefix)
        (folder / "build").mkdir()
        (build_folder / "sim").mkdir(parents=True, exist_ok=True)
        (folder / "build" / "sim").symlink_to(build_folder / "sim")
        self.environment = os.environ | {
            "PATH": f"{folder / '.venv' / 'bin'}:{os.environ['PATH']}",
            "COLUMNS": "80",
            "PYTHONIOENCODING": "utf-8",
        }

    def shell(self, command):
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def sh(self, block):
        """Run the commands; or look at those that other tests run."""
        self.printed, self.not_run = "", False
        for command in commands(block):
            steps = recipe(command) if command.startswith("make ") else [command]
            if command in ELSEWHERE:
                for step in steps:
                    check_usage(step)
            else:
                self.printed += "".join(map(self.shell, steps))

    def python(self, block):
        """Run the statements; of PyTorch only where it is installed."""
        self.not_run = "import torch" in block.text and importlib.util.find_spec("torch") is None
        if self.not_run:
            return
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.chdir(self.folder):
            exec(compile(block.text, block.place, "exec"), self.namespace)
        self.printed = printed.getvalue()

    def text(self, block):
        """Compare with what was printed."""
        if self.not_run:
            return
        assert self.printed is not None, f"{block.place}: no block before this one"
        assert matches(block.text, self.printed), f"{block.place}: printed was\n{self.printed}"

    def toml(self, block):
        """Have it parsed; test_registry.py makes a package of it."""
        assert tomllib.loads(block.text)

    def verilog(self, block):
        """Have Verilator check it, around the smallest accelerator, whose Verilog the page has had written."""
        (self.folder / "my_design.v").write_text(block.text)
        waivers = importlib.resources.files("spiccato") / "lint.vlt"
        self.shell(
            shlex.join(
                [
                    verilator_executable(),
                    "--lint-only",
                    "-Wall",
                    "--quiet",
                    "-GB=4",
                    "--top-module",
                    "my_design",
                    str(waivers),
                    "my_design.v",
                    "-F",
                    "build/verilog/test4/files.f",
                ]
            )
        )


def matches(expected, printed):
    """Whether a text has the expected lines; spaces at their ends do not count."""
    parts = [re.escape(line.rstrip()) if line != "..." else "..." for line in expected.strip("\n").splitlines()]
    pattern = "".join(r"(.*\n)*?" if part == "..." else part + r"\n" for part in parts)
    return re.fullmatch(pattern, "".join(f"{line.rstrip()}\n" for line in printed.strip("\n").splitlines())) is not None


@pytest.fixture
def reader(request, tmp_path, build_folder):
    """The reader of a page, with what the page takes for granted."""
    for name, write in PRESENT.get(request.param, {}).items():
        write(tmp_path / name)
    # A page may add kinds of layers.
    with mock.patch.dict(KINDS), mock.patch.dict(EPILOGUES):
        yield Reader(tmp_path, build_folder)


@pytest.mark.parametrize(
    "reader, name",
    [
        pytest.param(name, name, id=name, marks=[pytest.mark.simulates, pytest.mark.long] * (name in SIMULATING))
        for name in PAGES
    ],
    indirect=["reader"],
)
def test_page(name, reader):
    """All blocks of a page, in order."""
    for block in blocks(PAGES[name]):
        run = {
            "sh": reader.sh,
            "python": reader.python,
            "text": reader.text,
            "toml": reader.toml,
            "verilog": reader.verilog,
        }
        assert block.language in run, f"{block.place}: {block.language or 'no'} language; known: {', '.join(run)}"
        run[block.language](block)


def test_list_of_what_runs_elsewhere():
    """It names nothing that is on no page."""
    assert set(ELSEWHERE) <= {
        command
        for page in PAGES.values()
        for block in blocks(page)
        if block.language == "sh"
        for command in commands(block)
    }


@pytest.mark.parametrize(
    "expected, printed, same",
    [
        ("a\nb\n", "a  \nb\n\n", True),
        ("a\n...\nd", "a\nb\nc\nd\n", True),
        ("a\n...\nd", "a\nd\n", True),
        ("a.c", "abc", False),
        ("a", "a\nb", False),
        ("a\n...", "b\na", False),
        ("", "a", False),
    ],
)
def test_matching(expected, printed, same):
    assert matches(expected, printed) == same

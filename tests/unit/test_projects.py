"""Vendor projects: complete, in proper Tcl, and, with stubs of the vendors' commands, run to the promised results."""

import dataclasses
import importlib.resources
import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from amaranth.hdl import Module
from amaranth.lib.wiring import connect
from amaranth.sim import Simulator
from click.testing import CliRunner
from tclint.parser import Parser

from paths import DATA
from spiccato.errors import ConfigError, SpiccatoError
from spiccato.registry import DEFAULT, configuration
from spiccato.rtl.control import Control
from spiccato_boards import boards, find
from spiccato_boards.flows.project import ProjectFlow, period_ns
from spiccato_boards.resources import estimate
from spiccato_boards.results import ResultError, compare, read_result
from spiccato_boards.shells.bringup import IdentityReader
from spiccato_cli import main
from spiccato_sim.benches.simulators import verilator_executable

TCL = (".tcl", ".qsf", ".sdc", ".xdc")
#: Boards with projects, each with one accelerator, which is quick to write.
SMALL = {
    name: dataclasses.replace(
        board,
        configurations={DEFAULT: dataclasses.replace(configuration("test4"), name=name, family=board.config.family)},
    )
    for name, board in boards().items()
    if isinstance(board.flow, ProjectFlow) and board.configuration == DEFAULT
}


@pytest.fixture(scope="module", params=SMALL)
def written(request, tmp_path_factory):
    """(board, folder, what write_project returned) of each board; the folder is not to be changed."""
    folder = tmp_path_factory.mktemp(request.param) / "project"
    return SMALL[request.param], folder, SMALL[request.param].flow.write_project(SMALL[request.param], folder)


@pytest.fixture
def project(written, tmp_path):
    """The same in a folder that may be changed."""
    board, folder, told = written
    return board, shutil.copytree(folder, tmp_path / "project"), told


#: A Tcl shell; tkinter's interpreter has no "exit".
TKINTER = """
import os, sys, tkinter
tcl = tkinter.Tcl()
tcl.createcommand("exit", lambda code="0": (tcl.eval("flush stdout"), os._exit(int(code))))
tcl.evalfile(sys.argv[1])
"""


def run_tcl(script, folder, target="", fail=None):
    """Run a script of a project with the vendor's commands stubbed: the finished process."""
    tool = "quartus" if (folder / "spiccato.qpf").exists() else "vivado"
    if shutil.which("tclsh"):
        command = ["tclsh"]
    else:
        if subprocess.run([sys.executable, "-c", "import tkinter; tkinter.Tcl()"], capture_output=True).returncode:
            pytest.skip("no Tcl interpreter: neither tclsh nor Python's tkinter is installed")
        command = [sys.executable, "-c", TKINTER]
    env = {**os.environ, "STUB_SCRIPT": str(folder / script), "STUB_ARGS": target}
    if fail:
        env["STUB_FAIL"] = fail
    # Not in the project's folder: the scripts go there themselves.
    return subprocess.run(
        [*command, str(DATA / f"{tool}_stubs.tcl")],
        cwd=folder.parent,
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )


def calls(done):
    return [line.removeprefix("CALL ") for line in done.stdout.splitlines() if line.startswith("CALL ")]


def test_tcl_syntax(written):
    _, folder, _ = written
    scripts = [path for path in folder.iterdir() if path.suffix in TCL]
    assert len(scripts) >= 5
    for path in scripts:
        parser = Parser()
        parser.parse(path.read_text())
        assert not parser.violations, path.name


def test_files_are_all_there_and_all_named(written):
    board, folder, told = written
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert files == set(told.files)
    modules = {name for name in files if name.startswith("rtl/") and name.endswith(".v")}
    assert modules == {f"rtl/{name}" for name in json.loads((folder / "rtl" / "spiccato.json").read_text())["files"]}
    lists = [(folder / "settings.tcl").read_text()]
    if board.family.name == "agilex7":
        lists += [path.read_text() for path in folder.glob("*.qsf")]
        assert f'-name DEVICE "{board.part}"' in lists[1] and '-name FAMILY "Agilex 7"' in lists[1]
        assert all(re.search(r'-name AUTO_SHIFT_REGISTER_RECOGNITION "?OFF\b', text) for text in lists[1:])
    for text in lists:
        assert set(re.findall(r"rtl/\w+\.v", text)) == modules
    assert board.part in lists[0]
    # What scripts and settings name is there.
    for name in files:
        if name.endswith(TCL):
            for other in re.findall(r"\bsource (\w+\.tcl)|\b(\w+\.(?:sdc|xdc|qsf))\b", (folder / name).read_text()):
                assert set(filter(None, other)) <= files, name
    assert set(told.targets) == set(re.search(r"set targets \{(.*)\}", lists[0])[1].split())


def test_attributes_are_those_of_the_tool(written):
    board, folder, _ = written
    texts = {path.stem: path.read_text() for path in (folder / "rtl").glob("*.v")}
    wanted = {
        "agilex7": ("M20K, no_rw_check", "MLAB", 'romstyle = "M20K"', "tennm_mac", 'multstyle = "dsp"'),
        "versal": ('ram_style = "block"', 'ram_style = "distributed"', 'rom_style = "block"', "DSP58", "DSP58"),
    }[board.family.name]
    kinds = ("ram_weights", "ram_output_queue", "rom_tanh_2", "dsp_gate_product", "dsp_interpolate_line")
    for kind, attribute in zip(kinds, wanted):
        assert attribute in texts[f"spiccato_{kind}"], kind
    foreign = "ram_style" if board.family.name == "agilex7" else "ramstyle"
    assert not [kind for kind, text in texts.items() if re.search(rf"\b{foreign}\b", text)]


#: Primitives of the vendor, which Verilator does not know.
PRIMITIVES = """\
module altera_agilex_config_reset_release_endpoint (output conf_reset);
  assign conf_reset = 0;
endmodule
module altera_std_synchronizer #(parameter depth = 2) (input clk, input reset_n, input din, output dout);
  reg [depth-1:0] stages;
  always @(posedge clk or negedge reset_n) if (!reset_n) stages <= 0; else stages <= {stages[depth-2:0], din};
  assign dout = stages[depth-1];
endmodule
"""


def test_tops_are_proper_verilog(project):
    """What is around the accelerator: no module, port or wire is missing, no width differs."""
    board, folder, told = project
    tops = {"bringup.v": "bringup", "card.v": "spiccato_card"}
    (folder / "primitives.v").write_text(PRIMITIVES)
    # What Amaranth writes itself: `x == 0` comes out as `!x`. What a mode of a DSP block does not use is left open.
    (folder / "amaranth.vlt").write_text(
        '`verilator_config\nlint_off -rule WIDTHTRUNC -file "*bringup.v" '
        '-match "*Logical operator LOGNOT expects 1 bit*"\n'
        'lint_off -rule PINMISSING -file "*spiccato_dsp_*"\n'
    )
    for file, top in tops.items():
        if file in told.files:
            extra = ["primitives.v"] if top == "bringup" else []
            extra.append(str(DATA / f"{'agilex' if board.family.name == 'agilex7' else 'xilinx'}_blocks.v"))
            with importlib.resources.as_file(importlib.resources.files("spiccato") / "lint.vlt") as waivers:
                done = subprocess.run(
                    [
                        verilator_executable(),
                        "--lint-only",
                        "-Wall",
                        "--quiet",
                        "-Wno-DECLFILENAME",
                        "-Wno-SYNCASYNCNET",
                        "--top-module",
                        top,
                        str(waivers),
                        "amaranth.vlt",
                        file,
                        *extra,
                        "-F",
                        "rtl/files.f",
                    ],
                    cwd=folder,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    check=False,
                )
            assert done.returncode == 0, done.stdout


def test_out_of_context_compile(project):
    """The default target, run with stubs: right constraint, right commands, and a result that reads back."""
    board, folder, told = project
    done = run_tcl("compile.tcl", folder)
    assert done.returncode == 0, done.stdout
    clock = f"create_clock -name clk -period {period_ns(board.config.clock_mhz)} clk"
    assert clock in calls(done)
    result = read_result(folder / "result_out_of_context.json")
    assert (result.board, result.part, result.configuration) == (board.name, board.part, board.config.name)
    assert (result.digest, result.tool, result.target) == (board.config.digest, board.flow.tool, "out_of_context")
    assert result.clock["target_mhz"] == board.config.clock_mhz
    if board.family.name == "agilex7":
        steps = [line.split()[0] for line in calls(done) if line.startswith("quartus_")]
        assert steps == ["quartus_syn", "quartus_fit", "quartus_sta", "quartus_sta"]
        pins = {line.split()[1] for line in calls(done) if line.endswith("VIRTUAL_PIN ON")}
        ports = json.loads((folder / "rtl" / "spiccato.json").read_text())["ports"]
        assert pins == {port["name"] + "[*]" * (port["bits"] > 1) for port in ports} - {"clk"}
        # The worst of the corners, and the first number of each cell.
        assert (result.clock["setup_slack_ns"], result.clock["hold_slack_ns"]) == (0.125, 0.011)
        assert (result.resources.logic, result.resources.registers) == (1234, 5678)
        assert (result.resources.dsp, result.resources.memory) == (90, {"m20k": 1112})
        assert result.clock["met"] and result.tool_version.startswith("Version 24.1")
    else:
        assert any(
            line.startswith("synth_design -top spiccato_accelerator -part xcv80-")
            and line.endswith("-mode out_of_context")
            for line in calls(done)
        )
        assert (result.clock["setup_slack_ns"], result.clock["hold_slack_ns"]) == (-0.25, 0.01)
        assert (result.resources.logic, result.resources.registers) == (116420, 233693)
        assert (result.resources.dsp, result.resources.memory) == (192, {"bram36": 87.5, "uram": 64})
        assert not result.clock["met"] and result.tool_version == "2024.1"
    assert result.clock["fmax_mhz"] == pytest.approx(
        1000 / (result.clock["period_ns"] - result.clock["setup_slack_ns"]), abs=0.001
    )


@pytest.mark.parametrize("name", SMALL)
def test_floorplan(name, tmp_path):
    """A region for each core, of those that there are, if one is asked for; none otherwise."""
    board = SMALL[name]
    config = dataclasses.replace(board.config, cores=4)
    regions = []
    for folder, floorplan in ((tmp_path / "with", True), (tmp_path / "without", False)):
        board.flow.write_project(board, folder, config, floorplan=floorplan)
        done = run_tcl("compile.tcl", folder)
        assert done.returncode == 0, done.stdout
        # Quartus reads the settings for each of its commands.
        regions.append(
            [line.split() for line in dict.fromkeys(calls(done)) if re.search(r"pblock|_REGION|REGION_NAME", line)]
        )
        if board.flow.tool == "Vivado":
            done = run_tcl("device_image.tcl", folder)
            assert done.returncode == 0, done.stdout
            assert ("add_files -fileset constrs_1 -norecurse floorplan.tcl" in calls(done)) == floorplan
    planned, none = regions
    assert none == []
    cores = [f"core_{number}" for number in range(4)]
    # Their names in the Verilog.
    accelerator = (tmp_path / "with" / "rtl" / "spiccato_accelerator.v").read_text()
    assert re.findall(r"^  spiccato_core (\w+) \(", accelerator, re.MULTILINE) == cores
    if board.flow.tool == "Vivado":
        assert [line[-1] for line in planned if line[0] == "create_pblock"] == cores
        assert [line[1:] for line in planned if line[0] == "add_cells_to_pblock"] == [
            [core, f"accelerator/{core}"] for core in cores
        ]
        assert [line[1:] for line in planned if line[0] == "resize_pblock"] == [
            [core, "-add", region] for core, region in zip(cores, ("SLR0", "SLR0", "SLR1", "SLR2"))
        ]
    else:
        assert [line[1:] for line in planned] == [
            [core, *assignment]
            for core in cores
            for assignment in (("REGION_NAME", core), ("FLOATING_REGION", "AUTO"), ("RESERVE_PLACE_REGION", "OFF"))
        ]


def test_other_targets(project):
    """What ends in a configuration file or a device image, run with stubs."""
    board, folder, told = project
    for target in told.targets[1:]:
        script = "compile.tcl" if board.flow.tool == "Quartus Prime Pro" else f"{target}.tcl"
        done = run_tcl(script, folder, target)
        assert done.returncode == 0, done.stdout
        result = read_result(folder / f"result_{target}.json")
        assert result.target == target
        if target == "bringup":
            assert result.clock["target_mhz"] == 50
            assert any(line.startswith("quartus_asm ") for line in calls(done))
            pins = dict(line.split()[1:] for line in calls(done) if line.startswith("set_location_assignment"))
            assert pins == {"clk50_0__io": "PIN_DC52", "led_green_0__io": "PIN_CU48", "led_red_0__io": "PIN_CT49"}
            assert any(line.startswith("create_clock") and "-period 20.0" in line for line in calls(done))
        else:
            assert any("write_device_image" in line for line in calls(done))
            # Both ends of each stream and of the control port exist in the module that is placed.
            card = (folder / "card.v").read_text()
            ends = re.findall(r"\bcard/(\w+)", done.stdout)
            assert {end for end in ends if not re.search(rf"\b{end}(_\w+)?\b", card)} == set()
    expected = {"ia420f": 2, "ia840f": 1, "v80": 2}
    assert len(told.targets) == len(told.commands) == expected[board.name]


def test_a_step_that_fails_ends_the_script(project):
    board, folder, told = project
    quartus = board.flow.tool == "Quartus Prime Pro"
    done = run_tcl("compile.tcl" if quartus else "device_image.tcl", folder, fail="quartus_fit" if quartus else "yes")
    assert done.returncode == 1
    assert ("quartus_fit" if quartus else "implementation failed") in done.stdout
    assert not list(folder.glob("result_*.json"))
    if quartus:
        done = run_tcl("compile.tcl", folder, "bitstream")
        assert done.returncode == 2 and 'unknown target "bitstream"; known: out_of_context' in done.stdout


def test_missing_rows_become_null(project):
    """A report without a row that is asked for does not cost the other figures."""
    board, folder, _ = project
    path = folder / "report.tcl"
    path.write_text(path.read_text().replace("*M20K*", "*M99K*").replace("{URAM}", "{URAM9}"))
    done = run_tcl("compile.tcl", folder)
    assert done.returncode == 0 and "no row" in done.stdout
    result = read_result(folder / "result_out_of_context.json")
    assert None in result.resources.memory.values() and result.resources.dsp


def test_comparison(project):
    board, folder, _ = project
    run_tcl("compile.tcl", folder)
    result = read_result(folder / "result_out_of_context.json")
    rows = {name: values for name, *values in compare(result, board)}
    assert rows["DSP blocks"] == [result.resources.dsp, estimate(board.config, board).dsp, board.resources.dsp]
    assert rows["clock, MHz"][1] == board.config.clock_mhz
    assert {kind.upper() for kind in board.family.memory} < set(rows)
    with pytest.raises(ResultError, match=rf"for configuration {board.name} \(\w+\), not for {board.name}"):
        compare(result, find(board.name))
    with pytest.raises(ResultError, match=f"the result is for {board.name}, not for"):
        compare(result, next(other for other in boards().values() if other.name != board.name))


RESULT = {
    "schema": 1,
    "board": "ia420f",
    "part": "AGFB014R24B2E2V",
    "configuration": "ia420f",
    "digest": configuration("ia420f").digest,
    "tool": "Quartus Prime Pro",
    "tool_version": "24.1",
    "target": "out_of_context",
    "clock": {
        "target_mhz": 320,
        "period_ns": 3.125,
        "setup_slack_ns": 0.1,
        "hold_slack_ns": None,
        "fmax_mhz": 330.6,
        "met": True,
    },
    "resources": {"logic": 1, "registers": None, "dsp": 3, "memory": {"m20k": 4}},
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, "not a result of schema 1"),
        ({"board": "u250"}, "unknown board 'u250'"),
        ({"board": "x.py"}, "unknown board 'x.py'; known: ulx3s, ulx3s-fast, ulx3s-kinds, ia420f"),
        ({"part": "AGFB027R25A2E2V"}, "the part of ia420f is AGFB014R24B2E2V, not AGFB027R25A2E2V"),
        ({"target": 7}, "target must not be 7"),
        ({"clock": 7}, "clock is not an object"),
        ({"clock": RESULT["clock"] | {"met": 1}}, "clock: met must not be 1"),
        ({"clock": RESULT["clock"] | {"fmax_mhz": True}}, "clock: fmax_mhz must not be true"),
        ({"resources": {"logic": 1}}, "resources: registers is missing"),
        ({"resources": RESULT["resources"] | {"memory": {"uram": 1}}}, "memory: m20k is missing"),
        ({"extra": 1}, "unknown member extra"),
    ],
)
def test_results_that_are_refused(change, message, tmp_path):
    path = tmp_path / "result.json"
    path.write_text(json.dumps(RESULT))
    assert read_result(path).resources.memory == {"m20k": 4}
    path.write_text(json.dumps(RESULT | change))
    with pytest.raises(SpiccatoError, match=re.escape(message)):
        read_result(path)


def test_result_files_that_are_none(tmp_path):
    with pytest.raises(ResultError, match="No such file"):
        read_result(tmp_path / "none.json")
    (tmp_path / "text.json").write_text("timing met")
    with pytest.raises(ResultError, match="not JSON"):
        read_result(tmp_path / "text.json")


@pytest.mark.parametrize(("clock_mhz", "period"), [(320, 3.125), (300, 3.333), (350, 2.857)])
def test_period_is_never_longer_than_the_clock(clock_mhz, period):
    assert period_ns(clock_mhz) == period <= 1000 / clock_mhz


def test_refusals(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(SpiccatoError, match="was not written by this generator"):
        SMALL["v80"].flow.write_project(SMALL["v80"], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(ConfigError, match="does not fit BittWare IA-420F"):
        find("ia420f").flow.write_project(find("ia420f"), tmp_path / "project", configuration("ia840f"))
    assert not (tmp_path / "project").exists()


@pytest.mark.parametrize("written", ["v80"], indirect=True)
def test_old_results_do_not_survive_a_new_project(project):
    board, folder, told = project
    (folder / "result_out_of_context.json").write_text("old")
    board.flow.write_project(board, folder)
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == set(told.files)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["project", "--board", "u250"],
            "unknown board 'u250'; known: ia420f, ia420f-fast, ia420f-kinds, ia420f-windows",
        ),
        (["project", "--compare", "none.json"], "none.json: No such file"),
    ],
)
def test_command_refuses(arguments, message):
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1 and message in result.output and "Traceback" not in result.output


def test_command(tmp_path):
    """A real board, through the command line; then a result beside the estimates."""
    done = CliRunner().invoke(main, ["project", "--board", "v80", "-o", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "vivado -mode batch -source compile.tcl" in done.output
    folder = tmp_path / "v80"
    assert "-period 3.333 " in (folder / "out_of_context.xdc").read_text()
    assert 'ram_style = "ultra"' in (folder / "rtl" / "spiccato_ram_weights.v").read_text()
    noted = json.loads((folder / "rtl" / "spiccato.json").read_text())["resources"]
    needed = estimate(configuration("v80"), find("v80"))
    assert noted["estimate"] == needed.counts and noted["registers"] == needed.registers
    path = tmp_path / "result.json"
    path.write_text(json.dumps(RESULT))
    done = CliRunner().invoke(main, ["project", "--board", "ia420f", "--compare", str(path)])
    assert done.exit_code == 0, done.output
    assert "330.6" in done.output and "3,456" in done.output


def test_identity_reader_finds_the_accelerator():
    """Against the accelerator's own control; the light goes out when another answers."""
    m = Module()
    m.submodules.reader = reader = IdentityReader()
    m.submodules.control = control = Control(configuration("test4"))
    connect(m, reader.axil, control.axil)

    async def bench(ctx):
        assert not ctx.get(reader.found)
        for _ in range(20):
            await ctx.tick()
        answers = 0
        for _ in range(40):
            assert ctx.get(reader.found)
            answers += ctx.get(reader.axil.rvalid)
            await ctx.tick()
        assert answers > 2

    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()

"""The simulation runner, by its own small test bench; and that it notices every way to fail."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import pytest

from paths import BUILD

pytest.importorskip("cocotb_tools")

from spiccato.registry import configuration
from spiccato_sim.benches.runner import build, run
from spiccato_sim.benches.simulators import SimulationError, icarus_available

needs_icarus = pytest.mark.skipif(not icarus_available(), reason="Icarus Verilog (iverilog) is not installed")


@pytest.mark.parametrize(
    "simulator, name",
    [
        ("verilator", "test4"),
        ("verilator", "test8"),
        pytest.param("icarus", "test4", marks=needs_icarus),
        pytest.param("icarus", "test8", marks=needs_icarus),
    ],
)
def test_smoke(simulator, name, tmp_path):
    built = build(configuration(name), simulator=simulator, folder=BUILD)
    assert built.side_car["digest"] == configuration(name).digest
    results = run(built, "spiccato_sim.benches.tb_smoke", results_dir=tmp_path, seed=1)
    assert {result.name for result in results} == {"identity", "refusals", "not_ready_without_program"}


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a test module for the simulator and returns its name."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(name, text):
        (tmp_path / f"{name}.py").write_text(text)
        return name

    return write


@pytest.fixture(scope="module")
def test4():
    return build(configuration("test4"), folder=BUILD)


def test_no_test_is_a_failure(test4, module, tmp_path):
    name = module("tb_empty", "import cocotb\n")
    with pytest.raises(SimulationError, match=r"tb_empty on 1x4-verilator.*: .*No tests.*; log: .*simulation\.log"):
        run(test4, name, results_dir=tmp_path / "results")


@pytest.mark.parametrize("simulator", ["verilator", pytest.param("icarus", marks=needs_icarus)])
def test_no_test_chosen_is_a_failure(simulator, tmp_path):
    """For cocotb itself, this is a success."""
    built = build(configuration("test4"), simulator=simulator, folder=BUILD)
    with pytest.raises(SimulationError, match="no test ran; log: "):
        run(built, "spiccato_sim.benches.tb_smoke", results_dir=tmp_path, env={"COCOTB_TEST_FILTER": "no such"})


def test_failing_test_is_named(test4, module, tmp_path):
    name = module(
        "tb_failing",
        """
import cocotb
from cocotb.triggers import Timer

@cocotb.test
async def fine(dut):
    await Timer(1, "ns")

@cocotb.test
async def sour_note(dut):
    await Timer(1, "ns")
    assert dut.rst.value == 2
""",
    )
    with pytest.raises(SimulationError, match="1 of 2 tests failed: sour_note; log: "):
        run(test4, name, results_dir=tmp_path / "results")


def test_module_that_does_not_exist(test4, tmp_path):
    with pytest.raises(SimulationError, match="ModuleNotFoundError: No module named 'tb_nowhere'; log: "):
        run(test4, "tb_nowhere", results_dir=tmp_path / "results")


def test_simulator_that_dies(test4, module, tmp_path):
    name = module(
        "tb_dying",
        """
import os, cocotb

@cocotb.test
async def die(dut):
    os._exit(3)
""",
    )
    with pytest.raises(SimulationError, match="return code: 3; log: "):
        run(test4, name, results_dir=tmp_path / "results")


def test_results_of_an_earlier_run_do_not_count(test4, module, tmp_path):
    run(test4, "spiccato_sim.benches.tb_smoke", results_dir=tmp_path / "results")
    with pytest.raises(SimulationError):
        run(test4, "tb_nowhere", results_dir=tmp_path / "results")


def test_same_build_is_found_again(test4):
    binary = next(path for path in test4.folder.iterdir() if path.is_file())
    before = binary.stat().st_mtime_ns
    assert build(configuration("test4"), folder=BUILD) == test4
    assert binary.stat().st_mtime_ns == before


def test_run_time_library_is_kept(test4):
    """The objects of Verilator's run-time library, for the next simulator that is built."""
    kept = {path.stem for path in test4.folder.parent.glob("library-*/*.o")}
    assert {"verilated", "verilated_vpi"} <= kept


def test_only_the_ports_are_visible(test4, module, tmp_path):
    name = module(
        "tb_ports",
        """
import cocotb, json, os
from cocotb.triggers import Timer

@cocotb.test
async def ports(dut):
    await Timer(1, "ns")
    names = {handle._name for handle in dut}
    wanted = set(os.environ["PORTS"].split())
    assert wanted == {name for name in names if name in wanted}, wanted - names
    assert names == wanted, names - wanted
""",
    )
    ports = " ".join(port["name"] for port in test4.side_car["ports"])
    run(test4, name, results_dir=tmp_path / "results", env={"PORTS": ports})


def test_waves_need_their_build(test4, tmp_path):
    with pytest.raises(SimulationError, match="cannot record waves"):
        run(test4, "spiccato_sim.benches.tb_smoke", results_dir=tmp_path, waves=True)


@pytest.mark.long
@pytest.mark.parametrize("simulator", ["verilator", pytest.param("icarus", marks=needs_icarus)])
def test_waves(simulator, tmp_path):
    built = build(configuration("test4"), simulator=simulator, waves=True, folder=BUILD)
    run(built, "spiccato_sim.benches.tb_smoke", results_dir=tmp_path, waves=True)
    waves = tmp_path / ("dump.vcd" if simulator == "verilator" else "dump.fst")
    assert waves.stat().st_size > 1000
    if simulator == "verilator":
        assert "$scope module unit_0 " in waves.read_text()


def test_waves_are_not_recorded_unasked(test4, tmp_path, monkeypatch):
    """``make sim WAVES=1`` puts the variable into the environment, where cocotb's runner would see it."""
    monkeypatch.setenv("WAVES", "1")
    run(test4, "spiccato_sim.benches.tb_smoke", results_dir=tmp_path)
    assert not list(tmp_path.glob("dump.*"))


@needs_icarus
def test_processes_that_build_the_same(tmp_path):
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        first, second = pool.map(_build_icarus, [tmp_path] * 2)
    assert first == second
    assert not list(tmp_path.rglob("*.partial"))
    run(first, "spiccato_sim.benches.tb_smoke", results_dir=tmp_path / "results")


def _build_icarus(folder):
    return build(configuration("test4"), simulator="icarus", folder=folder)


def test_unknown_simulator():
    with pytest.raises(SimulationError, match="unknown simulator 'modelsim'"):
        build(configuration("test4"), simulator="modelsim", folder=BUILD)

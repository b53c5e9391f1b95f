"""The clock discipline of the generated hardware, and how far its signals reach, on the synthesised netlist.

The presets that take longer are what ``make timing`` measures.
"""

import dataclasses
import re

import pytest
from amaranth.hdl import ResetSignal

from spiccato.config import Config
from spiccato.families import FAMILIES
from spiccato.registry import configuration
from spiccato.rtl import broadcast
from spiccato.rtl.accelerator import Accelerator
from spiccato.rtl.serial import lane, link
from spiccato.rtl.serial.reader import Reader
from spiccato.rtl.serial.system import SerialSystem
from spiccato.verilog import write_verilog
from spiccato_sim.checks.depth import Rules, judge, synthesise
from spiccato_sim.checks.reach import count

SMALL = configuration("test8")
MEDIUM = Config(name="medium", cores=5, block=16, io_format="float32", weight_depth=1024)
#: That of the smallest one is a serial system.
SERIAL = configuration("test4")
DESIGNS = [
    *(
        dataclasses.replace(config, profile=profile)
        for config in (SERIAL, SMALL)
        for profile in FAMILIES[config.family].profiles
    ),
    MEDIUM,
]


def top(config):
    return SerialSystem(config, clocks_per_bit=100) if config.name == SERIAL.name else Accelerator(config)


def synthesised(part, folder):
    """The netlist of a part that has a configuration."""
    return synthesise(write_verilog(part.config, folder, top=part)["files"], part.module)


@pytest.fixture(scope="module")
def design(request, tmp_path_factory):
    """A top part and its netlist."""
    part = top(request.param)
    return part, synthesised(part, tmp_path_factory.mktemp("verilog") / request.param.label)


def each_design(*configs):
    return pytest.mark.parametrize("design", configs, ids=lambda config: config.label, indirect=True, scope="module")


def reach(part, netlist):
    cores = 0 if isinstance(part, link.Link) else part.config.cores
    return count(netlist, part.module, FAMILIES[part.config.family], part.config.stages, cores=cores)


@pytest.mark.long
@each_design(*DESIGNS)
def test_discipline(design):
    """One DSP stage, one adder or three LUT levels between registers; multipliers and memories registered.

    And no register drives more than its profile allows.
    """
    report = judge(design[1], design[0].module)
    assert report.ok, "\n".join(map(str, report.violations))
    # Not blind: the parts that the rules are about are there.
    assert sum(m.multipliers * m.instances for m in report.modules.values()) > 20
    assert sum(m.memories * m.instances for m in report.modules.values()) > 20

    report = reach(*design)
    assert report.ok, "\n".join(report.violations)
    # Not blind: what is widest takes a good part of what is allowed.
    assert max(width.reach.registers for width in report.widths) > report.limit.registers / 2
    assert max(width.reach.blocks for width in report.widths) >= report.limit.blocks / 4


@each_design(SMALL)
@pytest.mark.parametrize("tighter", [{"lut_levels": 1}, {"carry_bits": 40}])
def test_tighter_rules_are_broken(design, tighter):
    """The same design does not pass rules that it does not keep."""
    assert not judge(design[1], design[0].module, dataclasses.replace(Rules(), **tighter)).ok


@pytest.mark.long
def test_a_wider_broadcast_reaches_too_far(monkeypatch, tmp_path):
    """One register in the place of each tree."""
    monkeypatch.setattr(broadcast.DelayLine, "spread", lambda line, cycle, number, name=None: [line.at(cycle)] * number)
    part = Accelerator(SMALL)
    report = reach(part, synthesised(part, tmp_path / "verilog"))
    assert any(re.match(r"core_0\.\w+\.load_addr\w*\[0\]: reaches", line) for line in report.violations), (
        report.violations
    )


class SharedReader(Reader):
    """All users see the same register."""

    def __init__(self, m, addr, users):
        super().__init__(m, addr)
        self.settled *= users


@pytest.mark.long
@pytest.mark.parametrize(
    "module, name, wider, driver",
    [
        pytest.param(
            lane, "copies", lambda m, name, value, number: [value] * number, r"step\.output_\d+\.load", id="lanes"
        ),
        pytest.param(link, "held_reset", lambda m, name: ResetSignal(), "input rst", id="reset"),
        pytest.param(link, "Reader", SharedReader, "settled_0", id="state"),
    ],
)
def test_a_link_without_registers_in_between_reaches_too_far(monkeypatch, tmp_path, module, name, wider, driver):
    """One register where there is one for each part or lane."""
    part = link.Link(configuration("test4", profile="conservative"), watchdog=1000)
    report = reach(part, synthesised(part, tmp_path / "verilog"))
    assert report.ok, "\n".join(report.violations)
    monkeypatch.setattr(module, name, wider)
    report = reach(part, synthesised(part, tmp_path / "wider"))
    assert any(re.match(f"{driver}: reaches", line) for line in report.violations), report.violations


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
    part = Accelerator(SMALL)
    assert any(": reaches" in line for line in reach(part, synthesise(files, part.module)).violations)


@pytest.mark.long
@pytest.mark.parametrize("profile", ["aggressive", "conservative"])
def test_equal_registers_of_cores(profile, tmp_path):
    """Without borders between modules, so that what is equal in several cores is merged: each keeps what it needs."""
    config = configuration("test8", profile=profile)
    part = Accelerator(config)
    files = write_verilog(config, tmp_path / "verilog")["files"]
    report = reach(part, synthesise(files, part.module, Rules(flatten_cells=10**9)))
    assert report.ok, "\n".join(report.violations)
    # Not blind: cores and what is between them are there.
    assert {("core_0", "rest"), ("rest", "core_1")} <= report.crossings.keys()

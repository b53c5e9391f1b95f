"""The clock discipline of the generated hardware, measured on the synthesised netlist."""

import dataclasses

import pytest

from spiccato.config import Config
from spiccato.registry import configuration
from spiccato.verilog import write_verilog
from spiccato_sim.checks.depth import Rules, judge, synthesise

SMALL = configuration("test8")
MEDIUM = Config(name="medium", cores=5, block=16, io_format="float32", weight_depth=1024)


@pytest.fixture(scope="module")
def netlist(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("verilog") / request.param.name
    return synthesise(write_verilog(request.param, folder)["files"], "spiccato_accelerator")


def each_netlist(*configs):
    return pytest.mark.parametrize("netlist", configs, ids=lambda config: config.name, indirect=True, scope="module")


@pytest.mark.long
@each_netlist(SMALL, MEDIUM)
def test_discipline(netlist):
    """One DSP stage, one adder or three LUT levels between registers; multipliers and memories registered."""
    report = judge(netlist, "spiccato_accelerator")
    assert report.ok, "\n".join(map(str, report.violations))
    # Not blind: the parts that the rules are about are there.
    assert sum(m.multipliers * m.instances for m in report.modules.values()) > 100
    assert sum(m.memories * m.instances for m in report.modules.values()) > 20


@each_netlist(SMALL)
@pytest.mark.parametrize("tighter", [{"lut_levels": 1}, {"carry_bits": 40}])
def test_tighter_rules_are_broken(netlist, tighter):
    """The same design does not pass rules that it does not keep."""
    assert not judge(netlist, "spiccato_accelerator", dataclasses.replace(Rules(), **tighter)).ok

"""The clock discipline of the generated hardware, measured on the synthesised netlist."""

import dataclasses

import pytest
from spiccato.config import PRESETS, Config
from spiccato.verilog import write_verilog
from spiccato_sim.timing import Rules, check

SMALL = PRESETS["test8"]
MEDIUM = Config(name="medium", cores=5, block=16, io_format="float32", weight_depth=1024)


@pytest.fixture(scope="module", params=[SMALL, MEDIUM], ids=["small", "medium"])
def files(request, tmp_path_factory):
    return write_verilog(request.param, tmp_path_factory.mktemp("verilog") / request.param.name)["files"]


def test_discipline(files):
    """One DSP stage, one adder or three LUT levels between registers; multipliers and memories registered."""
    report = check(files, "spiccato_accelerator")
    assert report.ok, "\n".join(map(str, report.violations))
    # Not blind: the parts that the rules are about are there.
    assert sum(m.multipliers * m.instances for m in report.modules.values()) > 100
    assert sum(m.memories * m.instances for m in report.modules.values()) > 20


def test_tighter_rules_are_broken(tmp_path):
    """The same design does not pass rules that it does not keep."""
    files = write_verilog(SMALL, tmp_path / "verilog")["files"]
    report = check(files, "spiccato_accelerator", dataclasses.replace(Rules(), lut_levels=1, carry_bits=40))
    assert not report.ok

"""Trees of registers: when they show what, and that no tool merges them."""

import json
import pkgutil
import re
import subprocess

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from spiccato.families import FAMILIES
from spiccato.registry import find
from spiccato.rtl.broadcast import DelayLine
from spiccato.rtl.part import Part
from spiccato.verilog.library import VerilogLibrary
from spiccato_boards.flows.tools import tool_command

pytestmark = pytest.mark.fast


class Spread(Part):
    """A value in cycle 2, on ``number`` registers in ``cycle``."""

    def __init__(self, number, cycle):
        self.number, self.cycle = number, cycle
        super().__init__("spread", {"a": In(4), **{f"y{i}": Out(4) for i in range(number)}})

    def elaborate(self, platform):
        m = Module()
        line = DelayLine(m, "line", self.a, 2)
        for i, leaf in enumerate(line.spread(self.cycle, self.number)):
            m.d.comb += getattr(self, f"y{i}").eq(leaf)
        return m


@pytest.mark.parametrize(("number", "cycle"), [(1, 3), (5, 3), (9, 4), (64, 5), (100, 4), (8, 7), (30, 6)])
def test_cycles(number, cycle):
    part = Spread(number, cycle)
    simulator = Simulator(part)
    simulator.add_clock(1e-6)

    async def bench(ctx):
        for step in range(cycle + 10):
            ctx.set(part.a, step % 16)
            if step >= cycle:
                # What was there `cycle - 2` cycles ago, on each of them.
                assert {ctx.get(getattr(part, f"y{i}")) for i in range(number)} == {(step - cycle + 2) % 16}
            await ctx.tick()

    simulator.add_testbench(bench)
    simulator.run()


def register_bits(tmp_path, text):
    """Register bits that yosys leaves of a module."""
    (tmp_path / "part.v").write_text(text)
    script = "read_verilog part.v; prep -flatten; opt_merge; opt_clean; write_json part.json"
    subprocess.run([*tool_command("yosys"), "-q", "-p", script], cwd=tmp_path, check=True)
    (module,) = json.loads((tmp_path / "part.json").read_text())["modules"].values()
    return sum(len(cell["connections"]["Q"]) for cell in module["cells"].values() if cell["type"] == "$dff")


@pytest.mark.parametrize("family", FAMILIES)
def test_no_tool_merges_them(tmp_path, family):
    """Every register of a tree is there after yosys' merging, in all families' Verilog; and no longer if told so."""
    text = VerilogLibrary(family).add(Spread(20, 4))
    # Twenty leaves, fed by three.
    assert text.count(f"(* {FAMILIES[family].style.copy} *)\n") == 23
    assert register_bits(tmp_path, text) == 4 * 23
    assert register_bits(tmp_path, text.replace("(* keep *) always", "always")) == 4 * 2


@pytest.mark.parametrize(
    "board, told",
    [
        ("ia420f", {"dont_merge", "preserve_syn_only"}),
        ("v80", {'keep = "true"', 'shreg_extract = "no"'}),
        ("ulx3s", {"keep"}),
    ],
)
def test_vendors_tools_are_told(board, told):
    """By what their documents call it, in the Verilog that a board's project gets."""
    family = find(board).config.family
    text = pkgutil.resolve_name(FAMILIES[family].library)(family).add(Spread(20, 4))
    assert re.findall(r"\(\* (.*) \*\)\n", text).count(", ".join(sorted(told))) == 23


def test_no_time_no_tree():
    m = Module()
    with pytest.raises(ValueError, match="no cycle for a register between 3 and 3"):
        DelayLine(m, "line", Signal(), 3).spread(3, 2)

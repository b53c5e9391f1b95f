"""CONTRIBUTING.md can be followed."""

import re
import sys
import types

import pytest

from paths import ROOT
from spiccato.verilog.library import VerilogLibrary

pytestmark = pytest.mark.fast

TEXT = (ROOT / "CONTRIBUTING.md").read_text()


def test_add_a_small_part(monkeypatch):
    """The part of the recipe passes the recipe's test, and becomes Verilog."""
    source, test = re.findall(r"^```python\n(.*?)^```$", TEXT, re.S | re.M)
    name = re.search(r"`hdl/(spiccato/rtl/\w+)\.py`:", TEXT)[1].replace("/", ".")
    module = types.ModuleType(name)
    module.__package__ = name.rpartition(".")[0]
    monkeypatch.setitem(sys.modules, name, module)
    exec(compile(source, name, "exec"), vars(module))
    names = {}
    exec(compile(test, "recipe", "exec"), names)
    for bits in (2, 18):
        for seed in (1, 2):
            names["test_saturating_adder"](bits, seed)
    text = VerilogLibrary().add(module.SaturatingAdder(18))
    assert "module spiccato_saturating_adder_18" in text and "// Latency in cycles: 1." in text
    # A wrong model is noticed.
    monkeypatch.setattr(module.SaturatingAdder, "compute", lambda self, a, b: a + b)
    with pytest.raises(AssertionError):
        names["test_saturating_adder"](18, 1)


def test_commands_and_marks():
    """Targets of make exist, and marks are those that pytest knows."""
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"`make (\w+)", TEXT)) <= targets
    marks = re.findall(r'^  "(\w+): ', (ROOT / "pyproject.toml").read_text(), re.M)
    assert set(re.findall(r"`(\w+)` \(", TEXT[TEXT.index("Marks:") : TEXT.index("## Style")])) == set(marks)
    for path in re.findall(r"\]\((?!https?:)([^)#]+)", TEXT):
        assert (ROOT / path).exists(), path


def test_docstrings_are_numpydoc():
    """Sections have numpydoc's names, underlined; none is written as ``Parameters:``."""
    known = {"Parameters", "Returns", "Yields", "Raises", "Attributes", "Notes", "References", "Examples"}
    for folder in ("hdl", "sim", "boards", "tests"):
        for file in (ROOT / folder).rglob("*.py"):
            text = file.read_text()
            sections = re.findall(r"^ *(\w[\w ]*)\n *-{3,}$", text, re.M)
            assert set(sections) <= known, file
            assert not re.search(r"^ +(Args|Parameters|Returns|Yields|Raises|Attributes|Members):$", text, re.M), file

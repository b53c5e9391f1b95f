"""How parts are put together: one module for each kind, and the same parts without a library."""

import gc

import pytest
from amaranth.hdl import Module
from amaranth.lib.wiring import In, Out, Signature

from spiccato.registry import configuration
from spiccato.rtl.accelerator import Accelerator
from spiccato.rtl.activation import Interpolate
from spiccato.rtl.axi import AxiLite, AxiStream
from spiccato.rtl.core import Core
from spiccato.rtl.dsp import Registers
from spiccato.rtl.memory import DistributedRam, Ram
from spiccato.rtl.part import Part, place, ports
from spiccato.verilog.library import VerilogLibrary
from spiccato_boards.resources import census
from spiccato_boards.ulx3s import ULX3SPlatform

#: Modules whose elaboration ends with an error are never used.
pytestmark = pytest.mark.filterwarnings(
    "ignore::amaranth.hdl.UnusedElaboratable", "ignore::pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture(autouse=True)
def unused_modules_end_here():
    """Not in a later test, whose fault their warnings are not."""
    yield
    gc.collect()


class Pair(Part):
    """Two parts side by side."""

    def __init__(self, first, second):
        self.placed = first, second
        super().__init__("pair", {"a": In(1), "y": Out(1)})

    def elaborate(self, platform):
        m = Module()
        for name, part in zip(("first", "second"), self.placed):
            place(m, name, part)
        return m


class Nested(Part):
    """A part of any ports."""

    def __init__(self, members):
        super().__init__("nested", members)


@pytest.mark.parametrize(
    "first, second, differing",
    [
        (Ram("ram_x", width=8, depth=16), Ram("ram_x", width=8, depth=32), "depth 16 and 32"),
        (Ram("ram_x", width=8, depth=16), Ram("ram_x", width=8, depth=16, style="ultra"), "style 'block' and 'ultra'"),
        (Ram("ram_x", width=8, depth=16), DistributedRam("ram_x", width=8, depth=16), "Ram and DistributedRam"),
        (
            Interpolate("tanh"),
            Interpolate("tanh", Registers(product=True)),
            r"registers Registers\(.*\) and Registers\(.*\)",
        ),
    ],
)
def test_different_hardware_of_one_kind_is_refused(first, second, differing):
    with pytest.raises(ValueError, match=rf"two different parts of kind '\w+' \({differing}\)") as raised:
        VerilogLibrary().add(Pair(first, second))
    assert "\n" not in str(raised.value)


def test_equal_hardware_is_one_module():
    library = VerilogLibrary()
    text = library.add(Pair(Ram("ram_x", width=8, depth=16), Ram("ram_x", width=8, depth=16, banks=1)))
    assert list(library.modules) == ["spiccato_ram_x", "spiccato_pair"]
    assert "  spiccato_ram_x first (" in text and "  spiccato_ram_x second (" in text
    # What the instances' ports are connected to is named after them.
    library = VerilogLibrary()
    assert "accumulator_0__value" in library.add(Core(configuration("test4")))


def test_names_of_ports():
    """Members of interfaces have the interface's name in front, with one underscore; clock and reset are taken."""
    assert list(ports(Nested({"s_axil": In(AxiLite())})))[:2] == ["s_axil_awaddr", "s_axil_awprot"]
    for members, name in (
        ({"s": In(AxiStream(8)), "s_tdata": In(1)}, "s_tdata"),
        ({"a": Out(Signature({"b_c": In(1)})), "a_b": Out(Signature({"c": In(1)}))}, "a_b_c"),
        ({"rst": In(1)}, "rst"),
    ):
        with pytest.raises(ValueError, match=f"part of kind 'nested': two ports are called {name}$"):
            Nested(members)


def test_a_library_ends_with_its_conversion():
    """Parts that are elaborated afterwards are whole again."""
    pair = Pair(Ram("ram_x", width=8, depth=16), Ram("ram_y", width=8, depth=16))
    VerilogLibrary().add(pair)
    with pytest.raises(ValueError, match="two different"):
        VerilogLibrary().add(Pair(Ram("ram_x", width=8, depth=16), Ram("ram_x", width=9, depth=16)))
    assert isinstance(pair.elaborate(None)._named_submodules["first"][0], Ram)


def test_accelerator_on_a_platform():
    """Amaranth's own way to a device: its memories, no library."""
    platform = ULX3SPlatform()
    plan = platform.prepare(Accelerator(configuration("test4")), "top", emit_src=False)
    text = plan.files["top.il"]
    assert "top.control" in text and "top.core_0.row_0" in text and "\\spiccato_" not in text


def test_census_notices_too(monkeypatch):
    """What counts the parts takes no kind for another, either."""
    monkeypatch.setattr(Accelerator, "elaborate", Pair.elaborate)
    monkeypatch.setattr(
        Accelerator, "placed", (Interpolate("tanh"), Interpolate("tanh", Registers(product=True))), raising=False
    )
    census.cache_clear()
    with pytest.raises(ValueError, match="two different parts of kind 'interpolate_tanh'"):
        census(configuration("test4"))
    census.cache_clear()

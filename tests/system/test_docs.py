"""The documentation says what the code says."""

import dataclasses
import re

import pytest

from paths import ROOT
from spiccato.compiler import compile_program
from spiccato.compiler.fit import fitting_schedule, weight_formats
from spiccato.compiler.layout import Layout
from spiccato.compiler.lower import lower
from spiccato.config import Config
from spiccato.errors import FitError
from spiccato.families import FAMILIES, Profile
from spiccato.isa import frames
from spiccato.isa.c_header import c_header
from spiccato.isa.registers import markdown
from spiccato.registry import configuration, targets
from spiccato.rtl.accelerator import Timing
from spiccato_cli import main
from spiccato_cli.output import program_summary
from spiccato_sim.analysis import resources
from spiccato_sim.analysis.estimate import Estimate, Row
from spiccato_sim.analysis.requirements import REQUIRED
from spiccato_sim.models.windows import windows
from spiccato_sim.models.zoo import WINDOWED, build, resolve

pytestmark = pytest.mark.fast


def test_register_map():
    """docs/interfaces.md holds the register map as it is."""
    assert markdown() in (ROOT / "docs" / "interfaces.md").read_text()


def test_c_header():
    """docs/interfaces.md names constants that the C header has."""
    text = (ROOT / "docs" / "interfaces.md").read_text()
    named = set(re.findall(r"SPICCATO_\w+", text))
    assert named and named <= set(re.findall(r"#define (\w+)", c_header(configuration("test4"))))


def test_link():
    """docs/link.md holds the commands, the statuses and the special bytes as they are."""
    text = (ROOT / "docs" / "link.md").read_text()
    assert frames.markdown() in text
    for name, value in (("END", frames.END), ("ESC", frames.ESC)):
        assert f"| `{name}` | 0x{value:02X} | 0x{frames.ESC:02X} 0x{frames.ESCAPED[value]:02X} |" in text
    assert f"| the request's command + 0x{frames.RESPONSE:02x} |" in text
    assert f"| {frames.CRC_BYTES} | CRC-32" in text and frames.NONCE_BYTES == 8


def test_pipeline_table():
    """Cycle numbers of docs/pipeline.md: first the IA-420F's, in brackets those of the others where they differ."""
    text = (ROOT / "docs" / "pipeline.md").read_text()
    first, other = Timing(configuration("ia420f")), Timing(configuration("v80"))
    assert vars(Timing(configuration("ia840f"))) == vars(other)
    for name, pattern in (
        ("acc", r"\| (\d+) \((\d+)\) \| accumulator \|"),
        ("h", r"\| (\d+) \((\d+)\) \| h \|"),
        ("c", r"\| (\d+) \((\d+)\) \| tanh table latch; c \|"),
        ("dependency", r"`dependency` = (\d+) \((\d+)\)"),
        ("output", r"`tvalid` (\d+) \((\d+)\) cycles after"),
    ):
        match = re.search(pattern, text)
        assert match, name
        assert (int(match[1]), int(match[2])) == (getattr(first, name), getattr(other, name)), name
    assert f"issued in cycle {first.input} " in text


def test_resource_table():
    """docs/boards.md holds the table of resources as it is."""
    assert resources.markdown(resources.rows()) in (ROOT / "docs" / "boards.md").read_text()


@pytest.mark.parametrize("board", ["ia420f", "ia840f", "v80"])
def test_cost_of_each_register(board, monkeypatch):
    """docs/pipeline.md holds what each register of the conservative profile costs, on the boards it speaks of."""
    text = (ROOT / "docs" / "pipeline.md").read_text()
    _, header, rows = re.search(r"^(\| register \| where (.*))\n.*\n((?:\|.*\n)+)", text, re.MULTILINE).groups()
    what = re.findall(r"`(\w+)`", header)
    told = {}
    for name, _, *cells in (line.strip("|").split("|") for line in rows.splitlines()):
        told[name.strip("` ")] = {figure: int(cell.strip() or 0) for figure, cell in zip(what, cells)}
    profiles = FAMILIES[configuration(board).family].profiles
    tried = {name: Profile(**{name: True}) for name in Profile().registers} | {"all": profiles["conservative"]}
    for name, profile in tried.items():
        monkeypatch.setitem(profiles, name, profile)
    base = vars(Timing(configuration(board)))
    assert what == ["dependency", "output", "input", "reload"]
    assert told == {
        name: {figure: getattr(Timing(configuration(board, profile=name)), figure) - base[figure] for figure in what}
        for name in tried
    }


def _plan(name, model, profile):
    """The schedule of a benchmark's model, in the widest weights that fit."""
    config = configuration(name, profile=profile)
    layout = Layout(lower(resolve(model)), config)
    _, plan, short = fitting_schedule(layout, weight_formats(layout, "auto"), Timing(config))
    assert not short
    return plan


def test_latency_table():
    """docs/latency.md holds the cycles that the scheduler predicts, in both profiles; README.md what that costs."""
    text = (ROOT / "docs" / "latency.md").read_text()
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if re.match(r"\| (ia|v)\d+", line)]
    rows = [dict(zip(("board", "model", "weights", "spaced", "conservative", "_", "interval"), row)) for row in rows]
    more = []
    for row in rows:
        first, other = (_plan(row["board"], row["model"], profile) for profile in ("aggressive", "conservative"))
        assert (int(row["spaced"]), int(row["interval"])) == (first.spaced_latency, first.initiation_interval), row
        assert int(row["conservative"]) == other.spaced_latency, row
        more.append(other.spaced_latency - first.spaced_latency)
    assert len(rows) == 14
    assert f"takes {min(more)} to {max(more)} cycles more" in " ".join((ROOT / "README.md").read_text().split())


def test_latency_table_of_other_kinds():
    """docs/latency.md holds what the scheduler predicts for other kinds of layers."""
    text = (ROOT / "docs" / "latency.md").read_text()
    names = re.findall(r"`([\w-]+)`", re.search(r"^\| model \| (`ia420f-kinds`.*)$", text, re.MULTILINE)[1])
    rows = re.findall(r"^\| ((?:gru|mlp)_\w+) \| (.*) \|$", text, re.MULTILINE)
    assert len(names) == 3 and len(rows) == 7
    for model, cells in rows:
        for name, cell in zip(names, cells.split(" | "), strict=True):
            config = configuration(name)
            layout = Layout(lower(resolve(model)), config)
            formats = weight_formats(layout, "auto")
            _, plan, short = fitting_schedule(layout, formats, Timing(config))
            found = "does not fit" if short else f"{plan.spaced_latency} ({plan.initiation_interval})"
            assert cell == found + ", int8" * (formats[0] == "int8" and not short), (model, name)


def test_latency_table_of_fast_configurations():
    """docs/latency.md and README.md hold what the scheduler predicts for the configurations with 9x9 multipliers."""
    rows = re.findall(
        r"^\| `([\w-]+-fast)` \| (\w+) \| (\d+) \| (\d+) \| (\d*) ?\| (\d+) \|",
        (ROOT / "docs" / "latency.md").read_text(),
        re.MULTILINE,
    )
    assert len(rows) == 14
    shown, more = {}, []
    for name, model, spaced, conservative, required, interval in rows:
        plan = _plan(name, model, "aggressive")
        assert (int(spaced), int(interval)) == (plan.spaced_latency, plan.initiation_interval), model
        assert int(conservative) == _plan(name, model, "conservative").spaced_latency
        more.append(int(conservative) - int(spaced))
        asked = REQUIRED["aggressive"][name].get(model)
        assert required == (str(asked.spaced_cycles) if asked else "")
        shown.setdefault(name, []).append(spaced)
    assert f"({min(more)} to {max(more)} in `fast` configurations)" in " ".join(
        (ROOT / "README.md").read_text().split()
    )
    for name, cycles in shown.items():
        title = {"ia420f": "IA-420F", "ia840f": "IA-840F", "v80": "V80"}[name.removesuffix("-fast")]
        (row,) = re.findall(rf"^\| {title} `fast`.*$", (ROOT / "README.md").read_text(), re.MULTILINE)
        assert re.findall(r"\*\*(\d+)\*\*", row) == cycles, name


def test_configurations():
    """docs/configuration.md holds the boards' configurations as they are."""
    text = (ROOT / "docs" / "configuration.md").read_text()
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| `")]
    names = [name.strip("` ") for name in re.search(r"^\| \|(.*)\|$", text, re.MULTILINE)[1].split("|")]
    assert sorted(names) == list(targets())

    def shown(value):
        if isinstance(value, tuple):
            return ", ".join(value)
        return ("no", "yes")[value] if isinstance(value, bool) else value if isinstance(value, str) else f"{value:g}"

    assert {name.strip("`"): values for name, *values in rows} == {
        field.name: [shown(getattr(config, field.name)) for config in map(configuration, names)]
        for field in dataclasses.fields(Config)
        if field.name != "name"
    }


@pytest.mark.parametrize("page", sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")]), ids=lambda p: p.name)
def test_links(page):
    """Every relative link and every named file exists."""
    text = page.read_text()
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (page.parent / target).exists(), target
    for name in re.findall(r"`((?:hdl|sim|boards|tests|docs|examples)/[\w/.]+)`", text):
        assert (ROOT / name).exists(), name


def test_command_line():
    """docs/cli.md has a line for each verb, and tells every key of the JSON that verbs write."""
    text = (ROOT / "docs" / "cli.md").read_text()
    assert set(re.findall(r"^\| `spiccato (\w+)", text, re.MULTILINE)) == set(main.commands)
    for name, verb in main.commands.items():
        assert ("as_json" in {option.name for option in verb.params}) == (f"{name} --json`" in text), name
    keys = set(re.findall(r"`(\w+)`", text))
    program = compile_program([resolve("lstm_tiny")], configuration("ia420f"))
    assert set(program_summary(program)) <= keys
    assert {field.name for kind in (Row, Estimate) for field in dataclasses.fields(kind)} <= keys


def test_changelog_names_tests():
    """Each test that the changelog names for a mended fault exists."""
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "CHANGELOG.md").read_text()))
    defined = set(
        re.findall(r"^def (test_\w+)", "\n".join(path.read_text() for path in (ROOT / "tests").rglob("*.py")), re.M)
    )
    assert named and named <= defined, sorted(named - defined)


@pytest.mark.long
def test_windows_table():
    """docs/windows.md holds what the timeline predicts of sliding windows, and the refusal as it is."""
    text = (ROOT / "docs" / "windows.md").read_text()
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| `lstm")]
    assert len(rows) == 4
    for name, _, _, board, *figures in rows:
        model, config = WINDOWED[name.strip("`")], configuration(board.strip("`"))
        found = windows(compile_program([build(model.name)], config, contexts=model.window))
        times = f"{found.latency / config.clock_mhz:.2f}", f"{found.distance / config.clock_mhz:.1f}"
        assert figures == [str(found.latency), times[0], str(found.distance), times[1]], name
    for board in ("ia420f", "v80"):
        with pytest.raises(FitError) as refused:
            compile_program([build("lstm_c")], configuration(board), contexts=WINDOWED["lstm_c"].window)
        assert str(refused.value) in text

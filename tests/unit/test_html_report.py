"""The page on one model: what it says, that it needs nothing else, and that a browser draws it."""

import asyncio
import dataclasses
import html
import importlib.util
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("bokeh")

from click.testing import CliRunner

import chromium
from spiccato.compiler import compile_program
from spiccato.importers import save_safetensors
from spiccato.registry import configuration
from spiccato_cli import main
from spiccato_sim.analysis import html_report, published
from spiccato_sim.analysis.html_report.content import content
from spiccato_sim.analysis.trace import KIND_COLOURS
from spiccato_sim.models import zoo
from spiccato_sim.models.bfloat16 import BFloat16Pipeline
from spiccato_sim.models.reference import Reference
from spiccato_sim.models.vm import VirtualMachine

STEPS = 20
SECTIONS = ["summary", "latency", "schedule", "memory", "errors", "quantisation", "reproduce"]
LIMIT = 5_000_000


class Parsed(HTMLParser):
    """Ids, references to elsewhere, tables as rows of texts, and JSON blocks of a page."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.references, self.rows, self.data, self.scripts = [], [], [], {}, 0
        self._row = self._cell = self._block = None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if "id" in attributes:
            self.ids.append(attributes["id"])
        self.references += [attributes[name] for name in ("src", "href", "action", "srcset") if name in attributes]
        if tag == "tr":
            self._row = []
            self.rows.append(self._row)
        elif tag in ("td", "th"):
            self._cell = ""
        elif tag == "script":
            self.scripts += 1
            self._block = attributes.get("id")

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self._row.append(self._cell.replace("\u00a0", " "))
            self._cell = None
        elif tag == "script":
            self._block = None

    def handle_data(self, text):
        if self._cell is not None:
            self._cell += text
        if self._block:
            self.data[self._block] = json.loads(text)

    def row(self, *start):
        """The one row that starts with these cells."""
        [row] = [row for row in self.rows if tuple(row[: len(start)]) == start]
        return row


def small(seed=1, board="test8", weights="int16", name="small", **options):
    network = zoo.random_network(np.random.default_rng(seed), layers=2, min_size=4, max_size=10, name=name)
    config = dataclasses.replace(configuration(board), **options)
    return network, compile_program([network], config, weight_formats=[weights])


def written(path, *arguments, **options):
    html_report.write_report(str(path), *arguments, **options)
    return Path(path).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """lstm_tiny on its board: path, text, network, program."""
    network = zoo.build("lstm_tiny")
    program = compile_program([network], configuration("ia420f"))
    path = tmp_path_factory.mktemp("report") / "report.html"
    return path, written(path, "lstm_tiny", program, network, steps=STEPS), network, program


def test_page_is_self_contained(tiny):
    path, text, _, _ = tiny
    parsed = Parsed(text)
    assert [name for name in parsed.ids if name in SECTIONS] == SECTIONS
    assert len(set(parsed.ids)) == len(parsed.ids)
    assert sorted(parsed.references) == sorted(f"#{name}" for name in SECTIONS)
    assert "default-src 'none'" in text
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style and "@import" not in style
    assert path.stat().st_size < LIMIT
    charts = parsed.data["charts"]
    assert [f"chart-{name}" for name in charts] == [item["target_id"] for item in charts.values()]
    assert {f"chart-{name}" for name in charts} == {name for name in parsed.ids if name.startswith("chart-")}


def test_figures_are_the_programs(tiny):
    """Independently: from the program, from runs of the models, from the published tables."""
    _, text, network, program = tiny
    parsed = Parsed(text)
    figures = parsed.data["figures"]
    assert figures["parameters"] == network.parameters
    assert figures["program_digest"] == program.digest
    assert figures["memory_use"] == {memory: [used, capacity] for memory, used, capacity, _ in program.memory_use()}

    mhz = program.config.clock_mhz
    assert figures["spaced_latency_us"] == program.model.spaced_latency / mhz
    for name, cycles, bound in (
        ("spaced latency", program.model.spaced_latency, program.model.critical_mac_bound),
        ("initiation interval", program.model.initiation_interval, program.model.full_mac_bound),
    ):
        assert [
            name,
            str(cycles),
            f"{cycles / mhz:.3f}",
            str(bound),
            f"{bound / mhz:.3f}",
            f"{100 * bound / cycles:.1f} %",
        ] in parsed.rows
    for memory, used, capacity, unit in program.memory_use():
        assert [memory, f"{used:,}", f"{capacity:,}", unit] in [row[:4] for row in parsed.rows]

    xs = zoo.inputs(network, STEPS)
    exact = Reference(network).run(xs)
    rms = {
        name: np.sqrt(np.mean((model.run(xs) - exact) ** 2))
        for name, model in (("sent", VirtualMachine(program)), ("bfloat16", BFloat16Pipeline(network)))
    }
    for name, value in rms.items():
        assert figures[f"rms_error_{name}"] == pytest.approx(value, rel=1e-12)
        assert f"{value:.2e}" in text
    # 48-bit sums that float32 outputs would show but for its own rounding.
    wide = compile_program([network], dataclasses.replace(program.config, io_format="float32"))
    assert figures["rms_error_exact"] == pytest.approx(
        np.sqrt(np.mean((VirtualMachine(wide).run(xs) - exact) ** 2)), rel=1e-2
    )
    assert figures["rms_error_weights"] < figures["rms_error_exact"] < figures["rms_error_sent"] / 10

    theirs = published.latency("ia420f", "lstm_tiny")
    round_trip = published.round_trip_us(2 * network.input_size)
    assert parsed.row("Spiccato, predicted cycles at 320 MHz")[1:4] == [
        f"{program.model.spaced_latency / mhz:.2f}",
        f"{round_trip:.2f} (published)",
        f"{program.model.spaced_latency / mhz + round_trip:.2f}",
    ]
    assert parsed.row("published product, measured on silicon")[1:] == [
        f"{theirs.mean_us - round_trip:.2f} (difference)",
        f"{round_trip:.2f} (published)",
        f"{theirs.mean_us:.1f}",
        f"{theirs.p99_us:.1f}",
    ]
    assert "no board was measured" in text


@pytest.mark.parametrize(
    ("board", "io_format", "weights"),
    [("test4", "bfloat16", "int16"), ("test8", "float32", "int8"), ("ia420f", "bfloat16", ("int8", "int16", "int8"))],
)
@pytest.mark.parametrize("seed", range(2))
def test_cycles_add_up(seed, board, io_format, weights):
    """The parts of the latency make the latency; the instructions in words are those of the program."""
    network, program = small(seed, board, weights, io_format=io_format)
    shown = content(program, network, zoo.inputs(network, 3), inputs="random")
    assert sum(cycles for _, _, cycles in shown.phases) == program.model.spaced_latency
    assert sum(shown.words_by_kind.values()) == program.model.initiation_interval
    texts, fields = shown.instructions, shown.trace.fields
    assert {len(column) for column in texts.values()} == {program.model.initiation_interval}
    assert sum(text.startswith("slot finished") for text in texts["effect"]) == fields["cell"].sum()
    [*_, last] = [text for text in texts["effect"] if text.startswith("outputs")]
    assert last.endswith(f" to {program.model.spaced_latency}")
    assert sum("waits for an input block" in text for text in texts["flags"]) == len(program.model.adjust)
    assert sum(text.endswith("bytes") for text in texts["weight"]) == fields["int8"].sum()
    assert texts["what"].count("idle") == shown.words_by_kind["idle"] == sum(slot == "-" for slot in texts["slot_text"])
    assert sum(text.startswith("x, block") for text in texts["vector"]) == (
        program.model.layers[0].slots * len(program.model.adjust)
    )


def test_no_made_up_comparison(tmp_path):
    network, program = small(board="ia420f")
    text = written(tmp_path / "a.html", "small.safetensors", program, network, steps=3)
    assert "No latency was published for a network of this shape" in text
    assert "published" not in Parsed(text).data["charts"]
    assert "Spiccato, predicted cycles" not in text
    # A published model, where the product does not run it.
    network = zoo.build("lstm_med")
    shown = content(compile_program([network], configuration("ia420f")), network, zoo.inputs(network, 2), inputs="")
    assert shown.comparison is None
    assert shown.texts["published"] == (
        "No latency of the published product is known for lstm_med on BittWare IA-420F."
    )
    # The name alone makes no benchmark model.
    network, program = small(board="ia420f", name="lstm_tiny")
    assert content(program, network, zoo.inputs(network, 2), inputs="").comparison is None


def test_same_page_again(tmp_path):
    """Whatever else was drawn in between, and wherever it is written."""
    network, program = small()
    first = written(tmp_path / "a.html", "small.safetensors", program, network, steps=5)
    other = written(tmp_path / "b.html", "small.safetensors", program, network, steps=6)
    again = written(tmp_path / "c.html", "small.safetensors", program, network, steps=5)
    assert first == again != other
    assert str(tmp_path) not in first


def test_names_are_escaped(tmp_path):
    evil = "<script>alert(1)</script>&\"'"
    network, program = small(name=evil)
    np.save(tmp_path / "<b1>.npy", zoo.inputs(network, 4))
    text = written(tmp_path / "a.html", f"{evil}.safetensors", program, network, inputs=str(tmp_path / "<b1>.npy"))
    assert evil not in text and "<b1>" not in text
    assert html.escape(evil).split("&quot;")[0] in text
    plain = written(tmp_path / "b.html", "small.safetensors", *reversed(small()), steps=4)
    assert Parsed(text).scripts == Parsed(plain).scripts
    assert Parsed(text).data["figures"]["model"] == evil


def test_program_file(tmp_path):
    """From a program alone: cycles and the arithmetic's errors, nothing of weights and bfloat16."""
    network, program = small(board="ia840f", weights="int8", io_format="float32")
    program.save(tmp_path / "small.spiccato")
    result = CliRunner().invoke(
        main, ["report", str(tmp_path / "small.spiccato"), "-o", str(tmp_path / "r.html"), "--steps", "6"]
    )
    assert result.exit_code == 0, result.output
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    figures = Parsed(text).data["figures"]
    assert figures["rms_error_bfloat16"] is None and figures["rms_error_weights"] is None
    assert figures["board"] == "ia840f"
    assert 0 < figures["rms_error_exact"] < 1e-5
    assert "quantisation" not in Parsed(text).data["charts"]
    assert "The rounding of the weights cannot be told from a program" in text


def test_command_writes_what_it_tells_to_reproduce(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    network, _ = small()
    save_safetensors(network, "my net.safetensors")
    np.save("x.npy", zoo.inputs(network, 7).astype(np.float32))
    command = [
        "report",
        "my net.safetensors",
        "--board",
        "test8",
        "--profile",
        "conservative",
        "--weights",
        "int8",
        "--format",
        "float32",
        "--calibration",
        "x.npy",
        "--input",
        "x.npy",
        "--steps",
        "5",
        "--seed",
        "3",
    ]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    text = Path("report.html").read_text(encoding="utf-8")
    told = html.unescape(re.search(r"<pre>(spiccato report .*?)</pre>", text)[1])
    assert told == (
        "spiccato report 'my net.safetensors' --board test8 --profile conservative --weights int8 --format float32 "
        "--calibration x.npy --input x.npy --steps 5 --seed 3"
    )
    assert Parsed(text).row("timesteps") == ["timesteps", "5"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["my net.safetensors", "report.html", "x.npy"]


@pytest.fixture
def inputs_folder(tmp_path, monkeypatch):
    """Where files of wrong inputs lie, and a page that was there before."""
    monkeypatch.chdir(tmp_path)
    network, program = small()
    save_safetensors(network, "net.safetensors")
    program.save("net.spiccato")
    good = zoo.inputs(network, 4)
    np.save("good.npy", good)
    np.save("wide.npy", np.zeros((4, network.input_size + 1)))
    np.save("flat.npy", good[0])
    np.save("none.npy", good[:0])
    np.save("whole.npy", np.zeros(good.shape, dtype=bool))
    np.savez("several.npy.npz", good, good)
    bad = good.copy()
    bad[2, 3] = np.nan
    np.save("nan.npy", bad)
    bad[2, 3] = 1e39
    np.save("huge.npy", bad)
    Path("text.npy").write_text("1 2 3")
    Path("report.html").write_text("before")
    return tmp_path


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["nonesuch"], "unknown model 'nonesuch'"),
        (["none.safetensors"], "none.safetensors: no such file"),
        (["none.spiccato"], "none.spiccato: no such file"),
        (["net.safetensors", "--board", "nonesuch"], "unknown board 'nonesuch'"),
        (["net.spiccato", "--board", "ia420f"], "compiled for configuration 'test8', not for 'ia420f'"),
        (["lstm_large", "--board", "ia420f"], "does not fit 'ia420f'"),
        (["net.spiccato", "--input", "none_there.npy"], "none_there.npy: cannot be read: No such file or directory"),
        (["net.spiccato", "--input", "text.npy"], "text.npy: not a .npy file of numbers"),
        (["net.spiccato", "--input", "several.npy.npz"], "several.npy.npz: holds several arrays"),
        (["net.spiccato", "--input", "whole.npy"], "whole.npy: holds bool; expected real numbers"),
        (["net.spiccato", "--input", "wide.npy"], "wide.npy: has shape (4, "),
        (["net.spiccato", "--input", "flat.npy"], "flat.npy: has shape ("),
        (["net.spiccato", "--input", "none.npy"], "none.npy: has shape (0, "),
        (["net.spiccato", "--input", "nan.npy"], "nan.npy: [2, 3] is nan; every value must be finite"),
        (["net.spiccato", "--input", "huge.npy"], "input [2, 3] is beyond the range of bfloat16"),
        (["net.spiccato", "--input", "good.npy", "--steps", "5"], "good.npy: has 4 timesteps; 5 were asked for"),
        (["net.spiccato", "--steps", "2", "-o", "none/report.html"], "none/report.html: cannot be written"),
        (["net.spiccato", "--steps", "2", "-o", "."], ".: cannot be written"),
    ],
)
def test_refusals(inputs_folder, arguments, message):
    """One line, and what was there before is as it was."""
    before = sorted(inputs_folder.iterdir())
    result = CliRunner().invoke(main, ["report", *arguments])
    assert result.exit_code == 1
    [error] = [line for line in result.output.splitlines() if line.startswith("error: ")]
    assert message in error and "Traceback" not in result.output
    assert sorted(inputs_folder.iterdir()) == before
    assert Path("report.html").read_text() == "before"


def test_without_the_extra(tmp_path, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "bokeh" else find_spec(name))
    network, program = small()
    with pytest.raises(html_report.ReportError, match=r"needs bokeh: pip install 'spiccato\[report\]'"):
        written(tmp_path / "r.html", "small", program, network, steps=2)
    assert not list(tmp_path.iterdir())


# In a browser.

#: Colours of a chart's pixels, as hexadecimal, with how many pixels of them there are.
COLOURS = """
(() => {
  const canvases = (root) => [...root.querySelectorAll("*")].flatMap(
    (element) => [...(element.tagName === "CANVAS" ? [element] : []),
                  ...(element.shadowRoot ? canvases(element.shadowRoot) : [])]);
  const found = {};
  for (const chart of document.querySelectorAll(".chart")) {
    const counts = found[chart.id] = {width: chart.clientWidth, height: chart.clientHeight};
    for (const canvas of canvases(chart).filter((canvas) => canvas.width > 100)) {
      const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", {willReadFrequently: true});
      copy.drawImage(canvas, 0, 0);
      const pixels = copy.getImageData(0, 0, canvas.width, canvas.height).data;
      for (let at = 0; at < pixels.length; at += 4) {
        if (pixels[at + 3] === 255) {
          const name = "#" + [0, 1, 2].map((i) => pixels[at + i].toString(16).padStart(2, "0")).join("");
          counts[name] = (counts[name] || 0) + 1;
        }
      }
    }
  }
  return found;
})()
"""
#: Of the chart by layer: where a cycle of a row is, in pixels of the window.
PLACE = """
(() => {
  const [plot] = [...Bokeh.index].find((view) => view.model.id === "gantt-0").child_views;
  plot.el.scrollIntoView();
  const frame = plot.canvas_view.events_el.getBoundingClientRect();
  return [frame.x + plot.frame.x_scale.compute(CYCLE + 0.5), frame.y + plot.frame.y_scale.compute(ROW)];
})()
"""
TOOLTIP = """
(() => {
  const tooltips = (root) => [...root.querySelectorAll("*")].flatMap((element) => [
    ...(element.classList.contains("bk-Tooltip") ? [(element.shadowRoot || element)] : []),
    ...(element.shadowRoot ? tooltips(element.shadowRoot) : [])]);
  return tooltips(document).map((tooltip) => [...tooltip.querySelectorAll(".bk-tooltip-row-value")].map(
    (value) => value.textContent.trim())).find((values) => values.length > 2);
})()
"""


@pytest.mark.skipif(chromium.executable() is None, reason="Chromium is not installed")
def test_in_chromium(tiny, tmp_path):
    """No complaints, nothing asked for, all charts drawn, words told when pointed at, zoom, no sideways scrolling."""
    path, text, network, program = tiny
    shown = content(program, network, zoo.inputs(network, 2), inputs="")
    at = int(np.flatnonzero(shown.trace.fields["cell"])[1])
    cycle, layer = int(shown.trace.cycles[at]), int(shown.trace.layers[at])

    async def look():
        async with chromium.open_page(path.as_uri(), tmp_path) as page:
            drawn = await page.until("document.body?.dataset.charts")
            # Charts are embedded before they are painted.
            await page.until("Bokeh.documents.every((one) => one.is_idle)")
            await page.until(f"Object.keys({COLOURS}['chart-gantt']).length > 10")
            found = {
                "drawn": drawn,
                "colours": await page.evaluate(COLOURS),
                "sideways": await page.evaluate(
                    "document.documentElement.scrollWidth - document.documentElement.clientWidth"
                ),
            }
            place = PLACE.replace("CYCLE", str(cycle))
            for name, row in (("layer", layer + 1), ("all", 0)):
                x, y = await page.evaluate(place.replace("ROW", str(row)))
                await page.point_at(x, y)
                found[name] = await page.until(TOOLTIP)
                await page.point_at(0, 0)
                await page.until(f"!{TOOLTIP}")
            span = (
                "(() => { const plots = [...Bokeh.index].find((view) => view.model.id === 'gantt-0').child_views;"
                "return plots.map((plot) => plot.model.x_range.end - plot.model.x_range.start); })()"
            )
            before = await page.evaluate(span)
            await page.wheel(x, y, -240, ctrl=True)
            found["zoomed"] = await page.until(f"{span}[0] < {before[0]} * 0.99 && {span}")
            found["complaints"], found["requests"] = page.complaints, page.requests
            return found

    found = asyncio.run(look())
    charts = Parsed(text).data["charts"]
    assert found["complaints"] == []
    assert [url for url in found["requests"] if not url.startswith("data:")] == [path.as_uri()]
    assert found["drawn"] == f"{len(charts)} of {len(charts)}"
    assert found["sideways"] == 0
    for name in charts:
        colours = found["colours"][f"chart-{name}"]
        assert colours["width"] > 1000 and colours["height"] > 120, name
        assert colours[KIND_COLOURS["input"]] > 100, name
    for kind, colour in KIND_COLOURS.items():
        assert found["colours"]["chart-gantt"][colour] > 300, kind
    texts = {name: column[at] for name, column in shown.instructions.items()}
    assert (
        found["layer"]
        == found["all"]
        == [
            str(cycle),
            str(at),
            *(texts[name] for name in ("what", "vector", "weight", "slot_text", "effect", "flags")),
        ]
    )
    assert found["zoomed"][0] == found["zoomed"][1]

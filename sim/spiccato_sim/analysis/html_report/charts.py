"""The charts of the page, drawn with Bokeh from a :class:`.content.Content`."""

import re

import numpy as np
from bokeh.embed import json_item
from bokeh.layouts import column
from bokeh.models import (
    BasicTicker,
    BoxZoomTool,
    ColumnDataSource,
    FixedTicker,
    HoverTool,
    Label,
    PanTool,
    Range1d,
    ResetTool,
    SaveTool,
    Span,
    WheelZoomTool,
)
from bokeh.plotting import figure

from ..trace import KIND_COLOURS, layer_names, runs
from .tables import error_rows

__all__ = ["charts"]

_COLOURS = KIND_COLOURS | {"path": "#8c8c8c", "bound": "#a3bedc", "other": "#7d6ba6", "free": "#f0f0f0"}
_OURS, _THEIRS, _INK = "#1f5fa8", "#5f5f5f", "#222222"
_LINES = ("#b3446c", "#1f5fa8", "#3c9a5f", "#7d6ba6", "#e8963c")
_ROW = 26  # pixels of a row of bars


def charts(content):
    """All charts: {name: JSON item for ``Bokeh.embed.embed_item``}, with the same ids for the same content."""
    drawn = {
        "cycles": _cycles(content),
        "gantt": _gantt(content),
        "memory": _memory(content),
        "errors": _errors(content),
    }
    if content.comparison is not None:
        drawn["published"] = _published(content)
    if content.matrices:
        drawn["quantisation"] = _quantisation(content)
    return {name: _with_own_ids(json_item(model, f"chart-{name}"), name) for name, model in drawn.items()}


def _with_own_ids(item, prefix):
    """``item`` with the models numbered from 0 on: Bokeh counts them through the whole process."""
    names: dict[str, str] = {}

    def renamed(value, key=None):
        if isinstance(value, dict):
            return {name: renamed(inner, name) for name, inner in value.items()}
        if isinstance(value, list):
            return [renamed(inner) for inner in value]
        if key in ("id", "root_id") and re.fullmatch(r"p\d+", str(value)):
            return names.setdefault(value, f"{prefix}-{len(names)}")
        return value

    return renamed(item)


def _figure(*, height, hover=(), zoom="width", **options):
    """A figure in the page's style. ``zoom``: "width", "both" or None; ``hover``: tools."""
    drag = BoxZoomTool(dimensions="auto" if zoom == "both" else zoom) if zoom else None
    tools = [*hover]
    if zoom:
        tools += [
            drag,
            PanTool(dimensions=zoom),
            WheelZoomTool(dimensions=zoom, modifiers="ctrl"),
            ResetTool(),
            SaveTool(),
        ]
    drawn = figure(
        height=height,
        sizing_mode="stretch_width",
        tools=tools,
        toolbar_location="above" if zoom else None,
        active_scroll="auto",
        active_drag=drag,
        min_border_right=16,
        **options,
    )
    drawn.toolbar.logo = None
    drawn.outline_line_color = None
    drawn.grid.grid_line_color = "#e6e6e6"
    drawn.axis.axis_line_color = drawn.axis.major_tick_line_color = "#9a9a9a"
    drawn.axis.minor_tick_line_color = None
    for axis in drawn.axis:
        axis.axis_label_text_font_style = "normal"
        axis.axis_label_text_font_size = axis.major_label_text_font_size = "12px"
        axis.axis_label_text_color = axis.major_label_text_color = _INK
    return drawn


def _legend_of(drawn, colours):
    """A legend that is not of glyphs: {label: colour}."""
    for label, colour in colours.items():
        # A legend shows only what is there: a bar of no length, beyond the first row.
        drawn.hbar(y=[-1], left=[0], right=[0], fill_color=colour, line_color=None, legend_label=label)
    _legend(drawn)


def _legend(drawn):
    """Place the legend outside the frame, so that it covers nothing."""
    [legend] = drawn.legend
    drawn.add_layout(legend, "above")
    legend.orientation = "horizontal"
    legend.border_line_color = None
    legend.label_text_font_size = "12px"
    legend.label_text_color = _INK
    legend.padding = legend.margin = 2
    legend.spacing = 14


def _rows(drawn, labels):
    """Make the y axis one of labelled rows, the first one on top."""
    drawn.y_range = Range1d(len(labels) - 0.5, -0.5)
    drawn.yaxis.ticker = FixedTicker(ticks=list(range(len(labels))))
    drawn.yaxis.major_label_overrides = dict(enumerate(labels))
    drawn.yaxis.major_tick_line_color = None
    drawn.ygrid.grid_line_color = None


def _stacked(rows, unit, digits):
    """Stacked horizontal bars with their totals.

    ``rows``: {label: list of (name, colour, length, text)}, the text to stand in the bar.
    """
    columns: dict[str, list] = {key: [] for key in ("y", "left", "right", "name", "colour", "length", "text")}
    totals = []
    for y, parts in enumerate(rows.values()):
        at = 0
        for name, colour, length, text in parts:
            for key, value in (
                ("y", y),
                ("left", at),
                ("right", at + length),
                ("name", name),
                ("colour", colour),
                ("length", f"{length:,.{digits}f} {unit}"),
                ("text", text),
            ):
                columns[key].append(value)
            at += length
        totals.append(at)
    hover = HoverTool(visible=False, tooltips=[("", "@name"), ("", "@length")])
    drawn = _figure(
        height=84 + 36 * len(rows), hover=[hover], zoom=None, x_range=Range1d(0, 1.09 * max(totals)), x_axis_label=unit
    )
    _rows(drawn, list(rows))
    source = ColumnDataSource(columns)
    hover.renderers = [
        drawn.hbar(
            y="y",
            left="left",
            right="right",
            height=0.62,
            fill_color="colour",
            line_color="white",
            line_width=0.5,
            source=source,
        )
    ]
    drawn.text(
        x="left",
        y="y",
        text="text",
        source=source,
        x_offset=8,
        text_baseline="middle",
        text_font_size="12px",
        text_color="white",
    )
    drawn.text(
        x=totals,
        y=list(range(len(totals))),
        text=[f"{total:,.{digits}f}" for total in totals],
        x_offset=6,
        text_baseline="middle",
        text_font_size="12px",
        text_color=_INK,
    )
    return drawn


def _cycles(content):
    """Spaced latency and initiation interval, by what the multipliers do, beside their bounds."""
    compiled = content.program.model
    rows = {
        "spaced latency": [(name, _COLOURS[kind], cycles, "") for name, kind, cycles in content.phases],
        "MAC bound of what the output waits for": [
            ("every multiplier busy", _COLOURS["bound"], compiled.critical_mac_bound, "")
        ],
        "initiation interval": [
            (f"{kind} issue words", _COLOURS[kind], count, "") for kind, count in content.words_by_kind.items() if count
        ],
        "MAC bound of all multiplications": [("every multiplier busy", _COLOURS["bound"], compiled.full_mac_bound, "")],
    }
    drawn = _stacked(rows, "cycles", 0)
    _legend_of(
        drawn,
        {**KIND_COLOURS, "pipeline before and after": _COLOURS["path"], "every multiplier busy": _COLOURS["bound"]},
    )
    return drawn


def _published(content):
    """Compute and round trip of both products."""
    c = content.comparison
    trip = "PCIe round trip without compute, published"
    return _stacked(
        {
            f"Spiccato, predicted at {content.program.config.clock_mhz:g} MHz": [
                ("compute: predicted cycles at the target clock", _OURS, c.compute_us, f"compute {c.compute_us:.2f}"),
                (trip, _COLOURS["path"], c.round_trip_us, f"PCIe {c.round_trip_us:.2f}"),
            ],
            "published product, measured on silicon": [
                (
                    "compute: published total less the round trip",
                    _THEIRS,
                    c.published_compute_us,
                    f"compute {c.published_compute_us:.2f}",
                ),
                (
                    trip,
                    _COLOURS["path"],
                    c.published_total_us - c.published_compute_us,
                    f"PCIe {c.published_total_us - c.published_compute_us:.2f}",
                ),
            ],
        },
        "µs",
        2,
    )


def _gantt(content):
    """One inference twice: by layer, and by row slot; both zoom together."""
    words, compiled = content.trace, content.program.model
    names = layer_names(compiled)
    labels = ["all cores", *names, "input beats", "output beats"]
    end = max(compiled.spaced_latency, int(words.cycles[-1])) + 1
    cycles = Range1d(0, end * 1.01, bounds=(0, end * 1.01))
    fields = words.fields
    # Idle words have no layer and no slot: -1 is beyond the first row.
    instructions = ColumnDataSource(
        {
            **{
                name: values.astype(np.int32)
                for name, values in (
                    ("cycle", words.cycles),
                    ("end", words.cycles + 1),
                    ("number", np.arange(len(words.cycles))),
                    ("row", np.where(words.layers < 0, -1, words.layers + 1)),
                    ("slot", np.where(words.layers < 0, -1, fields["slot"])),
                )
            },
            **content.instructions,
        }
    )
    tooltips = [
        ("cycle", "@cycle"),
        ("issue word", "@number"),
        ("multiplies", "@what"),
        ("vector block", "@vector"),
        ("weight address", "@weight"),
        ("row slot", "@slot_text"),
        ("then", "@effect"),
        ("flags", "@flags"),
    ]

    by_layer = HoverTool(visible=False, tooltips=tooltips)
    beats_hover = HoverTool(visible=False, tooltips=[("cycle", "@cycle"), ("", "@text")])
    top = _figure(height=80 + _ROW * len(labels), hover=[by_layer, beats_hover], x_range=cycles)
    _rows(top, labels)
    for kind in KIND_COLOURS:
        of_kind = words.kinds == kind
        _bars(
            top,
            kind,
            [
                (0, words.cycles[of_kind]),
                *((layer + 1, words.cycles[of_kind & (words.layers == layer)]) for layer in range(len(names))),
            ],
        )
    # Lines, so that single beats show however many cycles there are.
    beats = [(len(labels) - 2, "input", words.input_cycles), (len(labels) - 1, "output", words.output_cycles)]
    _bars(top, "path", [(row, at) for row, _, at in beats], height=0.5, line_color=_COLOURS["path"])
    shown = [
        (row, cycle, f"{name} beat {number + 1} of {len(at)} accepted")
        for row, name, at in beats
        for number, cycle in enumerate(at.tolist())
    ]
    accepted = ColumnDataSource(
        {
            "row": [row for row, _, _ in shown],
            "cycle": [cycle for _, cycle, _ in shown],
            "end": [cycle + 1 for _, cycle, _ in shown],
            "text": [text for _, _, text in shown],
        }
    )
    beats_hover.renderers = [_to_point_at(top, "row", accepted)]
    by_layer.renderers = [_to_point_at(top, 0, instructions), _to_point_at(top, "row", instructions)]
    _mark_output(top, compiled.spaced_latency, label=True)
    _legend_of(top, KIND_COLOURS)

    by_slot = HoverTool(visible=False, tooltips=tooltips)
    slots = compiled.slots
    bottom = _figure(
        height=max(190, min(420, 80 + 14 * slots)),
        hover=[by_slot],
        x_range=cycles,
        zoom="both",
        x_axis_label="cycles since the first input beat was accepted",
        y_axis_label="row slot",
    )
    bottom.y_range = Range1d(slots - 0.5, -0.5, bounds=(-0.5, slots - 0.5))
    bottom.yaxis.ticker = BasicTicker(min_interval=1)
    bottom.ygrid.grid_line_color = None
    for kind in ("input", "recurrent", "linear"):
        _bars(
            bottom,
            kind,
            [(slot, words.cycles[(words.kinds == kind) & (fields["slot"] == slot)]) for slot in range(slots)],
        )
    by_slot.renderers = [_to_point_at(bottom, "slot", instructions)]
    _mark_output(bottom, compiled.spaced_latency, label=False)
    # The same frame, so that cycles are above each other.
    top.min_border_left = bottom.min_border_left = 92
    return column(top, bottom, sizing_mode="stretch_width")


def _bars(drawn, kind, rows, height=0.78, line_color=None):
    """Draw (row, cycles) in the colour of ``kind``, consecutive cycles as one bar."""
    bars = [(row, first, first + length) for row, cycles in rows for first, length in runs(cycles)]
    y, left, right = zip(*bars) if bars else ((), (), ())
    drawn.hbar(y=y, left=left, right=right, height=height, fill_color=_COLOURS[kind], line_color=line_color)


def _to_point_at(drawn, row, source):
    """Unseen bars, one for each issue word, that show themselves when pointed at."""
    return drawn.hbar(
        y=row,
        left="cycle",
        right="end",
        height=0.78,
        fill_alpha=0,
        line_alpha=0,
        source=source,
        hover_fill_color=_INK,
        hover_fill_alpha=0.3,
        hover_line_color=_INK,
        hover_line_alpha=1,
    )


def _mark_output(drawn, cycle, label):
    drawn.add_layout(Span(location=cycle, dimension="height", line_color=_INK, line_dash="dashed", line_width=1))
    if label:
        drawn.add_layout(
            Label(
                x=cycle,
                y=0,
                y_units="screen",
                text=f"last output beat: cycle {cycle:,}",
                x_offset=-6,
                y_offset=6,
                text_align="right",
                text_font_size="12px",
                text_color=_INK,
                background_fill_color="white",
                background_fill_alpha=0.8,
            )
        )


def _memory(content):
    """What lies where, each memory as long as its capacity."""
    use = {memory: (capacity, unit) for memory, _, capacity, unit in content.program.memory_use()}
    columns: dict[str, list] = {key: [] for key in ("y", "left", "right", "colour", "owner", "addresses", "share")}

    def add(memory, owner, colour, first, count):
        capacity, unit = use[memory]
        for key, value in (
            ("y", list(use).index(memory)),
            ("left", 100 * first / capacity),
            ("right", 100 * (first + count) / capacity),
            ("colour", colour),
            ("owner", owner),
            ("addresses", f"{first:,} to {first + count - 1:,} of {capacity:,} {unit}"),
            ("share", f"{100 * count / capacity:.2f} % of the memory"),
        ):
            columns[key].append(value)

    filled = dict.fromkeys(use, 0)
    for region in content.regions:
        add(region.memory, region.owner, _COLOURS[region.kind], region.first, region.size)
        filled[region.memory] = region.first + region.size
    for memory, (capacity, _) in use.items():
        if filled[memory] < capacity:
            add(memory, "free", _COLOURS["free"], filled[memory], capacity - filled[memory])
    hover = HoverTool(visible=False, tooltips=[("holds", "@owner"), ("addresses", "@addresses"), ("", "@share")])
    drawn = _figure(
        height=120 + 34 * len(use),
        hover=[hover],
        x_range=Range1d(0, 100, bounds=(0, 100)),
        x_axis_label="address, % of the memory's capacity",
    )
    _rows(drawn, list(use))
    hover.renderers = [
        drawn.hbar(
            y="y",
            left="left",
            right="right",
            height=0.7,
            fill_color="colour",
            line_color="white",
            line_width=0.5,
            source=ColumnDataSource(columns),
            hover_line_color=_INK,
        )
    ]
    _legend_of(
        drawn,
        {
            "input": _COLOURS["input"],
            "recurrent": _COLOURS["recurrent"],
            "linear layer and outputs": _COLOURS["linear"],
            "state and program": _COLOURS["other"],
            "free": _COLOURS["free"],
        },
    )
    return drawn


def _errors(content):
    """RMS over the outputs, step by step."""
    rows = error_rows(content.program.model, content.accuracy)
    steps = len(content.accuracy.exact.steps)
    hover = HoverTool(
        visible=False, tooltips=[("", "$name"), ("timestep", "@x"), ("RMS over the outputs", "@y{0.00e+0}")]
    )
    drawn = _figure(
        height=340,
        hover=[hover],
        x_axis_label="timestep",
        y_axis_type="log",
        y_axis_label="error, RMS over the outputs",
        x_range=Range1d(0, max(1, steps - 1), bounds="auto"),
    )
    hover.renderers = []
    for (name, one), colour in zip(rows, _LINES):
        # A logarithmic axis has no place for steps without error.
        shown = np.where(one.steps > 0, one.steps, np.nan)
        source = ColumnDataSource({"x": np.arange(steps, dtype=np.int32), "y": shown})
        drawn.line("x", "y", source=source, line_width=1.2, line_color=colour, legend_label=name)
        hover.renderers.append(
            drawn.scatter(
                "x",
                "y",
                source=source,
                size=5,
                fill_alpha=0,
                line_alpha=0,
                hover_fill_color=colour,
                hover_fill_alpha=1,
                name=name,
            )
        )
    _legend(drawn)
    return drawn


def _quantisation(content):
    """RMS errors of each matrix and of each layer's outputs, in the program's formats and in bfloat16."""
    names = layer_names(content.program.model)
    rows = [
        (f"{names[one.layer]} {one.matrix}, {one.weight_format}", one.rms, one.bfloat16_rms) for one in content.matrices
    ]
    rows = [row for row in rows if row[1] > 0 or row[2] > 0]
    hover = HoverTool(
        visible=False, tooltips=[("", "@row"), ("", "$name"), ("RMS error / RMS of the weights", "@x{0.00e+0}")]
    )
    drawn = _figure(
        height=90 + _ROW * len(rows),
        hover=[hover],
        x_axis_type="log",
        zoom=None,
        x_axis_label="RMS rounding error / RMS of the weights",
    )
    _rows(drawn, [row[0] for row in rows])
    drawn.ygrid.grid_line_color = "#e6e6e6"
    hover.renderers = []
    for name, index, colour, marker in (
        ("as the program stores them", 1, _OURS, "circle"),
        ("bfloat16", 2, _THEIRS, "diamond"),
    ):
        source = ColumnDataSource(
            {"x": [row[index] or np.nan for row in rows], "y": list(range(len(rows))), "row": [row[0] for row in rows]}
        )
        hover.renderers.append(
            drawn.scatter(
                "x",
                "y",
                source=source,
                size=10,
                marker=marker,
                fill_color=colour,
                line_color=None,
                legend_label=name,
                name=name,
            )
        )
    _legend(drawn)
    return drawn

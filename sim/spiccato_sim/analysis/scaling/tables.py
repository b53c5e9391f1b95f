"""What was reached, as tables, as a figure, and as data."""

import json
import statistics
from collections import Counter

from spiccato.files import write_whole

from ..nextpnr_report import grouped
from .devices import DEVICES

__all__ = ["MARKS", "figure", "publish", "table"]

#: Lines of the documentation's page between which the tables are.
MARKS = "<!-- What follows is written by make scaling. -->", "<!-- Until here. -->"


def _of_size(results, device, size):
    return [found for found in results if (found["device"], found["cores"], found["block"]) == (device.name, *size)]


def _median(results):
    return statistics.median(found["fmax_mhz"] for found in results)


def table(results):
    """What was reached, as Markdown: the clocks, then the slowest paths.

    Parameters
    ----------
    results : list of dict
        As :func:`place` returns them, of one profile.
    """
    clocks = [
        "| device | cores x block | MHz, by seed | median | of the smallest | routing |",
        "|---|---|---|---:|---:|---:|",
    ]
    paths = ["| device | cores x block | seeds | from | to | ns | levels |", "|---|---|---|---|---|---:|---:|"]
    late = ["| device | cores x block | endpoints | last net | ns | of how many |", "|---|---|---|---|---:|---:|"]
    for device in DEVICES.values():
        first = _of_size(results, device, device.sizes[0])
        for size in device.sizes:
            found = _of_size(results, device, size)
            if not found:
                continue
            head = f"| {device.title} | {size[0]} x {size[1]} |"
            seeds = ", ".join(f"{one['fmax_mhz']:.1f}" for one in found)
            share = statistics.median(_routing_share(one) for one in found)
            ratio = f"{_median(found) / _median(first):.2f}" if first else ""
            clocks.append(f"{head} {seeds} | {_median(found):.1f} | {ratio} | {100 * share:.0f} % |")
            paths += [f"{head} {line}" for line in _path_rows(found)]
            late += [f"{head} {line}" for line in _late_rows(found)]
    return "\n\n".join("\n".join(lines) for lines in (clocks, paths, late)) + "\n"


def _routing_share(result):
    path = result["worst_path"]
    return path["routing_ns"] / (path["routing_ns"] + path["logic_ns"])


def _path_rows(results):
    """Rows of the slowest paths, those of one kind in one row."""
    kinds: dict[tuple[str, str], list[dict]] = {}
    for result in results:
        path = result["worst_path"]
        kinds.setdefault((grouped(path["source"]), grouped(path["sink"])), []).append(result)
    for (source, sink), found in sorted(kinds.items(), key=lambda kind: -len(kind[1])):
        path = min(found, key=lambda result: result["fmax_mhz"])["worst_path"]
        seeds = ", ".join(str(result["seed"]) for result in found)
        yield (
            f"{seeds} | `{source}` | `{sink}` | {path['logic_ns']:.2f} logic + {path['routing_ns']:.2f} routing | "
            f"{path['levels']} |"
        )


def _late_rows(results, count=6):
    """Rows of the kinds of endpoints that are nearly as late as the latest, in the most placements."""
    late = Counter(arrival["sink"] for result in results for arrival in result["arrivals"] if arrival["late"])
    for sink, _ in late.most_common(count):
        found = [arrival for result in results for arrival in result["arrivals"] if arrival["sink"] == sink]
        worst = max(found, key=lambda arrival: arrival["ns"])
        number = statistics.median(arrival["late"] for arrival in found)
        yield f"`{sink}` | `{worst['net']}` | {worst['ns']:.2f} | {number:g} |"


def figure(results, path):
    """Draw the clocks and the slowest paths' parts over the sizes, as SVG."""
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams["svg.hashsalt"] = "spiccato"
    drawing = Figure(figsize=(9, 3.6), layout="constrained")
    clocks, parts = drawing.subplots(1, 2)
    labels: list[str] = []
    for device in DEVICES.values():
        places, medians = [], []
        for size in device.sizes:
            found = _of_size(results, device, size)
            if not found:
                continue
            x = len(labels)
            labels.append(f"{size[0]} x {size[1]}\n{device.title.split()[0]}")
            places.append(x)
            medians.append(_median(found))
            clocks.plot([x] * len(found), [one["fmax_mhz"] for one in found], "o", color="#9a9a9a", markersize=5)
            logic = statistics.median(one["worst_path"]["logic_ns"] for one in found)
            routing = statistics.median(one["worst_path"]["routing_ns"] for one in found)
            parts.bar(x, logic, color="#1f5fa8", width=0.6)
            parts.bar(x, routing, bottom=logic, color="#c8552b", width=0.6)
        clocks.plot(places, medians, "-_", color="#1f5fa8", markersize=18)
    for axes, title, unit in ((clocks, "clock: all seeds, medians", "MHz"), (parts, "slowest path, medians", "ns")):
        axes.set_xticks(range(len(labels)), labels)
        axes.set_ylim(0, 1.05 * axes.get_ylim()[1])
        axes.set_title(title, fontsize=10)
        axes.set_ylabel(unit)
        axes.spines[["top", "right"]].set_visible(False)
    for name, colour in (("logic", "#1f5fa8"), ("routing", "#c8552b")):
        parts.bar(0, 0, color=colour, label=name)
    parts.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    drawing.savefig(path, metadata={"Date": None})


def publish(results, folder):
    """Write ``scaling.json``, a placement a line, ``scaling.svg``, and the tables of ``scaling.md`` if it is there."""
    lines = ",\n".join(json.dumps(found) for found in results)
    write_whole(folder / "scaling.json", f"[\n{lines}\n]\n".encode())
    figure(results, folder / "scaling.svg")
    page = folder / "scaling.md"
    if page.exists():
        before, _, after = page.read_text(encoding="utf-8").partition(MARKS[0])
        _, _, after = after.partition(MARKS[1])
        write_whole(page, f"{before}{MARKS[0]}\n\n{table(results)}\n{MARKS[1]}{after}".encode())

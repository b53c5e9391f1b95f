"""Placements: each is made once, and what was reached stays in a file of its own."""

import json
import time
from pathlib import Path

from spiccato.errors import SpiccatoError
from spiccato.files import write_whole
from spiccato_boards.flows import ecp5

from ..nextpnr_report import arrivals, worst_path

__all__ = ["known", "place", "synthesise", "take_over"]

#: Kinds of endpoints that a result keeps.
_ARRIVALS = 12
#: A file that says so.
_SYNTHESISED = "synthesised"


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

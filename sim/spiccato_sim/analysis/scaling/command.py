"""The command line: which sizes, on which devices, by how many workers."""

import argparse
import concurrent.futures
import importlib.metadata
import sys
import threading
import time
from pathlib import Path

from spiccato.errors import SpiccatoError

from . import __doc__ as description
from .devices import DEVICES
from .placements import known, place, synthesise, take_over
from .tables import publish, table

__all__ = ["main"]


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
    parser = argparse.ArgumentParser(prog="scaling", description=description.splitlines()[0])
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

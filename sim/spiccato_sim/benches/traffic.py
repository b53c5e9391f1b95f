"""Packets of any models and contexts on the RTL, compared with the virtual machine: every bit, mark, tid and cycle."""

import pickle
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spiccato.config import Config
from spiccato.formats import to_beats
from spiccato.isa.marks import MARKS, request_word
from spiccato.isa.registers import REGISTERS
from spiccato.program import Program
from spiccato.rtl.memory import PRELOAD_PATH_LENGTH

from ..models.timeline import Packet, Passage, Timeline
from ..models.vm import StepResult, VirtualMachine
from . import runner
from .simulators import SimulationError
from .streams import Beats

__all__ = ["Played", "Segment", "Send", "Traffic", "compare", "expected_results", "play", "predicted_passages"]


class Send(NamedTuple):
    """A packet to be sent.

    Attributes
    ----------
    bits : unsigned integers (input_size,)
        Of the model, or, if there is no such model, of the first one.
    model, stream : int
    start, quiet : bool
    beats : int or None
        Another length than the model's input has: the packet is malformed.
    spacing : int
        Least cycles behind the acceptance of the packet before.
    """

    bits: NDArray
    model: int = 0
    stream: int = 0
    start: bool = False
    quiet: bool = False
    beats: int | None = None
    spacing: int = 0


@dataclass(frozen=True, eq=False)
class Segment:
    """Packets that are sent one after the other; before and behind it everything is at rest.

    Attributes
    ----------
    sends : sequence of Send
    pauses : (int, float, float) or None
        Seed, and the shares of cycles in which the input pauses and the output stalls. Cycles are not predicted then.
    program : Program or None
        Loaded before.
    reset : bool
        All states are forgotten before.
    """

    sends: Sequence[Send]
    pauses: tuple[int, float, float] | None = None
    program: Program | None = None
    reset: bool = False


@dataclass(frozen=True, eq=False)
class Played:
    """What the RTL made of a segment.

    Attributes
    ----------
    accepted : list of int
        Cycle of each packet's first beat.
    heard : list of :class:`.streams.Heard`
        Output packets.
    registers : dict
        ``latency``, ``inferences``, ``stall_cycles`` and ``errors``, at the end.
    """

    accepted: list
    heard: list
    registers: dict

    def latencies(self, segment: Segment) -> list[int]:
        """Cycles from the first input beat to the last output beat, of the packets that are not quiet."""
        loud = [cycle for cycle, send in zip(self.accepted, segment.sends) if not send.quiet]
        return [heard.finished - cycle for cycle, heard in zip(loud, self.heard)]


@dataclass
class _PlaySegment:
    """A segment as the test bench takes it."""

    load_words: NDArray[np.uint32] | None
    reset: bool
    packets: list
    outputs: int
    settle: int
    pauses: tuple[int, float, float] | None


@dataclass
class _Job:
    """What the test bench does; see :mod:`.tb_accelerator`."""

    config: Config
    segments: list
    result: str


@dataclass
class Traffic:
    """What was played, and where.

    Attributes
    ----------
    played : list of Played, one for each segment
    waves : path of the waveforms, if they were recorded
    """

    played: list[Played]
    waves: Path | None = None
    folder: Path | None = field(default=None, repr=False)

    def discard(self) -> None:
        """Remove the run's folder."""
        if self.folder is not None and self.waves is None:
            shutil.rmtree(self.folder)


def play(
    segments: Sequence[Segment],
    *,
    simulator="verilator",
    preload=False,
    waves=False,
    build_folder="build",
    netlist=None,
    power_up=None,
    hardware_program=None,
) -> Traffic:
    """Play segments, of which the first one has a program, on the RTL.

    Parameters
    ----------
    simulator, preload, waves, build_folder, netlist, power_up, hardware_program
        As for :func:`.simulate.simulate`; ``preload`` and ``hardware_program`` are about the first program.

    Raises
    ------
    SimulationError
        If the simulation itself fails.
    """
    first = segments[0].program
    if first is None:
        raise ValueError("the first segment has no program")
    build = runner.build(first.config, simulator=simulator, waves=waves, folder=build_folder, netlist=netlist)
    runs = Path(build_folder).absolute() / "runs"
    runs.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=runs, prefix=f"{first.config.name}_"))
    plusargs = [] if power_up is None else ["+verilator+rand+reset+2", f"+verilator+seed+{power_up}"]
    if preload:
        if len(str(folder)) > PRELOAD_PATH_LENGTH:
            raise SimulationError(
                f"{folder}: more than {PRELOAD_PATH_LENGTH} characters, which is all that the "
                "simulated memories can take: use another build folder"
            )
        (hardware_program or first).write_preload(folder)
        plusargs.append(f"+preload={folder}")
    job = _Job(first.config, _as_played(segments, preload, hardware_program), str(folder / "result.pickle"))
    (folder / "job.pickle").write_bytes(pickle.dumps(job))
    runner.run(
        build,
        "spiccato_sim.benches.tb_accelerator",
        plusargs=plusargs,
        results_dir=folder,
        env={"SPICCATO_JOB": str(folder / "job.pickle")},
        waves=waves,
    )
    result = pickle.loads((folder / "result.pickle").read_bytes())
    return Traffic([Played(*one) for one in result], next(folder.glob("dump.*")) if waves else None, folder)


def _programs(segments: Sequence[Segment]) -> Iterator[Program]:
    """The program that runs in each segment."""
    program = None
    for segment in segments:
        program = segment.program or program
        assert program is not None
        yield program


def _model_of(program: Program, send: Send):
    """The model that a packet is computed as."""
    return program.models[send.model if send.model < len(program.models) else 0]


def _as_played(segments, preload, hardware_program):
    result = []
    for number, (segment, program) in enumerate(zip(segments, _programs(segments))):
        config, load_words = program.config, None
        if segment.program is not None:
            loaded = hardware_program if hardware_program is not None and number == 0 else segment.program
            load_words = loaded.load_words(memories=not (preload and number == 0))
        packets = []
        for send in segment.sends:
            data = to_beats(send.bits, config, send.beats or _model_of(program, send).input_beats)
            size = config.beat_bits // 8
            beats = tuple(int.from_bytes(data[i : i + size], "little") for i in range(0, len(data), size))
            user = request_word.pack(start=int(send.start), quiet=int(send.quiet))
            packets.append(Beats(beats, program.tid(send.model, send.stream), user, send.spacing))
        # Two packets may wait.
        settle = 3 * max(len(model.words) + model.spaced_latency for model in program.models)
        outputs = sum(not send.quiet for send in segment.sends)
        result.append(_PlaySegment(load_words, segment.reset, packets, outputs, settle, segment.pauses))
    return result


def expected_results(segments: Sequence[Segment]) -> list[list[StepResult]]:
    """The virtual machine's results of all packets, segment by segment."""
    result: list[list[StepResult]] = []
    machine = None
    for segment in segments:
        if segment.program is not None:
            machine = VirtualMachine(segment.program)
        assert machine is not None
        if segment.reset:
            machine.reset()
        result.append([step(machine, send) for send in segment.sends])
    return result


def step(machine: VirtualMachine, send: Send, *, model: int | None = None, stream: int | None = None) -> StepResult:
    """What a machine makes of a packet, perhaps as one of another context."""
    found = _model_of(machine.program, send if model is None else send._replace(model=model))
    config, bits = machine.program.config, np.asarray(send.bits)
    if send.beats is not None:
        bits = np.where(np.arange(len(bits)) < send.beats * config.beat_values, bits, 0)
    return machine.step_bits(
        bits,
        model=send.model if model is None else model,
        stream=send.stream if stream is None else stream,
        start=send.start,
        malformed=send.beats not in (None, found.input_beats),
    )


def predicted_passages(program: Program, sends: Sequence[Send]) -> list[Passage]:
    """When packets come and go, nothing being under way before."""
    packets = []
    for send in sends:
        beats = _model_of(program, send).input_beats
        surplus = max(0, (send.beats or beats) - beats)
        packets.append(Packet(send.model, send.stream, send.quiet, send.spacing, surplus))
    return Timeline(program).stream(packets)


def compare(segments: Sequence[Segment], played: Sequence[Played]) -> tuple[list[str], list[str]]:
    """What differs from the predictions, a line each: in what is computed, and in cycles and registers."""
    values: list[str] = []
    cycles: list[str] = []
    inferences = 0
    marked: set[str] = set()
    for number, (segment, program, results, got) in enumerate(
        zip(segments, _programs(segments), expected_results(segments), played)
    ):
        where = f"segment {number}: " * (len(segments) > 1)
        values += [where + line for line in _value_differences(program, segment, results, got)]
        if segment.pauses is None:
            cycles += [where + line for line in _cycle_differences(program, segment, got)]
        inferences += len(segment.sends)
        marked |= {name for result in results for name in MARKS if result.flags[name]}
        wanted = REGISTERS["errors"].pack(**dict.fromkeys(marked, 1))
        for name, value in (("inferences", inferences), ("errors", wanted)):
            if got.registers[name] != value:
                values.append(f"{where}register {name}: {got.registers[name]} from the RTL, {value} predicted")
    return values, cycles


def _value_differences(program, segment, results, got):
    """Of the output packets' bits, marks and contexts."""
    loud = [(send, result) for send, result in zip(segment.sends, results) if not send.quiet]
    if len(got.accepted) != len(segment.sends):
        yield f"{len(got.accepted)} input packets were taken, {len(segment.sends)} sent"
    if len(got.heard) != len(loud):
        yield f"{len(got.heard)} output packets came, {len(loud)} predicted"
    bits_type = f"<u{program.config.io_bits // 8}"
    wrong = []
    for number, ((send, result), heard) in enumerate(zip(loud, got.heard)):
        marks = sum(result.flags[name] << bit for bit, name in enumerate(MARKS))
        wanted = (program.tid(send.model, send.stream), marks, result.bits.astype(bits_type).tobytes())
        if (heard.tid, heard.user, heard.data) != wanted:
            wrong.append((number, send, (heard.tid, heard.user, heard.data.hex()), (*wanted[:2], wanted[2].hex())))
    if wrong:
        number, send, found, wanted = wrong[0]
        yield (
            f"output bits, marks or tid: {len(wrong)} of {len(loud)} packets differ, first number {number} (model "
            f"{send.model}, stream {send.stream}): tid, marks, data {found} from the RTL, {wanted} predicted"
        )


def _cycle_differences(program, segment, got):
    """Of the cycles in which packets begin and outputs end."""
    predicted = predicted_passages(program, segment.sends)
    origin = got.accepted[0] if got.accepted else 0
    for what, found, wanted in (
        ("first input beats", got.accepted, [passage.accepted for passage in predicted]),
        (
            "last output beats",
            [heard.finished for heard in got.heard],
            [passage.finished for passage in predicted if passage.finished is not None],
        ),
    ):
        pairs = list(enumerate(zip([cycle - origin for cycle in found], wanted)))
        wrong = [(number, pair) for number, pair in pairs if pair[0] != pair[1]]
        if wrong:
            number, (measured, due) = wrong[0]
            yield (
                f"cycles of {what}: {len(wrong)} of {len(pairs)} differ, first of packet {number}: {measured} from the "
                f"RTL, {due} predicted"
            )

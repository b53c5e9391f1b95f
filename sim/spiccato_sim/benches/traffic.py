"""Packets of any models and contexts on the RTL, and states that are saved, loaded and forgotten between them."""

import pickle
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from numpy.typing import NDArray

from spiccato.config import Config
from spiccato.formats import to_beats
from spiccato.isa.marks import request_word
from spiccato.program import Model, Program
from spiccato.rtl.memory import PRELOAD_PATH_LENGTH

from . import runner
from .moves import Move
from .simulators import SimulationError
from .streams import Beats, Played

__all__ = ["Segment", "Send", "Traffic", "measured_latencies", "model_of", "play", "programs"]


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
    reset : "reset_state", "reset" or None
        What of :class:`spiccato.host.AsyncDevice` has all contexts forget their states before.
    moves : sequence of Move
        In the order in which they are carried out.
    """

    sends: Sequence[Send]
    pauses: tuple[int, float, float] | None = None
    program: Program | None = None
    reset: str | None = None
    moves: Sequence[Move] = ()


@dataclass
class _PlaySegment:
    """A segment as the test bench takes it: of a program, perhaps without what its memories hold."""

    program: Program | None
    memories: bool
    reset: str | None
    packets: list[Beats]
    moves: Sequence[Move]
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
    played = pickle.loads((folder / "result.pickle").read_bytes())
    return Traffic(played, next(folder.glob("dump.*")) if waves else None, folder)


def programs(segments: Sequence[Segment]) -> Iterator[Program]:
    """The program that runs in each segment."""
    program = None
    for segment in segments:
        program = segment.program or program
        assert program is not None
        yield program


def measured_latencies(segment: Segment, played: Played) -> list[int]:
    """Cycles from the first input beat to the last output beat, of the packets that are not quiet."""
    loud = [cycle for cycle, send in zip(played.accepted, segment.sends) if not send.quiet]
    return [heard.finished - cycle for cycle, heard in zip(loud, played.heard)]


def model_of(program: Program, send: Send) -> Model:
    """The model that a packet is computed as."""
    return program.models[send.model if send.model < len(program.models) else 0]


def _as_played(segments, preload, hardware_program):
    result = []
    for number, (segment, program) in enumerate(zip(segments, programs(segments))):
        packets = [_beats(program, send, segment.moves, place) for place, send in enumerate(segment.sends)]
        result.append(
            _PlaySegment(
                program=hardware_program if hardware_program is not None and number == 0 else segment.program,
                memories=not (preload and number == 0),
                reset=segment.reset,
                packets=packets,
                moves=segment.moves,
                outputs=sum(not send.quiet for send in segment.sends),
                # Two packets may wait.
                settle=3 * max(len(model.words) + model.spaced_latency for model in program.models),
                pauses=segment.pauses,
            )
        )
    return result


def _beats(program, send, moves, place):
    """A packet as it is driven; it is the segment's one at ``place``."""
    config = program.config
    data = to_beats(send.bits, config, send.beats or model_of(program, send).input_beats)
    size = config.beat_bits // 8
    own = [
        number + 1
        for number, move in enumerate(moves)
        if (move.model, move.stream) == (send.model, send.stream) and move.after <= place
    ]
    return Beats(
        beats=tuple(int.from_bytes(data[i : i + size], "little") for i in range(0, len(data), size)),
        tid=program.tid(send.model, send.stream),
        user=request_word.pack(start=int(send.start), quiet=int(send.quiet)),
        spacing=send.spacing,
        moves=max(own, default=0),
    )

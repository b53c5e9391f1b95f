"""Random sets of random models on the RTL, their contexts' packets interleaved at random: ``make fuzz``.

Everything follows from a seed: networks, weight formats, numbers of contexts, packets, pauses. The RTL has to agree
with the virtual machine in every bit, mark and ``tid``, with the timeline in every cycle, and each context has to give
what it would give alone on a device of its own.
"""

import argparse
import concurrent.futures
import dataclasses
import hashlib
import json
import multiprocessing
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spiccato.compiler import compile_network, link
from spiccato.config import Config
from spiccato.errors import FitError
from spiccato.formats import to_bits
from spiccato.isa.marks import MARKS
from spiccato.network import Network
from spiccato.program import Model, Program

from .. import benches, models
from ..benches import runner, traffic
from ..benches.simulators import SimulationError
from ..benches.traffic import Played, Segment, Send
from ..models import zoo
from ..models.vm import VirtualMachine

__all__ = ["CONFIGS", "Case", "Found", "check", "check_alone", "draw", "main"]

_SMALL = {"weight_depth": 512, "slots": 64, "vector_blocks": 32, "input_blocks": 8, "program_depth": 2048}

#: Both profiles, blocks of 4 and 8, both formats of the streams, numbers of models and streams, an odd number of cores,
#: all kinds of multipliers; state memories of sizes that are no power of two, output queues that are soon full.
CONFIGS = {
    config.name: config
    for config in (
        Config(name="single", cores=1, block=4, state_slots=31, output_beats=8, **_SMALL),
        Config(
            name="odd",
            cores=3,
            block=4,
            models=2,
            streams=4,
            state_slots=100,
            io_format="float32",
            output_beats=13,
            **_SMALL,
        ),
        Config(
            name="registered",
            cores=2,
            block=4,
            models=4,
            streams=8,
            state_slots=200,
            output_beats=9,
            family="agilex7",
            profile="conservative",
            **_SMALL,
        ),
        Config(
            name="wide",
            cores=1,
            block=8,
            models=4,
            streams=8,
            state_slots=150,
            io_format="float32",
            output_beats=16,
            family="agilex7",
            **_SMALL,
        ),
        Config(
            name="unaccompanied",
            cores=5,
            block=4,
            models=4,
            state_slots=60,
            output_beats=10,
            profile="conservative",
            **_SMALL,
        ),
        Config(name="streams", cores=1, block=8, streams=8, state_slots=90, output_beats=6, family="ecp5", **_SMALL),
    )
}

#: Packets for each network, and programs that are loaded one after the other.
PACKETS, PROGRAMS = 100, 2


@dataclass(frozen=True, eq=False)
class Case:
    """What one seed gives.

    Attributes
    ----------
    seed : int
    segments : list of Segment
    alone : list
        For each segment its program's models as they were compiled, each by itself.
    """

    seed: int
    segments: list[Segment]
    alone: list[list[Model]]

    @property
    def config(self) -> Config:
        """Of all its programs."""
        return self.alone[0][0].config

    @property
    def networks(self) -> int:
        """How many networks there are."""
        return sum(len(segment.program.models) for segment in self.segments if segment.program is not None)

    @property
    def packets(self) -> int:
        """How many packets there are."""
        return sum(len(segment.sends) for segment in self.segments)


@dataclass(frozen=True)
class Found:
    """What came of a case: cycles from the first packet of each segment to the last, and what differs, a line each."""

    seed: int
    config: str
    networks: int
    packets: int
    cycles: int
    failures: list[str]


def draw(seed: int, *, packets: int = PACKETS, programs: int = PROGRAMS) -> Case:
    """The case of a seed, with so many packets for each network.

    Seeds that follow each other have the configurations of :data:`CONFIGS` in turn.
    """
    rng = np.random.default_rng(seed)
    config = list(CONFIGS.values())[seed % len(CONFIGS)]
    segments, alone = [], []
    for _ in range(programs):
        program, compiled = _program(rng, config)
        count = packets * len(compiled)
        # As fast as it goes or at a distance, then with pauses of both streams, then with a host that hardly takes any.
        shares = ((None, 2), ((0.3, 0.3), 1), ((0.2, 0.95), 1))
        for number, (pauses, share) in enumerate(shares):
            sends = _sends(rng, program, max(1, count * share // 4), spaced=pauses is None)
            seeded = None if pauses is None else (int(rng.integers(1 << 32)), *pauses)
            first = number == 0
            reset = not first and bool(rng.integers(2))
            segments.append(Segment(sends, seeded, program=program if first else None, reset=reset))
            alone.append(compiled)
    return Case(seed, segments, alone)


def _program(rng: np.random.Generator, config: Config) -> tuple[Program, list[Model]]:
    """Models that fit together, and the same as they were compiled by themselves."""
    while True:
        wanted = int(rng.integers(1, config.models + 1))
        try:
            compiled = [_model(rng, config, number) for number in range(wanted)]
            contexts = [int(number) for number in rng.integers(1, config.streams + 1, wanted)]
            return link(compiled, contexts=contexts), compiled
        except FitError:
            continue


def _model(rng: np.random.Generator, config: Config, number: int) -> Model:
    network = zoo.random_network(
        rng,
        layers=int(rng.integers(1, 4)),
        linear=int(rng.integers(0, 3)),
        max_size=int(rng.integers(2, 4 * config.slot_units + 2)),
        scale=float(rng.choice([1, 3])),
        name=f"m{number}",
    )
    if rng.integers(3) == 0:
        network = _with_initial(rng, network)
    formats = [str(one) for one in rng.choice(["int16", "int8"], size=len(network.hidden_layers) + 1)]
    return compile_network(network, config, weight_format=formats)


def _with_initial(rng: np.random.Generator, network: Network) -> Network:
    """The network with an initial state that is not zero."""
    layers = [
        dataclasses.replace(layer, h0=rng.uniform(-1, 1, layer.output_size), c0=rng.uniform(-2, 2, layer.output_size))
        for layer in network.hidden_layers
    ]
    return dataclasses.replace(network, layers=(*layers, *network.layers[len(layers) :]))


def _sends(rng: np.random.Generator, program: Program, count: int, *, spaced: bool) -> list[Send]:
    """Packets of any contexts, also of such that there are not, and of any kind."""
    config = program.config
    distances = [0, 0, 0, 0, 30, 80, 500] if spaced else [0]
    sends = []
    for _ in range(count):
        model, stream = _context(rng, program)
        found = program.models[model if model < len(program.models) else 0]
        x = rng.normal(size=found.input_size) * 2.0 ** rng.integers(-6, 6)
        if rng.integers(12) == 0:
            x[rng.integers(len(x))] = rng.choice([np.nan, np.inf, -np.inf, 1e30])
        other = max(1, found.input_beats + int(rng.integers(-2, 4)))
        sends.append(
            Send(
                to_bits(x, config.io_format),
                model,
                stream,
                start=bool(rng.integers(8) == 0),
                quiet=bool(rng.integers(4) == 0),
                beats=other if rng.integers(8) == 0 else None,
                spacing=int(rng.choice(distances)),
            )
        )
    return sends


def _context(rng: np.random.Generator, program: Program) -> tuple[int, int]:
    """Model and stream: mostly of a context that there is, often the same as others'."""
    config = program.config
    if rng.integers(12) == 0:
        return int(rng.integers(config.models)), int(rng.integers(config.streams))
    model = int(rng.integers(len(program.models)))
    streams = program.streams[model]
    return model, int(rng.integers(streams if rng.integers(2) else min(2, streams)))


def check(case: Case, build_folder="build") -> Found:
    """Play a case on the RTL."""
    cycles = 0
    try:
        ran = traffic.play(case.segments, build_folder=build_folder)
        failures = [line for lines in traffic.compare(case.segments, ran.played) for line in lines]
        failures += check_alone(case, ran.played)
        cycles = sum(max((heard.finished for heard in one.heard), default=0) - one.accepted[0] for one in ran.played)
        if not failures:
            ran.discard()
    except SimulationError as error:
        failures = [str(error)]
    return Found(case.seed, case.config.label, case.networks, case.packets, cycles, failures)


def check_alone(case: Case, played: list[Played]) -> list[str]:
    """What contexts give otherwise than alone on a device, a line for each context."""
    machines: dict[tuple[int, int], VirtualMachine] = {}
    failures: dict[tuple[int, tuple[int, int]], str] = {}
    program: Program | None = None
    for number, (segment, compiled, got) in enumerate(zip(case.segments, case.alone, played)):
        if segment.program is not None:
            program = segment.program
        if segment.program is not None or segment.reset:
            machines = {}
        assert program is not None
        heard = iter(got.heard)
        for send in segment.sends:
            answer = None if send.quiet else next(heard, None)
            context = send.model, send.stream
            if not program.has_context(*context):
                continue
            if context not in machines:
                machines[context] = VirtualMachine(link([compiled[send.model]]))
            result = traffic.step(machines[context], send, model=0, stream=0)
            marks = sum(result.flags[name] << bit for bit, name in enumerate(MARKS))
            data = result.bits.astype(f"<u{program.config.io_bits // 8}").tobytes()
            if answer is not None and (answer.user, answer.data) != (marks, data):
                failures.setdefault(
                    (number, context),
                    f"segment {number}: stream {send.stream} of model {send.model} gives something else than alone",
                )
    return list(failures.values())


def _check_seed(seed: int, build_folder: str) -> Found:
    return check(draw(seed), build_folder)


def _code() -> str:
    """Digest of all that decides what a seed gives."""
    files = [Path(__file__)]
    for package in (benches, models):
        files += sorted(Path(package.__file__ or "").parent.glob("*.py"))
    return hashlib.sha256(runner.GENERATOR.encode() + b"".join(path.read_bytes() for path in files)).hexdigest()[:16]


def main(arguments: list[str] | None = None) -> int:
    """Run seeds until there were enough networks and packets; those that passed before count and are not run again."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=main.__doc__)
    parser.add_argument("--seed", type=int, help="only this one, even if it has passed")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--networks", type=int, default=200, help="at least so many")
    parser.add_argument("--packets", type=int, default=20_000, help="at least so many")
    parser.add_argument("--workers", type=int, default=2, help="simulations at a time")
    parser.add_argument("--folder", default="build", help="where simulators and what has passed are kept")
    options = parser.parse_args(arguments)
    if options.seed is not None:
        return 0 if _told(_check_seed(options.seed, options.folder)) else 1
    kept = Path(options.folder) / "fuzz" / f"passed_{_code()}.jsonl"
    kept.parent.mkdir(parents=True, exist_ok=True)
    passed: dict[int, Found] = {}
    if kept.exists():
        for line in kept.read_text().splitlines():
            found = Found(**json.loads(line))
            passed[found.seed] = found
    failed = _run(options, passed, kept)
    print(
        f"{len(passed)} seeds passed: {sum(one.networks for one in passed.values())} networks, "
        f"{sum(one.packets for one in passed.values())} packets, {sum(one.cycles for one in passed.values())} cycles"
        + (f"; FAIL: seed {failed.seed}" if failed else "; PASS")
    )
    return 1 if failed else 0


def _run(options, passed: dict[int, Found], kept: Path) -> Found | None:
    """Run what is missing, in the order of the seeds; returns what failed."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(options.workers, context) as pool:
        seed, running = options.first, {}

        def counted():
            known = [passed[one] for one in range(options.first, seed) if one in passed]
            return sum(one.networks for one in known), sum(one.packets for one in known)

        while True:
            while len(running) < options.workers and (
                counted()[0] < options.networks or counted()[1] < options.packets
            ):
                if seed not in passed:
                    running[pool.submit(_check_seed, seed, options.folder)] = seed
                seed += 1
            if not running:
                return None
            done, _ = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
            for future in done:
                del running[future]
                found = future.result()
                if not _told(found):
                    return found
                passed[found.seed] = found
                with kept.open("a") as file:
                    file.write(json.dumps(dataclasses.asdict(found)) + "\n")


def _told(found: Found) -> bool:
    """Print what came of a seed; returns whether all is well."""
    what = (
        f"seed {found.seed}: {found.config}, {found.networks} networks, {found.packets} packets, {found.cycles} cycles"
    )
    print(f"{what}: {'FAIL' if found.failures else 'as predicted'}", flush=True)
    for failure in found.failures:
        print(f"FAIL: {failure}")
    if found.failures:
        print(f"again: make fuzz SEED={found.seed}", flush=True)
    return not found.failures


if __name__ == "__main__":
    sys.exit(main())

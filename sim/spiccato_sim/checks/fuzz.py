"""Random sets of random models on the RTL, their contexts' packets interleaved at random: ``make fuzz``.

Everything follows from a seed: networks, weight formats, numbers of contexts, packets, pauses, and whose states are
saved, loaded and forgotten meanwhile. The RTL has to agree with the virtual machine in every bit, mark and ``tid`` and
in every saved state, with the timeline in every cycle. Each context has to give what it would give alone on a device of
its own; one that a state is loaded into, what the context that it was saved from would give.
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

from spiccato.compiler import link
from spiccato.isa.marks import MARKS
from spiccato.program import Program, State

from .. import benches, models
from ..benches import runner, traffic
from ..benches.comparison import compare, in_order, step
from ..benches.moves import same
from ..benches.simulators import SimulationError
from ..benches.streams import Played
from ..benches.traffic import Send
from ..models.vm import VirtualMachine
from . import fuzz_cases
from .fuzz_cases import Case, draw

__all__ = ["Found", "check", "check_alone", "main"]


@dataclass(frozen=True)
class Found:
    """What came of a case.

    Attributes
    ----------
    seed : int
    config : str
    networks, packets, moves : int
        How many there were.
    meanwhile : int
        Packets that came while a state moved.
    cycles : int
        From the first packet of each segment to the last.
    failures : list of str
        What differs, a line each.
    """

    seed: int
    config: str
    networks: int
    packets: int
    moves: int
    meanwhile: int
    cycles: int
    failures: list[str]


def check(case: Case, build_folder="build") -> Found:
    """Play a case on the RTL."""
    cycles = meanwhile = 0
    try:
        ran = traffic.play(case.segments, build_folder=build_folder)
        failures = [line for lines in compare(case.segments, ran.played) for line in lines]
        failures += check_alone(case, ran.played)
        cycles = sum(max((heard.finished for heard in one.heard), default=0) - one.accepted[0] for one in ran.played)
        meanwhile = sum(
            any(moved.begin < cycle < moved.end for moved in one.moved) for one in ran.played for cycle in one.accepted
        )
        if not failures:
            ran.discard()
    except SimulationError as error:
        failures = [str(error)]
    return Found(case.seed, case.config.label, case.networks, case.packets, case.moves, meanwhile, cycles, failures)


def check_alone(case: Case, played: list[Played]) -> list[str]:
    """What contexts give otherwise than alone on a device, a line for each context of a segment.

    A context whose state is loaded goes on where the one that it was saved from would have gone on alone.
    """
    machines: dict[tuple[int, int], VirtualMachine] = {}
    failures: dict[tuple[int, tuple[int, int]], str] = {}
    states: list[State] = []
    program: Program | None = None
    for number, (segment, compiled, got) in enumerate(zip(case.segments, case.alone, played)):
        if segment.program is not None:
            program = segment.program
        if segment.program is not None or segment.reset is not None:
            machines = {}
        assert program is not None
        heard, saved = iter(got.heard), (moved.state for moved in got.moved if moved.state is not None)
        for what in in_order(segment):
            answer = next(heard, None) if isinstance(what, Send) and not what.quiet else None
            context = what.model, what.stream
            if not program.has_context(*context):
                continue
            if context not in machines:
                machines[context] = VirtualMachine(link([compiled[what.model]]))
            machine, differs = machines[context], False
            if isinstance(what, Send):
                result = step(machine, what, model=0, stream=0)
                marks = sum(result.flags[name] << bit for bit, name in enumerate(MARKS))
                data = result.bits.astype(f"<u{program.config.io_bits // 8}").tobytes()
                differs = answer is not None and (answer.user, answer.data) != (marks, data)
            elif what.kind == "save":
                states.append(machine.state())
                state = next(saved, None)
                differs = state is not None and not same(state, states[-1])
            elif what.kind == "load":
                assert what.state is not None
                machine.set_state(states[what.state])
            else:
                machine.reset(0, 0)
            if differs:
                failures.setdefault(
                    (number, context),
                    f"segment {number}: stream {what.stream} of model {what.model} gives something else than alone",
                )
    return list(failures.values())


def _check_seed(seed: int, build_folder: str) -> Found:
    return check(draw(seed), build_folder)


def _code() -> str:
    """Digest of all that decides what a seed gives."""
    files = [Path(__file__), Path(fuzz_cases.__file__)]
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
        f"{sum(one.packets for one in passed.values())} packets, {sum(one.moves for one in passed.values())} moves of "
        f"states, {sum(one.cycles for one in passed.values())} cycles"
        + (f"; FAIL: seed {failed.seed}" if failed else "; PASS")
    )
    return 1 if failed else 0


def _run(options, passed: dict[int, Found], kept: Path) -> Found | None:
    """Run what is missing, in the order of the seeds; returns what failed."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(options.workers, context) as pool:
        seed = options.first
        running: dict[concurrent.futures.Future, int] = {}

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
        f"seed {found.seed}: {found.config}, {found.networks} networks, {found.packets} packets, "
        f"{found.moves} moves of states ({found.meanwhile} packets meanwhile), {found.cycles} cycles"
    )
    print(f"{what}: {'FAIL' if found.failures else 'as predicted'}", flush=True)
    for failure in found.failures:
        print(f"FAIL: {failure}")
    if found.failures:
        print(f"again: make fuzz SEED={found.seed}", flush=True)
    return not found.failures


if __name__ == "__main__":
    sys.exit(main())

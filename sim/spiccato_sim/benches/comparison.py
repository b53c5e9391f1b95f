"""What traffic on the RTL has to be: every bit, mark, tid, cycle and saved state, by the virtual machine."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from spiccato.isa.marks import MARKS
from spiccato.isa.registers import REGISTERS
from spiccato.program import Program, State

from ..models.timeline import Packet, Passage, Timeline
from ..models.vm import StepResult, VirtualMachine
from .moves import Move
from .streams import Played
from .traffic import Segment, Send, model_of, programs

__all__ = ["Expected", "compare", "expected", "in_order", "predicted_passages", "step"]


@dataclass(frozen=True)
class Expected:
    """What a segment gives: the results of all packets, and the states that are saved, in order."""

    results: list[StepResult]
    saved: list[State]


def in_order(segment: Segment) -> Iterator[Send | Move]:
    """Packets and moves in the order in which each context sees them."""
    moves = iter(segment.moves)
    move = next(moves, None)
    for number in range(len(segment.sends) + 1):
        while move is not None and move.after <= number:
            yield move
            move = next(moves, None)
        if number < len(segment.sends):
            yield segment.sends[number]


def expected(segments: Sequence[Segment]) -> list[Expected]:
    """The virtual machine's results, segment by segment."""
    result: list[Expected] = []
    states: list[State] = []
    machine = None
    for segment in segments:
        if segment.program is not None:
            machine = VirtualMachine(segment.program)
        assert machine is not None
        if segment.reset is not None:
            machine.reset()
        results, before = [], len(states)
        for what in in_order(segment):
            if isinstance(what, Send):
                results.append(step(machine, what))
            elif what.kind == "save":
                states.append(machine.state(what.model, what.stream))
            elif what.kind == "load":
                assert what.state is not None
                machine.set_state(states[what.state], what.model, what.stream)
            else:
                machine.reset(what.model, what.stream)
        result.append(Expected(results, states[before:]))
    return result


def step(machine: VirtualMachine, send: Send, *, model: int | None = None, stream: int | None = None) -> StepResult:
    """What a machine makes of a packet, perhaps as one of another context."""
    found = model_of(machine.program, send if model is None else send._replace(model=model))
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


def predicted_passages(program: Program, sends: Sequence[Send], held: Mapping[int, int] | None = None) -> list[Passage]:
    """When packets come and go, nothing being under way before; ``held`` is that of :class:`.streams.Played`."""
    packets = []
    for number, send in enumerate(sends):
        beats = model_of(program, send).input_beats
        surplus = max(0, (send.beats or beats) - beats)
        spacing = max(send.spacing, (held or {}).get(number, 0))
        packets.append(Packet(send.model, send.stream, send.quiet, spacing, surplus))
    return Timeline(program).stream(packets)


def compare(segments: Sequence[Segment], played: Sequence[Played]) -> tuple[list[str], list[str]]:
    """What differs from the predictions, a line each: in what is computed, and in cycles and registers."""
    values: list[str] = []
    cycles: list[str] = []
    inferences = 0
    marked: set[str] = set()
    for number, (segment, program, wanted, got) in enumerate(
        zip(segments, programs(segments), expected(segments), played)
    ):
        where = f"segment {number}: " * (len(segments) > 1)
        values += [where + line for line in _value_differences(program, segment, wanted.results, got)]
        values += [where + line for line in _state_differences(segment, wanted.saved, got)]
        if segment.pauses is None:
            cycles += [where + line for line in _cycle_differences(program, segment, got)]
        inferences += len(segment.sends)
        marked |= {name for result in wanted.results for name in MARKS if result.flags[name]}
        errors = REGISTERS["errors"].pack(**dict.fromkeys(marked, 1))
        for name, value in (("inferences", inferences), ("errors", errors)):
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


def _state_differences(segment, states, got):
    """Of what was saved."""
    if len(got.moved) != len(segment.moves):
        yield f"{len(got.moved)} moves of states ended, there are {len(segment.moves)}"
    saves = [(move, moved.state) for move, moved in zip(segment.moves, got.moved) if move.kind == "save"]
    for (move, found), wanted in zip(saves, states):
        for name, mine, theirs in (("sums", found.sums, wanted.sums), ("c", found.c, wanted.c)):
            wrong = np.argwhere(mine != theirs)
            if len(wrong):
                place = tuple(wrong[0].tolist())
                yield (
                    f"state of stream {move.stream} of model {move.model} after {move.after} packets: {len(wrong)} of "
                    f"{mine.size} {name} differ, first {place}: {mine[place]} from the RTL, {theirs[place]} predicted"
                )


def _cycle_differences(program, segment, got):
    """Of the cycles in which packets begin and outputs end."""
    predicted = predicted_passages(program, segment.sends, got.held)
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

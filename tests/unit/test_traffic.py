"""Comparisons of traffic: whatever the hardware might do otherwise is told."""

import dataclasses

import numpy as np
import pytest

pytest.importorskip("cocotb")

from spiccato.isa.marks import MARKS
from spiccato.isa.registers import REGISTERS
from spiccato_sim.benches.comparison import compare, expected, in_order, predicted_passages
from spiccato_sim.benches.moves import Move
from spiccato_sim.benches.streams import Heard, Moved, Played
from spiccato_sim.benches.traffic import Segment, Send
from spiccato_sim.checks import fuzz
from spiccato_sim.checks.fuzz import check_alone
from spiccato_sim.checks.fuzz_cases import CONFIGS, draw

pytestmark = pytest.mark.fast


def as_predicted(case):
    """What hardware would give that is as predicted."""
    played, packets, errors = [], 0, set()
    for segment, wanted in zip(case.segments, expected(case.segments)):
        if segment.program is not None:
            program = segment.program
        passages = predicted_passages(program, segment.sends)
        heard = []
        for send, result, passage in zip(segment.sends, wanted.results, passages):
            errors |= {name for name in MARKS if result.flags[name]}
            if not send.quiet:
                marks = sum(result.flags[name] << bit for bit, name in enumerate(MARKS))
                data = result.bits.astype(f"<u{program.config.io_bits // 8}").tobytes()
                heard.append(Heard(data, program.tid(send.model, send.stream), marks, 1000 + passage.finished))
        packets += len(segment.sends)
        registers = {"inferences": packets, "errors": REGISTERS["errors"].pack(**dict.fromkeys(errors, 1))}
        saved = iter(wanted.saved)
        moved = [Moved(0, 9, next(saved) if move.kind == "save" else None) for move in segment.moves]
        accepted = [1000 + passage.accepted for passage in passages]
        played.append(Played(accepted=accepted, heard=heard, moved=moved, registers=registers))
    return played


@pytest.fixture(scope="module")
def case():
    return draw(2, packets=20, programs=2)


def test_all_as_predicted(case):
    assert compare(case.segments, as_predicted(case)) == ([], [])
    assert check_alone(case, as_predicted(case)) == []


@pytest.mark.parametrize(
    "changes, text",
    [
        ({"data": b"\x01\x02"}, "output bits, marks or tid: 1 of"),
        ({"user": 8}, "output bits, marks or tid: 1 of"),
        ({"tid": 31}, "output bits, marks or tid: 1 of"),
        ({"finished": 0}, "cycles of last output beats: 1 of"),
    ],
)
def test_a_packet_that_differs(case, changes, text):
    played = as_predicted(case)
    played[0].heard[3] = played[0].heard[3]._replace(**changes)
    [line] = [line for lines in compare(case.segments, played) for line in lines]
    assert line.startswith(f"segment 0: {text}")


def test_packets_that_are_missing_or_late(case):
    played = as_predicted(case)
    played[1].heard.pop()
    played[0].accepted[1] += 1
    played[2].registers["inferences"] -= 1
    played[2].registers["errors"] ^= 1
    values, cycles = compare(case.segments, played)
    assert [line.split(":")[0] for line in values] == ["segment 1", "segment 2", "segment 2"]
    assert "output packets came" in values[0] and "register inferences" in values[1] and "errors" in values[2]
    assert len(cycles) == 1 and cycles[0].startswith("segment 0: cycles of first input beats: 1 of")


@pytest.mark.parametrize("name", ["sums", "c"])
def test_a_state_that_differs(case, name):
    """A word of a saved state is told of, by its place."""
    played = as_predicted(case)
    number, move, state = next(
        (number, move, moved.state)
        for number, (segment, one) in enumerate(zip(case.segments, played))
        for move, moved in zip(segment.moves, one.moved)
        if moved.state is not None
    )
    array = getattr(state, name).copy()
    array[0, 0, 0] += 5
    moved = played[number].moved
    place = case.segments[number].moves.index(move)
    moved[place] = moved[place]._replace(state=dataclasses.replace(state, **{name: array}))
    where = f"segment {number}: "
    [line] = compare(case.segments, played)[0]
    assert line == (
        f"{where}state of stream {move.stream} of model {move.model} after {move.after} packets: 1 of {array.size} "
        f"{name} differ, first (0, 0, 0): {array[0, 0, 0]} from the RTL, {array[0, 0, 0] - 5} predicted"
    )
    alone = f"{where}stream {move.stream} of model {move.model} gives something else than alone"
    assert check_alone(case, played) == [alone]


def test_moves_that_do_not_end(case):
    played = as_predicted(case)
    number = next(number for number, one in enumerate(played) if one.moved)
    played[number].moved.pop()
    wanted = len(case.segments[number].moves)
    [line] = [line for line in compare(case.segments, played)[0] if "moves" in line]
    assert line == f"segment {number}: {wanted - 1} moves of states ended, there are {wanted}"


def test_what_waits_for_a_move():
    """A packet that was held is predicted from there on, and everything behind it."""
    case = draw(5, packets=20, programs=1)
    program, sends = case.segments[0].program, [send._replace(spacing=0) for send in case.segments[0].sends]
    free, held = predicted_passages(program, sends), predicted_passages(program, sends, {4: 3000})
    assert held[:4] == free[:4]
    late = held[4].accepted - free[4].accepted
    assert held[4].accepted == held[3].accepted + 3000 and late > 0
    # Everything is at rest before the held packet and before the first one.
    again = predicted_passages(program, sends[4:])
    assert [passage.accepted - held[4].accepted for passage in held[4:]] == [passage.accepted for passage in again]


def test_order_of_packets_and_moves():
    """A move comes before the packet whose number it has, or behind the last one."""
    sends = [Send(np.zeros(1), stream=stream) for stream in range(3)]
    moves = [Move(after, "reset", 0, 0) for after in (0, 2, 2, 3)]
    order = list(in_order(Segment(sends, moves=moves)))
    assert order == [moves[0], *sends[:2], *moves[1:3], sends[2], moves[3]]


def test_a_context_that_is_not_as_if_alone(case):
    """Each context by itself: the wrong state of one is told of that one."""
    played = as_predicted(case)
    loud = [send for send in case.segments[0].sends if not send.quiet]
    program = case.segments[0].program
    number = next(i for i, send in enumerate(loud) if program.has_context(send.model, send.stream))
    played[0].heard[number] = played[0].heard[number]._replace(data=b"")
    send = loud[number]
    assert check_alone(case, played) == [
        f"segment 0: stream {send.stream} of model {send.model} gives something else than alone"
    ]


def test_configurations():
    """What the set of configurations is to cover."""
    configs = CONFIGS.values()
    assert {config.profile for config in configs} == {"aggressive", "conservative"}
    assert {config.block for config in configs} == {4, 8}
    assert {config.io_format for config in configs} == {"bfloat16", "float32"}
    assert {config.models for config in configs} == {1, 2, 4} and {config.streams for config in configs} >= {1, 4, 8}
    assert {(config.narrow, config.columns // config.block) for config in configs} == {(False, 1), (True, 1), (True, 2)}
    assert any(config.cores % 2 and config.cores > 1 for config in configs)


def test_seeds_are_all_there_is():
    """The same case each time, another one of another seed, with packets of all kinds."""
    one, again, other = (draw(seed, packets=60, programs=1) for seed in (3, 3, 3 + len(CONFIGS)))
    assert one.config is other.config and one.networks and one.packets == again.packets
    for mine, theirs in zip(one.segments, again.segments):
        assert mine.pauses == theirs.pauses and mine.reset == theirs.reset
        for a, b in zip(mine.sends, theirs.sends):
            assert a._replace(bits=0) == b._replace(bits=0) and np.array_equal(a.bits, b.bits)
    sends = [send for segment in one.segments for send in segment.sends]
    assert any(send.start for send in sends) and any(send.quiet for send in sends)
    assert any(send.beats for send in sends) and any(send.spacing for send in sends)
    assert len({(send.model, send.stream) for send in sends}) > 3
    assert [segment.moves for segment in one.segments] == [segment.moves for segment in again.segments]


def test_states_move():
    """Into the context they were saved from and into others, in this program and in the next one, after resets."""
    seen, resets = set(), set()
    for seed in range(len(CONFIGS)):
        program, number, saved = None, 0, []
        for segment in draw(seed, packets=40).segments:
            number += segment.program is not None
            program = segment.program or program
            resets.add(segment.reset)
            assert [move.after for move in segment.moves] == sorted(move.after for move in segment.moves)
            for move in segment.moves:
                assert program.has_context(move.model, move.stream)
                if move.kind == "load":
                    assert saved[move.state][0] == program.models[move.model].digest
                    seen.add(
                        (
                            "load",
                            saved[move.state][1:] == (number, move.model, move.stream),
                            saved[move.state][1] == number,
                        )
                    )
                else:
                    seen.add(move.kind)
                if move.kind == "save":
                    saved.append((program.models[move.model].digest, number, move.model, move.stream))
    assert seen == {"save", "reset", ("load", True, True), ("load", False, True), ("load", False, False)}
    assert resets == {None, "reset_state", "reset"}


def test_long_run(monkeypatch, tmp_path, capsys):
    """It goes on until there were enough, keeps what passed, and ends with a seed that fails and how to repeat it."""
    asked = []

    class Pool:
        def __init__(self, *_):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def submit(self, function, *arguments):
            future = fuzz.concurrent.futures.Future()
            future.set_result(function(*arguments))
            return future

    def check_seed(seed, folder):
        asked.append(seed)
        return fuzz.Found(seed, "x", 3, 100, 7, 40, 1000, ["other bits"] if seed == bad else [])

    monkeypatch.setattr(fuzz.concurrent.futures, "ProcessPoolExecutor", Pool)
    monkeypatch.setattr(fuzz, "_check_seed", check_seed)
    arguments = ["--folder", str(tmp_path), "--networks", "10", "--packets", "500", "--workers", "1"]
    bad = 3
    assert fuzz.main(arguments) == 1
    told = capsys.readouterr().out
    assert asked == [0, 1, 2, 3] and "FAIL: other bits\nagain: make fuzz SEED=3" in told and "FAIL: seed 3" in told
    bad = None
    assert fuzz.main(arguments) == 0
    assert asked == [0, 1, 2, 3, 3, 4]
    assert "5 seeds passed: 15 networks, 500 packets, 35 moves of states, 5000 cycles; PASS" in capsys.readouterr().out
    assert fuzz.main(arguments) == 0 and len(asked) == 6
    assert fuzz.main([*arguments, "--seed", "1"]) == 0 and asked[-1] == 1

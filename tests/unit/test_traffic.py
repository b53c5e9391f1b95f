"""Comparisons of traffic: whatever the hardware might do otherwise is told."""

import numpy as np
import pytest

pytest.importorskip("cocotb")

from spiccato.isa.marks import MARKS
from spiccato.isa.registers import REGISTERS
from spiccato_sim.benches.streams import Heard
from spiccato_sim.benches.traffic import Played, compare, expected_results, predicted_passages
from spiccato_sim.checks import fuzz
from spiccato_sim.checks.fuzz import CONFIGS, check_alone, draw

pytestmark = pytest.mark.fast


def as_predicted(case):
    """What hardware would give that is as predicted."""
    played, packets, errors = [], 0, set()
    for segment, results in zip(case.segments, expected_results(case.segments)):
        if segment.program is not None:
            program = segment.program
        passages = predicted_passages(program, segment.sends)
        heard = []
        for send, result, passage in zip(segment.sends, results, passages):
            errors |= {name for name in MARKS if result.flags[name]}
            if not send.quiet:
                marks = sum(result.flags[name] << bit for bit, name in enumerate(MARKS))
                data = result.bits.astype(f"<u{program.config.io_bits // 8}").tobytes()
                heard.append(Heard(data, program.tid(send.model, send.stream), marks, 1000 + passage.finished))
        packets += len(segment.sends)
        registers = {"inferences": packets, "errors": REGISTERS["errors"].pack(**dict.fromkeys(errors, 1))}
        played.append(Played([1000 + passage.accepted for passage in passages], heard, registers))
    return played


@pytest.fixture(scope="module")
def case():
    return draw(2, packets=12, programs=1)


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
    assert {config.models for config in configs} == {1, 2, 4} and {config.streams for config in configs} == {1, 4, 8}
    assert any(config.cores % 2 and config.cores > 1 for config in configs) and len(configs) <= 6


def test_seeds_are_all_there_is():
    """The same case each time, another one of another seed, with packets of all kinds."""
    one, again, other = (draw(seed, packets=60, programs=1) for seed in (3, 3, 9))
    assert one.config is other.config and one.networks and one.packets == again.packets
    for mine, theirs in zip(one.segments, again.segments):
        assert mine.pauses == theirs.pauses and mine.reset == theirs.reset
        for a, b in zip(mine.sends, theirs.sends):
            assert a._replace(bits=0) == b._replace(bits=0) and np.array_equal(a.bits, b.bits)
    sends = [send for segment in one.segments for send in segment.sends]
    assert any(send.start for send in sends) and any(send.quiet for send in sends)
    assert any(send.beats for send in sends) and any(send.spacing for send in sends)
    assert len({(send.model, send.stream) for send in sends}) > 3


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
        return fuzz.Found(seed, "x", 3, 100, 1000, ["other bits"] if seed == bad else [])

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
    assert "5 seeds passed: 15 networks, 500 packets, 5000 cycles; PASS" in capsys.readouterr().out
    assert fuzz.main(arguments) == 0 and len(asked) == 6
    assert fuzz.main([*arguments, "--seed", "1"]) == 0 and asked[-1] == 1

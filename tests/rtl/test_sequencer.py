"""The sequencer: order and cycles of the issue words, waiting, sides, restart, read-back."""

from types import SimpleNamespace

import numpy as np
import pytest
from amaranth.hdl import Value

from rtl_bench import make_config, simulate
from spiccato.isa.issue import Source, VectorFrom, issue_word
from spiccato.rtl.sequencer import Sequencer

pytestmark = pytest.mark.fast

CONFIG = make_config(weight_depth=64, program_depth=64)


def make_program(rng, seeds, length, *, waits=0.0, start_waits=False):
    """Issue words, told apart by their weight address: ``seeds`` of them, then an inference of ``length``."""
    words = []
    for n in range(seeds + length):
        first = n == seeds
        words.append(
            {
                "valid": 1,
                "weight": n,
                "slot": int(rng.integers(CONFIG.slots)),
                "source": Source(int(rng.integers(4))),
                "vector_from": VectorFrom.H,
                "output": 1,
                "seed": int(n < seeds),
                "start": int(first),
                "commit": int(n == seeds + length - 1),
                "wait_block": int(n >= seeds and (start_waits if first else rng.random() < waits)),
            }
        )
    return words


def word_of(part, ctx):
    """The fields of the issue register, of which no two copies differ."""
    fields = {}
    for port in [*part.issue, *part.read, part.finish]:
        for name in port.shape().members:
            value = ctx.get(Value.cast(getattr(port, name)))
            # A read-back's word finishes nothing.
            same = fields.setdefault(name, value) == value
            assert same or (port is part.finish and not ctx.get(port.valid)), name
    return fields


def run(words, seeds, inputs, cycles, *, malformed=(), probe_word=None):
    """Load, restart, then ``inputs(cycle)`` ({member: value}) in each cycle; returns what came out in each.

    ``malformed`` lists the inferences (counted from 0) whose packet was.
    """
    part = Sequencer(CONFIG)
    trace = []

    async def testbench(ctx):
        ctx.set(part.probe_word, probe_word or {})
        ctx.set(part.body, seeds)
        ctx.set(part.before_last, len(words) - 2)
        ctx.set(part.w_en, 1)
        for addr, word in enumerate(words):
            ctx.set(part.w_addr, addr)
            ctx.set(part.w_data, word)
            await ctx.tick()
        ctx.set(part.w_en, 0)
        for _ in range(part.drain_cycles):
            await ctx.tick()
        ctx.set(part.restart, 1)
        await ctx.tick()
        ctx.set(part.restart, 0)
        commits = 0
        for cycle in range(cycles):
            usual = {"enable": 1, "room": 1, "block_ready": 0, "restart": 0}
            for name, value in (usual | inputs(cycle)).items():
                ctx.set(getattr(part, name), value)
            # As in the accelerator: the mark of the packet whose words are in the issue register.
            ctx.set(part.malformed, commits in malformed)
            trace.append(
                SimpleNamespace(
                    cycle=cycle,
                    word=word_of(part, ctx),
                    **{name: ctx.get(getattr(part, name)) for name in ("started", "committed", "stalled", "idle")},
                )
            )
            commits += trace[-1].committed
            await ctx.tick()

    simulate(part, testbench)
    for t in trace:
        if not t.word["valid"]:  # an idle word has no effects
            assert (t.word["output"], t.started, t.committed) == (0, 0, 0), t.cycle
            assert t.word["vector_from"] == VectorFrom.NONE or is_probe(t.word, probe_word), t.cycle
        else:
            program_word = words[t.word["weight"]]
            assert (t.started, t.committed) == (program_word["start"], program_word["commit"])
    return trace


def is_probe(word, probe_word):
    """Whether the issue register holds the read-back's word."""
    return (
        probe_word is not None
        and (word["valid"], word["output"], word["vector_from"]) == (0, 0, VectorFrom.H)
        and (word["vector"], word["slot"]) == (probe_word["vector"], probe_word["slot"])
    )


def issued(trace):
    """The steps of a trace that hold a word of the program."""
    return [t for t in trace if t.word["valid"]]


def sides_of(step):
    """The run-time parts of its issue word."""
    return step.word["side"], step.word["x_side"], step.word["zero_c"]


def tags_of(trace):
    """Which words of the program they are."""
    return [t.word["weight"] for t in issued(trace)]


def check_order(trace, words, seeds):
    """The program from its first word, then inferences one after the other, all of their words in order."""
    tags = tags_of(trace)
    body = list(range(seeds, len(words)))
    assert tags == (list(range(seeds)) + body * len(tags))[: len(tags)]
    for t in issued(trace):
        program_word = dict.fromkeys(issue_word(CONFIG).fields, 0) | words[t.word["weight"]]
        assert {name: program_word.get(name, value) for name, value in t.word.items()} == t.word


@pytest.mark.parametrize("seed", [1])
@pytest.mark.parametrize("seeds, length", [(0, 2), (1, 2), (3, 5), (0, 9), (20, 30)])
def test_a_word_every_cycle(seeds, length, seed):
    """With nothing to wait for there is never a gap, also between inferences and at any program length."""
    words = make_program(np.random.default_rng(seed), seeds, length)
    trace = run(words, seeds, lambda cycle: {}, 120)
    check_order(trace, words, seeds)
    cycles = [t.cycle for t in issued(trace)]
    assert cycles == list(range(cycles[0], len(trace)))


@pytest.mark.parametrize("seed", range(1, 6))
def test_waiting_for_blocks(seed):
    """A word that waits comes ``block_to_issue`` cycles after its block or right after its predecessor."""
    rng = np.random.default_rng(seed)
    words = make_program(rng, 4, 9, waits=0.5, start_waits=True)
    begin, cycles = 30, 500
    ready = [cycle for cycle in range(begin, cycles) if rng.random() < [0.1, 0.9][cycle // 60 % 2] / 2]
    trace = run(words, 4, lambda cycle: {"block_ready": cycle in ready}, cycles)
    check_order(trace, words, 4)
    blocks = iter(ready)
    free = 0
    waited = 0
    for t in issued(trace)[4:]:
        earliest = free
        if words[t.word["weight"]]["wait_block"]:
            arrival = next(blocks) + Sequencer.block_to_issue
            waited += arrival > free
            earliest = max(free, arrival)
        assert t.cycle == earliest
        free = t.cycle + 1
    assert 10 < waited < len(ready)


@pytest.mark.parametrize("gate", ["room", "enable"])
def test_start_waits_for_room_and_enable(gate):
    """Words of an inference never wait for ``room`` or ``enable``, only its first; it then goes at once."""
    words = make_program(np.random.default_rng(1), 2, 12)
    # Open at first: a restart needs ``enable`` as well.
    open_at = [cycle for cycle in range(200) if cycle < 3 or cycle // 30 % 2]
    trace = run(words, 2, lambda cycle: {gate: int(cycle in open_at)}, 200)
    check_order(trace, words, 2)
    starts = [t.cycle for t in trace if t.started]
    for start in starts:
        assert start - Sequencer.block_to_issue in open_at
        assert [t.word["valid"] for t in trace[start : start + 12]] == [1] * 12
    opened = [cycle for cycle in open_at if cycle and cycle - 1 not in open_at]
    assert all(cycle + Sequencer.block_to_issue in starts for cycle in opened)


def test_stalled_counts_missing_room():
    """``stalled`` tells the cycles in which a start had its block but no room, and no others."""
    words = make_program(np.random.default_rng(1), 0, 6, start_waits=True)
    trace = run(words, 0, lambda cycle: {"room": cycle >= 60, "block_ready": cycle == 40}, 80)
    stalled = [t.cycle for t in trace if t.stalled]
    assert stalled == list(range(40 + Sequencer.block_to_issue, 61))
    assert [t.cycle for t in trace if t.started] == [60 + Sequencer.block_to_issue]


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("length", [2, 7])
def test_sides(length, seed):
    """Seed words write the committed side, others the new one; a commit swaps, unless malformed."""
    rng = np.random.default_rng(seed)
    seeds = 3
    words = make_program(rng, seeds, length)
    bad = {int(n) for n in rng.choice(20, 8, replace=False)}
    trace = run(words, seeds, lambda cycle: {"room": int(cycle % 7 < 5)}, 200, malformed=bad)
    check_order(trace, words, seeds)
    side, packet, zero, inference = 0, 0, 1, 0
    for t in issued(trace):
        assert sides_of(t) == (side if words[t.word["weight"]]["seed"] else 1 - side, packet, zero), t.cycle
        if t.committed:
            packet = 1 - packet
            if inference not in bad:
                side, zero = 1 - side, 0
            inference += 1
    assert inference > 10


@pytest.mark.parametrize("at", range(20, 40))
def test_restart(at):
    """A restart lets the running inference end, then plays the program from its first word, state zero."""
    seeds, length = 3, 6
    words = make_program(np.random.default_rng(1), seeds, length)
    trace = run(words, seeds, lambda cycle: {"restart": cycle == at}, 100)
    tags = tags_of(trace)
    again = tags.index(0, 1)
    assert issued(trace)[again].cycle > at
    assert (again - seeds) % length == 0 and tags[again - 1] == len(words) - 1
    assert tags[again:] == (list(range(seeds)) + list(range(seeds, len(words))) * 20)[: len(tags) - again]
    fresh = issued(trace)[again : again + seeds + length]
    assert [t.word["side"] for t in fresh] == [0] * seeds + [1] * length
    assert {t.word["zero_c"] for t in fresh} == {1}
    # Which packet comes next is the input's business, not the state's.
    assert fresh[0].word["x_side"] == sum(t.committed for t in issued(trace)[:again]) % 2


def test_keep_c():
    """``keep_c`` between inferences: the first one takes c as it was loaded."""
    words = make_program(np.random.default_rng(1), 2, 4)
    trace = run(words, 2, lambda cycle: {"enable": cycle < 3 or cycle > 40, "keep_c": cycle == 30}, 60)
    assert [t.word["zero_c"] for t in issued(trace)[:6]] == [1] * 2 + [0] * 4


#: Cycles of restarts and loaded states while nothing may start, and whether the state is zero when it may.
RESTARTS = {
    "state": ([], [20], False),
    "restart-state": ([20], [25], False),
    "state-restart": ([25], [20], True),
    "state-restart-state": ([22], [20, 24], False),
    "restart-state-at-enable": ([20], [30], False),
    "state-restart-at-enable": ([30], [20], True),
    "restart-state-restart-at-enable": ([20, 30], [25], True),
}


@pytest.mark.parametrize("case", RESTARTS)
@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize("seeds, length", [(2, 4), (0, 2)])
def test_state_and_restart(seeds, length, started, case):
    """Of restarts and loaded states the last one counts, also before the program has ever run."""
    restarts, loads, zero = RESTARTS[case]
    words = make_program(np.random.default_rng(1), seeds, length)
    opened = 30

    def inputs(cycle):
        return {
            "enable": int(cycle >= opened or (started and cycle < 3)),
            "restart": int(cycle in restarts),
            "keep_c": int(cycle in loads),
        }

    trace = run(words, seeds, inputs, 80)
    check_order(trace[:opened] if started else [], words, seeds)
    now = [t for t in issued(trace) if t.cycle >= opened]
    # The words that make the state zero, then inferences; or these alone.
    fresh = [(tag, 0, 1) for tag in range(seeds * zero)]
    inference = [
        [(tag, side, first) for tag in range(seeds, len(words))] for side, first in ((1, int(zero)), (0, 0), (1, 0))
    ]
    expected = sum(inference, fresh)
    assert [tuple(t.word[name] for name in ("weight", "side", "zero_c")) for t in now[: len(expected)]] == expected


def test_idle():
    """Idle ``drain_cycles`` after an inference's last word, never in one, however long its input pauses."""
    words = make_program(np.random.default_rng(1), 0, 4, start_waits=True)
    words[2]["wait_block"] = 1
    first, second = 100, 300
    trace = run(words, 0, lambda cycle: {"block_ready": cycle in (first, second)}, 450)
    end = max(t.cycle for t in issued(trace))
    assert trace[first].idle
    assert not any(t.idle for t in trace[first + Sequencer.block_to_issue : end + Sequencer.drain_cycles])
    assert all(t.idle for t in trace[end + Sequencer.drain_cycles + 2 :])


@pytest.mark.parametrize("seed_bit", [0, 1])
def test_probe(seed_bit):
    """The probe's word stays in the issue register while idle; no inference starts; afterwards one does."""
    words = make_program(np.random.default_rng(1), 2, 5, start_waits=True)
    probe_word = {"vector": 5, "slot": 3, "seed": seed_bit}
    begin, end = 150, 200

    def inputs(cycle):
        return {"probe": int(begin <= cycle < end), "block_ready": cycle == begin + 20}

    trace = run(words, 2, inputs, 260, probe_word=probe_word)
    assert trace[begin].idle
    for t in trace[begin + Sequencer.probe_to_issue : end]:
        assert is_probe(t.word, probe_word) and t.word["side"] == (0 if seed_bit else 1)
    check_order(trace, words, 2)
    assert [t.cycle for t in issued(trace)[2:]] == list(
        range(end + Sequencer.block_to_issue, end + Sequencer.block_to_issue + 5)
    )


@pytest.mark.parametrize("begin", range(147, 155))
def test_probe_loses_no_word(begin):
    """A probe that comes when an inference starts, or while one waits in its middle, swallows no word."""
    words = make_program(np.random.default_rng(1), 2, 5, start_waits=True)
    words[4]["wait_block"] = 1

    def inputs(cycle):
        return {"probe": int(begin <= cycle < begin + 200), "block_ready": cycle in (150, 260)}

    trace = run(words, 2, inputs, 500, probe_word={"vector": 5, "slot": 3})
    check_order(trace, words, 2)
    assert len(issued(trace)) == 2 + 5

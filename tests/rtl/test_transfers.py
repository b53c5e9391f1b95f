"""Transfers: what is asked of the contexts, when, and what the registers tell of it, in exact cycles."""

import numpy as np
import pytest

from rtl_bench import make_config, simulate
from spiccato.isa.load import RecordKind, TransferTarget
from spiccato.isa.registers import REGISTERS, TransferKind
from spiccato.isa.word import WORD_BITS
from spiccato.numbers import ACC_BITS
from spiccato.rtl.contexts import Contexts
from spiccato.rtl.control.transfers import Transfers
from spiccato.rtl.core import Core
from spiccato.rtl.core_timing import CoreTiming
from spiccato.rtl.load_tree import LoadTree
from spiccato.rtl.sequencer import Sequencer

CONFIG = make_config(models=2, streams=4, keep_h=True)
#: Without it nothing of h is read or written.
WITHOUT_H = make_config(models=2, streams=4)
TIMING = CoreTiming(CONFIG)
#: Of what there is to read and write: when it is read and written, and over the load bus for what.
MEMORIES = {
    "SUM": (TIMING.operand, TIMING.acc, RecordKind.ACCUMULATORS),
    "C": (TIMING.c_old, TIMING.c, RecordKind.CELL_STATE),
    "H": (TIMING.c_old, TIMING.h_kept, TransferTarget.H_STATE),
}
READS, WRITES, MARKS = (
    [kind for kind in TransferKind if kind.name.startswith(names)] for names in ("READ", "WRITE", ("ADOPT", "FORGET"))
)
TID, ADDR = 5, 9


class Host:
    """Writes registers; shows everything of each cycle."""

    def __init__(self, ctx, part):
        self.ctx, self.part = ctx, part
        self.cycle = 0
        self.set(request_known=1, request_addr=ADDR)

    def port(self, name):
        interface, _, member = name.partition("_")
        return getattr(getattr(self.part, interface), member) if member else getattr(self.part, interface)

    def set(self, **values):
        for name, value in values.items():
            self.ctx.set(self.port(name), value)

    def get(self, name):
        return self.ctx.get(self.port(name))

    async def tick(self, count=1):
        for _ in range(count):
            await self.ctx.tick()
            self.cycle += 1

    async def write(self, pulse, value):
        """The pulse of a write; returns in the cycle after it."""
        self.set(**{pulse: 1})
        await self.tick()
        self.set(**{pulse: 0}, value=value)

    async def choose(self):
        """Choose the context, and wait until it has been looked up: cycles that took."""
        await self.write("choose", TID)
        begin = self.cycle
        while not self.get("done"):
            assert self.cycle - begin < 1000
            await self.tick()
        return self.cycle - begin

    async def transfer(self, kind, **fields):
        await self.write("start", REGISTERS["transfer"].pack(kind=kind, **fields))

    async def wanted(self, port):
        """Wait until ``port`` is set."""
        for _ in range(200):
            if self.get(port):
                return
            await self.tick()
        raise AssertionError(f"{port} does not come")

    async def until_done(self, first=0):
        """The cycles up to ``done``, counted from ``first``, and what went onto the load bus in each."""
        loads = {}
        for cycle in range(first, 100):
            if self.get("load_enable"):
                loads[cycle] = {name: self.get(f"load_{name}") for name in ("target", "core", "row", "addr", "data")}
            if self.get("done"):
                return cycle, loads
            await self.tick()
        raise AssertionError("the transfer does not end")


def run(script, config=CONFIG):
    part = Transfers(config)

    async def testbench(ctx):
        await script(Host(ctx, part))

    simulate(part, testbench)


@pytest.mark.parametrize("running", [0, 1, 30])
def test_looking_up(running):
    """A choice is done when the context's last inference has left the pipeline; only what comes later touches it."""

    async def script(host):
        host.set(request_running=running > 0)
        await host.write("choose", TID)
        assert not host.get("done")
        await host.tick(running)
        host.set(request_running=0)
        begin = host.cycle
        while not host.get("done"):
            assert not host.get("touched")
            await host.tick()
        assert host.get("request_tid") == TID
        # The counter, and what it is compared with.
        assert host.cycle - begin == Sequencer.drain_cycles + 1 and Contexts.ask_cycles(CONFIG) < Sequencer.drain_cycles
        for known, alive in ((0, 0), (1, 0), (1, 1)):
            host.set(request_known=known, request_has_state=alive)
            assert (host.get("known"), host.get("alive"), host.get("touched")) == (known, alive, 0)
        host.set(request_running=1)
        await host.tick()
        host.set(request_running=0)
        await host.tick()
        assert host.get("touched")
        await host.choose()
        assert not host.get("touched")

    run(script)


@pytest.mark.parametrize("kind", READS + WRITES)
@pytest.mark.parametrize("waits", [0, 1, 17])
def test_an_element_moves(kind, waits):
    """One idle word: read when the element is there, or written when the word would; then it is done."""
    read_at, written_at, target = MEMORIES[kind.name.partition("_")[2]]
    element, entry = -(1 << ACC_BITS - 1) + 77, 0x7654_89AB_CDEF

    async def script(host):
        await host.choose()
        for index in range(2):
            await host.write("data", entry >> WORD_BITS * index & (1 << WORD_BITS) - 1)
            await host.tick()
        fields = {"slot": 3, "core": 0, "lane": 2}
        await host.transfer(kind, **fields)
        # Never before the address of that slot can be there.
        assert not host.get("request_move")
        await host.wanted("request_move")
        assert {name: host.get(f"request_{name}") for name in fields} == fields
        assert host.get("request_cell") == (target is RecordKind.CELL_STATE) and not host.get("request_mark")
        assert host.get("request_result") == (target is TransferTarget.H_STATE)
        for _ in range(waits):
            assert host.get("request_move") and not host.get("done") and not host.get("load_enable")
            await host.tick()
        host.set(request_moved=1)
        await host.tick()
        host.set(request_moved=0)
        assert not host.get("request_move")
        there = read_at + Core.element_latency + 1
        written = written_at - LoadTree.latency - Transfers.load_latency
        last = max(there, written)
        # Only in that cycle.
        host.set(request_element=0)
        seen = {}
        for cycle in range(Contexts.moved_cycle + 1, last + 2):
            host.set(request_element=element if cycle == there else cycle)
            if host.get("load_enable"):
                seen[cycle] = {name: host.get(f"load_{name}") for name in ("target", "core", "row", "addr", "data")}
            assert host.get("done") == (cycle == last + 1)
            await host.tick()
        if kind in READS:
            assert host.get("element") == element and not seen
        else:
            ((cycle, found),) = seen.items()
            assert cycle == written
            data = found.pop("data")
            assert found == {"target": target, "core": 0, "row": 2, "addr": ADDR}
            assert data & (1 << ACC_BITS) - 1 == entry

    run(script)


@pytest.mark.parametrize("kind", [TransferKind.READ_H, TransferKind.WRITE_H])
def test_h_that_is_not_kept(kind):
    """The transfer ends, and nothing was read or written."""

    async def script(host):
        await host.choose()
        host.set(request_element=77)
        await host.transfer(kind)
        await host.wanted("request_move")
        host.set(request_moved=1)
        await host.tick()
        host.set(request_moved=0)
        _, loads = await host.until_done()
        assert not loads and not host.get("element") and not host.get("request_cell")

    run(script, WITHOUT_H)


def test_nothing_is_written_to_an_unknown_context():
    async def script(host):
        host.set(request_known=0)
        await host.choose()
        for kind in WRITES:
            await host.transfer(kind)
            await host.wanted("request_move")
            host.set(request_moved=1)
            await host.tick()
            host.set(request_moved=0)
            _, loads = await host.until_done()
            assert not loads

    run(script)


@pytest.mark.parametrize("kind", MARKS)
def test_marks(kind):
    """To forget does not wait for the pipeline, to adopt does; done when it shows."""

    async def script(host):
        await host.choose()
        host.set(request_running=1)
        await host.tick()
        await host.transfer(kind)
        # Until what is asked for and where is known.
        for _ in range(2):
            assert not host.get("request_mark") and not host.get("request_move")
            await host.tick()
        assert host.get("request_alive") == (kind is TransferKind.ADOPT) and not host.get("request_move")
        assert host.get("request_mark") == (kind is TransferKind.FORGET)
        host.set(request_running=0)
        await host.wanted("request_mark")
        await host.tick(3)
        assert host.get("request_mark") and not host.get("done")
        host.set(request_marked=1)
        await host.tick()
        host.set(request_marked=0)
        assert not host.get("request_mark")
        cycles, loads = await host.until_done()
        assert cycles == Contexts.ask_cycles(CONFIG) and not loads

    run(script)


@pytest.mark.parametrize("pulse", ["reset", "choose"])
@pytest.mark.parametrize("kind", TransferKind)
def test_given_up(pulse, kind):
    """A reset or another choice at any cycle: nothing is written any more, and nothing is done by what was cut."""
    latest = max(written for _, written, _ in MEMORIES.values())

    async def script(host):
        for cut in range(latest + 4):
            await host.choose()
            await host.transfer(kind)
            came = False
            for _ in range(cut):
                host.set(request_moved=host.get("request_move"), request_marked=host.get("request_mark"))
                came |= bool(host.get("load_enable"))
                await host.tick()
            host.set(request_moved=0, request_marked=0)
            await host.write(pulse, TID)
            assert not host.get("done")
            for _ in range(40):
                assert not host.get("load_enable") and not host.get("done")
                assert not host.get("request_move") and not host.get("request_mark")
                await host.tick()
            assert came or kind not in WRITES or cut < latest

    run(script)


def test_entries_begin_anew():
    """The words of an entry count from the last transfer or choice on."""
    rng = np.random.default_rng(1)

    async def script(host):
        await host.choose()
        for words in (1, 2, 2):
            entry = [int(word) for word in rng.integers(0, 1 << WORD_BITS, words)]
            for word in entry:
                await host.write("data", word)
                await host.tick()
            await host.transfer(TransferKind.WRITE_SUM)
            await host.wanted("request_move")
            host.set(request_moved=1)
            await host.tick()
            host.set(request_moved=0)
            _, loads = await host.until_done()
            ((_, found),) = [(cycle, load) for cycle, load in loads.items()]
            for index, word in enumerate(entry):
                assert found["data"] >> WORD_BITS * index & (1 << WORD_BITS) - 1 == word

    run(script)

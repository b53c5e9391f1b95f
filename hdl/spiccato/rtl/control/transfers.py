"""Transfers: elements of one context's state, read and written while others run."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out, Signature

from ...isa.load import RecordKind, TransferTarget, state_bits
from ...isa.registers import REGISTERS, TransferKind
from ...isa.word import WORD_BITS
from ...numbers import ACC_BITS, C_BITS
from ..broadcast import DelayLine, copies, equal_register, take
from ..contexts import Contexts
from ..core import Core
from ..core_timing import CoreTiming
from ..load_tree import LoadTree, load_layout
from ..part import Part
from ..sequencer import Sequencer
from ..words import layout

__all__ = ["TransferRequest", "Transfers"]


class TransferRequest(Signature):
    """A request about one context, as who makes it sees it.

    Attributes
    ----------
    tid, slot : out
        Which context, and where in its state.
    lane, core, cell : out
        Which element of the slot: a row's sum, or a unit's c.
    result : out
        Or its h; only if the configuration keeps h.
    move : out
        Wanted: a cycle that no inference needs. ``moved`` tells that it has come, in the cycle before the addresses of
        :class:`Contexts` are the element's; ``addr`` is its address.
    mark, alive : out
        Wanted: that the context has a state, or none. ``marked`` tells when that is done.
    known, has_state : in
        Of the context.
    running : in
        Its inference is.
    element : in
        What was read, ``Core.element_latency`` and one more cycle after the memories' outputs.
    """

    def __init__(self, config):
        fields = REGISTERS["transfer"].fields
        super().__init__(
            {
                "tid": Out(config.tid_bits),
                "slot": Out(fields["slot"].width),
                "lane": Out(fields["lane"].width),
                "core": Out(fields["core"].width),
                "cell": Out(1),
                **({"result": Out(1)} if config.keep_h else {}),
                "move": Out(1),
                "moved": In(1),
                "addr": In(state_bits(config)),
                "mark": Out(1),
                "alive": Out(1),
                "marked": In(1),
                "known": In(1),
                "has_state": In(1),
                "running": In(1),
                "element": In(signed(ACC_BITS)),
            }
        )


class Transfers(Part):
    """Looks the context up that is written to ``context``, and carries out what is written to ``transfer``.

    It first waits until the context's last inference has left the pipeline; if the context has one after the other,
    that may be long. Only what forgets does not wait.

    Attributes
    ----------
    choose, start, data : in, pulses: ``context``, ``transfer``, ``state_data`` is written
    value : in, what is written, in the cycle after the pulse
    reset : in, a pulse: forget the request
    request : out
    load : out, the load bus for what is written, its fields constant around ``enable``
    element : out, what was read
    done, known, alive, touched : out, as in the register ``status``; what is known counts when ``done``
    """

    #: From ``load`` to the load bus.
    load_latency = 1

    @staticmethod
    def entry_bits(config):
        """What an entry to be written may have, in whole words."""
        return -(-max(ACC_BITS, C_BITS * config.lanes) // WORD_BITS) * WORD_BITS

    def __init__(self, config):
        self.config = config
        timing = CoreTiming(config)
        #: Cycles of an idle word, counted as an issue word's: of ``moved``, of the read elements, and of what is on
        #: ``load`` so as to meet the write ports when the word would.
        self._moved = Contexts.moved_cycle
        memories = [(timing.operand, timing.acc), (timing.c_old, timing.c)]
        if config.keep_h:
            memories.append((timing.c_old, timing.h_kept))
        self._reads = [first + Core.element_latency + 1 for first, _ in memories]
        self._writes = [last - LoadTree.latency - self.load_latency for _, last in memories]
        if min(self._reads + self._writes) <= self._moved:
            raise ValueError("an element is needed before its word is known")
        super().__init__(
            "transfers",
            {
                "choose": In(1),
                "start": In(1),
                "data": In(1),
                "value": In(WORD_BITS),
                "reset": In(1),
                "request": Out(TransferRequest(config)),
                "load": Out(load_layout(config)),
                "element": Out(signed(ACC_BITS)),
                "done": Out(1),
                "known": Out(1),
                "alive": Out(1),
                "touched": Out(1),
            },
        )

    def elaborate(self, platform):
        m = Module()
        config, request = self.config, self.request

        # What is asked for. The pulses reach what they start and end; fields follow a cycle later.
        transfer, chosen = (
            data.View(layout(word), self.value[: word.size])
            for word in (REGISTERS[name].word for name in ("transfer", "context"))
        )
        tid = Signal(config.tid_bits, name="transfer_tid", reset_less=True)
        with m.If(DelayLine(m, "chosen", self.choose).at(1)):
            m.d.sync += tid.eq(chosen.tid)
        place_of = {
            name: Signal(len(getattr(request, name)), name=f"transfer_{name}", reset_less=True)
            for name in ("slot", "lane", "core")
        }
        kinds = {
            "of_c": [TransferKind.READ_C, TransferKind.WRITE_C],
            "reads": [TransferKind.READ_SUM, TransferKind.READ_C],
            "writes": [TransferKind.WRITE_SUM, TransferKind.WRITE_C],
            "marks": [TransferKind.ADOPT, TransferKind.FORGET],
            "adopts": [TransferKind.ADOPT],
        }
        if config.keep_h:
            kinds["of_h"] = [TransferKind.READ_H, TransferKind.WRITE_H]
            kinds["reads"].append(TransferKind.READ_H)
            kinds["writes"].append(TransferKind.WRITE_H)
        decoded = {name: Signal(name=f"transfer_{name}", reset_less=True) for name in kinds}
        is_c, reads, writes, marks, adopts = (decoded[name] for name in ("of_c", "reads", "writes", "marks", "adopts"))
        (started,) = copies(m, "transfer_start", self.start, 1, resettable=True)
        with m.If(started):
            m.d.sync += [
                *(field.eq(transfer[name]) for name, field in place_of.items()),
                *(decoded[name].eq(Cat(transfer.kind == kind for kind in kinds[name]).any()) for name in kinds),
            ]
        m.d.comb += [
            request.tid.eq(tid),
            *(getattr(request, name).eq(field) for name, field in place_of.items()),
            request.cell.eq(is_c),
            request.alive.eq(adopts),
            self.known.eq(request.known),
            self.alive.eq(request.has_state),
        ]
        if config.keep_h:
            m.d.comb += request.result.eq(decoded["of_h"])

        def of_memory(sums, c, *h):
            """What belongs to the memory that is asked for, of what belongs to all that there are."""
            value = Mux(is_c, c, sums)
            return Mux(decoded["of_h"], *h, value) if h else value

        # The words of an entry to be written.
        entry = Signal(self.entry_bits(config), reset_less=True)
        words = len(entry) // WORD_BITS
        index = Signal(range(words + 1), reset_less=True)
        with m.If(self.choose | self.start):
            m.d.sync += index.eq(0)
        with m.Elif(self.data):
            m.d.sync += index.eq(index + 1)
        for i in range(words):
            (fill,) = copies(m, f"fill_{i}", self.data & (index == i), 1)
            with m.If(fill):
                m.d.sync += entry.word_select(i, WORD_BITS).eq(self.value)

        # Not before the pipeline has run empty of the context's inferences: then it has been looked up, too.
        clean = Signal(range(Sequencer.drain_cycles), reset_less=True)
        drained = Signal(reset_less=True)
        settles = Signal()
        looked_up = Signal(init=1)
        # Twice, for what is asked and for what counts the cycles since.
        pending, awaited = (equal_register(f"pending_{i}", resettable=True) for i in range(2))
        ready = Signal()
        # The slot's address is there a cycle after the slot, which is known a cycle after `pending`.
        addressed = DelayLine(m, "addressed", pending & ~self.start, resettable=True).at(2)
        m.d.comb += [settles.eq(drained | self.reset), ready.eq(pending & addressed & drained)]
        with m.If(self.choose | request.running):
            m.d.sync += [clean.eq(0), drained.eq(0)]
        with m.Else():
            m.d.sync += clean.eq(clean + 1)
            with m.If(clean == Sequencer.drain_cycles - 1):
                m.d.sync += drained.eq(1)
        with m.If(self.choose):
            m.d.sync += [looked_up.eq(0), self.touched.eq(0)]
        with m.Elif(settles):
            m.d.sync += looked_up.eq(1)
        with m.If(~self.choose & looked_up & request.running):
            m.d.sync += self.touched.eq(1)

        m.d.comb += [request.move.eq(ready & ~marks), request.mark.eq(marks & Mux(adopts, ready, pending & addressed))]
        # Cycles since the idle word, or since the mark, until that shows; what is asked for next ends it.
        last = max(self._reads + self._writes)
        since = Signal(range(last + 1), reset_less=True)
        counts = Signal()
        showing = Signal(range(Contexts.ask_cycles(config) + 1))
        m.d.sync += since.eq(Mux(awaited & request.moved, self._moved + 1, since + 1))
        with m.If(self.choose | self.start | self.reset):
            m.d.sync += [counts.eq(0), showing.eq(0)]
        with m.Elif(awaited & request.moved):
            m.d.sync += counts.eq(1)
        with m.Elif(awaited & request.marked):
            m.d.sync += showing.eq(Contexts.ask_cycles(config))
        with m.Else():
            with m.If(since == last):
                m.d.sync += counts.eq(0)
            with m.If(showing.any()):
                m.d.sync += showing.eq(showing - 1)

        def after(moved):
            """So many cycles since the idle word: as many for each memory as ``moved`` has."""
            return counts & (since == of_memory(*moved))

        read, write = after(self._reads), after(self._writes)
        ends = [max(cycles) for cycles in zip(self._reads, self._writes)]
        end = read if ends == self._reads else after(ends)
        element = Signal(signed(ACC_BITS), reset_less=True)
        soon = after([cycle - 1 for cycle in self._reads])
        take(m, "take_element", element, request.element, soon & reads, config.stages.reach.registers)
        m.d.comb += self.element.eq(element)
        with m.If(self.start):
            m.d.sync += [pending.eq(1), awaited.eq(1)]
        with m.Elif(self.choose | self.reset | request.moved | request.marked):
            m.d.sync += [pending.eq(0), awaited.eq(0)]
        # What is written is in its memory when the next transfer's word comes.
        with m.If(self.choose | self.start | self.reset):
            m.d.sync += self.done.eq(0)
        with m.Elif(end | (showing == 1) | (drained & ~looked_up & ~pending)):
            m.d.sync += self.done.eq(1)
        targets = [RecordKind.ACCUMULATORS, RecordKind.CELL_STATE, TransferTarget.H_STATE][: len(self._writes)]
        m.d.comb += [
            # Nothing belongs to a context that there is not.
            self.load.enable.eq(write & writes & request.known),
            self.load.target.eq(of_memory(*targets)),
            self.load.core.eq(place_of["core"]),
            self.load.row.eq(place_of["lane"]),
            self.load.addr.eq(request.addr),
            self.load.data.eq(entry),
        ]
        return m

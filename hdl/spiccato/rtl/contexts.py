"""Contexts: where the state of each stream lies, which side of it counts, and what addresses an issue word so means.

A context's state lies in a range of the accumulator file and of the memory of c, twice: an inference reads the side
that the context's last one wrote, and writes the other; its end turns the sides, unless its packet was malformed. A
context without a state, and one that is told to start, begin from the model's initial state.

Cycles are counted from the issue register (0): what is known of the inference's context (1), what that adds to a slot's
number (2), the addresses (3), a copy for each core (4).
"""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from ..isa.issue import Source
from ..isa.load import context_word, model_word, state_bits
from .broadcast import DelayLine, copies, equal_register
from .memory import Ram
from .part import Part, place
from .sequencer import Sequencer, state_layout
from .words import layout

__all__ = ["Contexts", "access_layout", "packet_layout"]


def access_layout(config):
    """Where an issue word finds its context's state in a core's memories.

    ``sums`` is the address of what row sums are added to, ``store`` that of what an inference leaves, ``c`` that of
    what the one before left, which counts as zero if ``zero`` says so. Without ``keep`` nothing is stored.
    """
    bits = state_bits(config)
    return data.StructLayout({"sums": bits, "store": bits, "c": bits, "zero": 1, "keep": 1})


def packet_layout(config):
    """What is known of a packet from its first beat on."""
    return data.StructLayout({"tid": config.tid_bits, "start": 1, "quiet": 1})


def _flags_layout():
    """What changes about a context: it has a state, and on which side; without one, side 0."""
    return data.StructLayout({"alive": 1, "side": 1})


class Contexts(Part):
    """The table of contexts, and the addresses of the words that are issued.

    Attributes
    ----------
    models : in, table of the models: constant while inferences may start
    packet, model : in, of both sides, :func:`packet_layout`: from ``announce`` on until its inference has ended
    announce : in, a pulse: a packet has begun; they take turns with the sides, side 0 first
    word : in, :func:`.sequencer.state_layout`, cycle 0; twice: for addresses, and for what happens to the state
    malformed : in, cycle 0: of the packet that the word belongs to
    drop : in, while nothing runs: the next packet is of side 0
    clear : in, for ``clear_cycles`` or more, while nothing runs: no context has a state
    w_en, w_addr, w_data : in, program load
    access : out, cycle ``latency``, :func:`access_layout`: a copy for each core
    unknown : out, of both sides: the packet's ``tid`` names no context; ``unknown_cycles`` after ``announce``
    ask_tid, ask_slot : in; known of them a few cycles later, when the table is not read for a packet:
    ask_known, ask_alive, ask_addr : out: whether there is such a context, with a state; the slot's address
    ask_running : out, its inference is; two cycles later
    move : in, give the slot's address out instead of the next idle word's
    moved : out, a pulse in the cycle before that ``access``
    mark, alive : in, the context has a state from now on, or none; ``marked``: out, a pulse when that is done
    """

    #: From the issue register to ``access``, and to when ``moved`` tells whose it will be.
    latency = 4
    moved_cycle = latency - 1

    def __init__(self, config):
        self.config = config
        self._table_latency = config.stages.context_register + Ram.latency
        #: From ``announce`` to what is known of the context.
        self.unknown_cycles = self._table_latency + 1
        #: How much later the sequencer may be told of a packet, so that its first word finds the context known.
        self.announce_delay = max(0, self.unknown_cycles - Sequencer.announce_to_issue)
        self.depth = 1 << config.tid_bits
        super().__init__(
            "contexts",
            {
                "models": In(layout(model_word(config))).array(config.models),
                "packet": In(packet_layout(config)).array(2),
                "model": In(config.model_bits).array(2),
                "announce": In(1),
                "word": In(state_layout(config)).array(2),
                "malformed": In(1),
                "drop": In(1),
                "clear": In(1),
                "w_en": In(1),
                "w_addr": In(config.tid_bits),
                "w_data": In(layout(context_word(config))),
                "access": Out(access_layout(config)).array(config.cores),
                "unknown": Out(2),
                "ask_tid": In(config.tid_bits),
                "ask_slot": In(state_bits(config)),
                "ask_known": Out(1),
                "ask_alive": Out(1),
                "ask_addr": Out(state_bits(config)),
                "ask_running": Out(1),
                "move": In(1),
                "moved": Out(1),
                "mark": In(1),
                "alive": In(1),
                "marked": Out(1),
            },
        )

    @staticmethod
    def ask_cycles(config):
        """From ``ask_tid``, or ``marked``, to what is known of it, the slot's address included."""
        # Two packets may begin meanwhile.
        return 1 + config.stages.context_register + Ram.latency + 1 + 2 + 2

    @staticmethod
    def clear_cycles(config):
        """All contexts' flags, and the write's own cycle."""
        return (1 << config.tid_bits) + 2

    def elaborate(self, platform):
        m = Module()
        config = self.config
        addressing, acting = self.word
        bits, side_1, constants = state_bits(config), config.state_slots, 2 * config.state_slots

        # What is read when a packet has begun.
        side = Signal(name="announced_side")
        table = place(
            m, "table", Ram("ram_contexts", width=len(self.w_data.as_value()), depth=self.depth, cleared=True)
        )
        flags = place(m, "flags", Ram("ram_context_flags", width=2, depth=self.depth, cleared=True))
        tid = Signal(config.tid_bits)
        m.d.comb += tid.eq(Mux(self.announce, Mux(side, self.packet[1].tid, self.packet[0].tid), self.ask_tid))
        address = DelayLine(m, "table_tid", tid).at(int(config.stages.context_register))
        m.d.comb += [
            table.w_en.eq(self.w_en),
            table.w_addr.eq(self.w_addr),
            table.w_data.eq(self.w_data),
            table.r_addr.eq(address),
            flags.r_addr.eq(address),
        ]
        with m.If(self.announce):
            m.d.sync += side.eq(~side)
        with m.If(self.drop):
            m.d.sync += side.eq(0)
        found = [DelayLine(m, f"found_{s}", self.announce & (side == s)).at(self._table_latency) for s in range(2)]
        found_none = DelayLine(m, "found_none", ~self.announce).at(self._table_latency)

        # The inference that is issued, from its first word on.
        current_tid = Signal(config.tid_bits, reset_less=True)
        current_known = Signal(reset_less=True)
        current = Signal(_flags_layout(), reset_less=True)
        base, initial = Signal(bits, name="base", reset_less=True), Signal(bits, name="initial", reset_less=True)
        has_initial = Signal(reset_less=True)

        # What is asked about a context, whenever the table is not read for a packet.
        asked = Signal(layout(context_word(config)), reset_less=True)
        asked_flags = Signal(_flags_layout(), reset_less=True)
        with m.If(found_none):
            m.d.sync += [asked.eq(table.r_data), asked_flags.eq(flags.r_data)]
        running = Signal()
        with m.If(acting.start):
            m.d.sync += running.eq(1)
        with m.Elif(acting.commit | self.drop):
            m.d.sync += running.eq(0)
        asked_base = Signal(bits, reset_less=True)
        asked_addr = Signal(bits, reset_less=True)
        is_current, asks_current = Signal(), Signal(reset_less=True)
        m.d.sync += [
            asked_base.eq(asked.base + Mux(asked_flags.side, side_1, 0)),
            asked_addr.eq(asked_base + self.ask_slot),
        ]
        m.d.comb += [
            is_current.eq(running & asks_current),
            self.ask_known.eq(asked.known),
            self.ask_alive.eq(asked_flags.alive),
            self.ask_addr.eq(asked_addr),
            self.ask_running.eq(is_current),
        ]

        # An inference changes its context's flags when it ends: in their memory, and in what was read for the next
        # packet. So does a mark; of the context whose inference is running, only at its end.
        ends, marks, forgets = Signal(), Signal(), Signal()
        (mark,) = copies(m, "mark", self.mark & ~self.marked, 1)
        changed, marked = Signal(_flags_layout()), Signal(_flags_layout())
        m.d.comb += [
            forgets.eq(mark & ~self.alive & is_current & acting.commit),
            ends.eq(acting.commit & ((~self.malformed & current_known) | forgets)),
            changed.alive.eq(~forgets),
            changed.side.eq(~current.side & ~forgets),
            marks.eq(mark & ~is_current & ~acting.start & ~acting.commit & ~self.clear),
            marked.alive.eq(self.alive),
            marked.side.eq(asked_flags.side & self.alive),
            self.marked.eq(marks | forgets),
        ]
        sweep = Signal(config.tid_bits, reset_less=True)
        flags_en = Signal(reset_less=True)
        flags_addr = Signal.like(sweep, name="flags_addr", reset_less=True)
        flags_data = Signal(_flags_layout(), reset_less=True)
        m.d.sync += [
            flags_en.eq(ends | marks | self.clear),
            flags_addr.eq(Mux(self.clear, sweep, Mux(acting.commit, current_tid, self.ask_tid))),
            flags_data.eq(Mux(self.clear, 0, Mux(acting.commit, changed.as_value(), marked.as_value()))),
            sweep.eq(sweep + 1),
        ]
        m.d.comb += [flags.w_en.eq(flags_en), flags.w_addr.eq(flags_addr), flags.w_data.eq(flags_data)]

        # A packet that is announced before that write, or in its cycle, has missed it. Its context is known a cycle
        # later.
        left = Signal(_flags_layout(), reset_less=True)
        with m.If(ends):
            m.d.sync += left.eq(changed)
        ending, marking = (
            Cat(missed.at(cycle) for cycle in range(3)).any()
            for missed in (
                DelayLine(m, name, value, resettable=True) for name, value in (("ends", ends), ("marks", marks))
            )
        )
        entries, asked_for = [], []
        for s, packet in enumerate(self.packet):
            entry = Signal(layout(context_word(config)), name=f"entry_{s}", reset_less=True)
            read = Signal(_flags_layout(), name=f"flags_{s}", reset_less=True)
            # Of the same context as the inference that is running, and what that one has made of it.
            same, overruled = (Signal(name=f"{name}_{s}", reset_less=True) for name in ("same", "overruled"))
            ruled = Signal(_flags_layout(), name=f"ruled_{s}", reset_less=True)
            asked_for.append(Signal(name=f"asked_for_{s}", reset_less=True))
            m.d.sync += [same.eq(packet.tid == current_tid), asked_for[s].eq(packet.tid == self.ask_tid)]
            with m.If(found[s]):
                m.d.sync += [entry.eq(table.r_data), read.eq(flags.r_data)]
            with m.If(ending & same):
                m.d.sync += [overruled.eq(1), ruled.eq(Mux(ends, changed.as_value(), left.as_value()))]
            with m.If(marking & asked_for[s]):
                m.d.sync += [overruled.eq(1), ruled.eq(marked)]
            with m.If(self.announce & (side == s)):
                m.d.sync += overruled.eq(0)
            with m.If(self.clear):
                m.d.sync += [overruled.eq(1), ruled.eq(0)]
            entries.append((entry, Mux(overruled, ruled.as_value(), read.as_value()), packet))
            m.d.comb += self.unknown[s].eq(~entry.known)

        m.d.sync += asks_current.eq(
            Mux(acting.start, Mux(acting.side, *reversed(asked_for)), current_tid == self.ask_tid)
        )

        # Cycle 1: of the word's inference.
        model = Array(self.models)[Mux(addressing.side, self.model[1], self.model[0])]
        m.d.sync += [
            has_initial.eq(model.has_initial),
            initial.eq(model.initial),
            base.eq(Mux(addressing.side, *(entry.base for entry, _, _ in reversed(entries)))),
        ]
        with m.If(acting.start):
            for s, (entry, known_flags, packet) in enumerate(entries):
                with m.If(acting.side == s):
                    m.d.sync += [
                        current_tid.eq(packet.tid),
                        current_known.eq(entry.known),
                        current.eq(known_flags & ~Cat(packet.start, Const(0, 1))),
                    ]

        # Cycle 2: what is added to a slot's number, by what it is for.
        new, old, previous = (Signal(bits, name=f"{name}_base", reset_less=True) for name in ("new", "old", "previous"))
        zero, known = Signal(name="from_zero", reset_less=True), Signal(name="known", reset_less=True)
        before = Mux(current.alive, base + Mux(current.side, side_1, 0), initial)
        from_zero = ~current.alive & ~has_initial
        m.d.sync += [
            new.eq(base + Mux(current.side, 0, side_1)),
            old.eq(before),
            previous.eq(Mux(from_zero, constants, before)),
            zero.eq(from_zero),
            known.eq(current_known),
        ]

        # Cycle 3: the addresses.
        slot, source, valid = (DelayLine(m, name, addressing[name]).at(2) for name in ("slot", "source", "valid"))
        access = Signal(access_layout(config), reset_less=True)
        moves = Signal()
        m.d.comb += moves.eq(self.move & ~valid)
        m.d.sync += [
            access.sums.eq(
                slot + Mux(source == Source.STORED, new, Mux(source == Source.PREVIOUS, previous, constants))
            ),
            access.store.eq(slot + new),
            access.c.eq(slot + old),
            access.zero.eq(zero),
            access.keep.eq(known),
        ]
        m.d.comb += self.moved.eq(DelayLine(m, "moves", moves, 2).at(self.moved_cycle))
        # Cycle 4: a copy for each core, or what is asked for.
        for i, port in enumerate(self.access):
            copy = equal_register(f"access_{i}", access_layout(config))
            m.d.sync += copy.eq(access)
            asks_sum, asks_c = copies(m, f"asks_{i}", moves, 2)
            with m.If(asks_sum):
                m.d.sync += copy.sums.eq(asked_addr)
            with m.If(asks_c):
                m.d.sync += [copy.c.eq(asked_addr), copy.zero.eq(0)]
            m.d.comb += port.eq(copy)
        return m

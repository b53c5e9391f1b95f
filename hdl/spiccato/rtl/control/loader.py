"""The loader: from the words of a load to entries of the memories."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, enum
from amaranth.lib.wiring import In, Out, Signature

from ...config import Config
from ...isa.load import RecordKind, header_word, load_stream, parameters_word, place_word
from ...isa.registers import LOAD_ERRORS
from ...isa.word import WORD_BITS
from ..broadcast import DelayLine, copies, equal_register, take
from ..contexts import Contexts
from ..ingress import Ingress
from ..load_tree import load_data_bits, load_layout
from ..part import Part
from ..sequencer import Sequencer
from ..words import layout

__all__ = ["Loader"]


class _State(enum.Enum, shape=3):  # type: ignore[call-arg]  # Amaranth's enumerations say their shape
    """What the next word of a load is."""

    IGNORE = 0
    BEGIN = 1
    DIGEST_LOW = 2
    DIGEST_HIGH = 3
    HEADER = 4
    PLACE = 5
    DATA = 6
    CHECK = 7


def _next_crc(crc, word):
    """The CRC-32 of one more word: 32 steps of its shift register at once, each bit a sum of some of both's bits."""
    polynomial, bits = 0xEDB88320, len(crc)
    images = []
    for i in range(bits):
        state = 1 << i
        for _ in range(bits):
            state = state >> 1 ^ (polynomial if state & 1 else 0)
        images.append(state)
    return Cat(Cat((crc[i] ^ word[i]) for i in range(bits) if images[i] >> k & 1).xor() for k in range(bits))


class Loader(Part):
    """Takes loads word by word and hands entries to the memories.

    What is not for this configuration is refused before it overwrites anything.

    A word goes through stages, so that none of its registers reaches far: whether it counts, as what, and comparisons
    (1), what follows from them (2); the word of an entry it is (2), the entry (3).

    Attributes
    ----------
    start : in, a pulse: a load begins
    word, value : in, a pulse for each word of a load, at least ``word_cycles`` after the one before; ``value`` (two
        equal ones) also in the cycle after the pulse
    idle : in, no inference runs, and no reset: words count
    reset_state : in, a pulse
    reset, reset_ends : in, pulses: a reset begins, it ends in the next cycle
    load : out, the load bus to all memories
    parameters : out, of the program
    loading : out, a load has begun and has not ended
    whole : out, there is a whole program in the memories
    loaded : out, there is a program that may run: equal copies
    drop : out, there is none, and nothing runs: equal copies
    forget : out, a pulse: before the next inference, no context has a state
    error : out, pulses: why a load was not accepted
    closed_cycles : int
        From when ``loaded`` is about to fall to when ``idle`` knows of the last packet that was begun.
    least_drop_cycles : int
        What ``drop`` lasts at least: from ``idle``, or a load's begin, to the end of the shortest load.
    """

    word_cycles = 2
    #: From an entry's last word to the entry on the load bus.
    entry_latency = 3
    #: From a load's last word to ``loaded``.
    loaded_latency = 2
    #: So, from a load's last entry on the bus to ``loaded``, at least: the end and the CRC come between.
    margin = 2 * word_cycles + loaded_latency - entry_latency

    def __init__(self, config: Config):
        self.config = config
        self.closed_cycles = Ingress.announce_latency + Contexts(config).announce_delay + Sequencer.busy_latency
        shortest = len(load_stream([], config.digest))
        self.least_drop_cycles = (
            self.loaded_latency
            - 1
            + min(
                # The first word comes in the cycle of `idle`, or follows the load's begin.
                (shortest - 1) * self.word_cycles,
                shortest * self.word_cycles - self.closed_cycles,
            )
        )
        super().__init__(
            "loader",
            {
                "start": In(1),
                "word": In(1),
                "value": In(WORD_BITS).array(2),
                "idle": In(1),
                "reset_state": In(1),
                "reset": In(1),
                "reset_ends": In(1),
                "load": Out(load_layout(config)),
                "parameters": Out(layout(parameters_word)),
                "loading": Out(1),
                "whole": Out(1),
                "loaded": Out(1).array(4),
                "drop": Out(1).array(2),
                "forget": Out(1),
                "error": Out(Signature({name: Out(1) for name in LOAD_ERRORS})),
            },
        )

    def elaborate(self, platform):
        m = Module()
        value, compared = self.value
        header = data.View(layout(header_word), value)
        place = data.View(layout(place_word), value)

        # Stage 1. `whole` tells that the memories hold a whole program.
        state = Signal(_State)
        accepted = Signal()
        m.d.comb += [
            accepted.eq(self.word & self.loading & self.idle),
            self.error.load_busy.eq(self.word & self.loading & ~self.idle),
        ]

        def pulses(name, condition, number=1):
            return copies(m, name, accepted & condition, number)

        begin, low, high, end = (
            pulses(name, state == kind)[0]
            for name, kind in (
                ("begin", _State.BEGIN),
                ("digest_low", _State.DIGEST_LOW),
                ("digest_high", _State.DIGEST_HIGH),
                ("check", _State.CHECK),
            )
        )
        (in_header,) = pulses("header", state == _State.HEADER)
        in_place, sets_addr = pulses("place", state == _State.PLACE, 2)
        # The collector's words, in halves; of the last one, the bus may take a part.
        words = -(-load_data_bits(self.config) // WORD_BITS)
        collector = Signal(words * WORD_BITS, reset_less=True)
        halves = [range(words // 2), range(words // 2, words)]
        in_data, *fills = pulses("data", state == _State.DATA, 1 + len(halves))
        (hashed,) = pulses("hashed", state != _State.CHECK)
        own_digest = Const(int(self.config.digest, 16), 2 * WORD_BITS)
        crc = Signal(WORD_BITS, reset_less=True)
        own_low, own_high, good = (Signal(name=name, reset_less=True) for name in ("own_low", "own_high", "crc_good"))
        m.d.sync += [
            own_low.eq(compared == own_digest[:WORD_BITS]),
            own_high.eq(compared == own_digest[WORD_BITS:]),
            good.eq(compared == ~crc),
        ]
        with m.If(DelayLine(m, "started", self.start).at(1)):
            m.d.sync += crc.eq(~Const(0, WORD_BITS))
        with m.Elif(hashed):
            m.d.sync += crc.eq(_next_crc(crc, compared))

        # Stage 2: the records. The address counts up by itself.
        right_low = Signal(reset_less=True)
        kind = Signal(RecordKind, reset_less=True)
        core = Signal(header_word["core"].width, reset_less=True)
        row = Signal(header_word["row"].width, reset_less=True)
        last_word = Signal(header_word["words"].width, reset_less=True)
        addr = Signal(place_word["addr"].width, reset_less=True)
        entries = Signal(place_word["entries"].width, reset_less=True)
        index, *fill_indices = (equal_register(f"word_index_{i}", len(last_word)) for i in range(1 + len(halves)))
        at_last, fills_last = copies(m, "at_last_word", index == last_word, 2)
        last_entry = Signal(reset_less=True)
        m.d.sync += last_entry.eq(entries == 0)

        def refuse(error):
            m.d.comb += error.eq(1)
            m.d.sync += state.eq(_State.IGNORE)

        with m.If(begin):
            m.d.sync += state.eq(_State.DIGEST_LOW)
            with m.If(header.kind != RecordKind.BEGIN_PROGRAM):
                refuse(self.error.load_format)
        with m.If(low):
            m.d.sync += [right_low.eq(own_low), state.eq(_State.DIGEST_HIGH)]
        with m.If(high):
            m.d.sync += state.eq(_State.HEADER)
            with m.If(~(right_low & own_high)):
                refuse(self.error.wrong_configuration)
        with m.If(in_header):
            m.d.sync += [kind.eq(header.kind), core.eq(header.core), row.eq(header.row), last_word.eq(header.words)]
            with m.Switch(header.kind):
                with m.Case(RecordKind.END):
                    m.d.sync += state.eq(_State.CHECK)
                with m.Case(*(k for k in RecordKind if k.value <= RecordKind.PARAMETERS.value)):
                    # From here on there is no whole program until the CRC tells that there is one again.
                    m.d.sync += [self.whole.eq(0), state.eq(_State.PLACE)]
                with m.Default():
                    refuse(self.error.load_format)
        with m.If(in_place):
            m.d.sync += [entries.eq(place.entries), index.eq(0), state.eq(_State.DATA)]
        with m.If(in_data):
            m.d.sync += index.eq(Mux(at_last, 0, index + 1))
            with m.If(at_last):
                m.d.sync += entries.eq(entries - 1)
                with m.If(last_entry):
                    m.d.sync += state.eq(_State.HEADER)
        ends_well = Signal()
        m.d.comb += [ends_well.eq(end & good), self.error.load_crc.eq(end & ~good)]
        with m.If(end):
            m.d.sync += [self.loading.eq(0), state.eq(_State.IGNORE)]
        with m.If(ends_well):
            m.d.sync += self.whole.eq(1)
        m.d.sync += self.forget.eq(ends_well | self.reset_state | self.reset_ends)
        # No input is taken during a reset: `loaded` is 0 until its end.
        loaded = Signal()
        m.d.comb += loaded.eq(
            (self.loaded[-1] | ends_well | (self.reset_ends & self.whole & ~self.loading)) & ~self.start & ~self.reset
        )
        # A packet that was just begun is to be known of.
        closed = DelayLine(m, "closed", ~loaded).at(self.closed_cycles)
        m.d.comb += [
            *(port.eq(copy) for port, copy in zip(self.loaded, self._equal(m, "loaded", loaded, len(self.loaded)))),
            *(
                port.eq(copy)
                for port, copy in zip(self.drop, self._equal(m, "drop", ~loaded & closed & self.idle, len(self.drop)))
            ),
        ]
        with m.If(self.reset):
            m.d.sync += [self.loading.eq(0), state.eq(_State.IGNORE)]
        with m.If(self.start):
            m.d.sync += [self.loading.eq(1), state.eq(_State.BEGIN)]

        # Stages 2 and 3: the collector gathers the words of one entry.
        word_2 = DelayLine(m, "word", value).at(2)
        for position, filled, half in zip(fill_indices, fills, halves):
            with m.If(sets_addr):
                m.d.sync += position.eq(0)
            with m.If(filled):
                m.d.sync += position.eq(Mux(fills_last, 0, position + 1))
            for i in half:
                (fill,) = copies(m, f"fill_{i}", filled & (position == i), 1)
                with m.If(fill):
                    m.d.sync += collector.word_select(i, WORD_BITS).eq(word_2)
        done = DelayLine(m, "entry_done", in_data & at_last, 1)
        is_parameters = kind == RecordKind.PARAMETERS
        enable = DelayLine(m, "load_enable", done.at(2) & ~is_parameters, 2).at(self.entry_latency)
        m.d.comb += [
            self.load.enable.eq(enable),
            self.load.target.eq(kind),
            self.load.core.eq(core),
            self.load.row.eq(row),
            self.load.addr.eq(addr),
            self.load.data.eq(collector),
        ]
        passed = done.at(self.entry_latency)
        with m.If(sets_addr):
            m.d.sync += addr.eq(place.addr)
        with m.Elif(passed):
            m.d.sync += addr.eq(addr + 1)
        parameters = Signal.like(self.parameters.as_value(), name="parameters_held", reset_less=True)
        take(m, "set_parameters", parameters, collector, done.at(2) & is_parameters, WORD_BITS)
        m.d.comb += self.parameters.eq(parameters)
        return m

    @staticmethod
    def _equal(m, name, value, number):
        """Equal registers that a reset clears."""
        return copies(m, name, value, number, resettable=True)

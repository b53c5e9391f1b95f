"""The loader: from the words of a load to entries of the memories."""

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import data, enum
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.wiring import In, Out, Signature

from ...config import Config
from ...isa.load import RecordKind, header_word, parameters_word, place_word
from ...isa.registers import LOAD_ERRORS
from ...isa.word import WORD_BITS
from ..load_tree import load_data_bits, load_layout
from ..part import Part
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


class Loader(Part):
    """Takes loads word by word and hands entries to the memories.

    What is not for this configuration, or a state that is not of the loaded program, is refused before it overwrites
    anything.

    Attributes
    ----------
    start : in, a pulse: a load begins
    word, value : in, a pulse for each word of a load, at least two cycles after the one before
    idle : in, no inference runs, and no reset: words count
    reset_state : in, a pulse
    reset, reset_ends : in, pulses: a reset begins, it ends in the next cycle
    load : out, the load bus to all memories
    parameters : out, of the program
    loading : out, a load has begun and has not ended
    loaded : out, there is a program that may run
    restart : out, a pulse: before the next inference, play the program from its first word, with state zero
    keep_c : out, a pulse: a state was loaded
    error : out, pulses: why a load was not accepted
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            "loader",
            {
                "start": In(1),
                "word": In(1),
                "value": In(WORD_BITS),
                "idle": In(1),
                "reset_state": In(1),
                "reset": In(1),
                "reset_ends": In(1),
                "load": Out(load_layout(config)),
                "parameters": Out(layout(parameters_word(config))),
                "loading": Out(1),
                "loaded": Out(1),
                "restart": Out(1),
                "keep_c": Out(1),
                "error": Out(Signature({name: Out(1) for name in LOAD_ERRORS})),
            },
        )

    def elaborate(self, platform):
        m = Module()
        header = data.View(layout(header_word), self.value)
        place = data.View(layout(place_word), self.value)

        # The address counts up by itself; the collector gathers the words of one entry. `program_good` tells that the
        # memories hold a whole program.
        program_good = Signal()
        is_state = Signal()
        wrong_low = Signal()
        load_word = Signal()
        state = Signal(_State)
        kind = Signal(RecordKind)
        core = Signal(header_word["core"].width)
        row = Signal(header_word["row"].width)
        last_word = Signal(header_word["words"].width)
        addr = Signal(place_word["addr"].width)
        entries = Signal(place_word["entries"].width)
        word_index = Signal(header_word["words"].width)
        collector = Signal(load_data_bits(self.config), reset_less=True)
        entry_done = Signal()
        next_word = Signal()
        first_word = Signal()
        crc = m.submodules.checksum = CRC32_ISO_HDLC(data_width=WORD_BITS).create()
        m.d.comb += [
            load_word.eq(self.word & self.loading & self.idle),
            self.error.load_busy.eq(self.word & self.loading & ~self.idle),
            crc.start.eq(self.start),
            crc.data.eq(self.value),
            crc.valid.eq(load_word & (state != _State.CHECK)),
        ]
        # Words are at least two cycles apart, so the index may follow one cycle later.
        m.d.sync += [entry_done.eq(0), next_word.eq(0), first_word.eq(0), self.restart.eq(0), self.keep_c.eq(0)]
        with m.If(first_word):
            m.d.sync += word_index.eq(0)
        with m.Elif(next_word):
            m.d.sync += word_index.eq(word_index + 1)
        own_digest = Const(int(self.config.digest, 16), 2 * WORD_BITS)
        wanted_digest = Mux(is_state, self.parameters.digest, own_digest)

        def refuse(error):
            m.d.comb += error.eq(1)
            m.d.sync += state.eq(_State.IGNORE)

        with m.If(load_word):
            with m.Switch(state):
                with m.Case(_State.BEGIN):
                    m.d.sync += [is_state.eq(header.kind == RecordKind.BEGIN_STATE), state.eq(_State.DIGEST_LOW)]
                    with m.Switch(header.kind):
                        with m.Case(RecordKind.BEGIN_PROGRAM):
                            pass
                        with m.Case(RecordKind.BEGIN_STATE):
                            with m.If(~program_good):
                                refuse(self.error.no_program)
                        with m.Default():
                            refuse(self.error.load_format)
                with m.Case(_State.DIGEST_LOW):
                    m.d.sync += [wrong_low.eq(self.value != wanted_digest[:WORD_BITS]), state.eq(_State.DIGEST_HIGH)]
                with m.Case(_State.DIGEST_HIGH):
                    m.d.sync += state.eq(_State.HEADER)
                    with m.If(wrong_low | (self.value != wanted_digest[WORD_BITS:])):
                        with m.If(is_state):
                            refuse(self.error.wrong_program)
                        with m.Else():
                            refuse(self.error.wrong_configuration)
                with m.Case(_State.HEADER):
                    m.d.sync += [
                        kind.eq(header.kind),
                        core.eq(header.core),
                        row.eq(header.row),
                        last_word.eq(header.words),
                    ]
                    with m.Switch(header.kind):
                        with m.Case(RecordKind.END):
                            m.d.sync += state.eq(_State.CHECK)
                        with m.Case(*(k for k in RecordKind if k.value <= RecordKind.PARAMETERS.value)):
                            # From here on there is no whole program until the CRC tells that there is one again.
                            m.d.sync += [program_good.eq(0), state.eq(_State.PLACE)]
                        with m.Default():
                            refuse(self.error.load_format)
                with m.Case(_State.PLACE):
                    m.d.sync += [
                        addr.eq(place.addr),
                        entries.eq(place.entries),
                        first_word.eq(1),
                        state.eq(_State.DATA),
                    ]
                with m.Case(_State.DATA):
                    with m.Switch(word_index):
                        for i in range(len(collector) // WORD_BITS):
                            with m.Case(i):
                                m.d.sync += collector.word_select(i, WORD_BITS).eq(self.value)
                    m.d.sync += next_word.eq(1)
                    with m.If(word_index == last_word):
                        m.d.sync += [entry_done.eq(1), first_word.eq(1), entries.eq(entries - 1)]
                        with m.If(entries == 0):
                            m.d.sync += state.eq(_State.HEADER)
                with m.Case(_State.CHECK):
                    m.d.sync += [self.loading.eq(0), state.eq(_State.IGNORE)]
                    with m.If(crc.crc == self.value):
                        m.d.sync += [
                            program_good.eq(1),
                            self.loaded.eq(1),
                            self.restart.eq(~is_state),
                            self.keep_c.eq(is_state),
                        ]
                    with m.Else():
                        m.d.comb += self.error.load_crc.eq(1)
        with m.If(self.reset_state):
            m.d.sync += self.restart.eq(1)
        # No input is taken during a reset: `loaded` is 0 until its end.
        with m.If(self.reset_ends):
            m.d.sync += [self.loaded.eq(program_good & ~self.loading), self.restart.eq(1)]
        with m.If(self.reset):
            m.d.sync += [self.loading.eq(0), self.loaded.eq(0), state.eq(_State.IGNORE)]
        with m.If(self.start):
            m.d.sync += [self.loading.eq(1), self.loaded.eq(0), state.eq(_State.BEGIN)]

        m.d.comb += [
            self.load.enable.eq(entry_done & (kind != RecordKind.PARAMETERS)),
            self.load.target.eq(kind),
            self.load.core.eq(core),
            self.load.row.eq(row),
            self.load.addr.eq(addr),
            self.load.data.eq(collector),
        ]
        with m.If(entry_done):
            m.d.sync += addr.eq(addr + 1)
        with m.If(entry_done & (kind == RecordKind.PARAMETERS)):
            m.d.sync += self.parameters.eq(collector)
        return m

"""The sequencer: plays the program's issue words, one a cycle, waiting only where a word says so.

The program is a list of issue words. The first ``body`` words start from a reset state; the rest is one inference
and repeats for ever. Words are fetched ahead into a short queue, so that the memory's latency is never seen.
"""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib.wiring import In, Out

from ..isa.issue import VectorFrom, issue_word
from .memory import Ram
from .part import Part, place
from .words import layout

__all__ = ["Sequencer"]


class Sequencer(Part):
    """Program memory, prefetch queue and issue register.

    Attributes
    ----------
    word : out, the issue register (:func:`~spiccato.isa.issue.issue_word`), idle words included
    side, x_side, zero_c : out, with ``word``: run-time parts of the issue word
    block_ready : in, a pulse for each input block that a word may wait for
    room : in, the output queue can take another inference
    malformed : in, of the current inference's packet
    enable : in, start inferences
    drop : in, forget the input blocks that were announced
    restart : in, a pulse: before the next inference, play the program from its first word, with state zero
    keep_c : in, a pulse: a state was loaded, to side 0; a restart that is still to come then leaves out what makes
        the state zero
    probe, probe_word : in: hold this word in the issue register; only while ``idle``
    body, before_last : in, program parameters: first word of the repeated part, last word but one
    w_en, w_addr, w_data : in, program load
    started, committed, stalled : out, pulses: an inference starts, ends; a cycle in which only room is missing
    idle : out, no inference runs and no earlier one has work in the pipeline
    """

    #: Cycles from ``block_ready`` to a word in the issue register that waited for it.
    block_to_issue = 2
    #: The same from ``room``.
    room_to_issue = 2
    #: Prefetch queue: what the fetch loop (address, memory, queue) has in flight, rounded up.
    queue_depth = 8
    #: Cycles after the last issue word in which something may still be in the pipeline.
    drain_cycles = 64

    def __init__(self, config):
        self.config = config
        self.layout = layout(issue_word(config))
        addr_bits = (config.program_depth - 1).bit_length()
        super().__init__(
            "sequencer",
            {
                "word": Out(self.layout),
                "side": Out(1),
                "x_side": Out(1),
                "zero_c": Out(1),
                "block_ready": In(1),
                "room": In(1),
                "malformed": In(1),
                "enable": In(1),
                "drop": In(1),
                "restart": In(1),
                "keep_c": In(1),
                "probe": In(1),
                "probe_word": In(self.layout),
                "body": In(addr_bits),
                "before_last": In(addr_bits),
                "w_en": In(1),
                "w_addr": In(addr_bits),
                "w_data": In(self.layout),
                "started": Out(1),
                "committed": Out(1),
                "stalled": Out(1),
                "idle": Out(1),
            },
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        memory = place(
            m, "program", Ram("ram_program", width=self.layout.size, depth=config.program_depth, preload="words")
        )
        m.d.comb += [memory.w_en.eq(self.w_en), memory.w_addr.eq(self.w_addr), memory.w_data.eq(self.w_data)]

        # Fetch: one word a cycle while the queue has room for all that is under way.
        flush = Signal()
        running = Signal()
        addr = Signal.like(self.body)
        wrap = Signal()
        advance = Signal()
        jumping = Signal()
        fetch = Signal()
        arriving = Signal(Ram.latency)
        queue = [Signal(self.layout.size, name=f"queue_{i}", reset_less=True) for i in range(self.queue_depth)]
        pointer_bits = (self.queue_depth - 1).bit_length()
        write_at, read_at, claimed = (
            Signal(pointer_bits + 1, name=name) for name in ("write_at", "read_at", "claimed")
        )
        take = Signal()
        used = Signal(pointer_bits + 1)
        m.d.comb += [
            used.eq(claimed - read_at),
            advance.eq(~used[-1] & running),
            fetch.eq(advance & ~jumping),
            memory.r_addr.eq(addr),
        ]
        m.d.sync += [arriving.eq(Cat(fetch, arriving[:-1])), jumping.eq(0)]
        with m.If(advance):
            m.d.sync += [wrap.eq((addr == self.before_last) & ~jumping), addr.eq(Mux(wrap, self.body, addr + 1))]
        with m.If(fetch):
            m.d.sync += claimed.eq(claimed + 1)
        with m.If(arriving[-1]):
            m.d.sync += write_at.eq(write_at + 1)
            with m.Switch(write_at[:pointer_bits]):
                for i in range(self.queue_depth):
                    with m.Case(i):
                        m.d.sync += queue[i].eq(memory.r_data)
        with m.If(take):
            m.d.sync += read_at.eq(read_at + 1)

        # The next word, and whether it may go.
        following = Signal(self.layout.size)
        with m.Switch(read_at[:pointer_bits]):
            for i in range(self.queue_depth):
                with m.Case(i):
                    m.d.comb += following.eq(queue[i])
        next_word = Signal(self.layout)
        next_valid = Signal()
        available = Signal()
        blocks = Signal(8)
        have_block = Signal()
        may_start = Signal()
        go = Signal()
        m.d.comb += [
            available.eq(write_at != read_at),
            go.eq(next_valid & (have_block | ~next_word.wait_block) & (may_start | ~next_word.start)),
            take.eq(available & (go | ~next_valid)),
        ]
        with m.If(go | ~next_valid):
            m.d.sync += [next_word.eq(following), next_valid.eq(available)]

        use_block = Signal()
        m.d.comb += use_block.eq(go & next_word.wait_block)
        change = Cat(self.block_ready ^ use_block, (use_block & ~self.block_ready).replicate(len(blocks) - 1))
        m.d.sync += [
            blocks.eq(blocks + change),
            have_block.eq(self.block_ready | blocks[1:].any() | (blocks[0] & ~use_block)),
        ]

        # The issue register; an idle word is one whose effects are switched off.
        state_side = Signal()
        state_zero = Signal()
        packet_side = Signal()
        commit = Signal()
        m.d.comb += commit.eq(go & next_word.commit)
        m.d.sync += [
            self.word.eq(next_word),
            self.side.eq(state_side ^ ~next_word.seed),
            self.x_side.eq(packet_side),
            self.zero_c.eq(state_zero),
            self.started.eq(go & next_word.start),
            self.committed.eq(commit),
        ]
        with m.If(~go):
            m.d.sync += [self.word.valid.eq(0), self.word.vector_from.eq(VectorFrom.NONE), self.word.output.eq(0)]
        with m.If(commit):
            m.d.sync += packet_side.eq(~packet_side)
        with m.If(commit & ~self.malformed):
            m.d.sync += [state_side.eq(~state_side), state_zero.eq(0)]
        with m.If(self.keep_c):
            m.d.sync += [state_side.eq(0), state_zero.eq(0)]

        # Between inferences: the next word is an inference's first, and has not gone.
        between = Signal()
        active = Signal()
        restart_wanted = Signal()
        resume = Signal()
        resume_wanted = Signal()
        quiet = Signal(range(self.drain_cycles + 1))
        m.d.comb += [
            between.eq(next_valid & next_word.start & ~may_start),
            flush.eq(restart_wanted & self.enable & (between | ~running)),
        ]
        m.d.sync += [
            may_start.eq(self.room & self.enable & ~restart_wanted & ~self.restart & ~self.probe),
            # An inference whose input pauses is quiet for long, and still running.
            # A restart that is yet to come counts as well, if it can come.
            self.idle.eq(
                (quiet == self.drain_cycles) & ~active & ~go & ~((self.restart | restart_wanted) & self.enable)
            ),
            self.stalled.eq(next_valid & next_word.start & have_block & self.enable & ~self.room),
        ]
        with m.If(self.restart):
            m.d.sync += restart_wanted.eq(1)
        m.d.comb += resume.eq(self.keep_c | (resume_wanted & ~self.restart))
        m.d.sync += resume_wanted.eq(resume)
        with m.If(commit):
            m.d.sync += active.eq(0)
        with m.Elif(go & next_word.start):
            m.d.sync += active.eq(1)
        with m.If(go):
            m.d.sync += quiet.eq(0)
        with m.Elif(quiet != self.drain_cycles):
            m.d.sync += quiet.eq(quiet + 1)
        with m.If(self.drop):
            m.d.sync += [blocks.eq(0), have_block.eq(0), packet_side.eq(0)]
        with m.If(flush):
            m.d.sync += [
                quiet.eq(0),
                restart_wanted.eq(0),
                running.eq(1),
                addr.eq(0),
                arriving.eq(0),
                # To the body by the way that every inference's end takes, so that the address needs no other one.
                wrap.eq(resume),
                jumping.eq(resume),
                claimed.eq(0),
                write_at.eq(0),
                read_at.eq(0),
                next_valid.eq(0),
                state_side.eq(0),
                state_zero.eq(~resume),
            ]

        # Read-back: nothing else is going on, so the word can stay as long as it takes. An inference may have been
        # let go just before the probe came; its words go first.
        with m.If(self.probe & self.idle & ~go):
            m.d.sync += [self.word.eq(self.probe_word), self.side.eq(state_side ^ ~self.probe_word.seed)]
        return m

"""The sequencer: plays the program's issue words, one a cycle, waiting only where a word says so.

The program is a list of issue words. The first ``body`` words start from a reset state; the rest is one inference
and repeats for ever. Words are fetched ahead into a short queue, so that the memory's latency is never seen.

What decides whether the next word goes would reach everything at once: the word's bits, the queue, the account of
blocks. So it exists in equal copies, a :class:`_Gate` for each slice of the word and for each other purpose.
"""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from ..isa.issue import VectorFrom, core_word, issue_word
from .broadcast import DelayLine, copies, equal_register
from .memory import Ram
from .part import Part, place
from .vector_file import read_layout
from .words import layout

__all__ = ["Sequencer", "finish_layout", "probe_layout"]


def finish_layout(config):
    """What of an issue word acts on a slot that is finished."""
    word = issue_word(config)
    return data.StructLayout(
        {
            **{
                name: word[name].width for name in ("valid", "cell", "quarter", "output", "output_beats", "output_last")
            },
            "side": 1,
            "x_side": 1,
        }
    )


def probe_layout(config):
    """An issue word for the read-back of the state: a block of h, or c of a slot of the committed state."""
    word = issue_word(config)
    return data.StructLayout({name: word[name].width for name in ("vector", "slot", "seed")})


class _Gate:
    """Whether the next word goes, for some of the registers that depend on it.

    Attributes
    ----------
    go, move : the word goes; the next one takes its place
    start, wait : of the word
    valid, have_block, may_start : there is a word; there is what it may wait for
    read_at : where in the queue the next one lies; a gate may use another one's
    """

    #: Register bits of its own that ``go`` reaches.
    size = 8

    def __init__(self, m, name, pointer_bits, reader=None):
        self.name = name
        self.valid, self.start, self.wait, self.have_block, self.may_start = (
            equal_register(f"{bit}_{name}")
            for bit in ("next_valid", "next_start", "next_wait", "have_block", "may_start")
        )
        self.go, self.move = Signal(name=f"go_{name}"), Signal(name=f"move_{name}")
        self.leads = reader is None
        self.read_at = reader.read_at if reader else equal_register(f"read_at_{name}", pointer_bits)
        m.d.comb += [
            self.go.eq(self.valid & (self.have_block | ~self.wait) & (self.may_start | ~self.start)),
            self.move.eq(self.go | ~self.valid),
        ]

    def connect(self, m, queue, available, have_block, may_start, flushed):
        """Follow the queue, given as what each word of it is: (start, wait)."""
        start, wait = Signal(name=f"following_start_{self.name}"), Signal(name=f"following_wait_{self.name}")
        with m.Switch(self.read_at[:-1]):
            for i, values in enumerate(queue):
                with m.Case(i):
                    m.d.comb += Cat(start, wait).eq(Cat(*values))
        m.d.sync += [self.have_block.eq(have_block), self.may_start.eq(may_start)]
        with m.If(self.move):
            m.d.sync += [self.valid.eq(available), self.start.eq(start), self.wait.eq(wait)]
        if self.leads:
            with m.If(self.move & available):
                m.d.sync += self.read_at.eq(self.read_at + 1)
        with m.If(flushed):
            m.d.sync += self.valid.eq(0)
            if self.leads:
                m.d.sync += self.read_at.eq(0)


class Sequencer(Part):
    """Program memory, prefetch queue and issue register.

    Attributes
    ----------
    issue : out, the issue register, idle words included: a copy for each core
    read : out, the same for the vector file, as often as its ``reads`` says
    finish : out, the same for what happens to finished slots
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
    #: From ``probe`` to its word in the issue register.
    probe_to_issue = 2
    #: Prefetch queue: what the fetch loop (address, memory, queue) has in flight, rounded up.
    queue_depth = 8
    #: Cycles after the last issue word in which something may still be in the pipeline.
    drain_cycles = 64

    def __init__(self, config, *, reads=1):
        self.config, self.reads = config, reads
        self.layout = layout(issue_word(config))
        addr_bits = (config.program_depth - 1).bit_length()
        super().__init__(
            "sequencer",
            {
                "issue": Out(layout(core_word(config))).array(config.cores),
                "read": Out(read_layout(config)).array(reads),
                "finish": Out(finish_layout(config)),
                "block_ready": In(1),
                "room": In(1),
                "malformed": In(1),
                "enable": In(1),
                "drop": In(1),
                "restart": In(1),
                "keep_c": In(1),
                "probe": In(1),
                "probe_word": In(probe_layout(config)),
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
        pointer_bits = (self.queue_depth - 1).bit_length() + 1
        width = self.layout.size
        number = -(-width // (config.stages.reach.registers - _Gate.size))
        slices = [
            (_Gate(m, f"slice_{i}", pointer_bits), slice(width * i // number, width * (i + 1) // number))
            for i in range(number)
        ]
        issuing, account = _Gate(m, "issue", pointer_bits), _Gate(m, "account", pointer_bits)
        probing, restarting = _Gate(m, "probe", pointer_bits, issuing), _Gate(m, "restart", pointer_bits, account)

        # What a flush makes wait: the fetch begins anew at once, the rest follows before its first word arrives.
        flush = Signal()
        fetch_flushed, queue_flushed = (
            equal_register(f"{name}_flushed", init=1, resettable=True) for name in ("fetch", "queue")
        )
        resume = Signal()
        resume_wanted = Signal(reset_less=True)
        m.d.comb += resume.eq(self.keep_c | (resume_wanted & ~self.restart))
        m.d.sync += [fetch_flushed.eq(flush), queue_flushed.eq(flush), resume_wanted.eq(resume)]

        # Fetch: one word a cycle while the queue has room for all that is under way.
        memory = place(m, "program", Ram("ram_program", width=width, depth=config.program_depth, preload="words"))
        running = Signal()
        addr = Signal.like(self.body, reset_less=True)
        wrap = Signal(reset_less=True)
        jumping = Signal(reset_less=True)
        advance = Signal()
        fetch = Signal()
        claimed = Signal(pointer_bits, reset_less=True)
        used = Signal(pointer_bits)
        m.d.comb += [
            memory.w_en.eq(self.w_en),
            memory.w_addr.eq(self.w_addr),
            memory.w_data.eq(self.w_data),
            memory.r_addr.eq(addr),
            used.eq(claimed - account.read_at),
            advance.eq((~used[-1] | fetch_flushed) & running),
            fetch.eq(advance & ~jumping),
        ]
        m.d.sync += [jumping.eq(0), claimed.eq(Mux(fetch_flushed, 0, claimed) + fetch)]
        with m.If(advance):
            m.d.sync += [wrap.eq((addr == self.before_last) & ~jumping), addr.eq(Mux(wrap, self.body, addr + 1))]
        with m.If(flush):
            # To the body by the way that every inference's end takes, so that the address needs no other one.
            m.d.sync += [running.eq(1), addr.eq(0), wrap.eq(resume), jumping.eq(resume)]

        # Arrival, known a cycle ahead of the memory's output: so each slice of each word has an enable of its own.
        queue = [Signal(width, name=f"queue_{i}", reset_less=True) for i in range(self.queue_depth)]
        fill = Signal(self.queue_depth, init=1, reset_less=True)
        write_at = Signal(pointer_bits, reset_less=True)
        under_way = DelayLine(m, "fetch", fetch)
        arriving = under_way.at(Ram.latency - 1)
        arrived = Signal(reset_less=True)
        m.d.sync += [arrived.eq(arriving & ~fetch_flushed), write_at.eq(write_at + arrived)]
        with m.If(arriving):
            m.d.sync += fill.eq(fill.rotate_left(1))
        with m.If(queue_flushed):
            m.d.sync += [fill.eq(1), write_at.eq(0)]
        for (_, bits), arrives in zip(slices, under_way.spread(Ram.latency - 1, number, "arriving")):
            for i, word in enumerate(queue):
                write = equal_register(f"write_{i}_{bits.start}")
                m.d.sync += write.eq(arrives & fill[i])
                with m.If(write):
                    m.d.sync += word[bits].eq(memory.r_data[bits])

        # The next word, and what it may wait for.
        next_word = Signal(self.layout, reset_less=True)
        next_bits = next_word.as_value()
        use_block = Signal()
        blocks = Signal(8)
        have_block = Signal()
        restart_wanted = Signal()
        may_start = Signal()
        m.d.comb += [
            use_block.eq(account.go & account.wait),
            have_block.eq((self.block_ready | blocks[1:].any() | (blocks[0] & ~use_block)) & ~self.drop),
            may_start.eq(self.room & self.enable & ~restart_wanted & ~self.restart & ~self.probe & ~fetch_flushed),
        ]
        change = Cat(self.block_ready ^ use_block, (use_block & ~self.block_ready).replicate(len(blocks) - 1))
        m.d.sync += blocks.eq(blocks + change)
        flushed = copies(m, "flushed", queue_flushed, number + 1)
        heads = [data.View(self.layout, word) for word in queue]
        for gate, cleared in [
            *((gate, copy) for (gate, _), copy in zip(slices, flushed)),
            *((gate, flushed[-1]) for gate in (issuing, probing)),
            # The pointer by which the fetch counts.
            *((gate, queue_flushed) for gate in (account, restarting)),
        ]:
            waiting = [(head.start, head.wait_block) for head in heads]
            gate.connect(m, waiting, write_at != gate.read_at, have_block, may_start, cleared)
        for gate, bits in slices:
            following = Signal(bits.stop - bits.start, name=f"following_{bits.start}")
            with m.Switch(gate.read_at[:-1]):
                for i, word in enumerate(queue):
                    with m.Case(i):
                        m.d.comb += following.eq(word[bits])
            with m.If(gate.move):
                m.d.sync += next_bits[bits].eq(following)

        # The issue register; an idle word is one whose effects are switched off. A read-back's word is held there while
        # nothing else is going on. An inference may have been let go just before it came: that one's words go first.
        state_side = Signal(reset_less=True)
        state_zero = Signal(reset_less=True)
        packet_side = Signal()
        probed = Signal()
        idle = [equal_register(f"idle_{i}", resettable=True) for i in range(2)]
        m.d.comb += [self.idle.eq(idle[0]), probed.eq(self.probe & idle[1] & ~probing.go)]
        sides = {"x_side": packet_side, "zero_c": state_zero}
        word = {field.name: next_word[field.name] for field in issue_word(config)}
        word |= {
            "valid": word["valid"] & issuing.go,
            "output": word["output"] & issuing.go,
            "vector_from": Mux(issuing.go, word["vector_from"], VectorFrom.NONE),
        }

        def issue(name, port, hold=0):
            """A copy of the issue register, or of what of it the port has; the read-back's word while ``hold``."""
            probe = {
                **{name: self.probe_word[name] for name in ("vector", "slot", "seed")},
                "vector_from": VectorFrom.H,
            }
            held = word | {field: Mux(hold, value, word[field]) for field, value in probe.items()}
            values = held | sides | {"side": state_side ^ ~held["seed"]}
            for field, shape in port.shape().members.items():
                register = equal_register(f"{name}_{field}", shape, resettable=(name, field) == ("finish", "valid"))
                m.d.sync += register.eq(values[field])
                m.d.comb += port[field].eq(register)

        ports = [(f"issue_{i}", port) for i, port in enumerate(self.issue)]
        ports += [(f"read_{i}", port) for i, port in enumerate(self.read)]
        for (name, port), hold in zip(ports, copies(m, "probing", probed, len(ports))):
            issue(name, port, hold)
        issue("finish", self.finish)

        commit = Signal()
        issued = Signal(reset_less=True)
        m.d.comb += commit.eq(account.go & next_word.commit)
        m.d.sync += [
            issued.eq(account.go | flush),
            self.started.eq(account.go & account.start),
            self.committed.eq(commit),
        ]
        with m.If(commit):
            m.d.sync += packet_side.eq(~packet_side)
        with m.If(commit & ~self.malformed):
            m.d.sync += [state_side.eq(~state_side), state_zero.eq(0)]
        with m.If(queue_flushed):
            m.d.sync += [state_side.eq(0), state_zero.eq(~resume_wanted)]
        with m.If(self.keep_c):
            m.d.sync += [state_side.eq(0), state_zero.eq(0)]

        # Between inferences: the next word is an inference's first, and has not gone.
        between = Signal()
        active = Signal()
        # Goes on in a reset, which lasts as long, from whatever it was.
        quiet = Signal(range(self.drain_cycles + 1), reset_less=True)
        if self.drain_cycles != 1 << len(quiet) - 1:
            raise ValueError("the cycles in which the pipeline runs empty are counted up to a power of two")
        m.d.comb += [
            between.eq(restarting.valid & restarting.start & ~restarting.may_start),
            flush.eq(restart_wanted & self.enable & (between | ~running)),
        ]
        m.d.sync += [
            # An inference whose input pauses is quiet for long, and still running.
            # A restart that is yet to come counts as well, if it can come.
            *(
                copy.eq(quiet[-1] & ~active & ~account.go & ~issued & ~((self.restart | restart_wanted) & self.enable))
                for copy in idle
            ),
            self.stalled.eq(
                Cat(
                    restarting.valid, restarting.start, restarting.have_block, self.enable, ~self.room, ~fetch_flushed
                ).all()
            ),
        ]
        with m.If(flush):
            m.d.sync += restart_wanted.eq(0)
        with m.Elif(self.restart):
            m.d.sync += restart_wanted.eq(1)
        # One cycle after the word that they tell of.
        with m.If(self.committed):
            m.d.sync += active.eq(0)
        with m.Elif(self.started):
            m.d.sync += active.eq(1)
        with m.If(issued):
            m.d.sync += quiet.eq(1)
        with m.Elif(~quiet[-1]):
            m.d.sync += quiet.eq(quiet + 1)
        with m.If(self.drop):
            m.d.sync += [blocks.eq(0), packet_side.eq(0)]
        return m

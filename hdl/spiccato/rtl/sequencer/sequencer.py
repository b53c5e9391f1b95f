"""The sequencer: plays the issue words of one inference after the other, one a cycle, and waits where a word says so.

Each input packet becomes an inference of its model. Which one is known only when the packet comes, and its first word
may be due before a word could come from the program memory. So the first words of all models, their *heads*, lie in a
small memory of their own and are taken from there; the others are fetched ahead, from when the packet was announced,
into a short queue.

What decides whether the next word goes would reach everything at once: the word's bits, the queue, the account of
blocks. So it exists in equal copies, a :class:`.gate.Gate` for each slice of the word and for each other purpose.
"""

from amaranth.hdl import Cat, Module, Mux, Shape, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from ...isa.issue import Source, VectorFrom, core_word, issue_word
from ...isa.load import model_word
from ..broadcast import batches, copies, equal_register
from ..part import Part, place
from ..vector_file import read_layout
from ..words import layout
from .fetch import Fetch
from .gate import Gate
from .heads import Heads

__all__ = ["Sequencer", "finish_layout", "state_layout"]


def finish_layout(config):
    """What of an issue word acts on a slot that is finished."""
    word = issue_word(config)
    return data.StructLayout(
        {
            **{
                name: word[name].width
                for name in ("valid", "cell", "epilogue", "quarter", "output", "output_beats", "output_last")
                if name in word
            },
            "side": 1,
        }
    )


def state_layout(config):
    """What of an issue word acts on the state: see :class:`.contexts.Contexts`."""
    word = issue_word(config)
    return data.StructLayout(
        {"source": Source, "slot": word["slot"].width, "valid": 1, "start": 1, "side": 1, "commit": 1}
    )


#: What an issue word has of effects, and without: an idle word.
_EFFECTS = {"valid": 0, "start": 0, "commit": 0, "output": 0, "vector_from": VectorFrom.NONE}


class Sequencer(Part):
    """Fetches the words, and issues them.

    Attributes
    ----------
    issue : out, the issue register, idle words included: a copy for each core
    read : out, the same for the vector file, as often as its ``reads`` says
    finish : out, the same for what happens to finished slots
    state : out, the same for what happens to the state: twice
    models : in, table of the models: constant while inferences may start
    announce : in, a pulse: a packet has begun; they take turns with the two sides, side 0 first
    coming : in, of both sides: the packet's model; from the cycle before ``announce`` on until its inference has ended
    block_ready : in, a pulse for each input block that a word may wait for
    enable : in, start inferences
    room : in, for both sides: the packet's output finds room
    drop : in, for ``drop_cycles`` or more, while nothing runs: forget the packets that were announced
    w_tail, w_head : in, ``{en, addr, data}``, load of the program memory and of the heads; an address of the heads is
        {model, word}
    started, committed, stalled : out, pulses: an inference starts, ends; a cycle in which only room is missing
    side : out, of the packet whose inference starts next, ``started`` included
    idle : out, no inference runs, no earlier one has work in the pipeline, and none was announced for as long
    """

    #: Cycles from ``announce`` to the first word in the issue register.
    announce_to_issue = Heads.announce_to_issue
    #: Cycles from ``block_ready`` to a word in the issue register that waited for it.
    block_to_issue = Gate.to_issue
    #: The same from ``room``.
    room_to_issue = Gate.to_issue
    #: Words of a model that lie with the heads.
    head_words = Heads.number
    #: Of a head's number.
    head_bits = Heads.number_bits
    #: At least so many others there are: the heads of the next model need the time.
    least_tail = 2
    #: Cycles after the last issue word in which something may still be in the pipeline.
    drain_cycles = 64
    drop_cycles = 3
    #: From ``announce`` to ``idle``.
    busy_latency = 2
    #: From ``w_head`` to the heads' write ports.
    load_latency = Heads.load_latency

    def __init__(self, config, *, reads=1):
        self.config, self.reads = config, reads
        self.layout = layout(issue_word(config))
        tail_bits = (config.program_depth - 1).bit_length()
        super().__init__(
            "sequencer",
            {
                "issue": Out(layout(core_word(config))).array(config.cores),
                "read": Out(read_layout(config)).array(reads),
                "finish": Out(finish_layout(config)),
                "state": Out(state_layout(config)).array(2),
                "models": In(layout(model_word(config))).array(config.models),
                "announce": In(1),
                "coming": In(config.model_bits).array(2),
                "block_ready": In(1),
                "enable": In(1),
                "room": In(2),
                "drop": In(1),
                "w_tail_en": In(1),
                "w_tail_addr": In(tail_bits),
                "w_tail_data": In(self.layout),
                "w_head_en": In(1),
                "w_head_addr": In(self.head_bits + config.model_bits),
                "w_head_data": In(self.layout),
                "started": Out(1),
                "committed": Out(1),
                "stalled": Out(1),
                "side": Out(1),
                "idle": Out(1),
            },
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        width = self.layout.size
        number = -(-width // (config.stages.reach.registers - Gate.size))
        parts = [slice(width * i // number, width * (i + 1) // number) for i in range(number)]
        slices = [(Gate(m, f"slice_{i}"), bits) for i, bits in enumerate(parts)]
        outputs = self._outputs()
        issuing = [Gate(m, f"issue_{i}") for i in range(len(outputs))]
        account = Gate(m, "account")
        watching = Gate(m, "watch", account)
        blocks = Signal(8)
        gates = [gate for gate, _ in slices] + [*issuing, account, watching]
        # What counts the blocks, and tells all gates, is one of its own where the account would reach too far.
        counting = account
        if Gate.accounted + len(blocks) + len(gates) > config.stages.reach.registers:
            counting = Gate(m, "count", account)
            gates.append(counting)
        fetch_dropped, dropped = (equal_register(f"dropped_{i}", init=1, resettable=True) for i in range(2))
        m.d.sync += [fetch_dropped.eq(self.drop), dropped.eq(self.drop)]

        # A pointer behind the queue's last word for some of the gates each.
        pointed = config.stages.reach.registers - Fetch.pointer_bits
        groups = batches(parts, pointed, bits=lambda _: Gate.pointed)
        others = batches(gates[number:], pointed, bits=lambda gate: Gate.pointed if gate.leads else 1)
        fetch = place(m, "fetch", Fetch(config, groups, len(others)))
        heads = place(m, "heads", Heads(config))
        for part, clear in ((fetch, fetch_dropped), (heads, dropped)):
            m.d.comb += [
                part.announce.eq(self.announce),
                *(port.eq(model) for port, model in zip(part.coming, self.coming)),
                part.clear.eq(clear),
            ]
        m.d.comb += [
            *(port.eq(entry) for port, entry in zip(fetch.models, self.models)),
            fetch.takes.eq(account.takes),
            fetch.w_en.eq(self.w_tail_en),
            fetch.w_addr.eq(self.w_tail_addr),
            fetch.w_data.eq(self.w_tail_data),
            heads.last.eq(account.move & account.in_heads & account.head_ready & (account.head == self.head_words - 1)),
            heads.w_en.eq(self.w_head_en),
            heads.w_addr.eq(self.w_head_addr),
            heads.w_data.eq(self.w_head_data),
            self.side.eq(heads.side),
        ]

        # The next word, and what it may wait for.
        next_word = Signal(self.layout, reset_less=True)
        next_bits = next_word.as_value()
        use_block = Signal()
        have_block = Signal()
        room, may_start = Signal(name="has_room"), Signal()
        m.d.comb += [
            use_block.eq(counting.go & counting.wait),
            have_block.eq((self.block_ready | blocks[1:].any() | (blocks[0] & ~use_block)) & ~self.drop),
            room.eq(Mux(self.side, self.room[1], self.room[0])),
            may_start.eq(room & self.enable),
        ]
        change = Cat(self.block_ready ^ use_block, (use_block & ~self.block_ready).replicate(len(blocks) - 1))
        m.d.sync += blocks.eq(blocks + change)
        # Cleared, a slice's gate ends with its word; of the others, those that share a pointer.
        cleared = copies(m, "cleared", dropped, number + len(others))
        pointers = [pointer for group, pointer in zip([*groups, *others], fetch.write_at) for _ in group]
        clears = cleared[:number] + [clear for group, clear in zip(others, cleared[number:]) for _ in group]
        head_conditions, queue_conditions = (
            [(word.start, word.wait_block, word.commit) for word in (data.View(self.layout, bits) for bits in words)]
            for words in (heads.words, fetch.queue)
        )
        for gate, clear, pointer in zip(gates, clears, pointers):
            gate.connect(m, head_conditions, queue_conditions, pointer, heads.ready, have_block, may_start, clear)
        for gate, bits in slices:
            following = gate.following(
                m, str(bits.start), [word[bits] for word in heads.words], [word[bits] for word in fetch.queue]
            )
            with m.If(gate.move):
                m.d.sync += next_bits[bits].eq(following)

        # The issue register; an idle word is one whose effects are switched off.
        packet_side = Signal()
        for gate, ports in zip(issuing, outputs):
            word = {field.name: next_word[field.name] for field in issue_word(config)}
            word |= {name: Mux(gate.go, word[name], idle) for name, idle in _EFFECTS.items()}
            word["side"] = packet_side
            for name, port in ports.items():
                for field, shape in port.shape().members.items():
                    register = equal_register(f"{name}_{field}", shape, resettable=(name, field) == ("finish", "valid"))
                    m.d.sync += register.eq(word[field])
                    m.d.comb += port[field].eq(register)

        commit = Signal()
        issued = Signal(reset_less=True)
        m.d.comb += commit.eq(account.go & next_word.commit)
        m.d.sync += [
            issued.eq(issuing[-1].go),
            self.started.eq(issuing[-1].go & issuing[-1].start),
            self.committed.eq(commit),
            self.stalled.eq(Cat(watching.valid, watching.start, watching.have_block, self.enable, ~room).all()),
        ]
        with m.If(commit):
            m.d.sync += packet_side.eq(~packet_side)

        active = Signal()
        # Goes on in a reset, which lasts as long, from whatever it was.
        quiet = Signal(range(self.drain_cycles + 1), reset_less=True)
        if self.drain_cycles != 1 << len(quiet) - 1:
            raise ValueError("the cycles in which the pipeline runs empty are counted up to a power of two")
        # An inference whose input pauses is quiet for long, and still running. One that may not start is not, but has
        # as long to receive its packet.
        m.d.sync += self.idle.eq(quiet[-1] & ~active & ~account.go & ~issued)
        # One cycle after the word that they tell of.
        with m.If(self.committed):
            m.d.sync += active.eq(0)
        with m.Elif(self.started):
            m.d.sync += active.eq(1)
        with m.If(issued | self.announce):
            m.d.sync += quiet.eq(1)
        with m.Elif(~quiet[-1]):
            m.d.sync += quiet.eq(quiet + 1)
        with m.If(self.drop):
            m.d.sync += [blocks.eq(0), packet_side.eq(0)]
        return m

    def _outputs(self):
        """The copies of the issue register by name, as many together as a gate may switch off."""
        ports = {f"issue_{i}": port for i, port in enumerate(self.issue)}
        ports |= {f"read_{i}": port for i, port in enumerate(self.read)}
        ports |= {"finish": self.finish} | {f"state_{i}": port for i, port in enumerate(self.state)}

        def effects(item):
            members = item[1].shape().members
            return sum(Shape.cast(members[field]).width for field in _EFFECTS.keys() & members.keys())

        # And two pulses that one of them gives.
        most = self.config.stages.reach.registers - Gate.size - 2
        return [dict(group) for group in batches(ports.items(), most, bits=effects)]

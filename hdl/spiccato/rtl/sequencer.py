"""The sequencer: plays the issue words of one inference after the other, one a cycle, and waits where a word says so.

Each input packet becomes an inference of its model. Which one is known only when the packet comes, and its first word
may be due before a word could come from the program memory. So the first words of all models, their *heads*, lie in a
small memory of their own and are taken from there; the others are fetched ahead, from when the packet was announced,
into a short queue.

What decides whether the next word goes would reach everything at once: the word's bits, the queue, the account of
blocks. So it exists in equal copies, a :class:`_Gate` for each slice of the word and for each other purpose.
"""

from amaranth.hdl import Array, Cat, Module, Mux, Shape, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from ..isa.issue import Source, VectorFrom, core_word, issue_word
from ..isa.load import model_word
from .broadcast import DelayLine, copies, equal_register
from .memory import DistributedRam, Ram
from .part import Part, place
from .vector_file import read_layout
from .words import layout

__all__ = ["Sequencer", "finish_layout", "state_layout"]


def finish_layout(config):
    """What of an issue word acts on a slot that is finished."""
    word = issue_word(config)
    return data.StructLayout(
        {
            **{
                name: word[name].width for name in ("valid", "cell", "quarter", "output", "output_beats", "output_last")
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


class _Gate:
    """Whether the next word goes, for some of the registers that depend on it, and where the one behind it lies.

    Attributes
    ----------
    go, move, takes : the word goes; the next one takes its place; and is one of the queue
    start, wait : of the word
    valid, have_block, may_start : there is a word; there is what it may wait for
    read_at, head : where the one behind it lies: in the queue, or among the heads, if ``in_heads``; a gate may use
        another one's
    """

    #: Register bits of its own that ``go`` reaches.
    size = 12

    def __init__(self, m, name, pointer_bits, reader=None):
        self.name = name
        self.valid, self.start, self.wait, self.have_block, self.may_start, self.head_ready = (
            equal_register(f"{bit}_{name}")
            for bit in ("next_valid", "next_start", "next_wait", "have_block", "may_start", "head_ready")
        )
        self.go, self.move, self.takes = (Signal(name=f"{what}_{name}") for what in ("go", "move", "takes"))
        self.leads = reader is None
        if self.leads:
            self.read_at = equal_register(f"read_at_{name}", pointer_bits)
            self.head = equal_register(f"head_{name}", range(Sequencer.head_words))
            self.in_heads = equal_register(f"in_heads_{name}")
        else:
            self.read_at, self.head, self.in_heads = reader.read_at, reader.head, reader.in_heads
        m.d.comb += [
            self.go.eq(self.valid & (self.have_block | ~self.wait) & (self.may_start | ~self.start)),
            self.move.eq(self.go | ~self.valid),
        ]

    def following(self, m, name, heads, queue):
        """Of values for each head and each word of the queue, the one of the word behind the next one."""
        head, queued, value = (Signal(len(heads[0]), name=f"{kind}_{name}") for kind in ("head", "queued", "following"))
        for chosen, values, place_of in ((head, heads, self.head), (queued, queue, self.read_at[:-1])):
            with m.Switch(place_of):
                for i, one in enumerate(values):
                    with m.Case(i):
                        m.d.comb += chosen.eq(one)
        m.d.comb += value.eq(Mux(self.in_heads, head, queued))
        return value

    def connect(self, m, heads, queue, write_at, head_ready, have_block, may_start, cleared):
        """Follow the words, given as what each is: (start, wait, commit)."""
        start, wait, commit = self.following(
            m, f"word_{self.name}", [Cat(*values) for values in heads], [Cat(*values) for values in queue]
        )
        available = Signal(name=f"available_{self.name}")
        m.d.comb += [
            available.eq(Mux(self.in_heads, self.head_ready, write_at != self.read_at)),
            self.takes.eq(self.move & available & ~self.in_heads),
        ]
        m.d.sync += [self.have_block.eq(have_block), self.may_start.eq(may_start), self.head_ready.eq(head_ready)]
        with m.If(self.move):
            m.d.sync += [self.valid.eq(available), self.start.eq(start), self.wait.eq(wait)]
        if self.leads:
            last = Signal(name=f"last_head_{self.name}")
            m.d.comb += last.eq(self.head == Sequencer.head_words - 1)
            with m.If(self.move & available):
                with m.If(self.in_heads):
                    m.d.sync += [self.head.eq(Mux(last, 0, self.head + 1)), self.in_heads.eq(~last)]
                with m.Else():
                    m.d.sync += [self.read_at.eq(self.read_at + 1), self.in_heads.eq(commit)]
        with m.If(cleared):
            m.d.sync += self.valid.eq(0)
            if self.leads:
                m.d.sync += [self.read_at.eq(0), self.head.eq(0), self.in_heads.eq(1)]


class Sequencer(Part):
    """Program and head memories, prefetch queue and issue register.

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
    announce_to_issue = 3
    #: Cycles from ``block_ready`` to a word in the issue register that waited for it.
    block_to_issue = 2
    #: The same from ``room``.
    room_to_issue = 2
    #: Cycles from ``announce`` until its model's entry is taken from the table, and a word is asked for.
    _table_cycles = 2
    #: From the asking for a word to when it can follow: memory, queue.
    _fetch_cycles = Ram.latency + 1
    #: Words of a model that follow before the first one of its others can.
    head_words = _table_cycles + _fetch_cycles - (announce_to_issue - 2)
    #: Of a head's number.
    head_bits = (head_words - 1).bit_length()
    #: At least so many others there are: the heads of the next model need the time.
    least_tail = 2
    #: Prefetch queue: what the fetch loop (address, memory, queue) has in flight, rounded up.
    queue_depth = 8
    #: Cycles after the last issue word in which something may still be in the pipeline.
    drain_cycles = 64
    drop_cycles = 3
    #: From ``announce`` to ``idle``.
    busy_latency = 2
    #: From ``w_head`` to the heads' write ports.
    load_latency = 1

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
        pointer_bits = (self.queue_depth - 1).bit_length() + 1
        width = self.layout.size
        number = -(-width // (config.stages.reach.registers - _Gate.size))
        slices = [
            (_Gate(m, f"slice_{i}", pointer_bits), slice(width * i // number, width * (i + 1) // number))
            for i in range(number)
        ]
        outputs = self._outputs()
        issuing = [_Gate(m, f"issue_{i}", pointer_bits) for i in range(len(outputs))]
        account = _Gate(m, "account", pointer_bits)
        watching = _Gate(m, "watch", pointer_bits, account)
        fetch_dropped, dropped = (equal_register(f"dropped_{i}", init=1, resettable=True) for i in range(2))
        m.d.sync += [fetch_dropped.eq(self.drop), dropped.eq(self.drop)]

        queue, write_at = self._fetch(m, slices, account, fetch_dropped)
        heads, head_ready = self._heads(m, slices, account, dropped)

        # The next word, and what it may wait for.
        next_word = Signal(self.layout, reset_less=True)
        next_bits = next_word.as_value()
        use_block = Signal()
        blocks = Signal(8)
        have_block = Signal()
        room, may_start = Signal(name="has_room"), Signal()
        m.d.comb += [
            use_block.eq(account.go & account.wait),
            have_block.eq((self.block_ready | blocks[1:].any() | (blocks[0] & ~use_block)) & ~self.drop),
            room.eq(Mux(self.side, self.room[1], self.room[0])),
            may_start.eq(room & self.enable),
        ]
        change = Cat(self.block_ready ^ use_block, (use_block & ~self.block_ready).replicate(len(blocks) - 1))
        m.d.sync += blocks.eq(blocks + change)
        cleared = copies(m, "cleared", dropped, number + 1)
        head_conditions, queue_conditions = (
            [(word.start, word.wait_block, word.commit) for word in (data.View(self.layout, bits) for bits in words)]
            for words in (heads, queue)
        )
        for gate, clear, pointer in [
            *((gate, copy, write_at[0]) for (gate, _), copy in zip(slices, cleared)),
            *((gate, cleared[-1], write_at[1]) for gate in (*issuing, account, watching)),
        ]:
            gate.connect(m, head_conditions, queue_conditions, pointer, head_ready, have_block, may_start, clear)
        for gate, bits in slices:
            following = gate.following(
                m, str(bits.start), [word[bits] for word in heads], [word[bits] for word in queue]
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
        groups: list[dict] = [{}]
        # And two pulses that one of them gives.
        left = most = self.config.stages.reach.registers - _Gate.size - 2
        for name, port in ports.items():
            members = port.shape().members
            bits = sum(Shape.cast(members[field]).width for field in _EFFECTS.keys() & members.keys())
            if bits > left:
                groups.append({})
                left = most
            groups[-1][name] = port
            left -= bits
        return groups

    def _fetch(self, m, slices, account, dropped):
        """The fetch loop: (queue's words, pointers behind the last one, equal ones)."""
        config = self.config
        pointer_bits = len(account.read_at)
        width, number = self.layout.size, len(slices)
        memory = place(m, "program", Ram("ram_program", width=width, depth=config.program_depth, preload="words"))
        addr = Signal.like(self.w_tail_addr, name="addr", reset_less=True)
        next_first = Signal.like(addr, name="next_first", reset_less=True)
        before_last = [Signal.like(addr, name=f"before_last_{s}", reset_less=True) for s in range(2)]
        # Packets whose words are yet to be fetched, and whose turn it is; `settled` when the table's entry is its.
        announced = Signal(2, name="to_fetch")
        side = Signal(name="fetch_side")
        settled = Signal()
        running, at_last = Signal(name="fetching"), Signal(name="at_last", reset_less=True)
        begin, advance = Signal(name="begin_packet"), Signal(name="fetch")
        # Places of the queue that no word has or will have. One that is taken is free a cycle later.
        free = Signal(range(self.queue_depth + 1), name="free", init=self.queue_depth, reset_less=True)
        taken = DelayLine(m, "taken", account.takes, resettable=True).at(1)
        next_side = Signal(name="next_fetch_side")
        (next_model,) = copies(m, "next_model", Mux(next_side, self.coming[1], self.coming[0]), 1)
        models = [copies(m, f"fetch_model_{s}", model, 1)[0] for s, model in enumerate(self.coming)]
        m.d.comb += [
            memory.w_en.eq(self.w_tail_en),
            memory.w_addr.eq(self.w_tail_addr),
            memory.w_data.eq(self.w_tail_data),
            memory.r_addr.eq(addr),
            advance.eq(running & free.any()),
            begin.eq(announced.any() & settled & (~running | (advance & at_last))),
            next_side.eq(side ^ begin),
        ]
        m.d.sync += [
            side.eq(next_side),
            next_first.eq(Array(entry.first for entry in self.models)[next_model]),
            *(
                last.eq(Array(entry.before_last for entry in self.models)[model])
                for last, model in zip(before_last, models)
            ),
            announced.eq(announced + self.announce - begin),
            settled.eq(~begin),
            free.eq(free + taken - advance),
        ]
        with m.If(begin | advance):
            m.d.sync += addr.eq(Mux(begin, next_first, addr + 1))
        with m.If(advance):
            m.d.sync += at_last.eq(addr == Mux(side, before_last[0], before_last[1]))
        with m.If(begin):
            m.d.sync += at_last.eq(0)
        with m.If(begin | (advance & at_last)):
            m.d.sync += running.eq(begin)

        # Arrival, known a cycle ahead of the memory's output: so each slice of each word has an enable of its own.
        queue = [Signal(width, name=f"queue_{i}", reset_less=True) for i in range(self.queue_depth)]
        fill = Signal(self.queue_depth, init=1, reset_less=True)
        write_at = [equal_register(f"write_at_{i}", pointer_bits) for i in range(2)]
        under_way = DelayLine(m, "fetch", advance)
        arriving = under_way.at(Ram.latency - 1)
        arrived = Signal(reset_less=True)
        m.d.sync += [arrived.eq(arriving), *(pointer.eq(pointer + arrived) for pointer in write_at)]
        with m.If(arriving):
            m.d.sync += fill.eq(fill.rotate_left(1))
        for (_, bits), arrives in zip(slices, under_way.spread(Ram.latency - 1, number, "arriving")):
            for i, word in enumerate(queue):
                write = equal_register(f"write_{i}_{bits.start}")
                m.d.sync += write.eq(arrives & fill[i])
                with m.If(write):
                    m.d.sync += word[bits].eq(memory.r_data[bits])
        with m.If(dropped):
            m.d.sync += [*(register.eq(0) for register in (announced, side, running, *write_at)), fill.eq(1)]
            m.d.sync += free.eq(self.queue_depth)
        return queue, write_at

    def _heads(self, m, slices, account, dropped):
        """The heads of the packet whose turn it is: (words, whether they are)."""
        config = self.config
        announced = Signal(2, name="to_play")
        # The number of its model, which is an address of each memory; the last of the copies is for what else follows.
        reach = config.stages.reach.registers // (2 * config.model_bits)
        groups = -(-len(slices) * self.head_words // reach)
        # A cycle late; the others of its words leave the time.
        last = account.move & account.in_heads & account.head_ready & (account.head == self.head_words - 1)
        ended = copies(m, "heads_done", last, groups + 1)
        sides = [equal_register(f"play_side_{i}", resettable=True) for i in range(groups + 1)]
        models = []
        for side, done in zip(sides, ended):
            next_side = side ^ done
            m.d.sync += side.eq(next_side)
            models.append(Mux(next_side, self.coming[1], self.coming[0]))
        done = ended[-1]
        m.d.comb += self.side.eq(sides[-1])
        m.d.sync += announced.eq(announced + self.announce - done)
        with m.If(dropped):
            m.d.sync += [announced.eq(0), *(side.eq(0) for side in sides)]
        load_word, load_model = self.w_head_addr[: self.head_bits], self.w_head_addr[self.head_bits :]
        load_data = DelayLine(m, "head_load_data", self.w_head_data.as_value()).at(1)
        words = [Signal(self.layout.size, name=f"head_{i}", reset_less=True) for i in range(self.head_words)]
        for number, (_, bits) in enumerate(slices):
            for i, word in enumerate(words):
                slice_bits = bits.stop - bits.start
                memory = place(
                    m,
                    f"head_{i}_{number}",
                    DistributedRam(f"ram_heads_{slice_bits}", width=slice_bits, depth=1 << config.model_bits),
                )
                name = f"head_{i}_{number}"
                load_enable, load_addr, turn = (
                    copies(m, f"{name}_{what}", value, 1)[0]
                    for what, value in (
                        ("load_enable", self.w_head_en & (load_word == i)),
                        ("load_addr", load_model),
                        ("model", models[(number * self.head_words + i) // reach]),
                    )
                )
                m.d.comb += [
                    memory.w_en.eq(load_enable),
                    memory.w_addr.eq(load_addr),
                    memory.w_data.eq(load_data[bits]),
                    memory.r_addr.eq(turn),
                ]
                m.d.sync += word[bits].eq(memory.r_data)
        return words, (announced - done).any() | self.announce

"""The program memory, and the queue into which the words of the packets that were announced are fetched ahead."""

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib.wiring import In, Out

from ...isa.issue import issue_word
from ...isa.load import model_word
from ..broadcast import DelayLine, copies, equal_register
from ..memory import Ram
from ..part import Part, place
from ..words import layout

__all__ = ["Fetch"]


class Fetch(Part):
    """The fetch loop: of each packet, one after the other, the words behind its model's first ones.

    Parameters
    ----------
    config : Config
    groups : list of lists of slices
        The slices of a word that have an enable of their own, those together whose gates share a pointer.
    more : int
        Pointers for others.

    Attributes
    ----------
    models : in, table of the models
    announce : in, a pulse: a packet has begun
    coming : in, of both sides: its model
    takes : in, a pulse: the queue's first word is taken
    clear : in, forget all packets
    w_en, w_addr, w_data : in, load of the program memory
    queue : out, the words, by the lower bits of a pointer
    write_at : out, pointers behind the last word, equal ones: of each group, and ``more``
    """

    #: Words of the queue: what the loop (address, memory, queue) has in flight, rounded up.
    depth = 8
    #: Bits of a pointer, which tells a full queue from an empty one.
    pointer_bits = (depth - 1).bit_length() + 1
    #: Cycles from ``announce`` until its model's entry is taken from the table, and a word is asked for.
    table_cycles = 2
    #: From the asking for a word to when it can follow: memory, queue.
    fetch_cycles = Ram.latency + 1

    def __init__(self, config, groups, more):
        self.config, self.groups = config, groups
        self.layout = layout(issue_word(config))
        super().__init__(
            "fetch",
            {
                "models": In(layout(model_word(config))).array(config.models),
                "announce": In(1),
                "coming": In(config.model_bits).array(2),
                "takes": In(1),
                "clear": In(1),
                "w_en": In(1),
                "w_addr": In((config.program_depth - 1).bit_length()),
                "w_data": In(self.layout),
                "queue": Out(self.layout.size).array(self.depth),
                "write_at": Out(self.pointer_bits).array(len(groups) + more),
            },
        )

    def elaborate(self, platform):
        m = Module()
        config, width = self.config, self.layout.size
        memory = place(m, "program", Ram("ram_program", width=width, depth=config.program_depth, preload="words"))
        addr = Signal.like(self.w_addr, name="addr", reset_less=True)
        # Of the packet on each side: its model's entry.
        first, before_last = (
            [Signal.like(addr, name=f"{name}_{s}", reset_less=True) for s in range(2)]
            for name in ("first", "before_last")
        )
        # Packets whose words are yet to be fetched, and whose turn it is.
        announced = Signal(2)
        side = Signal()
        running = Signal()
        at_last = Signal(reset_less=True)
        begin = Signal()
        advance = Signal()
        # Places of the queue that no word has or will have. One that is taken is free a cycle later.
        free = Signal(range(self.depth + 1), init=self.depth, reset_less=True)
        taken = DelayLine(m, "taken", self.takes, resettable=True).at(1)
        models = [copies(m, f"model_{s}", model, 1)[0] for s, model in enumerate(self.coming)]
        m.d.comb += [
            memory.w_en.eq(self.w_en),
            memory.w_addr.eq(self.w_addr),
            memory.w_data.eq(self.w_data),
            memory.r_addr.eq(addr),
            advance.eq(running & free.any()),
            begin.eq(announced.any() & (~running | (advance & at_last))),
        ]
        m.d.sync += [
            side.eq(side ^ begin),
            *(
                register.eq(Array(getattr(entry, name) for entry in self.models)[model])
                for name, registers in (("first", first), ("before_last", before_last))
                for register, model in zip(registers, models)
            ),
            announced.eq(announced + self.announce - begin),
            free.eq(free + taken - advance),
        ]
        with m.If(begin | advance):
            m.d.sync += addr.eq(Mux(begin, Mux(side, first[1], first[0]), addr + 1))
        with m.If(advance):
            m.d.sync += at_last.eq(addr == Mux(side, before_last[0], before_last[1]))
        with m.If(begin):
            m.d.sync += at_last.eq(0)
        with m.If(begin | (advance & at_last)):
            m.d.sync += running.eq(begin)

        # Arrival, known a cycle ahead of the memory's output: so each slice of each word has an enable of its own.
        queue = [Signal(width, name=f"word_{i}", reset_less=True) for i in range(self.depth)]
        fill = Signal(self.depth, init=1, reset_less=True)
        write_at = [equal_register(f"pointer_{i}", self.pointer_bits) for i in range(len(self.write_at))]
        under_way = DelayLine(m, "advance", advance)
        arriving = under_way.at(Ram.latency - 1)
        arrived = Signal(reset_less=True)
        m.d.sync += [arrived.eq(arriving), *(pointer.eq(pointer + arrived) for pointer in write_at)]
        with m.If(arriving):
            m.d.sync += fill.eq(fill.rotate_left(1))
        slices = [bits for group in self.groups for bits in group]
        for bits, arrives in zip(slices, under_way.spread(Ram.latency - 1, len(slices), "arriving")):
            for i, word in enumerate(queue):
                write = equal_register(f"write_{i}_{bits.start}")
                m.d.sync += write.eq(arrives & fill[i])
                with m.If(write):
                    m.d.sync += word[bits].eq(memory.r_data[bits])
        with m.If(self.clear):
            m.d.sync += [*(register.eq(0) for register in (announced, side, running, *write_at)), fill.eq(1)]
            m.d.sync += free.eq(self.depth)
        m.d.comb += [
            *(port.eq(word) for port, word in zip(self.queue, queue)),
            *(port.eq(pointer) for port, pointer in zip(self.write_at, write_at)),
        ]
        return m

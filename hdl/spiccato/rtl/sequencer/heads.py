"""The first words of all models, which a packet's inference begins with while the others are fetched."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib.wiring import In, Out

from ...isa.issue import issue_word
from ..broadcast import DelayLine, batches, copies, equal_register, slices
from ..memory import DistributedRam
from ..part import Part, place
from ..words import layout
from .fetch import Fetch

__all__ = ["Heads"]


class Heads(Part):
    """Memories of the models' first words, and those words of the packet whose turn it is.

    Attributes
    ----------
    announce : in, a pulse: a packet has begun
    coming : in, of both sides: its model; from the cycle before ``announce`` on
    last : in, a pulse: the last of the words takes its place as the next one
    clear : in, forget all packets
    w_en, w_addr, w_data : in, load; an address is {model, word}
    words : out
    ready : out, they are of a packet that was announced
    side : out, of the packet
    """

    #: Cycles from ``announce`` to the packet's first word in the issue register: whether there is one, the next word.
    announce_to_issue = 3
    #: Words of a model that follow before the first one of its others can.
    number = Fetch.table_cycles + Fetch.fetch_cycles - (announce_to_issue - 2)
    #: Of a word's number.
    number_bits = (number - 1).bit_length()
    #: From the load to the memories' write ports.
    load_latency = 1

    def __init__(self, config):
        self.config = config
        self.layout = layout(issue_word(config))
        super().__init__(
            "heads",
            {
                "announce": In(1),
                "coming": In(config.model_bits).array(2),
                "last": In(1),
                "clear": In(1),
                "w_en": In(1),
                "w_addr": In(self.number_bits + config.model_bits),
                "w_data": In(self.layout),
                "words": Out(self.layout.size).array(self.number),
                "ready": Out(1),
                "side": Out(1),
            },
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        announced = Signal(2)
        reach = config.stages.reach.registers
        # Memories of slices of the words, and which have an address in common: the number of the packet's model.
        memories = [(i, bits) for bits in slices(self.layout.size, reach) for i in range(self.number)]
        groups = batches(memories, reach, bits=lambda memory: memory[1].stop - memory[1].start)
        # The last of the copies is for what else follows. A cycle late; the others of its words leave the time.
        of_a_side = reach // (2 * config.model_bits)
        number_of_sides = -(-len(groups) // of_a_side) + 1
        ended = copies(m, "done", self.last, number_of_sides)
        sides = [equal_register(f"side_{i}", resettable=True) for i in range(number_of_sides)]
        models = []
        for side, done in zip(sides, ended):
            next_side = side ^ done
            m.d.sync += side.eq(next_side)
            models.append(Mux(next_side, self.coming[1], self.coming[0]))
        done = ended[-1]
        m.d.comb += [self.side.eq(sides[-1]), self.ready.eq((announced - done).any() | self.announce)]
        m.d.sync += announced.eq(announced + self.announce - done)
        with m.If(self.clear):
            m.d.sync += [announced.eq(0), *(side.eq(0) for side in sides)]
        load_word, load_model = self.w_addr[: self.number_bits], self.w_addr[self.number_bits :]
        load_data = DelayLine(m, "load_data", self.w_data.as_value()).at(self.load_latency)
        words = [Signal.like(port, name=f"word_{i}", reset_less=True) for i, port in enumerate(self.words)]
        m.d.comb += [port.eq(word) for port, word in zip(self.words, words)]
        for number, group in enumerate(groups):
            (model,) = copies(m, f"model_{number}", models[number // of_a_side], 1)
            for i, bits in group:
                name = f"memory_{i}_{bits.start}"
                width = bits.stop - bits.start
                memory = place(m, name, DistributedRam(f"ram_heads_{width}", width=width, depth=1 << config.model_bits))
                load_enable, load_addr = (
                    copies(m, f"{name}_{what}", value, 1)[0]
                    for what, value in (("load_enable", self.w_en & (load_word == i)), ("load_addr", load_model))
                )
                m.d.comb += [
                    memory.w_en.eq(load_enable),
                    memory.w_addr.eq(load_addr),
                    memory.w_data.eq(load_data[bits]),
                    memory.r_addr.eq(model),
                ]
                m.d.sync += words[i][bits].eq(memory.r_data)
        return m

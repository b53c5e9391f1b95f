"""The accumulator file: what a core's rows begin a slot with, and what they leave."""

from amaranth.hdl import Cat, Const, Module, Mux, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from ..families import FAMILIES
from ..isa.issue import Source, core_word
from ..isa.load import RecordKind, header_word
from ..numbers import ACC_BITS
from .accumulator import accumulator_slices
from .broadcast import DelayLine, power_of_two
from .core_timing import CoreTiming
from .load_tree import LoadTree, load_layout
from .memory import Ram, connect_write
from .part import Part, place
from .words import layout

__all__ = ["AccumulatorFile"]

#: Sums that are kept for each row of a slot: of two sides, and the bias.
_KEPT = 3


class AccumulatorFile(Part):
    """Sums of all rows and slots: [recurrent and stored sums, side 0 | the same, side 1 | biases].

    Cycles are those of :class:`.core_timing.CoreTiming`.

    Attributes
    ----------
    index : in; which core this is
    slot, side, source, store : in, cycle 0, of the issue word
    load : in, :func:`~.load_tree.load_layout`
    operand : out, cycle ``operand``: what ``source`` asks for, for each row
    acc : in, cycle ``acc``, ``block`` accumulators, kept if ``store``
    """

    def __init__(self, config):
        self.config = config
        word = layout(core_word(config)).members
        sums = data.ArrayLayout(signed(ACC_BITS), config.block)
        super().__init__(
            "accumulator_file",
            {
                "index": In(header_word["core"].width),
                **{name: In(word[name]) for name in ("slot", "side", "source", "store")},
                "load": In(load_layout(config)),
                "operand": Out(sums),
                "acc": In(sums),
            },
        )

    def elaborate(self, platform):
        m = Module()
        config, t = self.config, CoreTiming(self.config)
        block, depth = config.block, _KEPT * config.slots
        _, blocks = FAMILIES[config.family].memory_blocks(ACC_BITS, depth)
        # Rows with an address in common: half of what it may reach, as these are far apart.
        rows = power_of_two(block, config.stages.reach.blocks // (2 * blocks))
        number, parts = block // rows, accumulator_slices(config)
        side_1, source_1, slot_1 = (
            DelayLine(m, name, getattr(self, name)).at(1) for name in ("side", "source", "slot")
        )
        operand_1 = Cat(slot_1, Mux(source_1 == Source.BIAS, Const(2, 2), (source_1 == Source.STORED) ^ ~side_1))
        r_addr = DelayLine(m, "operand_addr", operand_1, 1).spread(t.operand_addr, number)
        store_addr = DelayLine(m, "store_addr", Cat(slot_1, side_1), 1).spread(t.acc, number)
        # One for each group's address, and for each row what a register behind its data lets one be for.
        store = DelayLine(m, "store", self.store)
        stores, group_stores = store.spread(t.acc, block * parts), store.spread(t.acc, number, "store_group")
        load = LoadTree(m, self.load, self.index)
        load_enable = load.row_enables(RecordKind.ACCUMULATORS, block)
        load_addr, load_data = load.addresses(number), load.data(ACC_BITS, number)
        width = ACC_BITS // parts
        for i in range(number):
            memory = place(
                m, f"memory_{i}", Ram("ram_accumulators", width=ACC_BITS, depth=depth, banks=rows, preload="biases")
            )
            mine = range(i * rows, (i + 1) * rows)
            m.d.comb += [
                memory.index.eq(self.index),
                memory.first.eq(mine[0]),
                memory.r_addr.eq(r_addr[i]),
                *(self.operand[row].eq(memory.r_data.word_select(k, ACC_BITS)) for k, row in enumerate(mine)),
            ]
            connect_write(
                m,
                memory,
                f"memory_{i}",
                enable=Cat(group_stores[i] | load_enable[row][0] for row in mine),
                addr=Mux(group_stores[i], store_addr[i], load_addr[i]),
                data=Cat(
                    Mux(
                        stores[row * parts + k],
                        self.acc[row].as_unsigned().word_select(k, width),
                        load_data[i].word_select(k, width),
                    )
                    for row in mine
                    for k in range(parts)
                ),
                registered=config.stages.write_register,
            )
        return m

"""The accumulator file: what a core's rows begin a slot with, and what they leave."""

from amaranth.hdl import Cat, Module, Mux, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from ..families import FAMILIES
from ..isa.load import RecordKind, header_word
from ..numbers import ACC_BITS
from .broadcast import DelayLine, power_of_two
from .contexts import Contexts, access_layout
from .core_timing import CoreTiming
from .load_tree import LoadTree, load_layout
from .memory import Ram, connect_write
from .part import Part, place
from .sum_shift import SumShift

__all__ = ["AccumulatorFile"]


class AccumulatorFile(Part):
    """Sums of all rows: [recurrent and stored sums of all contexts, side 0 | the same, side 1 | biases of all models].

    Cycles are those of :class:`.core_timing.CoreTiming`.

    Attributes
    ----------
    index : in; which core this is
    store : in, cycle 0, of the issue word
    access : in, cycle ``Contexts.latency``, :func:`.contexts.access_layout`
    load : in, :func:`~.load_tree.load_layout`
    operand : out, cycle ``operand``: what ``access`` asks for, for each row
    acc : in, cycle ``acc``, ``block`` accumulators, kept if ``store``
    """

    def __init__(self, config):
        self.config = config
        sums = data.ArrayLayout(signed(ACC_BITS), config.block)
        super().__init__(
            "accumulator_file",
            {
                "index": In(header_word["core"].width),
                "store": In(1),
                "access": In(access_layout(config)),
                "load": In(load_layout(config)),
                "operand": Out(sums),
                "acc": In(sums),
            },
        )

    def elaborate(self, platform):
        m = Module()
        config, t = self.config, CoreTiming(self.config)
        block, depth = config.block, 2 * config.state_slots + config.slots
        _, blocks = FAMILIES[config.family].memory_blocks(ACC_BITS, depth)
        # Rows with an address in common: half of what it may reach, as these are far apart.
        rows = power_of_two(block, config.stages.reach.blocks // (2 * blocks))
        number, parts = block // rows, SumShift(config).slices
        known = Contexts.latency
        r_addr = DelayLine(m, "operand_addr", self.access.sums, known).spread(t.operand_addr, number)
        store_addr = DelayLine(m, "store_addr", self.access.store, known).spread(t.acc, number)
        # One for each group's address, and for each row what a register behind its data lets one be for.
        kept = DelayLine(m, "store_word", self.store).at(known) & self.access.keep
        store = DelayLine(m, "store", kept, known)
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
            m.d.comb += [memory.index.eq(self.index), memory.first.eq(mine[0]), memory.r_addr.eq(r_addr[i])]
            for k, row in enumerate(mine):
                operand = DelayLine(m, f"operand_{row}", memory.r_data.word_select(k, ACC_BITS))
                m.d.comb += self.operand[row].eq(operand.at(config.stages.start_register))
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

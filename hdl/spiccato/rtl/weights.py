"""The weight memories of a core."""

from amaranth.hdl import Cat, Module
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from ..isa.issue import core_word
from ..isa.load import RecordKind, header_word
from ..numbers import WEIGHT_BITS
from .broadcast import DelayLine, power_of_two
from .core_timing import CoreTiming
from .load_tree import LoadTree, load_layout
from .memory import Ram
from .part import Part, place

__all__ = ["Weights"]


class Weights(Part):
    """The weight memories of a core, cut so that no address register reaches further than the profile lets it.

    Attributes
    ----------
    index : in; which core this is
    address : in, cycle 0, of the issue word's block of weights
    load : in, :func:`~.load_tree.load_layout`
    read : out, cycle ``row`` of :class:`.core_timing.CoreTiming`: each row's weights
    """

    def __init__(self, config):
        self.config = config
        super().__init__(
            "weights",
            {
                "index": In(header_word["core"].width),
                "address": In(core_word(config)["weight"].width),
                "load": In(load_layout(config)),
                "read": Out(data.ArrayLayout(WEIGHT_BITS * config.block, config.block)),
            },
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        block, segments, reach = config.block, config.weight_segments, config.stages.reach.blocks
        width = WEIGHT_BITS * block // segments
        # Rows with an address in common, and rows written from one copy of the data.
        rows = power_of_two(block, reach // config.weight_blocks)
        load_rows = max(rows, power_of_two(block, reach // 2))
        number = block // rows * segments
        load = LoadTree(m, self.load, self.index)
        r_addr = DelayLine(m, "address", self.address).spread(CoreTiming(config).weight_addr, number)
        w_addr = load.addresses(number)
        w_data = load.data(WEIGHT_BITS * block, block // load_rows)
        w_en = load.row_enables(RecordKind.WEIGHTS, block, segments)
        read: list[list] = [[] for _ in range(block)]
        for i in range(number):
            first, segment = i // segments * rows, i % segments
            memory = place(
                m,
                f"memory_{i}",
                Ram(
                    "ram_weights",
                    width=width,
                    depth=config.weight_depth,
                    banks=rows,
                    shared_data=True,
                    preload="weights",
                    style="ultra" if config.ultra_weights else "block",
                ),
            )
            m.d.comb += [
                memory.index.eq(self.index),
                memory.first.eq(first * segments + segment),
                memory.r_addr.eq(r_addr[i]),
                memory.w_en.eq(Cat(w_en[row][segment] for row in range(first, first + rows))),
                memory.w_addr.eq(w_addr[i]),
                memory.w_data.eq(w_data[first // load_rows].word_select(segment, width)),
            ]
            for row in range(rows):
                read[first + row].append(memory.r_data.word_select(row, width))
        m.d.comb += [port.eq(Cat(parts)) for port, parts in zip(self.read, read)]
        return m

"""The weight memories of a core."""

from amaranth.hdl import Cat, Const, Module, Mux
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from ..isa.issue import core_word
from ..isa.load import RecordKind, header_word
from .broadcast import DelayLine, copies, power_of_two
from .core_timing import CoreTiming
from .load_tree import LoadTree, load_layout
from .memory import Ram
from .part import Part, place
from .shared_memory import SharedRam

__all__ = ["Weights"]


class Weights(Part):
    """The weight memories of a core, cut so that no address register reaches further than the profile lets it.

    Attributes
    ----------
    index : in; which core this is
    address : in, cycle 0, of the issue word's block of weights
    load : in, :func:`~.load_tree.load_layout`
    read : out, cycle ``weights`` of :class:`.core_timing.CoreTiming`: each row's weights
    """

    def __init__(self, config):
        self.config = config
        #: Bits of a row's weights.
        self.row_bits = config.operands.weight * config.columns
        super().__init__(
            "weights",
            {
                "index": In(header_word["core"].width),
                "address": In(core_word(config)["weight"].width),
                "load": In(load_layout(config)),
                "read": Out(data.ArrayLayout(self.row_bits, config.block)),
            },
        )

    @staticmethod
    def load_cycles(config):
        """Cycles from the load bus to the memories' write ports."""
        return LoadTree.latency + (config.weight_sharing > 1)

    def elaborate(self, platform):
        m = Module()
        config = self.config
        block, segments, reach = config.block, config.weight_segments, config.stages.reach.blocks
        sharing = config.weight_sharing
        width = self.row_bits // segments
        # Rows with an address in common, and rows written from one copy of the data.
        rows = sharing * power_of_two(block // sharing, reach // config.weight_blocks)
        load_rows = max(rows, power_of_two(block, reach // 2))
        number = block // rows * segments
        load = LoadTree(m, self.load, self.index)
        line, cycle = DelayLine(m, "address", self.address), CoreTiming(config).weight_addr
        r_addr = line.spread(cycle, number)
        w_addr = load.addresses(number)
        w_data = load.data(self.row_bits, block // load_rows)
        w_en = load.row_enables(RecordKind.WEIGHTS, block, segments)
        read: list[list] = [[] for _ in range(block)]
        for i in range(number):
            first, segment = i // segments * rows, i % segments
            mine = range(first, first + rows)
            enables = Cat(w_en[row][segment] for row in mine)
            row_data = w_data[first // load_rows].word_select(segment, width)
            if sharing > 1:
                memory = self._shared(m, f"memory_{i}", width, enables, w_addr[i], row_data, line.at(cycle - 1))
                m.d.comb += memory.addr_1.eq(r_addr[i])
            else:
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
                    memory.r_addr.eq(r_addr[i]),
                    memory.w_en.eq(enables),
                    memory.w_addr.eq(w_addr[i]),
                    memory.w_data.eq(row_data),
                ]
            m.d.comb += [memory.index.eq(self.index), memory.first.eq(first // sharing * segments + segment)]
            for row in range(rows):
                read[first + row].append(memory.r_data.word_select(row, width))
        m.d.comb += [port.eq(Cat(parts)) for port, parts in zip(self.read, read)]
        return m

    def _shared(self, m, name, width, enables, w_addr, w_data, next_read):
        """Memories that two neighbouring rows share: what is written comes one register later, with its address."""
        config = self.config
        memory = place(
            m,
            name,
            SharedRam(
                "ram_weights",
                width=width,
                depth=1 << len(self.address),
                banks=len(enables) // config.weight_sharing,
                style="ultra",
                preload="weights",
            ),
        )
        second = Cat(enables[1::2]).any()
        written = Cat(w_addr[: len(self.address)], second)
        (addr,) = copies(m, f"{name}_addr", Mux(enables.any(), written, Cat(next_read, Const(0, 1))), 1)
        (enable,) = copies(m, f"{name}_enable", Cat(enables[i : i + 2].any() for i in range(0, len(enables), 2)), 1)
        (row_data,) = copies(m, f"{name}_data", w_data, 1)
        m.d.comb += [memory.addr_0.eq(addr), memory.w_en.eq(enable), memory.w_data.eq(row_data)]
        return memory

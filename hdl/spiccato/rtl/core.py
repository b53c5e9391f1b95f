"""A core: ``block`` rows of multipliers with their weights, accumulators and cell units."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from ..families import FAMILIES
from ..isa.issue import Source, core_word
from ..isa.load import RecordKind, header_word
from ..numbers import (
    ACC_BITS,
    C_BITS,
    EXPONENT_BITS,
    EXPONENT_STEP_BITS,
    GATES,
    SHIFT_BITS,
    SHIFT_MAX,
    VECTOR_BITS,
    WEIGHT_BITS,
)
from . import cell as _lstm_cell  # noqa: F401  # registers the epilogue
from .accumulator import RowAccumulator, accumulator_slices
from .broadcast import DelayLine, copies
from .epilogue import epilogues
from .load_tree import LoadTree, load_layout
from .memory import Ram
from .part import Part, place
from .row import DotProductRow
from .vector_file import VectorFile
from .words import layout

__all__ = ["Core", "CoreTiming"]

#: Sums that are kept for each row of a slot: of two sides, and the bias.
PARTIALS = 3


class CoreCopies:
    """How many copies of what its parts share a core has, so that no register reaches further than the profile lets it.

    All are numbers of rows, but for ``lanes``, that one copy is for: powers of two.

    Attributes
    ----------
    vector : of the vector
    selects : of what chooses weights and operands
    exponent : of the block exponent
    weights, sums : of the addresses of weights and of stored sums
    load : of the loaded weights
    lanes : of what clears c
    """

    def __init__(self, config):
        reach, block = config.stages.reach, config.block

        def units(there_are, most):
            return min(there_are, 1 << int(max(1, most)).bit_length() - 1)

        # Unless each core has a register for it, a bit of the vector file drives the copies of all cores.
        copies = units(block // 4, reach.registers // (1 if config.stages.vector_register else config.cores))
        self.vector = block // copies
        self.selects = units(block, 8)
        self.exponent = units(block, reach.registers // (SHIFT_BITS * accumulator_slices(config)))
        self.weights = units(block, reach.blocks // config.weight_blocks)
        _, sum_blocks = FAMILIES[config.family].memory_blocks(ACC_BITS, PARTIALS * config.slots)
        # Half of what it may be, as these are far apart.
        self.sums = units(block, reach.blocks // (2 * sum_blocks))
        self.load = max(self.weights, units(block, reach.blocks // 2))
        self.lanes = units(config.lanes, reach.registers // C_BITS)


class CoreTiming:
    """Cycles of a core's stages, counted from the issue register (cycle 0), composed from its parts' latencies."""

    def __init__(self, config):
        stages = config.stages
        #: The vector file's output register: where ``vector`` and ``exponent`` enter the core.
        self.vector = VectorFile.latency
        #: Operands at the rows: the core's own copy of the vector, the weight memory's output.
        self.row = self.vector + 1 + stages.vector_register
        self.weight_addr = self.row - Ram.latency
        self.sum = self.row + DotProductRow(config).latency
        #: Row shift minus block exponent.
        self.shift_addr = self.sum - 1 - Ram.latency
        self.operand = self.sum + RowAccumulator.add_offset
        self.operand_addr = self.operand - Ram.latency
        #: Accumulator registers.
        self.acc = self.sum + RowAccumulator.latency
        units = epilogues(config)
        states = [unit for unit in units if unit.has_state]
        #: One time for all epilogues, so that their writes cannot meet: c is read for the first one that wants it, and
        #: c and h are written when the last one has them.
        self.c_old = self.acc + min(unit.gate_latency for unit in states)
        self.c_old_addr = self.c_old - 1 - Ram.latency
        self.c = self.acc + max(unit.c_latency for unit in states)
        self.h = self.acc + max(unit.latency for unit in units)
        #: Least distance between two issue words that store and load the same slot's partial sums: the write port
        #: takes the accumulator register, and a read has to come one cycle later.
        self.reload = self.acc + stages.write_register + 1 - self.operand_addr
        #: The same for c of a slot.
        self.c_reuse = self.c + stages.write_register + 1 - self.c_old_addr


class Core(Part):
    """One core of the MVU. Runs in lock step with all others; nothing in it ever waits.

    Attributes
    ----------
    index : in; which core this is (program load; simulation preload)
    issue : in, cycle 0, :func:`~spiccato.isa.issue.core_word`
    vector, exponent : in, cycle ``timing.vector``
    load : in, :func:`load_layout`
    acc : out, ``block`` accumulators, cycle ``timing.acc``
    h : out, ``lanes`` new values of h, cycle ``timing.h``
    c_old : out, ``lanes`` values of c as read, cycle ``timing.c_old`` (for read-back)
    """

    def __init__(self, config):
        self.config = config
        self.timing = CoreTiming(config)
        super().__init__(
            "core",
            {
                "index": In(header_word["core"].width),
                "issue": In(layout(core_word(config))),
                "vector": In(data.ArrayLayout(signed(VECTOR_BITS), config.block)),
                "exponent": In(EXPONENT_BITS),
                "load": In(load_layout(config)),
                "acc": Out(data.ArrayLayout(signed(ACC_BITS), config.block)),
                "h": Out(data.ArrayLayout(signed(VECTOR_BITS), config.lanes)),
                "c_old": Out(data.ArrayLayout(signed(C_BITS), config.lanes)),
            },
        )

    def elaborate(self, platform):
        m = Module()
        # The issue word, one register in the core before anything else uses it.
        self._word = {name: DelayLine(m, name, getattr(self.issue, name)) for name in core_word(self.config).fields}
        self._load = LoadTree(m, self.load, self.index)
        self._copies = CoreCopies(self.config)
        sums = self._rows(m, self._weights(m))
        self._accumulators(m, sums, self._row_shifts(m))
        self._cells(m, self._epilogues(m))
        return m

    def _spread(self, line, cycle, rows, name=None):
        """A line's copies in ``cycle``, one for ``rows`` rows: for each row the one that is its."""
        found = line.spread(cycle, self.config.block // rows, name)
        return [found[row // rows] for row in range(self.config.block)]

    def _write_port(self, m, name, enable, addr, data):
        """Connections of a memory's write port, by its names, with the register that the profile may have there."""
        if not self.config.stages.write_register:
            return {"w_en": enable, "w_addr": addr, "w_data": data}
        return {
            port: DelayLine(m, f"{name}_{port}", value, 0).at(1)
            for port, value in (("w_en", enable), ("w_addr", addr), ("w_data", data))
        }

    def _weights(self, m):
        """The weight memories: for each row what they read."""
        config, t, rows = self.config, self.timing, self._copies.weights
        block, segments = config.block, config.weight_segments
        width = WEIGHT_BITS * block // segments
        number = block // rows * segments
        r_addr = self._word["weight"].spread(t.weight_addr, number)
        w_addr = self._load.addresses("weights", number)
        w_data = self._load.data("weights", WEIGHT_BITS * block, block // self._copies.load)
        w_en = self._load.row_enables(RecordKind.WEIGHTS, block, segments)
        read: list[list] = [[] for _ in range(block)]
        for i in range(number):
            first, segment = i // segments * rows, i % segments
            memory = place(
                m,
                f"weights_{i}",
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
                memory.w_data.eq(w_data[first // self._copies.load].word_select(segment, width)),
            ]
            for row in range(rows):
                read[first + row].append(memory.r_data.word_select(row, width))
        return [Cat(parts) for parts in read]

    def _rows(self, m, weights):
        """The rows: their sums."""
        config, t = self.config, self.timing
        select = t.row - DotProductRow.select_lead
        vectors = self._spread(DelayLine(m, "vector_copy", self.vector, t.vector), t.row, self._copies.vector)
        int8, high = (self._spread(self._word[name], select, self._copies.selects) for name in ("int8", "high"))
        sums = []
        for row in range(config.block):
            part = place(m, f"row_{row}", DotProductRow(config))
            m.d.comb += [
                part.vector.eq(vectors[row]),
                part.weights.eq(weights[row]),
                part.int8.eq(int8[row]),
                part.high.eq(high[row]),
            ]
            sums.append([getattr(part, f"sum_{i}") for i in range(part.copies)])
        return sums

    def _row_shifts(self, m):
        """The row's own shift, plus the block's exponent, saturated: for each row."""
        config, t, word = self.config, self.timing, self._word
        width = SHIFT_BITS * config.block
        memory = place(m, "shifts", Ram("ram_shifts", width=width, depth=2 * config.slots, preload="shifts"))
        m.d.comb += [
            memory.index.eq(self.index),
            memory.r_addr.eq(Cat(word["slot"].at(t.shift_addr), word["recurrent"].at(t.shift_addr))),
            memory.w_en.eq(self._load.enable(RecordKind.SHIFTS)),
            memory.w_addr.eq(self._load.addresses("shifts", 1)[0]),
            memory.w_data.eq(self._load.data("shifts", width, 1)[0]),
        ]
        exponents = self._spread(DelayLine(m, "exponent", self.exponent, t.vector), t.sum - 1, self._copies.exponent)
        row_shifts = []
        for row, exponent in enumerate(exponents):
            total = Signal(SHIFT_BITS + 1, name=f"shift_total_{row}")
            m.d.comb += total.eq(memory.r_data.word_select(row, SHIFT_BITS) + (exponent << EXPONENT_STEP_BITS))
            saturated = Mux(total[-1], SHIFT_MAX, total[:-1])
            row_shifts.append(copies(m, f"shift_{row}", saturated, accumulator_slices(config)))
        return row_shifts

    def _accumulators(self, m, sums, shifts):
        """Accumulators and their file: [recurrent and stored sums, side 0 | the same, side 1 | biases]."""
        config, t, rows = self.config, self.timing, self._copies.sums
        block, number = config.block, config.block // rows
        side_1, source_1, slot_1 = (self._word[name].at(1) for name in ("side", "source", "slot"))
        operand_1 = Cat(slot_1, Mux(source_1 == Source.BIAS, Const(2, 2), (source_1 == Source.STORED) ^ ~side_1))
        operand_addr = DelayLine(m, "operand_addr", operand_1, 1).spread(t.operand_addr, number)
        store_addr = DelayLine(m, "store_addr", Cat(slot_1, side_1), 1).spread(t.acc, number)
        # One for each group's address, and for each row what a register behind its data lets one be for.
        line, parts = DelayLine(m, "store", self.issue.store & self.issue.valid), accumulator_slices(config)
        store = line.spread(t.acc, block * parts)
        store_group = line.spread(t.acc, number, "store_group")
        width = ACC_BITS // parts
        load_enable = self._load.row_enables(RecordKind.ACCUMULATORS, block)
        load_addr = self._load.addresses("sums", number)
        load_data = self._load.data("sums", ACC_BITS, number)
        select = t.operand - RowAccumulator.select_lead
        is_load = DelayLine(m, "is_load", source_1 != Source.CONTINUE, 1)
        enable = DelayLine(m, "enable", self.issue.valid)
        loads, enables = (self._spread(line, select, self._copies.selects) for line in (is_load, enable))
        for i in range(number):
            memory = place(
                m,
                f"sums_{i}",
                Ram("ram_accumulators", width=ACC_BITS, depth=PARTIALS * config.slots, banks=rows, preload="biases"),
            )
            mine = range(i * rows, (i + 1) * rows)
            port = self._write_port(
                m,
                f"sums_{i}",
                Cat(store_group[i] | load_enable[row][0] for row in mine),
                Mux(store_group[i], store_addr[i], load_addr[i]),
                Cat(
                    Mux(store[row * parts + k], acc.word_select(k, width), load_data[i].word_select(k, width))
                    for row, acc in ((row, self.acc[row].as_unsigned()) for row in mine)
                    for k in range(parts)
                ),
            )
            m.d.comb += [
                memory.index.eq(self.index),
                memory.first.eq(mine[0]),
                memory.r_addr.eq(operand_addr[i]),
                *(getattr(memory, name).eq(value) for name, value in port.items()),
            ]
            for place_in_memory, row in enumerate(mine):
                part = place(m, f"accumulator_{row}", RowAccumulator(config))
                for slice_number in range(part.slices):
                    m.d.comb += [
                        getattr(part, f"sum_{slice_number}").eq(sums[row][slice_number]),
                        getattr(part, f"shift_{slice_number}").eq(shifts[row][slice_number]),
                    ]
                m.d.comb += [
                    part.operand.eq(memory.r_data.word_select(place_in_memory, ACC_BITS)),
                    part.load.eq(loads[row]),
                    part.enable.eq(enables[row]),
                    self.acc[row].eq(part.value),
                ]

    def _epilogues(self, m):
        """Epilogues, one of each in a lane: for each lane its new c. Rows 4 u .. 4 u + 3 are those of unit u."""
        config, t = self.config, self.timing
        units = epilogues(config)
        several = len(units) > 1

        def chosen(name, values, cycle):
            """Of {number of an epilogue: (value, its cycle)}, the one that the issue word names, in ``cycle``."""
            waited = {
                number: DelayLine(m, f"{units[number].name}_{name}", value, since).at(cycle)
                for number, (value, since) in values.items()
            }
            if len(waited) == 1:
                return waited.popitem()[1]
            (number,) = self._word["epilogue"].spread(cycle, 1, f"epilogue_{name}")
            result = Signal.like(next(iter(waited.values())), name=f"chosen_{name}")
            with m.Switch(number):
                for value_number, value in waited.items():
                    with m.Case(value_number):
                        m.d.comb += result.eq(value)
            return result

        new_c = []
        for lane in range(config.lanes):
            new_h, lane_c = {}, {}
            for number, kind in enumerate(units):
                name = f"{kind.name}_{lane}" if several else f"unit_{lane}"
                unit = place(m, name, type(kind)(config))
                m.d.comb += [
                    getattr(unit, f"acc_{row}").eq(self.acc[GATES * lane + k]) for k, row in enumerate(unit.sums)
                ]
                new_h[number] = unit.h, t.acc + unit.latency
                if unit.has_state:
                    old = DelayLine(m, f"{name}_c_old", self.c_old[lane], t.c_old).at(t.acc + unit.gate_latency)
                    m.d.comb += unit.c_old.eq(old)
                    lane_c[number] = unit.c, t.acc + unit.c_latency
            m.d.comb += self.h[lane].eq(chosen(f"h_{lane}", new_h, t.h))
            new_c.append(chosen(f"c_{lane}", lane_c, t.c))
        return new_c

    def _cells(self, m, new_c):
        """The memory of c: written with each slot's new values, read for the next step's."""
        config, t, word = self.config, self.timing, self._word
        lanes, width = config.lanes, C_BITS * config.lanes
        memory = place(m, "cells", Ram("ram_cells", width=width, depth=2 * config.slots))
        units = epilogues(config)
        updates_c = self.issue.cell & self.issue.valid
        states = [number for number, unit in enumerate(units) if unit.has_state]
        if len(states) < len(units):
            updates_c &= Cat(self.issue.epilogue == number for number in states).any()
        old = Cat(word["slot"].at(1), ~word["side"].at(1))
        # One for the address, and one for each lane's data.
        cell, *takes = DelayLine(m, "cell", updates_c).spread(t.c, 1 + lanes)
        load_data = self._load.data("cells", width, 1)[0]
        port = self._write_port(
            m,
            "cells",
            cell | self._load.enable(RecordKind.CELL_STATE),
            Mux(cell, Cat(word["slot"].at(t.c), word["side"].at(t.c)), self._load.addresses("cells", 1)[0]),
            Cat(
                Mux(takes[lane], new_c[lane].as_unsigned(), load_data.word_select(lane, C_BITS))
                for lane in range(lanes)
            ),
        )
        m.d.comb += [
            memory.r_addr.eq(DelayLine(m, "c_old_addr", old, 1).at(t.c_old_addr)),
            *(getattr(memory, name).eq(value) for name, value in port.items()),
        ]
        zero = word["zero_c"].spread(t.c_old - 1, lanes // self._copies.lanes)
        for lane in range(lanes):
            c_old = Signal(signed(C_BITS), name=f"c_old_{lane}", reset_less=True)
            m.d.sync += c_old.eq(memory.r_data.word_select(lane, C_BITS))
            with m.If(zero[lane // self._copies.lanes]):
                m.d.sync += c_old.eq(0)
            m.d.comb += self.c_old[lane].eq(c_old)

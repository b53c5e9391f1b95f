"""A core: ``block`` rows of multipliers with their weights, accumulators and cell units."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from ..isa.issue import Source, core_word
from ..isa.load import TARGET_BITS, RecordKind, header_word, place_word
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
from .accumulator import RowAccumulator
from .broadcast import DelayLine
from .epilogue import epilogues
from .memory import Ram
from .part import Part, place
from .row import DotProductRow
from .vector_file import VectorFile
from .words import layout

__all__ = ["Core", "CoreTiming", "load_layout", "load_data_bits"]


def load_data_bits(config):
    """Width of the load bus: one row of weights, or the widest other entry of a small configuration."""
    return max(WEIGHT_BITS * config.block, 128)


def load_layout(config):
    """One word for one memory, broadcast to all cores."""
    return data.StructLayout(
        {
            "enable": 1,
            "target": TARGET_BITS,
            "core": header_word["core"].width,
            "row": header_word["row"].width,
            "addr": place_word["addr"].width,
            "data": load_data_bits(config),
        }
    )


class CoreTiming:
    """Cycles of a core's stages, counted from the issue register (cycle 0), composed from its parts' latencies."""

    def __init__(self, config):
        #: The vector file's output register: where ``vector`` and ``exponent`` enter the core.
        self.vector = VectorFile.latency
        #: Operands at the rows: the core's own copy of the vector, the weight memory's output.
        self.row = self.vector + 1
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
        self.reload = self.acc + 1 - self.operand_addr
        #: The same for c of a slot.
        self.c_reuse = self.c + 1 - self.c_old_addr


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
        config, t = self.config, self.timing
        block, lanes = config.block, config.lanes

        # The issue word, one register in the core before anything else uses it.
        word = {name: DelayLine(m, name, getattr(self.issue, name)) for name in core_word(config).fields}
        side_1, source_1, slot_1 = word["side"].at(1), word["source"].at(1), word["slot"].at(1)

        weights = place(
            m,
            "weights",
            Ram(
                "ram_weights",
                width=WEIGHT_BITS * block,
                depth=config.weight_depth,
                banks=block,
                shared_data=True,
                preload="weights",
                style="ultra" if config.weight_depth >= 4096 else "block",
            ),
        )
        shifts = place(
            m, "shifts", Ram("ram_shifts", width=SHIFT_BITS * block, depth=2 * config.slots, preload="shifts")
        )
        partials = place(
            m,
            "partials",
            Ram("ram_accumulators", width=ACC_BITS, depth=3 * config.slots, banks=block, preload="biases"),
        )
        cells = place(m, "cells", Ram("ram_cells", width=C_BITS * lanes, depth=2 * config.slots))

        # Program load: decoded in two steps, far from any critical path.
        load_1 = Signal.like(self.load, reset_less=True)
        m.d.sync += load_1.eq(self.load)
        load_row = Signal(block, reset_less=True)
        load_addr = Signal(len(self.load.addr), reset_less=True)
        load_data = Signal(len(self.load.data), reset_less=True)
        load_core = Signal(reset_less=True)
        load_target = Signal.like(self.load.target, reset_less=True)
        load_valid = Signal()
        m.d.sync += [
            load_valid.eq(load_1.enable),
            load_core.eq(load_1.core == self.index),
            load_target.eq(load_1.target),
            load_row.eq(1 << load_1.row),
            load_addr.eq(load_1.addr),
            load_data.eq(load_1.data),
        ]

        def loading(target):
            enable = Signal(name=f"load_{target.name.lower()}")
            m.d.comb += enable.eq(load_valid & load_core & (load_target == target))
            return enable

        m.d.comb += [
            weights.index.eq(self.index),
            shifts.index.eq(self.index),
            partials.index.eq(self.index),
            weights.r_addr.eq(word["weight"].at(t.weight_addr)),
            weights.w_en.eq(load_row & loading(RecordKind.WEIGHTS).replicate(block)),
            weights.w_addr.eq(load_addr),
            weights.w_data.eq(load_data),
            shifts.w_en.eq(loading(RecordKind.SHIFTS)),
            shifts.w_addr.eq(load_addr),
            shifts.w_data.eq(load_data),
        ]

        # Rows.
        vector = DelayLine(m, "vector_copy", self.vector, t.vector).at(t.row)
        sums = []
        for row in range(block):
            part = place(m, f"row_{row}", DotProductRow(config))
            m.d.comb += [
                part.vector.eq(vector),
                part.weights.eq(weights.r_data.word_select(row, WEIGHT_BITS * block)),
                part.int8.eq(word["int8"].at(t.row - DotProductRow.select_lead)),
                part.high.eq(word["high"].at(t.row - DotProductRow.select_lead)),
            ]
            sums.append(part.sum)

        # Row shifts: the row's own, plus the block's exponent, saturated.
        shift_addr = Cat(word["slot"].at(t.shift_addr), word["recurrent"].at(t.shift_addr))
        m.d.comb += shifts.r_addr.eq(shift_addr)
        exponent = DelayLine(m, "exponent", self.exponent, t.vector).at(t.sum - 1)
        row_shifts = []
        for row in range(block):
            total = Signal(SHIFT_BITS + 1, name=f"shift_total_{row}")
            m.d.comb += total.eq(shifts.r_data.word_select(row, SHIFT_BITS) + (exponent << EXPONENT_STEP_BITS))
            row_shift = Signal(SHIFT_BITS, name=f"shift_{row}", reset_less=True)
            m.d.sync += row_shift.eq(Mux(total[-1], SHIFT_MAX, total[:-1]))
            row_shifts.append(row_shift)

        # Accumulators and their file: [recurrent and stored sums, side 0 | the same, side 1 | biases].
        load_from = Signal(len(partials.r_addr))
        m.d.comb += load_from.eq(
            Cat(slot_1, Mux(source_1 == Source.BIAS, Const(2, 2), (source_1 == Source.STORED) ^ ~side_1))
        )
        operand_addr = DelayLine(m, "operand_addr", load_from, 1).at(t.operand_addr)
        select = t.operand - RowAccumulator.select_lead
        is_load = DelayLine(m, "is_load", source_1 != Source.CONTINUE, 1).at(select)
        enable = DelayLine(m, "enable", self.issue.valid, 0, resettable=True).at(select)
        store = DelayLine(m, "store_valid", self.issue.store & self.issue.valid, 0, resettable=True).at(t.acc)
        load_partials = loading(RecordKind.ACCUMULATORS)
        m.d.comb += [
            partials.r_addr.eq(operand_addr),
            partials.w_en.eq(store.replicate(block) | (load_row & load_partials.replicate(block))),
            partials.w_addr.eq(Mux(store, Cat(word["slot"].at(t.acc), word["side"].at(t.acc)), load_addr)),
            partials.w_data.eq(Mux(store, self.acc.as_value(), load_data[:ACC_BITS].replicate(block))),
        ]
        for row in range(block):
            part = place(m, f"accumulator_{row}", RowAccumulator(block))
            m.d.comb += [
                part.sum.eq(sums[row]),
                part.shift.eq(row_shifts[row]),
                part.operand.eq(partials.r_data.word_select(row, ACC_BITS)),
                part.load.eq(is_load),
                part.enable.eq(enable),
                self.acc[row].eq(part.value),
            ]

        # Epilogues, one of each in a lane. Rows 4 u .. 4 u + 3 are those of unit u.
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
            result = Signal.like(next(iter(waited.values())), name=f"chosen_{name}")
            with m.Switch(word["epilogue"].at(cycle)):
                for number, value in waited.items():
                    with m.Case(number):
                        m.d.comb += result.eq(value)
            return result

        new_c = Signal(C_BITS * lanes)
        for lane in range(lanes):
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
            m.d.comb += [
                self.h[lane].eq(chosen(f"h_{lane}", new_h, t.h)),
                new_c.word_select(lane, C_BITS).eq(chosen(f"c_{lane}", lane_c, t.c)),
            ]
        updates_c = self.issue.cell & self.issue.valid
        states = [number for number, unit in enumerate(units) if unit.has_state]
        if len(states) < len(units):
            updates_c &= Cat(self.issue.epilogue == number for number in states).any()
        cell = DelayLine(m, "cell", updates_c, 0, resettable=True).at(t.c)
        m.d.comb += [
            cells.r_addr.eq(Cat(word["slot"].at(t.c_old_addr), ~word["side"].at(t.c_old_addr))),
            cells.w_en.eq(cell | loading(RecordKind.CELL_STATE)),
            cells.w_addr.eq(Mux(cell, Cat(word["slot"].at(t.c), word["side"].at(t.c)), load_addr)),
            cells.w_data.eq(Mux(cell, new_c, load_data)),
        ]
        c_old = Signal.like(self.c_old, reset_less=True)
        m.d.sync += c_old.eq(cells.r_data)
        with m.If(word["zero_c"].at(t.c_old - 1)):
            m.d.sync += c_old.eq(0)
        m.d.comb += self.c_old.eq(c_old)
        return m

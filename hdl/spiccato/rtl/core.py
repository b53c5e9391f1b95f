"""A core: ``block`` rows of multipliers with their weights, accumulators and cell units."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from ..families import FAMILIES
from ..isa.issue import Source, core_word
from ..isa.load import RecordKind, TransferTarget, header_word
from ..numbers import ACC_BITS, C_BITS, EXPONENT_STEP_BITS, GATES, SHIFT_BITS, SHIFT_MAX, VECTOR_BITS
from .accumulator import RowAccumulator
from .accumulator_file import AccumulatorFile
from .broadcast import DelayLine, copies, power_of_two, select
from .contexts import Contexts, access_layout
from .core_timing import CoreTiming
from .epilogue import epilogues
from .load_tree import LoadTree, load_layout
from .memory import Ram, connect_write
from .part import Part, place
from .row import DotProductRow
from .sum_shift import SumShift
from .weights import Weights
from .words import layout

__all__ = ["Core"]

#: Elements that are chosen from at once.
_ELEMENTS = 8


class CoreCopies:
    """How many copies of what its parts share a core has, so that no register reaches further than the profile lets it.

    All are numbers of rows, the last two of lanes, that one copy is for: powers of two.

    Attributes
    ----------
    vector : of the vector
    selects : of what chooses weights and operands
    exponent : of the block exponent
    lanes : of what clears c
    cells : of the addresses of c
    h_lanes : of what chooses h
    """

    def __init__(self, config):
        reach, block = config.stages.reach, config.block
        # Unless each core has a register for it, a bit of the vector file drives the copies of all cores.
        number = power_of_two(block // 4, reach.registers // (1 if config.stages.vector_register else config.cores))
        self.vector = block // number
        self.selects = power_of_two(block, 8)
        self.exponent = power_of_two(block, reach.registers // (SHIFT_BITS * SumShift(config).slices))
        self.lanes = power_of_two(config.lanes, reach.registers // C_BITS)
        _, blocks = FAMILIES[config.family].memory_blocks(C_BITS, 2 * config.state_slots)
        self.cells = power_of_two(config.lanes, reach.blocks // blocks)
        self.h_lanes = power_of_two(config.lanes, reach.registers // VECTOR_BITS)


class Core(Part):
    """One core of the MVU. Runs in lock step with all others; nothing in it ever waits.

    Attributes
    ----------
    index : in; which core this is (program load; simulation preload)
    issue : in, cycle 0, :func:`~spiccato.isa.issue.core_word`
    access : in, cycle ``Contexts.latency``, :func:`.contexts.access_layout`
    vector, exponent : in, cycle ``timing.vector``
    load : in, :func:`load_layout`
    acc : out, ``block`` accumulators, cycle ``timing.acc``
    h : out, ``lanes`` new values of h, cycle ``timing.h_of`` the epilogue's, and as many cycles as it has turns
    saturated : out, with an epilogue that can: some of its results are beyond the range of h; ``saturated_latency``
        cycles behind the accumulators, and as many cycles as it has turns
    lane, of_c : in, constant meanwhile: of which row, or unit if ``of_c``,
    of_h : in, the same, of h instead of c; only if the configuration keeps h
    element : out, the sum that was read ``element_latency`` cycles before (``timing.operand``), or c or h
        (``timing.c_old``)
    """

    #: Two levels of multiplexers, and sum, c or h.
    element_latency = 3

    def __init__(self, config):
        self.config = config
        self.timing = CoreTiming(config)
        marking = [unit for unit in epilogues(config) if "saturated" in unit.signature.members]
        if marking:
            #: Two levels of gates, of which the first one is the lanes'.
            self.saturated_latency = max(unit.saturated_latency + 1 for unit in marking)
        super().__init__(
            "core",
            ({"saturated": Out(1)} if marking else {})
            | {
                "index": In(header_word["core"].width),
                "issue": In(layout(core_word(config))),
                "access": In(access_layout(config)),
                "vector": In(data.ArrayLayout(signed(config.operands.element), config.columns)),
                "exponent": In(config.exponent_bits),
                "load": In(load_layout(config)),
                "acc": Out(data.ArrayLayout(signed(ACC_BITS), config.block)),
                "h": Out(data.ArrayLayout(signed(VECTOR_BITS), config.lanes)),
                "lane": In((config.block - 1).bit_length()),
                "of_c": In(1),
                **({"of_h": In(1)} if config.keep_h else {}),
                "element": Out(signed(ACC_BITS)),
            },
        )

    def elaborate(self, platform):
        m = Module()
        # The issue word, one register in the core before anything else uses it.
        self._word = {name: DelayLine(m, name, getattr(self.issue, name)) for name in core_word(self.config).fields}
        self._load = LoadTree(m, self.load, self.index)
        self._copies = CoreCopies(self.config)
        rows = self._rows(m)
        self._accumulators(m, rows, self._row_scales(m, rows))
        c_old = [Signal(signed(C_BITS), name=f"c_old_{lane}", reset_less=True) for lane in range(self.config.lanes)]
        self._cells(m, self._epilogues(m, c_old), c_old)
        self._element(m, c_old, self._kept_h(m) if self.config.keep_h else [])
        return m

    def _spread(self, line, cycle, rows, name=None):
        """A line's copies in ``cycle``, one for ``rows`` rows: for each row the one that is its."""
        found = line.spread(cycle, self.config.block // rows, name)
        return [found[row // rows] for row in range(self.config.block)]

    def _rows(self, m):
        """The rows; their factors are left open."""
        config, t = self.config, self.timing
        select = t.weights - DotProductRow.select_lead
        vectors = self._spread(DelayLine(m, "vector_copy", self.vector, t.vector), t.row, self._copies.vector)
        halves = {
            name: self._spread(self._word[name], select, self._copies.selects)
            for name in ("int8", "high")
            if name in self._word
        }
        weights = place(m, "weights", Weights(config))
        m.d.comb += [weights.index.eq(self.index), weights.address.eq(self.issue.weight), weights.load.eq(self.load)]
        rows = []
        for row in range(config.block):
            part = place(m, f"row_{row}", DotProductRow(config))
            m.d.comb += [
                part.vector.eq(vectors[row]),
                part.weights.eq(weights.read[row]),
                *(getattr(part, name).eq(selects[row]) for name, selects in halves.items()),
            ]
            rows.append(part)
        return rows

    def _row_scales(self, m, rows):
        """For each row its own shift, plus the block's exponent, saturated. Rows that have factors get them."""
        config, t, word = self.config, self.timing, self._word
        row_bits = SHIFT_BITS + config.factor_bits
        width = row_bits * config.block
        memory = place(m, "shifts", Ram("ram_shifts", width=width, depth=2 * config.slots, preload="shifts"))
        m.d.comb += [
            memory.index.eq(self.index),
            memory.r_addr.eq(Cat(word["slot"].at(t.shift_addr), word["recurrent"].at(t.shift_addr))),
            memory.w_en.eq(self._load.enables(RecordKind.SHIFTS, 1)[0]),
            memory.w_addr.eq(self._load.addresses(1, "shifts_load_addr")[0]),
            memory.w_data.eq(self._load.data(width, 1, "shifts_load_data")[0]),
        ]
        exponents = self._spread(DelayLine(m, "exponent", self.exponent, t.vector), t.shift - 1, self._copies.exponent)
        row_shifts, parts = [], SumShift(config)
        step_bits = 0 if config.narrow else EXPONENT_STEP_BITS
        for row, exponent in enumerate(exponents):
            stored = memory.r_data.word_select(row, row_bits)
            if config.narrow:
                factors = copies(m, f"factor_{row}", stored[SHIFT_BITS:], rows[row].copies)
                m.d.comb += [getattr(rows[row], f"factor_{i}").eq(factor) for i, factor in enumerate(factors)]
                stored = DelayLine(m, f"row_shift_{row}", stored[:SHIFT_BITS], t.row_scale).at(t.shift - 1)
            total = Signal(SHIFT_BITS + 1, name=f"shift_total_{row}")
            m.d.comb += total.eq(stored + (exponent << step_bits))
            saturated = Mux(total[-1], SHIFT_MAX, total[:-1])
            shifts = copies(m, f"shift_{row}", saturated, parts.slices)
            if parts.coarse_bits:
                for i, shift in enumerate(shifts):
                    m.d.comb += getattr(rows[row], f"coarse_{i}").eq(shift[parts.fine_bits :])
                    shifts[i : i + 1] = copies(m, f"fine_{row}_{i}", shift[: parts.fine_bits], 1)
            row_shifts.append(shifts)
        return row_shifts

    def _accumulators(self, m, rows, shifts):
        """Accumulators, and the file of what they begin with and leave."""
        config, t = self.config, self.timing
        file = place(m, "sums", AccumulatorFile(config))
        self._operands = file.operand
        m.d.comb += [
            file.index.eq(self.index),
            file.access.eq(self.access),
            file.store.eq(self.issue.store & self.issue.valid),
            file.load.eq(self.load),
        ]
        select = t.operand - RowAccumulator.select_lead
        is_load = DelayLine(m, "is_load", self._word["source"].at(1) != Source.CONTINUE, 1)
        enable = DelayLine(m, "enable", self.issue.valid)
        loads, enables = (self._spread(line, select, self._copies.selects) for line in (is_load, enable))
        for row in range(config.block):
            part = place(m, f"accumulator_{row}", RowAccumulator(config))
            for i in range(part.slices):
                m.d.comb += [
                    getattr(part, f"sum_{i}").eq(getattr(rows[row], f"sum_{i}")),
                    getattr(part, f"shift_{i}").eq(shifts[row][i]),
                ]
            m.d.comb += [
                part.operand.eq(file.operand[row]),
                part.load.eq(loads[row]),
                part.enable.eq(enables[row]),
                self.acc[row].eq(part.value),
                file.acc[row].eq(part.value),
            ]

    def _epilogues(self, m, c_old):
        """Epilogues' parts, one of each kind in a lane: for each lane its new c.

        Rows 4 u .. 4 u + 3 are those of lane u.
        """
        config, t = self.config, self.timing
        lanes = range(config.lanes)
        units = epilogues(config)
        #: Numbers of the epilogues that a part of each kind serves.
        served: dict[str, list[int]] = {}
        for number, unit in enumerate(units):
            served.setdefault(unit.kind, []).append(number)
        new_c: list[dict[int, Value]] = [{} for _ in lanes]
        new_h: list[dict[int, Value]] = [{} for _ in lanes]
        for numbers in served.values():
            kind, name = units[numbers[0]], "unit" if len(served) == 1 else units[numbers[0]].name
            placed = [place(m, f"{name}_{lane}", type(kind)(config)) for lane in lanes]
            self._connect_sums(m, placed, [one for number in numbers for one in units[number].settings])
            if "c" in kind.signature.members:
                for lane, unit in enumerate(placed):
                    old = DelayLine(m, f"{name}_{lane}_c_old", c_old[lane], t.c_old).at(t.acc + unit.gate_latency)
                    m.d.comb += unit.c_old.eq(old)
                    line = DelayLine(m, f"{name}_c_{lane}", unit.c, t.acc + unit.c_latency)
                    new_c[lane] |= dict.fromkeys(numbers, line.at(t.c))
            if "saturated" in self.signature.members and "saturated" in kind.signature.members:
                saturated = Signal(name="some_saturated", reset_less=True)
                m.d.sync += saturated.eq(Cat(unit.saturated for unit in placed).any())
                m.d.comb += self.saturated.eq(saturated)
            for lane, unit in enumerate(placed):
                new_h[lane] |= dict.fromkeys(numbers, unit.h)
        self._merge_h(m, new_h)
        return [self._merge_states(m, f"c_{lane}", values, t.c) for lane, values in enumerate(new_c)]

    def _is(self, names):
        """Whether a word finishes a slot of one of these epilogues, in cycle 0."""
        finishes = self.issue.cell & self.issue.valid
        if len(self.config.epilogues) == 1:
            return finishes
        numbers = [self.config.epilogues.index(name) for name in names]
        return finishes & Cat(self.issue.epilogue == number for number in numbers).any()

    def _connect_sums(self, m, placed, settings):
        """What parts of one kind, one a lane, take with the sums; and their tables, one for two lanes."""
        t = self.timing
        for lane, unit in enumerate(placed):
            m.d.comb += [getattr(unit, f"acc_{row}").eq(self.acc[GATES * lane + k]) for k, row in enumerate(unit.sums)]
            m.d.comb += [getattr(unit, name).eq(Value.cast(self._word[name].at(t.acc))) for name in settings]
        for name in placed[0].selects:
            width = len(getattr(placed[0], name))
            selects = DelayLine(m, f"is_{name}", self._is([name])).spread(t.acc, width * len(placed))
            m.d.comb += [
                getattr(unit, name).eq(Cat(selects[lane * width : (lane + 1) * width]))
                for lane, unit in enumerate(placed)
            ]
        for name, make in placed[0].tables.items():
            for first in range(0, len(placed), 2):
                users = placed[first : first + 2]
                table = place(m, f"{name}_table_{first}", make(len(users)))
                for port, unit in enumerate(users):
                    m.d.comb += [
                        getattr(table, f"addr{port}").eq(getattr(unit, f"{name}_addr")),
                        getattr(unit, f"{name}_word").eq(getattr(table, f"data{port}")),
                    ]

    def _merge_h(self, m, new_h):
        """h of all lanes: of {number of an epilogue: its part's}, the one that is due."""
        t, names = self.timing, self.config.epilogues
        first = new_h[0][0]
        others: dict[int, list[str]] = {}
        for number, name in enumerate(names):
            if new_h[0][number] is not first:
                others.setdefault(id(new_h[0][number]), []).append(name)
        values = [lane_h[0] for lane_h in new_h]
        for name, *further in others.values():
            finished = DelayLine(m, f"{name}_finishes", self._is([name, *further]))
            due = Cat(finished.at(t.h_of[name] - 1 + turn) for turn in range(t.turns_of[name])).any()
            dues = copies(m, f"{name}_due", due, -(-len(values) // self._copies.h_lanes))
            for lane in range(len(values)):
                chosen_h = Signal(signed(VECTOR_BITS), name=f"h_{lane}_or_{name}")
                ours = new_h[lane][names.index(name)]
                m.d.comb += chosen_h.eq(Mux(dues[lane // self._copies.h_lanes], ours, values[lane]))
                values[lane] = chosen_h
        m.d.comb += [self.h[lane].eq(value) for lane, value in enumerate(values)]

    def _merge_states(self, m, name, values, cycle):
        """Of {number of an epilogue: what it leaves}, all in ``cycle``, the one that the word names."""
        if all(value is values[min(values)] for value in values.values()):
            return values[min(values)]
        (number,) = self._word["epilogue"].spread(cycle, 1, f"epilogue_{name}")
        result = Signal.like(next(iter(values.values())), name=f"chosen_{name}")
        with m.Switch(number):
            for value_number, value in values.items():
                with m.Case(value_number):
                    m.d.comb += result.eq(value)
        return result

    def _cells(self, m, new_c, c_old):
        """The memory of c: written with each slot's new values, read for the next step's."""
        names = "cells", "cell", "c"
        self._unit_memories(m, names, RecordKind.CELL_STATE, new_c, self.timing.c, c_old, starts=True)

    def _kept_h(self, m):
        """The memory of h, which only transfers read: for each lane what was read, when c is."""
        config, t = self.config, self.timing
        states = [(number, unit) for number, unit in enumerate(epilogues(config)) if unit.has_state]
        new_h = []
        for lane in range(config.lanes):
            lines = {
                cycle: DelayLine(m, f"new_h_{lane}", self.h[lane], cycle).at(t.h_kept)
                for cycle in dict.fromkeys(t.h_of[unit.name] for _, unit in states)
            }
            values = {number: lines[t.h_of[unit.name]] for number, unit in states}
            new_h.append(self._merge_states(m, f"h_{lane}", values, t.h_kept))
        h_old = [Signal(signed(VECTOR_BITS), name=f"h_old_{lane}", reset_less=True) for lane in range(config.lanes)]
        self._unit_memories(m, ("kept_h", "keep_h", "h"), TransferTarget.H_STATE, new_h, t.h_kept, h_old)
        return h_old

    def _unit_memories(self, m, names, target, values, cycle, read, *, starts=False):
        """Memories of what each slot's units have, ``values`` for each lane, as many as their addresses may reach.

        They take ``values`` in ``cycle``, if the issue word finishes a slot of an epilogue with a state, and from the
        load bus what is for ``target``. ``read``, signals of each lane, hold what the step before left, in cycle
        ``timing.c_old``; zero if the inference ``starts`` with that.
        """
        config, t, known = self.config, self.timing, Contexts.latency
        name, word, letter = names
        lanes, bits, depth, share = config.lanes, len(values[0]), 2 * config.state_slots, self._copies.cells
        number = lanes // share
        units = epilogues(config)
        states = [unit.name for unit in units if unit.has_state]
        updates = self._is(states) if len(states) < len(units) else self.issue.cell & self.issue.valid
        updates = DelayLine(m, f"{word}_word", updates).at(known) & self.access.keep
        addr_bits = (depth - 1).bit_length()
        old, new = (DelayLine(m, f"{port}_{letter}", self.access[port][:addr_bits], known) for port in ("c", "store"))
        olds, news = old.spread(t.c_old_addr, number), new.spread(cycle, number)
        # One for each memory's address, and one for each lane's data.
        update = DelayLine(m, word, updates, known).spread(cycle, number + lanes)
        writes, takes = update[:number], update[number:]
        load_addr = self._load.addresses(number, f"{name}_load_addr")
        (load_data,) = self._load.data(bits * lanes, 1, f"{name}_load_data")
        load_enables = self._load.enables(target, number)
        if starts:
            zero = DelayLine(m, f"zero_{letter}", self.access.zero, known).spread(
                t.c_old - 1, lanes // self._copies.lanes
            )
        for i in range(number):
            mine = range(i * share, (i + 1) * share)
            memory = place(m, f"{name}_{i}", Ram(f"ram_{name}", width=bits * share, depth=depth))
            connect_write(
                m,
                memory,
                f"{name}_{i}",
                enable=writes[i] | load_enables[i],
                addr=Mux(writes[i], news[i], load_addr[i]),
                data=Cat(
                    Mux(takes[lane], values[lane].as_unsigned(), load_data.word_select(lane, bits)) for lane in mine
                ),
                registered=config.stages.write_register,
            )
            m.d.comb += memory.r_addr.eq(olds[i])
            for k, lane in enumerate(mine):
                m.d.sync += read[lane].eq(memory.r_data.word_select(k, bits))
                if starts:
                    with m.If(zero[lane // self._copies.lanes]):
                        m.d.sync += read[lane].eq(0)

    def _element(self, m, c_old, h_old):
        """One element of what was read."""
        reach = self.config.stages.reach.registers

        def by_lane(name, values):
            number = self.lane[: (len(values) - 1).bit_length()]
            step = _ELEMENTS.bit_length() - 1
            groups = [values[i : i + _ELEMENTS] for i in range(0, len(values), _ELEMENTS)]
            found = [select(m, f"{name}_{i}", members, number[:step], reach) for i, members in enumerate(groups)]
            return select(m, name, found, number[step:], reach)

        sums = by_lane("sum_element", list(self._operands))
        found, number = [sums], [self.of_c]
        units = {"c_element": c_old}
        if self.config.keep_h:
            units["h_element"] = h_old
            number.append(self.of_h)
        for name, values in units.items():
            extended = Signal.like(sums, name=f"{name}_extended")
            m.d.comb += extended.eq(by_lane(name, values))
            found.append(extended)
        m.d.comb += self.element.eq(select(m, "read_element", found, Cat(number), reach))

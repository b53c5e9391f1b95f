"""The queue in front of the output stream: two banks in turn, so that the host's ``tready`` reaches few registers.

Beats are written to the banks alternately, and shown alternately, straight from memory. A beat that the host takes only
turns to the other bank's beat, which is there already; its own bank goes on one cycle later, from a register. So
``tready`` decides about one bit for every slice of a beat, and a beat can leave in every cycle. Slices are as narrow as
the reach allows, for there is a register behind each bit of the stream.
"""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from ..isa.marks import MARKS, marks_word
from .axi import output_stream
from .broadcast import DelayLine, batches, copies, equal_register, power_of_two
from .memory import DistributedRam
from .part import Part, place
from .words import layout

__all__ = ["OutputQueue"]


class OutputQueue(Part):
    """Holds ``output_beats`` beats; a beat that finds it empty is valid for the host in the next cycle.

    Attributes
    ----------
    valid, last, last_values : in, ``lead`` cycles before the beat: there will be one, whether it ends its packet, and
        how many values it has then, less one
    values, flags, tid : in, the beat
    clear : in, from a reset on and ``clear_latency`` cycles or more: forget all
    axis : out
    taken : out, a pulse for each beat that left for the host, ``taken_latency`` cycles after its acceptance
    """

    #: How far ahead of a beat it is announced.
    lead = 3
    #: From a beat to its ``tvalid``, the queue being empty.
    latency = 1
    taken_latency = 1
    #: Cycles from ``clear`` to all registers.
    clear_latency = 3

    def __init__(self, config):
        self.config = config
        super().__init__(
            "output_queue",
            {
                "valid": In(1),
                "last": In(1),
                "values": In(data.ArrayLayout(config.io_bits, config.beat_values)),
                "flags": In(layout(marks_word)),
                "tid": In(config.tid_bits),
                "last_values": In((config.beat_values - 1).bit_length()),
                "clear": In(1),
                "axis": Out(output_stream(config)),
                "taken": Out(1),
            },
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        reach = config.stages.reach.registers
        depth = -(-config.output_beats // 2)
        addr_bits = max(1, (depth - 1).bit_length())
        # Each has a read address in each bank, which drives itself and what is behind the port.
        slice_values = max(
            power_of_two(config.beat_values, (reach - addr_bits) // config.io_bits), config.beat_values // reach
        )
        slices = config.beat_values // slice_values
        # Turned from bank to bank by a register each: half of what `tready` may reach.
        turned_values = max(slice_values, 2 * config.beat_bits // reach // config.io_bits)
        level_bits = depth.bit_length()
        cleared = []

        def following(pointer):
            return Mux(pointer == depth - 1, 0, pointer + 1)

        # Writing: nothing of it depends on the host, so all is known ahead.
        valid = DelayLine(m, "valid", self.valid, 0)
        write_at = Signal(addr_bits, reset_less=True)
        write_bank = Signal(reset_less=True)
        with m.If(valid.at(1)):
            m.d.sync += write_bank.eq(~write_bank)
            with m.If(write_bank):
                m.d.sync += write_at.eq(following(write_at))
        cleared += [write_at, write_bank]
        w_addr = DelayLine(m, "write_at", write_at, 1).spread(self.lead, 2 * slices)
        writes = [
            DelayLine(m, f"write_{bank}", valid.at(1) & (write_bank == bank), 1).spread(self.lead, slices + 1)
            for bank in range(2)
        ]

        # Values that a packet's last beat has.
        last_values = DelayLine(m, "last_values", self.last_values, 0).spread(2, -(-config.beat_values // reach))
        within = Signal(config.beat_values, reset_less=True)
        m.d.sync += within.eq(Cat(i <= last_values[i // reach] for i in range(config.beat_values)))
        lasts = DelayLine(m, "last", self.last, 0).spread(self.lead, slices)

        # Banks: whether the first beat is there, unless it was taken just now: then the other bank is shown.
        turned, *turned_slices = (equal_register(f"turned_{i}") for i in range(1 + config.beat_values // turned_values))
        there = [Signal(name=f"there_{bank}") for bank in range(2)]
        levels = [Signal(level_bits, name=f"level_{bank}", reset_less=True) for bank in range(2)]
        m.d.sync += [
            bit.eq(bit ^ (self.axis.tready & Mux(bit, there[1], there[0]))) for bit in (turned, *turned_slices)
        ]
        m.d.comb += self.axis.tvalid.eq(Mux(turned, there[1], there[0]))
        taken = Signal(name="beat_taken", reset_less=True)
        m.d.sync += taken.eq(self.axis.tvalid & self.axis.tready)
        m.d.comb += self.taken.eq(taken)
        cleared += [turned, *turned_slices, *levels, taken]
        pointer_slices = max(1, (reach - level_bits - 1) // addr_bits)
        r_addr = []
        for bank in range(2):
            shown = turned if bank else ~turned
            # One more read address for the marks.
            pops = copies(m, f"pop_{bank}", self.axis.tready & shown & there[bank], -(-(slices + 1) // pointer_slices))
            push, pop, level = writes[bank][-1], pops[0], levels[bank]
            change = Cat(push ^ pop, (pop & ~push).replicate(len(level) - 1))
            m.d.sync += [level.eq(level + change), there[bank].eq(push | level[1:].any() | (level[0] & ~pop))]
            pointers = [equal_register(f"read_{bank}_{i}", addr_bits) for i in range(slices + 1)]
            for i, pointer in enumerate(pointers):
                with m.If(pops[i // pointer_slices]):
                    m.d.sync += pointer.eq(following(pointer))
            cleared += [*pops, *pointers]
            r_addr.append(pointers)

        def queue(name, kind, width, number, w_data, pointer):
            """Both banks of one slice; returns what each of them reads."""
            read = []
            for bank in range(2):
                memory = place(m, f"{name}_{bank}", DistributedRam(kind, width=width, depth=depth))
                m.d.comb += [
                    memory.w_en.eq(writes[bank][number]),
                    memory.w_addr.eq(w_addr[2 * number + bank]),
                    memory.w_data.eq(w_data),
                    memory.r_addr.eq(r_addr[bank][pointer]),
                ]
                read.append(memory.r_data)
            return read

        bytes_per_value = config.io_bits // 8
        values, kept = [], []
        for number in range(slices):
            places = range(number * slice_values, (number + 1) * slice_values)
            read = queue(
                f"slice_{number}",
                "ram_output_queue",
                slice_values * (config.io_bits + 1),
                number,
                Cat(*(self.values[i] for i in places), *(~lasts[number] | within[i] for i in places)),
                number,
            )
            shown = Mux(turned_slices[number * slice_values // turned_values], read[1], read[0])
            values.append(shown[: slice_values * config.io_bits])
            kept += [bit.replicate(bytes_per_value) for bit in shown[slice_values * config.io_bits :]]
        width = 1 + len(MARKS) + config.tid_bits
        read = queue("marks", "ram_output_marks", width, 0, Cat(lasts[0], self.flags.as_value(), self.tid), slices)
        marks = Mux(turned, read[1], read[0])
        m.d.comb += [
            self.axis.tdata.eq(Cat(values)),
            self.axis.tkeep.eq(Cat(kept)),
            self.axis.tlast.eq(marks[0]),
            self.axis.tuser.eq(marks[1 : 1 + len(MARKS)]),
            self.axis.tid.eq(marks[1 + len(MARKS) :]),
        ]

        # Nothing is shown from a reset on. The rest takes its time.
        with m.If(self.clear):
            m.d.sync += [bit.eq(0) for bit in there]
        parts = batches(cleared, reach)
        leaves = DelayLine(m, "clear", self.clear, 0).spread(self.clear_latency - 1, len(parts))
        for leaf, part in zip(leaves, parts):
            with m.If(leaf):
                m.d.sync += [register.eq(0) for register in part]
        return m

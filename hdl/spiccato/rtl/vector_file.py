"""The vector file: the on-chip memory of x and h blocks, one block read a cycle.

A block of ``columns`` elements is four quarters of ``block / 4`` (one core's share of one slot), or eight. h is written
a slot at a time, ``cores`` consecutive quarters in one cycle, so quarters are spread over as many banks; quarter q lies
in bank ``q mod banks``. x is written a block at a time into banks of its own, one for each quarter. A read takes the
quarters of one group of banks.

For 9x9 multipliers each quarter is kept with a code of its largest element, and aligned as it is read
(:mod:`.alignment`).
"""

import functools
import math
import operator

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from ..isa.issue import Pass, VectorFrom, issue_word
from ..numbers import EXPONENT_BITS, NARROW_SHIFT, VECTOR_BITS
from .alignment import Alignment, leading_code
from .broadcast import DelayLine, copies
from .memory import Ram
from .part import Part, place

__all__ = ["VectorBank", "VectorFile", "h_write_layout", "read_layout"]

#: Banks that one copy of the read's address is for.
_SHARE = 2


def read_layout(config):
    """A read: which block, of which half. The fields are those of the issue word.

    With 9x9 multipliers, ``quarters``: what an earlier model left in quarters that count no more must not decide about
    the block's alignment; and which halves of its elements are ``multiplied``.
    """
    word = issue_word(config)
    narrow = {"quarters": word["quarters"].width, "multiplied": Pass} if config.narrow else {}
    return data.StructLayout({"vector_from": VectorFrom, "vector": word["vector"].width, **narrow, "side": 1})


def h_write_layout(config):
    """A write of h: from which quarter on, in which half."""
    return data.StructLayout({"enable": 1, "quarter": issue_word(config)["quarter"].width, "side": 1})


class VectorBank(Part):
    """One bank, with the words in flight forwarded.

    A read sees every write that reaches the memory's write register at most ``forward`` cycles after the read's
    address. The three places where a word can be are put out side by side, each with a select signal; the vector file
    merges them with those of the other banks.

    Parameters
    ----------
    kind : str
    width, depth : int
    reach : int
        Bits of a word that one select signal may choose.

    Attributes
    ----------
    r_en, r_addr : in, cycle 0
    w_en, w_addr, w_data : in; registered here, so the write register holds them one cycle later. The first two come
        twice, from registers of their own: for the write and the reads that begin, and for those that began a cycle ago
    from_ram, from_queue, from_write : out, cycle ``latency``, with ``use_ram``, ``use_queue``, ``use_write``, each of
        which is there ``selects`` times: for every ``reach`` bits
    """

    latency = Ram.latency
    forward = latency

    def __init__(self, kind, *, width, depth, reach):
        self.width, self.depth, self.reach = width, depth, reach
        self.selects = -(-width // reach)
        addr_bits = max(1, (depth - 1).bit_length())
        super().__init__(
            kind,
            {
                "r_en": In(1),
                "r_addr": In(addr_bits),
                "w_en": In(2),
                "w_addr": In(data.ArrayLayout(addr_bits, 2)),
                "w_data": In(width),
                "from_ram": Out(width),
                "from_queue": Out(width),
                "from_write": Out(width),
                "use_ram": Out(self.selects),
                "use_queue": Out(self.selects),
                "use_write": Out(self.selects),
            },
        )

    def elaborate(self, platform):
        m = Module()
        # The last block of a layer may have quarters that no slot has; their weights are zero.
        ram = place(m, "ram", Ram(f"ram_{self.kind}", width=self.width, depth=self.depth, cleared=True))
        write_en = Signal(reset_less=True)
        write_addr = Signal.like(self.w_addr[0], reset_less=True)
        write_data = Signal.like(self.w_data, reset_less=True)
        last_data = Signal.like(self.w_data, reset_less=True)
        m.d.sync += [
            write_en.eq(self.w_en[0]),
            write_addr.eq(self.w_addr[0]),
            write_data.eq(self.w_data),
            last_data.eq(write_data),
        ]
        m.d.comb += [
            ram.w_en.eq(write_en),
            ram.w_addr.eq(write_addr),
            ram.w_data.eq(write_data),
            ram.r_addr.eq(self.r_addr),
        ]

        # Writes that reach the write register in the read's cycle 0, 1 and 2.
        hit_0 = Signal(reset_less=True)
        hit_2 = Signal()
        queued = Signal.like(self.from_queue, reset_less=True)
        hit_1, *hits_1 = copies(m, "hit_1", self.w_en[0] & (self.w_addr[0] == self.r_addr), 1 + self.selects)
        # Banks that share an address do not share these.
        (read_1,), (addr_1,) = copies(m, "read_1", self.r_en, 1), copies(m, "addr_1", self.r_addr, 1)
        m.d.comb += hit_2.eq(self.w_en[1] & (self.w_addr[1] == addr_1))
        m.d.sync += hit_0.eq(write_en & (write_addr == self.r_addr))
        for i, hit in enumerate(hits_1):
            bits = slice(i * self.reach, (i + 1) * self.reach)
            m.d.sync += queued[bits].eq(Mux(hit, write_data[bits], last_data[bits]))
        m.d.comb += [
            self.use_write.eq(Cat(copies(m, "use_write", read_1 & hit_2, self.selects))),
            self.use_queue.eq(Cat(copies(m, "use_queue", read_1 & ~hit_2 & (hit_0 | hit_1), self.selects))),
            self.use_ram.eq(Cat(copies(m, "use_ram", read_1 & ~hit_2 & ~hit_0 & ~hit_1, self.selects))),
            self.from_ram.eq(ram.r_data),
            self.from_queue.eq(queued),
            self.from_write.eq(write_data),
        ]
        return m


class VectorFile(Part):
    """All banks, the spreading of h over them, and the merging of what they read.

    Attributes
    ----------
    read : in, cycle 0, :func:`read_layout`: equal copies, each for some of the banks
    vector, exponent : out, cycle ``latency``; h has exponent 0, but for what its alignment to 9 bits leaves out
    h_write : in, :func:`h_write_layout`: a finished slot's quarters, ``h_lead`` cycles before ``h``
    h : in, all cores' lanes; in the write registers ``h_latency`` cycles later
    x_en, x_block, x_side_w : in, ``x_lead`` cycles before ``x``
    x, x_exponent : in; in the write registers ``x_latency`` cycles later
    x_codes : in, with ``x``: of each quarter (only with 9x9 multipliers)
    """

    x_latency = 1
    #: How far ahead addresses come: registers of their own for all that they reach.
    h_lead = 3
    x_lead = 2
    #: A read issued in cycle n sees what is in the write registers in cycle n + forward.
    forward = VectorBank.forward

    def __init__(self, config):
        self.config = config
        #: Banks of h: a power of two, at least as many as quarters are written at once, and whole blocks.
        self.banks = max(config.quarters, 1 << (config.cores - 1).bit_length())
        #: Bank, then the merging register, then alignment if there is any.
        self.latency = VectorBank.latency + 1 + (self._alignment(config).latency if config.narrow else 0)
        #: In front of the write registers, codes take a cycle, and the way from the cores one if registers reach less.
        self._arrival = int(config.narrow and config.stages.vector_register)
        self.h_latency = 1 + config.narrow + self._arrival
        lanes = data.ArrayLayout(signed(VECTOR_BITS), config.lanes)
        codes = {"x_codes": In(data.ArrayLayout(NARROW_SHIFT, config.quarters))} if config.narrow else {}
        super().__init__(
            "vector_file",
            {
                "read": In(read_layout(config)).array((self.banks + config.quarters) // _SHARE),
                "vector": Out(data.ArrayLayout(signed(config.operands.element), config.columns)),
                "exponent": Out(config.exponent_bits),
                "h_write": In(h_write_layout(config)),
                "h": In(data.ArrayLayout(lanes, config.cores)),
                "x_en": In(1),
                "x_block": In((config.input_blocks - 1).bit_length()),
                "x_side_w": In(1),
                "x": In(data.ArrayLayout(signed(VECTOR_BITS), config.columns)),
                "x_exponent": In(EXPONENT_BITS),
                **codes,
            },
        )

    @staticmethod
    def _alignment(config):
        """The part that aligns what a read merges."""
        return Alignment(config, lead=VectorBank.latency + 1)

    def elaborate(self, platform):
        m = Module()
        config = self.config
        quarters = config.quarters
        width = VECTOR_BITS * config.lanes
        code_bits = NARROW_SHIFT if config.narrow else 0
        groups = self.banks // quarters
        group_bits = (groups - 1).bit_length()
        bank_bits = (self.banks - 1).bit_length()
        rows = quarters * config.vector_blocks // self.banks

        reach = config.stages.reach

        h_width = width + code_bits
        x_width = h_width + EXPONENT_BITS

        # h: bank b takes the quarter q of the slot's quarters with q mod banks = b.
        late = self.h_latency - 1
        finished = [self._with_code(m, core) for core in range(config.cores)]
        writes = DelayLine(m, "h_write", self.h_write.as_value(), -self.h_lead).spread(late - 1, self.banks)
        turns = -(-h_width // reach.registers)
        rotation = DelayLine(m, "rotation", self.h_write.quarter[:bank_bits], -self.h_lead).spread(
            late, self.banks * turns
        )
        step = math.gcd(config.cores, quarters)
        candidates: list[list] = [[] for _ in range(quarters)]
        for b in range(self.banks):
            write = data.View(h_write_layout(config), writes[b])
            kind = VectorBank("h_bank", width=h_width, depth=2 * rows, reach=reach.registers)
            bank = place(m, f"h_bank_{b}", kind)
            first_bank, first_row = write.quarter[:bank_bits], write.quarter[bank_bits:]
            offset = Signal(bank_bits, name=f"offset_{b}")
            row = Signal(range(2 * rows), name=f"next_row_{b}")
            m.d.comb += [
                offset.eq(b - first_bank),
                row.eq(Cat((first_row + (b < first_bank))[: (rows - 1).bit_length()], write.side)),
            ]
            for turn in range(turns):
                bits = slice(turn * reach.registers, min((turn + 1) * reach.registers, h_width))
                with m.Switch(rotation[b * turns + turn]):
                    for first in range(0, self.banks, step):
                        core = (b - first) % self.banks
                        if core < config.cores:
                            with m.Case(first):
                                m.d.comb += bank.w_data[bits].eq(finished[core][bits])
            group, place_in_block = divmod(b, quarters)
            read = self.read[b // _SHARE]
            counts = (read.quarters >= place_in_block,) if config.narrow else ()
            chosen = [read.vector_from == VectorFrom.H, read.vector[:group_bits] == group, *counts]
            m.d.comb += [
                bank.w_en.eq(Cat(copies(m, f"enable_{b}", write.enable & (offset < config.cores), 2))),
                bank.w_addr.eq(Cat(copies(m, f"row_{b}", row, 2))),
                bank.r_en.eq(functools.reduce(operator.and_, chosen)),
                bank.r_addr.eq(Cat(read.vector[group_bits:][: (rows - 1).bit_length()], read.side)),
            ]
            candidates[place_in_block].append(bank)

        # x
        x_bits = (config.input_blocks - 1).bit_length()
        x_enables, x_blocks, x_sides_w = (
            DelayLine(m, name, value, -self.x_lead).spread(0, 2 * quarters)
            for name, value in (("x_en", self.x_en), ("x_block", self.x_block), ("x_side_w", self.x_side_w))
        )
        exponents = []
        for quarter in range(quarters):
            code = [self.x_codes[quarter]] if config.narrow else []
            kind = VectorBank("x_bank", width=x_width, depth=2 << x_bits, reach=reach.registers)
            bank = place(m, f"x_bank_{quarter}", kind)
            read = self.read[(self.banks + quarter) // _SHARE]
            m.d.comb += [
                bank.w_en.eq(Cat(x_enables[2 * quarter : 2 * quarter + 2])),
                *(bank.w_addr[i].eq(Cat(x_blocks[2 * quarter + i], x_sides_w[2 * quarter + i])) for i in range(2)),
                bank.w_data.eq(Cat(self.x.as_value().word_select(quarter, width), *code, self.x_exponent)),
                bank.r_en.eq(read.vector_from == VectorFrom.X),
                bank.r_addr.eq(Cat(read.vector[:x_bits], read.side)),
            ]
            candidates[quarter].append(bank)
            exponents.append(bank)

        def merged(bank, low, high):
            value = 0
            for source, uses in (
                (bank.from_ram, bank.use_ram),
                (bank.from_queue, bank.use_queue),
                (bank.from_write, bank.use_write),
            ):
                value |= source[low:high] & Cat(uses[bit // bank.reach] for bit in range(low, high))
            return value

        blocks = []
        for quarter in range(quarters):
            value = 0
            merged_quarter = Signal(h_width, name=f"vector_{quarter}", reset_less=True)
            for bank in candidates[quarter]:
                value |= merged(bank, 0, h_width)
            m.d.sync += merged_quarter.eq(value)
            if not config.narrow:
                m.d.comb += self.vector.as_value().word_select(quarter, width).eq(merged_quarter)
            blocks.append(merged_quarter)
        exponent = Signal(EXPONENT_BITS, name="block_exponent", reset_less=True)
        m.d.sync += exponent.eq(merged(exponents[0], h_width, x_width))
        if not config.narrow:
            m.d.comb += self.exponent.eq(exponent)
            return m
        alignment = place(m, "alignment", self._alignment(config))
        m.d.comb += [
            alignment.mantissas.as_value().eq(Cat(block[:width] for block in blocks)),
            alignment.codes.as_value().eq(Cat(block[width:] for block in blocks)),
            alignment.exponent.eq(exponent),
            alignment.multiplied.eq(self.read[0].multiplied),
            self.vector.eq(alignment.vector),
            self.exponent.eq(alignment.shift),
        ]
        return m

    def _with_code(self, m, core):
        """A core's share of h, with its code if there is one."""
        if not self.config.narrow:
            return self.h[core].as_value()
        h = data.View(self.h[core].shape(), DelayLine(m, f"h_{core}", self.h[core].as_value()).at(self._arrival))
        code = Signal(NARROW_SHIFT, name=f"h_code_{core}", reset_less=True)
        m.d.sync += code.eq(leading_code(list(h)))
        return Cat(DelayLine(m, f"kept_h_{core}", h.as_value()).at(1), code)

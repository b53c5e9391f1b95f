"""Whether the next word of the sequencer goes: in equal copies, each for some of the registers that depend on it."""

from amaranth.hdl import Cat, Mux, Signal

from ..broadcast import equal_register
from .fetch import Fetch
from .heads import Heads

__all__ = ["Gate"]


class Gate:
    """Whether the next word goes, for some of the registers that depend on it, and where the one behind it lies.

    Attributes
    ----------
    go, move, takes : the word goes; the next one takes its place; and is one of the queue
    start, wait : of the word
    valid, have_block, may_start : there is a word; there is what it may wait for
    read_at, head : where the one behind it lies: in the queue, or among the heads, if ``in_heads``; a gate may use
        another one's
    """

    #: Register bits of its own that ``go`` reaches.
    size = 12
    #: The same of the account, without the blocks and what all gates know of them.
    accounted = size + 5
    #: Register bits that the pointer behind the queue's last word reaches: whether there is a word, and where it lies.
    pointed = 1 + Fetch.pointer_bits + (Heads.number - 1).bit_length() + 1
    #: Cycles from what a word may wait for to the word in the issue register: register, issue register.
    to_issue = 2

    def __init__(self, m, name, reader=None):
        self.name = name
        self.valid, self.start, self.wait, self.have_block, self.may_start, self.head_ready = (
            equal_register(f"{bit}_{name}")
            for bit in ("next_valid", "next_start", "next_wait", "have_block", "may_start", "head_ready")
        )
        self.go, self.move, self.takes = (Signal(name=f"{what}_{name}") for what in ("go", "move", "takes"))
        self.leads = reader is None
        if self.leads:
            self.read_at = equal_register(f"read_at_{name}", Fetch.pointer_bits)
            self.head = equal_register(f"head_{name}", range(Heads.number))
            self.in_heads = equal_register(f"in_heads_{name}")
        else:
            self.read_at, self.head, self.in_heads = reader.read_at, reader.head, reader.in_heads
        m.d.comb += [
            self.go.eq(self.valid & (self.have_block | ~self.wait) & (self.may_start | ~self.start)),
            self.move.eq(self.go | ~self.valid),
        ]

    def following(self, m, name, heads, queue):
        """Of values for each head and each word of the queue, the one of the word behind the next one."""
        head, queued, value = (Signal(len(heads[0]), name=f"{kind}_{name}") for kind in ("head", "queued", "following"))
        for chosen, values, place_of in ((head, heads, self.head), (queued, queue, self.read_at[:-1])):
            with m.Switch(place_of):
                for i, one in enumerate(values):
                    with m.Case(i):
                        m.d.comb += chosen.eq(one)
        m.d.comb += value.eq(Mux(self.in_heads, head, queued))
        return value

    def connect(self, m, heads, queue, write_at, head_ready, have_block, may_start, cleared):
        """Follow the words, given as what each is: (start, wait, commit)."""
        start, wait, commit = self.following(
            m, f"word_{self.name}", [Cat(*values) for values in heads], [Cat(*values) for values in queue]
        )
        available = Signal(name=f"available_{self.name}")
        m.d.comb += [
            available.eq(Mux(self.in_heads, self.head_ready, write_at != self.read_at)),
            self.takes.eq(self.move & available & ~self.in_heads),
        ]
        m.d.sync += [self.have_block.eq(have_block), self.may_start.eq(may_start), self.head_ready.eq(head_ready)]
        with m.If(self.move):
            m.d.sync += [self.valid.eq(available), self.start.eq(start), self.wait.eq(wait)]
        if self.leads:
            last = Signal(name=f"last_head_{self.name}")
            m.d.comb += last.eq(self.head == Heads.number - 1)
            with m.If(self.move & available):
                with m.If(self.in_heads):
                    m.d.sync += [self.head.eq(Mux(last, 0, self.head + 1)), self.in_heads.eq(~last)]
                with m.Else():
                    m.d.sync += [self.read_at.eq(self.read_at + 1), self.in_heads.eq(commit)]
        with m.If(cleared):
            m.d.sync += self.valid.eq(0)
            if self.leads:
                m.d.sync += [self.read_at.eq(0), self.head.eq(0), self.in_heads.eq(1)]

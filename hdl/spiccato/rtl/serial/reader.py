"""Walking through a memory, word by word."""

from amaranth.hdl import Cat, Mux, Signal

from ..broadcast import equal_register
from ..memory import Ram

__all__ = ["Reader"]


class Reader:
    """Walks through a memory, and tells when the data of its address are there.

    Who moves it sees ``settled`` fall in the next cycle. The data stay for two cycles more, so that registers may take
    them a cycle or two after it was decided.

    Parameters
    ----------
    m : Module
    addr : Signal
        Read address of the memory.
    users : int
        How many need ``settled``.

    Attributes
    ----------
    settled : list of Signal
        Equal registers, one for each user: the data of the present address are at the memory's output.
    """

    def __init__(self, m, addr, users=1):
        self._m = m
        self._rewinds, self._advances = Signal(name="rewinds"), Signal(name="advances")
        # Who moves it may have registers that are equal to these.
        rewinding, advancing = (equal_register(name, resettable=True) for name in ("rewinding", "advancing"))
        at = Signal.like(addr, name="reads_at", reset_less=True)
        since = Signal(Ram.latency, name="settling", reset_less=True)
        self.settled = [equal_register(f"settled_{i}") for i in range(users)]
        moves = self._rewinds | self._advances
        m.d.comb += addr.eq(at)
        m.d.sync += [
            rewinding.eq(self._rewinds),
            advancing.eq(self._advances),
            since.eq(Mux(moves, 0, Cat(1, since[:-1]))),
            *(settled.eq(since[-1] & ~moves) for settled in self.settled),
        ]
        with m.If(rewinding):
            m.d.sync += at.eq(0)
        with m.Elif(advancing):
            m.d.sync += at.eq(at + 1)

    def rewind(self):
        """Go to the first address."""
        self._m.d.comb += self._rewinds.eq(1)

    def advance(self):
        """Go to the next address."""
        self._m.d.comb += self._advances.eq(1)

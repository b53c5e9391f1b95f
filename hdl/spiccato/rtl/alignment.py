"""Alignment of a vector block as it is read: from 18-bit mantissas to 9-bit elements with one exponent.

The quarters of a block of h are finished at different times, so how large its largest element is shows only when the
block is read. Each quarter is kept with a code of its own largest element (:func:`leading_code`); of the block's
quarters the largest counts. With p = 0..9 bits between the least significant one of a mantissa and of an element::

    element = (mantissa + 2^(p - 1)) >> p, at most 255        signed 9 bits
    exponent = 9 - p + 4 (15 - largest group of x)            what rows add to their shift

x comes with an exponent, in steps of four bits, already; its code says how far within the largest step.

A word may take elements in two halves instead (:class:`~spiccato.isa.issue.Pass`), so that nothing is rounded::

    upper half = mantissa >> p                                signed 9 bits, exponent as before
    lower half = mantissa mod 2^p, and if p is 9 half of it   unsigned 8 bits, exponent 9, and 8 if p is 9

The exponent of what is multiplied with lower halves of weights is 8 more than the upper half's.
"""

import numpy as np
from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from ..isa.issue import PASSES, Pass
from ..numbers import EXPONENT_BITS, EXPONENT_STEP, EXPONENT_STEP_BITS, LOW_BITS, NARROW_BITS, NARROW_SHIFT, VECTOR_BITS
from .broadcast import DelayLine, copies
from .part import Part, place

__all__ = ["Alignment", "AlignmentLane", "leading_code"]

#: Exponents, in steps, that words of lower halves add.
_LOW_STEPS = LOW_BITS >> EXPONENT_STEP_BITS


def leading_code(mantissas):
    """Of signed 18-bit signals: bit p - 1 tells that one of them does not fit in 8 + p bits and a sign.

    Negative ones are taken in one's complement.
    """
    # Of a mantissa at once what a LUT of six inputs takes, the sign being one, and then one OR: the fewest levels.
    most = 5

    def differ(mantissa, low):
        """Whether some of the bits from ``low`` on differ from the sign."""
        bits = Cat(mantissa[low : min(low + most, VECTOR_BITS - 1)], mantissa[-1])
        return bits.any() & ~bits.all()

    return Cat(
        Cat(differ(mantissa, low) for mantissa in mantissas for low in range(first, VECTOR_BITS - 1, most)).any()
        for first in range(NARROW_BITS - 1, VECTOR_BITS - 1)
    )


class AlignmentLane(Part):
    """One mantissa's way to an element. It is rounded, or cut, for each answer, while the answer is found.

    Attributes
    ----------
    mantissa : in, cycle 0
    down, low : in, cycle 0: the element is cut in two; its lower half; each as often as ``halves`` says
    select : in, cycle 1: which p it is, one bit for each
    element : out, cycle 2
    """

    latency = 2
    #: Register bits that a bit of ``select`` reaches.
    reach = NARROW_BITS

    def __init__(self, config):
        #: Answers that one copy of ``down`` and ``low`` is for.
        self._share = config.stages.reach.registers // NARROW_BITS
        self.halves = -(-(NARROW_SHIFT + 1) // self._share)
        super().__init__(
            "alignment_lane",
            {
                "mantissa": In(signed(VECTOR_BITS)),
                "down": In(self.halves),
                "low": In(self.halves),
                "select": In(NARROW_SHIFT + 1),
                "element": Out(signed(NARROW_BITS)),
            },
        )

    def elaborate(self, platform):
        m = Module()
        selected = 0
        negative = Signal(reset_less=True)
        m.d.sync += negative.eq(self.mantissa[-1])
        for p in range(NARROW_SHIFT + 1):
            answer = Signal(NARROW_BITS, name=f"answer_{p}", reset_less=True)
            down, low = self.down[p // self._share], self.low[p // self._share]
            kept = Mux(low, self.mantissa[max(0, p - LOW_BITS) : p], self.mantissa[p : p + NARROW_BITS])
            m.d.sync += answer.eq(kept + (self.mantissa[p - 1] & ~down) if p else kept)
            selected |= answer & self.select[p].replicate(NARROW_BITS)
        chosen = Signal(NARROW_BITS)
        beyond = Signal()
        element = Signal(signed(NARROW_BITS), name="aligned", reset_less=True)
        # Rounding up may go one beyond the largest.
        m.d.comb += [chosen.eq(selected), beyond.eq(chosen[-1] & ~negative)]
        m.d.sync += element.eq(Cat(chosen[:-1] | beyond.replicate(NARROW_BITS - 1), chosen[-1] & negative))
        m.d.comb += self.element.eq(element)
        return m


class Alignment(Part):
    """A block's mantissas to its elements and exponent.

    Attributes
    ----------
    mantissas : in
    codes : in, of each quarter, :func:`leading_code`
    exponent : in, of x, in steps of four bits
    multiplied : in, ``lead`` cycles before them: which halves
    vector, shift : out, ``latency`` cycles later: the elements, and what rows add to their shifts
    """

    def __init__(self, config, lead):
        self.config = config
        self.lead = lead
        #: One more cycle to spread what is found, where registers reach less.
        self._wait = int(config.stages.vector_register)
        self.latency = AlignmentLane.latency + self._wait
        super().__init__(
            "alignment",
            {
                "mantissas": In(data.ArrayLayout(signed(VECTOR_BITS), config.columns)),
                "codes": In(data.ArrayLayout(NARROW_SHIFT, config.quarters)),
                "exponent": In(EXPONENT_BITS),
                "multiplied": In(Pass),
                "vector": Out(data.ArrayLayout(signed(NARROW_BITS), config.columns)),
                "shift": Out(config.exponent_bits),
            },
        )

    @staticmethod
    def positions(mantissas):
        """Integer model of the codes of h: p of each block, mantissas (..., columns) int64. Of x: of its magnitudes."""
        places = np.asarray(mantissas, dtype=np.int64)
        largest = np.max(np.where(places < 0, ~places, places), axis=-1, initial=0)
        return np.maximum(np.frexp(largest.astype(np.float64))[1].astype(np.int64) - (NARROW_BITS - 1), 0)

    @staticmethod
    def compute(mantissas, positions, exponents=0, multiplied=Pass.ONLY):
        """Integer model: blocks (..., columns) with their p (...) to elements, and what rows add to their shifts (...).

        ``exponents`` (...) are those of x, in steps, and 0 for h; ``multiplied`` (...) tells which halves.
        """
        mantissas, p = np.asarray(mantissas, dtype=np.int64), np.asarray(positions, dtype=np.int64)
        which = np.broadcast_to(multiplied, p.shape)
        last = p == NARROW_SHIFT
        rounded = (mantissas + np.where(which == Pass.ONLY, (1 << p) >> 1, 0)[..., None]) >> p[..., None]
        lower = (mantissas & ((1 << p) - 1)[..., None]) >> last[..., None]
        low = which == Pass.LOW_ELEMENT
        elements = np.where(low[..., None], lower, np.minimum(rounded, (1 << (NARROW_BITS - 1)) - 1))
        more = np.isin(which, (Pass.LOW_WEIGHT, Pass.LOW_ELEMENT))
        steps = np.minimum(exponents + _LOW_STEPS * more, (1 << EXPONENT_BITS) - 1)
        rest = np.where(low, NARROW_SHIFT - LOW_BITS - last, NARROW_SHIFT - p)
        return elements, EXPONENT_STEP * steps + rest

    def elaborate(self, platform):
        m = Module()
        config, known, reach = self.config, self._wait, self.config.stages.reach.registers
        mantissas = DelayLine(m, "mantissas", self.mantissas.as_value()).at(known)
        lanes = [place(m, f"lane_{i}", AlignmentLane(config)) for i in range(config.columns)]
        self._tell(m, lanes)
        # Which p it is, for some of the lanes each, and for the exponent.
        number = 1 + -(-config.columns // (reach // AlignmentLane.reach))
        largest = [Cat(Cat(code[p] for code in self.codes).any() for p in range(NARROW_SHIFT))]
        if self._wait:
            # Two of the answers need a bit of it.
            largest = copies(m, "largest", largest[0], -(-2 * number // reach))
        selects = []
        for i in range(number):
            reached = Cat(1, largest[i * len(largest) // number], 0)
            answer = Cat(reached[p] & ~reached[p + 1] for p in range(NARROW_SHIFT + 1))
            selects += copies(m, f"select_{i}", answer, 1)
        own, *others = selects
        for i, lane in enumerate(lanes):
            m.d.comb += [
                lane.mantissa.eq(mantissas.word_select(i, VECTOR_BITS)),
                lane.select.eq(others[i * len(others) // config.columns]),
                self.vector[i].eq(lane.element),
            ]
        m.d.comb += self.shift.eq(self._shift(m, own))
        return m

    def _tell(self, m, lanes):
        """Tell each lane which halves it takes."""
        for name, members in (("down", PASSES), ("low", (Pass.LOW_ELEMENT,))):
            told = Cat(self.multiplied == one for one in members).any()
            number = lanes[0].halves
            spread = DelayLine(m, name, told, -self.lead).spread(self._wait, number * len(lanes))
            for i, lane in enumerate(lanes):
                m.d.comb += getattr(lane, name).eq(Cat(spread[number * i : number * (i + 1)]))

    def _shift(self, m, select):
        """What rows add to their shifts, a cycle after ``select`` tells which p it is."""
        found = self._wait + 1
        low, more = (
            DelayLine(m, f"shift_{name}", Cat(self.multiplied == one for one in members).any(), -self.lead)
            for name, members in (("low", (Pass.LOW_ELEMENT,)), ("more", (Pass.LOW_WEIGHT, Pass.LOW_ELEMENT)))
        )
        steps = Signal(EXPONENT_BITS, reset_less=True)
        total = Signal(EXPONENT_BITS + 1)
        exponent = DelayLine(m, "exponent", self.exponent).at(found - 1)
        m.d.comb += total.eq(exponent + Mux(more.at(found - 1), _LOW_STEPS, 0))
        m.d.sync += steps.eq(Mux(total[-1], (1 << EXPONENT_BITS) - 1, total[:-1]))
        rest = [
            Cat(select[p] for p in range(NARROW_SHIFT + 1) if (NARROW_SHIFT - p) >> bit & 1).any() & ~low.at(found)
            for bit in range(NARROW_SHIFT.bit_length())
        ]
        rest[0] |= low.at(found) & ~select[NARROW_SHIFT]
        shift = Signal(self.config.exponent_bits, name="block_shift", reset_less=True)
        # Of x that is not all zero, what its code says is less than a step. Of h there are no steps but those of lower
        # halves, which only the highest bit of what its code says meets.
        both = rest[-1] & steps[_LOW_STEPS.bit_length() - 1]
        bits = Cat(rest) ^ (steps << EXPONENT_STEP_BITS)
        m.d.sync += shift.eq(bits | (both << len(rest)))
        return shift

"""How a row's sum gets into the accumulator's frame: ``(sum << left) >> shift``.

That is up to 63 places, behind the register of the sum. Where the profile has ``coarse_shift`` the row shifts by
multiples of 16 in front of that register, behind its adder, and the accumulator only by the rest; not if the row has
9x9 multipliers.
"""

from amaranth.hdl import Cat, Mux, signed

from ..numbers import ACC_BITS, SHIFT_BITS

__all__ = ["COARSE_BITS", "SumShift"]

#: Bits of a shift that a row takes where the profile has ``coarse_shift``: one level of multiplexers.
COARSE_BITS = 2


class SumShift:
    """Shifts of sums, and what they leave of the sums, for an accumulator that may be cut into slices.

    Attributes
    ----------
    slices : int
        Parts that an accumulator is cut into, so that no register of what chooses or shifts reaches all of its bits.
        The adder stays one.
    coarse_bits, fine_bits : int
        Bits of a shift: the upper ones, the row's, and the lower ones, the accumulator's. Without ``coarse_shift`` all
        are fine.
    shape : Shape
        Of a sum as the row gives it to a slice; with ``coarse_shift`` there is one.

    Raises
    ------
    ValueError
        If there is ``coarse_shift``, but a register of the profile does not reach all bits of a sum.
    """

    def __init__(self, config):
        self.slices = -(-ACC_BITS // config.stages.reach.registers)
        # The last stage of rows of 9x9 multipliers has logic in front of its adder already.
        self.coarse_bits = COARSE_BITS * (config.stages.coarse_shift and not config.narrow)
        self.fine_bits = SHIFT_BITS - self.coarse_bits
        self._left = config.align_left
        self._width = ACC_BITS // self.slices
        # The accumulator's bits, and what a fine shift may bring into them.
        self.shape = signed(ACC_BITS + (1 << self.fine_bits) - 1 if self.coarse_bits else config.row_sum_bits)
        if self.coarse_bits and self.shape.width > config.stages.reach.registers:
            raise ValueError(f"coarse_shift: a register reaches {self.shape.width} bits, which the profile forbids")

    def bits(self, i):
        """The accumulator's bits that are slice ``i``'s."""
        return slice(i * self._width, (i + 1) * self._width)

    def coarse(self, total, amount):
        """What the register of a sum gets: the sum shifted left, and right by ``amount`` (0..3) times 16 places."""
        placed, choices = total << self._left, []
        for n in range(1 << self.coarse_bits):
            kept = (placed >> (n << self.fine_bits))[: self.shape.width]
            choices.append(Cat(kept, placed[-1].replicate(self.shape.width - len(kept))))
        for bit in amount:
            choices = [Mux(bit, upper, lower) for lower, upper in zip(choices[::2], choices[1::2])]
        return choices[0]

    def fine(self, given, amount, i):
        """Slice ``i`` of the sum in the accumulator's frame."""
        if self.coarse_bits:
            return (given >> amount)[:ACC_BITS]
        # Wide enough for any sum at any shift; what a valid program shifts in fits the accumulator.
        return ((given << self._left) >> amount)[self.bits(i)]

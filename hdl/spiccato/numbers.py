"""Number formats of the data path.

Everything is an integer with a fixed number of fraction bits; the binary point moves only where a block says so.
The integer models live beside the hardware they describe (``spiccato.rtl``); here are the formats they share.

========================  ====  ==========  =====================================================================
quantity                  bits  fraction    notes
========================  ====  ==========  =====================================================================
weight mantissa           16    15          signed; one power-of-two exponent per matrix row
vector element            18    17 (h)      h is in (-1, 1); x has one exponent per block (``rtl.ingress``)
row sum                   34+n  --          a block's dot product, n = log2(columns)
accumulator               48    26          gate rows; sigmoid rows hold z/2; linear rows choose their own point
g, tanh(c)                18    17          signed, in [-1, 1)
i, f, o                   18    17          unsigned, in [0, 1]: an open gate is exactly 1
cell state c              27    17          saturates at +-512
GRU's h as state          27    26          h as it is in the vector, and below it a signed remainder of 9 bits
dense argument            27    19          saturates at +-128
========================  ====  ==========  =====================================================================

Rows of 9x9 multipliers have weight mantissas of 8 bits (9, where the memory has the bit), a factor beside the power of
two, and vector elements of 9 bits with one exponent per block, to which the 18 bits are aligned when the block is read
(``rtl.alignment``). Both may be multiplied in two halves (``isa.issue.Pass``): weights of 16 bits (17), and whatever
the vector file has.
"""

from typing import NamedTuple

import numpy as np

#: Of bfloat16 and float32.
FLOAT_EXPONENT_BITS = 8
FLOAT_BIAS = 127

WEIGHT_BITS = 16
WEIGHT_FRAC_BITS = 15
INT8_BITS = 8
VECTOR_BITS = 18
H_FRAC_BITS = 17
ACC_BITS = 48
GATE_FRAC_BITS = 26
#: A row sum of 16-bit weights is shifted left by this much, then right by the row's shift: T * 2**(24 - shift).
ALIGN_LEFT = 24
#: Vector elements as 9x9 multipliers take them.
NARROW_BITS = 9
#: Bits of an element that reading may leave out: as many as its exponent within the block counts.
NARROW_SHIFT = VECTOR_BITS - NARROW_BITS
#: Bits of the lower half of a weight, and of an element, that is multiplied in two.
LOW_BITS = 8
SHIFT_BITS = 6
SHIFT_MAX = (1 << SHIFT_BITS) - 1
#: Of a row of 9x9 multipliers: its scale is a power of two times 1 + factor / 4.
FACTOR_BITS = 2
TANH_BITS = 18
#: Unsigned.
SIGMOID_BITS = 18
GATE_FRAC = 17
C_BITS = 27
C_FRAC_BITS = 17
#: What a dense layer's functions take.
DENSE_BITS = 27
DENSE_FRAC_BITS = 19
#: Of a GRU's state: what is below its h, signed.
REMAINDER_BITS = C_BITS - VECTOR_BITS
#: Fraction bits of the products i*g and f*c.
C_SUM_FRAC_BITS = GATE_FRAC + C_FRAC_BITS

#: Gates of one hidden unit, in the order of PyTorch's rows: input, forget, cell, output.
GATES = 4
#: A block's exponent: the number of steps of ``EXPONENT_STEP`` bits below the largest.
EXPONENT_BITS = 4
EXPONENT_STEP_BITS = 2
EXPONENT_STEP = 1 << EXPONENT_STEP_BITS
#: Exponents of inputs that can be told apart.
EXPONENT_RANGE = EXPONENT_STEP << EXPONENT_BITS
#: Bits of a vector element's magnitude.
MANTISSA_BITS = VECTOR_BITS - 1
#: What is added to an input's IEEE exponent; stored with an offset, so that the sum's range shows in its top bits.
ADJUST_BITS = 10
ADJUST_OFFSET = 1 << (ADJUST_BITS - 1)
#: Least adjustment for which infinity, whose exponent field is all ones, is out of range.
ADJUST_MIN = EXPONENT_RANGE - ((1 << FLOAT_EXPONENT_BITS) - 1)


class Operands(NamedTuple):
    """Bits of what rows multiply: a weight's mantissa, and a vector element."""

    weight: int
    element: int

    @property
    def align_left(self) -> int:
        """What a row sum is shifted left by, so that row shifts mean the same whatever the operands' bits."""
        return ALIGN_LEFT + WEIGHT_BITS - self.weight + VECTOR_BITS - self.element

    def sum_bits(self, columns: int) -> int:
        """Width of a dot product of so many weights and vector elements."""
        return self.weight + self.element + (columns - 1).bit_length()


def join_remainder(exact):
    """Integers with 26 fraction bits in -1..1 (any shape) as a GRU keeps its state: h, and the remainder below."""
    half = 1 << (REMAINDER_BITS - 1)
    return saturate(np.asarray(exact, dtype=np.int64) + half, C_BITS) ^ half


def split_remainder(state):
    """A GRU's state (any shape): (h with 17 fraction bits, and the remainder with 26)."""
    half = 1 << (REMAINDER_BITS - 1)
    state = np.asarray(state, dtype=np.int64)
    return state >> REMAINDER_BITS, ((state & (2 * half - 1)) ^ half) - half


def saturate(value, bits):
    """Clamp integers (any shape) to the range of ``bits``-bit two's complement."""
    return np.clip(value, -(1 << (bits - 1)), (1 << (bits - 1)) - 1)

"""Number formats of the data path.

Everything is an integer with a fixed number of fraction bits; the binary point moves only where a block says so.
The integer models live beside the hardware they describe (``spiccato.rtl``); here are the formats they share.

========================  ====  ==========  =====================================================================
quantity                  bits  fraction    notes
========================  ====  ==========  =====================================================================
weight mantissa           16    15          signed; one power-of-two exponent per matrix row
vector element            18    17 (h)      h is in (-1, 1); x has one exponent per block (``rtl.ingress``)
row sum                   34+n  --          a block's dot product, n = log2(block)
accumulator               48    26          gate rows; sigmoid rows hold z/2; linear rows choose their own point
g, tanh(c)                18    17          signed, in [-1, 1)
i, f, o                   18    17          unsigned, in [0, 1]: an open gate is exactly 1
cell state c              27    17          saturates at +-512
========================  ====  ==========  =====================================================================
"""

import numpy as np

WEIGHT_BITS = 16
WEIGHT_FRAC_BITS = 15
INT8_BITS = 8
VECTOR_BITS = 18
H_FRAC_BITS = 17
ACC_BITS = 48
GATE_FRAC_BITS = 26
#: A row sum is shifted left by this much, then right by the row's shift: T * 2**(24 - shift).
ALIGN_LEFT = 24
SHIFT_BITS = 6
SHIFT_MAX = (1 << SHIFT_BITS) - 1
TANH_BITS = 18
#: Unsigned.
SIGMOID_BITS = 18
GATE_FRAC = 17
C_BITS = 27
C_FRAC_BITS = 17
#: Fraction bits of the products i*g and f*c.
C_SUM_FRAC_BITS = GATE_FRAC + C_FRAC_BITS

#: Gates of one hidden unit, in the order of PyTorch's rows: input, forget, cell, output.
GATES = 4


def row_sum_bits(block):
    """Width of a dot product of ``block`` weights and vector elements."""
    return WEIGHT_BITS + VECTOR_BITS + (block - 1).bit_length()


def saturate(value, bits):
    """Clamp integers (any shape) to the range of ``bits``-bit two's complement."""
    return np.clip(value, -(1 << (bits - 1)), (1 << (bits - 1)) - 1)

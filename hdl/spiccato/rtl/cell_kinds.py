"""What else the cell unit is: a GRU's, and a dense layer's."""

import numpy as np

from ..isa.activation import DENSE_FIELDS
from ..numbers import (
    C_BITS,
    C_FRAC_BITS,
    C_SUM_FRAC_BITS,
    GATE_FRAC_BITS,
    GATES,
    REMAINDER_BITS,
    saturate,
    split_remainder,
)
from .activation import ActivationTable
from .cell import HALF_N, HALF_REMAINDER, N_BITS, ONE, UPDATE_SHIFT, CellUnit
from .dense import DenseUnit
from .epilogue import register

__all__ = ["Dense", "GRU"]


@register
class GRU(CellUnit):
    """The cell unit as a GRU's. c is h: h as it is in the vector, and the remainder below it."""

    name = "gru"

    @staticmethod
    def compute(acc, c_old, **settings):
        """Integer model: ``acc`` (4, ...) of z, r, and n's input and recurrent part, and ``c_old``, to ``(c, h)``."""
        z, r = (ActivationTable.compute("sigmoid", acc[k], GATE_FRAC_BITS) for k in (0, 1))
        recurrent = saturate((np.asarray(acc[3]) + HALF_N) >> (GATE_FRAC_BITS - C_FRAC_BITS), C_BITS)
        total = (saturate(acc[2], N_BITS) << (C_SUM_FRAC_BITS - GATE_FRAC_BITS)) + r * recurrent
        n = ActivationTable.compute("tanh", total, C_SUM_FRAC_BITS)
        h_old, remainder = split_remainder(c_old)
        kept = z * h_old + ((remainder + HALF_REMAINDER) << UPDATE_SHIFT)
        p = ((ONE - z) * n + kept) >> UPDATE_SHIFT
        return p ^ HALF_REMAINDER, p >> REMAINDER_BITS


@register
class Dense(CellUnit):
    """The cell unit as a dense layer's: an accumulator is a unit, whose h takes its turn."""

    name = "dense"
    has_state = False
    turns = GATES
    settings = tuple(DENSE_FIELDS)

    @staticmethod
    def compute(acc, c_old, **settings):
        """Integer model: ``acc`` (4, ...) and the settings, to ``(None, h (4, ...))``."""
        return None, DenseUnit.compute(acc, **{name: settings[name] for name in ("function", "shift", "factor")})

    @staticmethod
    def saturates(acc, **settings):
        """Integer model: whether a unit's scaled sum is beyond what h can hold."""
        return DenseUnit.saturates(acc, **{name: settings[name] for name in ("function", "shift", "marks")})

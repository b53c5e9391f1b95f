"""What a dense layer's epilogue does with a sum: its functions, and the fields of the issue word that say which."""

import enum

__all__ = ["DENSE_FIELDS", "FACTOR_FRAC_BITS", "Function"]

#: Of the factor in an issue word, which is at most 1.
FACTOR_FRAC_BITS = 17


class Function(enum.IntEnum):
    """Functions of a sum u, which is kept within +-128; what is scaled is ``u / 2**shift``."""

    #: Scaled u.
    LINEAR = 0
    #: The same, but 0 below 0.
    RELU = 1
    #: The same, but times the factor below 0.
    LEAKY = 2
    #: sigmoid(2 u).
    SIGMOID = 3
    #: tanh(u).
    TANH = 4
    #: Scaled u, but below 0 the factor times exp(u) - 1.
    ELU = 5
    #: Scaled u times sigmoid(2 u).
    SILU = 6
    #: Scaled u times the share of a normal distribution that is below u.
    GELU = 7


#: Fields of the words that finish a dense layer's slots, as :class:`~.word.Word` takes them.
DENSE_FIELDS: dict[str, tuple[int | type[enum.IntEnum], str]] = {
    "function": (Function, "dense: what becomes of a sum"),
    "shift": (3, "dense: how often the scaled sum is halved"),
    "factor": (FACTOR_FRAC_BITS + 1, "dense: the function's factor"),
    "marks": (1, "dense: a scaled sum beyond +-1 marks the output"),
}

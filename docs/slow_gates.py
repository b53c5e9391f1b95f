"""Prints the table of docs/accuracy.md on slow gates: python docs/slow_gates.py.

One unit that adds up a constant: all gates stand still, g is 1, and the input gate lets in as much as the forget gate
lets go when c is 1. The integers are those of the cell unit's model.
"""

import numpy as np

from spiccato.layers import sigmoid
from spiccato.numbers import C_FRAC_BITS, C_SUM_FRAC_BITS, GATE_FRAC, GATE_FRAC_BITS
from spiccato.rtl.activation import ActivationTable

BIASES = (5, 7, 8, 9, 10, 11, 12)
#: How far the bias is moved about, for the errors of single values are a matter of luck.
AROUND = np.linspace(-0.25, 0.25, 9)
TIME_CONSTANTS = (1, 5)


def cell(input_bias, forget_bias, steps):
    """c of the accelerator and in float64 after each of ``steps`` (ascending), the drive g being 1."""
    gate, forget = (
        int(ActivationTable.compute("sigmoid", np.rint(np.ldexp(bias / 2, GATE_FRAC_BITS)), GATE_FRAC_BITS))
        for bias in (input_bias, forget_bias)
    )
    drive = int(ActivationTable.compute("tanh", 20 << GATE_FRAC_BITS, GATE_FRAC_BITS))
    shift = C_SUM_FRAC_BITS - C_FRAC_BITS
    added = gate * drive + (1 << shift - 1)
    leak, c, done, found = sigmoid(np.float64(-forget_bias)), 0, 0, []
    for step in steps:
        for _ in range(step - done):
            following = forget * c + added >> shift
            if following == c:
                break
            c = following
        done = step
        found.append((c / 2**C_FRAC_BITS, sigmoid(np.float64(input_bias)) * -np.expm1(step * np.log1p(-leak)) / leak))
    return found


def rows():
    """Cells of the table, as texts."""
    for bias in BIASES:
        constant = 1 / sigmoid(np.float64(-bias))
        worst = np.zeros(len(TIME_CONSTANTS))
        for moved in bias + AROUND:
            steps = [round(n / sigmoid(np.float64(-moved))) for n in TIME_CONSTANTS]
            worst = np.maximum(worst, [abs(ours / exact - 1) for ours, exact in cell(-moved, moved, steps)])
        yield [str(bias), f"{constant:,.0f}", f"{2**GATE_FRAC / constant:.3g}", *(f"{100 * w:.2g} %" for w in worst)]


def table():
    """The table, as Markdown."""
    header = [
        "bias of the forget gate",
        "time constant, steps",
        "1 - f, units of 2^-17",
        *(f"c off after {n} time constant{'s' * (n > 1)}" for n in TIME_CONSTANTS),
    ]
    lines = [header, ["---"] * len(header), *rows()]
    return "\n".join(f"| {' | '.join(line)} |".replace("| --- ", "|---").replace("---|", "---|") for line in lines)


if __name__ == "__main__":
    print(table())

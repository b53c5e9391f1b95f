"""Activations: hardware against the integer model, and the model against numpy."""

import numpy as np
import pytest
from amaranth.hdl import Module, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl_bench import play, random_signed
from spiccato.families.family import CONSERVATIVE, Profile
from spiccato.numbers import ACC_BITS, C_SUM_FRAC_BITS, GATE_FRAC, GATE_FRAC_BITS
from spiccato.rtl.activation import Activation, ActivationTable, Interpolate, argument_bits

pytestmark = pytest.mark.fast

EXACT = {"tanh": np.tanh, "sigmoid": lambda half: (1 + np.tanh(half)) / 2}


PROFILES = {
    "none": Profile(),
    "around": Profile(table_address_register=True, table_word_register=True),
    "product": Profile(product_register=True),
    "all": CONSERVATIVE,
}


class Looked(wiring.Component):
    """A function of an argument, with its table."""

    def __init__(self, function, bits, frac_bits, profile):
        self.function, self.frac_bits, self.activation = function, frac_bits, Activation(profile)
        self.latency = self.activation.latency
        super().__init__({"argument": In(signed(bits)), "value": Out(Interpolate(function).value.shape())})

    def elaborate(self, platform):
        m = Module()
        m.submodules.table = table = ActivationTable(self.function, 1)
        port = table.addr0, table.data0
        m.d.comb += self.value.eq(
            self.activation.place(m, self.function, "x", self.argument, self.frac_bits, *port, start=0)
        )
        return m


def edges(frac_bits, bits):
    """Arguments at and around 0, the ends of the table and the ends of the format."""
    eight = 8 << frac_bits
    near = np.array([-2, -1, 0, 1, 2])
    step = 1 << (frac_bits - 19)
    centers = (0, eight, -eight, eight - step, -eight + step, 2 * eight, -2 * eight)
    points = [near + center for center in centers]
    return np.concatenate([*points, [-(1 << (bits - 1)), (1 << (bits - 1)) - 1]])


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("bits, frac_bits", [(ACC_BITS, GATE_FRAC_BITS), (46, C_SUM_FRAC_BITS)])
@pytest.mark.parametrize("function", ["tanh", "sigmoid"])
def test_activation_is_its_model(function, bits, frac_bits, profile):
    """Random arguments and all edges, of the gates' and of the cell's format, one a cycle."""
    rng = np.random.default_rng(1)
    inside = rng.integers(-(9 << frac_bits), 9 << frac_bits, 500)
    arguments = np.concatenate([edges(frac_bits, bits), random_signed(rng, bits, 200), inside])
    part = Looked(function, bits, frac_bits, PROFILES[profile])
    seen = play(part, [{"argument": int(a)} for a in arguments], ["value"], drain=part.latency)["value"]
    assert seen[part.latency :].tolist() == ActivationTable.compute(function, arguments, frac_bits).tolist()


@pytest.mark.parametrize("function, bound", [("tanh", 2.25), ("sigmoid", 1.4)])
def test_accuracy(function, bound):
    """Over [-8, 8) the model is within ``bound`` LSB: half for rounding, the rest for the line.

    In mid-segment a chord is off by at most max |f''| / 8 / 64**2, which the table halves: 1.54 LSB for tanh
    and, with half the second derivative, 0.77 LSB for sigmoid(2 u). The rest is the table's own rounding.
    """
    frac_bits = GATE_FRAC_BITS
    argument = np.arange(-(8 << frac_bits), 8 << frac_bits, 997)
    exact = EXACT[function](argument / 2.0**frac_bits) * 2.0**GATE_FRAC
    error = ActivationTable.compute(function, argument, frac_bits) - exact
    assert np.abs(error).max() < bound
    assert abs(error.mean()) < 0.25


@pytest.mark.parametrize("function", ["tanh", "sigmoid"])
def test_values_stay_in_range(function):
    """No argument, however far out, wraps; an open gate is exactly 1; beyond the table its last values stay."""
    arguments = np.concatenate(
        [np.arange(-(9 << 19), 9 << 19, 7) << (GATE_FRAC_BITS - 19), edges(GATE_FRAC_BITS, ACC_BITS)]
    )
    values = ActivationTable.compute(function, arguments, GATE_FRAC_BITS)
    assert values.max() == {"tanh": (1 << GATE_FRAC) - 1, "sigmoid": 1 << GATE_FRAC}[function]
    assert values.min() >= {"tanh": -(1 << GATE_FRAC), "sigmoid": 0}[function]
    below = values[arguments < -(8 << GATE_FRAC_BITS)]
    above = values[arguments >= 8 << GATE_FRAC_BITS]
    assert len(set(below.tolist())) == len(set(above.tolist())) == 1


def test_argument_saturates_at_eight():
    """The largest argument is one step below +8, the smallest is -8, and both are kept."""
    step = 1 << (GATE_FRAC_BITS - 19)
    eight = 8 << GATE_FRAC_BITS
    arguments = [eight - step, eight, 1 << 47, -eight, -eight - 1]
    index, fraction = ActivationTable.argument(arguments, GATE_FRAC_BITS)
    word = (index << 13 | fraction).tolist()
    assert word == [(1 << (argument_bits - 1)) - 1] * 3 + [1 << (argument_bits - 1)] * 2

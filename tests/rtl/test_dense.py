"""The dense unit against its integer model, and the model against the functions."""

import dataclasses

import numpy as np
import pytest

from rtl_bench import WithTables, make_config, play, random_signed
from spiccato.isa.activation import FACTOR_FRAC_BITS, Function
from spiccato.layers import ACTIVATIONS
from spiccato.numbers import ACC_BITS, GATE_FRAC_BITS, GATES, H_FRAC_BITS
from spiccato.rtl.dense import DenseTable, DenseUnit

pytestmark = pytest.mark.fast

_ENDS = [(1 << (ACC_BITS - 1)) - 1, -(1 << (ACC_BITS - 1)), 0, -1]


def make(**more):
    return DenseUnit(dataclasses.replace(make_config(**more), epilogues=("lstm", "dense")))


@pytest.mark.parametrize(
    "family, profile", [("portable", "aggressive"), ("ecp5", "aggressive"), ("portable", "conservative")]
)
def test_unit_is_its_model(family, profile):
    """Slots of random functions, as close as they may be or further apart, with random and extreme sums."""
    rng = np.random.default_rng(3)
    unit = make(family=family, profile=profile)
    slots = 150
    near = rng.integers(-(2 << GATE_FRAC_BITS), 2 << GATE_FRAC_BITS, (GATES, slots))
    acc = np.select(
        [rng.integers(4, size=(GATES, slots)) == 0, rng.integers(4, size=(GATES, slots)) == 0],
        [rng.choice(_ENDS, (GATES, slots)), random_signed(rng, ACC_BITS - 10, (GATES, slots))],
        near,
    )
    settings = [
        {
            "function": int(rng.integers(len(Function))),
            "shift": int(rng.integers(8)),
            "factor": int(rng.integers((1 << FACTOR_FRAC_BITS) + 1)),
            "marks": int(rng.integers(2)),
        }
        for _ in range(slots)
    ]
    at = np.cumsum(rng.integers(GATES, GATES + 3, slots))
    drive = [dict.fromkeys(("dense", *(f"acc_{row}" for row in range(GATES))), 0) for _ in range(at[-1] + GATES)]
    for slot, cycle in enumerate(at):
        drive[cycle] |= {f"acc_{row}": int(acc[row, slot]) for row in range(GATES)} | settings[slot]
        drive[cycle]["dense"] = (1 << len(unit.dense)) - 1
    seen = play(WithTables(unit, {"table": DenseTable}), drive, ["h", "saturated"], drain=unit.latency)
    for slot, cycle in enumerate(at):
        h = DenseUnit.compute(acc[:, slot], **computing(settings[slot]))
        assert seen["h"][cycle + unit.latency :][:GATES].tolist() == h.tolist(), settings[slot]
        marked = seen["saturated"][cycle + unit.saturated_latency :][:GATES].any()
        assert marked == DenseUnit.saturates(acc[:, slot], **marking(settings[slot])), settings[slot]


def computing(settings):
    return {name: settings[name] for name in ("function", "shift", "factor")}


def marking(settings):
    return {name: settings[name] for name in ("function", "shift", "marks")}


def integers(values, frac_bits):
    return np.rint(np.ldexp(values, frac_bits)).astype(np.int64)


@pytest.mark.parametrize(
    "name, function, gain, alpha, scales",
    [
        ("identity", Function.LINEAR, 1, None, (0, 1, 3, 6)),
        ("relu", Function.RELU, 1, None, (0, 1, 3, 6)),
        ("leaky_relu", Function.LEAKY, 1, 0.3, (0, 1, 3, 6)),
        ("sigmoid", Function.SIGMOID, 0.5, None, (0,)),
        ("tanh", Function.TANH, 1, None, (0,)),
        ("elu", Function.ELU, 1, 1.7, (1, 3, 6)),
        ("silu", Function.SILU, 0.5, None, (1, 3, 6)),
        ("gelu", Function.GELU, 1, None, (0, 1, 3, 6)),
    ],
)
def test_model_is_the_function(name, function, gain, alpha, scales):
    """Within a few LSB of what h can hold; no more is marked, and all that is beyond."""
    for log2 in scales:
        check_function(name, function, gain, alpha, log2)


def check_function(name, function, gain, alpha, log2):
    one = ACTIVATIONS[name]
    x = np.linspace(-(2.0**log2), 2.0**log2, 4001)[1:-1] * (8 if one.bounded else 1)
    factor = 0 if alpha is None else alpha / 2**log2 if name == "elu" else alpha
    settings = {
        "function": int(function),
        "shift": log2 - (name == "silu"),
        "factor": int(integers(factor, FACTOR_FRAC_BITS)),
        "marks": 1,
    }
    if one.bounded:
        settings["shift"] = 7
    acc = integers(gain * x, GATE_FRAC_BITS)[None].repeat(GATES, 0)
    h = DenseUnit.compute(acc, **computing(settings))
    expected = np.clip(one(x, alpha) / 2**log2, -1, 1 - 2.0**-H_FRAC_BITS)
    # Below -8 the table has come to its end.
    tail = np.exp(-8.0) * factor * (x < -8) if name == "elu" else 0
    assert (np.abs(h[0] / 2.0**H_FRAC_BITS - expected) <= 4 * 2.0**-H_FRAC_BITS + tail).all()
    settings = marking(settings)
    assert not DenseUnit.saturates(acc, **settings)
    beyond = integers(np.array([[1.1 * gain * 2.0**log2]] * GATES), GATE_FRAC_BITS)
    if not one.bounded:
        assert DenseUnit.saturates(beyond, **settings)
        assert not DenseUnit.saturates(beyond, **settings | {"marks": 0})
        assert DenseUnit.saturates(-beyond, **settings) == (function not in (Function.RELU, Function.ELU))

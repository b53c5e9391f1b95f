"""The cell unit as of all kinds, against its integer models, and the GRU's model against the formula."""

import dataclasses

import numpy as np
import pytest

from rtl_bench import WithTables, make_config, play, random_signed
from spiccato.isa.activation import Function
from spiccato.numbers import ACC_BITS, C_BITS, GATE_FRAC, GATE_FRAC_BITS, VECTOR_BITS, join_remainder, split_remainder
from spiccato.rtl.cell import CellUnit
from spiccato.rtl.cell_kinds import GRU, Dense

pytestmark = pytest.mark.fast

_EXACT = 26
_ENDS = [(1 << (ACC_BITS - 1)) - 1, -(1 << (ACC_BITS - 1)), 0]


def config(**more):
    return dataclasses.replace(make_config(**more), epilogues=("lstm", "gru"))


@pytest.mark.parametrize(
    "family, profile", [("portable", "aggressive"), ("ecp5", "aggressive"), ("portable", "conservative")]
)
def test_unit_is_its_models(family, profile):
    """Units of both kinds in turn at random, one a cycle, with random and extreme sums and states."""
    rng = np.random.default_rng(1)
    acc = np.concatenate(
        [
            random_signed(rng, ACC_BITS, (4, 150)),
            rng.choice(_ENDS, (4, 100)),
            rng.integers(-(6 << GATE_FRAC_BITS), 6 << GATE_FRAC_BITS, (4, 300)),
        ],
        axis=1,
    )
    count = acc.shape[1]
    c_old = random_signed(rng, C_BITS, count)
    gru = rng.integers(2, size=count)
    unit = CellUnit(config(family=family, profile=profile))
    drive = [{} for _ in range(count + unit.gate_latency)]
    for n in range(count):
        drive[n] |= {f"acc_{gate}": int(acc[k, n]) for k, gate in enumerate("ifgo")} | {"gru": int(gru[n])}
        drive[n + unit.gate_latency]["c_old"] = int(c_old[n])
    seen = play(unit, drive, ["c", "h"], drain=unit.latency - unit.gate_latency)
    expected = np.where(gru, GRU.compute(acc, c_old), CellUnit.compute(acc, c_old))
    assert seen["c"][unit.c_latency :][:count].tolist() == expected[0].tolist()
    assert seen["h"][unit.latency :][:count].tolist() == expected[1].tolist()


@pytest.mark.parametrize("profile", ["aggressive", "conservative"])
@pytest.mark.parametrize("kinds", [("lstm", "gru", "dense"), ("dense", "lstm")])
def test_units_of_all_kinds(kinds, profile):
    """One after the other, but that the slot behind a dense one comes four cycles later: h, c and marks."""
    rng = np.random.default_rng(4)
    count = 200
    made = {"lstm": CellUnit, "gru": GRU, "dense": Dense}
    drawn = [str(kind) for kind in rng.choice(kinds, count)]
    acc = rng.integers(-(2 << GATE_FRAC_BITS), 2 << GATE_FRAC_BITS, (4, count))
    c_old = random_signed(rng, C_BITS, count)
    unit = CellUnit(dataclasses.replace(make_config(profile=profile), epilogues=kinds))
    at = np.cumsum([4 if kind == "dense" else 1 for kind in ["lstm", *drawn[:-1]]])
    drive = [{**dict.fromkeys(unit.selects, 0)} for _ in range(at[-1] + unit.gate_latency + 1)]
    settings = {"function": 0, "shift": 1, "factor": 50000, "marks": 1}
    expected, marked = {}, {}
    for n, kind in enumerate(drawn):
        drive[at[n]] |= {f"acc_{gate}": int(acc[k, n]) for k, gate in enumerate("ifgo")}
        own = {}
        if kind == "dense":
            own = settings | {"function": int(rng.integers(len(Function)))}
            marked[at[n]] = Dense.saturates(acc[:, n], **own)
            drive[at[n]] |= own
        if kind in unit.selects:
            drive[at[n]][kind] = (1 << len(getattr(unit, kind))) - 1
        drive[at[n] + unit.gate_latency]["c_old"] = int(c_old[n])
        c, h = made[kind].compute(acc[:, n], c_old[n], **own)
        expected |= {at[n] + turn: value for turn, value in enumerate(np.atleast_1d(h).tolist())}
        if c is not None:
            expected[at[n], "c"] = int(c)
    seen = play(WithTables(unit, unit.tables), drive, ["c", "h", "saturated"], drain=unit.latency + 4)
    for key, value in expected.items():
        cycle, name = key if isinstance(key, tuple) else (key, "h")
        assert seen[name][cycle + (unit.c_latency if name == "c" else unit.latency)] == value, key
    for cycle, value in marked.items():
        assert seen["saturated"][cycle + unit.saturated_latency :][:4].any() == value


def test_gru_takes_no_more_cycles():
    """And an LSTM none more than without it."""
    alone = CellUnit(make_config())
    for kinds in (("lstm", "gru"), ("lstm", "dense"), ("lstm", "gru", "dense")):
        beside = dataclasses.replace(make_config(), epilogues=kinds)
        assert {make(beside).latency for make in (CellUnit, GRU, Dense)} == {alone.latency}


def test_state_is_h_and_its_remainder():
    """Zero is zero, and no unit that keeps its h changes it: neither a little nor at the ends."""
    exact = np.array([0, 1, -1, 255, -256, 12345678, -12345678, (1 << 26) - 1, -(1 << 26)])
    state = join_remainder(exact)
    h, remainder = split_remainder(state)
    expected = np.minimum(exact, (1 << 26) - 257)
    assert ((h << 9) + remainder).tolist() == expected.tolist() and state[0] == 0
    keep = np.array([_ENDS[0], 0, 0, 0])[:, None].repeat(len(exact), axis=1)
    c, new_h = GRU.compute(keep, state)
    assert (c.tolist(), new_h.tolist()) == (state.tolist(), h.tolist())


def test_model_is_a_gru():
    """Against float64: h within some LSB of 2**-17, r's error being times |n_h|; its range cannot be left."""
    rng = np.random.default_rng(2)
    sums = rng.uniform(-6, 6, (4, 20000))
    acc = np.rint(sums * np.array([0.5, 0.5, 1, 1])[:, None] * 2.0**GATE_FRAC_BITS).astype(np.int64)
    old = rng.uniform(-1, 1, sums.shape[1])
    state = join_remainder(np.rint(old * 2.0**_EXACT))
    c, h = GRU.compute(acc, state)
    z, r = 1 / (1 + np.exp(-sums[:2]))
    expected = (1 - z) * np.tanh(sums[2] + r * sums[3]) + z * old
    assert np.abs(h / 2.0**GATE_FRAC - expected).max() < 14 * 2.0**-GATE_FRAC
    new_h, remainder = split_remainder(c)
    assert (new_h == h).all() and np.abs(remainder).max() <= 256
    ends = np.array(np.meshgrid(_ENDS, _ENDS, _ENDS, _ENDS, [0, -(1 << 26), (1 << 26) - 1])).reshape(5, -1)
    _, h = GRU.compute(ends[:4], join_remainder(ends[4]))
    assert np.abs(2 * h + 1).max() <= (1 << VECTOR_BITS) - 1

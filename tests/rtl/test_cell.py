"""The cell unit against its integer model, and the model against the LSTM cell's formula."""

import numpy as np
import pytest

from rtl_bench import make_config, play, random_signed
from spiccato.numbers import ACC_BITS, C_BITS, C_FRAC_BITS, GATE_FRAC, GATE_FRAC_BITS
from spiccato.rtl.cell import CellUnit

pytestmark = pytest.mark.fast

C_MAX = (1 << (C_BITS - 1)) - 1


def run(acc, c_old, family="portable", profile="aggressive"):
    """The hardware's c and h for accumulators ``acc`` (4, n) and old states ``c_old`` (n), one a cycle."""
    unit = CellUnit(make_config(family=family, profile=profile))
    count = len(c_old)
    drive = [{} for _ in range(count + unit.gate_latency)]
    for n in range(count):
        drive[n] |= {f"acc_{gate}": int(acc[k, n]) for k, gate in enumerate("ifgo")}
        drive[n + unit.gate_latency]["c_old"] = int(c_old[n])
    seen = play(unit, drive, ["c", "h"], drain=unit.latency - unit.gate_latency)
    return seen["c"][unit.c_latency :][:count].tolist(), seen["h"][unit.latency :][:count].tolist()


@pytest.mark.parametrize(
    "family, profile", [("portable", "aggressive"), ("ecp5", "aggressive"), ("portable", "conservative")]
)
@pytest.mark.parametrize("seed", [1, 2])
def test_cell_is_its_model(seed, family, profile):
    """Random and extreme accumulators and states, another one each cycle."""
    rng = np.random.default_rng(seed)
    acc = np.concatenate(
        [random_signed(rng, ACC_BITS, (4, 200)), rng.integers(-(6 << GATE_FRAC_BITS), 6 << GATE_FRAC_BITS, (4, 300))],
        axis=1,
    )
    c_old = random_signed(rng, C_BITS, acc.shape[1])
    c, h = CellUnit.compute(acc, c_old)
    assert run(acc, c_old, family, profile) == (c.tolist(), h.tolist())


def test_the_conservative_profile_adds_ten_cycles():
    """Table addresses and interpolations twice, and two stages of products."""
    aggressive, conservative = (CellUnit(make_config(profile=profile)) for profile in ("aggressive", "conservative"))
    assert conservative.gate_latency - aggressive.gate_latency == 1 + 2
    assert conservative.latency - aggressive.latency == 2 * 1 + 2 * 2 + 2 + 2


def test_state_saturates():
    """An open forget gate at the ends of the range: c stays there, and neither c nor h changes sign."""
    full, empty = (1 << (ACC_BITS - 1)) - 1, -(1 << (ACC_BITS - 1))
    c_old = np.array([C_MAX, C_MAX - 1000, -C_MAX - 1, -C_MAX + 1000])
    acc = np.array([[full] * 4, [full] * 4, [full, full, empty, empty], [full] * 4])  # gates i, f, g, o
    c, h = CellUnit.compute(acc, c_old)
    assert run(acc, c_old) == (c.tolist(), h.tolist())
    assert c[[0, 2]].tolist() == [C_MAX, -C_MAX - 1]
    assert (np.sign(h) == np.sign(c)).all()


@pytest.mark.parametrize("seed", [1])
def test_model_is_an_lstm_cell(seed):
    """Against float64: h within a few LSB of 2**-17, c likewise, whose errors the gates' are times |c|."""
    rng = np.random.default_rng(seed)
    z = rng.uniform(-6, 6, (4, 20000))
    z_acc = np.rint(z * np.array([0.5, 0.5, 1, 0.5])[:, None] * 2.0**GATE_FRAC_BITS).astype(np.int64)
    c_old = rng.uniform(-3, 3, z.shape[1])
    c_int, h_int = CellUnit.compute(z_acc, np.rint(c_old * 2.0**C_FRAC_BITS).astype(np.int64))
    i, f, o = (1 / (1 + np.exp(-z[k])) for k in (0, 1, 3))
    c = f * c_old + i * np.tanh(z[2])
    assert np.abs(c_int / 2.0**C_FRAC_BITS - c).max() < 6 * 2.0**-C_FRAC_BITS
    assert np.abs(h_int / 2.0**GATE_FRAC - o * np.tanh(c)).max() < 6 * 2.0**-GATE_FRAC

"""A memory that two readers share."""

import numpy as np
import pytest

from rtl_bench import play
from spiccato.rtl.shared_memory import SharedRam

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("banks", [1, 3])
def test_two_readers(banks):
    """Each half is read through its own port; a write takes the first one's, and the second one still reads."""
    rng = np.random.default_rng(1)
    width, depth = 9, 8
    ram = SharedRam("ram_test", width=width, depth=depth, banks=banks, style="ultra", preload="weights")
    content = np.zeros((banks, 2 * depth), dtype=np.int64)
    stimulus, expected = [], []
    for _ in range(300):
        w_en = int(rng.integers(1 << banks)) if rng.random() < 0.5 else 0
        addr_0 = int(rng.integers(2 * depth if w_en else depth))
        addr_1 = int(rng.integers(depth))
        if addr_0 == depth + addr_1:  # left open
            w_en, addr_0 = 0, 0
        data = int(rng.integers(1 << width))
        # What the first port reads while it writes is left open, too.
        expected.append(
            [
                (None if w_en >> bank & 1 else content[bank, addr_0], content[bank, depth + addr_1])
                for bank in range(banks)
            ]
        )
        for bank in range(banks):
            if w_en >> bank & 1:
                content[bank, addr_0] = data
        stimulus.append({"w_en": w_en, "w_data": data, "addr_0": addr_0, "addr_1": addr_1})
    seen = play(ram, stimulus, ["r_data"], drain=ram.latency)["r_data"][ram.latency :]
    for word, banks_expected in zip(seen.tolist(), expected):
        for number, value in enumerate(value for pair in banks_expected for value in pair):
            assert value is None or word >> number * width & ((1 << width) - 1) == value


def test_a_half_is_a_power_of_two():
    with pytest.raises(ValueError, match="not 12"):
        SharedRam("ram_test", width=8, depth=12, banks=1, style="ultra", preload="weights")

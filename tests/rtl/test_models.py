"""The table of the models: entries from the load bus, for all users alike."""

import numpy as np
import pytest

from rtl_bench import make_config, simulate
from spiccato.isa.load import RecordKind, model_word
from spiccato.rtl.models import ModelTable

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("models", [1, 4, 16])
def test_load(models):
    """An entry is there ``load_latency`` cycles after the bus; words for other memories change none."""
    rng = np.random.default_rng(1)
    config = make_config(models=models)
    part = ModelTable(config, users=3)
    word = model_word(config)
    expected = {}

    async def testbench(ctx):
        due = {}
        for cycle in range(150):
            entry = {field.name: int(rng.integers(1 << field.width)) for field in word}
            target = RecordKind(int(rng.choice([RecordKind.MODELS] * 2 + [RecordKind.HEADS, RecordKind.CONTEXTS])))
            enable, addr = int(rng.random() < 0.8), int(rng.integers(models + 1))
            garbage = int(rng.integers(1 << 16)) << word.size
            bus = {"enable": enable, "target": target, "core": int(rng.integers(16)), "addr": addr}
            ctx.set(part.load, bus | {"data": word.pack(**entry) | garbage})
            if enable and target is RecordKind.MODELS and addr < models:
                due[cycle + part.load_latency] = addr, entry
            if cycle in due:
                number, seen = due[cycle]
                expected[number] = seen
            for table in part.tables:
                for number, values in expected.items():
                    assert {name: ctx.get(getattr(table[number], name)) for name in values} == values, (cycle, number)
            await ctx.tick()

    simulate(part, testbench)
    assert len(expected) == models

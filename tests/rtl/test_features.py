"""Features: those of every beat are there when it comes, and chosen, for packets of any models and lengths."""

import numpy as np
import pytest

from rtl_bench import make_config, simulate
from spiccato.isa.load import feature_word
from spiccato.rtl.features import Features

pytestmark = pytest.mark.fast


class Bench:
    """Features with random contents, and packets of beats that are taken."""

    def __init__(self, config, rng, beats):
        self.config, self.rng = config, rng
        self.beat_bits = max(1, (config.input_blocks * config.beats_per_block - 1).bit_length())
        self.part = Features(config, self.beat_bits, choices=3)
        width = feature_word.size * config.beat_values
        self.beats = beats  # of a packet of each model
        self.contents = [[int.from_bytes(rng.bytes(width // 8 + 1)) >> 8 - width % 8 for _ in range(n)] for n in beats]

    async def load(self, ctx):
        part = self.part
        entries = [(m, b, word) for m, words in enumerate(self.contents) for b, word in enumerate(words)]
        ctx.set(part.clear, 1)
        ctx.set(part.w_en, 1)
        for n in self.rng.permutation(len(entries)):
            model, beat, word = entries[n]
            ctx.set(part.w_addr, model << self.beat_bits | beat)
            ctx.set(part.w_data, word)
            await ctx.tick()
        ctx.set(part.w_en, 0)
        await ctx.tick().repeat(part.load_latency)
        ctx.set(part.clear, 0)

    async def cycle(self, ctx, beat=None):
        """A cycle with a beat (model, its number, whether it ends the packet), or none.

        What it may have is there with it and a cycle later, when which it has is known: everywhere the same.
        """
        part, rng = self.part, self.rng
        model, number, ends = beat or (None, None, int(rng.integers(2)))
        ctx.set(part.take, (1 << len(part.take)) - 1 if beat else 0)
        ctx.set(part.ends, ends)
        # Of later beats the model is not there any more.
        anything = int(rng.integers(1 << self.config.model_bits))
        for port in part.model:
            ctx.set(port, int(model) if number == 0 else anything)

        def there():
            early = [[ctx.get(words.as_value()) for words in models] for models in part.early]
            return early, [ctx.get(words.as_value()) for words in part.inner]

        arrived = there()
        await ctx.tick()
        if beat:
            for choice in part.choice:
                for early, inner in (arrived, there()):
                    odd = ctx.get(choice.odd)
                    word = inner[odd] if ctx.get(choice.inner) else early[odd][ctx.get(choice.model)]
                    assert word == self.contents[model][number], (model, number)

    async def packet(self, ctx, model, pause=0.0, beats=None):
        """All its beats, or the first ``beats`` ones; pauses before each with probability ``pause``."""
        last = self.beats[model] - 1
        for number in range(last + 1 if beats is None else beats):
            while self.rng.random() < pause:
                await self.cycle(ctx)
            await self.cycle(ctx, (model, number, int(number == last)))


#: Models' beats; ``io_format``, ``block``, ``input_blocks``.
SHAPES = [
    ([1], "bfloat16", 4, 2),
    ([2], "bfloat16", 4, 2),
    ([1, 2, 3, 8], "bfloat16", 4, 8),
    ([5, 1, 4, 1, 2, 64, 63, 33], "bfloat16", 8, 64),
    ([2, 4, 16, 6], "float32", 8, 8),
    ([3, 32] * 8, "bfloat16", 16, 32),
]


@pytest.mark.parametrize("profile", ["aggressive", "conservative"])
@pytest.mark.parametrize("beats, io_format, block, input_blocks", SHAPES)
def test_every_pair(beats, io_format, block, input_blocks, profile):
    """A packet of each model behind one of each, a beat in every cycle; then with pauses."""
    rng = np.random.default_rng(1)
    config = make_config(
        models=len(beats), io_format=io_format, block=block, input_blocks=input_blocks, profile=profile
    )
    bench = Bench(config, rng, beats)

    async def testbench(ctx):
        await bench.load(ctx)
        for pause in (0.0, 0.4):
            pairs = [(a, b) for a in range(len(beats)) for b in range(len(beats))][:64]
            for n in rng.permutation(len(pairs)):
                for model in pairs[n]:
                    await bench.packet(ctx, model, pause)

    simulate(bench.part, testbench)


@pytest.mark.parametrize("seed", [1, 2])
def test_clear(seed):
    """After a clear the next beat is a packet's first, however far the one before had come."""
    rng = np.random.default_rng(seed)
    beats = [1, 2, 3, 9]
    bench = Bench(make_config(models=4, input_blocks=16), rng, beats)

    async def testbench(ctx):
        await bench.load(ctx)
        for _ in range(150):
            cut = int(rng.integers(len(beats)))
            await bench.packet(ctx, cut, beats=int(rng.integers(beats[cut] + 1)))
            for _ in range(int(rng.choice([0, 0, 1, 3]))):
                await bench.cycle(ctx)
            ctx.set(bench.part.clear, 1)
            for _ in range(int(rng.integers(1, 4))):
                await bench.cycle(ctx)
            ctx.set(bench.part.clear, 0)
            for _ in range(2):
                await bench.packet(ctx, int(rng.integers(len(beats))))

    simulate(bench.part, testbench)


def test_reload():
    """Words of one beat of one model are written without touching any others, while nothing is taken."""
    rng = np.random.default_rng(1)
    beats = [1, 4, 7, 8]
    bench = Bench(make_config(models=4), rng, beats)

    async def testbench(ctx):
        await bench.load(ctx)
        for _ in range(40):
            model = int(rng.integers(4))
            beat = int(rng.integers(beats[model]))
            word = bench.contents[model][beat] ^ ((1 << 20) - 1)
            bench.contents[model][beat] = word
            ctx.set(bench.part.w_en, 1)
            ctx.set(bench.part.w_addr, model << bench.beat_bits | beat)
            ctx.set(bench.part.w_data, word)
            await bench.cycle(ctx)
            ctx.set(bench.part.w_en, 0)
            for _ in range(bench.part.load_latency):
                await bench.cycle(ctx)
            for model in rng.permutation(4):
                await bench.packet(ctx, int(model))

    simulate(bench.part, testbench)

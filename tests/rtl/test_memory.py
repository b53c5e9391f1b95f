"""Memories: what is read, when, and after which writes."""

import numpy as np
import pytest

from rtl_bench import play, simulate
from spiccato.rtl.memory import DistributedRam, Ram, Rom

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("banks, shared_data", [(1, False), (3, False), (3, True)])
def test_ram_reads_what_was_written_before(banks, shared_data, seed):
    """Random writes with bank enables, and reads: ``r_data`` is the content before the read's cycle."""
    rng = np.random.default_rng(seed)
    width, depth = 9, 13
    ram = Ram("ram_test", width=width, depth=depth, banks=banks, shared_data=shared_data)
    content = [[0] * depth for _ in range(banks)]
    stimulus, expected = [], []
    for _ in range(300):
        w_en, w_addr, r_addr = (int(rng.integers(n)) for n in (1 << banks, depth, depth))
        if w_addr == r_addr:  # left open
            w_en = 0
        w_data = int(rng.integers(1 << len(ram.w_data)))
        expected.append(sum(content[bank][r_addr] << width * bank for bank in range(banks)))
        for bank in range(banks):
            if w_en >> bank & 1:
                content[bank][w_addr] = (w_data >> (0 if shared_data else width * bank)) & ((1 << width) - 1)
        stimulus.append({"w_en": w_en, "w_addr": w_addr, "w_data": w_data, "r_addr": r_addr})
    seen = play(ram, stimulus, ["r_data"], drain=ram.latency)["r_data"]
    assert seen[ram.latency :].tolist() == expected


def test_distributed_ram_reads_at_once():
    """A written word is there in the next cycle, and a new address shows its word in the same cycle."""
    ram = DistributedRam("ram_test", width=8, depth=10)

    async def testbench(ctx):
        for addr in range(10):
            ctx.set(ram.w_en, 1)
            ctx.set(ram.w_addr, addr)
            ctx.set(ram.w_data, 100 + addr)
            ctx.set(ram.r_addr, addr)
            assert ctx.get(ram.r_data) == 0
            await ctx.tick()
            assert ctx.get(ram.r_data) == 100 + addr
        ctx.set(ram.w_en, 0)
        for addr in range(10):
            ctx.set(ram.r_addr, addr)
            assert ctx.get(ram.r_data) == 100 + addr

    simulate(ram, testbench)
    assert DistributedRam.latency == 0


def test_distributed_ram_refuses_large_depths():
    """More than 256 words belong into a memory with a registered output."""
    with pytest.raises(ValueError, match="257"):
        DistributedRam("ram_test", width=8, depth=257)


@pytest.mark.parametrize("seed", [1])
def test_rom_ports_are_independent(seed):
    """Each port reads its own address, ``latency`` cycles later."""
    rng = np.random.default_rng(seed)
    contents = rng.integers(1 << 12, size=64)
    rom = Rom("rom_test", contents=contents, width=12, ports=2)
    addr = rng.integers(64, size=(50, 2))
    stimulus = [{"addr0": int(a), "addr1": int(b)} for a, b in addr]
    seen = play(rom, stimulus, ["data0", "data1"], drain=rom.latency)
    for port in range(2):
        assert seen[f"data{port}"][rom.latency :].tolist() == contents[addr[:, port]].tolist()

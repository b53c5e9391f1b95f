"""Boards: their facts, what their configurations take, and the search for better ones."""

import dataclasses
import itertools
import json
import re
import subprocess

import numpy as np
import pytest
from amaranth.hdl import ClockDomain, Elaboratable, Module, Signal

from spiccato import registry
from spiccato.config import Config
from spiccato.errors import BoardError, ConfigError
from spiccato.families import FAMILIES
from spiccato.numbers import VECTOR_BITS
from spiccato.registry import configuration
from spiccato.rtl.dsp import Multiply, MultiplyAdd, SumOfProducts
from spiccato.rtl.memory import Ram, Rom
from spiccato.rtl.serial.system import SerialSystem
from spiccato.verilog import generate_verilog
from spiccato_boards import boards, find
from spiccato_boards.board import RECALLED, Board, Resources
from spiccato_boards.flows.ecp5 import ECP5
from spiccato_boards.flows.tools import tool_command
from spiccato_boards.flows.vivado import VIVADO
from spiccato_boards.resources import census, check, estimate, logic_registers, memory_blocks, products
from spiccato_sim.analysis.search import own_latencies, search
from spiccato_sim.models.zoo import random_network


@pytest.mark.parametrize("board", boards().values(), ids=boards())
def test_facts(board):
    assert find(board.name) is board is find(board) and board.config is configuration(board.name)
    assert FAMILIES[board.family.name] is board.family
    assert all(count > 0 for count in board.resources.counts.values())
    assert board.part == board.platform.part
    assert set(board.recalled) == {fact for fact, source in board.sources.items() if source == RECALLED}


def test_top():
    """What has pins of its own around the accelerator is judged with it, in the profile that is asked for."""
    serial = find("ulx3s", "conservative").top
    assert isinstance(serial, SerialSystem) and serial.config == configuration("ulx3s", profile="conservative")
    assert registry.find("test4").top is find("ia420f").top is find("v80").top is None


@pytest.mark.parametrize("board", boards().values(), ids=boards())
def test_platforms_write_build_files(board):
    """As amaranth-boards' smoke tests: a design goes through to all files without the tools."""

    class Counter(Elaboratable):
        def elaborate(self, platform):
            m = Module()
            m.domains.sync = ClockDomain()
            count = Signal(8)
            m.d.sync += count.eq(count + 1)
            return m

    plan = board.platform().build(Counter(), "counter", do_build=False)
    script = plan.files["build_counter.sh"]
    if board.family.name == "ecp5":
        assert "--85k --package CABGA381 --speed 6" in script
        return
    assert board.part in "".join(map(str, plan.files.values()))
    if board.family.name == "agilex7":
        assert "QUARTUS_SYN" in script and "QUARTUS_MAP" not in script
    elif board.family.name == "versal":
        assert "write_device_image" in plan.files["counter.tcl"] and "write_bitstream" not in plan.files["counter.tcl"]


MEDIUM = Config(name="medium", cores=1, block=16, weight_depth=4096)
SMALL_ECP5 = dataclasses.replace(configuration("test4"), family="ecp5")
#: yosys' name of each family that it knows; its cells: DSP blocks, and memory blocks in halves; whether the whole
#: design is read, or, where yosys takes long, each kind of part once; what it is tried on.
YOSYS = {
    "ultrascaleplus": (
        "synth_xilinx -family xcup",
        {"DSP48E2": 1},
        {"bram36": {"RAMB18E2": 1, "RAMB36E2": 2}, "uram": {"URAM288": 2}},
        False,
        (configuration("test8"), MEDIUM),
    ),
    "ecp5": (
        "synth_ecp5 -noflatten",
        {"MULT18X18D": 1},
        {"dp16kd": {"DP16KD": 2}},
        True,
        (SMALL_ECP5, configuration("ulx3s")),
    ),
}


def write_netlists(folder, configs, family, whole):
    """Both accelerators under one top module, ``both``, so that yosys reads its libraries once.

    If not ``whole``, only the parts that are made of DSP or memory blocks, each once.
    """
    instances = ""
    for config in configs:
        texts = generate_verilog(config, family)
        modules = [name.removesuffix(".v") for name in texts if name.endswith(".v")]
        if not whole:
            modules = [
                part.module
                for part, _, _ in census(config).values()
                if isinstance(part, (Ram, Rom, Multiply, MultiplyAdd, SumOfProducts))
            ]
        renamed = re.compile(rf"\b({'|'.join(modules)})\b")
        for module in modules:
            (folder / f"{config.name}_{module}.v").write_text(renamed.sub(rf"{config.name}_\1", texts[f"{module}.v"]))
        for module in ["spiccato_accelerator"] if whole else modules:
            instances += f"  (* keep *) {config.name}_{module} {config.name}_{module}_0 ();\n"
    (folder / "both.v").write_text(f"module both;\n{instances}endmodule\n")


@pytest.mark.long
@pytest.mark.parametrize("name", YOSYS)
def test_blocks_are_those_that_yosys_finds(name, tmp_path):
    """Each kind of part: its instances, its DSP blocks and its memory blocks; then the sums of the estimate."""
    command, dsp_cells, memory_cells, whole, configs = YOSYS[name]
    family = FAMILIES[name]
    write_netlists(tmp_path, configs, name, whole)
    script = (
        f"read_verilog {' '.join(sorted(path.name for path in tmp_path.glob('*.v')))}; "
        f"{command} -top both -run begin:map_ffram; tee -q -o {name}.json stat -json"
    )
    subprocess.run([*tool_command("yosys"), "-q", "-p", script], cwd=tmp_path, check=True)
    stat = json.loads((tmp_path / f"{name}.json").read_text())["modules"]
    cells = {
        module.lstrip("\\"): {kind.lstrip("\\"): count for kind, count in data["num_cells_by_type"].items()}
        for module, data in stat.items()
    }

    def instances(module, kind):
        return (module == kind) + sum(
            count * instances(inner, kind) for inner, count in cells[module].items() if inner in cells
        )

    board = dataclasses.replace(
        find("ia840f"),
        configurations={"default": dataclasses.replace(find("ia840f").config, family=name)},
        resources=Resources(10**9, 10**9, dict.fromkeys(family.memory, 10**9)),
        sources=dict.fromkeys(("part", "logic", "dsp", *family.memory), RECALLED),
    )
    for config in configs:
        dsp, memory = 0, dict.fromkeys(family.memory, 0)
        for part, count, _ in census(config).values():
            module = f"{config.name}_{part.module}"
            if whole:
                assert instances("both", module) == count, module
            if isinstance(part, (Ram, Rom)):
                which, blocks = memory_blocks(part, family)
                halves = {
                    block: sum(cells[module].get(cell, 0) * size for cell, size in sizes.items())
                    for block, sizes in memory_cells.items()
                }
                assert halves == dict.fromkeys(halves, 0) | {which: 2 * blocks}, module
                memory[which] += count * blocks
            dsp += count * sum(cells.get(module, {}).get(cell, 0) for cell in dsp_cells)
        needed = estimate(config, board)
        assert (needed.dsp, needed.memory) == (dsp, memory)
        assert dsp >= products(config) > config.multipliers


def test_a_memory_of_less_than_half_a_block_takes_half():
    """Two of Versal's small memories share a block."""
    small = Ram("ram_small", width=36, depth=64, banks=3)
    assert memory_blocks(small, FAMILIES["versal"]) == ("bram36", 1.5)
    assert memory_blocks(small, FAMILIES["agilex7"]) == ("m20k", 3)


def test_unknown_board_names_the_known_ones():
    with pytest.raises(
        BoardError,
        match=r"unknown board 'u250'; known: ia420f, ia420f-fast, ia420f-kinds, ia420f-windows, ia840f, ia840f-fast, "
        r"ia840f-kinds, test4, test8, ulx3s, ulx3s-fast, ulx3s-kinds, v80, v80-fast, v80-kinds, or",
    ):
        find("u250")


def test_a_configuration_for_simulation_only_is_no_board():
    assert not {"test4", "test8"} & set(boards())
    with pytest.raises(BoardError, match=r"'test4' is for simulation only, it has no device; boards: ulx3s, "):
        find("test4")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resources": Resources(1, 1, {"uram": 1})}, "memory kinds must be m20k, not uram"),
        ({"configurations": {"default": "ia420f"}}, "configuration 'default' must be a Config, not 'ia420f'"),
        ({"flow": VIVADO}, "Vivado does not build the shell 'bringup'"),
        ({"flow": ECP5}, "nextpnr-ecp5 does not build the shell 'out_of_context'"),
        ({"platform": find("ia840f").platform}, "'bringup' needs default_clk, led_green, led_red, which the platform"),
        ({"shells": ()}, "there must be a shell"),
        ({"sources": {"part": RECALLED}}, "sources must be given for dsp, logic, m20k, part, pins, not for part"),
    ],
)
def test_a_board_that_makes_no_sense_is_refused(changes, message):
    fields = {field.name: getattr(find("ia420f"), field.name) for field in dataclasses.fields(Board)}
    with pytest.raises(BoardError, match=message):
        Board(**fields | changes)


@pytest.mark.parametrize("board", boards().values(), ids=boards())
def test_presets_fit_with_room_to_place_and_route(board):
    # Where the tools know no 9x9 multiplier, each product takes a whole block, and hardly anything else takes any.
    share = 0.95 if board.name == "ulx3s-fast" else 0.85
    needed = check(board.config, board, share=share)
    # An order of magnitude: a cell for each register, of which an ALM has four and a LUT two.
    assert 0 < needed.logic < 0.65 * board.resources.logic


@pytest.mark.parametrize(
    ("name", "kind", "weights"),
    [("ia420f", "m20k", 192 * 13 * 2), ("ia840f", "m20k", 192 * 26 * 2), ("v80", "uram", 192 * 8)],
)
def test_memory_for_weights(name, kind, weights):
    """Against the counts by hand, one bank for each row."""
    part, count, _ = census(configuration(name))["ram_weights"]
    blocks = memory_blocks(part, find(name).family)
    assert (blocks[0], count * blocks[1]) == (kind, weights)
    assert weights < estimate(configuration(name), find(name)).memory[kind] or kind == "uram"


@pytest.mark.parametrize("name", boards())
def test_census_counts_the_multipliers(name):
    config = configuration(name)
    kinds = census(config).values()
    in_rows = sum(
        count * getattr(part, "number", 1)
        for part, count, _ in kinds
        if isinstance(part, (Multiply, SumOfProducts)) and "_s{}_s{}".format(*config.operands) in part.kind
    )
    # The last block of a row may have fewer to add.
    assert in_rows == config.slot_rows * -(-config.columns // config.row_products) * config.row_products
    # Five lines, three products for each hidden unit of a slot; one product more for a GRU, a line and one for dense.
    others = sum(count for part, count, _ in kinds if isinstance(part, (Multiply, MultiplyAdd)))
    of_unit = 8 + ("gru" in config.epilogues) + 2 * ("dense" in config.epilogues)
    assert others - (0 if config.row_products > 1 else in_rows) == of_unit * config.slot_units


def test_dsp_blocks_of_fast_configurations():
    """Four 9x9 a block, three 9x8 (the last block of a row has one), and one where the tools know no smaller one."""
    for name, rows in (("ia420f", 6 * 32 * 16), ("ia840f", 3 * 64 * 32), ("v80", 12 * 32 * 22), ("ulx3s", 8 * 16)):
        board, config = find(name), configuration(f"{name}-fast")
        usual = estimate(board.config, board).dsp - estimate_of_rows(board.config)
        assert estimate(config, board).dsp == rows + usual * config.slot_units // board.config.slot_units
    needed, device = estimate(configuration("v80-fast"), find("v80")), find("v80").resources
    assert needed.memory["uram"] == 12 * 32 // 2 * 8
    assert all(0.85 * device.counts[kind] >= count for kind, count in needed.counts.items())


def estimate_of_rows(config):
    """DSP blocks of the rows of 18x18 multipliers."""
    return config.multipliers // config.row_products


def test_h_that_contexts_keep():
    """A memory in each core, as deep as that of c; no multiplier."""
    board = find("ulx3s")
    plain, keeps = (estimate(dataclasses.replace(board.config, keep_h=kept), board) for kept in (False, True))
    kind, blocks = board.family.memory_blocks(VECTOR_BITS * board.config.lanes, 2 * board.config.state_slots)
    assert keeps.memory == plain.memory | {kind: plain.memory[kind] + board.config.cores * blocks}
    assert keeps.dsp == plain.dsp and keeps.registers > plain.registers


def test_dsp_blocks():
    # Two products a block in sum-of-two mode; a product with an addition and one of 18x27 take a block each.
    assert estimate(configuration("ia420f"), find("ia420f")).dsp == 6 * 32 * 32 // 2 + 8 * 48
    assert estimate(configuration("v80"), find("v80")).dsp == 6 * 32 * 32 + 8 * 48
    # Products that are not summed share a block, too.
    apart = dataclasses.replace(configuration("ia420f"), family="portable")
    assert estimate(apart, find("ia420f")).dsp == 6 * 32 * 32 // 2 + 8 * 48


def test_small_memories_take_whole_blocks():
    board, config = find("ia420f"), configuration("test4")
    memories = [(part, count) for part, count, _ in census(config).values() if isinstance(part, Ram)]
    assert sum(count * part.banks for part, count in memories) == sum(
        (4, 1, 4, 1, 1, 1, 1, 4, 4)
    )  # weights, shifts, accumulators, cells, program, contexts, their flags, banks of h and of x
    # All are 512 deep at most (the program is 1024) and, but for accumulators and program, at most 80 bits
    # wide.
    expected = 4 * 2 + 1 + 4 * 2 + 1 + 1 + 1 + 4 + 4
    words = next(part for part, _ in memories if part.kind == "ram_program")
    expected += -(-words.width // 20)
    tables = 3 * 2  # one unit: 1024 words of 40 bits, for two ports twice
    assert estimate(config, board).memory == {"m20k": expected + tables}


def test_registers_are_those_that_the_verilog_has():
    """An accumulator row has two of 48 bits and two selects; nothing that packs into DSP blocks is counted as logic."""
    kinds = census(configuration("test8"))
    assert kinds["row_accumulator"].registers == 2 * 48 + 2
    assert kinds["dsp_multiply_pair_s16_s18_operands"].registers == 2 * (16 + 18) + 16 + 18 + 1
    assert 0 < logic_registers(configuration("test8")) < sum(count * bits for _, count, bits in kinds.values())


def test_too_large_a_configuration_is_refused():
    board = find("ia420f")
    with pytest.raises(
        ConfigError,
        match=r"'big' does not fit BittWare IA-420F .*: "
        r"needs 6,528 of 4,510 DSP blocks, 11,\d\d\d of 7,110 M20K$",
    ):
        check(dataclasses.replace(configuration("ia840f"), name="big"), board)
    with pytest.raises(ConfigError, match="of 2,255 DSP blocks"):
        check(board.config, board, share=0.5)


def small_board(**changes):
    resources = Resources(logic=100_000, dsp=100, memory={"m20k": 400})
    config = Config(
        **{
            "name": "tiny",
            "cores": 1,
            "block": 4,
            "weight_depth": 512,
            "slots": 32,
            "vector_blocks": 16,
            "input_blocks": 8,
            "program_depth": 512,
            "output_beats": 8,
            "family": "agilex7",
        }
        | changes
    )
    return dataclasses.replace(find("ia420f"), configurations={"default": config}, resources=resources)


def test_search_finds_the_best_of_all():
    """Against the best of all configurations, tried one by one."""
    board = small_board()
    networks = [
        random_network(np.random.default_rng(seed), layers=2, min_size=10, name=f"n{seed}") for seed in range(2)
    ]
    cores, blocks = range(1, 5), (4, 8)
    found = search(board, networks, cores=cores, blocks=blocks)
    assert set(found.latencies) == {"n0", "n1"}
    products = []
    for count, block, depth in itertools.product(cores, blocks, (512, 1024, 1536)):
        config = board.config.resized(
            count,
            block,
            weight_depth=depth,
            slots=128,
            vector_blocks=64,
            input_blocks=16,
            program_depth=2048,
            output_beats=16,
        )
        try:
            check(config, board, share=0.85)
        except ConfigError:
            continue
        latencies = own_latencies(dataclasses.replace(board, configurations={"default": config}), networks)
        if len(latencies) == 2:
            products.append(np.prod(list(latencies.values())))
    assert len(set(products)) > 1
    assert np.prod(list(found.latencies.values())) == min(products)
    check(found.config, board, share=0.85)
    assert found.latencies == own_latencies(
        dataclasses.replace(board, configurations={"default": found.config}), networks
    )


def test_search_beside_a_configuration_that_nothing_beats():
    board = small_board()
    network = random_network(np.random.default_rng(0), layers=1, name="n")
    found = search(board, [network], beside={"n": 1, "other": 1}, cores=(1, 2), blocks=(4,))
    # Nothing is gained, so of the equally good ones it is the smallest with 16-bit weights.
    assert found.config.cores * found.config.block == 4
    assert found.formats == {"n": "int16"}


def test_search_finds_nothing_when_nothing_fits():
    board = dataclasses.replace(small_board(), resources=Resources(logic=1, dsp=4, memory={"m20k": 1}))
    network = random_network(np.random.default_rng(0), layers=1)
    assert search(board, [network], cores=(1,), blocks=(4,)) is None

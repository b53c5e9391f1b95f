"""Words, loads and registers: what the hardware, the models and the host agree on, and that they do."""

import subprocess
import sys
import zlib

import numpy as np
import pytest
from amaranth.lib import data

from rtl_bench import make_config
from spiccato.isa.c_header import c_header
from spiccato.isa.issue import Source, VectorFrom, core_word, issue_word
from spiccato.isa.load import (
    TARGET_BITS,
    Record,
    RecordKind,
    TransferTarget,
    context_word,
    header_words,
    load_stream,
    model_word,
    parameters_word,
)
from spiccato.isa.registers import REGISTERS
from spiccato.isa.word import Word, pack_bits
from spiccato.rtl.words import layout

pytestmark = pytest.mark.fast

WORD = Word(
    {"flag": (1, "a bit"), "source": (Source, "an enumeration"), "wide": (40, "more than a word"), "last": (5, "some")}
)


def test_packing():
    """Fields lie one after the other from bit 0 on; Amaranth puts them into the same bits."""
    values = {"flag": 1, "source": Source.STORED, "wide": 0x9876543210, "last": 19}
    word = WORD.pack(**values)
    assert word == 1 | 3 << 1 | 0x9876543210 << 3 | 19 << 43
    assert WORD.unpack(word) == values
    assert (WORD.size, WORD.words) == (48, 2)
    assert WORD.split(word) == [word & 0xFFFFFFFF, word >> 32]
    assert layout(WORD).const(values).as_value().value == word


@pytest.mark.parametrize("seed", [1])
def test_many_at_once(seed):
    """Arrays of fields to arrays of words and back, each word as it is packed alone."""
    rng = np.random.default_rng(seed)
    columns = {field.name: rng.integers(0, 1 << field.width, 50) for field in WORD}
    words = WORD.encode(columns)
    assert words.dtype == np.uint32 and words.shape == (50, 2)
    for row in range(50):
        assert WORD.split(WORD.pack(**{name: int(column[row]) for name, column in columns.items()})) == list(words[row])
    for name, column in WORD.decode(words).items():
        np.testing.assert_array_equal(column, columns[name])
    assert not WORD.encode({"flag": [0, 0]}).any()


@pytest.mark.parametrize(
    "values, error",
    [
        ({"last": 32}, "field last has 5 bits, 32 does not fit"),
        ({"last": -1}, "field last has 5 bits, -1 does not fit"),
    ],
)
def test_too_large(values, error):
    """A value that does not fit is an error that names the field, alone and in an array."""
    with pytest.raises(ValueError, match=error):
        WORD.pack(**values)
    with pytest.raises(ValueError, match="field last has 5 bits"):
        WORD.encode({name: [0, value] for name, value in values.items()})
    with pytest.raises(KeyError):
        WORD.pack(nothing=1)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"cores": 3, "block": 8, "io_format": "float32", "input_blocks": 8},
        {"cores": 3, "block": 8, "columns": 16, "multiplier": "9x9"},
    ],
)
def test_issue_word(changes):
    """A program's word has all that cores act on, and addresses every memory."""
    config = make_config(**changes)
    word, core = issue_word(config), core_word(config)
    assert list(core.fields) == list(word.fields)[: len(core.fields)]
    assert 1 << word["weight"].width >= config.weight_depth and 1 << word["slot"].width >= config.slots
    assert 1 << word["vector"].width >= max(config.vector_blocks, config.input_blocks)
    assert 1 << word["output_beats"].width >= config.cores * config.beats_per_core
    assert layout(word).size == word.size
    assert word.unpack(word.pack(source=Source.BIAS, vector_from=VectorFrom.H))["vector_from"] == VectorFrom.H


def test_load_stream():
    """A load is what the documentation says: begin and digest, records of at most 4096 entries, end, CRC."""
    image = np.arange(4097 * 2, dtype=np.uint32).reshape(4097, 2)
    words = load_stream([Record(RecordKind.WEIGHTS, image, addr=5, core=1, row=2)], "0123456789abcdef")
    head = header_words(RecordKind.WEIGHTS, core=1, row=2, words=2, addr=5, entries=4096)
    tail = header_words(RecordKind.WEIGHTS, core=1, row=2, words=2, addr=4101, entries=1)
    expected = [
        RecordKind.BEGIN_PROGRAM,
        0x89ABCDEF,
        0x01234567,
        *head,
        *image[:4096].reshape(-1),
        *tail,
        *image[4096],
        RecordKind.END,
    ]
    assert list(words[:-1]) == expected
    assert words[-1] == zlib.crc32(words[:-1].astype("<u4").tobytes())


def test_tables_fit_the_load_bus():
    """Entries of tables and parameters are collected like those of a memory: they are no wider than the bus."""
    from spiccato.rtl.load_tree import load_data_bits

    config = make_config(program_depth=1 << 18, state_slots=1 << 14, slots=1 << 12)
    assert max(parameters_word.size, model_word(config).size, context_word(config).size) <= load_data_bits(config)


@pytest.mark.parametrize("seed", [1])
def test_pack_bits(seed):
    """Values of a row lie one after the other, in two's complement."""
    values = np.random.default_rng(seed).integers(-(1 << 26), 1 << 26, (4, 7))
    for row, words in zip(values, pack_bits(values, 27)):
        expected = sum((int(value) & (1 << 27) - 1) << 27 * place for place, value in enumerate(row))
        assert sum(int(word) << 32 * place for place, word in enumerate(words)) == expected


def test_registers():
    """Offsets and fields do not overlap, fields fit 32 bits, and gaps do not show."""
    offsets = [register.offset for register in REGISTERS.values()]
    assert len(set(offsets)) == len(offsets) and all(offset % 4 == 0 for offset in offsets)
    assert all(register.word.size <= 32 for register in REGISTERS.values())
    built = REGISTERS["configuration"]
    assert set(built.unpack(built.pack(block=8, float32=1))) == {"cores", "block", "float32", "keep_h", "columns"}
    assert isinstance(layout(built.word), data.StructLayout)


def test_targets_of_the_load_bus():
    """What transfers alone write is none of what loads hold."""
    kinds = [*RecordKind, *TransferTarget]
    assert len(set(map(int, kinds))) == len(kinds) and max(TransferTarget) < 1 << TARGET_BITS


def test_c_header(tmp_path):
    """The header compiles as the strictest C, and its constants are those of the register map."""
    config = make_config()
    (tmp_path / "spiccato.h").write_text(c_header(config))
    (tmp_path / "main.c").write_text(
        '#include <stdio.h>\n#include "spiccato.h"\n#include "spiccato.h"\nint main(void) {\n'
        '  printf("%u %u %u %u %u\\n", SPICCATO_REGISTER_LATENCY, SPICCATO_CONFIGURATION_BLOCK_MASK,\n'
        "         SPICCATO_CONFIGURATION_BLOCK_SHIFT, SPICCATO_RECORD_END, SPICCATO_DIGEST_LOW);\n  return 0;\n}\n"
    )
    subprocess.run(
        ["gcc", "-std=c89", "-pedantic", "-Wall", "-Werror", "-o", "main", "main.c"], cwd=tmp_path, check=True
    )
    printed = subprocess.run([tmp_path / "main"], check=True, capture_output=True, text=True).stdout.split()
    field = REGISTERS["configuration"].fields["block"]
    assert [int(text) for text in printed] == [
        REGISTERS["latency"].offset,
        (1 << field.width) - 1 << field.offset,
        field.offset,
        RecordKind.END,
        int(config.digest, 16) & 0xFFFFFFFF,
    ]


def test_plain_python():
    """The host and the room itself work without Amaranth."""
    code = "import sys, spiccato.host, spiccato.program, spiccato.isa.registers; assert 'amaranth' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)

"""What a host in C has to know: registers, marks, records of a load, and the digest of the configuration."""

import enum
from collections.abc import Iterator

from ..config import Config
from .load import RecordKind, header_word, place_word
from .marks import marks_word, request_word
from .registers import IDENTITY, REGISTERS, VERSION
from .word import Word

__all__ = ["c_header"]

_PREFIX = "SPICCATO"


def c_header(config: Config) -> str:
    """The text of a C header for accelerators of ``config``: constants only, in C89."""
    lines = [
        f"/* Spiccato: registers, marks and loads of configuration {config.name}, {config.profile} profile. Generated, "
        "do not edit. */",
        f"#ifndef {_PREFIX}_H",
        f"#define {_PREFIX}_H",
        "",
    ]
    lines += _constants(
        [
            ("IDENTITY", f"0x{IDENTITY:08x}u", "what the register identity reads as"),
            ("VERSION", f"{VERSION}u", "of the register map and of the load format"),
            ("DIGEST_LOW", f"0x{config.digest[8:]}u", "of the configuration"),
            ("DIGEST_HIGH", f"0x{config.digest[:8]}u", ""),
            ("BEAT_BYTES", str(config.beat_bits // 8), "of both streams"),
            ("VALUE_BYTES", str(config.io_bits // 8), config.io_format),
        ]
    )
    lines += ["", "/* Byte offsets of the registers, and their fields: mask and lowest bit. */"]
    for name, register in REGISTERS.items():
        lines += _constants([(f"register_{name}", f"0x{register.offset:02x}", register.doc)])
        lines += _fields(name, register.word)
    lines += [
        "",
        "/* What is asked for in tuser of an input packet's first beat. */",
        *_fields("request", request_word),
    ]
    lines += ["", "/* Marks of an inference, in tuser of its output packet. */", *_fields("mark", marks_word)]
    lines += ["", "/* Records of a load. */", *_enumeration("record", RecordKind)]
    lines += [
        "",
        "/* First and second word of a record. */",
        *_fields("header", header_word),
        *_fields("place", place_word),
    ]
    return "\n".join([*lines, "", f"#endif /* {_PREFIX}_H */", ""])


def _constants(rows: list[tuple[str, str, str]]) -> Iterator[str]:
    for name, value, meaning in rows:
        yield f"#define {_PREFIX}_{name.upper()} {value}" + f" /* {meaning} */" * bool(meaning)


def _fields(prefix: str, word: Word) -> Iterator[str]:
    for field in word:
        if not field.name.startswith("_"):
            mask = (1 << field.width) - 1 << field.offset
            yield from _constants(
                [
                    (f"{prefix}_{field.name}_MASK", f"0x{mask:08x}u", field.meaning),
                    (f"{prefix}_{field.name}_SHIFT", str(field.offset), ""),
                ]
            )


def _enumeration(prefix: str, values: type[enum.IntEnum]) -> Iterator[str]:
    yield from _constants([(f"{prefix}_{member.name}", str(int(member)), "") for member in values])

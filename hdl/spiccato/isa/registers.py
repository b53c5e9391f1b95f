"""The register map: described once, here, for the hardware, the host and the documentation.

All registers are 32 bits wide, at byte addresses. ``r`` registers show a value of the design, ``w`` registers act when
written (and read as zero), ``c`` registers collect events and are cleared by writing ones.
"""

import enum
from dataclasses import dataclass

from .marks import MARKS
from .word import Field, Word

__all__ = ["Register", "REGISTERS", "LOAD_ERRORS", "IDENTITY", "ADDRESS_BITS", "VERSION", "TransferKind", "markdown"]

#: "SPCO", little-endian.
IDENTITY = int.from_bytes(b"SPCO", "little")
ADDRESS_BITS = 8


class TransferKind(enum.IntEnum):
    """What a transfer does with the chosen context."""

    #: Read a recurrent sum, or c of a unit.
    READ_SUM = 0
    READ_C = 1
    #: Write a sum, or c of all units of a core and slot.
    WRITE_SUM = 2
    WRITE_C = 3
    #: What was written is its state.
    ADOPT = 4
    #: It has no state: its next inference begins from the model's initial one.
    FORGET = 5
    #: As ``READ_C`` and ``WRITE_C``, of h. Without ``keep_h`` in the configuration nothing is read or written.
    READ_H = 6
    WRITE_H = 7


@dataclass(frozen=True)
class Register:
    """One register: byte ``offset``, ``access`` ("r", "w" or "c") and, if it has any, its fields."""

    name: str
    offset: int
    access: str
    doc: str
    word: Word = Word({})

    @property
    def fields(self) -> dict[str, Field]:
        """The fields by name, without the gaps between them."""
        return {field.name: field for field in self.word if not field.name.startswith("_")}

    def pack(self, **values: int) -> int:
        """A register value from field values; raises KeyError or ValueError for what does not exist or fit."""
        return self.word.pack(**values)

    def unpack(self, value: int) -> dict[str, int]:
        """Field values of a register value."""
        return {name: number for name, number in self.word.unpack(value).items() if name in self.fields}


#: Why a load was not accepted.
LOAD_ERRORS = {
    "load_crc": "A load ended with a wrong CRC; nothing runs until the next good load of a program.",
    "load_busy": "Words of a load came before status.idle; they were ignored.",
    "load_format": "A load held an unknown record; the rest of it was ignored.",
    "wrong_configuration": "A program for another configuration was to be loaded; it was refused.",
}
_ERRORS = {
    **MARKS,
    **LOAD_ERRORS,
    "half_packet": "A load cut an input packet that had begun; what comes up to its tlast is discarded.",
}

REGISTERS = {
    register.name: register
    for register in (
        Register("identity", 0x00, "r", 'Reads as "SPCO".'),
        Register("version", 0x04, "r", "Version of the register map and of the load format."),
        Register(
            "configuration",
            0x08,
            "r",
            "What was built.",
            Word(
                {
                    "cores": (8, "cores"),
                    "block": (8, "block size"),
                    "float32": (1, "values on the streams"),
                    "keep_h": (1, "contexts keep h"),
                    "columns": (8, "columns of a block of weights"),
                }
            ),
        ),
        Register("digest_low", 0x0C, "r", "Digest of the configuration, low half: programs carry the same."),
        Register("digest_high", 0x10, "r", "Digest of the configuration, high half."),
        Register(
            "control",
            0x14,
            "w",
            "Commands; each bit acts when written as one.",
            Word(
                {
                    "load": (1, "stop before the next inference and expect a load"),
                    "reset_state": (1, "forget the states of all contexts before the next inference"),
                    "reset": (1, "stop at once, forget all packets and the state; a whole program is kept"),
                }
            ),
        ),
        Register(
            "status",
            0x18,
            "r",
            "What is going on.",
            Word(
                {
                    "loaded": (1, "a program has been loaded and may run"),
                    "idle": (1, "no inference is running, and no reset"),
                    "loading": (1, "a load has begun and has not ended"),
                    "transferred": (1, "the context has been looked up, or the last transfer is done"),
                    "known": (1, "there is such a context"),
                    "alive": (1, "it has a state"),
                    "touched": (1, "it had an inference since it was looked up"),
                }
            ),
        ),
        Register(
            "errors", 0x1C, "c", "Sticky errors.", Word({name: (1, meaning) for name, meaning in _ERRORS.items()})
        ),
        Register("load_data", 0x20, "w", "Next word of a load."),
        Register("inferences", 0x24, "r", "Inferences completed since `rst`."),
        Register(
            "stall_cycles", 0x28, "r", "Cycles in which an inference could not start because the output queue was full."
        ),
        Register(
            "latency",
            0x2C,
            "r",
            "Cycles from the first input beat to the last output beat of the last inference, if the queue was empty.",
        ),
        Register(
            "context", 0x30, "w", "The context that transfers are about.", Word({"tid": (14, "as on the streams")})
        ),
        Register(
            "transfer",
            0x34,
            "w",
            "Move an element of the context's state, in a cycle that no inference needs.",
            Word(
                {
                    "lane": (6, "row of the core (sums) or unit of the core (c, h)"),
                    "_0": (2, ""),
                    "core": (4, "core"),
                    "kind": (TransferKind, "what is to be done"),
                    "_1": (1, ""),
                    "slot": (14, "row slot"),
                }
            ),
        ),
        Register("program_low", 0x38, "r", "Digest of the loaded program, low half."),
        Register("program_high", 0x3C, "r", "Digest of the loaded program, high half."),
        Register("state_data", 0x40, "w", "Next word of what a transfer is to write, the lowest first."),
        Register("element_low", 0x44, "r", "What the last transfer has read, sign-extended: low half."),
        Register("element_high", 0x48, "r", "High half."),
    )
}
#: Of the register map and of the load format.
VERSION = 3


def _bits(field: Field) -> str:
    """A field's bits as documents write them."""
    high = field.offset + field.width - 1
    return str(high) if field.width == 1 else f"{high}:{field.offset}"


def markdown() -> str:
    """The register map as Markdown tables, for the documentation."""
    access = {"r": "read", "w": "write", "c": "read, write ones to clear"}
    lines = ["| offset | register | access | meaning |", "|---|---|---|---|"]
    lines += [f"| 0x{r.offset:02x} | `{r.name}` | {access[r.access]} | {r.doc} |" for r in REGISTERS.values()]
    for register in REGISTERS.values():
        if register.fields:
            lines += ["", f"`{register.name}`:", "", "| bits | field | meaning |", "|---|---|---|"]
            lines += [f"| {_bits(field)} | `{name}` | {field.meaning} |" for name, field in register.fields.items()]
    return "\n".join(lines) + "\n"

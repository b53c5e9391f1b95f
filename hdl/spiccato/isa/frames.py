"""Frames of the host link: what a host sends over a line of bytes, and what it is answered.

A frame is SLIP's (RFC 1055): ``END``, escaped bytes, ``END``. Its bytes are a header, a payload and the CRC-32 (zlib's)
of both, little-endian. A request's header is a sequence number and a command; a response's is the same, with
``RESPONSE`` added to the command, and a status. Frames that are damaged in any way are not answered.
``docs/link.md`` tells why no fault of the line can lead to a wrong result.
"""

import enum

__all__ = [
    "COMMANDS",
    "CRC_BYTES",
    "END",
    "ESC",
    "ESCAPED",
    "LINK_VERSION",
    "NONCE_BYTES",
    "REQUEST_HEADER_BYTES",
    "RESPONSE",
    "RESPONSE_HEADER_BYTES",
    "STATUSES",
    "STEP_HEADER_BYTES",
    "TID_BYTES",
    "WORD_BYTES",
    "Command",
    "Status",
    "markdown",
]

#: Of everything on this page that a host has to know.
LINK_VERSION = 2

END, ESC = 0xC0, 0xDB
#: What follows ESC, for the byte it stands for.
ESCAPED = {END: 0xDC, ESC: 0xDD}
#: The bit of a response's command byte that tells it from a request's.
RESPONSE = 0x80
NONCE_BYTES = 8
CRC_BYTES = 4
REQUEST_HEADER_BYTES = 2
RESPONSE_HEADER_BYTES = 3
WORD_BYTES = 4
#: ``tid`` of the streams, in a STEP's request and response.
TID_BYTES = 2
#: ``tid`` and what the packet asks for, in front of its beats.
STEP_HEADER_BYTES = TID_BYTES + 1


class Command(enum.IntEnum):
    """What a request asks for."""

    OPEN = 0
    READ = 1
    WRITE = 2
    STEP = 3


class Status(enum.IntEnum):
    """How a request went."""

    OK = 0
    CLOSED = 1
    SEQUENCE = 2
    COMMAND = 3
    LENGTH = 4
    BUS = 5
    TIMEOUT = 6


#: Command -> (payload of the request, payload of the response, meaning).
COMMANDS = {
    Command.OPEN: (
        f"{NONCE_BYTES} bytes that the host chooses",
        "the same bytes, `LINK_VERSION` (1 byte), largest payload of a request (2 bytes)",
        "Reset the accelerator and begin a session; this request's sequence number is the last one's. "
        "Always carried out.",
    ),
    Command.READ: ("register offset (1 byte)", "register (4 bytes)", "Read a register."),
    Command.WRITE: (
        "register offset (1 byte), words (4 bytes each, at least one)",
        "none",
        "Write the words, one after the other, to the register.",
    ),
    Command.STEP: (
        f"`tid` ({TID_BYTES} bytes), `tuser` (1 byte), beats of an input packet",
        f"beats of the output packet, `tuser` (1 byte), `tid` ({TID_BYTES} bytes); none if the request is quiet",
        "Send an input packet and receive the output packet that it leads to; a quiet one is answered once it has "
        "been accepted.",
    ),
}

#: Status -> meaning.
STATUSES = {
    Status.OK: "Done.",
    Status.CLOSED: "There is no session: the device was reset, or a timeout ended the last one. Program and state "
    "are gone.",
    Status.SEQUENCE: "The sequence number is neither the last one nor the one after it. Nothing was done.",
    Status.COMMAND: "There is no such command. Nothing was done.",
    Status.LENGTH: "The command does not take a payload of this length. Nothing was done.",
    Status.BUS: "The accelerator refused the access (SLVERR); words after the refused one were not written.",
    Status.TIMEOUT: "The accelerator did not finish in time. The session has ended.",
}


def markdown():
    """Commands and statuses as Markdown tables, for the documentation."""
    lines = ["| code | command | payload of the request | payload of the response | meaning |", "|---|---|---|---|---|"]
    lines += [f"| {command.value} | `{command.name}` | {' | '.join(texts)} |" for command, texts in COMMANDS.items()]
    lines += ["", "| code | status | meaning |", "|---|---|---|"]
    lines += [f"| {status.value} | `{status.name}` | {text} |" for status, text in STATUSES.items()]
    return "\n".join(lines) + "\n"

"""The RTLIL that Amaranth writes, as objects.

RTLIL is the text form of yosys' netlists. Amaranth writes a small part of it, one statement a line: wires, cells,
processes (assignments and switches) and connections. What it never writes is not read here.

A value is a tuple of chunks, the least significant first; a chunk is a string of ``0`` and ``1`` (most significant
first, as in the text) or a :class:`Slice` of a wire.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = [
    "ALWAYS",
    "Assign",
    "Cell",
    "Module",
    "RtlilError",
    "Slice",
    "Switch",
    "Value",
    "Wire",
    "chunk_width",
    "joined",
    "low",
    "mapped",
    "parse",
    "piece",
    "whole",
    "width",
    "wires_of",
]


class RtlilError(ValueError):
    """Amaranth's netlist holds something that the Verilog writer does not know or does not accept."""


@dataclass(eq=False)
class Wire:
    """A wire; ``name`` as in the text. One without a name from the source starts with ``$``."""

    name: str
    width: int
    signed: bool = False
    direction: str | None = None
    attributes: dict[str, str] = field(default_factory=dict)

    @property
    def anonymous(self) -> bool:
        return self.name.startswith("$")

    def __repr__(self):
        return f"Wire({self.name}, {self.width})"


class Slice(NamedTuple):
    """``width`` bits of a wire from bit ``low`` on."""

    wire: Wire
    low: int
    width: int


Value = tuple[str | Slice, ...]

#: The test of a switch that is always on, with one case: an assignment that comes behind another switch is within one.
ALWAYS: Value = ("1",)


class Assign(NamedTuple):
    """An assignment in a process: bits of its wire take a value."""

    target: Slice
    value: Value


class Switch(NamedTuple):
    """The first case of which a pattern equals ``test``.

    ``cases`` are pairs of patterns (``-`` matches both; none at all: whatever is left) and body.
    """

    test: Value
    cases: tuple


@dataclass(eq=False)
class Cell:
    """An operator, a register or (type with a backslash) an instance. ``outputs`` are the ports that it drives."""

    type: str
    name: str
    parameters: dict[str, str] = field(default_factory=dict)
    ports: dict[str, Value] = field(default_factory=dict)
    attributes: dict[str, str] = field(default_factory=dict)
    outputs: frozenset[str] = frozenset({"Y", "Q"})

    @property
    def is_instance(self) -> bool:
        return self.type.startswith("\\")

    @property
    def signed(self) -> bool:
        """Whether the operands count as signed."""
        return self.parameters.get("A_SIGNED") == "1"


@dataclass(eq=False)
class Module:
    """A module.

    ``processes`` are bodies (:class:`Assign`, then :class:`Switch`), each of which drives one wire that its first
    assignment sets whole.
    """

    name: str
    wires: dict[str, Wire] = field(default_factory=dict)
    cells: list[Cell] = field(default_factory=list)
    processes: list[tuple] = field(default_factory=list)
    connections: list[tuple[Value, Value]] = field(default_factory=list)


# Values


def chunk_width(chunk: str | Slice) -> int:
    """Bits of a part of a value."""
    return len(chunk) if isinstance(chunk, str) else chunk.width


def width(value: Value) -> int:
    """Bits of a value."""
    return sum(map(chunk_width, value))


def whole(wire: Wire) -> tuple[Slice]:
    """All bits of a wire."""
    return (Slice(wire, 0, wire.width),)


def piece(value: Value, start: int, bits: int) -> Value:
    """``bits`` bits of a value from bit ``start`` on."""
    found = []
    for chunk in value:
        size = chunk_width(chunk)
        first, last = max(start, 0), min(start + bits, size)
        if first < last:
            found.append(
                chunk[size - last : size - first]
                if isinstance(chunk, str)
                else Slice(chunk.wire, chunk.low + first, last - first)
            )
        start -= size
    return joined(found)


def low(value: Value, bits: int) -> Value:
    """The lowest bits of a value, all of it if it has no more."""
    return value if width(value) <= bits else piece(value, 0, bits)


def joined(chunks) -> Value:
    """A value of chunks, neighbours that continue each other made one."""
    found: list[str | Slice] = []
    for chunk in chunks:
        before = found[-1] if found else None
        if isinstance(chunk, str) and isinstance(before, str):
            found[-1] = chunk + before
        elif (
            isinstance(chunk, Slice)
            and isinstance(before, Slice)
            and chunk.wire is before.wire
            and before.low + before.width == chunk.low
        ):
            found[-1] = Slice(before.wire, before.low, before.width + chunk.width)
        else:
            found.append(chunk)
    return tuple(found)


def wires_of(value: Value) -> Iterator[Slice]:
    """Slices of a value."""
    return (chunk for chunk in value if isinstance(chunk, Slice))


def mapped(body, change):
    """A process's body with every value that it reads replaced by ``change(value)``."""
    return tuple(
        Assign(item.target, change(item.value))
        if isinstance(item, Assign)
        else Switch(change(item.test), tuple((patterns, mapped(inner, change)) for patterns, inner in item.cases))
        for item in body
    )


# Reading

_TOKEN = re.compile(r"\{|\}|\[\d+(?::\d+)?\]|[^\s{}\[][^\s]*")
_DIRECTIONS = ("input", "output")


class _Reader:
    """Reads the lines of one text."""

    def __init__(self, text: str):
        self._lines = (words for line in text.splitlines() if (words := line.split(None, 2)))
        self.modules: list[Module] = []
        self._wires: dict[str, Wire] = {}

    def read(self) -> list[Module]:
        attributes: dict[str, str] = {}
        for words in self._lines:
            keyword = words[0]
            if keyword == "attribute":
                attributes[words[1][1:]] = words[2]
                continue
            if keyword == "module":
                self.modules.append(Module(words[1].removeprefix("\\")))
                self._wires = self.modules[-1].wires
            elif keyword == "wire":
                self._wire(" ".join(words).split(), attributes)
            elif keyword == "cell":
                self._cell(words, attributes)
            elif keyword == "process":
                self.modules[-1].processes.append(self._body()[0])
            elif keyword == "connect":
                self.modules[-1].connections.append(self._pair(words))
            elif keyword == "memory":
                raise RtlilError(f"memory {words[-1].split()[-1]}: a memory needs a part of its own, such as Ram")
            elif keyword != "end":
                raise RtlilError(f"statement {keyword!r} is not known")
            attributes = {}
        for cell in (cell for module in self.modules for cell in module.cells if cell.is_instance):
            for inner in self.modules:
                if inner.name == cell.type.removeprefix("\\"):
                    cell.outputs = frozenset(
                        name for name in cell.ports if inner.wires[f"\\{name}"].direction == "output"
                    )
        return self.modules

    def _wire(self, words, attributes):
        direction = next((word for word in words if word in ("inout", *_DIRECTIONS)), None)
        if direction == "inout":
            raise RtlilError(f"port {words[-1]}: a port of both directions is not known")
        self._wires[words[-1]] = Wire(words[-1], int(words[2]), "signed" in words[3:-1], direction, attributes)

    def _cell(self, words, attributes):
        cell, outputs = Cell(words[1], words[2], attributes=attributes), set()
        for words in self._lines:
            if words[0] == "end":
                break
            if words[0] == "parameter":
                if words[1] in ("signed", "real"):
                    words = [words[0], *words[2].split(None, 1)]
                cell.parameters[words[1][1:]] = words[2]
            else:
                cell.ports[words[1][1:]] = self._value(words[2])
                # Amaranth writes an instance's outputs, and only those, as wires without a range.
                if words[2].strip() in self._wires:
                    outputs.add(words[1][1:])
        if cell.is_instance:
            cell.outputs = frozenset(outputs)
        self.modules[-1].cells.append(cell)

    def _body(self):
        """Items up to a line that begins with ``case`` or ``end``; the items and that line."""
        items: list = []
        for words in self._lines:
            if words[0] == "assign":
                (target,), value = self._pair(words)
                items.append(Assign(target, value))
            elif words[0] == "switch":
                switch = self._switch(self._value(" ".join(words[1:])))
                if not width(switch.test):
                    # Amaranth's way to put an assignment behind a switch.
                    switch = Switch(ALWAYS, ((("1",), switch.cases[0][1]),))
                items.append(switch)
            else:
                return tuple(items), words
        raise RtlilError("the text ends within a process")

    def _switch(self, test):
        cases = []
        _, words = self._body()
        while words[0] == "case":
            patterns = (
                tuple(pattern.strip(", ").split("'")[1] for pattern in " ".join(words[1:]).split(","))
                if len(words) > 1
                else ()
            )
            body, words = self._body()
            cases.append((patterns, body))
        return Switch(test, tuple(cases))

    def _pair(self, words):
        """The two values of an assignment or a connection."""
        tokens = _TOKEN.findall(" ".join(words[1:]))
        if tokens[0] == "{":
            size = tokens.index("}") + 1
        else:
            size = 2 if tokens[1].startswith("[") else 1
        return self._value(tokens[:size]), self._value(tokens[size:])

    def _value(self, tokens) -> Value:
        if isinstance(tokens, str):
            tokens = _TOKEN.findall(tokens)
        chunks: list = []
        for token in tokens:
            if token in "{}":
                continue
            if token.startswith("["):
                first, _, last = token[1:-1].partition(":")
                bits = int(first) - int(last or first) + 1
                chunks[-1] = Slice(chunks[-1].wire, int(last or first), bits)
            elif token[0] in "\\$":
                chunks.append(Slice(self._wires[token], 0, self._wires[token].width))
            elif "'" in token:
                bits = token.split("'")[1]
                if set(bits) - {"0", "1"}:
                    raise RtlilError(f"constant {token}: only zeros and ones are known")
                chunks.append(bits)
            else:
                chunks.append(f"{int(token):032b}")
        return joined(reversed(chunks))


def parse(text: str) -> list[Module]:
    """The modules of an RTLIL text, the top first as Amaranth writes it.

    Raises
    ------
    RtlilError
        If it holds memories, ports of both directions or undefined constants.
    """
    return _Reader(text).read()

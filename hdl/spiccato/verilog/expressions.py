"""Netlist values as Verilog expressions that mean exactly the same.

Verilog gives the operators of an expression one width and one signedness: that of the widest operand (or of what is
assigned to), and signed only if all operands are. A cell of the netlist has its own. So operators go into one
expression, here a *region*, as long as each operand that has to be extended is extended in the one way that the region
has, and what is beyond the bits that matter may be anything. What does not fit in is a region of its own, shielded by
``{}``, ``$signed`` or ``$unsigned``; what cannot be written in place at all gets a wire.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from .netlist import ALIAS, BINARY, COMPARISONS, MODULAR, REDUCTIONS, SHIFTS
from .rtlil import Cell, Slice, Value, low, whole, width, wires_of

__all__ = ["Expressions", "constant"]

#: Kinds of text, by what may stand beside them without parentheses.
_LEAF, _UNARY, _CHOICE = "leaf", "unary", "?:"
#: In parentheses beside anything: ``a | |b`` is legal, and unreadable.
_REDUCTION = "reduction"
#: Operators whose chains need no parentheses.
_CHAINS = ("+", "*", "&", "|", "^")


def constant(bits: str, signed: bool = False) -> str:
    """A constant of as many bits as ``bits`` has digits."""
    mark = "s" if signed else ""
    value = int(bits, 2)
    return f"{len(bits)}'{mark}d{value}" if value < 10 else f"{len(bits)}'{mark}h{value:x}"


class _Conflict(Exception):
    """An operand would have to be extended in another way than the region does."""


class _TooNarrow(Exception):
    """No operand is as wide as the region has to be."""


class Text(NamedTuple):
    """An expression, and what may stand beside it."""

    text: str
    kind: str

    def beside(self, *kinds: str) -> str:
        """In parentheses, unless it is of one of these kinds or needs none anyway."""
        return self.text if self.kind in (_LEAF, _UNARY, *kinds) else f"({self.text})"


@dataclass(eq=False)
class _Leaf:
    """An operand of a region: a text of ``width`` bits, of which the lowest ``demand`` have to be right.

    ``signed`` as Verilog sees the text. One that is a constant has its ``bits``, one that can be indexed its ``top``
    bit.
    """

    text: str
    width: int
    signed: bool
    demand: int
    bits: str | None = None
    top: str | None = None


@dataclass(eq=False)
class _Node:
    """An operator of a region.

    ``fixed`` is the text of an operand that is none of the region's: the condition of a choice, the amount of a shift.
    """

    operator: str
    operands: list
    fixed: str = ""


@dataclass(eq=False)
class _Region:
    """Operators that share one width and one signedness (None: nothing depends on it)."""

    signed: bool | None = None
    leaves: list = field(default_factory=list)

    def require(self, signed: bool):
        if self.signed not in (None, signed):
            raise _Conflict
        self.signed = signed

    def widen(self, bits: int):
        """See to it that the expression has at least ``bits`` bits by itself."""
        if any(leaf.width >= bits for leaf in self.leaves):
            return
        leaf = next((leaf for leaf in self.leaves if leaf.bits is not None), None) or next(
            (leaf for leaf in self.leaves if not self.signed or leaf.top is not None), None
        )
        if leaf is None:
            raise _TooNarrow
        missing = bits - leaf.width
        if leaf.bits is not None:
            leaf.bits = (leaf.bits[0] if self.signed else "0") * missing + leaf.bits
        elif self.signed:
            leaf.text, leaf.signed = f"{{{{{missing}{{{leaf.top}}}}}, {leaf.text}}}", False
        else:
            leaf.text, leaf.signed = f"{{{missing}'d0, {leaf.text}}}", False
        leaf.width, leaf.demand = bits, bits

    def text(self, node, force=False) -> Text:
        """``force``: signedness matters although no operand is extended."""
        if isinstance(node, _Leaf):
            return Text(self._leaf(node, force), _LEAF)
        operator, first = node.operator, self.text(node.operands[0], force)
        if operator == _CHOICE:
            other = self.text(node.operands[1], force)
            return Text(f"{node.fixed} ? {first.beside()} : {other.beside(_CHOICE)}", _CHOICE)
        if len(node.operands) == 1 and not node.fixed:
            # Two signs in a row would be another operator.
            return Text(f"{operator}({first.text})" if first.text[0] == "-" else f"{operator}{first.beside()}", _UNARY)
        if node.fixed:
            return Text(f"{first.beside()} {operator} {node.fixed}", operator)
        chain = (operator,) if operator in _CHAINS else ()
        # A difference goes on to the left only.
        left = ("+", "-") if operator == "-" else ("+", "-") if operator == "+" else chain
        return Text(f"{first.beside(*left)} {operator} {self.text(node.operands[1], force).beside(*chain)}", operator)

    def _leaf(self, leaf, force):
        signed = (
            self.signed
            if self.signed is not None and (force or any(other.width < other.demand for other in self.leaves))
            else None
        )
        if leaf.bits is not None:
            return constant(leaf.bits, bool(signed))
        if signed and not leaf.signed:
            return f"$signed({leaf.text})"
        if signed is False and leaf.signed and (leaf.width < leaf.demand or force):
            return f"$unsigned({leaf.text})"
        return leaf.text


class Expressions:
    """Writes the values of a netlist.

    Parameters
    ----------
    netlist : Netlist
    uses : mapping of wires to the number of places that read them
    name : function from a wire to its name in Verilog

    Attributes
    ----------
    kept : wires without a name of the source that the expressions written so far refer to, in the order met
    """

    def __init__(self, netlist, uses, name):
        self._drivers, self._uses, self._name = netlist.drivers, uses, name
        self.kept: dict = {}

    # What may be asked for

    def assigned(self, value: Value) -> str:
        """Right side of an assignment to as many bits as ``value`` has."""
        cell = self._cell(value)
        if cell is not None:
            return self._assigned_cell(cell, width(value))
        return self._assigned_part(value) or self.exact(value).text

    def _assigned_part(self, value):
        """As :meth:`assigned`, for some bits of an operator's result; None if that cannot be written in place.

        The upper ones come down by a shift, and what is above them is cut off.
        """
        if len(value) != 1 or not isinstance(value[0], Slice):
            return None
        wire, start, bits = value[0]
        cell = self._cell(whole(wire))
        if cell is None or _is_single_bit(cell):
            return None
        if cell.type in MODULAR if not start else cell.type not in MODULAR or start + bits != wire.width:
            return None
        region, node = self._region_of(cell, wire.width)
        try:
            region.widen(wire.width)
        except _TooNarrow:
            self._keep(wire)
            return None
        text = region.text(node, force=cell.type == "$sshr")
        return f"{text.beside()} >> {start}" if start else text.text

    def driver(self, wire) -> str:
        """Right side of the assignment to a wire that a cell drives."""
        cell = self._drivers[wire]
        if cell.type == ALIAS:
            return self.assigned(cell.ports["A"])
        return self._assigned_cell(cell, wire.width)

    def exact(self, value: Value) -> Text:
        """An expression that by itself has exactly the value's width; its signedness is not told."""
        cell = self._cell(value)
        if cell is None:
            return Text(self._plain(value)[0], _LEAF)
        single = self._single_bit(cell)
        if single is not None:
            return single
        try:
            region, node = self._region_of(cell, width(value))
            region.widen(width(value))
        except _TooNarrow:
            region = None
        # A shifted operand may be wider than the result.
        if region is None or max(leaf.width for leaf in region.leaves) != width(value):
            return Text(self._keep(next(wires_of(value)).wire), _LEAF)
        return region.text(node, force=cell.type == "$sshr")

    # Cells

    def _cell(self, value: Value):
        """The operator that may be written in the place of ``value``: one without a name that is read here only."""
        if len(value) != 1 or not isinstance(value[0], Slice):
            return None
        wire, start, bits = value[0]
        cell = self._drivers.get(wire)
        if not isinstance(cell, Cell) or not wire.anonymous or wire in self.kept or self._uses[wire] != 1:
            return None
        if start or bits != wire.width:
            return None
        return cell

    def _keep(self, wire) -> str:
        self.kept[wire] = None
        return self._name(wire)

    def _assigned_cell(self, cell, bits):
        single = self._single_bit(cell)
        if single is not None:
            return single.text
        region, node = self._region_of(cell, bits)
        return region.text(node, force=cell.type == "$sshr").text

    def _region_of(self, cell, bits):
        """A region of its own for the operator, and the operator in it."""
        region = _Region()
        if cell.type not in ("$shr", "$sshr"):
            return region, self._node(region, cell, bits, cell.signed)
        # The upper bits come down: all of the operand matters.
        a = cell.ports["A"]
        region.require(cell.signed)
        operand = self._operand(region, a, max(bits, width(a)), cell.signed)
        try:
            region.widen(width(a))
        except _TooNarrow:
            self._keep(a[0].wire)
            return self._region_of(cell, bits)
        return region, _Node(SHIFTS[cell.type], [operand], self.exact(cell.ports["B"]).beside())

    def _node(self, region, cell, demand, signed):
        """The operator with its operands in the region; the lowest ``demand`` bits of its result will be right."""
        self._require_for(
            region,
            [cell.ports[name] for name in ("A", "B") if name in cell.ports][: 1 if cell.type == "$shl" else 2],
            demand,
            signed,
        )
        if cell.type == "$mux":
            condition = self.exact(cell.ports["S"]).beside()
            return _Node(_CHOICE, [self._operand(region, cell.ports[name], demand, signed) for name in "BA"], condition)
        if cell.type in ("$not", "$neg"):
            return _Node("~" if cell.type == "$not" else "-", [self._operand(region, cell.ports["A"], demand, signed)])
        if cell.type == "$shl":
            operand = self._operand(region, cell.ports["A"], demand, signed)
            return _Node("<<", [operand], self.exact(cell.ports["B"]).beside())
        return _Node(BINARY[cell.type], [self._operand(region, cell.ports[name], demand, signed) for name in "AB"])

    def _operand(self, region, value, demand, signed):
        """``value`` within a region: its lowest ``demand`` bits, extended as ``signed`` says, have to be right."""
        cell = self._cell(value)
        if cell is not None and cell.type in MODULAR and not _is_single_bit(cell):
            bits = width(value)
            if bits >= demand:
                fits, inner = True, cell.signed
            else:
                fits, inner = _exact_beyond(cell, bits, signed), signed
            if fits:
                before, leaves = region.signed, len(region.leaves)
                try:
                    return self._node(region, cell, demand, inner)
                except _Conflict:
                    region.signed = before
                    del region.leaves[leaves:]
        return self._leaf_in(region, value, demand, signed)

    def _leaf_in(self, region, value, demand, signed):
        """``value`` as an operand of a region that is no operator of the region."""
        leaf = self._leaf(value if self._cell(value) else low(value, demand), demand)
        if leaf.width > demand and self._cell(value) is None:
            # It got a wire meanwhile.
            leaf = self._leaf(low(value, demand), demand)
        if leaf.bits is not None and leaf.width < demand:
            leaf.bits = (leaf.bits[0] if signed else "0") * (demand - leaf.width) + leaf.bits
            leaf.width = demand
        if leaf.width < demand:
            region.require(signed)
        region.leaves.append(leaf)
        return leaf

    @staticmethod
    def _require_for(region, values, demand, signed):
        """Ask for the signedness that the shortest operand needs, before operators within others ask for theirs."""
        if any(width(value) < demand and not all(isinstance(chunk, str) for chunk in value) for value in values):
            region.require(signed)

    def _leaf(self, value, demand):
        bits = width(value)
        if not value:
            return _Leaf("1'd0", 1, False, demand, bits="0")
        if len(value) == 1 and isinstance(value[0], str):
            return _Leaf("", bits, False, demand, bits=value[0])
        cell = self._cell(value)
        if cell is None:
            text, signed, top = self._plain(value)
            return _Leaf(text, bits, signed, demand, top=top)
        single = self._single_bit(cell)
        if single is not None:
            return _Leaf(single.beside(), bits, False, demand)
        text = self.exact(value)
        if text.kind == _LEAF:
            wire = value[0].wire
            top = f"{text.text}[{bits - 1}]" if bits > 1 else text.text
            return _Leaf(text.text, bits, _is_signed(wire), demand, top=top)
        # Braces make a region of its own, and unsigned.
        return _Leaf(f"{{{text.text}}}", bits, False, demand)

    def _single_bit(self, cell):
        """Operators whose result is one bit, whatever surrounds them; None for others."""
        if not _is_single_bit(cell):
            return None
        if cell.type in COMPARISONS:
            return self._comparison(cell)
        if cell.type in REDUCTIONS:
            return Text(f"{REDUCTIONS[cell.type]}{self.exact(cell.ports['A']).beside()}", _REDUCTION)
        return Text(f"!{self.exact(low(cell.ports['A'], 1)).beside()}", _UNARY)

    def _comparison(self, cell):
        a, b = cell.ports["A"], cell.ports["B"]
        bits, ordered = max(width(a), width(b)), cell.type not in ("$eq", "$ne")
        operator = COMPARISONS[cell.type]
        for place in (self._operand, self._leaf_in, self._wire_in):
            region = _Region()
            if ordered:
                region.require(cell.signed)
            self._require_for(region, (a, b), bits, cell.signed)
            try:
                nodes = [place(region, value, bits, cell.signed) for value in (a, b)]
                region.widen(bits)
            except (_Conflict, _TooNarrow):
                continue
            texts = [region.text(node, force=ordered).beside() for node in nodes]
            return Text(f"{texts[0]} {operator} {texts[1]}", operator)
        raise AssertionError("wires fit in any region")

    def _wire_in(self, region, value, bits, signed):
        """``value`` as an operand of a region, with a wire of its own if it is an operator."""
        if self._cell(value) is not None:
            self._keep(value[0].wire)
        return self._leaf_in(region, value, bits, signed)

    # Plain values

    def _plain(self, value: Value):
        """A value that is no operator to be written in place.

        Its text; whether Verilog takes it for signed; its top bit if that can be named.
        """
        if not value:
            return "1'd0", False, None
        if len(value) == 1:
            chunk = value[0]
            if isinstance(chunk, str):
                return constant(chunk), False, None
            return self._slice(chunk)
        parts = []
        chunks = list(reversed(value))
        while chunks:
            count = next((i for i, other in enumerate(chunks) if other != chunks[0]), len(chunks))
            text = self.exact((chunks[0],)).text
            parts.append(text if count == 1 else f"{{{count}{{{text}}}}}")
            del chunks[:count]
        if len(parts) == 1:
            return parts[0], False, None
        return "{" + ", ".join(parts) + "}", False, None

    def _slice(self, chunk: Slice):
        wire, start, bits = chunk
        if wire.anonymous and isinstance(self._drivers.get(wire), Cell):
            self.kept[wire] = None
        name = self._name(wire)
        if bits == wire.width:
            return name, _is_signed(wire), f"{name}[{bits - 1}]" if bits > 1 else name
        end = start + bits - 1
        return f"{name}[{start}]" if bits == 1 else f"{name}[{end}:{start}]", False, f"{name}[{end}]"


def _is_signed(wire):
    """Whether a wire is declared signed: single bits are not."""
    return wire.signed and wire.width > 1


def _is_single_bit(cell):
    """Whether the operator's result is one bit, whatever surrounds it."""
    return cell.type in COMPARISONS or cell.type in REDUCTIONS or (cell.type == "$not" and width(cell.ports["Y"]) == 1)


def _exact_beyond(cell, bits, signed):
    """Whether an operator may be evaluated with more bits.

    So it may if its result of ``bits`` bits, extended as ``signed`` says, is what the operator then gives, its operands
    extended as ``signed`` says.
    """
    sizes = [width(cell.ports[name]) for name in ("A", "B") if name in cell.ports]
    if cell.type in ("$and", "$or", "$xor", "$mux"):
        return all(size == bits for size in sizes) or cell.signed == signed
    if cell.type == "$not":
        return signed and (sizes[0] == bits or cell.signed)
    if cell.signed != signed:
        return False
    if cell.type == "$add":
        return bits > max(sizes)
    if cell.type == "$sub":
        return signed and bits > max(sizes)
    if cell.type == "$neg":
        return signed and bits > sizes[0]
    if cell.type == "$mul":
        return bits >= sum(sizes)
    return False

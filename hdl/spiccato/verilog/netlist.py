"""A module's netlist, brought into the form that its Verilog has.

What Amaranth writes has a wire for each operator and for each name in the source, used or not. Here equal operators
become one, results lose the bits that nothing takes, names go to the results that they stand for, and what reaches
neither a port nor an instance is dropped. Nothing here changes what a register or a port holds in any cycle.
"""

import re
from collections import Counter
from dataclasses import dataclass

from .rtlil import (
    Assign,
    Cell,
    Module,
    RtlilError,
    Slice,
    Switch,
    Value,
    Wire,
    joined,
    low,
    mapped,
    piece,
    whole,
    width,
    wires_of,
)

__all__ = [
    "ALIAS",
    "BINARY",
    "COMPARISONS",
    "MODULAR",
    "OPERATORS",
    "REDUCTIONS",
    "SHIFTS",
    "Netlist",
    "Register",
    "operands",
]

#: Verilog's operators by the cells' types.
BINARY = {"$add": "+", "$sub": "-", "$mul": "*", "$and": "&", "$or": "|", "$xor": "^"}
SHIFTS = {"$shl": "<<", "$shr": ">>", "$sshr": ">>>"}
COMPARISONS = {"$eq": "==", "$ne": "!=", "$lt": "<", "$le": "<=", "$gt": ">", "$ge": ">="}
REDUCTIONS = {"$reduce_or": "|", "$reduce_and": "&", "$reduce_xor": "^", "$reduce_bool": "|"}
OPERATORS = {*BINARY, *SHIFTS, *COMPARISONS, *REDUCTIONS, "$not", "$neg", "$mux", "$shift"}
#: Operators of whose result the lowest bits depend on as many bits of the operands only.
MODULAR = {*BINARY, "$shl", "$not", "$neg", "$mux"}
#: Type of the cell that gives a value a name; of this module's making.
ALIAS = "alias"


@dataclass(eq=False)
class Register:
    """A register: ``wire`` takes at an edge of ``clock`` what ``body`` assigns to it, else keeps its value."""

    wire: Wire
    clock: Value
    edge: str
    body: tuple


def operands(cell: Cell) -> list[Value]:
    """The values that a cell or an instance reads."""
    return [value for name, value in cell.ports.items() if name not in cell.outputs]


class Netlist:
    """The netlist of one module, simplified.

    Attributes
    ----------
    ports : wires with a direction
    drivers : wire -> operator, :data:`ALIAS` cell or body of a process; all wires but inputs, registers and outputs
        of instances
    registers : those that reach a port or an instance
    instances : cells

    Raises
    ------
    RtlilError
        At a cell that is not known, or a register without a name.
    """

    def __init__(self, module: Module):
        self.name = module.name
        self.wires = list(module.wires.values())
        self.ports = [wire for wire in self.wires if wire.direction]
        self.drivers: dict = {}
        self.registers: list[Register] = []
        self.instances: list[Cell] = []
        self._same: dict[Wire, Value] = {}
        self._names: dict[Wire, Value] = {}
        for wire in self.wires:
            # What Amaranth calls a signal for which it found no name.
            if re.match(r"\\\$(signal|like)\b", wire.name):
                wire.name = wire.name[1:]
        self._collect(module)
        self._merge_equal()
        self._narrow()
        self._give_names()
        self._check_names()
        live = self.live()
        self.drivers = {wire: driver for wire, driver in self.drivers.items() if wire in live}
        self.registers = [register for register in self.registers if register.wire in live]
        for register in self.registers:
            self._inline_body(register)
            register.body = self._with_tables(register.body)

    # Reading the cells

    def _collect(self, module):
        flipflops = []
        for cell in module.cells:
            if cell.is_instance:
                self.instances.append(cell)
            elif cell.type == "$dff":
                flipflops.append(cell)
            elif cell.type in OPERATORS:
                self._operator(cell)
            else:
                raise RtlilError(f"module {module.name}: cell {cell.type} is not known to the Verilog writer")
        for body in module.processes:
            self._process(body)
        for (target, *rest), value in module.connections:
            if rest or target.width != target.wire.width:
                raise RtlilError(f"module {module.name}: a connection to a part of a wire is not known")
            if target.wire.direction == "output":
                self.drivers[target.wire] = Cell(ALIAS, target.wire.name, ports={"A": value})
            else:
                self._names[target.wire] = value
        for cell in flipflops:
            edge = "posedge" if cell.parameters["CLK_POLARITY"] == "1" else "negedge"
            wire = cell.ports["Q"][0].wire
            self.registers.append(Register(wire, cell.ports["CLK"], edge, (Assign(whole(wire)[0], cell.ports["D"]),)))
        self._replace(self._resolve)

    def _operator(self, cell):
        wire = cell.ports["Y"][0].wire
        if cell.type == "$shift":
            if cell.signed or cell.parameters["B_SIGNED"] == "1":
                raise RtlilError(f"module {self.name}: cell $shift of signed values is not known to the Verilog writer")
            cell.type = "$shr"
        a, b = cell.ports["A"], cell.ports.get("B", ())
        if cell.type in SHIFTS and all(isinstance(chunk, str) for chunk in b):
            self._same[wire] = _shifted(cell, a, int(b[0], 2) if b else 0, wire.width)
        elif (constant := _constant_comparison(cell, a, b)) is not None:
            self._same[wire] = (constant,)
        elif cell.type in REDUCTIONS and width(a) == 1:
            self._same[wire] = joined([*a, *(["0" * (wire.width - 1)] if wire.width > 1 else [])])
        else:
            self.drivers[wire] = cell
            if not wire.anonymous and wire in self._same:
                del self._same[wire]
            return
        if not wire.anonymous:
            self.drivers[wire] = Cell(ALIAS, wire.name, ports={"A": self._same.pop(wire)})

    def _process(self, body):
        wire = body[0].target.wire
        if all(isinstance(item, Assign) for item in body):
            value = body[0].value
            for item in body[1:]:
                start, end = item.target.low, item.target.low + item.target.width
                value = joined([*piece(value, 0, start), *item.value, *piece(value, end, wire.width - end)])
            if wire.anonymous:
                self._same[wire] = value
            else:
                self.drivers[wire] = Cell(ALIAS, wire.name, ports={"A": value})
        elif mux := _as_mux(body):
            self.drivers[wire] = Cell("$mux", wire.name, ports={**mux, "Y": whole(wire)})
        else:
            self.drivers[wire] = body

    # Replacing values

    def _resolve(self, value: Value) -> Value:
        """``value`` without the wires that stand for other values."""
        while any(chunk.wire in self._same for chunk in wires_of(value)):
            value = joined(
                part
                for chunk in value
                for part in (
                    piece(self._same[chunk.wire], chunk.low, chunk.width)
                    if isinstance(chunk, Slice) and chunk.wire in self._same
                    else (chunk,)
                )
            )
        return value

    def _replace(self, change):
        """Replace all values that are read by ``change(value)``."""
        for cell in [*self.instances, *(driver for driver in self.drivers.values() if isinstance(driver, Cell))]:
            cell.ports = {name: value if name in cell.outputs else change(value) for name, value in cell.ports.items()}
        for wire, driver in self.drivers.items():
            if not isinstance(driver, Cell):
                self.drivers[wire] = mapped(driver, change)
        for register in self.registers:
            register.body, register.clock = mapped(register.body, change), change(register.clock)
        self._names = {wire: change(value) for wire, value in self._names.items()}

    def _merge_equal(self):
        """Operators that compute the same become one."""
        while True:
            seen: dict = {}
            found = False
            for wire, cell in list(self.drivers.items()):
                if not isinstance(cell, Cell) or cell.type == ALIAS:
                    continue
                key = (cell.type, cell.signed, wire.width, *operands(cell))
                other = seen.setdefault(key, wire)
                if other is wire:
                    continue
                if not wire.anonymous and other.anonymous:
                    seen[key], wire, other = wire, other, wire
                if wire.anonymous:
                    self._same[wire] = whole(other)
                    del self.drivers[wire]
                    found = True
            if not found:
                return
            self._replace(self._resolve)

    # Liveness, narrowing

    def _values_of(self, wire):
        """Values that the driver of ``wire`` reads."""
        driver = self.drivers.get(wire)
        if isinstance(driver, Cell):
            return operands(driver)
        if driver is not None:
            return list(_read(driver))
        register = self._register_of.get(wire)
        return [*_read(register.body), register.clock] if register else []

    def live(self) -> set:
        """Wires that a port or an instance depends on."""
        self._register_of = {register.wire: register for register in self.registers}
        stack = [wire for wire in self.ports if wire.direction == "output"]
        for cell in self.instances:
            stack += [chunk.wire for value in operands(cell) for chunk in wires_of(value)]
        live = set()
        while stack:
            wire = stack.pop()
            if wire not in live:
                live.add(wire)
                stack += [chunk.wire for value in self._values_of(wire) for chunk in wires_of(value)]
        return live

    def _narrow(self):
        """Results without a name lose the upper bits that nothing takes, and operands those that do not matter."""
        while True:
            live = self.live()
            top: Counter[Wire] = Counter()
            values = [value for wire in live for value in self._values_of(wire)]
            values += [value for cell in self.instances for value in cell.ports.values()]
            for value in values:
                for chunk in wires_of(value):
                    top[chunk.wire] = max(top[chunk.wire], chunk.low + chunk.width)
            changed = False
            for wire, cell in self.drivers.items():
                if not isinstance(cell, Cell) or cell.type not in MODULAR or wire not in live:
                    continue
                if wire.anonymous and top[wire] < wire.width:
                    wire.width, changed = top[wire], True
                    cell.ports["Y"] = whole(wire)
                for name in ("A",) if cell.type == "$shl" else ("A", "B"):
                    if name in cell.ports and width(cell.ports[name]) > wire.width:
                        cell.ports[name], changed = low(cell.ports[name], wire.width), True
            if not changed:
                return

    # Names

    def _give_names(self):
        """Names of the source go to what they stand for.

        Whole results take them, other values get a wire of that name if they are read as they are.
        """
        for wire, value in [
            *(
                (port, self.drivers[port].ports["A"])
                for port in self.ports
                if port in self.drivers and isinstance(self.drivers[port], Cell) and self.drivers[port].type == ALIAS
            ),
            *self._names.items(),
        ]:
            value = self._resolve(value)
            if len(value) == 1 and isinstance(value[0], Slice) and value[0].width == value[0].wire.width:
                driven = value[0].wire
                if driven is not wire and self._is_better(wire, driven):
                    self._rename(driven, wire)
        by_value: dict = {}
        for wire, value in self._names.items():
            value = self._resolve(value)
            chunks = [chunk for chunk in value if not isinstance(chunk, str)]
            if (
                not wire.anonymous
                and width(value) == wire.width
                and len(chunks) == len(value)
                and not (len(value) == 1 and chunks[0].width == chunks[0].wire.width)
                and all(chunk.low + chunk.width <= chunk.wire.width for chunk in chunks)
            ):
                by_value.setdefault(value, wire)

        def named(value):
            value = self._resolve(value)
            if value in by_value:
                return whole(by_value[value])
            return tuple(whole(by_value[chunk,])[0] if (chunk,) in by_value else chunk for chunk in value)

        self._names = {}
        self._replace(named)
        for value, wire in by_value.items():
            self.drivers[wire] = Cell(ALIAS, wire.name, ports={"A": value})

    @staticmethod
    def _is_better(wire, driven):
        """Whether the name of ``wire`` says more than that of ``driven``, which drives it."""
        if driven.anonymous or driven.direction:
            return driven.anonymous
        if wire.direction:
            return driven.name.split("$")[0] == wire.name
        # The name of an instance's port gives way to a signal's own.
        return "__" in driven.name and "__" not in wire.name and not wire.anonymous

    def _rename(self, driven, wire):
        """What drives ``driven`` drives ``wire`` instead."""
        if driven not in self.drivers and all(register.wire is not driven for register in self.registers):
            return
        self.drivers.pop(wire, None)
        self._names.pop(wire, None)
        self._same[driven] = whole(wire)
        if driven in self.drivers:
            driver = self.drivers.pop(driven)
            if isinstance(driver, Cell):
                driver.ports["Y"] = whole(wire)
            else:
                driver = _retargeted(driver, wire)
            self.drivers[wire] = driver
        else:
            register = next(register for register in self.registers if register.wire is driven)
            register.wire, register.body = wire, _retargeted(register.body, wire)
        for name, value in driven.attributes.items():
            wire.attributes.setdefault(name, value)

    def _check_names(self):
        nameless = [register.wire.name for register in self.registers if register.wire.anonymous]
        if nameless:
            raise RtlilError(
                f"module {self.name}: registers without a name ({', '.join(nameless)}); give their Signals one where "
                f"they are made (name=...)"
            )

    # Registers

    def _inline_body(self, register):
        """A register's process, if no one else takes its result, is the register's own."""
        value = register.body[0].value
        if not (len(value) == 1 and isinstance(value[0], Slice) and value[0].wire.anonymous):
            return
        following = value[0].wire
        driver = self.drivers.get(following)
        if isinstance(driver, Cell) and driver.type == "$mux" and driver.name == following.name:
            # What was a process of one choice.
            body = (
                Assign(whole(register.wire)[0], driver.ports["A"]),
                Switch(driver.ports["S"], ((("1",), (Assign(whole(register.wire)[0], driver.ports["B"]),)),)),
            )
        elif driver is not None and not isinstance(driver, Cell):
            body = _retargeted(driver, register.wire)
        else:
            return
        if value[0].width != following.width or following.width != register.wire.width or self._uses(following) != 1:
            return
        del self.drivers[following]
        register.body = body[1:] if body[0].value == whole(register.wire) else body

    def _with_tables(self, body):
        """A register's body with the processes in place whose result it takes as it is, and no one else."""
        found: list = []
        for number, item in enumerate(body):
            if isinstance(item, Switch):
                item = item._replace(
                    cases=tuple((patterns, self._with_tables(inner)) for patterns, inner in item.cases)
                )
            elif number == 0 and len(item.value) == 1 and isinstance(item.value[0], Slice):
                wire, _, bits = item.value[0]
                driver = self.drivers.get(wire)
                if (
                    driver is not None
                    and not isinstance(driver, Cell)
                    and wire.anonymous
                    and self._uses(wire) == 1
                    and bits == wire.width
                    and item.target.width == item.target.wire.width
                    and not any(isinstance(other, Assign) for other in body[1:])
                ):
                    del self.drivers[wire]
                    found += _retargeted(driver, item.target.wire)
                    continue
            found.append(item)
        return tuple(found)

    def _uses(self, wire):
        """How often a wire is read."""
        values = [
            value
            for driver in self.drivers.values()
            for value in (operands(driver) if isinstance(driver, Cell) else _read(driver))
        ]
        values += [value for register in self.registers for value in _read(register.body)]
        values += [value for cell in self.instances for value in operands(cell)]
        return sum(chunk.wire is wire for value in values for chunk in wires_of(value))


def _constant_comparison(cell, a, b):
    """The result of a comparison of which the operands' ranges tell it; None for others."""
    if cell.type not in ("$lt", "$le", "$gt", "$ge") or cell.signed or width(cell.ports["Y"]) != 1:
        return None
    results = {"$lt": "0", "$ge": "1", "$le": "1", "$gt": "0"}
    for type_, value, other in ((cell.type, a, b), (cell.type.translate(str.maketrans("lg", "gl")), b, a)):
        # `value < 0` and `value > its largest`, and their opposites.
        if all(isinstance(chunk, str) for chunk in other):
            number = int(other[0], 2) if other else 0
            if type_ in ("$lt", "$ge") and number == 0 or type_ in ("$le", "$gt") and number >= 2 ** width(value) - 1:
                return results[type_]
    return None


def _shifted(cell, a, by, bits):
    """The value of a shift by a constant."""
    if cell.type == "$shl":
        a = joined(["0" * by, *a]) if by else a
        fill = a[-1:] and piece(a, width(a) - 1, 1) if cell.signed else ("0",)
        return low(joined([*a, *fill * max(0, bits - width(a))]), bits)
    sign = piece(a, width(a) - 1, 1) if cell.signed and a else ("0",)
    a = joined([*a, *sign * max(0, bits - width(a))])
    return piece(joined([*a, *(sign if cell.type == "$sshr" else ("0",)) * by]), by, bits)


def _as_mux(body):
    """Ports of a multiplexer that does what a process does, if that is one choice between two values."""
    if len(body) != 2 or not isinstance(body[1], Switch) or width(body[1].test) != 1:
        return None
    default, choice = body
    values: dict = {}
    for patterns, inner in choice.cases:
        if len(inner) > 1 or inner and (not isinstance(inner[0], Assign) or inner[0].target != default.target):
            return None
        value = inner[0].value if inner else default.value
        for pattern in patterns or ("0", "1"):
            values.setdefault(pattern, value)
    if not set(values) <= {"0", "1"}:
        return None
    return {"S": choice.test, "A": values.get("0", default.value), "B": values.get("1", default.value)}


def _retargeted(body, wire):
    """A body that assigns to ``wire`` instead."""
    return tuple(
        item._replace(target=item.target._replace(wire=wire))
        if isinstance(item, Assign)
        else item._replace(cases=tuple((patterns, _retargeted(inner, wire)) for patterns, inner in item.cases))
        for item in body
    )


def _read(body):
    """All values that a body reads."""
    for item in body:
        if isinstance(item, Assign):
            yield item.value
        else:
            yield item.test
            for _, inner in item.cases:
                yield from _read(inner)

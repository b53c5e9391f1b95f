"""The text of a module."""

import re
from collections import Counter
from typing import Any, NamedTuple

from .blocks import blocks
from .expressions import Expressions, constant
from .netlist import Netlist, operands
from .rtlil import ALWAYS, Assign, Cell, Module, Slice, piece, width, wires_of

__all__ = ["LINE", "Written", "module_name", "write_module"]

#: Longest line, where it can be helped.
LINE = 118

#: Reserved in Verilog-2005 or in SystemVerilog, which tools may take a file for.
_KEYWORDS = frozenset(
    """
always and assign automatic begin buf bufif0 bufif1 case casex casez cell cmos config deassign default defparam design
disable edge else end endcase endconfig endfunction endgenerate endmodule endprimitive endspecify endtable endtask event
for force forever fork function generate genvar highz0 highz1 if ifnone incdir include initial inout input instance
integer join large liblist library localparam macromodule medium module nand negedge nmos nor noshowcancelled not notif0
notif1 or output parameter pmos posedge primitive pull0 pull1 pulldown pullup pulsestyle_ondetect pulsestyle_onevent
rcmos real realtime reg release repeat rnmos rpmos rtran rtranif0 rtranif1 scalared showcancelled signed small specify
specparam strong0 strong1 supply0 supply1 table task time tran tranif0 tranif1 tri tri0 tri1 triand trior trireg
unsigned use uwire vectored wait wand weak0 weak1 while wire wor xnor xor
accept_on alias always_comb always_ff always_latch assert assume before bind bins binsof bit break byte chandle checker
class clocking const constraint context continue cover covergroup coverpoint cross dist do endchecker endclass
endclocking endgroup endinterface endpackage endprogram endproperty endsequence enum eventually expect export extends
extern final first_match foreach forkjoin global iff ignore_bins illegal_bins implements implies import inside int
interconnect interface intersect join_any join_none let local logic longint matches modport nettype new nexttime null
package packed priority program property protected pure rand randc randcase randsequence ref reject_on restrict return
s_always s_eventually s_nexttime s_until s_until_with sequence shortint shortreal soft solve static string strong struct
super sync_accept_on sync_reject_on tagged this throughout timeprecision timeunit type typedef union unique unique0
until until_with untyped var virtual void wait_order weak wildcard with within
""".split()
)

#: Attributes of wires that are Amaranth's or yosys' own.
_INTERNAL = re.compile(r"init|src|generator|top|enum_(base_type|value_.*)")


class Written(NamedTuple):
    """A module's Verilog, and the names in it of the netlist's wires and instances that it has."""

    text: str
    names: dict[str, str]


def write_module(module: Module, ports=(), copy="keep") -> Written:
    """Write a module as Verilog.

    Parameters
    ----------
    module : Module
        As :func:`.rtlil.parse` gives it; changed on the way.
    ports : sequence of str
        Names of ports in the order wanted. Those that are not named come first, as clock and reset do.
    copy : str
        Attributes of registers that have Amaranth's attribute ``keep``.

    Raises
    ------
    RtlilError
        If it holds what the writer does not know, or registers without a name.
    """
    originals = {wire: name for name, wire in module.wires.items()}
    writer = _Writer(Netlist(module), list(ports), copy)
    text = writer.text()
    names = {originals.get(item) or item.name: name.strip().removeprefix("\\") for item, name in writer.names.items()}
    return Written(text, names)


class _Writer:
    def __init__(self, netlist, order, copy):
        self.netlist, self._copy = netlist, copy
        position = {name: number for number, name in enumerate(order)}
        self.ports = sorted(netlist.ports, key=lambda wire: position.get(wire.name[1:], -1))
        self.blocks = blocks(netlist.registers)
        self.live = netlist.live()
        self.registers = {register.wire for register in netlist.registers}
        self.names: dict = {}
        self._taken = set(_KEYWORDS)
        self._reserve_names()
        self.expressions = Expressions(netlist, self._count_uses(), self.name)

    # Names

    def _reserve_names(self):
        """Ports keep theirs, instances come next, then the signals without a suffix of Amaranth's."""
        for wire in self.ports:
            name = wire.name[1:]
            self.names[wire] = f"\\{name} " if name in _KEYWORDS or not re.fullmatch(r"[A-Za-z_]\w*", name) else name
            self._taken.add(name)
        for cell in self.netlist.instances:
            self.names[cell] = self._unique(cell.name)
        for wire in self.netlist.wires:
            if not wire.anonymous and not wire.direction and re.fullmatch(r"\\\w+", wire.name):
                self.name(wire)

    def name(self, item) -> str:
        """Name of a wire or an instance."""
        if item not in self.names:
            self.names[item] = self._unique("t_1" if item.anonymous else item.name)
        return self.names[item]

    def _unique(self, wanted):
        # Without Amaranth's suffix, if that is free.
        name = re.sub(r"\W+", "_", re.sub(r"\$\d+$", "", wanted.removeprefix("\\"))).strip("_") or "signal"
        if name[0].isdigit():
            name = f"n{name}"
        stem, number = (name, 1) if not re.fullmatch(r"t_\d+", name) else ("t", 1)
        while name in self._taken:
            number += 1
            name = f"{stem}_{number}"
        self._taken.add(name)
        return name

    # Uses

    def _count_uses(self):
        """How many places of the text read each wire; one that is repeated side by side is read once."""
        uses: Counter = Counter()

        def read(value):
            before = None
            for chunk in value:
                if isinstance(chunk, Slice) and chunk != before:
                    uses[chunk.wire] += 1
                before = chunk

        def walk(body):
            for item in body:
                if isinstance(item, Assign):
                    read(item.value)
                else:
                    read(item.test)
                    for _, inner in item.cases:
                        walk(inner)

        for driver in self.netlist.drivers.values():
            if isinstance(driver, Cell):
                for value in operands(driver):
                    read(value)
            else:
                walk(driver)
        for block in self.blocks:
            walk(block.body)
            if block.reset:
                read(block.reset[0])
                walk(block.reset[1])
        for cell in self.netlist.instances:
            for value in operands(cell):
                read(value)
        return uses

    # Text

    def text(self) -> str:
        drivers = self.netlist.drivers
        clocked = [line for block in self.blocks for line in self._clocked(block)]
        combinational = [
            line for wire, body in drivers.items() if not isinstance(body, Cell) for line in self._combinational(body)
        ]
        instances = [line for cell in self.netlist.instances for line in self._instance(cell)]
        assigned = {
            wire: self.expressions.driver(wire)
            for wire, driver in drivers.items()
            if isinstance(driver, Cell) and not wire.anonymous
        }
        while missing := [wire for wire in self.expressions.kept if wire not in assigned]:
            assigned |= {wire: self.expressions.driver(wire) for wire in missing}
        ports = [f"  {self._declared(wire)}" for wire in self.ports]
        lines = [f"module {module_name(self.netlist.name)} ("]
        for wire, line in zip(self.ports, ports):
            lines += self._attributes(wire.attributes, "  ")
            lines.append(line + ("," if wire is not self.ports[-1] else ""))
        lines.append(");")
        lines += self._declarations(assigned) + combinational + clocked + instances
        return "".join(f"{line}\n" for long in lines for line in _wrapped(long)) + "endmodule\n"

    def _declared(self, wire):
        """A declaration without its end, for a port with its direction."""
        is_register = (
            wire in self.registers or wire in self.netlist.drivers and not isinstance(self.netlist.drivers[wire], Cell)
        )
        words = [wire.direction] if wire.direction else []
        words.append("reg" if is_register else "wire")
        if wire.signed and wire.width > 1:
            words.append("signed")
        if wire.width > 1:
            words.append(f"[{wire.width - 1}:0]")
        words.append(self.name(wire))
        if wire in self.registers and "init" in wire.attributes:
            words.append(f"= {constant(wire.attributes['init'].split(chr(39))[1])}")
        return " ".join(words)

    def _declarations(self, assigned):
        """Registers, what instances and processes drive, then what operators drive, each before it is read."""
        lines = []
        driven = {
            value[0].wire
            for cell in self.netlist.instances
            for name, value in cell.ports.items()
            if name in cell.outputs
        }
        first = [
            wire
            for wire in self.netlist.wires
            if not wire.direction
            and (
                wire in self.registers
                or wire in self.netlist.drivers
                and wire not in assigned
                and not isinstance(self.netlist.drivers[wire], Cell)
                or wire in driven
                and wire in self.live
            )
        ]
        order, loops = _sorted({wire: self._operands_among(wire, assigned) for wire in assigned})
        for wire in [*first, *(wire for wire in order if wire in loops and not wire.direction)]:
            lines += self._attributes(wire.attributes, "  ")
            lines.append(f"  {self._declared(wire)};")
        for wire in order:
            if wire.direction or wire in loops:
                lines.append(f"  assign {self.name(wire)} = {assigned[wire]};")
            else:
                lines += self._attributes(wire.attributes, "  ")
                lines.append(f"  {self._declared(wire)} = {assigned[wire]};")
        return lines

    def _operands_among(self, wire, assigned):
        """Wires of ``assigned`` that the text of ``wire`` refers to, through what is folded into it."""
        found, stack, seen = [], [wire], {wire}
        while stack:
            for value in operands(self.netlist.drivers[stack.pop()]):
                for chunk in wires_of(value):
                    if chunk.wire in seen:
                        continue
                    seen.add(chunk.wire)
                    if chunk.wire in assigned:
                        found.append(chunk.wire)
                    elif isinstance(self.netlist.drivers.get(chunk.wire), Cell):
                        stack.append(chunk.wire)
        return found

    def _attributes(self, attributes, indent):
        kept = [
            self._copy if name == "keep" else f"{name} = {_parameter(value)}"
            for name, value in attributes.items()
            if not _INTERNAL.fullmatch(name)
        ]
        return [f"{indent}(* {', '.join(kept)} *)"] if kept else []

    # Processes

    def _clocked(self, block):
        # yosys merges equal registers unless their block says this as well.
        keep = "(* keep *) " if block.keep else ""
        lines = ["", f"  {keep}always @({block.edge} {self.expressions.exact(block.clock).text}) begin"]
        if block.reset:
            test, values = block.reset
            rest = self._statements(block.body, "<=", "      ")
            lines.append(f"    if ({self.expressions.exact(test).text}) begin")
            lines += self._statements(values, "<=", "      ")
            # One choice in the other branch goes on as `else if`.
            if len(block.body) == 1 and rest and rest[0].startswith("      if ("):
                lines.append(f"    end else {rest[0].strip()}")
                lines += [line[2:] for line in rest[1:]]
            else:
                lines += ["    end else begin", *rest, "    end"]
        else:
            lines += self._statements(block.body, "<=", "    ")
        return [*lines, "  end"]

    def _combinational(self, body):
        return ["", "  always @* begin", *self._statements(body, "=", "    "), "  end"]

    def _statements(self, body, operator, indent):
        lines = []
        for item in body:
            if isinstance(item, Assign):
                lines.append(f"{indent}{self._target(item.target)} {operator} {self.expressions.assigned(item.value)};")
            else:
                lines += self._switch(item, operator, indent)
        return lines

    def _target(self, target):
        wire, start, bits = target
        if bits == wire.width:
            return self.name(wire)
        return f"{self.name(wire)}[{start}]" if bits == 1 else f"{self.name(wire)}[{start + bits - 1}:{start}]"

    def _switch(self, switch, operator, indent):
        if switch.test == ALWAYS:
            # yosys 0.70 takes a bare assignment behind a choice within another for one before it.
            ((_, body),) = switch.cases
            return [
                f"{indent}if (1'd1) begin  // overrides what is above",
                *self._statements(body, operator, f"{indent}  "),
                f"{indent}end",
            ]
        conditions = _conditions(switch)
        if conditions is not None:
            return self._choice(conditions, operator, indent)
        wild = any("-" in pattern for patterns, _ in switch.cases for pattern in patterns)
        lines = [f"{indent}case{'z' * wild} ({self.expressions.exact(switch.test).text})"]
        has_default = False
        for patterns, body in switch.cases:
            if not patterns:
                has_default = True
            elif not body and not wild and not any(not others and inner for others, inner in switch.cases):
                # Nothing happens, as in the default.
                continue
            label = (
                ", ".join(
                    f"{len(pattern)}'b{pattern.replace('-', '?')}" if wild else constant(pattern)
                    for pattern in patterns
                )
                or "default"
            )
            statements = self._statements(body, operator, f"{indent}    ")
            if not statements:
                lines.append(f"{indent}  {label}: ;")
            elif len(statements) == 1:
                lines.append(f"{indent}  {label}: {statements[0].strip()}")
            else:
                lines += [f"{indent}  {label}: begin", *statements, f"{indent}  end"]
        if not has_default:
            lines.append(f"{indent}  default: ;")
        return [*lines, f"{indent}endcase"]

    def _choice(self, conditions, operator, indent):
        """``if`` and ``else if``.

        Conditions are pairs of bit and body; a bit of None holds always, a second member of a bit tells whether it is
        to be set or cleared.
        """
        while conditions and not conditions[-1][1]:
            conditions = conditions[:-1]
        lines: list = []
        for number, (bit, body) in enumerate(conditions):
            head = ""
            if bit is not None:
                text = self.expressions.exact(bit[0])
                wanted = bit[1]
                if not body and number == len(conditions) - 2 and conditions[-1][0] is None:
                    # Only the rest does anything.
                    body, wanted, conditions = conditions[-1][1], not wanted, conditions[:-1]
                head = f"if ({text.text if wanted else '!' + text.beside()}) "
            start = f"{indent}end else " if number else indent
            if number:
                lines.pop()
            lines += [f"{start}{head}begin", *self._statements(body, operator, f"{indent}  "), f"{indent}end"]
            if number == len(conditions) - 1:
                break
        return lines

    # Instances

    def _instance(self, cell):
        ports = []
        for name, value in cell.ports.items():
            unused = name in cell.outputs and not any(chunk.wire in self.live for chunk in wires_of(value))
            escaped = f"\\{name} " if name in _KEYWORDS else name
            ports.append(f"    .{escaped}({'' if unused else self.expressions.exact(value).text})")
        parameters = ", ".join(f".{name}({_parameter(value)})" for name, value in cell.parameters.items())
        head = module_name(cell.type) + (f" #({parameters})" if parameters else "")
        lines = ["", *self._attributes(cell.attributes, "  ")]
        if not ports:
            return [*lines, f"  {head} {self.names[cell]} ();"]
        return [*lines, f"  {head} {self.names[cell]} (", *(f"{port}," for port in ports[:-1]), ports[-1], "  );"]


def module_name(name: str) -> str:
    """A module's name in Verilog.

    Dots, between a part and what it holds, become underscores; a suffix that Amaranth adds to tell names apart goes.
    """
    return re.sub(r"\W+", "_", re.sub(r"\$\d+", "", name.removeprefix("\\")))


def _parameter(value):
    """A parameter's or an attribute's value."""
    if "'" in value and not value.startswith('"'):
        return constant(value.split("'")[1])
    return value


def _conditions(switch):
    """A switch as conditions on single bits, in order; None if it is no such switch.

    They are pairs of (bit, whether it is to be set) or None, and body.
    """
    size = width(switch.test)
    found: list[tuple[Any, Any]] = []
    for patterns, body in switch.cases:
        if not patterns:
            found.append((None, body))
        elif size == 1 and set(patterns) == {"0", "1"}:
            found.append((None, body))
        elif len(patterns) == 1 and size - patterns[0].count("-") == 1:
            pattern = patterns[0]
            place = size - 1 - next(number for number, digit in enumerate(pattern) if digit != "-")
            found.append(((piece(switch.test, place, 1), pattern[size - 1 - place] == "1"), body))
        else:
            return None
        if found[-1][0] is None:
            break
    if size == 1 and len(found) == 2 and None not in (found[0][0], found[1][0]) and found[0][0][1] != found[1][0][1]:
        # Set and cleared: one of them holds.
        found[1] = (None, found[1][1])
    return found


def _sorted(graph):
    """The keys, each after those that its value names; and those of which that cannot be said, being in a loop."""
    order, loops, state = [], set(), {}
    for root in graph:
        stack = [(root, iter(graph[root]))]
        if root in state:
            continue
        state[root] = "open"
        while stack:
            node, rest = stack[-1]
            following = next((other for other in rest if state.get(other) != "done"), None)
            if following is None:
                stack.pop()
                state[node] = "done"
                order.append(node)
            elif state.get(following) == "open":
                loops.add(following)
            else:
                state[following] = "open"
                stack.append((following, iter(graph[following])))
    return order, loops


def _wrapped(line):
    """A line in pieces of the usual length, broken at spaces."""
    indent = " " * (len(line) - len(line.lstrip()) + 4)
    while len(line) > LINE:
        at = line.rfind(" ", len(indent) + 1, LINE)
        # Not within an escaped name, which ends with a space.
        if at < 0 or line[:at].rfind("\\") > line[:at].rfind(" "):
            break
        yield line[:at]
        line = indent + line[at + 1 :]
    yield line

"""One module of the netlist as a graph: what each bit leads to, through logic, within the module."""

from collections.abc import Hashable, Iterable, Iterator
from typing import NamedTuple

from spiccato.families import Family

from ..depth import Rules
from ..depth.netlist import in_luts, is_dsp, ram_styles
from .names import Names
from .support import supports

__all__ = ["Driver", "Graph", "Instance", "Port"]

ADDERS = ("$add", "$sub", "$neg")
IGNORED = ("$scopeinfo", "$print", "$check", "$assert", "$assume", "$cover")

#: Pins by which a memory's clocked read is held and reset, a bit for each read port.
READ_CONTROLS = ("RD_EN", "RD_SRST", "RD_ARST")

#: LUT levels that an adder, a comparator or a read of LUT RAM stands for.
LEVELS = 2

#: Name of a module's port, and the bit of it.
Port = tuple[str, int]


class Driver(NamedTuple):
    """A bit that drives others: of a register, a memory's read data, or an input of the top module.

    Attributes
    ----------
    kind : the same for equal registers of a module, in whichever of its instances.
    support : the inputs of the module on which alone its value depends, past and present; None if it has others.
    """

    bit: int
    name: str
    kind: Hashable
    support: frozenset[Port] | None = None


class Instance(NamedTuple):
    """A kept module inside another."""

    name: str
    module: str
    pins: dict[str, list]

    def bit(self, port: Port) -> int | None:
        """What a bit of its ports is connected to, unless that is a constant."""
        bits = self.pins.get(port[0], ())
        return bits[port[1]] if port[1] < len(bits) and isinstance(bits[port[1]], int) else None


class Graph:
    """What the bits of one module lead to.

    Attributes
    ----------
    next : bit -> (other bit, LUT levels between).
    ends : bit -> numbers of the end points at which it arrives.
    blocks : for each end point, whether it is a memory block or the operand of a multiplier; else a register bit.
    places : for each end point, a name of what lies there.
    pins : bit -> (instance, port of it).
    inputs, outputs : port -> bit.
    drivers : what drives bits.
    registers : bits of registers and read data; ports: bit of an input -> its port; from_instance: bit of an output of
        an instance -> (instance, port).
    steps : data bit -> output bits of the registers behind it.
    inverted : bit -> the bit of which it is the inverse.
    multipliers, memories : their pins; memories with their names, and no LUT RAM.
    """

    def __init__(self, name: str, netlist: dict, graphs: "dict[str, Graph]", family: Family, is_top: bool):
        self.name = name
        self.is_dsp = is_dsp(name)
        self.next: dict[int, list[tuple[int, int]]] = {}
        self.ends: dict[int, list[int]] = {}
        self.blocks: list[bool] = []
        self.places: list[str] = []
        self.pins: dict[int, list[tuple[int, Port]]] = {}
        self.instances: list[Instance] = []
        self.drivers: list[Driver] = []
        self.steps: dict[int, list[int]] = {}
        self.inverted: dict[int, int] = {}
        self.multipliers: list[dict] = []
        self.memories: list[tuple[str, dict]] = []
        self.from_instance: dict[int, tuple[int, Port]] = {}
        self._made_of: dict[int, list] = {}  # bits of which another one is made, by logic or a register to be merged
        self._names = Names(netlist)
        self._family = family
        self._extra = 0  # bits of the graph's own are negative
        self.inputs: dict[Port, int] = {}
        self.outputs: dict[Port, int] = {}
        for port, info in netlist["ports"].items():
            bits = self.outputs if info["direction"] == "output" else self.inputs
            bits.update({(port, i): bit for i, bit in enumerate(info["bits"]) if isinstance(bit, int)})
        for cell_name, cell in netlist["cells"].items():
            self._add(cell_name, cell, graphs)
        self.registers = {driver.bit for driver in self.drivers}
        self.ports = {bit: port for port, bit in self.inputs.items()}
        if is_top:
            for (port, index), bit in self.inputs.items():
                many = len(netlist["ports"][port]["bits"]) > 1
                self._drive(bit, f"input {port}[{index}]" if many else f"input {port}")
        self.at_output: dict[int, list[Port]] = {}
        for port, bit in self.outputs.items():
            self.at_output.setdefault(bit, []).append(port)
        if self.is_dsp:
            self._seal()
        # A block's registers are not merged, and beyond the top there is nothing.
        self._supports = {} if is_top or self.is_dsp else supports(self._made_of, self.ports)
        self.drivers = [driver._replace(support=self._supports.get(driver.bit)) for driver in self.drivers]
        #: Input port -> {output port: LUT levels} of the ways through.
        self.through: dict[Port, dict[Port, int]] = {}
        for port, bit in () if is_top else self.inputs.items():
            if (bit in self.next or bit in self.at_output) and (found := self.arrive(self.closure({bit: 0}))):
                self.through[port] = found

    def support(self, bits: Iterable) -> frozenset[Port] | None:
        """The inputs on which alone some bits depend, past and present; None if they depend on others."""
        numbers = [bit for bit in bits if isinstance(bit, int)]
        if not all(bit in self._supports for bit in numbers):
            return None
        return frozenset().union(*(self._supports[bit] for bit in numbers))

    def closure(self, seeds: dict[int, int]) -> dict[int, int]:
        """All bits that some bits lead to, themselves included, with the most LUT levels on the way."""
        if not any(bit in self.next for bit in seeds):
            return dict(seeds)
        levels = dict.fromkeys(self._order(seeds), 0) | seeds
        for bit in list(levels):
            here = levels[bit]
            for other, cost in self.next.get(bit, ()):
                levels[other] = max(levels[other], here + cost)
        return levels

    def _order(self, seeds) -> Iterator[int]:
        """The bits that some lead to, each after all that leads to it; loops are cut somewhere."""
        order: list[int] = []
        seen: set[int] = set()
        for seed in seeds:
            if seed in seen:
                continue
            seen.add(seed)
            stack = [(seed, iter(self.next.get(seed, ())))]
            while stack:
                bit, following = stack[-1]
                for other, _ in following:
                    if other not in seen:
                        seen.add(other)
                        stack.append((other, iter(self.next.get(other, ()))))
                        break
                else:
                    order.append(bit)
                    stack.pop()
        return reversed(order)

    def arrive(self, levels: dict[int, int]) -> dict[Port, int]:
        """The output ports among some bits, with their LUT levels."""
        return {port: here for bit, here in levels.items() for port in self.at_output.get(bit, ())}

    # Building it

    def _add(self, name: str, cell: dict, graphs: "dict[str, Graph]"):
        kind, pins = cell["type"], cell["connections"]
        if kind in graphs:
            self._add_instance(Instance(name, kind, pins), graphs[kind])
        elif kind in IGNORED:
            pass
        elif kind == "$lut":
            self._lead(pins["A"], pins["Y"], int(len(pins["A"]) > 1))
            self._make(pins["A"], pins["Y"])
            if len(pins["A"]) == 1:
                self.inverted[pins["Y"][0]] = pins["A"][0]
        elif kind in ADDERS:
            self._add_adder(cell, pins)
        elif kind == "$mul":
            self.multipliers.append(pins)
            for operand in "AB":
                self._end(pins[operand], self._new_end(True, self._names.first(pins["Y"])))
            self._lead(pins["A"] + pins["B"], pins["Y"], LEVELS)
        elif kind == "$mem_v2":
            self._add_memory(name, cell, pins)
        elif "dff" in kind:
            self._add_register(cell, pins)
        else:
            inputs = [bit for pin, bits in pins.items() if pin not in ("Y", "Q") for bit in bits]
            self._lead(inputs, pins.get("Y") or pins.get("Q") or [], LEVELS)
            self._make(inputs, pins.get("Y", []))

    def _lead(self, inputs: list, outputs: list, levels: int):
        """All outputs depend on all inputs."""
        edges = [(bit, levels) for bit in outputs if isinstance(bit, int)]
        if len(edges) > 1:
            self._extra -= 1
            self.next[self._extra] = edges
            edges = [(self._extra, 0)]
        for bit in set(inputs):
            if isinstance(bit, int):
                self.next.setdefault(bit, []).extend(edges)

    def _make(self, inputs: list, outputs: list):
        """All outputs are what some inputs make them, and nothing else."""
        self._made_of.update((bit, inputs) for bit in outputs if isinstance(bit, int))

    def _add_adder(self, cell: dict, pins: dict):
        """Operand bits lead to the sum's bit of their place; the carry, where no operand has a bit."""
        operands = [(pins[pin], cell["parameters"][f"{pin}_SIGNED"][-1] == "1") for pin in ("A", "B") if pin in pins]
        self._make([bit for bits, _ in operands for bit in bits], pins["Y"])
        below: set[int] = set()
        for place, output in enumerate(pins["Y"]):
            # A sign leads to all places above it.
            own = {bits[min(place, len(bits) - 1)] for bits, signed in operands if place < len(bits) or signed}
            own = {bit for bit in own if isinstance(bit, int)}
            self._lead(list(own or below), [output], LEVELS)
            below |= own

    def _new_end(self, block: bool, place: str) -> int:
        self.blocks.append(block)
        self.places.append(place)
        return len(self.blocks) - 1

    def _end(self, bits, *ends: int):
        for bit in set(bits):
            if isinstance(bit, int):
                self.ends.setdefault(bit, []).extend(ends)

    def _drive(self, bit, name: str):
        if isinstance(bit, int):
            self.drivers.append(Driver(bit, name, bit))

    def _add_register(self, cell: dict, pins: dict):
        ends = []
        controls = [bit for pin, bits in pins.items() if pin not in ("D", "Q", "CLK") for bit in bits]
        for data, output in zip(pins["D"], pins["Q"]):
            name = self._names.register(output, cell)
            self._drive(output, name)
            ends.append(self._new_end(False, name))
            self._end([data], ends[-1])
            self.steps.setdefault(data, []).append(output)
            if "keep" not in cell["attributes"]:
                self._make([data, *controls], [output])
        self._end(controls, *ends)

    def _add_memory(self, name: str, cell: dict, pins: dict):
        label = cell["parameters"].get("MEMID", name).removeprefix("\\")
        number = {key: int(cell["parameters"][key], 2) for key in ("SIZE", "WIDTH", "ABITS", "RD_PORTS", "WR_PORTS")}
        width, abits = number["WIDTH"], number["ABITS"]
        if small := in_luts(cell, Rules()):
            shape = self._family.distributed
        else:
            ports = 1 if number["WR_PORTS"] else number["RD_PORTS"]
            _, shape = self._family.memory_shape(width, number["SIZE"], ultra="ultra" in ram_styles(cell), ports=ports)
            self.memories.append((label, pins))
        # Columns of blocks, each of which holds some of the bits.
        rows = -(-number["SIZE"] // shape.depth)
        columns = [[self._new_end(True, label) for _ in range(rows)] for _ in range(-(-width // shape.width))]
        # Reads of LUT RAM are enabled and reset at the ordinary registers behind it.
        for pin in ("WR_ADDR", "RD_ADDR", *(() if small else READ_CONTROLS)):
            self._end(pins[pin], *(end for column in columns for end in column))
        for pin in ("WR_DATA", "WR_EN"):
            for index, bit in enumerate(pins[pin]):
                self._end([bit], *columns[index % width // shape.width])
        clocked = cell["parameters"]["RD_CLK_ENABLE"][::-1]
        for port in range(number["RD_PORTS"]):
            address = pins["RD_ADDR"][port * abits : (port + 1) * abits]
            data = pins["RD_DATA"][port * width : (port + 1) * width]
            if clocked[port] == "0":
                self._lead(address, data, LEVELS)
            elif small:
                controls = [pins[pin][port] for pin in READ_CONTROLS]
                self._end(address + controls, *(self._new_end(False, label) for _ in data))
            for index, bit in enumerate(data):
                self._drive(bit, self._names.label(bit, f"{label}[{index}]"))

    def _add_instance(self, instance: Instance, child: "Graph"):
        number = len(self.instances)
        self.instances.append(instance)
        for port in child.inputs:
            if (bit := instance.bit(port)) is not None:
                self.pins.setdefault(bit, []).append((number, port))
        for port in child.outputs:
            if (bit := instance.bit(port)) is not None:
                self.from_instance[bit] = number, port
                if (inputs := child.support([child.outputs[port]])) is not None:
                    self._make([instance.bit(other) for other in inputs], [bit])
        for port, outputs in child.through.items():
            if (bit := instance.bit(port)) is not None:
                ways = [(other, levels) for output, levels in outputs.items() if (other := instance.bit(output))]
                self.next.setdefault(bit, []).extend(ways)

    def _seal(self):
        """A DSP stage: its inputs are operands, its registers the block's own."""
        used = self.next.keys() | self.ends.keys() | self.pins.keys()
        self.drivers = [driver for driver in self.drivers if self.arrive(self.closure({driver.bit: 0}))]
        self.blocks, self.places, self.ends, self.pins = [], [], {}, {}
        operands: dict[str, list[int]] = {}
        for (port, _), bit in self.inputs.items():
            if bit in used:
                operands.setdefault(port, []).append(bit)
        for port, bits in operands.items():
            self._end(bits, self._new_end(True, port))

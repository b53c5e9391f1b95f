"""Paths of one module of the netlist: from its graph to a summary that its parents work with."""

import re
from collections import Counter
from typing import Any

from .netlist import in_luts, is_dsp
from .report import ModuleReport, Report, TimingPath, Violation
from .rules import Cost
from .trail import FREE, Step, Trail, front

__all__ = ["Module"]

ADDERS = ("$add", "$sub", "$neg", "$lt", "$le", "$gt", "$ge")
COMPARATORS = ("$lt", "$le", "$gt", "$ge")
IGNORED = ("$scopeinfo", "$print", "$check", "$assert", "$assume", "$cover")

REGISTER = None  # the source of paths that start inside the module; other sources are its input bits


class Module:
    """Paths of one module.

    Attributes
    ----------
    from_registers : (output port, bit) -> trails from registers inside.
    to_registers : (input port, bit) -> trails to registers inside.
    through : (output port, bit) -> {(input port, bit): trails}.
    children : the kept modules inside, one entry per instance.
    """

    def __init__(self, name: str, netlist: dict, summaries: dict, report: Report, is_top: bool):
        self.name = name
        self.rules = report.rules
        self.is_top = is_top
        self.report = report
        self.stats = report.modules[name] = ModuleReport(name)
        self.children: list[str] = []
        self.to_registers: dict[Any, Any] = {}
        self._names = self._name_bits(netlist)
        self._arrivals: dict[Any, dict[Any, Any]] = {}  # bit -> {source: trails}
        self._cells: dict[Any, tuple] = {}  # bit -> (bits it depends on, function that sets the arrival)
        self._ends: list[tuple] = []  # (bit, trails from there to a register)
        self._paths: dict[Cost, Trail] = {}  # cost -> one path from register to register
        self._violations: dict[tuple[str, ...], Violation] = {}

        for port, info in netlist["ports"].items():
            if info["direction"] != "output":
                for index, bit in enumerate(info["bits"]):
                    self._start_at_input(bit, port, index)
        for cell_name, cell in netlist["cells"].items():
            self._add_cell(cell_name, cell, summaries)
        outputs = [
            (bit, (port, index))
            for port, info in netlist["ports"].items()
            if info["direction"] == "output"
            for index, bit in enumerate(info["bits"])
        ]
        if is_top:
            for bit, _ in outputs:
                self._end(bit, FREE, f"output {self._label(bit)}")
        self._propagate([bit for bit, _ in self._ends] + [bit for bit, _ in outputs])
        for bit, tails in self._ends:
            self._meet(bit, tails)
        self._measure()

        self.to_registers = {key: front(trails.values()) for key, trails in self.to_registers.items()}
        self.from_registers, self.through = {}, {}
        for bit, key in outputs:
            sources = dict(self._arrivals.get(bit, {}))
            self.from_registers[key] = sources.pop(REGISTER, [])
            self.through[key] = sources
        report.violations += self._violations.values()
        self.stats.violations = len(self._violations)
        # Parents need the summary only.
        del self._names, self._arrivals, self._cells, self._ends, self._paths, self._violations

    # Building the graph

    @staticmethod
    def _name_bits(netlist) -> dict[int, str]:
        """The shortest name from the source for each bit that has one."""
        names: dict[Any, tuple[str, int, int]] = {}
        for name, net in netlist["netnames"].items():
            if not net.get("hide_name") and not re.search(r"(^|\.)\\?\$", name):
                for index, bit in enumerate(net["bits"]):
                    if bit not in names or len(name) < len(names[bit][0]):
                        names[bit] = (name, index, len(net["bits"]))
        return {bit: f"{name}[{index}]" if width > 1 else name for bit, (name, index, width) in names.items()}

    def _label(self, bit, default: str = "") -> str:
        return self._names.get(bit, default)

    def _step(self, kind: str, label: str, outputs: list) -> Step:
        """A step through a cell, with the name of its output if the source gives it one."""
        return Step(kind, f"{label} {self._label(outputs[0])}".rstrip(), self.name)

    def _start(self, bit, label: str, cost: Cost = FREE):
        kind = "memory" if cost.mem else "start"
        self._arrivals[bit] = {REGISTER: [Trail(cost, None, Step(kind, label, self.name))]}

    def _start_at_input(self, bit, port: str, index: int):
        if self.is_top:
            self._start(bit, f"input {self._label(bit, port)}")
        else:
            self._arrivals[bit] = {(port, index): [Trail(FREE, None, None)]}

    def _end(self, bit, cost: Cost, label: str):
        if isinstance(bit, int):
            self._ends.append((bit, [Trail(cost, None, Step("end", label, self.name))]))

    def _add_cell(self, name: str, cell: dict, summaries: dict):
        kind, pins = cell["type"], cell["connections"]
        numbers = {
            key: int(value, 2)
            for key, value in cell["parameters"].items()
            if isinstance(value, str) and re.fullmatch("[01]{1,32}", value)
        }
        if kind in summaries:
            self.children.append(kind)
            self._add_instance(name, summaries[kind], pins)
        elif kind in IGNORED:
            pass
        elif kind == "$lut":
            self.stats.luts += 1
            cost, kind = (Cost(luts=1), "LUT") if numbers["WIDTH"] > 1 else (FREE, "inverter")
            self._add_logic(pins["A"], pins["Y"], cost, self._step(kind, kind, pins["Y"]))
        elif kind in ADDERS:
            width = max(numbers["A_WIDTH"], numbers.get("B_WIDTH", 0))
            if kind not in COMPARATORS:
                width = min(width, numbers["Y_WIDTH"])
            self._add_logic(
                pins["A"] + pins.get("B", []),
                pins["Y"],
                Cost(adds=1, bits=width),
                self._step("adder", f"{kind[1:]} {width} bits", pins["Y"]),
            )
        elif kind == "$mul":
            self._add_multiplier(pins, numbers)
        elif kind == "$mem_v2":
            self._add_memory(name, cell, pins, numbers)
        elif "dff" in kind:
            self._add_register(pins)
        else:
            problem = "latch" if "latch" in kind else f"cell {kind} has no place between registers"
            outputs = pins.get("Q") or pins.get("Y") or [name]
            self._violate(problem, FREE, [self._step("cell", kind[1:], outputs)])

    def _add_logic(self, inputs: list, outputs: list, cost: Cost, step: Step):
        """A cell whose outputs all depend on all its inputs."""
        inputs = [bit for bit in inputs if isinstance(bit, int)]

        def arrive():
            trails: dict[Any, Any] = {}
            for bit in set(inputs):
                for source, some in self._arrivals.get(bit, {}).items():
                    trails.setdefault(source, []).extend(some)
            result = {
                source: [Trail(trail.cost.then(cost), trail, step) for trail in front(some)]
                for source, some in trails.items()
            }
            for bit in outputs:
                self._arrivals[bit] = result

        for bit in outputs:
            self._cells[bit] = (inputs, arrive)

    def _add_multiplier(self, pins: dict, numbers: dict):
        self.stats.multipliers += 1
        size = sorted((numbers["A_WIDTH"], numbers["B_WIDTH"]), reverse=True)
        step = self._step("multiplier", f"mul {size[0]}x{size[1]}", pins["Y"])
        if any(bits > limit for bits, limit in zip(size, self.rules.mul_bits)):
            limit = "x".join(map(str, self.rules.mul_bits))
            self._violate(f"multiplier larger than one DSP block ({limit})", Cost(muls=1), [step])
        self._add_logic(pins["A"] + pins["B"], pins["Y"], Cost(muls=1), step)

    def _add_register(self, pins: dict):
        self.stats.registers += len(pins["Q"])
        for bit in pins["Q"]:
            self._start(bit, self._label(bit, "register"))
        for pin, bits in pins.items():
            for index, bit in enumerate(bits):
                if pin == "D":
                    self._end(bit, FREE, self._label(pins["Q"][index], "register"))
                elif pin not in ("Q", "CLK"):
                    self._end(bit, Cost(to_pin=1), f"{self._label(pins['Q'][0], 'register')} ({pin})")

    def _add_memory(self, name: str, cell: dict, pins: dict, numbers: dict):
        self.stats.memories += 1
        label = cell["parameters"].get("MEMID", name).removeprefix("\\")
        words, width, abits = numbers["SIZE"], numbers["WIDTH"], numbers["ABITS"]
        small = in_luts(cell, self.rules)
        for pin, bits in pins.items():
            if pin in ("WR_ADDR", "WR_DATA", "WR_EN", "RD_EN", "RD_SRST", "RD_ARST"):
                for bit in bits:
                    self._end(bit, Cost(to_pin=1), f"{label} ({pin})")
        clocked = cell["parameters"]["RD_CLK_ENABLE"][::-1]
        for port in range(numbers["RD_PORTS"]):
            address = pins["RD_ADDR"][port * abits : (port + 1) * abits]
            data = pins["RD_DATA"][port * width : (port + 1) * width]
            read = Step("ram", f"read {label}", self.name)
            if clocked[port] == "1":
                for bit in address:
                    luts = self.rules.small_luts if small else 0
                    self._end(bit, Cost(luts=luts, to_pin=1), f"{label} (RD_ADDR)")
                for bit in data:
                    self._start(bit, label, FREE if small else Cost(mem=1))
            else:
                self._add_logic(address, data, Cost(luts=self.rules.small_luts), read)
                if not small:
                    self.stats.memory_outputs_registered = False
                    self._violate(f"asynchronous read of a memory of {words} words", FREE, [read])

    def _add_instance(self, name: str, child: "Module", pins: dict):
        def within(trail):
            return Step("instance", name, self.name, trail)

        def connected(port, index):
            bits = pins.get(port)
            return bits[index] if bits else "x"

        for (port, index), trails in child.to_registers.items():
            bit = connected(port, index)
            if isinstance(bit, int):
                self._ends.append((bit, [Trail(trail.cost, None, within(trail)) for trail in trails]))
        for (port, index), inner in child.from_registers.items():
            bit = connected(port, index)
            if isinstance(bit, int):
                ways = [(connected(*source), trails) for source, trails in child.through[port, index].items()]
                self._cells[bit] = self._through_instance(bit, inner, ways, within)

    def _through_instance(self, output, inner: list[Trail], ways: list, within):
        """One output bit of an instance: ``inner`` from its registers, ``ways`` from other bits."""

        def arrive():
            trails = {REGISTER: [Trail(trail.cost, None, within(trail)) for trail in inner]}
            for bit, tails in ways:
                for source, heads in self._arrivals.get(bit, {}).items():
                    joined = [Trail(head.cost.then(tail.cost), head, within(tail)) for head in heads for tail in tails]
                    trails.setdefault(source, []).extend(joined)
            self._arrivals[output] = {source: front(some) for source, some in trails.items()}

        return [bit for bit, _ in ways if isinstance(bit, int)], arrive

    # Evaluating it

    def _propagate(self, roots: list):
        """Set the arrivals of all bits that the roots depend on, depth first without recursion."""
        active = set()
        stack = list(roots)
        while stack:
            bit = stack[-1]
            if bit in self._arrivals or bit not in self._cells:
                stack.pop()
                continue
            inputs, arrive = self._cells[bit]
            if bit in active:
                arrive()
                stack.pop()
                continue
            active.add(bit)
            for other in inputs:
                if other not in self._arrivals:
                    if other in active:
                        self._violate("combinational loop", FREE, [self._step("cell", "through", [other])])
                    else:
                        stack.append(other)

    def _meet(self, bit, tails: list[Trail]):
        """Join the paths that arrive at a bit with those that lead from it to registers."""
        for source, heads in self._arrivals.get(bit, {}).items():
            for head in heads:
                for tail in tails:
                    trail = Trail(head.cost.then(tail.cost), head, tail.step)
                    if source is REGISTER:
                        self._judge(trail)
                    else:
                        self.to_registers.setdefault(source, {})[trail.cost] = trail

    def _judge(self, trail: Trail):
        """Account for a path from register to register."""
        cost = trail.cost
        if cost not in self._paths:
            self._paths[cost] = trail
        if rule := self.rules.broken_by(cost, in_dsp=is_dsp(self.name)):
            self._violate(rule, cost, trail.steps())

    def _measure(self):
        """Fill in the path lengths of the report from one path of each cost."""
        for cost in self._paths:
            if not cost.adds and not cost.muls and not cost.mem:
                self.stats.lut_levels = max(self.stats.lut_levels, cost.luts)
            elif not cost.muls:
                self.stats.carry_bits = max(self.stats.carry_bits, cost.bits)
                self.stats.carry_luts = max(self.stats.carry_luts, cost.luts)
        if self._paths:
            worst = max(self._paths, key=self.rules.load)
            self.stats.worst = TimingPath(worst, tuple(step.label for step in self._paths[worst].steps()))

    def _violate(self, problem: str, cost: Cost, steps: list[Step]):
        """Record a violation; those that differ in numbers only share one, which shows the worst."""
        key = tuple(re.sub(r"\d+", "", text) for text in (problem, steps[0].label, steps[-1].label))
        path = TimingPath(cost, tuple(step.label for step in steps))
        known = self._violations.get(key)
        if known is None:
            self._violations[key] = Violation(self.name, problem, path)
            self._blame(cost, steps)
        else:
            known.paths += 1
            if self.rules.load(cost) > self.rules.load(known.path.cost):
                known.problem, known.path = problem, path

    def _blame(self, cost: Cost, steps: list[Step]):
        """Note in the report which memories and multipliers a bad path leaves unregistered."""
        modules = self.report.modules
        if cost.mem:
            modules[steps[0].module].memory_outputs_registered = False
        for index, step in enumerate(steps):
            if step.kind == "multiplier" and len(steps) > 1:
                before = {other.kind for other in steps[1:index]} - {"inverter"}
                after = Counter(other.kind for other in steps[index + 1 : -1] if other.kind != "inverter")
                if cost.mem or before:
                    modules[step.module].multiplier_inputs_registered = False
                if cost.to_pin or after.keys() - {"adder"} or after["adder"] > self.rules.dsp_adders:
                    modules[step.module].multiplier_outputs_registered = False

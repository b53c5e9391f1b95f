"""What was counted, judged by a profile, and as tables."""

from dataclasses import dataclass, field

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from spiccato.families import Family, Profile, Reach

from .equal import Merged
from .hierarchy import Crossing, Hierarchy
from .names import pattern
from .registers import KINDS, Registered, kinds_of, registered

__all__ = ["ReachReport", "Width", "count", "print_reach"]

#: LUT levels on the way between two regions, the rest excepted, where there are registers at all edges.
_CROSSING_LEVELS = 1
#: Outputs of the top module for each driver: what takes them lies outside, all at the ports.
_OUTPUTS = 128


@dataclass
class Width:
    """Driving bits of one kind: their names differ in numbers only.

    Attributes
    ----------
    name, reach : of the widest of them.
    bits : how many there are in the design; over: of them, bits that reach too far.
    """

    name: str
    reach: Reach = Reach(0, 0)
    bits: int = 0
    over: int = 0

    def add(self, name: str, reach: Reach, bits: int, limit: Reach):
        """Account for another ``bits`` equal ones."""
        if _share(reach, limit) > _share(self.reach, limit):
            self.name, self.reach = name, reach
        self.bits += bits
        self.over += bits * (reach.blocks > limit.blocks or reach.registers > limit.registers)


@dataclass
class ReachReport:
    """Result of :func:`count`.

    Attributes
    ----------
    limit : of the profile.
    drivers : driving bits.
    widths : by kind, widest first.
    merged : registers that a tool may merge, equal in several instances of a module: of each kind those that reach
        furthest.
    registered : what blocks have which registers.
    crossings : by pair of regions.
    crossing_levels : LUT levels on the way between two regions, but for the rest, that the profile allows; or None.
    outputs : the most outputs of the top module that one driver reaches, and its name.
    unknown : regions and kinds of blocks that an accelerator has and that were not found, by their names.
    """

    top: str
    limit: Reach
    crossing_levels: int | None
    drivers: int = 0
    widths: list[Width] = field(default_factory=list)
    merged: list[Merged] = field(default_factory=list)
    registered: list[Registered] = field(default_factory=list)
    crossings: dict[tuple[str, str], Crossing] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    outputs: tuple[int, str] = (0, "")

    @property
    def violations(self) -> list[str]:
        """A line for each."""
        lines = [
            f"{width.name}: reaches {width.reach.blocks:,} blocks or operands and {width.reach.registers:,} register "
            f"bits (limits {self.limit.blocks} and {self.limit.registers}; {width.over:,} such bits)"
            for width in self.widths
            if width.over
        ]
        lines += [
            f"{alike.name}: {alike.registers} equal registers, once merged, reach {alike.reach.blocks:,} blocks or "
            f"operands and {alike.reach.registers:,} register bits (limits {self.limit.blocks} and "
            f"{self.limit.registers})"
            for alike in self.merged
            if _share(alike.reach, self.limit) > 1
        ]
        lines += [
            f"{kind.name}: {kind.number - kind.have[what]} of {kind.number} without {what} register"
            for kind in self.registered
            for what in kind.missing
        ]
        lines += [
            f"{start} to {end}: {crossing.levels} LUT levels (limit {self.crossing_levels}) from {crossing.worst}"
            for (start, end), crossing in self.crossings.items()
            if self.is_deep(start, end)
        ]
        number, driver = self.outputs
        if number > _OUTPUTS:
            lines.append(f"{driver}: reaches {number:,} outputs (limit {_OUTPUTS})")
        lines += [f"{name}: the netlist has nothing of that name, so that it was not judged" for name in self.unknown]
        return lines

    def is_deep(self, start: str, end: str) -> bool:
        """Whether there is more logic on the way between two regions than is allowed."""
        limit = self.crossing_levels
        return limit is not None and "rest" not in (start, end) and self.crossings[start, end].levels > limit

    @property
    def ok(self) -> bool:
        return not self.violations


def count(modules: dict, top: str, family: Family, profile: Profile, *, cores: int = 0) -> ReachReport:
    """Count what each driving bit reaches in a netlist that :func:`spiccato_sim.checks.depth.synthesise` has made.

    Parameters
    ----------
    modules : of the netlist.
    top : name of the top module.
    family : the shapes of its memory blocks are counted.
    profile : what is allowed.
    cores : of the accelerator in it, whose parts then have to be found by their names; 0 if there is none.
    """
    hierarchy = Hierarchy(modules, top, family)
    widths: dict[str, Width] = {}
    edges = profile.vector_register and profile.capture_register and profile.input_register
    report = ReachReport(top, profile.reach, _CROSSING_LEVELS if edges else None)
    for name, reach, instances, outputs in hierarchy.drivers():
        report.outputs = max(report.outputs, (outputs, name))
        widths.setdefault(pattern(name), Width(name)).add(name, reach, instances, profile.reach)
        report.drivers += instances
    report.widths = sorted(widths.values(), key=lambda width: -_share(width.reach, profile.reach))
    merged: dict[str, Merged] = {}
    for alike in sorted(hierarchy.merged, key=lambda alike: -_share(alike.reach, profile.reach)):
        merged.setdefault(pattern(alike.name), alike)
    report.merged = list(merged.values())
    report.registered = registered(hierarchy, profile)
    report.crossings = dict(sorted(hierarchy.crossings.items()))
    if cores:
        report.unknown = _unknown(report, cores)
    return report


def _unknown(report: ReachReport, cores: int) -> list[str]:
    """What an accelerator has and a report does not know of: by a name that is no longer what it was."""
    regions = {name for pair in report.crossings for name in pair}
    kinds = {kind for registers in report.registered for kind in kinds_of(registers.name)}
    expected = [*(f"core_{i}" for i in range(cores)), "vectors", "ingress", "egress"]
    return [name for name in expected if name not in regions] + [name for name in KINDS if name not in kinds]


def _share(reach: Reach, limit: Reach) -> float:
    """How much of what is allowed is taken."""
    return max(reach.blocks / limit.blocks, reach.registers / limit.registers)


def print_reach(report: ReachReport, console: Console | None = None):
    """Print the ten widest drivers, the registers around blocks, the crossings, and the violations."""
    console = console or Console()
    console.print(
        _table(
            f"Reach within {report.top}: the widest of {report.drivers:,} drivers; at most "
            f"{report.limit.blocks} blocks and operands, {report.limit.registers} register bits",
            ("driver", "alike", "blocks, operands", "register bits"),
            [
                (
                    escape(width.name),
                    f"{width.bits:,}",
                    _mark(width.reach.blocks, report.limit.blocks),
                    _mark(width.reach.registers, report.limit.registers),
                )
                for width in report.widths[:10]
            ],
        )
    )
    number, driver = report.outputs
    console.print(f"outputs: at most {number} of one driver (limit {_OUTPUTS}), {escape(driver)}", highlight=False)
    for title, columns in (
        ("Registers of the multipliers", ("operand", "product", "result")),
        ("Registers around the memory blocks", ("read address", "write port", "output")),
    ):
        console.print(
            _table(
                title,
                ("block", "number", *columns),
                [
                    (escape(kind.name), f"{kind.number:,}", *(_have(kind, what) for what in columns))
                    for kind in report.registered
                    if ("result" in kind.needed) == ("result" in columns)
                ],
            )
        )
    console.print(
        _table(
            "Crossings between regions"
            + (f"; but for the rest, at most {report.crossing_levels} LUT level" if report.crossing_levels else ""),
            ("from", "to", "bits", "LUT levels", "beyond one level", "deepest"),
            [
                (
                    *pair,
                    f"{crossing.bits:,}",
                    f"[red]{crossing.levels}[/]" if report.is_deep(*pair) else str(crossing.levels),
                    f"{crossing.deep:,}",
                    escape(crossing.worst),
                )
                for pair, crossing in report.crossings.items()
            ],
        )
    )
    for line in report.violations:
        console.print(f"[red]violation[/] {escape(line)}", highlight=False, soft_wrap=True)
    if any(width.over for width in report.widths):
        console.print(
            "(what needs a signal in more places gets it from `copies` or `DelayLine.spread` of rtl.broadcast)"
        )
    console.print("[green]reach kept[/]" if report.ok else f"[red]reach broken: {len(report.violations)} violations[/]")


def _table(title: str, headings: tuple, rows: list) -> Table:
    table = Table(title=title)
    for heading in headings:
        table.add_column(
            heading, justify="left" if heading in ("driver", "block", "from", "to", "deepest") else "right"
        )
    for row in rows:
        table.add_row(*row)
    return table


def _mark(number: int, limit: int) -> str:
    return f"[red]{number:,}[/]" if number > limit else f"{number:,}"


def _have(kind: Registered, what: str) -> str:
    have = kind.have[what]
    text = "yes" if have == kind.number else "no" if not have else f"{have} of {kind.number}"
    return f"[red]{text}[/]" if what in kind.missing else text

"""The check itself: a design's modules measured bottom up."""

from collections import Counter

from .module import Module
from .netlist import source_name, synthesise
from .report import Report
from .rules import Rules

__all__ = ["check", "judge"]


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
    summaries: dict[str, Module] = {}
    names = _display_names(modules)
    for name in bottom_up(modules, top):
        summaries[name] = Module(names[name], modules[name], summaries, report, is_top=name == top)
    # Instance counts multiply down the hierarchy.
    counts = Counter({top: 1})
    for name in reversed(summaries):
        report.modules[names[name]].instances = counts[name]
        for child in summaries[name].children:
            counts[child] += counts[name]
    report.modules = dict(reversed(report.modules.items()))
    return report


def _display_names(modules: dict) -> dict[str, str]:
    """Names for the report: the source's, numbered where a module has several sets of parameters."""
    names = {}
    seen: Counter[str] = Counter()
    for name in modules:
        short = source_name(name) if name.startswith("$") else name
        seen[short] += 1
        names[name] = short if seen[short] == 1 else f"{short}#{seen[short]}"
    return names


def bottom_up(modules: dict, top: str) -> list[str]:
    """Modules below ``top``, each after its children."""
    order: dict[str, None] = {}

    def visit(name):
        for cell in modules[name]["cells"].values():
            if cell["type"] in modules and cell["type"] not in order:
                visit(cell["type"])
        order[name] = None

    visit(top)
    return list(order)

"""Verbs that check: logic depth, lint, the benchmark."""

import sys
import tempfile
from pathlib import Path

import click
from rich.console import Console

from spiccato.families import FAMILIES
from spiccato.registry import find, targets
from spiccato_sim.models.zoo import KINDS, MODELS

from .options import board_option, boards_option, profile_option
from .output import console, progress_console, reports_errors, status

__all__ = ["VERBS"]


@click.command()
@boards_option
@profile_option
@reports_errors
def timing(boards, profile):
    """Measure the logic depth between registers and what each of them reaches, and check both.

    The depth against the clock discipline, the reach against the profile: of the accelerator, and of what a
    board's design has around it. Without --board, of all boards, and unless --profile is given, in all profiles.
    """
    from spiccato.rtl.accelerator import Accelerator
    from spiccato.verilog import write_verilog
    from spiccato_sim.checks.depth import Rules, judge, print_report, synthesise
    from spiccato_sim.checks.reach import count, print_reach

    if boards:
        designs = [find(board, profile) for board in boards]
    else:
        designs = [
            board.in_profile(name)
            for board in targets().values()
            for name in ([profile] if profile else FAMILIES[board.config.family].profiles)
        ]
    # Of files and pipes none is known: as much as leaves names whole.
    wide = Console(width=None if console.is_terminal else 200)
    broken = []
    for design in designs:
        config, top = design.config, design.top or Accelerator(design.config)
        with tempfile.TemporaryDirectory() as folder, status(f"{config.label}: elaborating and mapping"):
            written = write_verilog(config, Path(folder) / config.label, top=top)
            netlist = synthesise(written["files"], top.module)
            # The additions of a row's DSP block are inside it.
            rules = Rules(dsp_adders=max(Rules.dsp_adders, config.row_products - 1))
            depth = judge(netlist, top.module, rules)
            reach = count(netlist, top.module, FAMILIES[config.family], config.stages, cores=config.cores)
        console.rule(config.label)
        print_report(depth, wide)
        print_reach(reach, wide)
        if not (depth.ok and reach.ok):
            broken.append(config.label)
    if broken:
        console.print(f"FAIL: {', '.join(broken)}", soft_wrap=True)
        sys.exit(1)
    console.print(f"PASS: {', '.join(design.config.label for design in designs)}", soft_wrap=True)


@click.command()
@board_option(default="ia420f", show_default=True)
@profile_option
@reports_errors
def lint(board, profile):
    """Have Verilator and yosys check the Verilog of a board, with what its design has around the accelerator."""
    from spiccato.verilog import write_verilog
    from spiccato_sim.checks.lint import lint as check

    # Below the working directory: the sandbox of yosys does not see the system's temporary folder.
    design = find(board, profile)
    config = design.config
    folder = Path("build") / "lint" / config.label
    with status(f"{config.label}: elaborating and checking"):
        write_verilog(config, folder, top=design.top)
        check(folder)
    console.print(f"{config.label}: no warnings")


@click.command()
@boards_option
@profile_option
@click.option("--model", "names", multiple=True, help="Only this model; may be repeated.")
@click.option("-o", "--output", default="build/bench", show_default=True, type=click.Path(file_okay=False))
@reports_errors
def bench(boards, profile, names, output):
    """Measure every model on every board on the RTL, and compare with the published figures. Resumes."""
    from spiccato_boards import boards as all_boards
    from spiccato_sim.analysis import published
    from spiccato_sim.analysis.bench import run_bench

    compared = tuple(name for name in all_boards() if name in published.boards())
    result = run_bench(
        boards or compared, names or (*MODELS, *KINDS), out=output, profile=profile, console=progress_console
    )
    console.print((Path(output) / "latency.md").read_text(), soft_wrap=True)
    for failure in result.failures:
        console.print(f"FAIL: {failure}", soft_wrap=True)
    console.print("PASS" if result.passed else "FAIL")
    sys.exit(0 if result.passed else 1)


VERBS = (timing, lint, bench)

"""Quartus Prime Pro: a project with a revision for each shell."""

from ..shells.out_of_context import OutOfContext
from ..shells.shell import BoardDesign
from .project import NOTE, ProjectFlow, clock_constraint, script

__all__ = ["QUARTUS", "Quartus"]

#: Behind a port's name, in Tcl's quotes.
_ALL_BITS = r"\[*]"


class Quartus(ProjectFlow):
    """Projects for Quartus Prime Pro; platforms are :class:`~..platforms.AgilexPlatform` or alike."""

    tool = "Quartus Prime Pro"
    shells = (OutOfContext, BoardDesign)

    def command(self, shell):
        """The script takes the revision's name."""
        return f"quartus_sh -t compile.tcl {shell.name}"

    def files(self, design):
        """Settings and constraints of each revision, and the project file that lists them."""
        files = {"compile.tcl": script("quartus_compile"), "report.tcl": script("quartus_report")}
        for shell in design.board.shells:
            files |= _on_pins(shell, design) if isinstance(shell, BoardDesign) else _out_of_context(shell, design)
        revisions = "".join(f'PROJECT_REVISION = "{shell.name}"\n' for shell in design.board.shells)
        return files | {"spiccato.qpf": revisions}


def _out_of_context(shell, design):
    board, side_car = design.board, design.side_car
    lines = [
        f'set_global_assignment -name {name} "{value}"'
        for name, value in {
            **board.platform.assignments(),
            "TOP_LEVEL_ENTITY": side_car["top"],
            "SDC_FILE": f"{shell.name}.sdc",
        }.items()
    ]
    lines += [f'set_global_assignment -name VERILOG_FILE "{name}"' for name in design.verilog]
    # All ports but the clock end within the device.
    lines += [
        f'set_instance_assignment -name VIRTUAL_PIN ON -to "{port["name"]}{_ALL_BITS * (port["bits"] > 1)}"'
        for port in side_car["ports"]
        if port["name"] != "clk"
    ]
    if design.floorplan:
        # As large as the fitter likes, and where it likes; others may be placed within. (Such a region cannot be
        # reserved.)
        lines += [
            f'set_instance_assignment -name {name} {value} -to "{core}"'
            for core in design.cores
            for name, value in (("REGION_NAME", core), ("FLOATING_REGION", "AUTO"), ("RESERVE_PLACE_REGION", "OFF"))
        ]
    return {
        f"{shell.name}.qsf": NOTE + "\n".join(lines) + "\n",
        f"{shell.name}.sdc": clock_constraint(shell.clock_mhz(board, design.config)),
    }


def _on_pins(shell, design):
    platform = design.board.platform()
    for name, text in design.verilog.items():
        platform.add_file(name, text)
    plan = platform.prepare(shell.design(design.config), shell.name, emit_src=False)
    return {f"{shell.name}{suffix}": plan.files[f"{shell.name}{suffix}"] + "\n" for suffix in (".qsf", ".sdc", ".v")}


QUARTUS = Quartus()

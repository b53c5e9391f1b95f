"""Vivado: scripts for its batch mode, one for each shell."""

from ..shells.device_image import DeviceImage
from ..shells.out_of_context import OutOfContext
from .project import ProjectFlow, clock_constraint, script

__all__ = ["VIVADO", "Vivado"]


class Vivado(ProjectFlow):
    """Projects for Vivado."""

    tool = "Vivado"
    shells = (OutOfContext, DeviceImage)

    def command(self, shell):
        """Each shell has a script of its own."""
        return f"vivado -mode batch -source {_script_of(shell)}"

    def files(self, design):
        """The scripts, and what they read."""
        files = {"report.tcl": script("vivado_report"), "floorplan.tcl": script("vivado_floorplan")}
        for shell in design.board.shells:
            if isinstance(shell, DeviceImage):
                files |= shell.files(design.side_car)
            else:
                files[f"{shell.name}.xdc"] = clock_constraint(shell.clock_mhz(design.board, design.config))
                files[_script_of(shell)] = script("vivado_compile")
        return files


def _script_of(shell):
    return "compile.tcl" if isinstance(shell, OutOfContext) else f"{shell.name}.tcl"


VIVADO = Vivado()

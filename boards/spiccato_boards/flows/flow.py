"""What a flow can be asked for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

from spiccato.config import Config
from spiccato.errors import SpiccatoError

from ..shells.shell import Shell

__all__ = ["Bitstream", "BitstreamError", "Flow", "Placement", "Project"]


class BitstreamError(SpiccatoError):
    """A tool failed, or the clock was not met. The message names the log."""


@dataclass(frozen=True)
class Project:
    """A project that was written.

    Attributes
    ----------
    targets : list of str
        Names, the default first.
    commands : list of str
        What to run in the folder, for each target.
    files : list of str
        Names relative to the folder.
    """

    targets: list[str]
    commands: list[str]
    files: list[str]


class Placement(NamedTuple):
    """What was reached with one seed: the accelerator's clock in MHz, and whether it meets its constraint."""

    seed: int
    fmax_mhz: float
    met: bool


@dataclass(frozen=True)
class Bitstream:
    """A bitstream that was built.

    Attributes
    ----------
    file, result : Path
        The bitstream, and what was reached (see :mod:`spiccato_boards.results`).
    placements : list of Placement or None
        In the order of the seeds; None for one that another made superfluous.
    """

    file: Path
    result: Path
    placements: list[Placement | None]


class Flow:
    """The tools by which a design gets onto a device. A flow overrides what it does of the two.

    Attributes
    ----------
    tool : str
        The tool, as messages and results call it.
    shells : tuple of type
        The kinds of :class:`~spiccato_boards.shells.shell.Shell` that it builds.
    """

    tool: ClassVar[str]
    shells: ClassVar[tuple[type[Shell], ...]]

    def write_project(
        self, board, folder: str | Path, config: Config | None = None, *, floorplan: bool = False
    ) -> Project:
        """Write the project of an accelerator on a board.

        The folder appears complete or not at all. One that an earlier call wrote is replaced, results included.

        Parameters
        ----------
        board : Board
        folder : path
            Made by this function, with its parents.
        config : Config, optional
            Other than the board's own.
        floorplan : bool
            Give the placer a region for each core of the accelerator, as a hint.

        Raises
        ------
        SpiccatoError
            If the flow has no projects; if the folder exists and holds something else than a project; ConfigError if
            the configuration does not fit the device.
        """
        raise SpiccatoError(
            f"board {board.name}: there are no projects for {self.tool}, which builds at once: "
            f"spiccato bitstream --board {board.name}"
        )

    def build_bitstream(
        self,
        board,
        folder: str | Path,
        *,
        seeds: Sequence[int] = (1, 2),
        workers: int = 2,
        finish_all: bool = False,
        config: Config | None = None,
        on_step: Callable[[str], object] = lambda text: None,
    ) -> Bitstream:
        """Build the bitstream from the first of several placements that meets the clock.

        How long routing takes differs a lot between placements, and a slow one is seldom a good one.

        Parameters
        ----------
        board : Board
        folder : path
            Made by this function; one that it wrote before is replaced.
        seeds : sequence of int
            Of the placer: one run for each.
        workers : int
            Runs at the same time.
        finish_all : bool
            Finish all placements, and take the fastest.
        config : Config, optional
            Other than the board's own.
        on_step : function
            Called with a line of text after each of the long steps, from several threads.

        Raises
        ------
        BitstreamError
            If the flow builds none, a tool is missing or fails, or no seed meets the clock.
        """
        raise BitstreamError(
            f"no bitstream for board {board.name!r}: {self.tool} builds it from a project: "
            f"spiccato project --board {board.name}"
        )

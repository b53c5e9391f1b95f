"""What every shell tells of itself, and what those have in common that are designs for a board's pins."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from amaranth.build import Platform
from amaranth.hdl import Elaboratable

from spiccato.config import Config
from spiccato.rtl.part import Part

__all__ = ["BoardDesign", "Shell"]


@dataclass(frozen=True)
class Shell:
    """What stands around the accelerator. Which kinds of shells can be built, a flow says.

    Attributes
    ----------
    name : str
        Of the target that it is in a project, and of its files.
    """

    name: ClassVar[str]

    def clock_mhz(self, board, config: Config) -> float:
        """The accelerator's clock."""
        return config.clock_mhz

    def missing(self, platform: type[Platform]) -> list[str]:
        """What it needs of a board that the platform class does not have."""
        return []


@dataclass(frozen=True)
class BoardDesign(Shell, ABC):
    """A shell that is a design for the board's pins, as Amaranth's platforms build them.

    Attributes
    ----------
    needs : tuple of str
        The platform's resources that it requests, besides the default clock.
    """

    needs: ClassVar[tuple[str, ...]]

    def missing(self, platform: type[Platform]) -> list[str]:
        """The default clock, and the resources of ``needs``."""
        known = {resource.name for resource in platform.resources}
        return ["default_clk"] * (platform.default_clk is None) + [name for name in self.needs if name not in known]

    @abstractmethod
    def part(self, config: Config) -> Part:
        """What of the design does not depend on the platform: it becomes Verilog by itself."""

    @abstractmethod
    def design(self, config: Config) -> Elaboratable:
        """The design, around the ``part`` that it has."""

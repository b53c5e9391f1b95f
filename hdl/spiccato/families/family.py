"""What is known of a device family, and what its profiles may choose."""

from dataclasses import dataclass
from typing import NamedTuple

from .style import Style

__all__ = ["Family", "Profile", "Shape"]


class Shape(NamedTuple):
    """One way to use a memory: words, bits of a word, and how many half blocks that takes."""

    depth: int
    width: int
    halves: int = 2


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Which of the optional registers there are. Every latency follows from these by composition.

    Attributes
    ----------
    product_register : bool
        Between multiplication and addition in the cell units: for DSP blocks that do not add.
    table_address_register : bool
        In front of the activation tables: for memory blocks that are far apart.
    """

    product_register: bool = False
    table_address_register: bool = False


@dataclass(frozen=True, kw_only=True)
class Family:
    """One device family.

    Attributes
    ----------
    name : str
        As configurations name it.
    profiles : {name: Profile}
        "aggressive" has the fewest cycles.
    adds_products : bool
        A DSP block adds two products, which saves an adder level in every row.
    style : Style
        Attributes by which tools are told what memories and products are to be made of.
    library : str
        The class that writes its modules, as entry points name an object: a
        :class:`spiccato.verilog.library.VerilogLibrary`, or one that knows primitives of the family.
    logic_unit : str
        The logic cell that is counted.
    logic_per_register : float
        Logic cells for each register bit outside DSP and memory blocks; an order of magnitude. In yosys'
        netlists of the presets' cores, adder bits, multiplexers and shifter stages come to 1.4 LUT6 (or half an
        ALM each, with the adder level that DSP blocks save); for LUT4, what nextpnr places of the ULX3S' system.
    memory : dict
        Kinds of memory blocks: {kind: shapes with one write and one read port}.
    two_ports : tuple of Shape
        Shapes of the first kind with two independent ports.
    large : str or None
        The kind that memories of style "ultra" are made of; None: the first.
    dsp_steps : (int, int)
        A product takes a DSP block for each begun step of its operands' bits less the sign: of the narrower
        operand the first, of the wider one the second.
    half_dsp : (int, int) or None
        Largest product, narrower operand first, of which a block does two.
    """

    name: str
    profiles: dict[str, Profile]
    adds_products: bool = False
    style: Style
    library: str = "spiccato.verilog.library:VerilogLibrary"
    logic_unit: str
    logic_per_register: float
    memory: dict
    two_ports: tuple
    large: str | None = None
    dsp_steps: tuple
    half_dsp: tuple | None = None

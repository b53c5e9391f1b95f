"""Device families: what their tools count, the shapes of their blocks, and the attributes that choose them."""

from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["FAMILIES", "Family", "Shape"]


class Shape(NamedTuple):
    """One way to use a memory: words, bits of a word, and how many half blocks that takes."""

    depth: int
    width: int
    halves: int = 2


@dataclass(frozen=True, kw_only=True)
class Family:
    """One device family.

    Attributes
    ----------
    name : str
        Key of :data:`FAMILIES`.
    tool_name : str
        What the vendor's tool calls the family.
    tool : str
        The vendor's tool.
    style : str
        Key of :data:`spiccato.rtl.style.STYLES`: attributes by which the tool builds memories and products.
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
    tool_name: str
    tool: str
    style: str
    logic_unit: str
    logic_per_register: float
    memory: dict
    two_ports: tuple
    large: str | None = None
    dsp_steps: tuple
    half_dsp: tuple | None = None


_M20K_TWO_PORTS = (Shape(1024, 20), Shape(2048, 10))
# A BRAM36 is two blocks of 18 Kbit, each of which can serve a memory of its own.
_BRAM36_TWO_PORTS = (Shape(1024, 18, 1), Shape(2048, 9, 1), Shape(4096, 4, 1),
                     Shape(1024, 36), Shape(2048, 18), Shape(4096, 9))
_BRAM36 = (Shape(512, 36, 1), Shape(512, 72), *_BRAM36_TWO_PORTS)
_URAM = (Shape(4096, 72),)
_DP16KD_TWO_PORTS = (Shape(1024, 18), Shape(2048, 9))

FAMILIES = {family.name: family for family in (
    # A DSP block does two products of 18x19, alone or summed, or one of 27x27.
    Family(name="agilex7", tool_name="Agilex 7", tool="Quartus Prime Pro", style="quartus",
           logic_unit="ALM", logic_per_register=1.0,
           memory={"m20k": (Shape(512, 40), *_M20K_TWO_PORTS)}, two_ports=_M20K_TWO_PORTS,
           dsp_steps=(26, 26), half_dsp=(18, 19)),
    # A DSP58 does one product of 24x27, with or without addition.
    Family(name="versal", tool_name="versal", tool="Vivado", style="vivado",
           logic_unit="LUT", logic_per_register=1.4,
           memory={"bram36": _BRAM36, "uram": _URAM}, two_ports=_BRAM36_TWO_PORTS, large="uram",
           dsp_steps=(23, 26)),
    # The same with DSP48E2, 18x27; yosys knows this family.
    Family(name="ultrascaleplus", tool_name="ultrascaleplus", tool="Vivado", style="vivado",
           logic_unit="LUT", logic_per_register=1.4,
           memory={"bram36": _BRAM36, "uram": _URAM}, two_ports=_BRAM36_TWO_PORTS, large="uram",
           dsp_steps=(17, 26)),
    # As the ECP5 library uses them: a MULT18X18D takes unsigned operands, too.
    Family(name="ecp5", tool_name="ecp5", tool="nextpnr-ecp5", style="ecp5",
           logic_unit="LUT4", logic_per_register=1.6,
           memory={"dp16kd": _DP16KD_TWO_PORTS}, two_ports=_DP16KD_TWO_PORTS,
           dsp_steps=(18, 18)),
)}

"""What is known of a device family, and what its profiles may choose."""

from dataclasses import dataclass, fields
from typing import NamedTuple

from .style import Style

__all__ = ["CONSERVATIVE", "Family", "Profile", "Reach", "Shape"]


class Shape(NamedTuple):
    """One way to use a memory: words, bits of a word, and how many half blocks that takes."""

    depth: int
    width: int
    halves: int = 2


class Reach(NamedTuple):
    """What one register bit may drive, through whatever logic.

    Memory blocks and operands of multipliers; register bits, by their data, enable and reset inputs.
    """

    blocks: int
    registers: int


@dataclass(frozen=True, kw_only=True)
class Profile:
    """How far signals may reach, which of the optional registers there are, and on which side of one sums are shifted.

    Every latency follows from the registers by composition.

    Attributes
    ----------
    reach : Reach
        Of one register bit; wider broadcasts are trees of registers.
    operand_register : bool
        In front of the cell units' multipliers, those behind the activation tables excepted: the DSP block's own.
    product_register : bool
        Between multiplication and addition in the cell units: the DSP block's pipeline register, or, for blocks that
        do not add, its result register.
    row_product_register : bool
        The DSP block's pipeline register in the rows.
    weight_register : bool
        Between the weight memories and the rows' multipliers, in front of the DSP block's own: nothing but wire to it.
    start_register : bool
        Between the accumulator file and the accumulators: what a slot begins with.
    coarse_shift : bool
        No register more: sums are shifted by multiples of 16 in front of their register, by the rest behind it; not
        of 9x9 multipliers. Only with registers that reach all bits of an accumulator and 15 more.
    table_address_register : bool
        In front of the activation tables.
    table_word_register : bool
        Between the activation tables and the multipliers behind them: the DSP block's own.
    vector_register : bool
        One more stage of the vector's way to the rows: at each core's edge.
    write_register : bool
        In front of the accumulator file's write ports.
    capture_register : bool
        Accumulators on their way to the output stream, and to dense units: at the edge of each.
    input_register : bool
        Between the input stream and its lanes, and behind each block's largest exponent.
    context_register : bool
        In front of the table of contexts.
    """

    reach: Reach = Reach(blocks=32, registers=64)
    operand_register: bool = False
    product_register: bool = False
    row_product_register: bool = False
    weight_register: bool = False
    start_register: bool = False
    coarse_shift: bool = False
    table_address_register: bool = False
    table_word_register: bool = False
    vector_register: bool = False
    write_register: bool = False
    capture_register: bool = False
    input_register: bool = False
    context_register: bool = False

    @property
    def registers(self) -> dict[str, bool]:
        """All but the reach: whether there is each."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "reach"}


#: The profile with every register but the two that only the ECP5 has, which adds them.
CONSERVATIVE = Profile(
    reach=Reach(blocks=16, registers=32),
    operand_register=True,
    product_register=True,
    row_product_register=True,
    table_address_register=True,
    table_word_register=True,
    vector_register=True,
    write_register=True,
    capture_register=True,
    input_register=True,
    context_register=True,
)


@dataclass(frozen=True, kw_only=True)
class Family:
    """One device family.

    Attributes
    ----------
    name : str
        As configurations name it.
    profiles : {name: Profile}
        "aggressive" has the fewest cycles, "conservative" every register.
    adds : bool
        A DSP block adds to its product.
    adds_products : bool
        A DSP block adds two products, which saves an adder level in every row.
    narrow_products : int
        Products of 9x9 that a DSP block adds.
    narrow_weight_bits : int
        Weights of 9x9 multipliers: 8, or 9 where the memory has the bit for nothing.
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
    distributed : Shape
        Memory in LUTs, a write and a read port: what shares its address pins. It is no block.
    large : str or None
        The kind that memories of style "ultra" are made of; None: the first.
    large_ports : bool
        These have two ports, either of which reads or writes, so that two can share one.
    dsp_steps : (int, int)
        A product takes a DSP block for each begun step of its operands' bits less the sign: of the narrower
        operand the first, of the wider one the second.
    half_dsp : (int, int) or None
        Largest product, narrower operand first, of which a block does two.
    """

    name: str
    profiles: dict[str, Profile]
    adds: bool = True
    adds_products: bool = False
    narrow_products: int = 1
    narrow_weight_bits: int = 8
    style: Style
    library: str = "spiccato.verilog.library:VerilogLibrary"
    logic_unit: str
    logic_per_register: float
    memory: dict
    two_ports: tuple
    distributed: Shape
    large: str | None = None
    large_ports: bool = False
    dsp_steps: tuple
    half_dsp: tuple | None = None

    def memory_shape(self, width: int, depth: int, *, ultra: bool = False, ports: int = 1) -> tuple[str, Shape]:
        """Of what one memory of ``depth`` words is made: kind of blocks, and the shape of which it takes least.

        It has one write port and one read port, or, without a write port, as many read ports as ``ports`` says.
        ``ultra``: made of the large blocks, if the family has them.
        """
        kind = self.large if ultra and self.large else next(iter(self.memory))
        shapes = self.two_ports if ports > 1 else self.memory[kind]

        def costs(shape):
            blocks = -(-depth // shape.depth) * -(-width // shape.width)
            return blocks * shape.halves, blocks

        return kind, min(shapes, key=costs)

    def memory_blocks(self, width: int, depth: int, *, ultra: bool = False, ports: int = 1) -> tuple[str, float]:
        """Memory blocks of one memory: (kind, number), in steps of half a block; see :meth:`memory_shape`."""
        kind, shape = self.memory_shape(width, depth, ultra=ultra, ports=ports)
        return kind, -(-depth // shape.depth) * -(-width // shape.width) * shape.halves / 2

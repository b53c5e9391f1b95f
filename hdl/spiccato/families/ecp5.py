"""ECP5: MULT18X18D blocks that do not add, memory blocks of 18 kbit; for the open tools."""

import dataclasses

from .family import CONSERVATIVE, Family, Profile, Shape
from .style import Style

__all__ = ["FAMILY"]

_TWO_PORTS = (Shape(1024, 18), Shape(2048, 9))

# As the ECP5 library uses them: a MULT18X18D takes unsigned operands, too. It is two MULT9X9D.
FAMILY = Family(
    name="ecp5",
    # For yosys, which refuses styles that the family does not have.
    style=Style(
        block='no_rw_check, ram_style = "block"',
        ultra='no_rw_check, ram_style = "block"',
        distributed='no_rw_check, ram_style = "distributed"',
        rom='rom_style = "block"',
        copy="keep",
    ),
    library="spiccato.verilog.ecp5:Ecp5Library",
    # Memory blocks, multipliers and what is between them lie far apart: nothing but wire on both sides of a table, in
    # front of a row's multipliers and behind the accumulator file; and the addition is no part of the multiplier. On a
    # sum's way through a whole shifter are several wires, shorter where the conservative profile cuts it in slices.
    profiles={
        "aggressive": Profile(
            product_register=True,
            weight_register=True,
            start_register=True,
            coarse_shift=True,
            table_address_register=True,
            table_word_register=True,
        ),
        "conservative": dataclasses.replace(CONSERVATIVE, weight_register=True, start_register=True),
    },
    adds=False,
    narrow_weight_bits=9,
    logic_unit="LUT4",
    logic_per_register=1.2,
    memory={"dp16kd": _TWO_PORTS},
    two_ports=_TWO_PORTS,
    distributed=Shape(16, 4),
    dsp_steps=(18, 18),
)

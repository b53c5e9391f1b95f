"""The limits of the discipline, and what is measured of a path against them."""

from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["Cost", "Rules"]


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Limits of the discipline.

    Parameters
    ----------
    lut_levels : LUT levels of a path without an adder.
    lut_inputs : inputs of a LUT.
    carry_bits : longest adder, subtractor or comparator.
    carry_luts : LUT levels, before and behind together, of a path with an adder.
    lut_adder_bits : arithmetic up to this width is mapped to LUTs and counted as levels.
    dsp_adders : additions that may follow a product within the stage: those of a DSP block's sum of products.
    mul_bits : the wider and the narrower operand of the largest multiplier that is one DSP block.
    small_words : memories up to this depth may be read asynchronously, as LUT RAM.
    small_luts : LUT levels of such a read.
    flatten_cells : a module placed more than once is flattened all the same while its instances together have
        at most this many word-level cells; 0 keeps every such module.
    """

    lut_levels: int = 3
    lut_inputs: int = 6
    carry_bits: int = 48
    carry_luts: int = 1
    lut_adder_bits: int = 4
    dsp_adders: int = 1
    mul_bits: tuple[int, int] = (27, 24)
    small_words: int = 64
    small_luts: int = 2
    flatten_cells: int = 500

    def broken_by(self, cost: "Cost", *, in_dsp: bool = False) -> str | None:
        """What is wrong with a register-to-register path of this cost, or None; ``in_dsp``: within a DSP stage."""
        if cost.mem:
            if cost[1:] != Cost()[1:]:
                return "memory output does not go straight into a register"
        elif cost.muls:
            if cost.muls > 1:
                return f"{cost.muls} multipliers in a row"
            if cost.luts or cost.pre_adds:
                return "multiplier with logic between it and its registers"
            if cost.adds > self.dsp_adders:
                return f"multiplier followed by {cost.adds} adders (limit {self.dsp_adders})"
            if cost.to_pin:
                return "multiplier output does not go straight into a register"
        elif cost.adds:
            if cost.adds > (self.dsp_adders if in_dsp else 1):
                return f"{cost.adds} adders in a row"
            if cost.bits > self.carry_bits:
                return f"adder of {cost.bits} bits (limit {self.carry_bits})"
            if cost.luts > self.carry_luts:
                return f"adder with {cost.luts} LUT levels (limit {self.carry_luts})"
        elif cost.luts > self.lut_levels:
            return f"{cost.luts} LUT levels (limit {self.lut_levels})"
        return None

    def load(self, cost: "Cost") -> float:
        """Share of the budget that a path takes, to rank paths; at most 1 for a legal one."""
        if cost.muls or cost.mem:
            return float(cost.muls + cost.luts + cost.pre_adds + cost.mem)
        if cost.adds:
            return max((cost.adds + cost.luts) / (1 + self.carry_luts), cost.bits / self.carry_bits)
        return cost.luts / self.lut_levels


class Cost(NamedTuple):
    """What lies on a path; larger is never better in any member."""

    mem: int = 0  # starts at the read data of a memory
    luts: int = 0
    adds: int = 0
    bits: int = 0  # width of the widest adder
    muls: int = 0
    pre_adds: int = 0  # adders in front of a multiplier
    to_pin: int = 0  # ends at anything but the data input of a register

    def then(self, tail: "Cost") -> "Cost":
        """Cost of this path continued by another one."""
        pre_adds = self.pre_adds + tail.pre_adds + (self.adds if tail.muls else 0)
        return Cost(
            self.mem,
            self.luts + tail.luts,
            self.adds + tail.adds,
            max(self.bits, tail.bits),
            self.muls + tail.muls,
            pre_adds,
            tail.to_pin,
        )

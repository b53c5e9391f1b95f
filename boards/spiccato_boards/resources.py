"""What a configuration takes of a device, counted on the design itself.

The design is elaborated as for Verilog, each kind of part once, and the instances of each kind are counted
through the hierarchy. What a multiplier or a memory takes then follows from its widths and the shapes of the
family's blocks, which are in :mod:`.families`: a memory gets the shape of which it takes least, the same
throughout; a product with an addition does not share its block. Distributed memories are part of the logic.

DSP and memory blocks are what these rules give; the tests compare them with yosys' netlists for the families it
knows. The logic is an order of magnitude: the register bits outside DSP blocks, which are counted, times a
coefficient of the family.
"""

import functools
import math
from collections import Counter
from typing import NamedTuple

from amaranth.hdl import Fragment, Module

from spiccato.errors import ConfigError
from spiccato.families import FAMILIES
from spiccato.rtl.accelerator import Accelerator
from spiccato.rtl.dsp import DspStage, MultiplyAdd, SumOfProducts
from spiccato.rtl.memory import Ram, Rom
from spiccato.rtl.part import Library, Part
from spiccato.rtl.shared_memory import SharedRam

from .board import Resources

__all__ = [
    "DSP_UNIT",
    "Kind",
    "census",
    "check",
    "describe",
    "estimate",
    "logic_registers",
    "memory_blocks",
    "products",
    "shortages",
]

#: What messages call DSP blocks, of whatever family.
DSP_UNIT = "DSP blocks"


class Kind(NamedTuple):
    """One kind of part: a part of that kind, how many the design has, and the register bits in each.

    Registers of the parts that it places do not count.
    """

    part: Part
    number: int
    registers: int


class _Census(Library):
    """Notes what each kind of part places, instead of converting it."""

    def __init__(self):
        super().__init__()
        self.places, self.registers = {}, {}
        self._inside = []

    def instance(self, part, reset=None):
        """Count ``part`` for the part that is being elaborated; nothing is placed."""
        self.places[self._inside[-1]][part.kind] += 1
        self.visit(part)
        return Module()

    def visit(self, part):
        """Elaborate ``part`` unless its kind is known already."""
        if self.knows(part):
            return
        self.parts[part.kind], self.places[part.kind], self.registers[part.kind] = part, Counter(), 0
        # A part with Verilog of its own is a memory: blocks, not registers.
        if not hasattr(part, "verilog"):
            self._inside.append(part.kind)
            # The part's own module: DSP stages are counted as blocks, with their registers.
            with self.active():
                self.registers[part.kind] = _register_bits(Fragment.get(part.elaborate(None), None))
            self._inside.pop()

    def counts(self, top):
        """Instances of each kind in one ``top``, itself included."""
        total = Counter({top: 1})
        for kind, count in self.places[top].items():
            for inner, times in self.counts(kind).items():
                total[inner] += count * times
        return total


def _register_bits(fragment):
    """Bits of all signals that ``fragment`` and what it holds assign in the clock domain."""
    bits = sum(map(len, fragment.statements["sync"]._lhs_signals())) if "sync" in fragment.statements else 0
    return bits + sum(_register_bits(inner) for inner, _, _ in fragment.subfragments)


@functools.lru_cache(maxsize=16)
def census(config):
    """The kinds of parts of an accelerator: {name: :class:`Kind`}, the accelerator itself included."""
    found, top = _Census(), Accelerator(config)
    found.visit(top)
    counts = found.counts(top.kind)
    return {kind: Kind(part, counts[kind], found.registers[kind]) for kind, part in found.parts.items()}


def logic_registers(config):
    """Register bits of the design outside DSP blocks.

    Those of the DSP stages are the blocks' own, unless the blocks of the configuration's family do not add.
    """
    family = FAMILIES[config.family]
    return sum(
        count * (_adder_registers(part, family) if isinstance(part, DspStage) else registers)
        for part, count, registers in census(config).values()
    )


def _adder_registers(part, family):
    """Register bits of a DSP stage outside its block: what waits to be added to a product, and the sum."""
    if family.adds or not isinstance(part, MultiplyAdd):
        return 0
    waiting = len(part.c) * part.registers.addend_latency if "c" in part.signature.members else 0
    return len(part.p) + waiting


def products(config):
    """Multiplications a cycle, those of the cell units and the number formats included."""
    return sum(
        count * (part.number if isinstance(part, SumOfProducts) else 1)
        for part, count, _ in census(config).values()
        if isinstance(part, DspStage)
    )


def memory_blocks(part, family):
    """Memory blocks of one part, which is a memory: (kind, number), in steps of half a block."""
    if isinstance(part, Rom):
        return family.memory_blocks(part.width, len(part.contents), ports=part.ports)
    depth = 2 * part.depth if isinstance(part, SharedRam) else part.depth
    kind, blocks = family.memory_blocks(part.width, depth, ultra=part.style == "ultra")
    return kind, part.banks * blocks


def _half_dsp_blocks(part, family):
    """DSP blocks of one part, in halves: what shares a block with another of its kind counts 1."""
    pair = isinstance(part, SumOfProducts)
    if pair and part.number == family.narrow_products:
        return 2
    operands = part.factors[0] if pair else (part.a, part.b)
    bits = sorted(len(operand) + (not operand.shape().signed) for operand in operands)
    if family.half_dsp and all(have <= most for have, most in zip(bits, family.half_dsp)):
        return 2 if pair or isinstance(part, MultiplyAdd) else 1
    narrow, wide = (-(-(have - 1) // step) for have, step in zip(bits, family.dsp_steps))
    return (4 if pair else 2) * narrow * wide


def _whole(count):
    """A number of blocks, as int unless a half is left."""
    return int(count) if count == int(count) else count


def estimate(config, board):
    """What ``config`` takes of ``board``'s device: :class:`~.board.Resources`, by the module's rules."""
    family = board.family
    memory = dict.fromkeys(family.memory, 0)
    dsp = 0
    for part, count, _ in census(config).values():
        if isinstance(part, (Ram, Rom, SharedRam)):
            kind, blocks = memory_blocks(part, family)
            memory[kind] += count * blocks
        elif isinstance(part, DspStage):
            # Halves of one kind make whole blocks.
            dsp += -(-count * _half_dsp_blocks(part, family) // 2)
    registers = logic_registers(config)
    logic = registers * family.logic_per_register
    # Two digits are more than such a figure is worth already.
    logic = round(logic, 1 - math.floor(math.log10(logic)))
    return Resources(
        logic=int(logic), dsp=dsp, registers=registers, memory={kind: _whole(blocks) for kind, blocks in memory.items()}
    )


def check(config, board, share=1.0):
    """The resources of ``config``; its DSP and memory blocks have to fit ``share`` of ``board``'s device.

    The logic, which is no more than an order of magnitude, is not judged; multipliers run out long before it.

    Returns
    -------
    Resources

    Raises
    ------
    ConfigError
        If they do not: each kind that is short, with what it takes and what there is.
    """
    needed = estimate(config, board)
    short = [f"{count:,} of {there:,} {unit}" for unit, count, there in shortages(needed, board, share)]
    if short:
        raise ConfigError(
            f"configuration {config.name!r} does not fit {board.title} ({board.device}): needs {', '.join(short)}"
        )
    return needed


def shortages(needed, board, share=1.0):
    """Of which DSP and memory blocks ``needed`` has more than ``share`` of ``board``'s device.

    Returns
    -------
    list of (unit, number needed, number that there may be)
    """
    available = board.resources
    rows = [
        (DSP_UNIT, needed.dsp, available.dsp),
        *((kind.upper(), count, available.memory[kind]) for kind, count in needed.memory.items()),
    ]
    return [(unit, count, int(share * there)) for unit, count, there in rows if count > share * there]


def describe(config, board):
    """The estimate and the device as plain data, for files that describe a design; raises as :func:`check`."""
    needed = check(config, board)
    return {
        "board": board.name,
        "profile": config.profile,
        "part": board.part,
        "clock_mhz": config.clock_mhz,
        "logic_unit": board.family.logic_unit,
        "multiplications_per_cycle": products(config),
        "registers": needed.registers,
        "estimate": needed.counts,
        "device": board.resources.counts,
        "recalled": [fact for fact in board.recalled if fact in board.resources.counts],
    }

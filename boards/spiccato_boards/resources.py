"""What a configuration takes of a device, counted on the design itself.

The design is elaborated as for Verilog, each kind of part once, and the instances of each kind are counted
through the hierarchy. What a multiplier or a memory takes then follows from its widths and the shapes of the
family's blocks:

* Agilex 7: a DSP block does two products of 18x19, alone or summed, or one of 27x27; a product with an
  addition is counted as a block. An M20K is 512x40, 1024x20 or 2048x10, without the first for two independent
  ports.
* Versal: a DSP58 does one product of 27x24, with or without addition. A BRAM36 is 512x72, 1024x36, 2048x18 or
  4096x9, without the first for two independent ports; a memory of style "ultra" is made of URAM, 4096x72.
 Distributed memories are part of the logic. DSP and memory blocks are what these rules give, no tool's
report. The logic is an order of magnitude: the register bits outside DSP blocks, which are counted, times a
coefficient of the family.
"""

import functools
from collections import Counter
from typing import NamedTuple

from amaranth.hdl import Fragment, Module
from spiccato.errors import ConfigError
from spiccato.numbers import VECTOR_BITS, WEIGHT_BITS
from spiccato.rtl.accelerator import Accelerator
from spiccato.rtl.dsp import Multiply, MultiplyAdd, MultiplyPair
from spiccato.rtl.memory import Ram, Rom
from spiccato.rtl.part import Part
from spiccato.rtl.row import DotProductRow

from .board import Resources

__all__ = ["Kind", "census", "estimate", "check", "logic_registers", "memory_blocks", "LOGIC_PER_REGISTER"]

# (depth, width) of a block with one write and one read port, and with two ports for anything.
_M20K_TWO_PORTS = ((1024, 20), (2048, 10))
_M20K = ((512, 40), *_M20K_TWO_PORTS)
_BRAM36_TWO_PORTS = ((1024, 36), (2048, 18), (4096, 9))
_BRAM36 = ((512, 72), *_BRAM36_TWO_PORTS)
_URAM = ((4096, 72),)
_DSP_STAGES = (Multiply, MultiplyPair, MultiplyAdd)

#: Logic cells for each register bit outside DSP blocks: in yosys' netlists of the presets' cores, adder bits,
#: multiplexers and shifter stages come to 1.4 LUTs (or half an ALM each, with the adder level that DSP blocks
#: save).
LOGIC_PER_REGISTER = {"agilex7": 1.0, "versal": 1.4}


class Kind(NamedTuple):
    """One kind of part: a part of that kind, how many the design has, and the register bits in each (not in
    the parts that it places)."""

    part: Part
    count: int
    registers: int


class _Census:
    """Takes the place of a Verilog library: notes what each kind of part places instead of converting it."""

    def __init__(self):
        self.parts, self.places, self.registers = {}, {}, {}
        self._inside = []

    def instance(self, part, reset=None):
        """Count ``part`` for the part that is being elaborated; nothing is placed."""
        self.places[self._inside[-1]][part.kind] += 1
        self.visit(part)
        return Module()

    def visit(self, part):
        """Elaborate ``part`` unless its kind is known already."""
        if part.kind in self.parts:
            return
        self.parts[part.kind], self.places[part.kind], self.registers[part.kind] = part, Counter(), 0
        # A part with Verilog of its own is a memory: blocks, not registers.
        if not hasattr(part, "verilog"):
            self._inside.append(part.kind)
            # The part's own module: DSP stages are counted as blocks, with their registers.
            self.registers[part.kind] = _register_bits(Fragment.get(part.elaborate(self), self))
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

    Those of the DSP stages and, in the rows of the matrix-vector unit, those that hold the stages' operands
    pack into the blocks.
    """
    bits = 0
    for part, count, registers in census(config).values():
        if isinstance(part, DotProductRow):
            registers -= part.block * (WEIGHT_BITS + VECTOR_BITS)
        if not isinstance(part, _DSP_STAGES):
            bits += count * registers
    return bits


def _blocks(width, depth, shapes):
    """Least number of memory blocks, the same shape throughout: (deep, wide) as in ``shapes``."""
    return min(-(-depth // deep) * -(-width // wide) for deep, wide in shapes)


def memory_blocks(part, family):
    """Memory blocks of one part, a :class:`Ram` or :class:`Rom`: (kind, number)."""
    if isinstance(part, Ram):
        width, depth, banks, two_ports = part.width, part.depth, part.banks, False
    else:
        width, depth, banks, two_ports = part.width, len(part.contents), 1, part.ports > 1
    if family == "agilex7":
        return "m20k", banks * _blocks(width, depth, _M20K_TWO_PORTS if two_ports else _M20K)
    if isinstance(part, Ram) and part.style == "ultra":
        return "uram", banks * _blocks(width, depth, _URAM)
    return "bram36", banks * _blocks(width, depth, _BRAM36_TWO_PORTS if two_ports else _BRAM36)


def _half_dsp_blocks(part, family):
    """DSP blocks of one part, in halves: what shares a block with another of its kind counts 1."""
    pair = isinstance(part, MultiplyPair)
    narrow, wide = sorted((len(part.a0), len(part.b0)) if pair else (len(part.a), len(part.b)))
    if family == "agilex7":
        if narrow <= 18 and wide <= 19:
            return 2 if pair or isinstance(part, MultiplyAdd) else 1
        largest = (27, 27)
    else:
        largest = (24, 27)
    if narrow > largest[0] or wide > largest[1]:
        raise ValueError(f"{part.kind}: a product of {narrow}x{wide} is larger than a DSP block of {family}")
    return 4 if pair else 2


def estimate(config, board):
    """What ``config`` takes of ``board``'s device: :class:`~.board.Resources`, by the module's rules."""
    memory = dict.fromkeys(board.resources.memory, 0)
    dsp = 0
    for part, count, _ in census(config).values():
        if isinstance(part, (Ram, Rom)):
            kind, blocks = memory_blocks(part, board.family)
            memory[kind] += count * blocks
        elif isinstance(part, _DSP_STAGES):
            # Halves of one kind make whole blocks.
            dsp += -(-count * _half_dsp_blocks(part, board.family) // 2)
    logic = round(logic_registers(config) * LOGIC_PER_REGISTER[board.family])
    return Resources(logic=logic, dsp=dsp, memory=memory)


def check(config, board, share=1.0):
    """The resources of ``config``, of which DSP and memory blocks have to fit ``share`` of ``board``'s
    device.

    The logic, which is no more than an order of magnitude, is not judged; multipliers run out long before it.

    Returns
    -------
    Resources

    Raises
    ------
    ConfigError
        If they do not: each kind that is short, with what it takes and what there is.
    """
    needed, available = estimate(config, board), board.resources
    rows = [("DSP blocks", needed.dsp, available.dsp),
            *((kind.upper(), count, available.memory[kind]) for kind, count in needed.memory.items())]
    short = [f"{count:,} of {int(share * there):,} {unit}"
             for unit, count, there in rows if count > share * there]
    if short:
        raise ConfigError(f"configuration {config.name!r} does not fit {board.title} ({board.device}): "
                          f"needs {', '.join(short)}")
    return needed

"""What a signal reaches in one cycle, counted on the synthesised netlist of :mod:`~spiccato_sim.checks.depth`.

A clock does not hold because paths are short in logic only, but also because they are short in place. What one
register drives lies where the tools put it; so each driving bit (of a register, of a memory's or DSP block's output,
of an input of the top module) may reach only so much through combinational logic: memory blocks and operands of
multipliers, and register bits (:class:`spiccato.families.Reach`).

How :func:`count` counts:

* By connection: a LUT's output depends on all its inputs. Where two ways meet again, what lies behind counts once.
* Over the hierarchy exactly: kept modules are counted once for each set of input bits that is reached together.
  Registers that are equal in several instances of one, and not kept, are one that reaches what all of them do.
* A register bit counts once, whether its data, enable or reset is reached.
* Outputs of the top module are no register bits; how many one driver reaches is counted by itself.
* An operand of a multiplication is one: a data input of a ``spiccato_dsp_*`` module, whatever its bits; the registers
  within are the block's own.
* Memories count in blocks of the family's shapes: addresses and enables reach all blocks of a memory, data the blocks
  that hold the bit. LUT RAM counts by its own shape, as blocks too, and the way goes on through it.
* In an adder an operand's bit leads to the sum's bit of its own place, and its sign to all above; only where no
  operand has a bit, as for a carry out, all bits below arrive. The carry runs along neighbouring cells, so it is not
  followed beyond; its length is limited by the depth. A comparator's output depends on all inputs.

It also tells which registers the multipliers and memory blocks have, and what crosses between the regions of the
design: the cores, the vector file, ingress, egress, and the rest.
"""

from .report import ReachReport, Width, count, print_reach

__all__ = ["ReachReport", "Width", "count", "print_reach"]

"""Depth between registers, measured on the synthesised netlist.

The generator promises a clock rate through a discipline: from one register to the next there is at most

* one DSP stage: a product, or a product and one addition, or the sum of as many products as the device's blocks add,
  fed by registers and followed by a register; or
* one adder, subtractor or comparator of at most 48 bits, with one LUT level before or behind it; or
* three levels of LUT6;

and the data read from a memory go straight into a register. :func:`check` runs yosys over the Verilog and
reports every path that is longer.

How: a module that is placed once or is small is flattened into its parent, so that LUTs merge across its
border as they do in a vendor's tool. A larger module placed more often is kept, as are
``spiccato_dsp_*`` and ``spiccato_ram_*`` modules. Kept modules are measured once each, bottom up: a module is
summarised by the paths from each input bit to its registers, from its registers to each output bit, and from
input bits to output bits, and parents work with the summary. The effort therefore depends on the size of the
source, not on the number of instances. LUTs do not merge across the border of a kept module, so a path across it may
count one level more than a vendor's tool would.

What counts as what:

* Arithmetic wider than ``Rules.lut_adder_bits`` stays a word-level cell; everything else is mapped by ABC for
  depth only, without trading depth for area. A LUT with one input (an inverter) is free.
* The ports of the top module count as registers. Clock enables and resets are pins of a register: paths that
  end there count like the others.
* A memory of at most ``Rules.small_words`` words is LUT RAM unless an attribute asks for a block: the way
  from its read address is ``Rules.small_luts`` levels long, and the register behind it an ordinary register.
"""

from .check import check, judge
from .netlist import TimingError, synthesise
from .report import ModuleReport, Report, TimingPath, Violation, print_report
from .rules import Cost, Rules

__all__ = [
    "Cost",
    "ModuleReport",
    "Report",
    "Rules",
    "TimingError",
    "TimingPath",
    "Violation",
    "check",
    "judge",
    "print_report",
    "synthesise",
]

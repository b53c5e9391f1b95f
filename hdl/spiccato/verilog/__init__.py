"""Verilog: the writer, the library of modules, and the files of a design.

:mod:`.rtlil` reads the netlist that Amaranth writes, :mod:`.netlist` brings it into the form of its Verilog,
:mod:`.blocks`, :mod:`.expressions` and :mod:`.text` write that. :mod:`.library` converts each kind of part once,
:mod:`.ecp5` with primitives of that family; :mod:`.write` makes the files of a design.
"""

from .write import C_HEADER, FILE_LIST, SIDE_CAR, generate_verilog, listing, write_verilog

__all__ = ["generate_verilog", "write_verilog", "listing", "C_HEADER", "FILE_LIST", "SIDE_CAR"]

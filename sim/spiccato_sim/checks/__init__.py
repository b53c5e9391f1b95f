"""Checks of the generated Verilog and of the netlists that tools make of it."""

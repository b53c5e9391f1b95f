"""What becomes of the clock as the accelerator grows: placed and routed with open tools, size by size, seed by seed.

Each placement's result stays in a file of its own, in a folder that is called after the size and a digest of the
Verilog, the tools' versions and the clock they are asked for. So a run that was interrupted goes on where it was, and a
changed design begins anew.
"""

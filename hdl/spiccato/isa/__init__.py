"""What the hardware, its models and its hosts agree on, in plain Python: words, loads, registers, marks, frames.

Each is described once, here. The hardware's layouts (:mod:`spiccato.rtl.words`), the virtual machine, program images,
the host, the tables of the documentation and the C header are made from it. Nothing here needs Amaranth.
"""

"""The hardware, one module per block."""

from . import cell_kinds as _cell_kinds  # noqa: F401  # registers the epilogues

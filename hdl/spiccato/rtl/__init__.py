"""The hardware, one module per block."""

from . import cell as _lstm_cell  # noqa: F401  # registers the epilogue

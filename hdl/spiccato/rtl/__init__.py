"""The hardware, one module per block."""

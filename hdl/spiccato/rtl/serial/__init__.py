"""What stands around the accelerator on a board with a serial line: UART, frames, the link between them."""

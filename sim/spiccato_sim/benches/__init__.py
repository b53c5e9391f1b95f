"""The RTL in a simulator: builds, cocotb test benches, and the comparison with the virtual machine."""

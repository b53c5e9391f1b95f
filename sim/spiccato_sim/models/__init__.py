"""Models of networks and of the accelerator: float64, bfloat16, and the bit- and cycle-exact virtual machine."""

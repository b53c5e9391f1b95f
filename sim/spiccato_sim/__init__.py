"""Models, simulation and benchmarks of the accelerator."""

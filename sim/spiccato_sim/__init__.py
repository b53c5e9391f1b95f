"""Models, simulation and benchmarks of the accelerator.

A program's results, in the order of effort::

    from spiccato_sim.analysis.accuracy import accuracy
    from spiccato_sim.analysis.estimate import estimate
    from spiccato_sim.benches.simulate import simulate
    from spiccato_sim.models.vm import VirtualMachine

    rows = estimate(network)  # all boards and weight formats: does it fit, how fast, how accurate
    y = VirtualMachine(program).run(x)  # (steps, outputs) from (steps, inputs): every bit as in the hardware
    errors = accuracy(program, network, x)  # against float64, beside a bfloat16 pipeline
    comparison = simulate(program, x, spaced=4)  # on the RTL: bits and cycles against the predictions
"""

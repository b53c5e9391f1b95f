"""The synthesised netlist of an ECP5 design in the place of its RTL: same test bench, same outputs, same cycles."""

import json
from pathlib import Path

from spiccato.verilog import SIDE_CAR
from spiccato_boards.flows.ecp5_gates import write_gates

from .demo import SIMULATED, run_demo
from .serial_sim import SimulatedBoard
from .simulate import simulate

__all__ = ["ECP5_BLOCKS", "simulate_gates", "demo_on_gates"]

#: Simulation models of the ECP5 blocks that yosys has no models for.
ECP5_BLOCKS = Path(__file__).parent / "data" / "ecp5_blocks.v"


def simulate_gates(folder, program, xs, *, spaced, simulator="verilator", build_folder="build"):
    """Run a program on the gates of the accelerator, all memories loaded over AXI4-Lite.

    Parameters
    ----------
    folder : path
        Where :func:`spiccato_boards.flows.ecp5.synthesise` worked.
    program, xs, spaced, simulator, build_folder
        As of :func:`.simulate.simulate`.

    Returns
    -------
    simulate.Comparison
    """
    gates = Path(folder) / "gates" / "accelerator"
    write_gates(folder, "spiccato_accelerator", [ECP5_BLOCKS], gates)
    return simulate(
        program, xs, spaced=spaced, simulator=simulator, preload=False, build_folder=build_folder, netlist=gates
    )


def demo_on_gates(folder, program, xs, *, build_folder="build", **options):
    """Run a program on the gates of the whole serial system, through its pins.

    Parameters and result are as of :func:`.demo.run_demo`.
    """
    gates = Path(folder) / "gates" / "system"
    write_gates(folder, "spiccato_serial", [ECP5_BLOCKS], gates)
    parameters = json.loads((Path(folder) / SIDE_CAR).read_text())["parameters"]
    board = SimulatedBoard(
        program.config,
        clocks_per_bit=parameters["clocks_per_bit"],
        watchdog=parameters["watchdog"],
        build_folder=build_folder,
        netlist=gates,
    )
    baud = round(program.config.clock_mhz * 1e6 / parameters["clocks_per_bit"])
    return run_demo(program, xs, SIMULATED, baud=baud, board=board, **options)

"""Transfers that are disturbed, sequences, sliding windows: the host API on the RTL, beside the VM."""

import dataclasses
import pickle

import pytest

from programs import CONFIG, network, with_initial
from spiccato.compiler import compile_program
from spiccato_sim.benches import runner
from spiccato_sim.models import zoo

pytest.importorskip("cocotb_tools")

from spiccato_sim.benches.tb_transfers import MOVED, OTHER, Job

pytestmark = pytest.mark.simulates

CONFIGS = [
    dataclasses.replace(CONFIG, output_beats=6),
    # Registers in the DSP blocks and at the memories' write ports, wide streams, a block of 8.
    dataclasses.replace(
        CONFIG, name="wide", cores=3, block=8, columns=8, io_format="float32", family="agilex7", profile="conservative"
    ),
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.name)
def test_transfers(config, build_folder, tmp_path):
    """All of ``tb_transfers`` on one simulator."""
    networks = [network(21, outputs=2 * config.block), with_initial(network(22, layers=2)), network(23)]
    program = compile_program(networks, config, contexts=(3, 3, 8))
    assert program.has_context(*MOVED) and program.has_context(*OTHER)
    job = Job(program=program, alone=compile_program([networks[1]], config, contexts=4), xs=zoo.inputs(networks[1], 9))
    (tmp_path / "job").write_bytes(pickle.dumps(job))
    runner.run(
        runner.build(config, folder=build_folder),
        "spiccato_sim.benches.tb_transfers",
        results_dir=tmp_path,
        env={"SPICCATO_JOB": str(tmp_path / "job")},
    )

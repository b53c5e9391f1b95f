"""Commands at every cycle, alien and damaged programs, half packets: always an error bit or the right bits."""

import dataclasses
import pickle

import numpy as np
import pytest

from spiccato.compiler import compile_program
from spiccato.formats import to_beats
from spiccato.registry import configuration
from spiccato_sim.benches import runner
from spiccato_sim.models import zoo
from spiccato_sim.models.vm import VirtualMachine, to_bits

pytest.importorskip("cocotb_tools")

from spiccato_sim.benches.by_hand import Job

pytestmark = pytest.mark.simulates

CONFIG = configuration("test4")
#: What a program for another configuration differs in.
ALIENS = [
    {"slots": 16},
    {"weight_depth": 256},
    {"vector_blocks": 32},
    {"input_blocks": 16},
    {"output_beats": 16},
    {"family": "agilex7"},
    {"program_depth": 512},
    {"cores": 2},
    {"block": 8, "columns": 8},
    {"columns": 8},
    {"io_format": "float32"},
]
STEPS = 5


def packet(model, x):
    """Beats of an input packet, as integers."""
    data = to_beats(to_bits(x, CONFIG.io_format), CONFIG, model.input_beats)
    size = CONFIG.beat_bits // 8
    return [int.from_bytes(data[n : n + size], "little") for n in range(0, len(data), size)]


def damaged(program, rng):
    """The program with random issue words."""
    model = program.model
    words = rng.integers(0, 1 << 32, model.words.shape, dtype=np.uint32)
    share = rng.random(words.shape) < rng.choice([0.02, 0.3, 1.0])
    return dataclasses.replace(program, models=(dataclasses.replace(model, words=np.where(share, words, model.words)),))


def make_job():
    rng = np.random.default_rng(1)
    network = zoo.random_network(rng, layers=1, min_size=9, max_size=11)
    program = compile_program([network], CONFIG)
    xs = zoo.inputs(network, STEPS)

    def run(restart):
        machine, outputs = VirtualMachine(program), []
        for number, x in enumerate(xs):
            if number == restart:
                machine.reset()
            outputs.append(machine.step_bits(to_bits(x, CONFIG.io_format)).bits.tolist())
        return outputs

    return Job(
        config=CONFIG,
        words=program.load_words().tolist(),
        garbage=[damaged(program, rng).load_words().tolist() for _ in range(24)],
        aliens={
            ", ".join(changes): compile_program([network], dataclasses.replace(CONFIG, **changes)).load_words().tolist()
            for changes in ALIENS
        },
        packets=[packet(program.model, x) for x in xs],
        outputs=run(0),
        restarted=[run(restart) for restart in range(STEPS)],
        spaced_latency=program.model.spaced_latency,
    )


def test_recovery(build_folder, tmp_path):
    """All of ``tb_recovery`` on one simulator."""
    (tmp_path / "job").write_bytes(pickle.dumps(make_job()))
    runner.run(
        runner.build(CONFIG, folder=build_folder),
        "spiccato_sim.benches.tb_recovery",
        results_dir=tmp_path,
        env={"SPICCATO_JOB": str(tmp_path / "job")},
    )

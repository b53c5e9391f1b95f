"""Streaming models of frameworks on the RTL: contexts that take turns, as the virtual machine has them."""

import dataclasses
import pickle

import numpy as np
import pytest

from paths import FIXTURES
from programs import CONFIG
from spiccato.compiler import compile_program
from spiccato.formats import to_bits
from spiccato.importers import load_network
from spiccato.layers import DenseLayer, GRULayer, LinearLayer, LSTMLayer
from spiccato.network import Network
from spiccato.program import StateName
from spiccato_sim.benches import runner
from spiccato_sim.benches.comparison import compare
from spiccato_sim.benches.traffic import Segment, Send, play
from streaming import turns

pytestmark = pytest.mark.simulates

#: Inputs of several streams (streams, steps, features), for both models.
XS = np.load(FIXTURES / "streaming.npz")["script_x"]


def assert_exact(network, xs, build_folder):
    program = compile_program([network], CONFIG, contexts=len(xs), weight_formats="int16")
    sends = [Send(to_bits(x, CONFIG.io_format), stream=stream) for stream, x in turns(xs)]
    segments = [Segment(sends, program=program)]
    traffic = play(segments, build_folder=build_folder)
    assert compare(segments, traffic.played) == ([], [])
    traffic.discard()


def test_states_as_inputs_and_outputs(build_folder):
    assert_exact(load_network(FIXTURES / "streaming_script.onnx"), XS, build_folder)


def test_states_as_buffers(build_folder):
    torch = pytest.importorskip("torch")

    class Kept(torch.nn.Module):
        """A step at a call; h and c are buffers."""

        def __init__(self):
            super().__init__()
            torch.manual_seed(3)
            self.lstm = torch.nn.LSTM(5, 8, 2)
            self.fc = torch.nn.Linear(8, 2)
            for name in ("h", "c"):
                self.register_buffer(name, torch.zeros(2, 1, 8))

        def forward(self, x):
            y, (self.h, self.c) = self.lstm(x, (self.h, self.c))
            return self.fc(y)

    assert_exact(load_network(Kept()), XS, build_folder)


def with_features():
    """A module that returns the features of its head, too."""
    torch = pytest.importorskip("torch")

    class Features(torch.nn.Module):
        """The output, and what it was computed from."""

        def __init__(self):
            super().__init__()
            torch.manual_seed(4)
            self.lstm = torch.nn.LSTM(5, 9, 2)
            self.fc = torch.nn.Linear(9, 2)

        def forward(self, x, h, c):
            y, (h, c) = self.lstm(x, (h, c))
            return self.fc(y), y, h, c

    return load_network(Features())


def of_all_kinds():
    """Layers with and without a state, one of which is h; the features are that one's."""
    rng = np.random.default_rng(5)

    def draw(*shape):
        return rng.uniform(-0.7, 0.7, shape)

    return Network(
        [
            LSTMLayer(draw(28, 5), draw(28, 7), draw(28)),
            DenseLayer(draw(11, 7), draw(11), "tanh"),
            GRULayer(draw(27, 11), draw(27, 9), draw(27), draw(27)),
            LinearLayer(draw(2, 9)),
        ],
        states=[StateName("features", "h", 1, True)],
    )


@pytest.mark.parametrize("make, epilogues", [(with_features, ("lstm",)), (of_all_kinds, ("gru", "dense", "lstm"))])
def test_h_beside_the_output(make, epilogues, build_folder, tmp_path):
    """The contexts keep it, for the host to read."""
    pytest.importorskip("cocotb_tools")
    from spiccato_sim.benches.tb_states import Job

    config = dataclasses.replace(CONFIG, name="keeps", block=8, columns=8, keep_h=True, epilogues=epilogues)
    program = compile_program([make()], config, contexts=3)
    job = Job(program=program, xs=XS[0].astype(np.float64)[:4], state=str(tmp_path / "state"), busy=1500)
    (tmp_path / "job").write_bytes(pickle.dumps(job))
    runner.run(
        runner.build(config, folder=build_folder),
        "spiccato_sim.benches.tb_states",
        results_dir=tmp_path,
        env={"SPICCATO_JOB": str(tmp_path / "job")},
    )

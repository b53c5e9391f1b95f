"""A kind of layer that is one file, the one of docs/howto-add-a-layer-kind.md, through everything."""

import dataclasses
import importlib.util
import sys
from unittest import mock

import numpy as np
import pytest

from paths import ROOT
from spiccato.compiler import compile_program, quantised_network
from spiccato.errors import ConfigError, FitError, ProgramError
from spiccato.layers import KINDS, LinearLayer, LSTMLayer
from spiccato.network import Network
from spiccato.program import Program
from spiccato.registry import configuration
from spiccato.rtl.accelerator import Timing
from spiccato.rtl.cell import CellUnit
from spiccato.rtl.epilogue import EPILOGUES
from spiccato_cli.output import print_summary
from spiccato_sim.benches.simulate import simulate
from spiccato_sim.models import zoo
from spiccato_sim.models.bfloat16 import BFloat16Pipeline
from spiccato_sim.models.reference import Reference
from spiccato_sim.models.vm import VirtualMachine

#: The LSTM is number 1, so that a field that is lost is noticed.
EPILOGUES_BUILT = ("maxout", "lstm")


@pytest.fixture(scope="module")
def maxout(tmp_path_factory):
    """The module of the page's first block, as a file."""
    page = (ROOT / "docs" / "howto-add-a-layer-kind.md").read_text()
    path = tmp_path_factory.mktemp("kind") / "maxout.py"
    path.write_text(page.split("```python\n")[1].split("```")[0])
    spec = importlib.util.spec_from_file_location("maxout", path)
    module = importlib.util.module_from_spec(spec)
    with mock.patch.dict(KINDS), mock.patch.dict(EPILOGUES), pytest.MonkeyPatch.context() as patch:
        # Not mock's: it would also forget what else is imported meanwhile, which then is there twice.
        patch.setitem(sys.modules, "maxout", module)
        spec.loader.exec_module(module)
        yield module


@pytest.fixture(scope="module")
def config(maxout):
    return dataclasses.replace(configuration("test4"), name="maxout", io_format="float32", epilogues=EPILOGUES_BUILT)


#: Kinds and sizes of layers; the first size is the input's.
NETWORKS = {"between": ("lstm maxout lstm linear", (5, 6, 7, 4, 3)), "last": ("lstm maxout", (5, 9, 6)),
            "first": ("maxout maxout lstm maxout linear", (11, 9, 3, 5, 4, 2))}  # fmt: skip


def network_of(maxout, name, scale=0.6, layer=None):
    kinds, sizes = NETWORKS[name]
    rng = np.random.default_rng(1)

    def draw(*shape):
        return scale * rng.uniform(-1, 1, shape)

    make = {
        "lstm": lambda i, o: LSTMLayer(draw(4 * o, i), draw(4 * o, o), draw(4 * o)),
        "maxout": lambda i, o: (layer or maxout.MaxoutLayer)(draw(4 * o, i), draw(4 * o)),
        "linear": lambda i, o: LinearLayer(draw(o, i), draw(o)),
    }
    return Network([make[kind](*pair) for kind, pair in zip(kinds.split(), zip(sizes, sizes[1:]))], name)


@pytest.mark.simulates
@pytest.mark.parametrize("name", NETWORKS)
def test_every_bit_and_every_cycle(name, maxout, config, build_folder):
    """Outputs, state, latencies and intervals of the RTL are the virtual machine's; some results saturate."""
    network = network_of(maxout, name, 1.5)
    formats = [("int16", "int8")[number % 2] for number in range(len(network.hidden_layers) + 1)]
    program = compile_program([network], config, weight_formats=[formats])
    xs = zoo.inputs(network, 14)
    machine = VirtualMachine(program)
    seen = set()
    for x in xs:
        machine.step(x)
        for place, h in zip(program.model.layers, machine.h):
            if place.kind == "maxout":
                seen |= set(h.tolist())
    assert (1 << 17) - 1 in seen and len(seen) > 10
    result = simulate(program, xs, spaced=5, preload=False, build_folder=build_folder)
    assert not result.failures
    assert result.bit_exact


@pytest.mark.parametrize("name", NETWORKS)
def test_models(name, maxout, config, tmp_path):
    """The virtual machine follows float64, the program file holds the network, and bfloat16 is what it rounds."""
    network = network_of(maxout, name)
    program = compile_program([network], config)
    program.save(tmp_path / "p.spiccato")
    program = Program.load(tmp_path / "p.spiccato")
    xs = zoo.inputs(network, 20)
    exact = Reference(network).run(xs)
    machine = VirtualMachine(program)
    assert np.abs(machine.run(xs) - exact).max() < 1e-4
    stored = quantised_network(program.model)
    assert [type(layer) for layer in stored.hidden_layers] == [type(layer) for layer in network.hidden_layers]
    for ours, given in zip(stored.hidden_layers, network.hidden_layers):
        for field, array in given.matrices.items():
            np.testing.assert_allclose(ours.matrices[field], array, rtol=0, atol=1e-4)
    assert np.abs(machine.run(xs) - exact).max() > 0
    assert 1e-4 < np.abs(BFloat16Pipeline(network).run(xs) - exact).max() < 1e-1
    assert [c.size for c in machine.c()] == [place.units * (place.kind == "lstm") for place in program.model.layers]


def test_each_epilogue_has_its_own_time(maxout, config):
    """A fast one is faster than the LSTM, a slow one delays nothing but itself."""
    alone, both = Timing(dataclasses.replace(config, epilogues=("lstm",))), Timing(config)
    assert both.dependency_of["lstm"] == alone.dependency == both.dependency
    assert both.dependency_of["maxout"] == both.dependency - CellUnit(config).latency + maxout.Maxout(config).latency

    class Slow(maxout.Maxout):
        name = "slow"
        latency = 40

    with mock.patch.dict(EPILOGUES, slow=Slow):
        slower = Timing(dataclasses.replace(config, epilogues=("slow", "lstm")))
    assert (slower.h, slower.c) == (slower.acc + 40, alone.c)
    assert slower.dependency_of["lstm"] == alone.dependency


def test_refusals(maxout, config):
    """By name: what is not built, what is not known, and what has no state."""
    network = network_of(maxout, "between")
    with pytest.raises(
        FitError, match=r"needs epilogue 'maxout' for a maxout layer \(built: lstm\); would fit: no board"
    ):
        compile_program([network], configuration("test4"))
    with pytest.raises(ConfigError, match="'maxout': there is no epilogue 'rnn'; known: lstm, gru, dense, maxout"):
        Timing(dataclasses.replace(config, epilogues=("lstm", "rnn")))
    with pytest.raises(ConfigError, match="none of the epilogues has a cell state"):
        Timing(dataclasses.replace(config, epilogues=("maxout",)))


def test_what_is_told(maxout, config, capsys):
    """Kinds by their names, in the summary of a program; of one whose kind is not known, which one that is."""
    program = compile_program([network_of(maxout, "first")], config)
    print_summary(program)
    assert "input 11, maxout 9 (int16), 3 (int16), LSTM 5 (int16), maxout 4 (int16), output 2 (int16)" in " ".join(
        capsys.readouterr().out.split()
    )
    with mock.patch.dict(KINDS):
        del KINDS["maxout"]
        with pytest.raises(ProgramError, match="there is no kind of layer 'maxout'; known: "):
            quantised_network(program.model)


def test_names_are_unique(maxout):
    from spiccato import layers
    from spiccato.rtl import epilogue

    with pytest.raises(ValueError, match="two kinds of layers are named 'maxout'"):
        layers.register(maxout.MaxoutLayer)
    with pytest.raises(ValueError, match="two epilogues are named 'maxout'"):
        epilogue.register(maxout.Maxout)


def test_state_dict(maxout):
    assert list(network_of(maxout, "first").to_state_dict()) == [
        "maxout0.weight", "maxout0.bias", "maxout1.weight", "maxout1.bias",
        "lstm.weight_ih_l0", "lstm.weight_hh_l0", "lstm.bias_ih_l0", "lstm.bias_hh_l0",
        "maxout2.weight", "maxout2.bias", "fc.weight", "fc.bias",
    ]  # fmt: skip

"""Kinds of layers in float64: against PyTorch, and multiplied out."""

import numpy as np
import pytest
import torch

from spiccato.layers import ACTIVATIONS, DenseLayer, GRULayer, LinearLayer, LSTMLayer
from spiccato.network import Network
from spiccato_sim.models.reference import Reference

TORCH = {
    "identity": torch.nn.Identity(),
    "relu": torch.nn.ReLU(),
    "leaky_relu": torch.nn.LeakyReLU(),
    "relu6": torch.nn.ReLU6(),
    "elu": torch.nn.ELU(),
    "sigmoid": torch.nn.Sigmoid(),
    "tanh": torch.nn.Tanh(),
    "hard_sigmoid": torch.nn.Hardsigmoid(),
    "hard_tanh": torch.nn.Hardtanh(),
    "gelu": torch.nn.GELU(),
    "silu": torch.nn.SiLU(),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_those_of_pytorch(name):
    x = np.linspace(-12, 12, 481)
    expected = TORCH[name](torch.from_numpy(x)).numpy()
    one = ACTIVATIONS[name]
    np.testing.assert_allclose(one(x), expected, rtol=0, atol=1e-12)
    assert one(x).min() >= one.low and one(x).max() <= one.high
    if one.homogeneous:
        np.testing.assert_allclose(one(8 * x), 8 * one(x))


def test_parameters_of_activations():
    x = np.array([-2.0, 3.0])
    for layer, expected in (
        (DenseLayer(np.eye(2), None, "leaky_relu", 0.25), [-0.5, 3]),
        (DenseLayer(np.eye(2), None, "elu", 2), [2 * np.expm1(-2), 3]),
        (DenseLayer(np.eye(2), [0.0, -3], "hard_sigmoid", 0.2), [0.1, 0.5]),
    ):
        np.testing.assert_allclose(layer.step(x, np.zeros(2), np.zeros(0)).h, expected)


def test_gru_is_that_of_pytorch():
    torch.manual_seed(0)
    module = torch.nn.GRU(5, 4, num_layers=2, dtype=torch.float64)
    tensors = {name: value.detach().numpy() for name, value in module.named_parameters()}
    h0 = np.random.default_rng(0).uniform(-1, 1, (2, 4))
    layers = [
        GRULayer(*(tensors[f"{name}_l{k}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")), h0=h0[k])
        for k in range(2)
    ]
    xs = np.random.default_rng(1).standard_normal((20, 5))
    expected = module(torch.from_numpy(xs), torch.from_numpy(h0))[0].detach().numpy()
    network = Network(layers)
    np.testing.assert_allclose(Reference(network).run(xs), expected, rtol=0, atol=1e-12)
    assert network.parameters == sum(value.size for value in tensors.values()) + h0.size
    assert set(network.to_state_dict()) == {f"gru.{name}" for name in tensors} | {"gru.h0_l0", "gru.h0_l1"}


@pytest.mark.parametrize("kind", [GRULayer, LSTMLayer])
def test_lowered_and_back(kind):
    gates = {GRULayer: 3, LSTMLayer: 4}[kind]
    rng = np.random.default_rng(2)
    shapes = ((gates * 3, 2), (gates * 3, 3), (gates * 3,), (gates * 3,))
    layer = kind(*(rng.standard_normal(shape) for shape in shapes))
    again = kind.from_lowered(layer.lowered())
    state, x = layer.initial_state, rng.standard_normal(2)
    for ours, theirs in zip(again.step(x, *state), layer.step(x, *state)):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-14)


def draw(rng, kind, inputs, units):
    def array(*shape):
        return rng.uniform(-0.6, 0.6, shape)

    if kind == "linear":
        return LinearLayer(array(units, inputs), array(units))
    if kind == "dense":
        return DenseLayer(array(units, inputs), array(units), "tanh")
    gates, make = {"gru": (3, GRULayer), "lstm": (4, LSTMLayer)}[kind]
    return make(*(array(*shape) for shape in ((gates * units, inputs), (gates * units, units), (gates * units,))))


@pytest.mark.parametrize(
    "kinds, sizes, computed",
    [
        ("linear linear lstm linear", (5, 5, 5, 4, 3), "lstm"),
        ("linear gru linear dense linear linear", (5, 4, 3, 3, 3, 2, 2), "gru dense"),
        # 16 rows of 100 inputs are more than 2 of 100 and 16 of 2.
        ("linear lstm", (100, 2, 4), "dense lstm"),
        ("dense linear dense", (4, 3, 3, 2), "dense dense"),
    ],
)
def test_linear_layers_are_multiplied_out(kinds, sizes, computed):
    """Where that takes no more multiplications; the results are the same."""
    rng = np.random.default_rng(3)
    network = Network([draw(rng, kind, *pair) for kind, *pair in zip(kinds.split(), sizes, sizes[1:])])
    assert [layer.kind for layer in network.hidden_layers] == computed.split()
    same = Network([*network.hidden_layers, network.output_layer])
    xs = rng.standard_normal((10, network.input_size))
    np.testing.assert_allclose(Reference(same).run(xs), Reference(network).run(xs), rtol=0, atol=1e-12)

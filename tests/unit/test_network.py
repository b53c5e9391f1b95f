"""Networks: what is accepted, what is refused and in which words."""

import re

import numpy as np
import pytest

from spiccato.errors import ModelError
from spiccato.layers import DenseLayer, GRULayer, LinearLayer, LSTMLayer
from spiccato.network import Network
from spiccato_sim.models.zoo import random_network

pytestmark = pytest.mark.fast


def test_layers_know_their_sizes_and_cannot_be_changed():
    weight_ih = np.ones((8, 3), dtype=np.float32)
    layer = LSTMLayer(weight_ih, np.zeros((8, 2)), None, np.arange(8))
    assert (layer.input_size, layer.hidden_size, layer.parameters) == (3, 2, 24 + 16 + 16)
    np.testing.assert_array_equal(layer.bias_ih, np.zeros(8))
    weight_ih[0, 0] = 5
    assert layer.weight_ih[0, 0] == 1
    assert layer.weight_ih.dtype == layer.bias_hh.dtype == np.float64
    with pytest.raises(ValueError, match="read-only"):
        layer.weight_ih[0, 0] = 2
    with pytest.raises(AttributeError):
        layer.weight_ih = weight_ih


def test_network_counts_both_biases():
    network = random_network(np.random.default_rng(0), layers=2, name="both")
    tensors = network.to_state_dict().values()
    assert (network.name, len(tensors)) == ("both", 2 * 4 + 2)
    assert network.parameters == sum(value.size for value in tensors)


@pytest.mark.parametrize("linear", [0, 1, 3])
def test_output_layer_equals_the_layers_in_turn(linear):
    rng = np.random.default_rng(linear)
    network = random_network(rng, layers=1, linear=linear)
    h = y = rng.standard_normal(network.layers[0].output_size)
    for layer in network.layers[1:]:
        y = layer.weight @ y + layer.bias
    output = network.output_layer
    assert output.weight.shape == (network.output_size, h.size)
    np.testing.assert_allclose(output.weight @ h + output.bias, y, rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    "message, make",
    [
        ("network 'empty' has no layers; at least one LSTM, GRU or dense layer", lambda: Network((), name="empty")),
        ("network 'network' has only linear layers", lambda: Network((LinearLayer(np.eye(2)), DenseLayer(np.eye(2))))),
        (
            "LSTM layer 1 takes 3 inputs; expected 2, the outputs of LSTM layer 0",
            lambda: Network((LSTMLayer(np.ones((8, 1)), np.ones((8, 2))), wide_layer())),
        ),
        (
            "linear layer 0 takes 4 inputs; expected 1, the outputs of LSTM layer 0",
            lambda: Network((wide_layer(), LinearLayer(np.ones((1, 4))))),
        ),
        (
            "GRU layer 0 takes 4 inputs; expected 1, the outputs of LSTM layer 0",
            lambda: Network((wide_layer(), GRULayer(np.ones((6, 4)), np.ones((6, 2))))),
        ),
        ("there is no activation 'swish'; known: identity, relu", lambda: DenseLayer([[1.0]], activation="swish")),
        ("alpha is 0.5; activation 'relu' has no parameter", lambda: DenseLayer([[1.0]], None, "relu", 0.5)),
        ("alpha of activation 'elu' is -1; it must be a number from 0", lambda: DenseLayer([[1.0]], None, "elu", -1)),
        ("expected (6, 2): 3 gates (4 gates would be an LSTM)", lambda: GRULayer(np.ones((8, 1)), np.ones((8, 2)))),
        ("expected (8, 2): 4 gates (3 gates would be a GRU)", lambda: LSTMLayer(np.ones((6, 1)), np.ones((6, 2)))),
        (
            "calibration has shape (5, 2); expected (steps, 3)",
            lambda: Network((wide_layer(),), calibration=np.ones((5, 2))),
        ),
        ("calibration[1, 2] is inf", lambda: Network((wide_layer(),), calibration=[[0, 0, 0], [0, 0, np.inf]])),
        ("weight_ih has shape (8, 0); expected (8, inputs)", lambda: LSTMLayer(np.ones((8, 0)), np.ones((8, 2)))),
        ("bias_hh has shape (8, 1); expected (8,)", lambda: wide_layer(size=2, bias_hh=np.ones((8, 1)))),
        ("bias holds <U3; expected real numbers", lambda: LinearLayer([[1.0]], ["one"])),
        ("bias holds bool; expected real numbers", lambda: LinearLayer([[1.0]], [True])),
        ("weight holds complex128; expected real numbers", lambda: LinearLayer([[1j]])),
        ("weight is not an array of real numbers", lambda: LinearLayer([[1.0, 2.0], [1.0]])),
    ],
)
def test_bad_objects_are_refused(message, make):
    with pytest.raises(ModelError, match=re.escape(message)):
        make()


def wide_layer(size=1, **biases):
    """A layer of `size` units with three inputs."""
    return LSTMLayer(np.ones((4 * size, 3)), np.ones((4 * size, size)), **biases)

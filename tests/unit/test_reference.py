"""The float64 reference against PyTorch and against the equations' corners."""

import numpy as np
import pytest

from paths import DATA
from spiccato.importers.state_dict import network_from_state_dict
from spiccato.layers import LinearLayer, LSTMLayer, sigmoid
from spiccato.network import Network
from spiccato_sim.models.reference import Reference
from spiccato_sim.models.zoo import random_network

pytestmark = pytest.mark.fast

RESULTS = ("xs", "ys", "h", "c")


@pytest.fixture
def golden():
    """(network, xs, ys, h, c) computed by PyTorch, see data/make_torch_lstm.py."""
    with np.load(DATA / "torch_lstm.npz") as file:
        arrays = dict(file)
    results = [arrays.pop(name) for name in RESULTS]
    return network_from_state_dict(arrays), *results


def test_equals_torch_golden_vectors(golden):
    network, xs, ys, h, c = golden
    reference = Reference(network)
    np.testing.assert_allclose(reference.run(xs), ys, rtol=0, atol=1e-14)
    np.testing.assert_allclose(reference.h, h, rtol=0, atol=1e-14)
    np.testing.assert_allclose(reference.c, c, rtol=0, atol=1e-14)


@pytest.mark.parametrize("field", ["weight_ih", "weight_hh", "bias_ih", "bias_hh"])
@pytest.mark.parametrize("layer", [0, 1])
def test_golden_vectors_notice_every_tensor(golden, layer, field):
    network, xs, ys, *_ = golden
    arrays = network.to_state_dict()
    arrays[f"lstm.{field}_l{layer}"] = arrays[f"lstm.{field}_l{layer}"] + 1e-6
    assert np.abs(Reference(network_from_state_dict(arrays)).run(xs) - ys).max() > 1e-9


@pytest.mark.parametrize("seed", range(3))
def test_equals_torch_live(seed):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(seed)
    network = random_network(rng, layers=3, linear=2, scale=2)
    xs = rng.standard_normal((50, network.input_size))
    y = torch.from_numpy(xs)
    with torch.no_grad():
        for layer in network.hidden_layers:
            lstm = torch.nn.LSTM(layer.input_size, layer.hidden_size, dtype=torch.float64)
            fields = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            lstm.load_state_dict({f"{f}_l0": torch.from_numpy(getattr(layer, f).copy()) for f in fields})
            y, _ = lstm(y)
        for layer in network.layers[len(network.hidden_layers) :]:
            y = torch.nn.functional.linear(
                y, torch.from_numpy(layer.weight.copy()), torch.from_numpy(layer.bias.copy())
            )
    np.testing.assert_allclose(Reference(network).run(xs), y.numpy(), rtol=0, atol=1e-13)


def test_one_unit_by_hand():
    ones = np.ones((4, 1))
    network = Network((LSTMLayer(ones, ones, [0.0, 1, 2, 3], None), LinearLayer([[2.0]], [0.5])))
    reference = Reference(network)

    def s(x):
        return 1 / (1 + np.exp(-x))

    h = c = 0.0
    for x in (0.25, -1.5):
        z = x + h
        c = s(z + 1) * c + s(z) * np.tanh(z + 2)
        h = s(z + 3) * np.tanh(c)
        assert reference.step([x]) == pytest.approx([2 * h + 0.5], abs=1e-15)
    assert reference.c[0] == pytest.approx([c], abs=1e-15)


def test_run_continues_and_reset_starts_again(golden):
    network, xs, *_ = golden
    reference = Reference(network)
    np.testing.assert_array_equal(
        np.concatenate([reference.run(xs[:10]), reference.run(xs[10:])]), Reference(network).run(xs)
    )
    assert reference.run(xs[:0]).shape == (0, 3)
    reference.reset()
    np.testing.assert_array_equal(reference.run(xs), Reference(network).run(xs))


def test_without_linear_layer_the_output_is_h():
    rng = np.random.default_rng(0)
    network = random_network(rng, layers=2, linear=0)
    reference = Reference(network)
    y = reference.step(rng.standard_normal(network.input_size))
    np.testing.assert_array_equal(y, reference.h[-1])


def test_sigmoid_far_out_is_exact_and_silent():
    x = np.array([-1e308, -800.0, -30.0, 0.0, 30.0, 800.0, 1e308])
    np.testing.assert_allclose(
        sigmoid(x), [0, 0, np.exp(-30) / (1 + np.exp(-30)), 0.5, 1 / (1 + np.exp(-30)), 1, 1], rtol=1e-15
    )


def test_saturated_gates_do_not_warn():
    big = np.full((4, 1), 1e6)
    reference = Reference(Network((LSTMLayer(big, big),)))
    assert np.isfinite(reference.run([[1.0], [-1.0], [1e300]])).all()


def test_input_of_another_shape_is_refused(golden):
    with pytest.raises(ValueError, match=r"x has shape \(6,\); expected \(5,\)"):
        Reference(golden[0]).step(np.zeros(6))

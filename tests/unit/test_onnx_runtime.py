"""ONNX Runtime beside the accelerator: it has to compute the same network."""

import dataclasses
import sys

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

from spiccato.errors import SpiccatoError
from spiccato.layers import ACTIVATIONS, DenseLayer, GRULayer, LinearLayer, LSTMLayer
from spiccato.network import Network
from spiccato_sim.analysis import onnx_runtime
from spiccato_sim.models import zoo
from spiccato_sim.models.reference import Reference

pytestmark = pytest.mark.fast


@pytest.fixture(scope="module")
def network():
    """Three layers of different sizes that start from a state, and two linear ones."""
    rng = np.random.default_rng(3)
    network = zoo.random_network(rng, layers=3, linear=2, min_size=3, max_size=9)
    layers = [
        dataclasses.replace(layer, h0=rng.uniform(-1, 1, layer.output_size), c0=rng.uniform(-1, 1, layer.output_size))
        for layer in network.hidden_layers
    ]
    return dataclasses.replace(network, layers=(*layers, *network.layers[len(layers) :]))


def test_same_network(network, monkeypatch):
    """All timesteps are those of the equations, the initial state and the order of gates included."""
    monkeypatch.setattr(onnx_runtime, "STEPS", 100)
    xs = zoo.inputs(network, 30)
    timed = onnx_runtime.timed(network, xs)
    assert timed.outputs == pytest.approx(Reference(network).run(xs), abs=1e-5)
    assert 0 < timed.median_us <= timed.p99_us
    assert onnx_runtime.processor()


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_all_kinds(activation, monkeypatch):
    """GRU layers and dense ones of each function, behind one and several layers, linear ones in between."""
    monkeypatch.setattr(onnx_runtime, "STEPS", 10)
    rng = np.random.default_rng(5)

    def drawn(*shape):
        return rng.uniform(-1, 1, shape)

    network = Network(
        [
            GRULayer(drawn(12, 3), drawn(12, 4), drawn(12), drawn(12), h0=drawn(4)),
            LinearLayer(drawn(5, 4), drawn(5)),
            DenseLayer(3 * drawn(7, 5), drawn(7), activation),
            LSTMLayer(drawn(8, 12), drawn(8, 2), drawn(8), drawn(8), h0=drawn(2), c0=drawn(2)),
        ],
        reads=(1, 1, 1, 2),
    )
    xs = zoo.inputs(network, 20)
    assert onnx_runtime.timed(network, xs).outputs == pytest.approx(Reference(network).run(xs), abs=1e-5)


def test_missing_package(network, monkeypatch):
    """One line says what to install."""
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(SpiccatoError, match=r"needs the package onnxruntime: pip install 'spiccato\[bench\]'"):
        onnx_runtime.timed(network, zoo.inputs(network, 1))

"""ONNX Runtime beside the accelerator: it has to compute the same network."""

import dataclasses
import sys

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

from spiccato.errors import SpiccatoError
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


def test_missing_package(network, monkeypatch):
    """One line says what to install."""
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(SpiccatoError, match=r"needs the package onnxruntime: pip install 'spiccato\[bench\]'"):
        onnx_runtime.timed(network, zoo.inputs(network, 1))

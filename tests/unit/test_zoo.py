"""Benchmark models, random networks, their inputs, and the trained example."""

import importlib.util

import numpy as np
import pytest

from spiccato.errors import ModelError
from spiccato.importers import save_safetensors
from spiccato_sim.models import series, zoo
from spiccato_sim.models.bfloat16 import BFloat16Pipeline, round_bfloat16
from spiccato_sim.models.reference import Reference
from spiccato_sim.models.zoo import MODELS, TRAINED, build, inputs, random_network, resolve, scale_features

pytestmark = pytest.mark.fast

# Parameters as published, both PyTorch biases counted: an independent check of the shapes.
PUBLISHED = {
    "lstm_tiny": "268K",
    "lstm_small": "1.6M",
    "lstm_med": "5.6M",
    "lstm_med_deep": "4.9M",
    "lstm_large": "22.2M",
}


def same(a, b):
    """Whether two networks have equal tensors."""
    a, b = a.to_state_dict(), b.to_state_dict()
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("name", MODELS)
def test_benchmark_models_have_the_published_sizes(name):
    assert PUBLISHED.keys() == MODELS.keys()
    network = build(name)
    count = network.parameters
    assert PUBLISHED[name] in (f"{count / 1e3:.0f}K", f"{count / 1e6:.1f}M")
    assert network.name == name
    assert network.output_size == 32
    assert {layer.input_size for layer in network.layers} == {network.layers[0].hidden_size}


def test_initialisation_is_pytorchs():
    network = build("lstm_tiny")
    for tensor in network.to_state_dict().values():
        bound = 1 / np.sqrt(128)
        assert 0.9 * bound < np.abs(tensor).max() <= bound * (1 + 1e-6)
        assert abs(tensor.mean()) < bound / np.sqrt(tensor.size)
    assert same(network, build("lstm_tiny", seed=0))
    assert not same(network, build("lstm_tiny", seed=1))
    tripled = build("lstm_tiny", scale=3).to_state_dict()
    for name, tensor in network.to_state_dict().items():
        np.testing.assert_allclose(tripled[name], 3 * tensor, rtol=1e-6)


def test_random_networks_differ_in_all_sizes():
    networks = [random_network(np.random.default_rng(k), layers=3, linear=2, max_size=9) for k in range(50)]
    sizes = [[n.input_size, *(x.output_size for x in n.layers)] for n in networks]
    for position in zip(*sizes, strict=True):
        assert set(position) == set(range(1, 10))
    assert same(networks[7], random_network(np.random.default_rng(7), layers=3, linear=2, max_size=9))


def test_inputs_are_seeded_and_bfloat16():
    network = random_network(np.random.default_rng(0), layers=1, min_size=20)
    xs = inputs(network, 500)
    assert xs.shape == (500, network.input_size)
    np.testing.assert_array_equal(xs, round_bfloat16(xs))
    np.testing.assert_array_equal(xs, inputs(network, 500, seed=0))
    assert (xs != inputs(network, 500, seed=1)).any()
    assert abs(xs.mean()) < 0.05
    assert abs(xs.std() - 1) < 0.05


def test_scaled_features_leave_the_outputs_alone():
    network = random_network(np.random.default_rng(3), layers=2, min_size=20)
    spread = np.geomspace(1e-3, 1e3, network.input_size)
    scaled = scale_features(network, spread)
    xs = inputs(network, 300, spread=spread)
    np.testing.assert_allclose(xs.std(axis=0) / spread, 1, atol=0.2)
    np.testing.assert_allclose(scaled.calibration.std(axis=0) / spread, 1, atol=0.5)
    assert not np.isin(scaled.calibration, xs).all()
    np.testing.assert_allclose(Reference(scaled).run(xs), Reference(network).run(xs / spread), rtol=0, atol=1e-12)


def test_resolve_finds_names_and_files(tmp_path):
    assert same(resolve("lstm_tiny", seed=5), build("lstm_tiny", seed=5))
    network = random_network(np.random.default_rng(0), layers=2)
    save_safetensors(network, tmp_path / "mine.safetensors")
    assert same(resolve(str(tmp_path / "mine.safetensors")), network)


@pytest.mark.parametrize("name", ["lstm_huge", "model.tflite", ""])
def test_unknown_models_are_refused_with_what_is_known(name):
    with pytest.raises(ModelError) as caught:
        resolve(name)
    assert f"'{name}'" in str(caught.value)
    assert all(known in str(caught.value) for known in (*MODELS, *TRAINED, ".safetensors"))
    with pytest.raises(ModelError, match="unknown benchmark model 'lstm_huge'"):
        build("lstm_huge")


# The trained example.


@pytest.mark.parametrize("name", TRAINED)
def test_trained_example_beats_the_baseline(name):
    task, network = series.load(name), resolve(name)
    assert network.name == task.name == name
    assert network.input_size == len(task.features) == task.inputs.shape[1]
    assert len(task.inputs) == len(task.targets) >= 300
    assert not np.array_equal(task.inputs, round_bfloat16(task.inputs))  # as observed
    assert task.metric(task.targets) == 0
    for model in (Reference(network), BFloat16Pipeline(network)):
        assert task.metric(task.predict(model.run(task.inputs))) < 0.96 * task.baseline()


@pytest.mark.parametrize("name", TRAINED)
def test_trained_example_is_calibrated_on_raw_training_inputs(name):
    task, network = series.load(name), resolve(name)
    training_rows = {tuple(row) for row in round_bfloat16(task.train.inputs)}
    assert len(network.calibration) == 64
    assert all(tuple(row) in training_rows for row in network.calibration)
    spread = network.calibration.std(axis=0)
    assert spread.max() / spread.min() > 500


def test_parts_of_the_series_follow_each_other():
    task = series.load("seattle_weather")
    assert [len(part.inputs) for part in (task.train, task.validation, task.test)] == [731, 365, 364]
    for part in (task.train, task.validation, task.test):
        # What is to be forecast is what is observed a day later.
        np.testing.assert_array_equal(part.targets[:-1], part.current[1:])
        np.testing.assert_array_equal(part.inputs[:, 0], part.current)
    assert task.train.targets[-1] == task.validation.current[0]
    assert task.validation.targets[-1] == task.test.current[0]
    assert task.baseline() == pytest.approx(2.24, abs=0.005)


def test_missing_data_package_file_or_name_is_explained(monkeypatch, tmp_path):
    with pytest.raises(ModelError, match="unknown series 'tides'; known: seattle_weather"):
        series.load("tides")
    monkeypatch.setattr(zoo, "EXAMPLES", tmp_path)
    with pytest.raises(ModelError, match=r"'seattle_weather' has no file .*seattle_weather\.safetensors"):
        resolve("seattle_weather")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"vega-datasets: pip install 'spiccato\[test\]'"):
        series.load("seattle_weather")

"""The accuracy bars: RMS output error against float64, compared with a bfloat16 pipeline's, on float32 outputs."""

import dataclasses

import numpy as np
import pytest

from spiccato.compiler import compile_program
from spiccato.registry import configuration
from spiccato_sim.models import series, zoo
from spiccato_sim.models.bfloat16 import BFloat16Pipeline
from spiccato_sim.models.reference import Reference
from spiccato_sim.models.vm import VirtualMachine

STEPS = 300
#: Largest error allowed, as a multiple of the bfloat16 pipeline's.
BARS = {"int16": 1 / 20, "int8": 3}
#: With 9x9 multipliers: networks as they are initialised, and trained ones.
FAST_BAR, FAST_TRAINED_BAR = 3, 2
#: Inputs like powers of a spectrum: the spread of their logarithms, what weights are divided by for them, timesteps.
POWERS_SPREAD, POWERS_OVER, POWERS_STEPS = 2.5, 32, 100
#: RMS h of a layer to which a fixed point for h would leave few bits.
SMALL_H = 0.05


def rms(errors):
    return float(np.sqrt(np.mean(np.square(errors))))


def machine_run(network, xs, weight_format, board):
    config = dataclasses.replace(configuration(board), io_format="float32")
    return VirtualMachine(compile_program([network], config, weight_formats=[weight_format])).run(xs)


def error_ratio(network, xs, weight_format, board="ia420f"):
    reference = Reference(network).run(xs)
    bfloat16 = rms(BFloat16Pipeline(network).run(xs) - reference)
    return rms(machine_run(network, xs, weight_format, board) - reference) / bfloat16


@pytest.mark.parametrize("weight_format", BARS)
@pytest.mark.parametrize("scale", [1, 3])
@pytest.mark.parametrize("model", ["lstm_tiny", "lstm_small"])
def test_benchmark_models(model, scale, weight_format):
    """Freshly initialised models, and the same with weights three times as large."""
    network = zoo.build(model, seed=1, scale=scale)
    assert error_ratio(network, zoo.inputs(network, STEPS, 1), weight_format) <= BARS[weight_format]


@pytest.mark.parametrize("weight_format", BARS)
@pytest.mark.parametrize("scale", [1, 3])
@pytest.mark.parametrize("model", ["gru_tiny", "mlp_small"])
def test_other_kinds(model, scale, weight_format):
    """The same of GRU layers, and of dense layers with ReLU."""
    network = zoo.build(model, seed=1, scale=scale)
    xs = zoo.inputs(network, STEPS, 1)
    assert error_ratio(network, xs, weight_format, "ia420f-kinds") <= BARS[weight_format]


@pytest.mark.parametrize("board", ["ia420f-fast", "ia840f-fast"])
@pytest.mark.parametrize("scale", [1, 3])
@pytest.mark.parametrize("model", ["lstm_tiny", "lstm_small"])
def test_fast_configurations(model, scale, board):
    """The same with 9x9 multipliers, blocks of 64 and 128."""
    network = zoo.build(model, seed=1, scale=scale)
    assert error_ratio(network, zoo.inputs(network, STEPS, 1), "auto", board) <= FAST_BAR


def test_error_feedback():
    """Calibration inputs make the error smaller: other ones than it is measured with."""
    network = zoo.build("lstm_tiny", seed=1)
    xs = zoo.inputs(network, STEPS, 1)
    plain = error_ratio(network, xs, "auto", "ia420f-fast")
    network = dataclasses.replace(network, calibration=zoo.inputs(network, STEPS, 7))
    assert error_ratio(network, xs, "auto", "ia420f-fast") < 0.95 * plain


def test_fast_configuration_of_a_trained_network():
    network, task = zoo.resolve("seattle_weather"), series.load("seattle_weather")
    assert error_ratio(network, task.inputs[:STEPS], "auto", "ia420f-fast") <= FAST_TRAINED_BAR


def test_fast_configuration_with_a_layer_of_small_h():
    """A layer whose output gates hardly open; the next one's weights make up for it."""
    network = zoo.build("lstm_tiny", seed=4)
    first, second, linear = network.layers
    bias = first.bias_ih.copy()
    bias[-first.output_size :] -= 4
    layers = dataclasses.replace(first, bias_ih=bias), dataclasses.replace(second, weight_ih=16 * second.weight_ih)
    network, xs = dataclasses.replace(network, layers=(*layers, linear)), zoo.inputs(network, STEPS, 4)
    reference, h = Reference(network), []
    for x in xs:
        reference.step(x)
        h.append(reference.h[0])
    assert rms(h) < SMALL_H
    assert error_ratio(network, xs, "auto", "ia420f-fast") <= FAST_BAR


def test_wide_layer_takes_powers():
    """Inputs of which a few are a hundred times the others: too much for 9 bits, unless they come in two halves."""
    network = zoo.build("lstm_tiny", seed=3)
    first, *others = network.layers
    network = dataclasses.replace(
        network, layers=(dataclasses.replace(first, weight_ih=first.weight_ih / POWERS_OVER), *others)
    )
    powers = np.exp(np.random.default_rng(3).normal(scale=POWERS_SPREAD, size=(POWERS_STEPS, network.input_size)))
    xs = powers.astype(np.float32).astype(np.float64)
    plain, wide = (error_ratio(network, xs, form, "ia420f-fast") for form in ("auto", ["wide", "int8", "int8"]))
    assert wide <= FAST_TRAINED_BAR < FAST_BAR < plain


@pytest.mark.parametrize("weight_format", BARS)
@pytest.mark.parametrize("calibrated", [True, False])
def test_features_of_different_scale(calibrated, weight_format):
    """Features from 1e-3 to 1e3; the scales come from calibration samples, or else from the weights."""
    base = zoo.build("lstm_tiny", seed=2)
    spread = 10 ** np.random.default_rng(2).uniform(-3, 3, base.input_size)
    network = zoo.scale_features(base, spread, seed=2)
    if not calibrated:
        network = dataclasses.replace(network, calibration=None)
    xs = zoo.inputs(network, STEPS, 2, spread=spread)
    assert error_ratio(network, xs, weight_format) <= BARS[weight_format]


@pytest.mark.parametrize("board", ["ia420f", "ia420f-fast"])
def test_one_large_weight_costs_no_other_feature(board):
    """A single weight of a thousand among those of a tenth leaves the scales of the other features as they were."""
    network = dataclasses.replace(zoo.build("lstm_tiny", seed=2), calibration=None)
    first, *others = network.layers
    weights = first.weight_ih.copy()
    weights[0, 5] = 1000
    changed = dataclasses.replace(network, layers=(dataclasses.replace(first, weight_ih=weights), *others))
    xs = zoo.inputs(network, STEPS, 2)
    spoilt, plain = (rms(machine_run(one, xs, "auto", board) - Reference(one).run(xs)) for one in (changed, network))
    assert spoilt <= 2 * plain


def test_counting_cell():
    """c may count up to hundreds without wrapping, and saturates where it ends."""
    from spiccato.layers import LinearLayer, LSTMLayer
    from spiccato.network import Network

    # One unit whose input and forget gates are open: c grows by tanh(1) a step.
    zero = np.zeros((4, 1))
    layer = LSTMLayer(np.array([[0.0], [0.0], [1.0], [0.0]]), zero, np.array([20.0, 20.0, 0.0, 20.0]), np.zeros(4))
    network = Network((layer, LinearLayer(np.eye(1), np.zeros(1))))
    machine = VirtualMachine(compile_program([network], configuration("test4")))
    expected = 0.0
    for step in range(1, 800):
        machine.step(np.ones(1))
        expected = min(expected + np.tanh(1), 512)
        assert machine.c()[0][0] / 2**17 == pytest.approx(expected, rel=2e-4), step
    assert machine.c()[0][0] == 2**26 - 1

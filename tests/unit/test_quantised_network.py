"""The network that a program's integers stand for, and errors told apart with its help."""

import dataclasses

import numpy as np
import pytest

from spiccato.compiler import compile_network, compile_program, quantised_network
from spiccato.compiler.feedback import fed_back
from spiccato.compiler.moments import moments
from spiccato.errors import FitError
from spiccato.registry import configuration
from spiccato_sim.analysis.accuracy import accuracy, matrix_errors, rms
from spiccato_sim.models import zoo
from spiccato_sim.models.bfloat16 import BFloat16Pipeline
from spiccato_sim.models.reference import Reference
from spiccato_sim.models.vm import VirtualMachine

pytestmark = pytest.mark.fast

BITS = {"int16": 16, "int8": 8}
CASES = [("test4", "int16"), ("test8", "int8"), ("ia420f", ("int8", "int16", "int8")), ("ia840f", "int16")]


def case(seed, board, weights, layers=2, linear=1):
    rng = np.random.default_rng(seed)
    network = zoo.random_network(rng, layers=layers, linear=linear, min_size=4, max_size=12)
    if seed % 2:
        network = zoo.scale_features(network, 10 ** rng.uniform(-3, 3, network.input_size))
    config = dataclasses.replace(configuration(board), io_format="float32")
    return network, compile_program([network], config, weight_formats=[weights])


@pytest.mark.parametrize("case_", CASES, ids=lambda c: c[0])
@pytest.mark.parametrize("seed", range(4))
def test_weights_are_rounded_and_in_place(seed, case_):
    """Without feedback each weight is off by no more than half a unit of its row; biases by half an accumulator's."""
    network, program = case(seed, *case_)
    model = compile_network(network, program.config, weight_format=program.model.weight_formats, feedback=False)
    stored = quantised_network(model)
    assert (stored.input_size, stored.output_size) == (network.input_size, network.output_size)
    for number, (layer, rounded) in enumerate(zip(network.hidden_layers, stored.hidden_layers)):
        unit = 2.0 ** (1 - BITS[model.weight_formats[number]])
        for field in ("weight_ih", "weight_hh"):
            exact, found = getattr(layer, field), getattr(rounded, field)
            # A feature's scale moves the binary point of its column: compare columns at the row's scale.
            scale = np.ones(exact.shape[1])
            if number == 0 and field == "weight_ih":
                scale = np.ldexp(1.0, -model.adjust.astype(int).reshape(-1)[: network.input_size])
            error, row = np.abs(found - exact) * scale, (np.abs(exact) * scale).max(axis=1, keepdims=True)
            assert (error <= unit * row * (1 + unit)).all(), (number, field)
            assert error.max() > 0
        assert np.allclose(rounded.bias_ih, layer.bias_ih + layer.bias_hh, rtol=0, atol=2**-26)
    weight, bias = network.output_layer.weight, network.output_layer.bias
    unit = 2.0 ** (1 - BITS[model.weight_formats[-1]])
    assert (
        np.abs(stored.output_layer.weight - weight) <= unit * (1 + unit) * np.abs(weight).max(axis=1, keepdims=True)
    ).all()
    assert np.allclose(stored.output_layer.bias, bias, rtol=0, atol=2.0**-model.output_frac_bits)


@pytest.mark.parametrize("seed", range(4))
def test_errors_are_told_apart(seed):
    """With 8-bit weights nearly all of the error is theirs: the machine agrees with the network it stands for."""
    network, program = case(seed, "test8", "int8", linear=2)
    xs = zoo.inputs(network, 40, seed)
    if network.calibration is not None:
        xs = xs * np.abs(network.calibration).max(axis=0) / 3
    found, alone = accuracy(program, network, xs), accuracy(program, None, xs)
    assert found.weights.rms == pytest.approx(found.exact.rms, rel=0.1)
    assert alone.exact.rms < found.exact.rms / 20
    assert alone.weights is alone.bfloat16 is None


def test_errors_are_those_of_the_models():
    network, program = case(2, "test8", "int16")
    program = compile_program([network], configuration("test8"))
    xs = zoo.inputs(network, 30)
    found = accuracy(program, network, xs)
    reference, machine, pipeline = Reference(network), VirtualMachine(program), BFloat16Pipeline(network)
    squares, outputs = np.zeros((2, 2)), {"sent": [], "bfloat16": []}
    for x in xs:
        exact = reference.step(x)
        outputs["sent"].append(machine.step(x) - exact)
        outputs["bfloat16"].append(pipeline.step(x) - exact)
        for row, h in ((0, [h / 2**17 for h in machine.h]), (1, pipeline.h)):
            squares[row] += [np.mean((one - truth) ** 2) for one, truth in zip(h, reference.h)]
    for name, errors in outputs.items():
        got = getattr(found, name)
        assert got.rms == pytest.approx(rms(errors), rel=1e-12)
        assert got.largest == np.abs(errors).max()
        assert got.steps == pytest.approx([rms(one) for one in errors], rel=1e-12)
    assert found.exact.layers == found.sent.layers == pytest.approx(np.sqrt(squares[0] / len(xs)).tolist())
    assert found.bfloat16.layers == pytest.approx(np.sqrt(squares[1] / len(xs)).tolist())
    assert found.exact.rms < found.sent.rms / 5
    assert found.flags == {"malformed": 0, "nan": 0, "saturated": 0, "unknown": 0}


def test_marked_steps_are_counted():
    network, _ = case(0, "test8", "int16")
    program = compile_program([network], configuration("test8"))
    xs = zoo.inputs(network, 6)
    xs[2:4, 1] = 1e30
    assert accuracy(program, network, xs).flags["saturated"] == 2


@pytest.mark.parametrize("board", ["test8", "ulx3s-fast"])
def test_feedback_makes_errors_of_sums_smaller(board):
    """On the calibration inputs, matrix by matrix; the weights' own errors grow."""
    config = configuration(board)
    base, _ = case(0, "test8", "int16")
    xs = zoo.inputs(base, 300)
    # Features that have something in common, which noise does not.
    network = dataclasses.replace(base, calibration=xs + 2 * xs[:, :1])
    form = config.weight_formats[-1]
    found = matrix_errors(compile_network(network, config, weight_format=form), network)
    for one in found:
        if one.weight_format == "int16":
            assert one.sums == one.nearest_sums
        else:
            assert one.sums < 0.98 * one.nearest_sums, one
    bare = matrix_errors(compile_network(base, config, weight_format=form), base)
    assert all(one.sums is None for one in bare)


@pytest.mark.parametrize("board", ["ia420f-fast", "ulx3s-fast"])
@pytest.mark.parametrize("what", ["powers of two", "small integers", "integers", "selection"])
def test_weights_that_need_no_rounding(board, what):
    """Rows of few different weights keep them, though a finer scale would hold the largest one as well."""
    rng = np.random.default_rng(3)
    made = {
        "powers of two": lambda shape: rng.choice([-1, 1], shape) * 2.0 ** rng.integers(-4, 1, shape),
        "small integers": lambda shape: rng.integers(-7, 8, shape) / 8,
        "integers": lambda shape: rng.integers(-127, 128, shape) / 256,
        "selection": lambda shape: np.eye(*shape),
    }[what]
    base = zoo.random_network(rng, layers=2, min_size=4, max_size=12)
    network = dataclasses.replace(
        base,
        layers=tuple(
            dataclasses.replace(
                layer,
                **{
                    name: made(getattr(layer, name).shape)
                    for name in ("weight_ih", "weight_hh", "weight")
                    if hasattr(layer, name)
                },
            )
            for layer in base.layers
        ),
    )
    for calibration in (None, zoo.inputs(base, 20)):
        network = dataclasses.replace(network, calibration=calibration)
        stored = quantised_network(compile_network(network, configuration(board), weight_format="auto"))
        for number, (layer, rounded) in enumerate(zip(network.layers, stored.layers)):
            for name in ("weight_ih", "weight_hh", "weight"):
                # Columns of the network's input have scales of their own.
                if hasattr(layer, name) and (number or name != "weight_ih"):
                    assert (getattr(rounded, name) == getattr(layer, name)).all(), name


def test_one_step_of_calibration_tells_no_products():
    """Of what goes together one step says nothing; of magnitudes it does."""
    base, _ = case(0, "test8", "int16")
    for steps in (1, 2):
        (found, *_) = moments(dataclasses.replace(base, calibration=zoo.inputs(base, steps) + 1))
        others = found.input[~np.eye(base.input_size, dtype=bool)]
        assert np.diagonal(found.input).all() and others.any() == (steps > 1)


@pytest.mark.parametrize("exponent", [-1040, -1000, 1, 900])
def test_feedback_at_any_magnitude(exponent):
    """Only the ratios of moments count; those of inputs too small for their products are as none."""
    rng = np.random.default_rng(0)
    values, inputs = 100 * rng.standard_normal((8, 20)), rng.standard_normal((50, 20)) + 1
    products = inputs.T @ inputs
    found = fed_back(values, np.ldexp(products, exponent), 127)
    expected = fed_back(values, products, 127) if exponent > -1040 else np.clip(np.rint(values), -127, 127)
    assert (found == expected).all()


@pytest.mark.parametrize("factor", [1e60, 1e200, 1e300])
@pytest.mark.parametrize("calibrated", [False, True])
def test_weights_beyond_any_input(factor, calibrated):
    network, program = case(0, "test8", "int16")
    first, *others = network.layers
    network = dataclasses.replace(
        network,
        layers=(dataclasses.replace(first, weight_ih=first.weight_ih * factor), *others),
        calibration=zoo.inputs(network, 5) if calibrated else None,
    )
    with pytest.raises(FitError, match="an input weight of magnitude .* is beyond the accumulators' range for any"):
        compile_network(network, program.config)


@pytest.mark.parametrize("weights", BITS)
def test_matrix_errors(weights):
    network, program = case(0, "test8", weights)
    found = matrix_errors(program.model, network)
    assert [(one.layer, one.matrix) for one in found] == [(0, "W_ih"), (0, "W_hh"), (1, "W_ih"), (1, "W_hh"), (2, "W")]
    assert [one.weight_format for one in found] == [weights] * 4 + ["int16"]
    for one in found:
        assert one.largest < 2.0 ** (1 - BITS[one.weight_format])
        assert 2**-10 < one.bfloat16_rms < one.bfloat16_largest * 2 < 2**-7
        assert (one.rms < one.bfloat16_rms / 20) == (one.weight_format == "int16")

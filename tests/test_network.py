"""Networks: what is accepted, what is refused and in which words, and their files."""

import re

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from spiccato.network import (LinearLayer, LSTMLayer, ModelError, Network, load_safetensors, network_from_state_dict,
                              save_safetensors)
from spiccato_sim.bfloat16 import round_bfloat16, to_bits
from spiccato_sim.models import random_network


def state(*sizes, outputs=2, seed=0):
    """State dict of one nn.LSTM (input size, then hidden sizes) and an nn.Linear."""
    rng = np.random.default_rng(seed)
    tensors = {}
    for k, (i, h) in enumerate(zip(sizes, sizes[1:])):
        shapes = {"weight_ih": (4 * h, i), "weight_hh": (4 * h, h), "bias_ih": (4 * h,), "bias_hh": (4 * h,)}
        tensors |= {f"lstm.{field}_l{k}": rng.standard_normal(shape) for field, shape in shapes.items()}
    tensors |= {
        "fc.weight": rng.standard_normal((outputs, sizes[-1])),
        "fc.bias": rng.standard_normal(outputs),
    }
    return tensors


def renamed(tensors, old, new):
    """`tensors` with `old` at the start of names replaced by `new`, in the reverse order."""
    return {re.sub(f"^{old}", new, name): value for name, value in reversed(tensors.items())}


def assert_same(network, tensors):
    """The network consists of exactly these tensors."""
    have = network.to_state_dict()
    assert have.keys() == tensors.keys()
    for name, value in tensors.items():
        np.testing.assert_array_equal(have[name], value, err_msg=name)


def refused(message, tensors):
    """`network_from_state_dict(tensors)` is refused in one line that contains `message`."""
    with pytest.raises(ModelError) as caught:
        network_from_state_dict(tensors)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


# The objects.


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
    network = network_from_state_dict(state(5, 3, 3), "both")
    assert (network.name, network.input_size, network.output_size) == ("both", 5, 2)
    assert network.parameters == sum(value.size for value in state(5, 3, 3).values())


@pytest.mark.parametrize("linear", [0, 1, 3])
def test_output_map_equals_the_layers_in_turn(linear):
    rng = np.random.default_rng(linear)
    network = random_network(rng, layers=1, linear=linear)
    h = y = rng.standard_normal(network.lstm[-1].hidden_size)
    for layer in network.linear:
        y = layer.weight @ y + layer.bias
    weight, bias = network.output_map()
    assert weight.shape == (network.output_size, h.size)
    np.testing.assert_allclose(weight @ h + bias, y, rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    "message, make",
    [
        ("network 'empty' has no LSTM layer", lambda: Network((), name="empty")),
        (
            "LSTM layer 1 takes 3 inputs; expected 2, the outputs of LSTM layer 0",
            lambda: Network((LSTMLayer(np.ones((8, 1)), np.ones((8, 2))), wide_layer())),
        ),
        (
            "linear layer 0 takes 4 inputs; expected 1, the outputs of LSTM layer 0",
            lambda: Network((wide_layer(),), (LinearLayer(np.ones((1, 4))),)),
        ),
        (
            "calibration has shape (5, 2); expected (steps, 3)",
            lambda: Network((wide_layer(),), calibration=np.ones((5, 2))),
        ),
        (
            "calibration[1, 2] is inf",
            lambda: Network((wide_layer(),), calibration=[[0, 0, 0], [0, 0, np.inf]]),
        ),
        (
            "weight_ih has shape (8, 0); expected (8, inputs)",
            lambda: LSTMLayer(np.ones((8, 0)), np.ones((8, 2))),
        ),
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


# State dicts.


def test_state_dict_and_back():
    assert_same(network_from_state_dict(state(5, 3, 3)), state(5, 3, 3))


@pytest.mark.parametrize("linear", [0, 1, 2])
def test_layers_of_different_sizes_and_back(linear):
    network = random_network(np.random.default_rng(1), layers=12, linear=linear)
    assert_same(network_from_state_dict(network.to_state_dict()), network.to_state_dict())


def test_calibration_is_kept():
    calibration = np.arange(10.0).reshape(2, 5)
    network = network_from_state_dict(state(5, 3) | {"calibration": calibration})
    np.testing.assert_array_equal(network.calibration, calibration)


@pytest.mark.parametrize("prefix", ["", "model.encoder.0."])
def test_any_module_name_will_do(prefix):
    assert_same(network_from_state_dict(renamed(state(5, 3), "lstm.", prefix)), state(5, 3))


def test_modules_come_in_the_order_of_their_numbers():
    # Square layers: only the names tell the order, and 10 comes after 9.
    tensors, expected = {}, []
    for k in range(11):
        layer = state(3, 3, seed=k)
        expected.append(layer["lstm.weight_ih_l0"])
        tensors |= renamed(layer, "lstm.", f"layers.{k}.")
    network = network_from_state_dict({name: value for name, value in tensors.items() if "fc" not in name})
    np.testing.assert_array_equal([layer.weight_ih for layer in network.lstm], expected)


def test_modules_without_numbers_come_in_the_order_that_fits():
    first = renamed(state(5, 3, outputs=4), "lstm.", "x.")
    last = renamed(state(3, 7, outputs=4), "lstm.", "a.")
    tensors = first | renamed(last, "fc.", "readout.")
    tensors["fc.weight"] = np.ones((6, 4))
    tensors["fc.bias"] = np.ones(6)
    network = network_from_state_dict(tensors)
    assert [layer.hidden_size for layer in network.lstm] == [3, 7]
    assert [layer.output_size for layer in network.linear] == [4, 6]


def test_modules_in_unknown_order_are_refused():
    square = renamed(state(3, 3), "lstm.", "encoder.") | renamed(state(3, 3), "lstm.", "decoder.")
    refused("LSTM modules 'decoder', 'encoder': several orders fit their sizes; number the names", square)
    odd = renamed(state(3, 4), "lstm.", "encoder.") | renamed(state(5, 6), "lstm.", "decoder.")
    refused("LSTM modules 'decoder', 'encoder': no order fits their sizes", odd)


def test_missing_biases_are_zeros():
    tensors = {name: value for name, value in state(5, 3).items() if "bias" not in name}
    network = network_from_state_dict(tensors)
    zeros = {name: np.zeros_like(value) for name, value in state(5, 3).items() if "bias" in name}
    assert_same(network, tensors | zeros)


@pytest.mark.parametrize(
    "message, name, value",
    [
        (
            "'lstm.weight_ih_l0_reverse' is of a bidirectional LSTM",
            "lstm.weight_ih_l0_reverse",
            np.ones((12, 5)),
        ),
        ("'lstm.weight_hr_l0' is of an LSTM with proj_size", "lstm.weight_hr_l0", np.ones((2, 3))),
        ("'norm.running_mean' of shape (3,) is unknown; supported: nn.LSTM", "norm.running_mean", np.ones(3)),
        (
            "'norm.weight' has shape (3,); expected (outputs, inputs) of an nn.Linear",
            "norm.weight",
            np.ones(3),
        ),
        (
            "'lstm.weight_ih_l0' has shape (11, 5); expected (12, inputs)",
            "lstm.weight_ih_l0",
            np.ones((11, 5)),
        ),
        (
            "'lstm.weight_hh_l0' has shape (12, 4); expected (16, 4): 4 gates",
            "lstm.weight_hh_l0",
            np.ones((12, 4)),
        ),
        ("expected (16, 4): 4 gates (3 gates would be a GRU", "lstm.weight_hh_l0", np.ones((12, 4))),
        ("'lstm.bias_ih_l0' has shape (3,); expected (12,)", "lstm.bias_ih_l0", np.ones(3)),
        ("'fc.bias' has shape (3,); expected (2,)", "fc.bias", np.ones(3)),
        ("linear layer 0 takes 4 inputs; expected 3", "fc.weight", np.ones((2, 4))),
        ("'lstm.weight_hh_l2' is missing", "lstm.weight_ih_l2", np.ones((12, 3))),
        ("'head.weight' is missing", "head.bias", np.ones(2)),
        ("'fc.weight' has type int8; expected floating-point", "fc.weight", np.ones((2, 3), np.int8)),
        ("'calibration' has type <U1", "calibration", np.array(["a"])),
        ("calibration has shape (5,); expected (steps, 5)", "calibration", np.ones(5)),
    ],
)
def test_bad_tensors_are_refused_by_name(message, name, value):
    refused(message, state(5, 3, 3) | {name: value})


def test_a_missing_layer_is_named():
    tensors = state(5, 3, 3, 3)
    gap = {name: value for name, value in tensors.items() if not name.endswith("_l1")}
    refused("'lstm.weight_ih_l1' is missing", gap)


@pytest.mark.parametrize("name", list(state(5, 3)))
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_with_their_index(name, value):
    tensors = state(5, 3)
    index = tuple(size - 1 for size in tensors[name].shape)
    tensors[name][index] = value
    refused(f"tensor '{name}'[{', '.join(map(str, index))}] is {value}", tensors)


# Files.


def raw_file(path, **tensors):
    """A safetensors file of (dtype name, array of any type with the right bytes) tensors."""
    arrays = {name: (dtype, np.ascontiguousarray(array)) for name, (dtype, array) in tensors.items()}
    specs = {
        name: safetensors.TensorSpec(
            dtype=dtype, shape=array.shape, data_ptr=array.ctypes.data, data_len=array.nbytes
        )
        for name, (dtype, array) in arrays.items()
    }
    path.write_bytes(safetensors.serialize(specs))
    return path


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_file_and_back_is_exact(tmp_path, dtype):
    tensors = {name: value.astype(dtype) for name, value in state(5, 3, 3).items()}
    tensors["calibration"] = np.linspace(0, 1, 10).reshape(2, 5).astype(dtype)
    path = tmp_path / "model.v2.safetensors"
    save_safetensors(network_from_state_dict(tensors), path)
    network = load_safetensors(path)
    assert network.name == "model.v2"
    assert_same(network, tensors)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    stored = safetensors.numpy.load_file(path)["fc.weight"].dtype
    assert stored == (np.float64 if dtype is np.float64 else np.float32)


def test_file_of_other_types(tmp_path):
    tensors = {name: round_bfloat16(value) for name, value in state(5, 3).items()}
    bfloat16 = {name: ("bfloat16", to_bits(value)) for name, value in tensors.items()}
    assert_same(load_safetensors(raw_file(tmp_path / "a.safetensors", **bfloat16)), tensors)
    half = {name: ("float16", value.astype(np.float16)) for name, value in tensors.items()}
    network = load_safetensors(raw_file(tmp_path / "b.safetensors", **half))
    assert_same(network, {name: value.astype(np.float16) for name, value in tensors.items()})


def file_refused(message, path):
    """`load_safetensors(path)` is refused in one line: the path, then `message`."""
    with pytest.raises(ModelError) as caught:
        load_safetensors(path)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)


def test_bad_files_are_refused_by_path(tmp_path):
    path = tmp_path / "bad.safetensors"
    file_refused("cannot be read: No such file", path)
    file_refused("cannot be read: Is a directory", tmp_path)
    save_safetensors(network_from_state_dict(state(5, 3)), path)
    good = path.read_bytes()
    for data in (b"", b"text", good[:4], good[:100], good[:-1], good + b"x", b"\xff" * 8 + good[8:]):
        path.write_bytes(data)
        file_refused("not a complete safetensors file: ", path)
    raw_file(path, **{"fc.weight": ("int8", np.ones((2, 3), np.int8))})
    file_refused("tensor 'fc.weight' has type I8; expected one of F64, F32, F16, BF16", path)
    raw_file(path, **{"fc.weight": ("float32", np.ones((0, 3), np.float32))})
    file_refused("tensor 'fc.weight' has shape (0, 3); expected (outputs, inputs)", path)
    raw_file(path, **{"fc.weight": ("float32", np.ones((2, 3), np.float32))})
    file_refused("network 'bad' has no LSTM layer", path)


def test_failed_save_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    network = network_from_state_dict(state(5, 3))
    path = tmp_path / "model.safetensors"
    path.write_text("old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(ModelError, match=r"model\.safetensors: cannot be written: No space left"):
        save_safetensors(network, path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(ModelError, match="cannot be written"):
        save_safetensors(network, tmp_path / "missing" / "model.safetensors")

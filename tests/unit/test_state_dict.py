"""State dicts and the files that hold them: what leaves no doubt is taken, everything else refused in one line."""

import shutil
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.numpy
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

import spiccato
from cuts import told_cut
from paths import FIXTURES
from spiccato.errors import ModelError
from spiccato.importers import SUFFIXES, save_safetensors
from spiccato.network import Network
from spiccato_sim.models.bfloat16 import round_bfloat16, to_bits
from spiccato_sim.models.reference import Reference
from spiccato_sim.models.zoo import random_network

pytestmark = pytest.mark.fast

WAYS_OUT = (
    "Give the module itself, an ONNX file or the names in the order of computation, with the activations between them "
    "(relu, leaky_relu=0.2): --layers NAME,NAME (in Python layers=)"
)


def state(*sizes, outputs=2, seed=0):
    """State dict of one nn.LSTM (input size, then hidden sizes) and an nn.Linear."""
    rng = np.random.default_rng(seed)
    tensors = {}
    for k, (i, h) in enumerate(zip(sizes, sizes[1:])):
        shapes = {"weight_ih": (4 * h, i), "weight_hh": (4 * h, h), "bias_ih": (4 * h,), "bias_hh": (4 * h,)}
        tensors |= {f"lstm.{field}_l{k}": rng.standard_normal(shape) for field, shape in shapes.items()}
    return tensors | {"fc.weight": rng.standard_normal((outputs, sizes[-1])), "fc.bias": rng.standard_normal(outputs)}


def lstm(module, inputs, hidden, cell=False, seed=0):
    """State dict of one nn.LSTM, or nn.LSTMCell, under a name."""
    one = {name: value for name, value in state(inputs, hidden, seed=seed).items() if "lstm" in name}
    return {f"{module}.{name[5:-3] if cell else name[5:]}": value for name, value in one.items()}


def linear(module, inputs, outputs, bias=True):
    """State dict of one nn.Linear under a name."""
    return {f"{module}.weight": np.ones((outputs, inputs))} | ({f"{module}.bias": np.ones(outputs)} if bias else {})


def assert_same(network, tensors):
    """The network consists of exactly these tensors."""
    have = network.to_state_dict()
    assert have.keys() == tensors.keys()
    for name, value in tensors.items():
        np.testing.assert_array_equal(have[name], value, err_msg=name)


def refused(message, source, **arguments):
    """``spiccato.load`` refuses ``source`` in one line that contains ``message``."""
    with pytest.raises(ModelError) as caught:
        spiccato.load(source, **arguments)
    assert message in str(caught.value)
    assert str(caught.value).isprintable()


# What is taken.


def test_state_dict_and_back():
    network = spiccato.load(state(5, 3, 3))
    assert_same(network, state(5, 3, 3))
    assert network.origin == (
        "taken from a state dict, in the order of its tensors: lstm (2 layers), then fc; nothing "
        "before, between or after"
    )


@pytest.mark.parametrize("layers, linear", [(1, 0), (12, 0), (12, 1), (3, 3)])
def test_a_networks_state_dict_and_back(layers, linear):
    """Also where successive layers happen to be of one size: they are one module then."""
    for sizes in ({}, {"max_size": 3}):
        network = random_network(np.random.default_rng(1), layers=layers, linear=linear, **sizes)
        tensors = network.to_state_dict()
        names = list(dict.fromkeys(name.rpartition(".")[0] for name in tensors))
        assert_same(spiccato.load(tensors, layers=names if len(names) > 1 else None), tensors)


def test_calibration_is_kept():
    calibration = np.arange(10.0).reshape(2, 5)
    network = spiccato.load(state(5, 3) | {"calibration": calibration})
    np.testing.assert_array_equal(network.calibration, calibration)


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module.model.net_2."])
def test_what_wrappers_put_in_front_of_all_names_is_harmless(prefix):
    network = spiccato.load({prefix + name: value for name, value in state(5, 3, 3).items()})
    assert_same(network, state(5, 3, 3))
    assert "lstm (2 layers), then fc;" in network.origin


def test_an_lstm_alone():
    alone = {name[5:]: value for name, value in state(5, 3, 3).items() if "lstm" in name}
    network = spiccato.load(alone)
    assert_same(network, {f"lstm.{name}": value for name, value in alone.items()})
    assert network.origin == "taken from a state dict: (root) (2 layers); nothing before or after"


def test_missing_biases_are_zeros():
    tensors = {name: value for name, value in state(5, 3).items() if "bias" not in name}
    zeros = {name: np.zeros_like(value) for name, value in state(5, 3).items() if "bias" in name}
    assert_same(spiccato.load(tensors, layers="lstm,fc"), tensors | zeros)
    assert_same(
        spiccato.load({name: tensors[name] for name in tensors if "lstm" in name}),
        {name: value for name, value in (tensors | zeros).items() if "lstm" in name},
    )


TAKEN = {
    "one cell": lstm("cell", 5, 3, cell=True) | linear("fc", 3, 4),
    "one cell in a list": lstm("cells.0", 5, 3, cell=True),
    "one LSTM with a number in its name": lstm("lstm1", 5, 3) | linear("fc2", 3, 4),
    "a square linear layer that fits behind only": lstm("lstm", 5, 3) | linear("fc", 3, 3),
}


@pytest.mark.parametrize("tensors", TAKEN.values(), ids=TAKEN)
def test_what_is_taken(tensors):
    network = spiccato.load(tensors)
    assert len(network.hidden_layers) == sum("weight_ih" in name for name in tensors)
    assert len(network.layers) - len(network.hidden_layers) == len(
        {name.rpartition(".")[0] for name in tensors if "_" not in name}
    )


# What leaves a doubt.

DOUBTS = {
    "linear in front": (
        linear("inp", 64, 64) | lstm("lstm", 64, 64) | linear("out", 64, 4),
        "a state dict does not tell what inp, which comes before lstm, does there; found, in this order: inp (linear, "
        "64 to 64), lstm (LSTM, 64 to 64), out (linear, 64 to 4). " + WAYS_OUT,
    ),
    "linear in front, alone": (linear("inp", 3, 3) | lstm("lstm", 3, 3), "what inp, which comes before lstm, does"),
    "linear between": (
        lstm("lstm1", 5, 3) | linear("fc", 3, 3) | lstm("lstm2", 3, 4),
        "in what order lstm1 and lstm2 come, and what lies between them; found, in this order: lstm1 (LSTM, 5 to 3), ",
    ),
    "embedding": (linear("emb", 16, 40, bias=False) | lstm("lstm", 16, 16), "what emb, which comes before lstm, does"),
    "embedding behind": (
        lstm("lstm", 5, 16) | linear("emb", 16, 40, bias=False),
        "whether emb is an nn.Embedding or an nn.Linear without bias; found, in this order: lstm "
        "(LSTM, 5 to 16), emb (linear, 16 to 40, no bias)",
    ),
    "embedding, order lost": (
        dict(sorted((linear("emb", 16, 40, bias=False) | lstm("lstm", 16, 12)).items())),
        "whether emb is an nn.Embedding",
    ),
    "ELU between": (
        lstm("lstm", 5, 7) | linear("fc.0", 7, 3) | linear("fc.2", 3, 3),
        "what lies between fc.0 and fc.2",
    ),
    "two linear layers": (
        lstm("lstm", 5, 7) | linear("fc1", 7, 3) | linear("fc2", 3, 3),
        "what lies between fc1 and fc2",
    ),
    "an activation may come first": (lstm("lstm", 5, 7) | linear("fc.1", 7, 3), "what else the container of fc.1"),
    "an activation may follow": (lstm("lstm", 5, 7) | linear("fc.0", 7, 3), "what else the container of fc.0 holds"),
    "Sequential around all": (lstm("0.lstm", 5, 7) | linear("0.fc", 7, 3), "what else the container of 0.lstm holds"),
    "LSTM in a Sequential": (lstm("rnn.0", 5, 7) | linear("fc", 7, 3), "what else the container of rnn.0 holds"),
    "cell of a longer list": (lstm("cells.1", 5, 7, cell=True), "what else the container of cells.1 holds"),
    "list": (
        lstm("rnns.0", 5, 3) | lstm("rnns.1", 3, 4),
        "in what order rnns.0 and rnns.1 come, and what lies between",
    ),
    "of different sizes": (
        lstm("lstm1", 5, 3) | lstm("lstm2", 3, 4) | linear("out", 4, 2),
        "in what order lstm1 and lstm2 come, and what lies between them; found, in this order: lstm1 (LSTM, 5 to 3), ",
    ),
    "cells": (
        lstm("cell1", 3, 3, cell=True) | lstm("cell2", 3, 3, cell=True) | linear("fc", 3, 1),
        "in what order cell1 and cell2 come, and what lies between them",
    ),
    "cells in a list": (
        lstm("cells.0", 5, 3, cell=True) | lstm("cells.1", 3, 3, cell=True),
        "in what order cells.0 and cells.1 come, and what lies between them",
    ),
    "blocks": (lstm("blocks.0.cell", 5, 3, cell=True), "what else the container of blocks.0.cell holds"),
    "autoencoder": (lstm("encoder", 5, 3) | lstm("decoder", 3, 5), "in what order encoder and decoder come"),
    "cell and LSTM": (lstm("rnn1", 5, 3, cell=True) | lstm("rnn2", 3, 4), "in what order rnn1 and rnn2 come"),
    "fits nowhere": (
        lstm("lstm", 5, 7) | linear("fc", 24, 3),
        "where fc, which takes 24 inputs, fits: the last LSTM layer gives 7",
    ),
    "fits on both sides, order lost": (
        dict(sorted((lstm("lstm", 5, 7) | linear("fc", 7, 5)).items())),
        "whether fc is computed before or after lstm: it fits both; found, in unknown order: fc (linear, 7 to 5), lstm",
    ),
    "fits on both sides": (
        lstm("lstm", 12, 12) | linear("input_proj", 12, 12),
        "whether input_proj is computed before or after lstm: it fits both; found, in this order: lstm (LSTM, 12 to",
    ),
    "layer normalisation": (
        lstm("lstm", 5, 3) | {"norm.weight": np.ones(3), "norm.bias": np.ones(3)} | linear("fc", 3, 2),
        "norm (weight (3,), bias (3,)) is probably a normalisation, or an activation with weights; found: lstm (LSTM, "
        "5 to 3), norm (weight (3,), bias (3,)), fc (linear, 3 to 2); supported",
    ),
    "batch normalisation": (
        lstm("lstm", 5, 3) | {"bn.running_mean": np.ones(3), "bn.num_batches_tracked": np.array(1)},
        "is probably a batch normalisation",
    ),
    "convolution": (lstm("lstm", 5, 3) | {"conv.weight": np.ones((3, 2, 4))}, "is probably a convolution"),
    "attention": (lstm("lstm", 5, 3) | {"attn.in_proj_weight": np.ones((9, 3))}, "is probably an attention layer"),
    "weight normalisation": (
        lstm("lstm", 5, 3) | {"fc.weight_g": np.ones((2, 1)), "fc.weight_v": np.ones((2, 3))},
        "is probably of weight normalisation, pruning or the like",
    ),
    "weight normalisation as a parametrisation": (
        lstm("lstm", 5, 3)
        | {"fc.bias": np.ones(2)}
        | {f"fc.parametrizations.weight.original{k}": np.ones((2, 1 + 2 * k)) for k in range(2)},
        "fc.parametrizations.weight (original0 (2, 1), original1 (2, 3)) is probably of weight normalisation, pruning "
        "or the like, to be removed before saving; found: lstm (LSTM, 5 to 3), fc (bias (2,)), fc.parametriza",
    ),
    "spectral normalisation of an LSTM's weight": (
        {name: value for name, value in lstm("lstm", 5, 3).items() if "weight_ih" not in name}
        | {"lstm.parametrizations.weight_ih_l0.original": np.ones((12, 5))},
        "lstm.parametrizations.weight_ih_l0 (original (12, 5)) is probably of weight normalisation",
    ),
    "learned start": (lstm("lstm", 5, 3) | {"h0": np.ones((1, 1, 3))}, "(root) (h0 (1, 1, 3)) is of an unknown kind"),
    "only linear": (
        linear("fc1", 3, 2) | linear("fc2", 2, 2),
        "what lies before, between or behind fc1 and fc2; found, in this order: fc1 (linear, 3 to 2), fc2",
    ),
    "nothing": ({}, "network 'network' has no layers; at least one LSTM, GRU or linear layer is needed"),
}


@pytest.mark.parametrize("tensors, message", DOUBTS.values(), ids=DOUBTS)
def test_doubt_is_refused(tensors, message):
    refused(message, tensors)


@pytest.mark.parametrize(
    "message, name, value",
    [
        ("'lstm.weight_ih_l0_reverse' is of a bidirectional LSTM", "lstm.weight_ih_l0_reverse", np.ones((12, 5))),
        ("'lstm.weight_hr_l0' is of an LSTM with proj_size", "lstm.weight_hr_l0", np.ones((2, 3))),
        ("'lstm.weight_ih_l0' has shape (11, 5); expected (12, inputs)", "lstm.weight_ih_l0", np.ones((11, 5))),
        (
            "'lstm.weight_hh_l1' has shape (12, 3); expected (9, 3): 3 gates (4 gates would be an LSTM)",
            "lstm.weight_hh_l0",
            np.ones((12, 4)),
        ),
        ("expected (12, 3): 4 gates (1 gate would be an RNN, which is not", "lstm.weight_hh_l0", np.ones((3, 3))),
        ("'lstm.bias_ih_l0' has shape (3,); expected (12,)", "lstm.bias_ih_l0", np.ones(3)),
        ("'fc.bias' has shape (3,); expected (2,)", "fc.bias", np.ones(3)),
        ("'lstm.weight_hh_l2' is missing", "lstm.weight_ih_l2", np.ones((12, 3))),
        ("'head.weight' is missing", "head.bias", np.ones(2)),
        ("'fc.weight' has type int8; expected floating-point numbers", "fc.weight", np.ones((2, 3), np.int8)),
        ("'fc.weight' has type complex64; expected floating", "fc.weight", np.ones((2, 3), np.complex64)),
        ("'calibration' has type <U1", "calibration", np.array(["a"])),
        ("calibration has shape (5,); expected (steps, 5)", "calibration", np.ones(5)),
        ("'fc.bias' is a list; expected a tensor under a name", "fc.bias", [1.0, 2.0]),
        ("3 is a ndarray; expected a tensor under a name", 3, np.ones(2)),
        ("'a\\nb' (weight (0,)) is probably a normalisation", "a\nb.weight", np.ones(0)),
    ],
)
def test_bad_tensors_are_refused_by_name(message, name, value):
    refused(message, state(5, 3, 3) | {name: value})


@pytest.mark.parametrize("stated", [None, "lstm,fc"])
@pytest.mark.parametrize("missing", ["bias_ih_l0", "bias_hh_l0", "bias_hh_l1"])
def test_some_biases_without_the_others_are_refused(missing, stated):
    tensors = state(5, 3, 3)
    del tensors[f"lstm.{missing}"]
    refused(f"tensor 'lstm.{missing}' is missing; expected all biases of an LSTM, or none", tensors, layers=stated)


def test_a_cell_without_one_of_its_biases_is_refused():
    tensors = lstm("cell", 5, 3, cell=True)
    del tensors["cell.bias_hh"]
    refused("tensor 'cell.bias_hh' is missing; expected all biases", tensors)


def test_biases_of_one_layer_only_are_refused():
    tensors = {name: value for name, value in state(5, 3, 3).items() if "bias" not in name or "_l0" not in name}
    refused("tensor 'lstm.bias_ih_l0' is missing; expected all biases", tensors)


def test_a_missing_layer_is_named():
    refused(
        "'lstm.weight_ih_l1' is missing",
        {name: value for name, value in state(5, 3, 3, 3).items() if not name.endswith("_l1")},
    )


@pytest.mark.parametrize("name", list(state(5, 3)))
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_with_their_index(name, value):
    tensors = state(5, 3)
    index = tuple(size - 1 for size in tensors[name].shape)
    tensors[name][index] = value
    refused(f"tensor '{name}'[{', '.join(map(str, index))}] is {value}", tensors)


# A stated order.


@pytest.mark.parametrize("layers", ["lstm,fc.0,fc.2", " lstm, fc.0 ,fc.2", ("lstm", "fc.0", "fc.2")])
def test_a_stated_order_is_taken(layers):
    tensors = linear("fc.0", 7, 3) | linear("fc.2", 3, 6) | lstm("lstm", 5, 7)
    network = spiccato.load(tensors, layers=layers)
    assert [layer.output_size for layer in network.layers[1:]] == [3, 6]
    assert network.origin == (
        "taken from a state dict, as stated by layers: lstm, then fc.0, then fc.2; nothing before, between or after"
    )
    prefixed = {f"model.{name}": value for name, value in tensors.items()}
    assert_same(spiccato.load(prefixed, layers="model.lstm,fc.0,model.fc.2"), network.to_state_dict())


@pytest.mark.parametrize(
    "layers, message",
    [
        ("lstm,out", "layers: inp left out; the state dict has inp, lstm, out, each to be named once"),
        ("lstm,inp,out,head", "layers: 'head' is unknown; the state dict has inp, lstm, out"),
        ("lstm,lstm,inp,out", "layers: 'lstm' is there twice; the state dict has inp, lstm, out"),
        ("", "layers: '' is unknown; the state dict has"),
        ((), "layers: inp, lstm, out left out"),
        (("lstm", 3), "layers: ('lstm', 3) is no sequence of names"),
        (7, "layers: 7 is no sequence of names"),
        ("relu,inp,lstm,out", "layers: the activation 'relu' comes before all modules; supported: behind one"),
        ("inp,elu=-1,lstm,out", "alpha of activation 'elu' is -1.0; it must be a number from 0 on"),
        ("inp,relu=2,lstm,out", "alpha is 2.0; activation 'relu' has no parameter"),
        ("inp,elu=x,lstm,out", "layers: 'elu=x': could not convert string to float: 'x'"),
        ("lstm,out,inp", "inp takes 6 inputs; expected 2, the outputs of out"),
    ],
)
def test_a_stated_order_that_cannot_be(layers, message):
    refused(message, linear("inp", 6, 6) | lstm("lstm", 6, 6) | linear("out", 6, 2), layers=layers)


def test_activations_and_layers_in_front_are_taken_in_a_stated_order():
    """What PyTorch computes, from the tensors alone."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 4), nn.LeakyReLU(0.2), nn.Linear(4, 3), nn.Hardsigmoid()
    )
    network = spiccato.load(module.state_dict(), layers="0,relu,2,leaky_relu=0.2,4,hard_sigmoid")
    assert [layer.kind for layer in network.layers] == ["dense"] * 3
    assert network.origin == (
        "taken from a state dict, as stated by layers: 0, then relu, then 2, then leaky_relu=0.2, then 4, then "
        "hard_sigmoid; nothing before, between or after"
    )
    x = torch.randn(6, 5)
    np.testing.assert_allclose(Reference(network).run(x.numpy()), module(x).detach().numpy(), rtol=0, atol=1e-6)


def test_activations_are_kept_in_files(tmp_path):
    network = spiccato.load(
        linear("inp", 6, 6) | lstm("lstm", 6, 6) | linear("out", 6, 2), layers="inp,elu=0.5,lstm,out,sigmoid"
    )
    save_safetensors(network, tmp_path / "m.safetensors")
    back = spiccato.load(tmp_path / "m.safetensors")
    kept = [(layer.kind, getattr(layer, "activation", None), getattr(layer, "alpha", None)) for layer in back.layers]
    assert kept == [("dense", "elu", 0.5), ("lstm", None, None), ("dense", "sigmoid", None)]
    assert_same(back, network.to_state_dict())


def test_a_gru_is_told_by_its_gates():
    torch.manual_seed(0)
    module = nn.ModuleDict({"rnn": nn.GRU(5, 7, 2), "fc": nn.Linear(7, 3)})
    network = spiccato.load(module.state_dict())
    assert [layer.kind for layer in network.layers] == ["gru", "gru", "linear"]
    x = torch.randn(6, 1, 5)
    expected = module["fc"](module["rnn"](x)[0]).detach().numpy()[:, 0]
    np.testing.assert_allclose(Reference(network).run(x.numpy()[:, 0]), expected, rtol=0, atol=1e-6)
    tensors = module.state_dict()
    del tensors["rnn.bias_hh_l1"]
    refused("tensor 'rnn.bias_hh_l1' is missing; expected all biases of a GRU, or none", tensors)


#: A state dict, the part that its refusal names, and the names of that part's modules.
PARTS = {
    "embedding": (
        linear("emb", 16, 40, bias=False) | lstm("lstm", 16, 12) | linear("fc", 12, 4),
        {"from_": "lstm"},
        ["lstm", "fc"],
    ),
    "linear in front": (
        linear("inp", 64, 64) | lstm("lstm", 64, 64) | linear("out", 64, 4),
        {"from_": "lstm"},
        ["lstm", "out"],
    ),
    "ELU in a container": (lstm("lstm", 5, 7) | linear("fc.0", 7, 3) | linear("fc.2", 3, 3), {"to": "lstm"}, ["lstm"]),
    "convolution": (
        {"conv.weight": np.ones((5, 2, 4)), "conv.bias": np.ones(5)} | lstm("lstm", 5, 3) | linear("fc", 3, 2),
        {"from_": "lstm"},
        ["lstm", "fc"],
    ),
}


@pytest.mark.parametrize("tensors, cut, modules", PARTS.values(), ids=PARTS)
def test_the_part_that_would_run_is_told(tensors, cut, modules):
    with pytest.raises(ModelError) as caught:
        spiccato.load(tensors)
    assert told_cut(str(caught.value)) == cut
    network = spiccato.load(tensors, **cut)
    inside = {name: value for name, value in tensors.items() if name.rpartition(".")[0] in modules}
    assert_same(network, {name.replace("out.", "fc."): value for name, value in inside.items()})
    outside = [name for name in dict.fromkeys(key.rpartition(".")[0] for key in tensors) if name not in modules]
    assert network.origin.endswith(f"; outside stay: {', '.join(outside)}")


def test_a_part_needs_an_order(tmp_path):
    tensors = linear("emb", 16, 40, bias=False) | lstm("lstm", 16, 12)
    refused(
        "from 'lstm': the file does not keep the order of its modules; state it: --layers NAME,NAME",
        dict(sorted(tensors.items())),
        from_="lstm",
    )
    network = spiccato.load(tensors, layers="emb,lstm", from_="lstm")
    assert [layer.kind for layer in network.layers] == ["lstm"]
    refused("--from nonesuch: the model has no module of that name; it has 'emb', 'lstm'", tensors, from_="nonesuch")


def test_several_lstms_are_taken_in_a_stated_order():
    cells = {k: lstm(f"cells.{k}", 3, 3, cell=True, seed=k) for k in range(11)}
    tensors = dict(sorted((name, value) for cell in cells.values() for name, value in cell.items()))
    network = spiccato.load(tensors, layers=[f"cells.{k}" for k in range(11)])
    expected = [cells[k][f"cells.{k}.weight_ih"] for k in range(11)]
    np.testing.assert_array_equal([layer.weight_ih for layer in network.hidden_layers], expected)
    refused(
        "lstm2 takes 4 inputs; expected 3, the outputs of lstm1",
        lstm("lstm1", 5, 3) | lstm("lstm2", 4, 6),
        layers="lstm1,lstm2",
    )


def test_an_order_is_stated_of_state_dicts_only():
    network = spiccato.load(state(5, 3))
    for source in (network, FIXTURES / "torch_dynamo.onnx", FIXTURES / "keras.h5", nn.LSTM(5, 3)):
        refused("layers='lstm,fc': the ", source, layers="lstm,fc")


# Files.


def raw_file(path, **tensors):
    """A safetensors file of (dtype name, array of any type with the right bytes) tensors."""
    arrays = {name: (dtype, np.ascontiguousarray(array)) for name, (dtype, array) in tensors.items()}
    specs = {
        name: safetensors.TensorSpec(dtype=dtype, shape=array.shape, data_ptr=array.ctypes.data, data_len=array.nbytes)
        for name, (dtype, array) in arrays.items()
    }
    path.write_bytes(safetensors.serialize(specs))
    return path


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_file_and_back_is_exact(tmp_path, dtype):
    # Linear layers in a row that fit on both sides: the file states their order.
    tensors = {name.replace("fc", "fc0"): value.astype(dtype) for name, value in state(5, 3, 3, outputs=5).items()}
    tensors |= {"fc1.weight": np.ones((5, 5), dtype), "fc1.bias": np.ones(5, dtype)}
    tensors["calibration"] = np.linspace(0, 1, 10).reshape(2, 5).astype(dtype)
    path = tmp_path / "model.v2.safetensors"
    save_safetensors(spiccato.load(tensors, layers="lstm,fc0,fc1"), path)
    network = spiccato.load(path)
    assert network.name == "model.v2"
    assert network.origin == (
        "taken from a state dict, as stated by the file's spiccato_layers: lstm (2 layers), then "
        "fc0, then fc1; nothing before, between or after"
    )
    assert_same(network, tensors)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    stored = safetensors.numpy.load_file(path)["fc0.weight"].dtype
    assert stored == (np.float64 if dtype is np.float64 else np.float32)
    # The user's word counts for more than the file's.
    swapped = spiccato.load(path, layers="lstm,fc0,fc1")
    assert "as stated by layers" in swapped.origin


def test_what_a_file_states_is_checked(tmp_path):
    path = tmp_path / "m.safetensors"
    save_file(nn.LSTM(5, 3).state_dict(), path, metadata={"spiccato_layers": "lstm"})
    refused(f"{path}: the file's spiccato_layers: 'lstm' is unknown; the state dict has (root)", path)


def test_file_of_other_types(tmp_path):
    tensors = {name: round_bfloat16(value) for name, value in state(5, 3).items()}
    bfloat16 = {name: ("bfloat16", to_bits(value)) for name, value in tensors.items()}
    assert_same(spiccato.load(raw_file(tmp_path / "a.safetensors", **bfloat16)), tensors)
    half = {name: ("float16", value.astype(np.float16)) for name, value in tensors.items()}
    network = spiccato.load(raw_file(tmp_path / "b.safetensors", **half))
    assert_same(network, {name: value.astype(np.float16) for name, value in tensors.items()})


def test_safetensors_keep_no_order(tmp_path):
    """`lstm` is sorted before `proj`, which would be in front of it."""
    path = tmp_path / "m.safetensors"
    save_file({name: torch.tensor(value) for name, value in (linear("proj", 3, 3) | lstm("lstm", 3, 3)).items()}, path)
    refused("whether proj is computed before or after lstm: it fits both; found, in unknown order", path)
    refused("whether proj is computed before or after lstm", safetensors.numpy.load_file(path))
    assert (
        "in the only order that names and sizes admit: lstm (2 layers), then fc;"
        in spiccato.load(FIXTURES / "torch.safetensors").origin
    )


def test_bad_files_are_refused_by_path(tmp_path):
    path = tmp_path / "bad.safetensors"
    refused(f"{path}: no such file", path)
    (tmp_path / "folder.safetensors").mkdir()
    refused("folder.safetensors: is a folder", tmp_path / "folder.safetensors")
    save_safetensors(spiccato.load(state(5, 3)), path)
    good = path.read_bytes()
    for data in (b"", b"text", good[:4], good[:100], good[:-1], good + b"x", b"\xff" * 8 + good[8:]):
        path.write_bytes(data)
        refused(f"{path}: not a complete safetensors file: ", path)
    raw_file(path, **{"fc.weight": ("int8", np.ones((2, 3), np.int8))})
    refused(f"{path}: tensor 'fc.weight' has type I8; expected floating-point numbers (float64, float32", path)
    raw_file(path, **{"fc.weight": ("float32", np.ones((0, 3), np.float32))})
    refused(f"{path}: tensor 'fc.weight' has shape (0, 3); expected (outputs, inputs)", path)
    raw_file(path, **{"fc.weight": ("float32", np.ones((2, 3), np.float32))})
    refused(f"{path}: a state dict does not tell what lies before, between or behind fc", path)


def test_failed_save_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    network = spiccato.load(state(5, 3))
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


def torch_state(*sizes):
    return {name: torch.tensor(value, dtype=torch.float32) for name, value in state(*sizes).items()}


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt", ""])
def test_torch_state_dicts(tmp_path, suffix):
    """In memory (no suffix) and in files; types that numpy lacks, and tensors that are views or want gradients."""
    expected = torch_state(5, 3, 3)
    for given_ in (
        expected,
        {name: nn.Parameter(value) for name, value in expected.items()},
        {name: torch._neg_view(-value) for name, value in expected.items()},
    ):
        if suffix:
            torch.save(given_, tmp_path / f"x{suffix}")
        assert_same(spiccato.load(tmp_path / f"x{suffix}" if suffix else given_), expected)
    half = {name: value.bfloat16() for name, value in expected.items()}
    assert_same(spiccato.load(half), {name: value.double() for name, value in half.items()})


def test_the_fixtures_are_one_model():
    expected = spiccato.load(FIXTURES / "torch.safetensors").to_state_dict()
    for name in ("torch.pt", "torch_checkpoint.pt"):
        assert_same(spiccato.load(FIXTURES / name), expected)


@pytest.mark.parametrize("key", ["model", "model_state", "net", "state_dict", "model_state_dict", "weights"])
def test_checkpoints(tmp_path, key):
    optimizer = {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 0.1}]}
    checkpoint = {"epoch": 3, "loss": 0.5, "step": torch.tensor(3), "optimizer": optimizer, key: torch_state(5, 3)}
    torch.save(checkpoint, tmp_path / "x.pt")
    for source in (tmp_path / "x.pt", checkpoint):
        network = spiccato.load(source)
        assert_same(network, torch_state(5, 3))
        assert network.origin.startswith(f"taken from the state dict under '{key}', in the order of its tensors: lstm")


@pytest.mark.parametrize(
    "content, message",
    [
        ([1, 2], "holds a list; save a state dict: torch.save(model.state_dict(), path)"),
        ({"epoch": 3}, "'epoch' is a int; expected a tensor, or a checkpoint with a state dict under one of the keys"),
        (
            {"generator": torch_state(5, 3), "discriminator": torch_state(5, 3)},
            "a checkpoint with several state dicts, 'generator', 'discriminator'; give one of them: "
            "spiccato.load(torch.load(path, weights_only=True)['generator'])",
        ),
        (
            {"model": torch_state(5, 3), "net": torch_state(5, 3)},
            "a checkpoint with several state dicts, 'model', 'net'",
        ),
        (
            {"epoch": 3, "model": torch_state(5, 3) | {"lr": 0.1}},
            "in 'model': 'lr' is a float; expected a tensor under a",
        ),
        (
            {"lstm.weight_ih_l0": torch.ones(2, 2, dtype=torch.int64), "lstm.weight_hh_l0": torch.ones(2, 2)},
            "tensor 'lstm.weight_ih_l0' has type torch.int64; expected floating-point numbers (float64",
        ),
        (
            {name: value.to(torch.float8_e5m2) for name, value in torch_state(5, 3).items()},
            "tensor 'lstm.weight_ih_l0' has type torch.float8_e5m2; expected floating-point",
        ),
        (
            {name: value.to(torch.complex64) for name, value in torch_state(5, 3).items()},
            "tensor 'lstm.weight_ih_l0' has type torch.complex64",
        ),
        (
            {name: value.to_sparse() for name, value in torch_state(5, 3).items()},
            "tensor 'lstm.weight_ih_l0' is of layout torch.sparse_coo; expected a dense one",
        ),
        (
            {name: value.to("meta") for name, value in torch_state(5, 3).items()},
            "tensor 'lstm.weight_ih_l0' is on the device meta and has no values",
        ),
    ],
)
def test_refused_contents(tmp_path, content, message):
    torch.save(content, tmp_path / "x.pt")
    refused(f"x.pt: {message}", tmp_path / "x.pt")


CHECKPOINTS_IN_PARTS = {
    "another state dict": ({"model": torch_state(5, 3), "head": nn.Linear(2, 2).state_dict(), "epoch": 1}, "'head'"),
    "tensors": ({"encoder": torch_state(5, 3), "w": torch.ones(2, 2), "b": torch.ones(2)}, "'w', 'b'"),
    "a tuple": ({"lstm": torch_state(5, 3), "fc": (torch.ones(2, 2), torch.ones(2))}, "'fc'"),
    "nested": ({"lstm": torch_state(5, 3), "fc": {"w": [nn.Linear(2, 2).state_dict()]}}, "'fc'"),
    "constants": ({"model": torch_state(5, 3), "mean": torch.ones(5), "std": torch.ones(5)}, "'mean', 'std'"),
    "calibration": ({"model": torch_state(5, 3), "calibration": torch.ones(4, 5)}, "'calibration'"),
    "a scaler of features": ({"model": torch_state(5, 3), "scaler": {"mean": torch.ones(5)}}, "'scaler'"),
    "the same names": ({"model": torch_state(5, 3), "second": torch_state(5, 3)}, "'second'"),
    "a best one of other names": ({"model": torch_state(5, 3), "best": nn.Linear(2, 2).state_dict()}, "'best'"),
    "beside a checkpoint": ({"model": {"state_dict": torch_state(5, 3), "epoch": 1}, "mean": torch.ones(5)}, "'mean'"),
}


@pytest.mark.parametrize("content, names", CHECKPOINTS_IN_PARTS.values(), ids=CHECKPOINTS_IN_PARTS)
def test_a_checkpoint_in_parts_is_refused(tmp_path, content, names):
    taken = next(iter(content))
    message = (
        f"a checkpoint with more than the state dict under '{taken}': tensors under {names}, too; expected one state "
        "dict of the whole model or, if they do not matter, "
        f"spiccato.load(torch.load(path, weights_only=True)['{taken}'])"
    )
    torch.save(content, tmp_path / "x.pt")
    for source in (tmp_path / "x.pt", content):
        refused(message, source)


def test_modules_and_nested_tensors_are_parts_of_a_checkpoint_too():
    for part in (nn.Linear(2, 2), nested_tensor()):
        refused("tensors under 'head', too", {"model": torch_state(5, 3), "head": part})


def test_what_a_checkpoint_may_hold_beside_its_network(tmp_path):
    network = torch_state(5, 3)
    training = {
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(12, 5)}}, "param_groups": []}],
        "opt": {"momentum": torch.ones(3)},
        "generator": {"state": {0: torch.ones(3)}, "param_groups": []},
        "lr_schedulers": [{"weights": torch.ones(3)}],
        "rng_state": torch.get_rng_state(),
        "callbacks": {"checkpoint": {"best_score": torch.tensor(0.5), "epochs": [1, 2]}},
        "losses": [0.5, 0.25],
        "scaler": {"scale": 65536.0, "growth_factor": 2.0},
        "ema": network,
        "best_state_dict": network,
    }
    torch.save({"model": network} | training, tmp_path / "x.pt")
    assert_same(spiccato.load(tmp_path / "x.pt"), network)
    assert_same(spiccato.load({"model": network, "dtype": np.float32}), network)


def test_checkpoints_that_hold_themselves_are_refused(tmp_path):
    content = {"epoch": 1}
    content["model"] = {"epoch": 2, "model": content}
    torch.save(content, tmp_path / "x.pt")
    refused("x.pt: in 'model': in 'model': in 'model': 'epoch' is a int; expected a tensor", tmp_path / "x.pt")
    for _ in range(2000):
        content = {"epoch": 1, "model": content}
    refused("in 'model': in 'model': in 'model': 'epoch' is a int; expected a tensor", content)
    rest = []
    rest.append(rest)
    assert_same(spiccato.load({"model": torch_state(5, 3), "rest": rest}), torch_state(5, 3))


def nested_tensor():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's, that they may change
        return torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])


@pytest.mark.parametrize("name", ["fc.weight", "lstm.weight_ih_l0", "calibration", "extra"])
@pytest.mark.parametrize("make", [nested_tensor, lambda: nn.LazyLinear(3).weight])
def test_tensors_without_a_shape_are_refused(name, make):
    message = f"tensor '{name}' has no shape, as nested tensors and those of lazy modules that have not run; expected a"
    tensors = torch_state(5, 3) | {name: make()}
    refused(message, tensors)
    refused(message, {"epoch": 1, "model": tensors})


def test_quantised_tensors_are_refused(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's, that they will go
        quantised = {
            name: torch.quantize_per_tensor(value, 0.1, 0, torch.qint8) for name, value in torch_state(5, 3).items()
        }
    torch.save(quantised, tmp_path / "x.pt")
    refused("x.pt: tensor 'lstm.weight_ih_l0' is quantised (torch.qint8); expected floating-point", tmp_path / "x.pt")


def test_files_of_another_kind_are_told(tmp_path):
    path = tmp_path / "x.pt"

    def told(message, suffix=".pt"):
        renamed = path.rename(path.with_suffix(suffix))
        refused(f"x{suffix}: {message}", renamed)
        renamed.unlink()

    path.write_bytes(b"")
    told("an empty file; expected a PyTorch state dict")
    path.write_text("weights:\n  über: 3\n" * 100, encoding="utf-8")
    told("a text file; expected a PyTorch state dict: torch.save(model.state_dict(), path)")
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n")
    told("a pointer of Git LFS, not the file itself", ".safetensors")
    path.write_bytes(bytes(range(128, 256)))
    told("not a PyTorch state dict")
    save_file(torch_state(5, 3), path)
    told("a safetensors file, but named .pt; rename it to end in .safetensors")
    for fixture, suffix, kind, right in [
        ("torch_dynamo.onnx", ".pt", "an ONNX model", ".onnx"),
        ("torch_script.onnx", ".ckpt", "an ONNX model", ".onnx"),
        ("keras.keras", ".pth", "a Keras model", ".keras"),
        ("keras.h5", ".pt", "a Keras model", ".keras or .h5"),
        ("torch.pt", ".onnx", "a PyTorch file", ".pt"),
        ("torch.pt", ".safetensors", "a PyTorch file", ".pt"),
        ("torch.pt", ".keras", "a PyTorch file", ".pt"),
    ]:
        shutil.copy(FIXTURES / fixture, path)
        told(f"{kind}, but named {suffix}; rename it to end in {right}", suffix)
    path.write_bytes((FIXTURES / "torch.pt").read_bytes()[:-100])
    told("not a PyTorch state dict (")
    refused(
        "torch_pickled.pt: holds a pickled module (torch.nn.modules.linear.Linear), and is not loaded; save a "
        "state dict: torch.save(model.state_dict(), path)",
        FIXTURES / "torch_pickled.pt",
    )
    torch.save({"epoch": 3, "path": Path("x"), "model": torch_state(5, 3)}, path)
    told("holds more than tensors, such as a pickled module (pathlib")


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
def test_the_first_bytes_of_a_file_alone_are_refused(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    heads = {(FIXTURES / name).read_bytes()[:12] for name in ("torch_dynamo.onnx", "keras.h5", "torch.pt")}
    heads.add((FIXTURES / "torch.safetensors").read_bytes()[:12])
    for data in {head[:size] for head in heads for size in range(13)} | {b"\x08", b"\x08\x07"}:
        path.write_bytes(data)
        refused(f"{path}: ", path)


def test_torchscript_is_told_without_warnings(tmp_path):
    with pytest.warns(DeprecationWarning):
        torch.jit.script(nn.LSTM(5, 3)).save(tmp_path / "x.pt")
    refused("x.pt: a TorchScript module, which cannot be followed; give the module it was made from", tmp_path / "x.pt")


# Whatever is accepted computes what the module computes.


class Wrapped(nn.Module):
    """A layer as a block of one's own, that gives the sequence only."""

    def __init__(self, rnn):
        super().__init__()
        self.rnn = rnn

    def forward(self, x):
        return self.rnn(x)[0]


class Cell(nn.LSTMCell):
    """A cell that runs over a sequence."""

    def forward(self, x):
        state, steps = None, []
        for row in x:
            state = super().forward(row[None], state)
            steps.append(state[0])
        return torch.cat(steps)


class OnlyResult(nn.LSTM):
    """An LSTM that gives the sequence only."""

    def forward(self, x):
        return super().forward(x)[0]


class Tokens(nn.Embedding):
    """An embedding of a number that is made of the input."""

    def forward(self, x):
        return super().forward((x.abs().sum(-1) * 7).long() % self.num_embeddings)


@st.composite
def modules(draw):
    """An nn.Module that computes its children in turn: their kinds, sizes, names and nesting are drawn.

    What leaves no trace in any state dict is left out: functions that ``forward`` calls, and children without
    parameters that are not in a container with others.
    """
    seldom = st.sampled_from([False, False, False, True])
    size = inputs = draw(st.integers(1, 3))
    kinds = draw(
        st.one_of(
            st.sampled_from(
                [
                    *[["lstm", "linear"]] * 4,
                    ["lstm"],
                    ["cell", "linear"],
                    ["lstm", "lstm", "linear"],
                    ["cell", "cell", "linear"],
                    *[["linear", "lstm"]] * 2,
                    ["lstm", "linear", "linear"],
                    ["lstm", "linear", "activation"],
                    ["embedding", "lstm", "linear"],
                ]
            ),
            st.lists(
                st.sampled_from(["lstm", "cell", "linear", "embedding", "activation", "norm"]), min_size=1, max_size=4
            ),
        )
    )
    children, names = [], []
    for kind in kinds:
        out = draw(st.integers(1, 3))
        if kind == "lstm":
            layer = OnlyResult(size, out, draw(st.integers(1, 2)), bias=draw(st.booleans()))
            layer = Wrapped(nn.LSTM(size, out)) if draw(seldom) else layer
        elif kind in ("activation", "norm"):
            layer, out = (nn.Tanh() if kind == "activation" else nn.LayerNorm(size)), size
        else:
            layer = {
                "cell": lambda: Cell(size, out),
                "embedding": lambda: Tokens(5, out),
                "linear": lambda: nn.Linear(size, out, bias=draw(st.booleans())),
            }[kind]()
        size = out
        children.append(layer)
        names.append(draw(st.sampled_from([kind, "a", "fc", "z", "out"])) + draw(st.sampled_from(["", "1", "2"])))
    # Each layer is a child of its own, or in a Sequential with what comes before. Activations always are, for they
    # would leave no trace alone; cells never are, for no Sequential can hold PyTorch's own.
    parts: list[list] = []
    for layer in children:
        before = parts[-1][-1] if parts else None
        if isinstance(layer, Cell) and before is not None and all(isinstance(one, nn.Tanh) for one in parts[-1]):
            parts[-1] = [layer]
        elif isinstance(layer, Cell) or before is None:
            parts.append([layer])
        elif isinstance(before, Cell):
            parts += [] if isinstance(layer, nn.Tanh) else [[layer]]
        elif isinstance(layer, nn.Tanh) or isinstance(parts[-1][0], nn.Tanh) or draw(seldom):
            parts[-1].append(layer)
        else:
            parts.append([layer])
    model, order = nn.Module(), []
    for part in parts:
        bare = len(part) == 1 and (isinstance(part[0], Cell) or not draw(seldom))
        order.append(part[0] if bare else nn.Sequential(*part))
    # They are defined in the order in which they are computed, or in another one.
    for block, name in zip(draw(st.permutations(order)) if draw(seldom) else order, names):
        while hasattr(model, name):
            name += draw(st.sampled_from("_12"))
        model.add_module(name, block)
    return model.double(), nn.Sequential(*order), inputs


def test_what_is_accepted_computes_what_the_module_computes(tmp_path):
    accepted = Counter()

    @settings(max_examples=250, deadline=None, derandomize=True, database=None, phases=[Phase.generate, Phase.shrink])
    @given(drawn=modules(), seed=st.integers(0, 99))
    def check(drawn, seed):
        model, forward, inputs = drawn
        torch.manual_seed(seed)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_()
            x = torch.randn(3, inputs, dtype=torch.float64)
            expected = forward(x).numpy()
        tensors = model.state_dict()
        torch.save(tensors, tmp_path / "drawn.pt")
        save_file(tensors, tmp_path / "drawn.safetensors")
        for source in (tensors, dict(sorted(tensors.items())), tmp_path / "drawn.pt", tmp_path / "drawn.safetensors"):
            try:
                network = spiccato.load(source)
            except ModelError as error:
                assert str(error).isprintable()
            else:
                accepted[getattr(source, "suffix", None), len(network.layers) - len(network.hidden_layers)] += 1
                np.testing.assert_allclose(Reference(network).run(x.numpy()), expected, rtol=1e-9, atol=1e-12)

    check()
    # It would show nothing if all were refused.
    for kind in (None, ".pt", ".safetensors"):
        assert accepted[kind, 0] >= 5 and accepted[kind, 1] >= 3, accepted


NAMES = st.one_of(
    st.sampled_from(
        [
            *state(2, 1, 1),
            "weight_ih",
            "cell.weight_hh",
            "lstm.weight_ih_l0_reverse",
            "lstm.weight_hr_l0",
            "0.weight",
            "calibration",
            "fc.0.bias",
            "lstm.bias_hr_l0",
            "lstm.weight_ih_l99999999999999999",
        ]
    ),
    st.text(max_size=6),
    st.integers(0, 3),
)
ARRAYS = st.builds(
    lambda shape, dtype, value: np.full(shape, value).astype(dtype),
    st.lists(st.sampled_from([0, 1, 2, 4, 8]), max_size=3),
    st.sampled_from([np.float64, np.float32, np.float16, np.longdouble, np.int32, np.bool_, np.complex64, "O", "U3"]),
    st.sampled_from([0.0, 1.5]),
)
VALUES = st.one_of(
    ARRAYS,
    st.none(),
    st.integers(),
    st.text(max_size=3),
    st.lists(st.floats(), max_size=2),
    st.dictionaries(st.sampled_from(["lstm.weight_ih_l0", "model", "fc.weight"]), ARRAYS, max_size=2),
)


@settings(max_examples=200, deadline=None, derandomize=True, database=None, phases=[Phase.generate, Phase.shrink])
@given(
    changes=st.dictionaries(NAMES, VALUES, max_size=3),
    base=st.booleans(),
    layers=st.one_of(st.none(), st.text(max_size=4), st.lists(NAMES, max_size=3)),
)
def test_never_anything_but_a_network_or_one_line(changes, base, layers):
    try:
        network = spiccato.load((state(2, 1, 1) if base else {}) | changes, layers=layers)
    except ModelError as error:
        assert str(error).isprintable()
    else:
        assert isinstance(network, Network)
        assert network.origin.isprintable()

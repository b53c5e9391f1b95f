"""Import of ONNX and Keras models: right by the frameworks' own results, and refused by name and place.

The files in tests/fixtures come from the frameworks (make_fixtures.py there); neither is needed here.
"""

import io
import json
import shutil
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import onnx
import pytest
import spiccato
from onnx import TensorProto, helper, numpy_helper
from spiccato.importers import SUFFIXES, load_network
from spiccato.network import ModelError
from spiccato_sim.reference import Reference
from spiccato_sim.vm import VirtualMachine

FIXTURES = Path(__file__).parent / "fixtures"
ONNX_FIXTURES = sorted(FIXTURES.glob("*.onnx"))
EXPECTED = np.load(FIXTURES / "expected.npz")


def same(a, b):
    """Whether two networks have equal tensors."""
    a, b = a.to_state_dict(), b.to_state_dict()
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


# Files of the frameworks.


@pytest.mark.parametrize("name", ["torch.safetensors", *(path.name for path in ONNX_FIXTURES)])
def test_torch_files_compute_what_torch_computes(name):
    ys = Reference(load_network(FIXTURES / name)).run(EXPECTED["x"])
    np.testing.assert_allclose(ys, EXPECTED["torch64"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(ys, EXPECTED["torch32"], rtol=0, atol=2e-6)


def test_one_model_gives_one_program():
    """The program and its digest are the same from every format; the name, the file's, counts for nothing."""
    assert len(ONNX_FIXTURES) == 4
    programs = [spiccato.compile(path, board="test8", io_format="float32")
                for path in (FIXTURES / "torch.safetensors", *ONNX_FIXTURES)]
    assert len({program.name for program in programs}) == 5
    assert len({program.digest for program in programs}) == 1
    ys = VirtualMachine(programs[-1]).run(EXPECTED["x"])
    assert np.abs(ys - EXPECTED["torch64"]).max() < 1e-4


@pytest.mark.parametrize("name", ["keras.keras", "keras.h5", "keras_functional.keras"])
def test_keras_files_compute_what_keras_computes(name):
    network = load_network(FIXTURES / name)
    ys = Reference(network).run(EXPECTED["x"])
    wanted = EXPECTED["keras_functional" if "functional" in name else "keras"]
    # The functional model gives its last step only.
    np.testing.assert_allclose(ys if wanted.ndim == 2 else ys[-1], wanted, rtol=0, atol=2e-6)
    assert network.name == Path(name).stem


# Hand-made ONNX models.


def constant(name, array):
    return numpy_helper.from_array(np.asarray(array), name)


def graph(nodes, shape=("steps", "batch", 3), constants=(), inputs=(), outputs=("y",), opset=17, hidden=4):
    """A model: input x, constants of an LSTM (W, R, B) and of a linear layer (V, d), and what the arguments add."""
    rng = np.random.default_rng(0)
    tensors = {"W": (1, 4 * hidden, 3), "R": (1, 4 * hidden, hidden), "B": (1, 8 * hidden), "V": (hidden, 2), "d": (2,)}
    given = [constant(name, rng.standard_normal(size).astype(np.float32)) for name, size in tensors.items()]
    given += [constant(name, array) for name, array in constants]
    values = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape), *inputs]
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ("any",)) for name in outputs]
    model = helper.make_model(helper.make_graph(nodes, "g", values, results, given),
                              opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid("com.example", 1)])
    model.ir_version = 8
    return model


def lstm(*inputs, outputs=("h",), **attributes):
    attributes = {"hidden_size": 4} | attributes
    return helper.make_node("LSTM", inputs or ("x", "W", "R", "B"), outputs, name="rnn", **attributes)


def node(kind, inputs, outputs, **attributes):
    return helper.make_node(kind, inputs, outputs, name=f"{kind.lower()}_1", **attributes)


def loaded(model, tmp_path):
    onnx.save(model, tmp_path / "m.onnx")
    return load_network(tmp_path / "m.onnx")


LAST = node("Reshape", ["k", "flat"], ["s"])
SQUEEZE = node("Squeeze", ["h", "one"], ["s"])
LINEAR = [node("MatMul", ["s", "V"], ["v"]), node("Add", ["d", "v"], ["y"])]
ONE = ("one", np.array([1]))


def by_hand(model, x):
    """What the model's equations give, written out for ONNX' gate order i, o, f, c."""
    t = {tensor.name: numpy_helper.to_array(tensor).astype(np.float64) for tensor in model.graph.initializer}
    h = c = np.zeros(4)
    s = lambda v: 1 / (1 + np.exp(-v))  # noqa: E731
    for row in x:
        i, o, f, g = np.split(t["W"][0] @ row + t["R"][0] @ h + t["B"][0][:16] + t["B"][0][16:], 4)
        c = s(f) * c + s(i) * np.tanh(g)
        h = s(o) * np.tanh(c)
    return h @ t["V"] + t["d"]


HAND_MADE = {
    "every step": graph([lstm(), SQUEEZE, *LINEAR], constants=[ONE]),
    "fixed sizes": graph([lstm(), SQUEEZE, *LINEAR], (1, 1, 3), [ONE]),
    "last h": graph([lstm(outputs=("", "h")), node("Squeeze", ["h"], ["s"]),
                     node("Gemm", ["s", "V", "d"], ["y"])], ("steps", 1, 3)),
    "layout 1": graph([lstm(layout=1), node("Squeeze", ["h", "two"], ["q"]),
                       node("Gather", ["q", "last"], ["s"], axis=1), *LINEAR],
                      constants=[("two", np.array([2])), ("last", np.array(-1))]),
    "batch first": graph([node("Transpose", ["x"], ["t"], perm=[1, 0, 2]), lstm("t", "W", "R", "B"),
                          node("Slice", ["h", "from", "to", "axis"], ["l"]), node("Reshape", ["l", "flat"], ["s"]),
                          node("Gemm", ["s", "V", "d"], ["y"])],
                         constants=[("from", np.array([-1])), ("to", np.array([1 << 62])), ("axis", np.array([0])),
                                    ("flat", np.array([-1, 4]))]),
    "zero states": graph([node("Shape", ["x"], ["n"], start=1, end=2),
                          node("Concat", ["one", "n", "four"], ["z"], axis=0), node("ConstantOfShape", ["z"], ["zero"]),
                          lstm("x", "W", "R", "B", "", "zero", "zero"), SQUEEZE, *LINEAR],
                         constants=[ONE, ("four", np.array([4]))]),
    "passed on": graph([node("Cast", ["x"], ["f"], to=TensorProto.DOUBLE), node("Identity", ["f"], ["i"]),
                        lstm("i", "W", "R", "B", activations=["Sigmoid", "Tanh", "Tanh"], direction="forward"), SQUEEZE,
                        node("Dropout", ["s"], ["t"]), node("MatMul", ["t", "V"], ["v"]),
                        node("Add", ["v", "d"], ["y"])], constants=[ONE]),
    "no last h": graph([lstm(outputs=("h", "", "cn")), node("Slice", ["h", "from", "to", "", "step"], ["k"]), LAST,
                        node("Gemm", ["s", "V", "d"], ["y"])], ("steps", 1, 3), outputs=("y", "cn"),
                       constants=[("from", np.array([-1])), ("to", np.array([9])), ("step", np.array([1])),
                                  ("flat", np.array([-1, 4]))]),
    "states as well": graph([lstm(outputs=("h", "hn", "cn")), SQUEEZE, *LINEAR], constants=[ONE],
                            outputs=("y", "hn", "cn")),
}


@pytest.mark.parametrize("model", HAND_MADE.values(), ids=HAND_MADE)
def test_hand_made_graphs(model, tmp_path):
    network = loaded(model, tmp_path)
    x = np.random.default_rng(1).standard_normal((6, 3))
    np.testing.assert_allclose(Reference(network).run(x)[-1], by_hand(model, x), rtol=0, atol=1e-12)
    assert network.name == "m"


def test_external_data(tmp_path):
    onnx.save(HAND_MADE["every step"], tmp_path / "m.onnx", save_as_external_data=True, size_threshold=0,
              location="w.bin")
    assert load_network(tmp_path / "m.onnx").input_size == 3
    (tmp_path / "w.bin").unlink()
    with pytest.raises(ModelError, match="m.onnx: .*w.bin"):
        load_network(tmp_path / "m.onnx")


ZEROS = ("zeros", np.zeros((1, 3, 4), np.float32))
ONES = ("ones", np.eye(3, 4, dtype=np.float32)[None])
REFUSED = {
    "relu": (graph([lstm(), SQUEEZE, *LINEAR[:1], node("Relu", ["v"], ["y"])], constants=[ONE]),
             "node 'relu_1' (Relu) on the result of node 'matmul_1' (MatMul): this operator is not supported here"),
    "residual": (graph([lstm(), SQUEEZE, lstm("s", "R2", "R", "B", outputs=("k",)),
                        node("Squeeze", ["k", "one"], ["l"]), node("Add", ["s", "l"], ["y"])],
                       constants=[ONE, ("R2", np.ones((1, 16, 4), np.float32))]),
                 "node 'add_1' (Add) adds the result of node 'rnn' (LSTM) and the result of"),
    "bias of h": (graph([lstm(), SQUEEZE, node("Add", ["s", "four"], ["y"])],
                        constants=[ONE, ("four", np.ones(4, np.float32))]),
                  "node 'add_1' (Add) adds constants to the result"),
    "two biases": (graph([lstm(), SQUEEZE, *LINEAR[:1], node("Add", ["v", "d"], ["w"]), node("Add", ["w", "d"], ["y"])],
                         constants=[ONE]), "one bias of a linear layer"),
    "bias by step": (graph([lstm(), SQUEEZE, *LINEAR[:1], node("Add", ["v", "e"], ["y"])],
                           constants=[ONE, ("e", np.arange(10, dtype=np.float32).reshape(5, 1, 2))]),
                     "the bias is not the same at every step"),
    "gru": (graph([node("GRU", ["x", "W", "R"], ["y"], hidden_size=4)]), "node 'gru_1' (GRU) on the model's input"),
    "bidirectional": (graph([lstm(direction="bidirectional")], outputs=("h",)),
                      "direction bidirectional is not supported"),
    "reverse": (graph([lstm(direction="reverse")], outputs=("h",)),
                "node 'rnn' (LSTM): direction reverse is not supported"),
    "clip": (graph([lstm(clip=3.0)], outputs=("h",)), "clip 3 is not supported"),
    "input_forget": (graph([lstm(input_forget=1)], outputs=("h",)), "input_forget is not supported"),
    "activations": (graph([lstm(activations=["HardSigmoid", "Tanh", "Tanh"])], outputs=("h",)),
                    "activations HardSigmoid, Tanh, Tanh is not supported; supported: Sigmoid, Tanh, Tanh"),
    "sequence_lens": (graph([lstm("x", "W", "R", "B", "lens")], constants=[("lens", np.array([1, 1, 1], np.int32))],
                            outputs=("h",)), "sequence_lens 'lens' is not supported"),
    "peepholes": (graph([lstm("x", "W", "R", "B", "", "zeros", "zeros", "p")],
                        constants=[ZEROS, ("p", np.zeros((1, 12), np.float32))], outputs=("h",)),
                  "peephole weights 'p'"),
    "initial state": (graph([lstm("x", "W", "R", "B", "", "ones", "zeros")], constants=[ZEROS, ONES], outputs=("h",)),
                      "initial_h 'ones' that is not zero is not supported"),
    "state input": (graph([lstm("x", "W", "R", "B", "", "h0")], outputs=("h",), inputs=[helper.make_tensor_value_info(
        "h0", TensorProto.FLOAT, (1, 3, 4))]), "node 'rnn' (LSTM) reads graph input 'h0' (its input 5)"),
    "gemm alpha": (graph([lstm(outputs=("", "h")), node("Squeeze", ["h", "zero"], ["s"]),
                          node("Gemm", ["s", "V", "d"], ["y"], alpha=0.5)], constants=[("zero", np.array([0]))]),
                   "node 'gemm_1' (Gemm): alpha 0.5, beta 1, transA 0 are not supported"),
    "linear first": (graph([node("MatMul", ["x", "V3"], ["v"]), lstm("v", "W", "R", "B")], outputs=("h",),
                           constants=[("V3", np.eye(3, dtype=np.float32))]),
                     "reads the model's input; supported: LSTM layers"),
    "flip": (graph([node("Slice", ["x", "from", "to", "axis", "from"], ["r"]), lstm("r", "W", "R", "B")],
                   outputs=("h",), constants=[("from", np.array([-1])), ("to", np.array([-(1 << 62)])),
                                              ("axis", np.array([0]))]),
             "node 'rnn' (LSTM) does not read the model's input as it is"),
    "padding": (graph([node("Concat", ["x", "pad"], ["p"], axis=0), lstm("p", "W", "R", "B")], outputs=("h",),
                      constants=[("pad", np.zeros((1, 3, 3), np.float32))]),
                "node 'concat_1' (Concat) on the model's input"),
    "weights of the input": (graph([lstm("x", "x", "R", "B")], outputs=("h",)),
                             "W (its input 1) depends on the model's input"),
    "int8": (graph([lstm(), node("Cast", ["h"], ["y"], to=TensorProto.INT8)]), "a conversion to INT8 is not supported"),
    "another domain": (graph([helper.make_node("LSTM", ["x", "W", "R"], ["y"], name="n", domain="com.example")]),
                       "node 'n' (LSTM): this operator is not supported"),
    "mask": (graph([node("Dropout", ["x"], ["t", "m"]), node("Cast", ["m"], ["f"], to=TensorProto.FLOAT),
                    lstm("f", "W", "R", "B")], outputs=("h",)), "node 'cast_1' (Cast) reads 'm' (its input 0), which"),
    "no layer": (graph([node("Identity", ["x"], ["y"])]), "the model's result 'y' is its input"),
    "constant output": (graph([node("Identity", ["V"], ["y"])]), "graph output 'y' does not depend on the input 'x'"),
    "open features": (graph([lstm()], ("a", "b", "c"), outputs=("h",)), "the number of features, its last dimension"),
    "old opset": (graph([lstm()], outputs=("h",), opset=13), "the model uses opset 13; supported: 14 and later"),
    "impossible": (graph([node("Reshape", ["x", "size"], ["r"]), lstm("r", "W", "R", "B")], outputs=("h",),
                         constants=[("size", np.array([7, 7, 7]))]), "node 'reshape_1' (Reshape) cannot be executed"),
    "shapes": (graph([lstm("x", "W", "R", "B2")], constants=[("B2", np.ones((1, 8), np.float32))], outputs=("h",)),
               "B of shape (1, 8) and hidden_size 4 with R of shape (1, 16, 4)"),
}


@pytest.mark.parametrize("model, message", REFUSED.values(), ids=REFUSED)
def test_refused_graphs(model, message, tmp_path):
    with pytest.raises(ModelError) as caught:
        loaded(model, tmp_path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path / 'm.onnx'}: ") and "\n" not in str(caught.value)


# Keras models with other settings.


def edited(tmp_path, edit):
    """The fixture with its configuration changed by ``edit(layers)``, layers by name."""
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(FIXTURES / "keras_functional.keras") as old, zipfile.ZipFile(path, "w") as new:
        config = json.loads(old.read("config.json"))
        edit(config, {layer["name"]: layer for layer in config["config"]["layers"]})
        new.writestr("config.json", json.dumps(config))
        new.writestr("model.weights.h5", old.read("model.weights.h5"))
    return path


def setting(layer, **settings):
    return lambda config, layers: layers[layer]["config"].update(settings)


def renamed(layer, kind):
    return lambda config, layers: layers[layer].update(class_name=kind)


def reads(layer, *names):
    arguments = [{"config": {"keras_history": [name, 0, 0]}} for name in names]
    return lambda config, layers: layers[layer].update(inbound_nodes=[{"args": arguments, "kwargs": {}}])


KERAS_REFUSED = {
    "activation": (setting("first", activation="relu"), "layer 'first' (LSTM): activation='relu' is not supported"),
    "hard sigmoid": (setting("first", recurrent_activation="hard_sigmoid"), "recurrent_activation='hard_sigmoid'"),
    "backwards": (setting("second", go_backwards=True), "layer 'second' (LSTM): go_backwards=True"),
    "states": (setting("second", return_state=True), "return_state=True is not supported"),
    "dense": (setting("head", activation="softmax"), "layer 'head' (Dense): activation='softmax' is not supported"),
    "last step": (setting("first", return_sequences=False),
                  "layer 'second' (LSTM): follows layer 'first' (LSTM), which has"),
    "gru": (renamed("first", "GRU"), "layer 'first' (GRU): is not supported; supported: LSTM layers"),
    "bidirectional": (renamed("first", "Bidirectional"), "layer 'first' (Bidirectional): is not supported"),
    "normalisation": (renamed("head", "LayerNormalization"), "layer 'head' (LayerNormalization)"),
    "dense first": (renamed("first", "Dense"), "layer 'first' (Dense): comes before any LSTM layer"),
    "biases": (setting("first", use_bias=True), "the file has 2 arrays of weights for it; expected 3"),
    "branch": (reads("head", "second", "first"),
               "layer 'head' (Dense) reads 'first', 'second'; supported: LSTM layers"),
    "skip": (reads("second", "prices"), "layer 'second' (LSTM) reads 'prices'; supported"),
    "inner output": (lambda config, layers: config["config"].update(output_layers=[["first", 0, 0]]),
                     "the model gives the results of 'first'; supported: only that of 'head'"),
    "subclass": (lambda config, layers: config.update(class_name="MyModel"), "the model is a MyModel; supported: Seq"),
}


@pytest.mark.parametrize("edit, message", KERAS_REFUSED.values(), ids=KERAS_REFUSED)
def test_refused_keras_models(edit, message, tmp_path):
    with pytest.raises(ModelError) as caught:
        load_network(edited(tmp_path, edit))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_keras_2_nodes(tmp_path):
    """Older files write what a layer reads in another way."""
    def edit(config, layers):
        config["config"]["output_layers"] = [["head", 0, 0]]
        for name, source in (("first", "prices"), ("second", "first"), ("head", "second")):
            layers[name]["inbound_nodes"] = [[[source, 0, 0, {}]]]

    assert same(load_network(edited(tmp_path, edit)), load_network(FIXTURES / "keras_functional.keras"))


# Any kind.


def test_what_a_source_may_be(tmp_path):
    network = load_network(FIXTURES / "torch.safetensors")
    assert same(load_network(network), network)
    assert same(load_network(network.to_state_dict()), network)
    named = load_network(str(FIXTURES / "torch_script.onnx"), name="mine", calibration=np.ones((4, 5)))
    assert named.name == "mine" and same(load_network(named, name="other"), named)
    np.testing.assert_array_equal(named.calibration, np.ones((4, 5)))
    shutil.copy(FIXTURES / "torch.safetensors", tmp_path / "UPPER.SAFETENSORS")
    assert same(load_network(tmp_path / "UPPER.SAFETENSORS"), network)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_missing_and_damaged_files(suffix, tmp_path):
    path = tmp_path / f"none{suffix}"
    with pytest.raises(ModelError, match=f"none{suffix}: no such file"):
        load_network(path)
    for content in (b"", b"text", b"PK\x03\x04", np.random.default_rng(0).bytes(1000)):
        path.write_bytes(content)
        with pytest.raises(ModelError, match=f"none{suffix}: ") as caught:
            load_network(path)
        assert "\n" not in str(caught.value)
    path.unlink(missing_ok=True)
    path.mkdir()
    with pytest.raises(ModelError, match="is a folder"):
        load_network(path)


def test_weights_without_a_model(tmp_path):
    with h5py.File(tmp_path / "m.weights.h5", "w") as file:
        file["layers/lstm/cell/vars/0"] = np.ones((2, 8))
    with pytest.raises(ModelError, match="holds weights without the model; save the whole model"):
        load_network(tmp_path / "m.weights.h5")
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("config.json", "{}")
    (tmp_path / "m.keras").write_bytes(data.getvalue())
    with pytest.raises(ModelError, match="m.keras: not a Keras model: .*model.weights.h5"):
        load_network(tmp_path / "m.keras")


@pytest.mark.parametrize("source, message", [
    ("m.tflite", "m.tflite: unknown kind of model; supported: .safetensors, .pt"),
    (3, "a int is no model; supported: a path, a torch.nn.Module"),
])
def test_other_sources_are_refused(source, message):
    with pytest.raises(ModelError, match=message):
        load_network(source)


@pytest.mark.parametrize("package, name, extra", [
    ("torch", "torch.pt", "torch"), ("onnx", "torch_script.onnx", "onnx"), ("h5py", "keras.h5", "keras")])
def test_a_missing_package_is_told_with_its_extra(package, name, extra, monkeypatch):
    for module in [module for module in sys.modules if module.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    for module in ("pytorch", "torch_file", "onnx_graph", "keras"):
        monkeypatch.delitem(sys.modules, f"spiccato.importers.{module}", raising=False)
    monkeypatch.setattr(sys, "meta_path", [_Without(package), *sys.meta_path])
    message = rf"{name}: the package {package} is needed: pip install 'spiccato\[{extra}\]'"
    with pytest.raises(ModelError, match=message):
        load_network(FIXTURES / name)


class _Without:
    """An import system that lacks a package."""

    def __init__(self, package):
        self._package = package

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == self._package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=self._package)


# The Python interface.


def test_compile(tmp_path):
    network = spiccato.load(FIXTURES / "torch.safetensors")
    program = spiccato.compile(network, board="test4", weights="int8")
    assert program.weight_formats == ("int8", "int8", "int16")
    assert spiccato.compile(network, config=spiccato.configuration("test4"), weights="int8").digest == program.digest
    with pytest.raises(TypeError, match="either board or config"):
        spiccato.compile(network)
    with pytest.raises(spiccato.SpiccatoError, match="unknown board 'nonesuch'"):
        spiccato.compile(network, board="nonesuch")

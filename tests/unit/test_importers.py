"""Import of ONNX and Keras models: right by the frameworks' own results, and refused by name and place.

The files in tests/fixtures come from the frameworks (make_fixtures.py there); neither is needed here.
"""

import io
import json
import shutil
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import spiccato
from cuts import told_cut
from paths import FIXTURES
from spiccato.errors import ModelError
from spiccato.importers import SUFFIXES, load_network
from spiccato_sim.models.reference import Reference
from spiccato_sim.models.vm import VirtualMachine

pytestmark = pytest.mark.fast

ONNX_FIXTURES = sorted(FIXTURES.glob("torch_*.onnx"))
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
    programs = [
        spiccato.compile(path, board="test8", io_format="float32")
        for path in (FIXTURES / "torch.safetensors", *ONNX_FIXTURES)
    ]
    assert len({program.name for program in programs}) == 5
    assert len({program.digest for program in programs}) == 1
    ys = VirtualMachine(programs[-1]).run(EXPECTED["x"])
    assert np.abs(ys - EXPECTED["torch64"]).max() < 1e-4


@pytest.mark.parametrize(
    "name", ["keras.keras", "keras.h5", "keras_functional.keras", "keras_nested.keras", "keras_nested.h5"]
)
def test_keras_files_compute_what_keras_computes(name):
    network = load_network(FIXTURES / name)
    ys = Reference(network).run(EXPECTED["x"])
    wanted = EXPECTED["keras" if Path(name).stem == "keras" else Path(name).stem]
    # The others give their last step only.
    np.testing.assert_allclose(ys if wanted.ndim == 2 else ys[-1], wanted, rtol=0, atol=2e-6)
    assert network.name == Path(name).stem


KINDS = np.load(FIXTURES / "keras_kinds.npz")


@pytest.mark.parametrize("name", ["kinds.keras", "kinds.h5", "heads.keras"])
def test_keras_files_of_other_kinds_compute_what_keras_computes(name):
    network = load_network(FIXTURES / f"keras_{name}")
    np.testing.assert_allclose(Reference(network).run(KINDS["x"]), KINDS[Path(name).stem], rtol=0, atol=2e-6)
    assert network.output_parts == ((("policy", 3), ("value", 1)) if name.startswith("heads") else (("output", 3),))


def test_a_part_of_a_keras_file():
    """The embedding's vectors go in; what comes out are the sums that Keras' softmax takes."""
    path = FIXTURES / "keras_embedded.keras"
    with pytest.raises(ModelError) as caught:
        load_network(path)
    cut = told_cut(str(caught.value))
    assert cut == {"from_": "lstm", "to": "classes.linear"}
    sums = Reference(load_network(path, **cut)).run(KINDS["vectors"])[-1]
    np.testing.assert_allclose(np.exp(sums) / np.exp(sums).sum(), KINDS["probabilities"], rtol=0, atol=1e-6)


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
    model = helper.make_model(
        helper.make_graph(nodes, "g", values, results, given),
        opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid("com.example", 1)],
    )
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
    "last h": graph(
        [lstm(outputs=("", "h")), node("Squeeze", ["h"], ["s"]), node("Gemm", ["s", "V", "d"], ["y"])], ("steps", 1, 3)
    ),
    "layout 1": graph(
        [lstm(layout=1), node("Squeeze", ["h", "two"], ["q"]), node("Gather", ["q", "last"], ["s"], axis=1), *LINEAR],
        constants=[("two", np.array([2])), ("last", np.array(-1))],
    ),
    "batch first": graph(
        [
            node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
            lstm("t", "W", "R", "B"),
            node("Slice", ["h", "from", "to", "axis"], ["l"]),
            node("Reshape", ["l", "flat"], ["s"]),
            node("Gemm", ["s", "V", "d"], ["y"]),
        ],
        constants=[
            ("from", np.array([-1])),
            ("to", np.array([1 << 62])),
            ("axis", np.array([0])),
            ("flat", np.array([-1, 4])),
        ],
    ),
    "zero states": graph(
        [
            node("Shape", ["x"], ["n"], start=1, end=2),
            node("Concat", ["one", "n", "four"], ["z"], axis=0),
            node("ConstantOfShape", ["z"], ["zero"]),
            lstm("x", "W", "R", "B", "", "zero", "zero"),
            SQUEEZE,
            *LINEAR,
        ],
        constants=[ONE, ("four", np.array([4]))],
    ),
    "passed on": graph(
        [
            node("Cast", ["x"], ["f"], to=TensorProto.DOUBLE),
            node("Identity", ["f"], ["i"]),
            lstm("i", "W", "R", "B", activations=["Sigmoid", "Tanh", "Tanh"], direction="forward"),
            SQUEEZE,
            node("Dropout", ["s"], ["t"]),
            node("MatMul", ["t", "V"], ["v"]),
            node("Add", ["v", "d"], ["y"]),
        ],
        constants=[ONE],
    ),
    "no last h": graph(
        [
            lstm(outputs=("h", "", "cn")),
            node("Slice", ["h", "from", "to", "", "step"], ["k"]),
            LAST,
            node("Gemm", ["s", "V", "d"], ["y"]),
        ],
        ("steps", 1, 3),
        outputs=("y", "cn"),
        constants=[
            ("from", np.array([-1])),
            ("to", np.array([1 << 31])),
            ("step", np.array([1])),
            ("flat", np.array([-1, 4])),
        ],
    ),
    "states as well": graph(
        [lstm(outputs=("h", "hn", "cn")), SQUEEZE, *LINEAR], constants=[ONE], outputs=("y", "hn", "cn")
    ),
}


@pytest.mark.parametrize("model", HAND_MADE.values(), ids=HAND_MADE)
def test_hand_made_graphs(model, tmp_path):
    network = loaded(model, tmp_path)
    x = np.random.default_rng(1).standard_normal((6, 3))
    np.testing.assert_allclose(Reference(network).run(x)[-1], by_hand(model, x), rtol=0, atol=1e-12)
    assert network.name == "m"


def test_external_data(tmp_path):
    onnx.save(
        HAND_MADE["every step"], tmp_path / "m.onnx", save_as_external_data=True, size_threshold=0, location="w.bin"
    )
    assert load_network(tmp_path / "m.onnx").input_size == 3
    (tmp_path / "w.bin").unlink()
    with pytest.raises(ModelError, match="m.onnx: .*w.bin"):
        load_network(tmp_path / "m.onnx")


def older(opset, ir_version, features=3):
    """A model as older exporters write it: axes as attributes, and weights that are also graph inputs."""
    model = graph(
        [lstm(), helper.make_node("Squeeze", ["h"], ["s"], name="squeeze", axes=[1]), *LINEAR],
        ("steps", "batch", features),
        opset=opset,
    )
    model.ir_version = ir_version
    if ir_version < 4:
        model.graph.input.extend(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            for tensor in model.graph.initializer
        )
    return model


@pytest.mark.parametrize(
    "opset, ir_version, features", [(7, 3, 3), (8, 3, "open"), (9, 4, 3), (11, 6, "open"), (12, 7, 3)]
)
def test_older_operator_sets(opset, ir_version, features):
    model = older(opset, ir_version, features)
    x = np.random.default_rng(1).standard_normal((6, 3))
    np.testing.assert_allclose(Reference(load_network(model)).run(x)[-1], by_hand(model, x), rtol=0, atol=1e-12)
    assert load_network(model).name == "g" and model.opset_import[0].version == opset  # the model is left alone


@pytest.mark.parametrize(
    "shape, front",
    [
        (
            ("batch", "steps"),
            [node("Unsqueeze", ["x", "last"], ["u"]), node("Transpose", ["u"], ["t"], perm=[1, 0, 2])],
        ),
        (("batch", 3, "steps"), [node("Transpose", ["x"], ["t"], perm=[2, 0, 1])]),
        (("batch", "features", "steps"), [node("Transpose", ["x"], ["t"], perm=[2, 0, 1])]),
        (("batch", "steps", "features"), [node("Transpose", ["x"], ["t"], perm=[1, 0, 2])]),
    ],
    ids=str,
)
def test_open_sizes(shape, front):
    """Batch and time open, as the older exporter leaves them, wherever the features are."""
    model = graph(
        [*front, lstm("t", "W1" if len(shape) == 2 else "W", "R", "B"), SQUEEZE, *LINEAR],
        shape,
        constants=[ONE, ("last", np.array([2])), ("W1", np.ones((1, 16, 1), np.float32))],
    )
    assert load_network(model).input_size == (1 if len(shape) == 2 else 3)


def test_outputs_without_a_shape(tmp_path):
    model = graph([lstm(), SQUEEZE, *LINEAR], constants=[ONE])
    expected = load_network(model)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    assert same(loaded(model, tmp_path), expected)
    model.graph.input[0].type.tensor_type.ClearField("shape")
    with pytest.raises(ModelError, match="graph input 'x' has no shape; expected steps, sequences and a"):
        loaded(model, tmp_path)


ZEROS = ("zeros", np.zeros((1, 3, 4), np.float32))
ONES = ("ones", np.eye(3, 4, dtype=np.float32)[None])
REFUSED = {
    "erf": (
        graph([lstm(), SQUEEZE, *LINEAR[:1], node("Erf", ["v"], ["y"])], constants=[ONE]),
        "node 'erf_1' (Erf) on the result of node 'matmul_1' (MatMul): this operator is not supported here",
    ),
    "product of layers": (
        graph(
            [
                lstm(),
                SQUEEZE,
                helper.make_node("LSTM", ["s", "R2", "R", "B"], ["k"], name="second", hidden_size=4),
                node("Squeeze", ["k", "one"], ["l"]),
                node("Mul", ["s", "l"], ["y"]),
            ],
            constants=[ONE, ("R2", np.ones((1, 16, 4), np.float32))],
        ),
        "node 'mul_1' (Mul) combines the result of node 'rnn' (LSTM) with the result of node 'second'",
    ),
    "division by h": (
        graph([lstm(), SQUEEZE, node("Div", ["one", "s"], ["y"])], constants=[ONE]),
        "node 'div_1' (Div) divides a constant by the result",
    ),
    "bias by step": (
        graph(
            [lstm(), SQUEEZE, *LINEAR[:1], node("Add", ["v", "e"], ["y"])],
            constants=[ONE, ("e", np.arange(10, dtype=np.float32).reshape(5, 1, 2))],
        ),
        "node 'add_1' (Add) applies constants to the result of node 'matmul_1'",
    ),
    "gru": (
        graph([node("GRU", ["x", "W", "R"], ["y"], hidden_size=4)]),
        "node 'gru_1' (GRU): linear_before_reset=0, whose reset gate needs h before the recurrent product, is not",
    ),
    "weights of an LSTM in a GRU": (
        graph([node("GRU", ["x", "W", "R"], ["y"], hidden_size=4, linear_before_reset=1)]),
        "node 'gru_1' (GRU): weight_hh has shape (16, 4); expected (12, 4): 3 gates (4 gates would be an LSTM)",
    ),
    "slopes of each feature": (
        graph(
            [lstm(), SQUEEZE, *LINEAR[:1], node("PRelu", ["v", "p"], ["y"])], constants=[ONE, ("p", np.float32([1, 2]))]
        ),
        "node 'prelu_1' (PRelu): slopes of each feature are not supported; supported: one for all",
    ),
    "limits in the wrong order": (
        graph(
            [lstm(), SQUEEZE, node("Clip", ["s", "high", "low"], ["y"])],
            constants=[ONE, ("low", np.float32(-1)), ("high", np.float32(1))],
        ),
        "node 'clip_1' (Clip): limits 1 and -1 are not supported; supported: the lower one first",
    ),
    "an activation in front of all": (
        graph([node("Tanh", ["x"], ["t"]), lstm("t", "W", "R", "B")], outputs=("h",)),
        "node 'tanh_1' (Tanh) on the model's input: an activation in front of all layers is not supported",
    ),
    "bidirectional": (
        graph([lstm(direction="bidirectional")], outputs=("h",)),
        "direction bidirectional is not supported",
    ),
    "reverse": (
        graph([lstm(direction="reverse")], outputs=("h",)),
        "node 'rnn' (LSTM): direction reverse is not supported",
    ),
    "clip": (graph([lstm(clip=3.0)], outputs=("h",)), "clip 3 is not supported"),
    "input_forget": (graph([lstm(input_forget=1)], outputs=("h",)), "input_forget is not supported"),
    "activations": (
        graph([lstm(activations=["HardSigmoid", "Tanh", "Tanh"])], outputs=("h",)),
        "activations HardSigmoid, Tanh, Tanh is not supported; supported: Sigmoid, Tanh, Tanh",
    ),
    "sequence_lens": (
        graph([lstm("x", "W", "R", "B", "lens")], constants=[("lens", np.array([1, 1, 1], np.int32))], outputs=("h",)),
        "sequence_lens 'lens' other than the number of steps is not supported",
    ),
    "sequence_lens of other sizes": (
        graph([lstm("x", "W", "R", "B", "lens")], outputs=("h",), constants=[("lens", np.array([5, 5, 5], np.int32))]),
        "sequence_lens 'lens' other than the number of steps",
    ),
    "fifth step": (
        graph(
            [lstm(), SQUEEZE, node("Gather", ["s", "four"], ["l"]), node("Gemm", ["l", "V", "d"], ["y"])],
            constants=[ONE, ("four", np.array(4))],
        ),
        "'y' holds steps 5 of 7; supported: all steps",
    ),
    "peepholes": (
        graph(
            [lstm("x", "W", "R", "B", "", "zeros", "zeros", "p")],
            constants=[ZEROS, ("p", np.eye(1, 12, dtype=np.float32))],
            outputs=("h",),
        ),
        "peephole weights 'p' that are not zero",
    ),
    "initial state": (
        graph([lstm("x", "W", "R", "B", "", "ones", "zeros")], constants=[ZEROS, ONES], outputs=("h",)),
        "initial_h is not the same in every sequence; supported: one state to start from",
    ),
    "state input": (
        graph(
            [lstm("x", "W", "R", "B", "", "h0")],
            outputs=("h",),
            inputs=[helper.make_tensor_value_info("h0", TensorProto.FLOAT, (1, 3, 4))],
        ),
        "node 'rnn' (LSTM): the initial h is state and the other one is not; supported: both h and c",
    ),
    "gemm": (
        graph(
            [
                lstm(outputs=("", "h")),
                node("Squeeze", ["h", "zero"], ["s"]),
                node("Gemm", ["s", "V", "d"], ["y"], transA=1),
            ],
            constants=[("zero", np.array([0]))],
        ),
        "node 'gemm_1' (Gemm): transA 1 is not supported",
    ),
    "flip": (
        graph(
            [node("Slice", ["x", "from", "to", "axis", "from"], ["r"]), lstm("r", "W", "R", "B")],
            outputs=("h",),
            constants=[("from", np.array([-1])), ("to", np.array([-(1 << 62)])), ("axis", np.array([0]))],
        ),
        "node 'rnn' (LSTM) does not read the model's input as it is",
    ),
    "padding": (
        graph(
            [node("Concat", ["x", "pad"], ["p"], axis=0), lstm("p", "W", "R", "B")],
            outputs=("h",),
            constants=[("pad", np.zeros((1, 3, 3), np.float32))],
        ),
        "node 'concat_1' (Concat) on the model's input",
    ),
    "weights of the input": (
        graph([lstm("x", "x", "R", "B")], outputs=("h",)),
        "W (its input 1) depends on the model's input",
    ),
    "int8": (graph([lstm(), node("Cast", ["h"], ["y"], to=TensorProto.INT8)]), "a conversion to INT8 is not supported"),
    "another domain": (
        graph([helper.make_node("LSTM", ["x", "W", "R"], ["y"], name="n", domain="com.example")]),
        "node 'n' (LSTM): this operator is not supported",
    ),
    "mask": (
        graph(
            [
                node("Dropout", ["x"], ["t", "m"]),
                node("Cast", ["m"], ["f"], to=TensorProto.FLOAT),
                lstm("f", "W", "R", "B"),
            ],
            outputs=("h",),
        ),
        "node 'cast_1' (Cast) reads 'm' (its input 0), which",
    ),
    "no layer": (graph([node("Identity", ["x"], ["y"])]), "the model's result 'y' is its input"),
    "constant output": (graph([node("Identity", ["V"], ["y"])]), "graph output 'y' does not depend on the input 'x'"),
    "features do not fit": (
        graph([lstm()], ("a", "b", 4), outputs=("h",)),
        "reads an array of shape (5, 3, 4); expected (steps, sequences, 3)",
    ),
    "old opset": (
        graph([lstm()], outputs=("h",), opset=5),
        "the model uses opset 5, which onnx's version converter "
        "does not bring to 14 (No Adapter From Version $6 for LSTM); supported: 14 and later, and",
    ),
    "weights as inputs": (
        graph(
            [lstm("x", "Wx", "R", "B")],
            outputs=("h",),
            inputs=[helper.make_tensor_value_info("Wx", TensorProto.FLOAT, (1, 16, 3))],
        ),
        "node 'rnn' (LSTM) reads graph input 'Wx' (its input 1)",
    ),
    "gru with weights as inputs": (
        graph(
            [node("GRU", ["x", "Wx", "Wx"], ["y"], hidden_size=4)],
            inputs=[helper.make_tensor_value_info("Wx", TensorProto.FLOAT, (1, 12, 3))],
        ),
        "node 'gru_1' (GRU) reads graph input 'Wx' (its input 1)",
    ),
    "rnn with weights as inputs": (
        graph(
            [node("RNN", ["x", "Wx", "Wx"], ["y"], hidden_size=4)],
            inputs=[helper.make_tensor_value_info("Wx", TensorProto.FLOAT, (1, 4, 3))],
        ),
        "node 'rnn_1' (RNN) on the model's ",
    ),
    "output without any shape": (
        graph([lstm(), helper.make_node("Odd", ["h"], ["y"], domain="com.example")], outputs=("y",)),
        "graph output 'y' has no shape",
    ),
    "impossible": (
        graph(
            [node("Reshape", ["x", "size"], ["r"]), lstm("r", "W", "R", "B")],
            outputs=("h",),
            constants=[("size", np.array([7, 7, 7]))],
        ),
        "node 'reshape_1' (Reshape) cannot be executed",
    ),
    "a window of the input": (
        graph(
            [node("Slice", ["x", "from", "to", "axis"], ["w"]), lstm("w", "W", "R", "B")],
            outputs=("h",),
            constants=[("from", np.array([-12])), ("to", np.array([1 << 62])), ("axis", np.array([0]))],
        ),
        "on an input of shape (1021, 2, 3), node 'rnn' (LSTM) does not read the model's input as it is",
    ),
    "a long window of the input": (
        graph(
            [node("Slice", ["x", "from", "to"], ["w"]), lstm("w", "W", "R", "B")],
            outputs=("h",),
            constants=[("from", np.array([-100])), ("to", np.array([1 << 62]))],
        ),
        "does not read the model's input as it is",
    ),
    "the first steps of a batch": (
        graph(
            [
                node("Slice", ["x", "from", "to", "axis"], ["w"]),
                node("Transpose", ["w"], ["t"], perm=[1, 0, 2]),
                lstm("t", "W", "R", "B"),
            ],
            ("batch", "steps", "features"),
            outputs=("h",),
            constants=[("from", np.array([0])), ("to", np.array([12])), ("axis", np.array([1]))],
        ),
        "on an input of shape (2, 1021, 3), node 'rnn' (LSTM) does not read the model's input as it is",
    ),
    "a window of a batch with the features in the middle": (
        graph(
            [
                node("Slice", ["x", "from", "to", "axis"], ["w"]),
                node("Transpose", ["w"], ["t"], perm=[2, 0, 1]),
                lstm("t", "W", "R", "B"),
            ],
            ("batch", "features", "steps"),
            outputs=("h",),
            constants=[("from", np.array([-12])), ("to", np.array([1 << 62])), ("axis", np.array([2]))],
        ),
        "does not read the model's input as it is",
    ),
    "a window of the result": (
        graph(
            [lstm(), SQUEEZE, node("Slice", ["s", "from", "to"], ["w"]), node("MatMul", ["w", "V"], ["y"])],
            constants=[ONE, ("from", np.array([0])), ("to", np.array([10]))],
        ),
        "the model's result 'y' holds steps 1, 2, 3",
    ),
    "no step of a few": (
        graph(
            [lstm(), SQUEEZE, *LINEAR[:1], node("Slice", ["v", "from", "to"], ["y"])],
            constants=[ONE, ("from", np.array([10])), ("to", np.array([1 << 62]))],
        ),
        "the model's result 'y' is empty after 5 steps; supported: all steps, or the last one",
    ),
    "an empty input of the layer": (
        graph(
            [node("Slice", ["x", "from", "to"], ["w"]), lstm("w", "W", "R", "B")],
            outputs=("h",),
            constants=[("from", np.array([10])), ("to", np.array([1 << 62]))],
        ),
        "node 'rnn' (LSTM) reads an empty array",
    ),
    "a draw in every run": (
        graph(
            [node("RandomNormal", [], ["r"], shape=[3]), node("Add", ["x", "r"], ["t"]), lstm("t", "W", "R", "B")],
            outputs=("h",),
        ),
        "constants that the model uses differ from run to run; supported: the same in every run",
    ),
    "a constant divided by zero": (
        graph(
            [node("Div", ["two", "none"], ["q"]), node("Mul", ["x", "q"], ["t"]), lstm("t", "W", "R", "B")],
            outputs=("h",),
            constants=[("two", np.float32([2])), ("none", np.zeros(3, np.float32))],
        ),
        "node 'mul_1' (Mul): a constant is not finite, or a division by zero",
    ),
    "no output": (graph([lstm()], outputs=()), "the model gives no result; supported: results of layers"),
    "shapes": (
        graph([lstm("x", "W", "R", "B2")], constants=[("B2", np.ones((1, 8), np.float32))], outputs=("h",)),
        "B of shape (1, 8) and hidden_size 4 with R of shape (1, 16, 4)",
    ),
}


REFUSED["output without any shape"][0].graph.output[0].type.tensor_type.ClearField("shape")


@pytest.mark.parametrize("model, message", REFUSED.values(), ids=REFUSED)
@pytest.mark.filterwarnings("error")
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


def reads(layer, *names, result=0):
    arguments = [{"config": {"keras_history": [name, 0, result]}} for name in names]
    return lambda config, layers: layers[layer].update(inbound_nodes=[{"args": arguments, "kwargs": {}}])


def together(*edits):
    return lambda config, layers: [edit(config, layers) for edit in edits]


KERAS_REFUSED = {
    "activation": (setting("first", activation="relu"), "layer 'first' (LSTM): activation='relu' is not supported"),
    "hard sigmoid": (setting("first", recurrent_activation="hard_sigmoid"), "recurrent_activation='hard_sigmoid'"),
    "backwards": (setting("second", go_backwards=True), "layer 'second' (LSTM): go_backwards=True"),
    "cell state": (
        together(setting("second", return_state=True), reads("head", "second", result=2)),
        "layer 'head' (Dense) reads the cell state of layer 'second' (LSTM)",
    ),
    "cell state, in a model inside": (
        together(
            setting("second", return_state=True),
            reads("head", "second", result=2),
            renamed("head", "Sequential"),
            setting("head", layers=[{"class_name": "Dropout", "config": {"name": "drop"}}]),
        ),
        "the model gives 'drop'; ",
    ),
    "state that is not there": (reads("head", "second", result=1), "layer 'head' (Dense) reads result 1 of 'second'"),
    "dense": (setting("head", activation="softmax"), "layer 'head' (Dense): activation='softmax' is not supported"),
    "last step": (
        setting("first", return_sequences=False),
        "layer 'second' (LSTM): follows layer 'first' (LSTM), which has",
    ),
    "gru": (renamed("first", "GRU"), "layer 'first' (GRU): 0 arrays of weights; expected 2"),
    "bidirectional": (renamed("first", "Bidirectional"), "layer 'first' (Bidirectional): is not supported"),
    "normalisation": (renamed("head", "LayerNormalization"), "layer 'head' (LayerNormalization)"),
    "biases": (setting("first", use_bias=True), "2 arrays of weights; expected 3"),
    "branch": (
        reads("head", "second", "first"),
        "layer 'head' (Dense) reads 'second', 'first'; supported: LSTM, GRU and Dense layers",
    ),
    "skip": (reads("second", "prices"), "layer 'second' (LSTM) reads an array of shape"),
    "subclass": (lambda config, layers: config.update(class_name="MyModel"), "the model is a MyModel; supported: Seq"),
}


@pytest.mark.parametrize("edit, message", KERAS_REFUSED.values(), ids=KERAS_REFUSED)
def test_refused_keras_models(edit, message, tmp_path):
    with pytest.raises(ModelError) as caught:
        load_network(edited(tmp_path, edit))
    assert message in str(caught.value) and "\n" not in str(caught.value)


class Layer:
    """What Keras' layers in memory have."""

    def __init__(self, kind, name, *arrays, **settings):
        self.kind, self.name, self._arrays, self._settings = kind, name, arrays, settings

    def get_weights(self):
        return list(self._arrays)

    def get_config(self):
        return {"name": self.name} | self._settings


class Sequential(Layer):
    """What a Keras model in memory has."""

    def __init__(self, *layers, name="model", shape=None):
        super().__init__("Sequential", name)
        self.layers = layers
        self._shape = shape

    def get_config(self):
        entry = [{"class_name": "InputLayer", "config": {"name": "in", "batch_shape": self._shape}}] * bool(self._shape)
        return {
            "name": self.name,
            "layers": entry + [{"class_name": layer.kind, "config": layer.get_config()} for layer in self.layers],
        }

    def to_json(self):
        return json.dumps({"class_name": "Sequential", "config": self.get_config()})


def layers_of_keras():
    rng = np.random.default_rng(0)
    first = Layer(
        "LSTM", "first", rng.normal(size=(3, 16)), rng.normal(size=(4, 16)), rng.normal(size=16), return_sequences=True
    )
    last = Layer("LSTM", "last", rng.normal(size=(4, 8)), rng.normal(size=(2, 8)), rng.normal(size=8))
    return first, last, Layer("Dense", "head", rng.normal(size=(2, 1)), rng.normal(size=1))


def test_keras_models_in_memory():
    """Models inside models, constants in front and behind, layers that change nothing."""
    first, last, head = layers_of_keras()
    plain = load_network(Sequential(first, last, head))
    assert plain.name == "model" and [layer.hidden_size for layer in plain.hidden_layers] == [4, 2]
    mean, variance = np.array([1.0, -2.0, 300.0]), np.array([4.0, 0.0, 9.0])
    norm = [np.array([2.0, 1.0, 0.5, -1.0]), np.array([0.0, 1.0, 2.0, 3.0]), np.arange(4.0), np.ones(4)]
    model = Sequential(
        Layer("Normalization", "norm", mean, variance, np.array(9), axis=[-1]),
        Layer("Rescaling", "scale", scale=[1.0, 2.0, 4.0], offset=0.5),
        Sequential(
            first,
            Layer("BatchNormalization", "batch", *norm, epsilon=0.25, axis=-1),
            Layer("Dropout", "drop"),
            Sequential(last, name="inmost"),
            name="inside",
        ),
        Layer("Flatten", "flat"),
        head,
        Layer("Rescaling", "unscale", scale=10.0, offset=-1.0),
        Layer("Normalization", "back", mean=[7.0], variance=[4.0], invert=True),
        shape=(None, None, 3),
    )
    x = np.random.default_rng(1).standard_normal((6, 3))
    h = Reference(replace(plain, layers=plain.layers[:1])).run(
        (x - mean) / np.maximum(np.sqrt(variance), 1e-7) * [1, 2, 4] + 0.5
    )
    h = norm[0] * (h - norm[2]) / np.sqrt(norm[3] + 0.25) + norm[1]
    expected = 2 * (10 * Reference(replace(plain, layers=plain.layers[1:])).run(h) - 1) + 7
    np.testing.assert_allclose(Reference(load_network(model)).run(x), expected, rtol=1e-9)


TAIL = Layer("Dense", "tail", np.ones((1, 1)), np.ones(1))
KERAS_PARTS = {
    "softmax": (
        lambda first, last, head: (first, last, head, Layer("Softmax", "soft")),
        "layer 'soft' (Softmax): is not supported (softmax stays on the host); supported",
        {"to": "head"},
    ),
    "softmax within a layer": (
        lambda first, last, head: (
            first,
            last,
            Layer("Dense", "end", np.ones((2, 3)), np.ones(3), activation="softmax"),
        ),
        "layer 'end' (Dense): activation='softmax' is not supported (softmax stays on the host)",
        {"to": "end.linear"},
    ),
    "conv": (
        lambda first, last, head: (Layer("Conv1D", "conv", np.ones((2, 5, 3))), first, last, head),
        "layer 'conv' (Conv1D): is not supported (a convolution stays on the host)",
        {"from_": "first", "to": "head"},
    ),
    "embedding": (
        lambda first, last, head: (Layer("Embedding", "emb", np.ones((9, 3))), first, last),
        "layer 'emb' (Embedding): is not supported",
        {"from_": "first", "to": "last"},
    ),
    "gru in the other form": (
        lambda first, last, head: (
            first,
            Layer(
                "GRU", "gru", np.ones((4, 12)), np.ones((4, 12)), np.ones(12), return_sequences=True, reset_after=False
            ),
            last,
            head,
        ),
        "layer 'gru' (GRU): reset_after=False, whose reset gate needs h before the recurrent product, is not supported",
        {"from_": "last", "to": "head"},
    ),
    "softplus": (
        lambda first, last, head: (first, last, head, Layer("Activation", "act", activation="softplus"), TAIL),
        "layer 'act' (Activation): activation='softplus' is not supported",
        {"to": "head"},
    ),
    "all steps": (
        lambda first, last, head: (
            first,
            Layer("Flatten", "flat"),
            Layer("Dense", "wide", np.ones((96, 1)), np.ones(1)),
        ),
        "layer 'wide' (Dense) reads several steps of the result of layer 'first' (LSTM) at once",
        {"to": "first"},
    ),
    "not adapted": (
        lambda first, last, head: (Layer("Normalization", "norm"), first),
        "layer 'norm' (Normalization): has neither mean nor variance; adapt it to data",
        {"from_": "first", "to": "first"},
    ),
}


@pytest.mark.parametrize("layers, message, cut", KERAS_PARTS.values(), ids=KERAS_PARTS)
def test_the_part_of_a_keras_model_that_would_run(layers, message, cut):
    """What is computed before, between and behind its ends is what the layers alone compute."""
    first, last, head = layers_of_keras()
    model = Sequential(*layers(first, last, head))
    with pytest.raises(ModelError) as caught:
        load_network(model)
    assert message in str(caught.value)
    assert told_cut(str(caught.value)) == cut
    names = [layer.name for layer in model.layers]
    start = names.index(cut.get("from_", names[0]))
    end = names.index(cut["to"].removesuffix(".linear"))
    inside = [
        Layer("Dense", layer.name, *layer.get_weights()) if layer.kind == "Dense" else layer
        for layer in model.layers[start : end + 1]
    ]
    network = load_network(model, **cut)
    assert same(network, load_network(Sequential(*inside)))
    outside = [
        f"layer '{layer.name}' ({layer.kind})" for layer in model.layers if layer not in model.layers[start : end + 1]
    ]
    assert all(place in network.origin for place in outside if "'flat'" not in place)


def test_other_keras_objects():
    class Mine(Layer):
        def to_json(self):
            raise NotImplementedError("no configuration")

    with pytest.raises(ModelError, match="the configuration of the model, a Mine, cannot be read: no configuration"):
        load_network(Mine("Mine", "mine"))
    with pytest.raises(ModelError, match="the model has no layer"):
        load_network(Sequential())
    with pytest.raises(ModelError, match="the model's result 'drop' is its input"):
        load_network(Sequential(Layer("Dropout", "drop")))


def test_keras_states_that_nobody_reads(tmp_path):
    """With return_state a layer gives h and c as well; h is its last result."""
    plain = load_network(FIXTURES / "keras_functional.keras")
    for edit in (
        setting("second", return_state=True),
        together(setting("second", return_state=True, return_sequences=True), reads("head", "second", result=1)),
        setting("first", return_state=True),
    ):
        assert same(load_network(edited(tmp_path, edit)), plain)


def keras_operation(kind, *arguments):
    """The edit that puts an operation in front of the first layer; "x" among its arguments is the model's input."""

    def edit(config, layers):
        given = [
            {"config": {"keras_history": ["prices", 0, 0]}} if argument == "x" else argument for argument in arguments
        ]
        config["config"]["layers"].insert(
            1,
            {
                "class_name": kind,
                "name": "op",
                "config": {"name": "op"},
                "inbound_nodes": [{"args": given, "kwargs": {}}],
            },
        )
        reads("first", "op")(config, layers)

    return edit


@pytest.mark.parametrize(
    "operation, apply",
    [
        (("Subtract", "x", 1.5), lambda x: x - 1.5),
        (("Subtract", 1.5, "x"), lambda x: 1.5 - x),
        (("Add", 2, "x"), lambda x: 2 + x),
        (("Multiply", "x", 3.0), lambda x: 3 * x),
        (("TrueDivide", "x", 4.0), lambda x: x / 4),
        (("TrueDivide", 4.0, "x"), None),
        (("Multiply", "x", "x"), None),
        (("Softplus", "x"), None),
        (
            ("GetItem", "x", [{"class_name": "__slice__", "config": dict.fromkeys(("start", "stop", "step"))}]),
            lambda x: x,
        ),
        (("GetItem", "x", 0), None),
        (("GetItem", "x", "y"), None),
    ],
)
def test_keras_operations(operation, apply, tmp_path):
    path = edited(tmp_path, keras_operation(*operation))
    if apply is None:
        with pytest.raises(ModelError, match="layer '(op|first)' "):
            load_network(path)
    else:
        x = EXPECTED["x"].astype(np.float64)
        plain = load_network(FIXTURES / "keras_functional.keras")
        np.testing.assert_allclose(Reference(load_network(path)).run(x), Reference(plain).run(apply(x)), rtol=1e-9)


@pytest.mark.parametrize("bounds", [(-12, None), (None, 12), (-300, None)], ids=str)
def test_keras_windows_are_refused(bounds, tmp_path):
    steps = {"class_name": "__slice__", "config": dict(zip(("start", "stop", "step"), (*bounds, None)))}
    every = {"class_name": "__slice__", "config": dict.fromkeys(("start", "stop", "step"))}
    path = edited(tmp_path, keras_operation("GetItem", "x", [every, steps]))
    with pytest.raises(ModelError, match=r"on an input of shape \(\d+, \d\), layer 'first' .* as it is"):
        load_network(path)


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


@pytest.mark.parametrize(
    "source, message",
    [
        ("m.tflite", "m.tflite: unknown kind of model; supported: .safetensors, .pt"),
        (3, "a int is no model; supported: a path, a torch.nn.Module"),
    ],
)
def test_other_sources_are_refused(source, message):
    with pytest.raises(ModelError, match=message):
        load_network(source)


@pytest.mark.parametrize(
    "package, name, extra",
    [("torch", "torch.pt", "torch"), ("onnx", "torch_script.onnx", "onnx"), ("h5py", "keras.h5", "keras")],
)
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
    assert program.model.weight_formats == ("int8", "int8", "int16")
    assert spiccato.compile(network, config=spiccato.configuration("test4"), weights="int8").digest == program.digest
    with pytest.raises(TypeError, match="either board or config"):
        spiccato.compile(network)
    with pytest.raises(spiccato.SpiccatoError, match="unknown board 'nonesuch'"):
        spiccato.compile(network, board="nonesuch")

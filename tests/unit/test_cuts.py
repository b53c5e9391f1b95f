"""Parts of ONNX models: every refusal names one that runs, and it computes what the model computes between its ends."""

import numpy as np
import onnx
import onnx.reference
import pytest
from onnx import TensorProto, helper, numpy_helper

from cuts import told_cut
from spiccato.errors import ModelError
from spiccato.importers import load_network
from spiccato_sim.models.reference import Reference

pytestmark = pytest.mark.fast


def node(kind, inputs, outputs, name=None, **attributes):
    return helper.make_node(kind, inputs.split(), outputs.split(), name=name or f"{kind.lower()}_1", **attributes)


def lstm(x="x", y="h", name="rnn", w="W"):
    return node("LSTM", f"{x} {w} R B", y, name, hidden_size=4)


def model(nodes, shape=("steps", "batch", 3), outputs="y", kind=TensorProto.FLOAT, **constants):
    """A model on ``x``; of an LSTM there are W (from 3 features), W2 (from 4), R and B, of linear layers V and d."""
    rng = np.random.default_rng(0)
    sizes = {"W": (1, 16, 3), "W2": (1, 16, 4), "R": (1, 16, 4), "B": (1, 32), "V": (4, 2), "d": (2,)}
    given = {name: rng.standard_normal(size).astype(np.float32) for name, size in sizes.items()} | {
        "one": np.array([1]),
        **constants,
    }
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ("any",)) for name in outputs.split()],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in given.items()],
    )
    graph.value_info.append(helper.make_tensor_value_info("t", TensorProto.FLOAT, ("steps", "batch", 3)))
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.example", 1)]
    made = helper.make_model(graph, opset_imports=opsets)
    made.ir_version = 8
    return made


HEAD = [node("Squeeze", "h one", "s"), node("MatMul", "s V", "v"), node("Add", "v d", "w")]
#: Model, what its refusal says, what part it names, and an input.
REFUSED = {
    "softmax": (
        model([lstm(), *HEAD, node("Softmax", "w", "y")]),
        "node 'softmax_1' (Softmax) on the result of node 'add_1' (Add): softmax stays on the host",
        {"to": "w"},
    ),
    "argmax": (
        model([lstm(), *HEAD, node("ArgMax", "w", "y", axis=-1)]),
        "node 'argmax_1' (ArgMax) on the result of node 'add_1' (Add): the choice of the largest stays on the host",
        {"to": "w"},
    ),
    **{
        f"convolution over {taps} steps": (
            model(
                [
                    node("Conv", "x kernel", "k"),
                    node("Transpose", "k", "t", perm=[2, 0, 1]),
                    lstm("t"),
                    *HEAD[:2],
                    node("Identity", "v", "y"),
                ],
                ("batch", 2, "steps"),
                kernel=np.random.default_rng(1).standard_normal((3, 2, taps)).astype(np.float32),
            ),
            "node 'conv_1' (Conv) on the model's input: a convolution stays on the host",
            {"from_": "t", "to": "v"},
        )
        # Without padding: what is tried first has three steps, and some of what is tried then two.
        for taps in (2, 3, 12)
    },
    "embedding": (
        model(
            [node("Gather", "E x", "t"), lstm("t"), *HEAD[:2], node("Add", "v d", "y")],
            ("steps", "batch"),
            kind=TensorProto.INT64,
            E=np.random.default_rng(1).standard_normal((9, 3)).astype(np.float32),
        ),
        "node 'gather_1' (Gather) on the model's input: a look-up in a table stays on the host",
        {"from_": "t", "to": "y"},
    ),
    "normalisation between": (
        model(
            [
                lstm(),
                node("Squeeze", "h one", "s"),
                node("LayerNormalization", "s four", "n"),
                lstm("n", "g", "second", "W2"),
                node("Squeeze", "g one", "y"),
            ],
            four=np.ones(4, np.float32),
        ),
        "node 'layernormalization_1' (LayerNormalization) on the result of node 'rnn' (LSTM): takes its mean or",
        {"from_": "n", "to": "g"},
    ),
    "another operator in front": (
        model(
            [
                helper.make_node("Odd", ["x"], ["t"], name="odd", domain="com.example"),
                lstm("t"),
                *HEAD[:2],
                node("Add", "v d", "y"),
            ]
        ),
        "node 'odd' (Odd): this operator is not supported",
        {"from_": "t", "to": "y"},
    ),
    "GRU in the other form": (
        model(
            [
                node("GRU", "x Wg Rg", "g", hidden_size=3),
                node("Squeeze", "g one", "t"),
                lstm("t"),
                *HEAD[:2],
                node("Add", "v d", "y"),
            ],
            ("steps", "batch", 5),
            Wg=np.ones((1, 9, 5), np.float32),
            Rg=np.ones((1, 9, 3), np.float32),
        ),
        "node 'gru_1' (GRU): linear_before_reset=0, whose reset gate needs h before the recurrent product, is not",
        {"from_": "t", "to": "y"},
    ),
    "all steps at once": (
        model(
            [
                lstm(),
                node("Transpose", "h", "p", perm=[2, 1, 0, 3]),
                node("Reshape", "p flat", "f"),
                node("MatMul", "f V5", "y"),
            ],
            (5, "batch", 3),
            flat=np.array([-1, 20]),
            V5=np.ones((20, 2), np.float32),
        ),
        "node 'matmul_1' (MatMul) reads several steps of the result of node 'rnn' (LSTM) at once",
        {"to": "h"},
    ),
    "results with other activations": (
        model([lstm(), *HEAD, node("MatMul", "s V", "z"), node("Tanh", "z", "y")], outputs="w y"),
        "heads 'w' (identity) and 'y' (tanh identity) have other activations; supported: the same ones",
        {"to": "y"},
    ),
    "a step in the middle": (
        model([lstm(), *HEAD, node("Gather", "w two", "y")], two=np.array(2)),
        "'y' holds steps 3 of 5; supported: all steps, or the last one",
        {"to": "w"},
    ),
}


def values(made, names, x):
    """What the whole model computes at some of its tensors, by onnx' reference implementation."""
    whole = onnx.ModelProto()
    whole.CopyFrom(made)
    del whole.graph.output[:]
    whole.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    return onnx.reference.ReferenceEvaluator(whole).run(None, {"x": x})


def example(made):
    """An input of one sequence and, where the number is open, twenty steps."""
    value = made.graph.input[0]
    shape = [dim.dim_value or {"batch": 1, "steps": 20}[dim.dim_param] for dim in value.type.tensor_type.shape.dim]
    rng = np.random.default_rng(2)
    if value.type.tensor_type.elem_type == TensorProto.INT64:
        return rng.integers(0, 9, shape)
    return rng.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("made, message, cut", REFUSED.values(), ids=REFUSED)
def test_a_refusal_names_a_part_that_runs(made, message, cut):
    with pytest.raises(ModelError) as caught:
        load_network(made)
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert told_cut(str(caught.value)) == cut
    network = load_network(made, **cut)
    if "Odd" in {one.op_type for one in made.graph.node}:
        made = model([node("Identity", "x", "t"), *made.graph.node[1:]])  # what no reference implementation has
    start, end = values(made, [cut.get("from_", "x"), cut["to"]], example(made))
    ys = Reference(network).run(start.reshape(-1, network.input_size))
    np.testing.assert_allclose(ys, end.reshape(-1, network.output_size), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["softmax", "convolution over 2 steps"])
def test_what_stays_outside_is_told(name):
    made, _, cut = REFUSED[name]
    origin = load_network(made, **cut).origin
    if name == "softmax":
        assert origin == ("the part to 'w'; outside stay: before it nothing, elsewhere node 'softmax_1' (Softmax)")
    else:
        assert origin == "the part from 't' to 'v'; outside stay: before it node 'conv_1' (Conv), elsewhere nothing"


def test_ends_may_be_nodes():
    made, _, _ = REFUSED["softmax"]
    by_node = load_network(made, to="add_1")
    by_tensor = load_network(made, to="w")
    for name, array in by_tensor.to_state_dict().items():
        np.testing.assert_array_equal(by_node.to_state_dict()[name], array)
    one = load_network(made, from_="rnn", to="rnn")
    assert [layer.kind for layer in one.layers] == ["lstm"]


WRONG = {
    "no such name": (
        {"to": "nonesuch"},
        "--to nonesuch: the model has no tensor or node of that name; it has 'x', 'h', 's', 'v', 'w', 'y', 'rnn', ",
    ),
    "the end before the beginning": (
        {"from_": "w", "to": "h"},
        "the model's result 'h' is computed from the model's input, not from the part's input alone",
    ),
    "a constant": ({"from_": "W"}, "--from W: the model has no tensor or node of that name"),
    "nothing in between": ({"from_": "w", "to": "w"}, "the model's result 'w' is its input"),
    "beyond": ({"to": "softmax_1"}, "softmax stays on the host"),
}


@pytest.mark.parametrize("cut, message", WRONG.values(), ids=WRONG)
def test_parts_that_are_none(cut, message):
    with pytest.raises(ModelError) as caught:
        load_network(REFUSED["softmax"][0], **cut)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_what_comes_from_outside_is_no_part():
    """A layer within the part that reads what was computed before it, too."""
    made = model(
        [
            lstm(),
            node("Squeeze", "h one", "s"),
            lstm("s", "g", "second", "W2"),
            node("Squeeze", "g one", "t"),
            node("Add", "s t", "y"),
        ]
    )
    with pytest.raises(ModelError, match="combines"):
        load_network(made, from_="s", to="y")
    with pytest.raises(ModelError, match="is computed from the model's input, not from the part's input alone"):
        load_network(made, from_="t", to="g")


def test_state_beside_a_part():
    """A streaming model whose result goes through a softmax: state is followed all the same."""
    states = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, "batch", 4)) for name in ("h0", "c0")]
    recurrent = helper.make_node(
        "LSTM", ["x", "W", "R", "B", "", "h0", "c0"], ["h", "hn", "cn"], name="rnn", hidden_size=4
    )
    made = model([recurrent, *HEAD, node("Softmax", "w", "y")], outputs="y hn cn")
    made.graph.input.extend(states)
    with pytest.raises(ModelError) as caught:
        load_network(made)
    network = load_network(made, **told_cut(str(caught.value)))
    assert network.origin.startswith("taken as state, which the accelerator keeps for each context: 'h0' (h of 'rnn', ")
    assert network.origin.endswith("elsewhere node 'softmax_1' (Softmax)")

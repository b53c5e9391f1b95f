"""Import of ONNX models that take and give h and c, and of constant initial states: a context each, or one line."""

import dataclasses

import numpy as np
import onnx
import onnx.reference
import pytest
from onnx import TensorProto, helper, numpy_helper

from paths import FIXTURES
from programs import CONFIG
from spiccato.compiler import compile_program
from spiccato.errors import FitError, ModelError
from spiccato.importers import load_network, save_safetensors
from spiccato.program import StateName
from spiccato_sim.models.reference import Reference
from spiccato_sim.models.vm import VirtualMachine
from streaming import assert_accurate

pytestmark = pytest.mark.fast

EXPECTED = np.load(FIXTURES / "streaming.npz")


@pytest.mark.parametrize("kind", ["dynamo", "script"])
def test_streams_are_contexts(kind):
    """What PyTorch gives where each stream has its own h and c, from contexts that take turns."""
    network = load_network(FIXTURES / f"streaming_{kind}.onnx")
    xs, ys = EXPECTED[f"{kind}_x"].astype(np.float64), EXPECTED[f"{kind}_y"].astype(np.float64)
    exact = np.array([Reference(network).run(x) for x in xs])
    np.testing.assert_allclose(exact, ys, rtol=0, atol=2e-6)
    assert_accurate(network, xs, ys)
    assert network.origin.startswith("taken as state, which the accelerator keeps for each context: 'h' (h of ")
    assert network.origin.endswith(", handed on as 'cn')")


def value(name, *shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def constant(name, array):
    return numpy_helper.from_array(np.asarray(array), name)


def node(kind, inputs, outputs, **attributes):
    return helper.make_node(
        kind, inputs.split(), outputs.split(), name=f"{kind.lower()}_{outputs.split()[0]}", **attributes
    )


def lstm(name, x, h, c, given, **attributes):
    weights = "W R B" if name == "one" else "W2 R B"
    inputs = [x, *weights.split(), "", h, c]
    return helper.make_node("LSTM", inputs, given.split(), name=name, hidden_size=4, **attributes)


def model(nodes, inputs, outputs, constants=()):
    rng = np.random.default_rng(0)
    sizes = {"W": (1, 16, 3), "W2": (1, 16, 4), "R": (1, 16, 4), "B": (1, 32), "V": (4, 2), "d": (2,)}
    given = [constant(name, rng.standard_normal(size).astype(np.float32)) for name, size in sizes.items()]
    given += [constant(name, np.array(array)) for name, array in {"k0": [0], "k1": [1], "k2": [2]}.items()]
    given += [constant(name, array) for name, array in constants]
    graph = helper.make_graph(nodes, "g", inputs, [value(name, "any") for name in outputs.split()], given)
    result = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    result.ir_version = 8
    return result


X, H, C = value("x", 1, "batch", 3), value("h", 1, "batch", 4), value("c", 1, "batch", 4)
ONE = lstm("one", "x", "h", "c", "ys hn cn")
HEAD = [node("Squeeze", "ys k1", "s"), node("MatMul", "s V", "v"), node("Add", "v d", "y")]
#: Two layers whose states lie in one input each.
TWO = [
    node("Split", "h", "h1 h2", axis=0),
    node("Split", "c", "c1 c2", axis=0),
    lstm("one", "x", "h1", "c1", "y1 hn1 cn1"),
    node("Squeeze", "y1 k1", "x2"),
    lstm("two", "x2", "h2", "c2", "ys hn2 cn2"),
    *HEAD,
]
H2, C2 = value("h", 2, "batch", 4), value("c", 2, "batch", 4)
TWO_CONCATENATED = [*TWO, node("Concat", "hn1 hn2", "hn", axis=0), node("Concat", "cn1 cn2", "cn", axis=0)]

STREAMING = {
    "one step": model([ONE, *HEAD], [X, H, C], "y hn cn"),
    "several steps": model(
        [ONE, *HEAD], [value("x", "steps", 1, 3), value("h", 1, 1, 4), value("c", 1, 1, 4)], "y hn cn"
    ),
    "steps and sequences": model([ONE, *HEAD], [value("x", "steps", "batch", 3), H, C], "y hn cn"),
    "state first": model([ONE, *HEAD], [H, C, X], "y hn cn"),
    "sizes without names": model(
        [ONE, *HEAD], [value("x", 1, None, 3), value("h", 1, None, 4), value("c", 1, None, None)], "y hn cn"
    ),
    "names of their own": model([ONE, *HEAD], [X, value("h", 1, "n", 4), value("c", 1, "m", 4)], "y hn cn"),
    "state of one sequence": model(
        [ONE, *HEAD], [value("x", "steps", "batch", 3), value("h", 1, 1, 4), value("c", 1, 1, 4)], "y hn cn"
    ),
    "h is the result": model([ONE], [X, H, C], "hn cn"),
    "h is the result as well": model([ONE, node("Squeeze", "ys k1", "y")], [X, H, C], "y hn cn"),
    "two layers": model(TWO_CONCATENATED, [X, H2, C2], "y hn cn"),
    "h and c in one": model(
        [node("Split", "state", "h c", axis=0), ONE, *HEAD, node("Concat", "hn cn", "next", axis=0)],
        [X, value("state", 2, "batch", 4)],
        "y next",
    ),
    "sequences first": model(
        [lstm("one", "x", "h", "c", "ys hn cn", layout=1), node("Squeeze", "ys k2", "s"), node("MatMul", "s V", "y")],
        [value("x", "batch", 1, 3), value("h", "batch", 1, 4), value("c", "batch", 1, 4)],
        "y hn cn",
    ),
}


def stepped(graph, xs):
    """What onnx's own implementation gives, states handed on as the outputs come."""
    session = onnx.reference.ReferenceEvaluator(graph)
    states = [given for given in graph.graph.input if given.name != "x"]
    held = [
        np.zeros(
            [dim.dim_value or (1 if number < 2 else 4) for number, dim in enumerate(given.type.tensor_type.shape.dim)]
        )
        for given in states
    ]
    ys = []
    for x in xs:
        feeds = {given.name: array.astype(np.float32) for given, array in zip(states, held)}
        results = session.run(None, feeds | {"x": x.reshape(1, 1, 3).astype(np.float32)})
        ys.append(np.ravel(results[0]))
        held = results[-len(states) :]
    return np.array(ys)


@pytest.mark.parametrize("graph", STREAMING.values(), ids=STREAMING)
def test_forms_of_streaming_models(graph):
    network = load_network(graph)
    xs = np.random.default_rng(1).standard_normal((5, 3))
    np.testing.assert_allclose(Reference(network).run(xs), stepped(graph, xs), rtol=0, atol=1e-5)
    assert network.origin.startswith("taken as state, which the accelerator keeps for each context: ")
    for given in graph.graph.input:
        assert (f"'{given.name}' (" in network.origin) == (given.name != "x")


def test_state_is_told_in_one_line():
    assert load_network(STREAMING["two layers"]).origin == (
        "taken as state, which the accelerator keeps for each context: "
        "'h' (h of 'one' and h of 'two', handed on as 'hn'), 'c' (c of 'one' and c of 'two', handed on as 'cn')"
    )


HALF = ("half", np.float32(0.5))
NOT_STREAMING = {
    "h scaled on its way in": (
        model(
            [node("Mul", "h half", "g"), lstm("one", "x", "g", "c", "ys hn cn"), *HEAD], [X, H, C], "y hn cn", [HALF]
        ),
        "node 'mul_g' (Mul) reads the state 'h'; supported: state that is the initial h and c of recurrent layers",
    ),
    "h scaled on its way out": (
        model([ONE, *HEAD, node("Mul", "hn half", "g")], [X, H, C], "y g cn", [HALF]),
        "the state 'h' is h of 'one' before a call, but no result of the model is that layer's final one; supported",
    ),
    "c scaled on its way out": (
        model([ONE, *HEAD, node("Mul", "cn half", "g")], [X, H, C], "y hn g", [HALF]),
        "node 'mul_g' (Mul) reads the cell state of node 'one' (LSTM); supported",
    ),
    "layers swapped": (
        model(
            [*TWO, node("Concat", "hn2 hn1", "hn", axis=0), node("Concat", "cn2 cn1", "cn", axis=0)],
            [X, H2, C2],
            "y hn cn",
        ),
        "the state 'h' is h of 'one' and h of 'two' before a call, but no result of the model is that layer's final "
        "one ('hn' has it in another order)",
    ),
    "h and c swapped": (
        model([ONE, *HEAD], [X, H, C], "y cn hn"),
        "the state is 'h', then 'c', but handed on as 'cn', then 'hn', in another order",
    ),
    "state of another layer": (
        model(
            [*TWO, node("Concat", "hn1 hn1", "hn", axis=0), node("Concat", "cn1 cn2", "cn", axis=0)],
            [X, H2, C2],
            "y hn cn",
        ),
        "the state 'h' is h of 'one' and h of 'two' before a call, but no result",
    ),
    "one state for two layers": (
        model([*TWO[:4], lstm("two", "x2", "h1", "c2", "ys hn2 cn2"), *HEAD], [X, H2, C2], "y hn1 cn1"),
        "node 'two' (LSTM): the initial h holds an element of state that another unit or layer starts from",
    ),
    "units in another order": (
        model(
            [ONE, *HEAD, node("Gather", "hn order", "g", axis=2)],
            [X, H, C],
            "y g cn",
            [("order", np.array([1, 0, 2, 3]))],
        ),
        "no result of the model is that layer's final one ('g' has it in another order)",
    ),
    "mean over the batch": (
        model(
            [ONE, *HEAD, node("ReduceMean", "hn", "m", axes=[1]), node("Expand", "m size", "g")],
            [X, H, C],
            "y g cn",
            [("size", np.array([1, 3, 4]))],
        ),
        "node 'reducemean_m' (ReduceMean) on the result of node 'one' (LSTM): this operator is not supported",
    ),
    "sequences swapped": (
        model(
            [ONE, *HEAD, node("Slice", "hn k_1 end k1 k_1", "g")],
            [X, H, C],
            "y g cn",
            [("k_1", np.array([-1])), ("end", np.array([-1000]))],
        ),
        "no result of the model is that layer's final one ('g' has it in another order)",
    ),
    "passed through": (
        model([ONE, *HEAD, node("Identity", "h", "g")], [X, H, C], "y g cn"),
        "the state 'h' is h of 'one' before a call, but no result of the model is that layer's final one",
    ),
    "c is not handed on": (
        model([ONE, *HEAD], [X, H, C], "y hn"),
        "the state 'c' is c of 'one' before a call, but no result of the model is that layer's final one",
    ),
    "only h is state": (
        model([lstm("one", "x", "h", "", "ys hn cn"), *HEAD], [X, H], "y hn"),
        "node 'one' (LSTM): the initial h is state and the other one is not; supported: both h and c",
    ),
    "one layer starts anew": (
        model([*TWO[:4], lstm("two", "x2", "", "", "ys hn2 cn2"), *HEAD], [X, H2, C2], "y hn1 cn1"),
        "of the state 'h', only a part is h or c of a recurrent layer",
    ),
    "the second layer starts anew": (
        model(
            [
                ONE,
                node("Squeeze", "ys k1", "x2"),
                lstm("two", "x2", "", "", "y2 hn2 cn2"),
                node("Squeeze", "y2 k1", "y"),
            ],
            [X, H, C],
            "y hn cn",
        ),
        "'two' starts anew at every call, other layers from state that is handed on; supported: all recurrent layers",
    ),
    "c of the data": (
        model(
            [
                node("Slice", "x k0 k1 k2", "g0"),
                node("Expand", "g0 size", "g"),
                lstm("one", "x", "h", "g", "ys hn cn"),
                *HEAD,
            ],
            [X, H],
            "y hn cn",
            [("size", np.array([1, 1, 4]))],
        ),
        "node 'one' (LSTM): the initial c is the model's input; supported: constants, or state",
    ),
    "h read by the linear layer": (
        model([ONE, node("MatMul", "h V", "y")], [X, H, C], "y hn cn"),
        "node 'matmul_y' (MatMul) reads the state 'h'; supported",
    ),
    "c read by the linear layer": (
        model([ONE, node("MatMul", "cn V", "y")], [X, H, C], "y hn cn"),
        "node 'matmul_y' (MatMul) reads the cell state of node 'one' (LSTM)",
    ),
    "state is the data as well": (
        model([lstm("one", "x", "x", "c", "ys hn cn"), *HEAD], [value("x", 1, "batch", 3), C], "y hn cn"),
        "node 'one' (LSTM): the initial h is the model's input; supported",
    ),
    "state that is not used by the result": (
        model(
            [lstm("one", "x", "", "", "ys"), *HEAD, lstm("other", "s3", "h", "c", "o hn cn")],
            [X, H, C],
            "y hn cn",
            [("s3", np.ones((1, 3, 4), np.float32))],
        ),
        "node 'other' (LSTM): its input 0 does not depend on the model's input",
    ),
    "h of two layers beside the result": (
        model([*TWO_CONCATENATED, node("Concat", "hn2 hn1", "extra", axis=0)], [X, H2, C2], "y extra hn cn"),
        "the model gives 'extra', the result of node 'one' (LSTM) and the result of node 'two' (LSTM), besides 'y'; "
        "supported: outputs, and h and c, as they are, of the layers that compute them",
    ),
    "a part of h beside the result": (
        model(
            [*TWO_CONCATENATED, node("Gather", "hn2 half", "extra", axis=2)],
            [X, H2, C2],
            "y extra hn cn",
            [("half", np.array([0, 1]))],
        ),
        "the model's result 'extra' does not hold all 4 values of the result of node 'two' (LSTM), in order and once",
    ),
    "h of a layer that computes nothing": (
        model([*TWO_CONCATENATED, lstm("more", "x2", "", "", "o hn3 cn3")], [X, H2, C2], "y hn3 hn cn"),
        "the model gives 'hn3', the result of node 'more' (LSTM), besides 'y'; supported: outputs, and h and c",
    ),
}


def names(network):
    return {state.name: (state.kind, state.layer, state.result) for state in network.states}


@pytest.mark.parametrize(
    "given, expected",
    [
        ("one step", {"h": ("h", 0, False), "c": ("c", 0, False)}),
        ("h and c in one", {"state[0]": ("h", 0, False), "state[1]": ("c", 0, False)}),
        (
            "two layers",
            {"h[0]": ("h", 0, False), "h[1]": ("h", 1, False), "c[0]": ("c", 0, False), "c[1]": ("c", 1, False)},
        ),
    ],
)
def test_names_of_states(given, expected):
    """The model's own; with numbers where one state is of several layers, or h and c."""
    assert names(load_network(STREAMING[given])) == expected


KEEPS_H = dataclasses.replace(CONFIG, name="keeps", keep_h=True, io_format="float32")


@pytest.mark.parametrize("what, kind, layer", [("hn1", "h", 0), ("hn2", "h", 1), ("cn1", "c", 0), ("cn2", "c", 1)])
def test_h_and_c_beside_the_result(what, kind, layer):
    """Read from the context, where they are what onnx gives; h only where it is kept."""
    graph = model([*TWO_CONCATENATED, node("Identity", what, "extra")], [X, H2, C2], "y extra hn cn")
    network = load_network(graph)
    assert names(network)["extra"] == (kind, layer, True)
    assert network.origin.endswith(
        f"; no output, but read from a context's states: 'extra' ({kind} of '{('one', 'two')[layer]}')"
    )
    xs = np.random.default_rng(1).standard_normal((5, 3))
    machine, session = VirtualMachine(compile_program([network], KEEPS_H)), onnx.reference.ReferenceEvaluator(graph)
    held = np.zeros((2, 2, 1, 4), np.float32)
    for x in xs:
        y, extra, *held = session.run(None, {"x": x.astype(np.float32)[None, None], "h": held[0], "c": held[1]})
        np.testing.assert_allclose(machine.step(x), np.ravel(y), rtol=0, atol=1e-3)
        states = machine.states()
        assert set(states) == {"h[0]", "h[1]", "c[0]", "c[1]", "extra"}
        np.testing.assert_array_equal(states["extra"], states[f"{kind}[{layer}]"])
        for name, expected in (("extra", extra), ("h[0]", held[0][0]), ("c[1]", held[1][1])):
            np.testing.assert_allclose(states[name], np.ravel(expected), rtol=0, atol=1e-3)
    without = dataclasses.replace(KEEPS_H, name="without", keep_h=False)
    if kind == "c":
        assert set(VirtualMachine(compile_program([network], without)).states()) == {"c[0]", "c[1]", "extra"}
        return
    with pytest.raises(FitError) as caught:
        compile_program([network], without)
    assert str(caught.value).startswith(
        f"network 'g' gives 'extra', h of layer {layer}, besides its output, and configuration 'without' does not keep "
        "h: needs keep_h=True"
    )


def test_names_that_states_of_networks_have():
    network = load_network(STREAMING["one step"])
    for states, message in (
        ([StateName("h", "h", 0), StateName("h", "c", 0)], "two states of network 'g' are named 'h'"),
        (
            [StateName("s", "h", 1)],
            "state 's' is h of layer 1; expected h, or c unless that is h, of the layers that have a state, 0 to 0",
        ),
        ([StateName("s", "x", 0)], "state 's' is x of layer 0; expected"),
    ):
        with pytest.raises(ModelError, match=message):
            dataclasses.replace(network, states=states)


@pytest.mark.parametrize("graph, message", NOT_STREAMING.values(), ids=NOT_STREAMING)
def test_what_only_looks_like_streaming_is_refused(graph, message):
    with pytest.raises(ModelError) as caught:
        load_network(graph)
    assert message in str(caught.value) and "\n" not in str(caught.value)


# Constant initial states.


def started(h, c, **attributes):
    return model(
        [lstm("one", "x", "h" if h is not None else "", "c" if c is not None else "", "ys", **attributes), *HEAD],
        [value("x", "steps", 1, 3)],
        "y",
        [(name, array) for name, array in (("h", h), ("c", c)) if array is not None],
    )


@pytest.mark.parametrize("with_h, with_c", [(True, True), (True, False), (False, True)])
def test_constant_initial_states(with_h, with_c):
    rng = np.random.default_rng(3)
    h, c = ((rng.standard_normal((1, 1, 4)) * given).astype(np.float32) for given in (with_h, with_c))
    graph = started(h, c)
    network = load_network(graph)
    (layer,) = network.hidden_layers
    assert (layer.h0 is not None, layer.c0 is not None) == (with_h, with_c) and network.origin is None
    xs = rng.standard_normal((4, 3)).astype(np.float32)
    (ys,) = onnx.reference.ReferenceEvaluator(graph).run(None, {"x": xs[:, None]})
    np.testing.assert_allclose(Reference(network).run(xs), ys[:, 0], rtol=0, atol=1e-5)


def test_initial_states_of_several_sequences():
    same = np.broadcast_to(np.float32([1, 2, 3, 4]), (1, 3, 4))
    np.testing.assert_array_equal(load_network(started(same, None)).layers[0].h0, [1, 2, 3, 4])
    with pytest.raises(ModelError, match="node 'one' .*: initial_c is not the same in every sequence; supported: one"):
        load_network(started(None, np.eye(3, 4, dtype=np.float32)[None]))


def test_a_network_with_initial_states_is_saved(tmp_path):
    network = load_network(started(*np.random.default_rng(1).standard_normal((2, 1, 1, 4)).astype(np.float32)))
    save_safetensors(network, tmp_path / "m.safetensors")
    again = load_network(tmp_path / "m.safetensors")
    ours, theirs = network.to_state_dict(), again.to_state_dict()
    assert {"lstm.h0_l0", "lstm.c0_l0"} < ours.keys() == theirs.keys()
    assert all((ours[key] == theirs[key]).all() for key in ours)
    state = {key.replace("h0_l0", "h0"): array for key, array in ours.items()}
    with pytest.raises(ModelError, match="lstm .* is of an unknown kind"):
        load_network(state)


def test_keras_initial_states():
    network = load_network(FIXTURES / "keras_initial.keras")
    np.testing.assert_array_equal(network.layers[0].h0, np.full(6, 0.75))
    expected = np.load(FIXTURES / "expected.npz")
    np.testing.assert_allclose(Reference(network).run(expected["x"]), expected["keras_initial"], rtol=0, atol=2e-6)

"""Dense layers with activations, GRU layers, clips, residual and quantised layers from ONNX and PyTorch models.

Each computes what its framework computes.
"""

import numpy as np
import onnx
import onnx.reference
import pytest
from onnx import TensorProto, helper, numpy_helper

from spiccato.errors import ModelError
from spiccato.importers import load_network
from spiccato_sim.models.reference import Reference
from streaming import OF_ALL_KINDS, assert_accurate

torch = pytest.importorskip("torch")
nn = torch.nn
F = nn.functional

pytestmark = pytest.mark.fast


def node(kind, inputs, outputs, **attributes):
    return helper.make_node(kind, inputs.split(), outputs.split(), name=f"{kind.lower()}_{outputs}", **attributes)


def model(nodes, shape=("steps", "batch", 5), opset=20, **constants):
    """A model on ``x`` that gives ``y``; there are weights of a GRU, of an LSTM behind it and of linear layers."""
    rng = np.random.default_rng(0)
    sizes = {
        "W": (1, 18, 5), "R": (1, 18, 6), "B": (1, 36), "Wl": (1, 16, 6), "Rl": (1, 16, 4), "Bl": (1, 32),
        "V": (5, 6), "d": (6,), "V2": (6, 3), "d2": (3,), "S": (6, 6),
    }  # fmt: skip
    given = {name: 0.7 * rng.standard_normal(size).astype(np.float32) for name, size in sizes.items()} | constants
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ("any",))],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in ({"one": np.array([1])} | given).items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    made.ir_version = 9
    return made


DENSE = [node("MatMul", "x V", "v"), node("Add", "v d", "w")]
GRU = node("GRU", "x W R B", "g", hidden_size=6, linear_before_reset=1)
SQUEEZE = node("Squeeze", "g one", "s")
LOW, HIGH = np.float32(-0.25), np.float32(0.75)
ONES = {"p1": np.float32(1), "two": np.float32(2), "half": np.float32(0.5), "r2": np.float32(2**0.5),
        "r12": np.float32(0.5**0.5)}  # fmt: skip
ACTIVATIONS = {
    "Relu": {},
    "LeakyRelu": {"alpha": 0.2},
    "Elu": {"alpha": 0.5},
    "Selu": {},
    "Celu": {"alpha": 0.5},
    "Sigmoid": {},
    "Tanh": {},
    "HardSigmoid": {"alpha": 0.3, "beta": 0.4},
    "Gelu": {},
}
GRAPHS = {
    **{
        f"{kind}, {'as it is' if not attributes else attributes}": model(
            [*DENSE, node(kind, "w", "t", **attributes), node("MatMul", "t V2", "u"), node("Add", "u d2", "y")]
        )
        for kind, given in ACTIVATIONS.items()
        for attributes in ({}, given)[: 1 + bool(given)]
    },
    "sigmoid at the end": model([*DENSE, node("Sigmoid", "w", "y")]),
    "selu at the end": model([*DENSE, node("Selu", "w", "y")]),
    "clip at the end": model([*DENSE, node("Clip", "w low high", "y")], low=LOW, high=HIGH),
    "clip to 0 and 6": model([*DENSE, node("Clip", "w low high", "y")], low=np.float32(0), high=np.float32(6)),
    "clip from below": model([*DENSE, node("Clip", "w low", "y")], low=LOW),
    "clip from above": model([*DENSE, helper.make_node("Clip", ["w", "", "high"], ["y"])], high=HIGH),
    "prelu": model([*DENSE, node("PRelu", "w p", "y")], p=np.float32([0.3])),
    "gelu, as exporters write it": model(
        [
            *DENSE,
            node("Div", "w r2", "z"),
            node("Erf", "z", "e"),
            node("Add", "e p1", "a"),
            node("Mul", "w a", "m"),
            node("Mul", "m half", "y"),
        ],
        **ONES,
    ),
    "gelu, half of x first": model(
        [
            *DENSE,
            node("Mul", "w r12", "z"),
            node("Erf", "z", "e"),
            node("Add", "p1 e", "a"),
            node("Mul", "w half", "m"),
            node("Mul", "m a", "y"),
        ],
        **ONES,
    ),
    "gelu, half of the rest first": model(
        [
            *DENSE,
            node("Mul", "w two", "u"),
            node("Div", "u r2", "z"),
            node("Erf", "z", "e"),
            node("Add", "e p1", "a"),
            node("Div", "a two", "m"),
            node("Mul", "m u", "t"),
            node("MatMul", "t V2", "y"),
        ],
        **ONES,
    ),
    "silu": model([*DENSE, node("Sigmoid", "w", "t"), node("Mul", "w t", "y")]),
    "silu, the other way round": model([*DENSE, node("Sigmoid", "w", "t"), node("Mul", "t w", "y")]),
    "constants around an activation": model(
        [*DENSE, node("Tanh", "w", "t"), node("Mul", "t f", "u"), node("Sub", "u d", "z"), node("MatMul", "z V2", "y")],
        f=np.float32([2, 3, 4, 5, 6, 7]),
    ),
    "constants in front": model(
        [node("Sub", "x f", "c"), node("MatMul", "c V", "v"), node("Relu", "v", "y")], f=np.float32([1, 2, 3, 4, 5])
    ),
    "two linear layers in front of a GRU": model(
        [
            node("MatMul", "x V", "v"),
            node("MatMul", "v S", "u"),
            node("Tanh", "u", "t"),
            node("GRU", "t W6 R B", "g", hidden_size=6, linear_before_reset=1),
            node("Squeeze", "g one", "y"),
        ],
        W6=np.random.default_rng(1).standard_normal((1, 18, 6)).astype(np.float32),
    ),
    "GRU": model([GRU, node("Squeeze", "g one", "y")]),
    "GRU, an LSTM, a linear layer": model(
        [GRU, SQUEEZE, node("LSTM", "s Wl Rl Bl", "h", hidden_size=4), node("Squeeze", "h one", "y")]
    ),
    "GRU without biases": model(
        [node("GRU", "x W R", "g", hidden_size=6, linear_before_reset=1), node("Squeeze", "g one", "y")]
    ),
    "GRU with initial state": model(
        [
            helper.make_node("GRU", ["x", "W", "R", "B", "", "h0"], ["g"], hidden_size=6, linear_before_reset=1),
            node("Squeeze", "g one", "y"),
        ],
        ("steps", 1, 5),
        h0=np.linspace(-1, 1, 6, dtype=np.float32).reshape(1, 1, 6),
    ),
    "an activation on h": model([GRU, SQUEEZE, node("Relu", "s", "r"), node("MatMul", "r V2", "y")]),
    "a linear layer and what it reads": model([GRU, SQUEEZE, node("MatMul", "s S", "u"), node("Add", "u s", "y")]),
    "what a linear layer reads less it": model([GRU, SQUEEZE, node("MatMul", "s S", "u"), node("Sub", "s u", "y")]),
    "an LSTM and what it reads": model(
        [
            *(GRU, SQUEEZE, node("LSTM", "s W6 R6", "h", hidden_size=6), node("Squeeze", "h one", "t")),
            *(node("Add", "s t", "u"), node("MatMul", "u V2", "y")),
        ],
        W6=np.random.default_rng(1).standard_normal((1, 24, 6)).astype(np.float32),
        R6=np.random.default_rng(2).standard_normal((1, 24, 6)).astype(np.float32),
    ),
    "two linear layers on the same": model(
        [GRU, SQUEEZE, node("MatMul", "s S", "u"), node("MatMul", "s S2", "t"), node("Sub", "u t", "y")],
        S2=np.float32(np.eye(6)[::-1]),
    ),
    "batch normalisation behind an activation": model(
        [
            *DENSE,
            node("Relu", "w", "r"),
            node("Transpose", "r", "p", perm=[0, 2, 1]),
            node("BatchNormalization", "p d a b f", "n"),
            node("Transpose", "n", "q", perm=[0, 2, 1]),
            node("MatMul", "q V2", "y"),
        ],
        **{name: np.random.default_rng(2).uniform(0.5, 2, 6).astype(np.float32) for name in "abf"},
    ),
}


@pytest.mark.parametrize("made", GRAPHS.values(), ids=GRAPHS)
def test_graphs(made):
    network = load_network(made)
    x = np.random.default_rng(3).standard_normal((6, 1, 5)).astype(np.float32)
    (expected,) = onnx.reference.ReferenceEvaluator(made).run(None, {"x": x})
    ys = Reference(network).run(x[:, 0])
    np.testing.assert_allclose(ys, expected.reshape(ys.shape), rtol=1e-5, atol=2e-6)


def test_quantised_weights_keep_their_integers():
    """Weights in 8 bits with a zero point and a scale for each row; roundings between layers are left out, and told."""
    rng = np.random.default_rng(4)
    quantised = rng.integers(-128, 128, (5, 6)).astype(np.int8)
    made = model(
        [
            node("QuantizeLinear", "x scale zero", "xq"),
            node("DequantizeLinear", "xq scale zero", "xd"),
            node("DequantizeLinear", "Q scales zeros", "Vd", axis=1),
            node("MatMul", "xd Vd", "v"),
            node("Sigmoid", "v", "y"),
        ],
        Q=quantised,
        scales=np.float32(2.0) ** -rng.integers(5, 9, 6).astype(np.float32),
        zeros=np.zeros(6, np.int8),
        scale=np.float32(0.05),
        zero=np.int8(3),
    )
    network = load_network(made)
    scales = next(numpy_helper.to_array(tensor) for tensor in made.graph.initializer if tensor.name == "scales")
    np.testing.assert_array_equal(network.layers[0].weight, (quantised * scales).T)
    assert network.origin == (
        "left out, for the accelerator computes finer: node 'quantizelinear_xq' (QuantizeLinear), node "
        "'dequantizelinear_xd' (DequantizeLinear)"
    )


def quantised(inputs, kind, scale, zero, back=("scale", "zero"), **more):
    """A GRU, ``inputs`` of it, and these in integers and back."""
    return model(
        [
            GRU,
            SQUEEZE,
            node("MatMul", "s S", "u"),
            node("QuantizeLinear", f"{inputs} scale zero", "q"),
            node("DequantizeLinear", f"q {back[0]} {back[1]}", "t"),
            node("MatMul", "t V2", "y"),
        ],
        scale=np.float32(scale),
        zero=kind(zero),
        **more,
    )


#: Each with steps far below its results, of which some lie beyond the integers; and how many layers it takes.
LIMITED = {
    "a ReLU that was left out": (quantised("u", np.uint16, 2**-13, 0), 2),
    "a clip of a linear layer": (quantised("u", np.int16, 2**-18, 0), 2),
    "a clip of h": (quantised("s", np.int16, 2**-18, 0), 2),
    "h as it is": (quantised("s", np.int16, 2**-15, 0), 1),
    "another scale behind": (quantised("s", np.int16, 2**-15, 0, ("twice", "zero"), twice=np.float32(2**-14)), 1),
    "another zero behind": (quantised("s", np.int16, 2**-14, 0, ("scale", "z2"), z2=np.int16(5000)), 1),
}


@pytest.mark.parametrize("made, layers", LIMITED.values(), ids=LIMITED)
def test_limits_of_quantised_values_are_kept(made, layers):
    network = load_network(made)
    x = np.random.default_rng(3).standard_normal((30, 1, 5)).astype(np.float32)
    (expected,) = onnx.reference.ReferenceEvaluator(made).run(None, {"x": x})
    np.testing.assert_allclose(Reference(network).run(x[:, 0]), expected[:, 0], rtol=0, atol=2e-3)
    assert len(network.hidden_layers) == layers


class Own(nn.Module):
    """Modules by name, and ``flow(module, x)`` as forward."""

    def __init__(self, flow, **modules):
        super().__init__()
        for name, module in modules.items():
            setattr(self, name, module)
        self.flow = flow

    def forward(self, x):
        return self.flow(self, x)


def mlp(*functions):
    """Linear layers with functions behind all but the last."""
    sizes = [5, 7, 6, 4, 3]
    layers = [nn.Linear(*pair) for pair in zip(sizes, sizes[1 : len(functions) + 2])]
    return nn.Sequential(*(part for layer, one in zip(layers, (*functions, None)) for part in (layer, one) if part))


MODULES = {
    "MLP": lambda: mlp(nn.ReLU(), nn.LeakyReLU(0.2), nn.ELU(0.5)),
    "MLP in place": lambda: mlp(nn.ReLU(True), nn.LeakyReLU(0.2, True), nn.ELU(0.5, True)),
    "MLP of others": lambda: mlp(nn.Tanh(), nn.Sigmoid(), nn.GELU()),
    "MLP of further ones": lambda: mlp(nn.SiLU(), nn.SELU(), nn.CELU(0.5)),
    "MLP of hard ones": lambda: mlp(nn.Hardtanh(-0.5, 2.0), nn.Hardsigmoid(), nn.ReLU6()),
    "PReLU": lambda: mlp(nn.PReLU()),
    "methods and functions": lambda: Own(
        lambda m, x: torch.sigmoid(m.b(m.a(x).relu_().tanh())).clamp(min=0.25), a=nn.Linear(5, 6), b=nn.Linear(6, 2)
    ),
    "clamped": lambda: Own(lambda m, x: m.b(torch.tanh(m.a(x))).clamp(-0.1, 0.2), a=nn.Linear(5, 6), b=nn.Linear(6, 2)),
    "clamped from above": lambda: Own(
        lambda m, x: m.b(torch.tanh(m.a(x))).clamp_max_(0.1), a=nn.Linear(5, 6), b=nn.Linear(6, 2)
    ),
    "GRU": lambda: Own(lambda m, x: m.fc(m.gru(x)[0]), gru=nn.GRU(5, 7, 2), fc=nn.Linear(7, 3)),
    "GRU, batch first": lambda: Own(
        lambda m, x: m.fc(m.gru(x.transpose(0, 1))[0].transpose(0, 1)), gru=nn.GRU(5, 7, batch_first=True),
        fc=nn.Linear(7, 3),
    ),
    "GRU without biases": lambda: Own(lambda m, x: m.gru(x)[0], gru=nn.GRU(5, 7, bias=False)),
    "GRU and LSTM between dense layers": lambda: Own(
        lambda m, x: torch.sigmoid(m.out(F.elu(m.mid(m.lstm(m.gru(torch.relu(m.inp(x)))[0])[0])))),
        inp=nn.Linear(5, 6), gru=nn.GRU(6, 7), lstm=nn.LSTM(7, 4), mid=nn.Linear(4, 6), out=nn.Linear(6, 3),
    ),
    "linear in front of an LSTM": lambda: Own(
        lambda m, x: m.fc(m.lstm(m.inp(x))[0]), inp=nn.Linear(5, 6), lstm=nn.LSTM(6, 7), fc=nn.Linear(7, 3)
    ),
    "batch normalisation between": lambda: Own(
        lambda m, x: m.out(torch.relu(m.norm(m.inp(x).transpose(1, 2)).transpose(1, 2))),
        inp=nn.Linear(5, 6), norm=nn.BatchNorm1d(6), out=nn.Linear(6, 3),
    ),
    "residual of a linear layer": lambda: Own(
        lambda m, x: m.out((h := torch.tanh(m.inp(x))) + m.mid(h)),
        inp=nn.Linear(5, 6), mid=nn.Linear(6, 6), out=nn.Linear(6, 3),
    ),
    "silu by hand": lambda: Own(
        lambda m, x: m.out((z := m.inp(x)) * torch.sigmoid(z)), inp=nn.Linear(5, 6), out=nn.Linear(6, 3)
    ),
}  # fmt: skip


@pytest.mark.parametrize("make", MODULES.values(), ids=MODULES)
def test_modules(make):
    torch.manual_seed(0)
    module = make().eval()
    with torch.no_grad():
        for name, buffer in module.named_buffers():
            if "running" in name:
                buffer.uniform_(0.5, 2)
    network = load_network(module)
    x = torch.randn(6, 1, 5)
    ys = Reference(network).run(x[:, 0].numpy())
    np.testing.assert_allclose(ys, module(x).detach().numpy()[:, 0], rtol=0, atol=2e-6)


@pytest.mark.parametrize("name", MODULES)
def test_the_accelerator_computes_what_pytorch_computes(name):
    """The virtual machine, against float64, as exactly as 16-bit weights do."""
    torch.manual_seed(0)
    module = MODULES[name]().eval().double()
    xs = torch.randn(2, 20, 1, 5, dtype=torch.float32).double()  # exact in the streams' float32
    network = load_network(module, calibration=xs[:, :, 0].reshape(-1, 5).numpy())
    expected = np.array([module(x).detach().numpy()[:, 0] for x in xs])
    assert_accurate(network, xs[:, :, 0].numpy(), expected, OF_ALL_KINDS)


def test_an_mlp_on_a_window():
    """All of its inputs at once are its features; no axis is time."""
    torch.manual_seed(0)
    module = Own(lambda m, x: m.b(torch.relu(m.a(x.flatten(1)))), a=nn.Linear(60, 8), b=nn.Linear(8, 2))
    for example in ({}, {"example_input": torch.zeros(4, 12, 5)}):
        network = load_network(module, **example)
        x = torch.randn(4, 12, 5)
        expected = module(x).detach().numpy()
        np.testing.assert_allclose(Reference(network).run(x.reshape(4, 60).numpy()), expected, rtol=0, atol=1e-6)


def streaming(kind):
    """A module that takes and gives the state of one step."""
    cell, layer = {"gru": (nn.GRUCell, nn.GRU), "lstm": (nn.LSTMCell, nn.LSTM)}[kind.removesuffix(" cell")]
    if kind.endswith("cell"):

        class Step(nn.Module):
            def __init__(self):
                super().__init__()
                self.cell, self.fc = cell(5, 7), nn.Linear(7, 3)

            def forward(self, x, state):
                state = self.cell(x, state)
                return self.fc(state if torch.is_tensor(state) else state[0]), state

        return Step(), (torch.zeros(1, 7) if cell is nn.GRUCell else (torch.zeros(1, 7), torch.zeros(1, 7)))

    class Steps(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.fc = layer(5, 7), nn.Linear(7, 3)

        def forward(self, x, state):
            out, state = self.rnn(x, state)
            return self.fc(out), state

    zeros = torch.zeros(1, 1, 7)
    return Steps(), zeros if layer is nn.GRU else (zeros, zeros)


@pytest.mark.parametrize("kind", ["gru", "gru cell", "lstm cell"])
def test_streaming_modules(kind):
    torch.manual_seed(0)
    module, state = streaming(kind)
    network = load_network(module)
    assert network.origin.startswith("taken as state, which the accelerator keeps for each context: 'state")
    x = torch.randn(6, 1, 5)
    expected = []
    for step in x:
        y, state = module(step if kind.endswith("cell") else step[None], state)
        expected.append(y.detach().numpy().reshape(3))
    np.testing.assert_allclose(Reference(network).run(x[:, 0].numpy()), expected, rtol=0, atol=1e-6)


def test_a_product_that_is_no_silu_is_refused():
    module = Own(lambda m, x: m.a(x) * torch.sigmoid(m.b(x)), a=nn.Linear(5, 6), b=nn.Linear(5, 6))
    with pytest.raises(ModelError, match="combines the result of nn.Linear 'a' .* with the result of"):
        load_network(module)
    shifted = Own(lambda m, x: (z := m.a(x)) * torch.sigmoid(z.flip(-1)), a=nn.Linear(5, 6))
    with pytest.raises(ModelError, match="combines"):
        load_network(shifted)


def twice(m, y):
    return (y := y + m.l(y)[0]) + m.l2(y)[0]


#: What goes around layers. Recurrent layers have 6 units.
AROUND = {
    "an LSTM": lambda m, x: m.fc((y := m.g(x)[0]) + m.l(y)[0]),
    "an LSTM, the other way round": lambda m, x: m.fc(m.l(y := m.g(x)[0])[0] - y),
    "a GRU behind a linear layer": lambda m, x: m.fc((y := m.p(x)) + m.g6(y)[0]),
    "a dense layer": lambda m, x: m.fc((y := m.g(x)[0]) + torch.tanh(m.d(y))),
    "two layers": lambda m, x: m.fc((y := m.g(x)[0]) + m.l2(m.l(y)[0])[0]),
    "one layer, then another one": lambda m, x: m.fc(twice(m, m.g(x)[0])),
    "one layer, in front of another": lambda m, x: m.fc(m.l2((y := m.g(x)[0]) + m.l(y)[0])[0]),
    "the last layer": lambda m, x: (y := m.g(x)[0]) + m.l(y)[0],
    "with constants": lambda m, x: m.l2(0.5 * ((y := m.g(x)[0]) + m.l(y)[0]) - 0.25)[0],
    "with an activation": lambda m, x: m.fc(torch.relu((y := m.g(x)[0]) + m.l(y)[0])),
    "some features": lambda m, x: ((y := m.g(x)[0]) + m.l(y)[0])[..., [4, 1]],
    "two heads": lambda m, x: (m.fc(z := twice(m, m.g(x)[0])), m.d(z)),
}


@pytest.mark.parametrize("flow", AROUND.values(), ids=AROUND)
def test_what_goes_around_layers(flow):
    """In float64 what PyTorch gives, and as exactly as 16-bit weights do on the accelerator."""
    torch.manual_seed(0)
    module = Own(
        flow, g=nn.GRU(5, 6), l=nn.LSTM(6, 6), l2=nn.LSTM(6, 6), g6=nn.GRU(6, 6), p=nn.Linear(5, 6), d=nn.Linear(6, 6),
        fc=nn.Linear(6, 3),
    ).eval().double()  # fmt: skip
    xs = torch.randn(2, 20, 1, 5, dtype=torch.float32).double()
    network = load_network(module, calibration=xs[:, :, 0].reshape(-1, 5).numpy())
    assert max(network.layer_reads) > 1

    def given(x):
        y = module(x)
        return torch.cat(y, -1).detach().numpy() if isinstance(y, tuple) else y.detach().numpy()

    expected = np.array([given(x)[:, 0] for x in xs])
    np.testing.assert_allclose(Reference(network).run(xs[0, :, 0].numpy()), expected[0], rtol=0, atol=1e-9)
    assert_accurate(network, xs[:, :, 0].numpy(), expected, OF_ALL_KINDS)


@pytest.mark.parametrize(
    "flow, message",
    [
        (lambda m, x: m.fc(x + m.l(x)[0]), "combines the model's input with the result of nn.LSTM 'l'"),
        (
            lambda m, x: m.fc(m.l(x)[0] + m.l2(x)[0]),
            "combines the result of nn.LSTM 'l' .* with the result of nn.LSTM 'l2'",
        ),
        (lambda m, x: m.fc((y := m.l(x)[0]) + m.l2(y)[0].flip(-1)), "combines"),
        (lambda m, x: (m.fc(m.l2(y := m.l(x)[0])[0]), m.fc(y + m.l2(y)[0])), "read different sums of layers' results"),
    ],
)
def test_sums_that_are_refused(flow, message):
    module = Own(flow, l=nn.LSTM(6, 6), l2=nn.LSTM(6, 6), fc=nn.Linear(6, 3))
    with pytest.raises(ModelError, match=message):
        load_network(module)


HEADS = {
    "two linear layers": (lambda m, x: (m.a(h := m.lstm(x)[0]), m.b(h)), {"output[0]": 3, "output[1]": 1}),
    "by name": (
        lambda m, x: {"policy": m.a(h := m.lstm(x)[0]), "value": m.b(h)},
        {"output['policy']": 3, "output['value']": 1},
    ),
    "one of them without its axis": (
        lambda m, x: (m.b(h := m.lstm(x)[0]).squeeze(-1), m.a(h)),
        {"output[0]": 1, "output[1]": 3},
    ),
    "h as well, scaled": (lambda m, x: (2 * (h := m.lstm(x)[0]), m.b(h)), {"output[0]": 7, "output[1]": 1}),
    "the same twice": (lambda m, x: (y := m.a(m.lstm(x)[0]), y), {"output[0]": 3, "output[1]": 3}),
    "side by side": (lambda m, x: torch.cat([m.a(h := m.lstm(x)[0]), m.b(h)], -1), None),
    "stacked": (
        lambda m, x: (m.e(F.elu(m.c(h := m.lstm(x)[0]))), m.f(F.elu(m.d(h)))),
        {"output[0]": 2, "output[1]": 1},
    ),
    "of different depth": (lambda m, x: (m.a(h := m.lstm(x)[0]), m.e(m.c(h))), {"output[0]": 3, "output[1]": 2}),
    "with constants": (
        lambda m, x: (2 * (h := m.lstm(x)[0]) + 1, m.a(h)[..., [2, 0]]),
        {"output[0]": 7, "output[1]": 2},
    ),
    "activated": (
        lambda m, x: (torch.sigmoid(m.a(h := m.lstm(x)[0])), torch.sigmoid(m.b(h))),
        {"output[0]": 3, "output[1]": 1},
    ),
    "some features": (lambda m, x: m.a(m.lstm(x)[0])[..., 1:], None),
    "some of h": (lambda m, x: m.lstm(x)[0][..., [4, 2]], None),
}


@pytest.mark.parametrize("flow, outputs", HEADS.values(), ids=HEADS)
def test_heads(flow, outputs):
    """Several results are one packet, in the order in which the model gives them."""
    torch.manual_seed(0)
    module = Own(
        flow, lstm=nn.LSTM(5, 7), a=nn.Linear(7, 3), b=nn.Linear(7, 1), c=nn.Linear(7, 6), d=nn.Linear(7, 5),
        e=nn.Linear(6, 2), f=nn.Linear(5, 1),
    ).eval()  # fmt: skip
    network = load_network(module)
    assert network.output_parts == tuple((outputs or {"output": network.output_size}).items())
    x = torch.randn(6, 1, 5)
    results = module(x)
    results = results.values() if isinstance(results, dict) else results if isinstance(results, tuple) else (results,)
    expected = np.concatenate([result.detach().numpy().reshape(6, -1) for result in results], axis=1)
    np.testing.assert_allclose(Reference(network).run(x[:, 0].numpy()), expected, rtol=0, atol=1e-6)

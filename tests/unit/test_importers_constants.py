"""Constants in models of PyTorch and ONNX become part of the layers, exactly; random combinations of all that can be.

What a network computes in float64 is compared with the framework's own result in float64.
"""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import spiccato
from spiccato.errors import ModelError
from spiccato_sim.models.reference import Reference

pytestmark = pytest.mark.fast

torch = pytest.importorskip("torch")
nn = torch.nn

STEPS, FEATURES = 6, 3


def assert_computes(network, x, expected):
    """The network gives ``expected`` (steps or 1, outputs) for x (steps, features)."""
    ys = Reference(network).run(x)
    np.testing.assert_allclose(ys if len(expected) == len(ys) else ys[-1:], expected, rtol=1e-9, atol=1e-12)


# PyTorch.


class Random(nn.Module):
    """A module of which ``seed`` tells the pieces; takes (batch, steps, features)."""

    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self._rng = np.random.default_rng(seed)
        self.stages = nn.ModuleList()
        self.pieces = []
        size = FEATURES
        for _ in range(self._rng.integers(1, 3)):
            self._add_constants(size)
            hidden = int(self._rng.integers(1, 5))
            self._add("lstm", nn.LSTM(size, hidden, int(self._rng.integers(1, 3)), batch_first=True))
            size = hidden
        self._add_constants(size)
        self.end = self._rng.choice(["all", "last", "slice", "gather", "flatten"])
        self.turn = len(self.pieces)
        for _ in range(self._rng.integers(0, 3)):
            outputs = int(self._rng.integers(1, 4))
            self._add(
                "linear",
                nn.Sequential(
                    nn.Dropout(0.5),
                    nn.Identity(),
                    nn.Sequential(nn.Linear(size, outputs, bias=bool(self._rng.integers(2)))),
                ),
            )
            size = outputs
            self._add_constants(size)

    def _add(self, kind, module):
        self.stages.append(module)
        self.pieces.append(kind)

    def _add_constants(self, size):
        for kind in self._rng.choice(
            ["sub", "rsub", "mul", "div", "add", "neg", "scalar", "alpha", "in place", "norm"], self._rng.integers(0, 4)
        ):
            if kind == "norm":
                module = nn.BatchNorm1d(size, affine=bool(self._rng.integers(2)))
                module.running_mean, module.running_var = torch.randn(size), torch.rand(size) + 0.1
                if module.affine:
                    nn.init.normal_(module.weight)
                    nn.init.normal_(module.bias)
            else:
                module = nn.Module()
                module.register_buffer("value", torch.rand(size) + 0.5)
            self._add(kind, module)

    def forward(self, x):
        for number, (kind, module) in enumerate(zip(self.pieces, self.stages)):
            if number == self.turn:
                x = self._select(x)
            if kind == "lstm":
                x = module(x)[0]
            elif kind == "linear":
                x = module(x)
            elif kind == "norm":
                x = module(x.transpose(1, 2)).transpose(1, 2) if x.dim() == 3 else module(x)
            else:
                x = APPLY[kind](x, module.value)
        return self._select(x) if self.turn == len(self.pieces) else x

    def _select(self, x):
        if self.end == "last":
            return x[:, -1]
        if self.end == "slice":
            return x[:, x.size(1) - 1 :].squeeze(1)
        if self.end == "gather":
            return x.gather(1, torch.full((x.shape[0], 1, x.shape[2]), x.shape[1] - 1))[:, 0]
        return x[:, -1:].flatten(1) if self.end == "flatten" else x


def in_place(x, value):
    x = x.clone()
    view = x.transpose(-1, -2).mT
    view *= value
    view += 1
    return x


APPLY = {
    "sub": lambda x, v: x - v,
    "rsub": lambda x, v: v - x,
    "mul": lambda x, v: v * x,
    "div": lambda x, v: x / v,
    "add": lambda x, v: v + x,
    "neg": lambda x, v: -x,
    "scalar": lambda x, v: 2 * (1 - x) / 3 - 0.25,
    "alpha": lambda x, v: torch.add(torch.sub(v, x, alpha=0.5), v, alpha=3),
    "in place": in_place,
}


@pytest.mark.parametrize("seed", range(30))
def test_random_modules(seed):
    module = Random(seed).double().eval()
    x = torch.randn(1, STEPS, FEATURES, dtype=torch.float64)
    expected = module(x).detach().numpy().reshape(-1, spiccato.load(module).output_size)
    assert_computes(spiccato.load(module), x[0].numpy(), expected)


class Normalised(nn.Module):
    """Buffers (x - mean) / std in front, a scale behind, or what ``flow`` makes of the layers."""

    def __init__(self, flow=None):
        super().__init__()
        torch.manual_seed(0)
        self.lstm = nn.LSTM(FEATURES, 4, batch_first=True)
        self.fc = nn.Linear(4, 2)
        self.register_buffer("mean", torch.tensor([1000.0, -3.0, 0.0]))
        self.register_buffer("std", torch.tensor([2.0, 0.01, 5.0]))
        self.flow = flow

    def forward(self, x):
        if self.flow:
            return self.flow(self, x)
        return 3 * self.fc(self.lstm((x - self.mean) / self.std)[0]) + 20


def test_calibration_is_of_the_raw_input():
    """Calibration inputs are what the accelerator is given: before the constants that were in front."""
    module = Normalised()
    x = np.random.default_rng(0).standard_normal((STEPS, FEATURES)) * module.std.numpy() + module.mean.numpy()
    network = spiccato.load(module, calibration=x)
    np.testing.assert_array_equal(network.calibration, x)
    assert_computes(network, x, module.double()(torch.tensor(x)[None])[0].detach().numpy())
    np.testing.assert_allclose(network.layers[0].weight_ih, module.lstm.weight_ih_l0.detach() / module.std, rtol=1e-15)


@pytest.mark.parametrize(
    "forward, message",
    [
        (lambda m, x: m.lstm(x / torch.zeros(3))[0], "not finite, or a division by zero"),
        (lambda m, x: m.lstm(x * torch.arange(x.shape[1])[:, None])[0], "reads .* not the same at every step"),
        (lambda m, x: m.fc(m.lstm(x)[0]) * torch.arange(x.shape[0])[:, None, None], "in every sequence"),
        (lambda m, x: m.fc(m.lstm(x)[0][:, -1]) / x.shape[1], "depend on the number of steps or sequences"),
        (lambda m, x: m.lstm((x[..., None] * torch.tensor([1, 2]))[..., 0])[0], "with several constants at once"),
        (lambda m, x: m.lstm(1 / x)[0], "rdiv on the model's input is not supported"),
        (lambda m, x: m.lstm(torch.div(x, 2, rounding_mode="floor"))[0], "div on the model's input"),
        (lambda m, x: m.lstm(x + x)[0], "combines the model's input with the model's input"),
        (lambda m, x: m.lstm(torch.zeros_like(x).add_(x))[0], "add on the model's input"),
        (
            lambda m, x: m.lstm(nn.functional.batch_norm(x.mT, None, None, training=True).mT)[0],
            "batch_norm on the model",
        ),
        (lambda m, x: m.lstm(torch.cat([x[..., :1] * 2, x[..., 1:]], -1))[0], "reads .* at once"),
    ],
)
def test_constants_that_no_layer_can_take_up(forward, message):
    with pytest.raises(ModelError, match=message) as caught:
        spiccato.load(Normalised(forward))
    assert "\n" not in str(caught.value)


# ONNX.


class Graph:
    """Nodes in float64, one after the other, and their constants."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.nodes, self.constants, self.last = [], [], "x"

    def constant(self, array):
        name = f"c{len(self.constants) + len(self.nodes)}"
        if self.rng.integers(2):
            self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        else:
            value = numpy_helper.from_array(np.asarray(array))
            self.nodes.append(helper.make_node("Constant", [], [name], value=value))
        return name

    def add(self, kind, *inputs, outputs=1, **attributes):
        names = [f"v{len(self.nodes)}_{k}" for k in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, name=f"n{len(self.nodes)}", **attributes))
        self.last = names[0]

    def random(self, *shape):
        return self.constant(self.rng.uniform(0.5, 1.5, shape) * self.rng.choice([-1, 1], shape))

    def add_constants(self, size):
        """Arithmetic on (steps, 1, size), or on (1, size)."""
        for kind in self.rng.choice(["Add", "Sub", "Mul", "Div", "Neg", "BatchNormalization"], self.rng.integers(0, 4)):
            if kind == "Neg":
                self.add(kind, self.last)
            elif kind == "BatchNormalization":
                self.add("Reshape", self.last, self.constant(np.array([-1, size])))
                positive = self.constant(self.rng.uniform(0.5, 1.5, size))
                self.add(kind, self.last, *(self.random(size) for _ in range(3)), positive, epsilon=0.125)
                self.add("Reshape", self.last, self.constant(np.array([-1, 1, size])))
            else:
                operands = [self.last, self.random(*((), (1,), (size,), (1, size))[self.rng.integers(4)])]
                self.add(kind, *operands[::-1] if kind != "Div" and self.rng.integers(2) else operands)

    def add_lstm(self, inputs, hidden):
        optional = ["", ""]
        if self.rng.integers(2):
            optional[0] = self.constant(np.full(1, STEPS, np.int32))
        zeros = self.constant(np.zeros((1, 1, hidden)))
        states = [zeros, zeros] if self.rng.integers(2) else ["", ""]
        peepholes = [self.constant(np.zeros((1, 3 * hidden)))] if self.rng.integers(2) else []
        self.add(
            "LSTM",
            self.last,
            self.random(1, 4 * hidden, inputs),
            self.random(1, 4 * hidden, hidden),
            self.random(1, 8 * hidden),
            optional[0],
            *states,
            *peepholes,
            outputs=3,
            hidden_size=hidden,
        )
        self.add("Squeeze", self.last, self.constant(np.array([1])))

    def add_gemm(self, inputs, outputs):
        self.add("Reshape", self.last, self.constant(np.array([-1, inputs])))
        transposed = int(self.rng.integers(2))
        weights = self.random(*((outputs, inputs) if transposed else (inputs, outputs)))
        bias = [self.random(*((outputs,), (1, outputs), (1,))[self.rng.integers(3)])] * int(self.rng.integers(2))
        self.add("Gemm", self.last, weights, *bias, transB=transposed, alpha=0.5, beta=-3.0)
        self.add("Reshape", self.last, self.constant(np.array([-1, 1, outputs])))

    def model(self, opset=17):
        values = [helper.make_tensor_value_info("x", TensorProto.DOUBLE, (STEPS, 1, FEATURES))]
        results = [helper.make_tensor_value_info(self.last, TensorProto.DOUBLE, None)]
        model = helper.make_model(
            helper.make_graph(self.nodes, "chain", values, results, self.constants),
            opset_imports=[helper.make_opsetid("", opset)],
        )
        model.ir_version = 8
        return model


@pytest.mark.parametrize("seed", range(30))
def test_random_graphs(seed):
    """Constants of all kinds in one graph, whose result has no shape.

    They are two biases, alpha and beta, zero peepholes, full sequence_lens, weights as Constant nodes.
    """
    graph = Graph(seed)
    size = FEATURES
    for _ in range(graph.rng.integers(1, 3)):
        graph.add_constants(size)
        hidden = int(graph.rng.integers(1, 5))
        graph.add_lstm(size, hidden)
        size = hidden
    graph.add_constants(size)
    for _ in range(graph.rng.integers(0, 3)):
        outputs = int(graph.rng.integers(1, 4))
        if graph.rng.integers(2):
            graph.add_gemm(size, outputs)
        else:
            graph.add("MatMul", graph.last, graph.random(size, outputs))
        size = outputs
        graph.add_constants(size)
    model = graph.model()
    x = graph.rng.standard_normal((STEPS, 1, FEATURES))
    shaped = onnx.shape_inference.infer_shapes(model)
    expected = ReferenceEvaluator(shaped).run(None, {"x": x})[0]
    network = spiccato.load(model)
    assert network.name == "chain"
    assert_computes(network, x[:, 0], expected.reshape(STEPS, -1))

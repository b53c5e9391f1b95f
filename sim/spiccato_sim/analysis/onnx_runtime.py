"""What a user would run otherwise: the network in ONNX Runtime on this machine, one thread, one timestep at a time."""

import importlib
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spiccato.errors import SpiccatoError
from spiccato.layers import DenseLayer, GRULayer, LinearLayer, LSTMLayer
from spiccato.network import Network

__all__ = ["Timed", "processor", "timed"]

#: Timesteps whose times count, and those before, for which caches and the allocator are cold.
STEPS, WARM_UP = 1000, 50
#: Operator set and file format: old enough for any ONNX Runtime of today.
_OPSET, _IR = 17, 8
#: Of recurrent layers: ONNX's operator, its order of the layer's gates, and what it is told. An LSTM's rows i, f, g, o
#: are i, o, f, g there, a GRU's r, z, n are z, r, n.
_RECURRENT: dict[type, tuple[str, tuple[int, ...], dict[str, int]]] = {
    LSTMLayer: ("LSTM", (0, 3, 1, 2), {}),
    GRULayer: ("GRU", (1, 0, 2), {"linear_before_reset": 1}),
}
#: Of dense layers: functions that are an operator, and such that are a range.
_OPERATORS = {
    "relu": "Relu",
    "leaky_relu": "LeakyRelu",
    "elu": "Elu",
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "hard_sigmoid": "HardSigmoid",
}
_CLIPPED = {"relu6": (0, 6), "hard_tanh": (-1, 1)}
_EXPECTED = "LSTM, GRU, dense and linear layers"
_CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True, eq=False)
class Timed:
    """A network's timesteps.

    Attributes
    ----------
    median_us, p99_us : float
        Of one timestep: from x as an array to y as an array.
    outputs : float32 (steps, outputs)
        Those of the inputs given, from the initial state.
    """

    median_us: float
    p99_us: float
    outputs: NDArray[np.float32]


def timed(network: Network, xs: NDArray[np.float64]) -> Timed:
    """Run a network over ``xs`` (steps, inputs), then go on with them in turn until :data:`STEPS` are timed.

    Raises
    ------
    SpiccatoError
        If ONNX Runtime is not installed, or the network has layers of another kind.
    """
    runtime = _package("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = runtime.InferenceSession(_model(network), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    states = {}
    for number, layer in enumerate(network.layers):
        for kind, values in zip(layer.state_kinds, layer.initial_state):
            states[f"{kind}{number}"] = _vector(values)
    inputs, outputs, times = [_vector(x) for x in xs], [], []
    for step in range(max(len(xs), WARM_UP + STEPS)):
        x = inputs[step % len(xs)]
        start = time.perf_counter_ns()
        y, *new = session.run(names, {"x": x, **states})
        times.append(time.perf_counter_ns() - start)
        states = dict(zip(states, new))
        if step < len(xs):
            outputs.append(y.reshape(-1))
    median, p99 = np.percentile(times[WARM_UP:], (50, 99)) / 1000
    return Timed(float(median), float(p99), np.array(outputs))


def processor() -> str:
    """What this machine calls its processor."""
    lines = _CPUINFO.read_text(encoding="utf-8").splitlines() if _CPUINFO.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def _package(name):
    """A package that only this needs."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise SpiccatoError(f"the benchmark needs the package {name}: pip install 'spiccato[bench]'") from None


def _vector(values):
    """As ONNX has one timestep of one sequence, or a state of one direction."""
    return np.asarray(values, dtype=np.float32).reshape(1, 1, -1)


def _model(network: Network) -> bytes:
    """One timestep in float32: x and all states in, y and all states out."""
    graph = _Graph()
    results = ["x"]
    for number, (layer, reads) in enumerate(zip(network.layers, network.layer_reads)):
        # What layers before it gave, one behind the other.
        read = results[-1] if reads == 1 else graph.node("Concat", results[-reads:], axis=-1)
        if isinstance(layer, LSTMLayer | GRULayer):
            results.append(graph.recurrent(layer, number, read))
        elif isinstance(layer, DenseLayer):
            results.append(graph.activated(layer, graph.linear(layer, read)))
        elif isinstance(layer, LinearLayer):
            results.append(graph.linear(layer, read))
        else:
            raise SpiccatoError(f"no way to run a {layer.title} in ONNX Runtime; expected {_EXPECTED}")
    return graph.model(network, results[-1])


class _Graph:
    """A graph in the making; names of values are handed around."""

    def __init__(self) -> None:
        self._onnx = _package("onnx")
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._states: list[tuple[str, int]] = []

    def _constant(self, values: Any) -> str:
        name = f"constant{len(self._constants)}"
        array = np.ascontiguousarray(values, dtype=np.float32)
        self._constants.append(self._onnx.numpy_helper.from_array(array.reshape(np.shape(values)), name))
        return name

    def node(self, kind: str, inputs: Sequence[str], **attributes: Any) -> str:
        """A node of one result: the name of that."""
        name = f"result{len(self._nodes)}"
        self._nodes.append(self._onnx.helper.make_node(kind, inputs, [name], **attributes))
        return name

    def linear(self, layer: LinearLayer | DenseLayer, x: str) -> str:
        """Weights and bias of a layer."""
        product = self.node("MatMul", [x, self._constant(layer.weight.T)])
        return self.node("Add", [product, self._constant(layer.bias)])

    def activated(self, layer: DenseLayer, x: str) -> str:
        """The layer's function of its sums."""
        if layer.activation == "identity":
            return x
        if layer.activation in _CLIPPED:
            return self.node("Clip", [x, *map(self._constant, _CLIPPED[layer.activation])])
        if layer.activation == "silu":
            return self.node("Mul", [x, self.node("Sigmoid", [x])])
        if layer.activation == "gelu":
            # The operator set has no other.
            of_normal = self.node("Erf", [self.node("Div", [x, self._constant(np.sqrt(2))])])
            doubled = self.node("Mul", [x, self.node("Add", [of_normal, self._constant(1)])])
            return self.node("Div", [doubled, self._constant(2)])
        parameters = {} if layer.alpha is None else {"alpha": layer.alpha}
        return self.node(_OPERATORS[layer.activation], [x], **parameters)

    def recurrent(self, layer: LSTMLayer | GRULayer, number: int, x: str) -> str:
        """A layer that reads its states, and gives new ones."""
        operator, order, attributes = _RECURRENT[type(layer)]
        weights = [_reordered(layer.weight_ih, order), _reordered(layer.weight_hh, order)]
        biases = np.concatenate([_reordered(layer.bias_ih, order), _reordered(layer.bias_hh, order)])
        given = [f"{kind}{number}" for kind in layer.state_kinds]
        new = [f"{name}_new" for name in given]
        own = [self._constant(array[None]) for array in (*weights, biases)]
        self._nodes.append(
            self._onnx.helper.make_node(
                operator, [x, *own, "", *given], ["", *new], hidden_size=layer.output_size, **attributes
            )
        )
        self._states += [(name, layer.output_size) for name in given]
        return new[0]

    def model(self, network: Network, result: str) -> bytes:
        """The whole, serialised."""
        helper = self._onnx.helper

        def declared(name: str, size: int) -> Any:
            return helper.make_tensor_value_info(name, self._onnx.TensorProto.FLOAT, [1, 1, size])

        self._nodes.append(helper.make_node("Identity", [result], ["y"]))
        graph = helper.make_graph(
            self._nodes,
            network.name,
            [declared("x", network.input_size), *(declared(*state) for state in self._states)],
            [declared("y", network.output_size), *(declared(f"{name}_new", size) for name, size in self._states)],
            self._constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
        return model.SerializeToString()


def _reordered(rows: NDArray, order: Sequence[int]) -> NDArray:
    """A layer's rows with their gates in ONNX's order."""
    gates = rows.reshape(len(order), -1, *rows.shape[1:])
    return gates[list(order)].reshape(rows.shape)

"""What a user would run otherwise: the network in ONNX Runtime on this machine, one thread, one timestep at a time."""

import importlib
import platform
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spiccato.errors import SpiccatoError
from spiccato.layers import LinearLayer, LSTMLayer
from spiccato.network import Network

__all__ = ["Timed", "processor", "timed"]

#: Timesteps whose times count, and those before, for which caches and the allocator are cold.
STEPS, WARM_UP = 1000, 50
#: Operator set and file format: old enough for any ONNX Runtime of today.
_OPSET, _IR = 17, 8
#: ONNX has an LSTM's rows in the order i, o, f, g; layers have i, f, g, o.
_GATES = (0, 3, 1, 2)
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
        If ONNX Runtime is not installed, or the network has layers other than LSTM and linear ones.
    """
    runtime = _package("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = runtime.InferenceSession(_model(network), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    states = {}
    for number, layer in enumerate(network.hidden_layers):
        for name, values in zip("hc", layer.initial_state):
            states[f"{name}{number}"] = _vector(values)
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
    onnx = _package("onnx")
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    nodes, constants, states = [], [], []
    last = "x"

    def constant(name, array):
        constants.append(numpy_helper.from_array(np.ascontiguousarray(array, dtype=np.float32), name))
        return name

    def declared(name, size):
        return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 1, size])

    for number, layer in enumerate(network.layers):
        if isinstance(layer, LSTMLayer):
            arrays = {
                "W": _reordered(layer.weight_ih),
                "R": _reordered(layer.weight_hh),
                "B": np.concatenate([_reordered(layer.bias_ih), _reordered(layer.bias_hh)]),
            }
            own = [constant(f"{name}{number}", array[None]) for name, array in arrays.items()]
            given = [f"{name}{number}" for name in "hc"]
            new = [f"{name}_new" for name in given]
            nodes.append(helper.make_node("LSTM", [last, *own, "", *given], ["", *new], hidden_size=layer.output_size))
            states += [(name, layer.output_size) for name in given]
            last = new[0]
        elif isinstance(layer, LinearLayer):
            weight, bias = constant(f"W{number}", layer.weight.T), constant(f"B{number}", layer.bias)
            nodes.append(helper.make_node("MatMul", [last, weight], [f"p{number}"]))
            nodes.append(helper.make_node("Add", [f"p{number}", bias], [f"y{number}"]))
            last = f"y{number}"
        else:
            raise SpiccatoError(f"no way to run a {layer.title} in ONNX Runtime; expected LSTM and linear layers")
    nodes.append(helper.make_node("Identity", [last], ["y"]))
    graph = helper.make_graph(
        nodes,
        network.name,
        [declared("x", network.input_size), *(declared(*state) for state in states)],
        [declared("y", network.output_size), *(declared(f"{name}_new", size) for name, size in states)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
    return model.SerializeToString()


def _reordered(rows: NDArray) -> NDArray:
    """Rows of an LSTM layer in ONNX's order of gates."""
    gates = rows.reshape(len(_GATES), -1, *rows.shape[1:])
    return gates[list(_GATES)].reshape(rows.shape)

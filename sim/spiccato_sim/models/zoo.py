"""The networks that benches and tests run: benchmark models, random ones, trained examples, files."""

import itertools
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spiccato.arrays import real_array
from spiccato.errors import ModelError
from spiccato.importers import SUFFIXES, WHOLE_MODEL, Reading, load_network
from spiccato.layers import ACTIVATIONS, DenseLayer, GRULayer, Layer, LinearLayer, LSTMLayer
from spiccato.network import Network

from .bfloat16 import round_bfloat16
from .series import TASKS

__all__ = [
    "KINDS",
    "MODELS",
    "TRAINED",
    "WINDOWED",
    "BenchmarkModel",
    "benchmark_like",
    "build",
    "inputs",
    "load_inputs",
    "random_network",
    "resolve",
    "scale_features",
]

Array = NDArray[np.float64]

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
TRAINED = tuple(TASKS)
"""Names of the trained examples: each series has `examples/NAME.safetensors` in the repository."""

# Weights, inputs and calibration inputs of one seed are independent streams of random numbers.
_WEIGHTS, _INPUTS, _CALIBRATION = range(3)
# Of random networks' layers.
_MOST_READ = 3


@dataclass(frozen=True)
class BenchmarkModel:
    """Shape of a benchmark model; its input size is its hidden size unless it is told.

    Its layers are of one kind, "lstm", "gru" or "dense" (with ReLU), then comes a linear layer. Of one that is for
    sliding windows, `window` is how many timesteps each answer is of.
    """

    name: str
    layers: int
    hidden_size: int
    output_size: int = 32
    input_size: int | None = None
    window: int | None = None
    kind: str = "lstm"


MODELS = {
    model.name: model
    for model in (
        BenchmarkModel("lstm_tiny", layers=2, hidden_size=128),
        BenchmarkModel("lstm_small", layers=3, hidden_size=256),
        BenchmarkModel("lstm_med", layers=3, hidden_size=480),
        BenchmarkModel("lstm_med_deep", layers=6, hidden_size=320),
        BenchmarkModel("lstm_large", layers=3, hidden_size=960),
    )
}

KINDS = {
    model.name: model
    for model in (
        *(replace(model, name=model.name.replace("lstm", "gru"), kind="gru") for model in MODELS.values()),
        BenchmarkModel("mlp_small", layers=3, hidden_size=256, kind="dense"),
        BenchmarkModel("mlp_large", layers=3, hidden_size=1024, kind="dense"),
    )
}
"""The benchmark models' twins of GRU layers, and networks of dense layers with ReLU."""

WINDOWED = {
    model.name: model
    for model in (
        BenchmarkModel("lstm_a", layers=2, hidden_size=100, output_size=1, input_size=100, window=50),
        BenchmarkModel("lstm_b", layers=3, hidden_size=200, output_size=1, input_size=250, window=100),
        BenchmarkModel("lstm_c", layers=4, hidden_size=1000, output_size=1, input_size=500, window=100),
    )
}
"""Shapes of another benchmark of this field, STAC-ML Markets (Inference)."""


def benchmark_like(network: Network) -> BenchmarkModel | None:
    """The benchmark model of the same shape as `network`, if there is one: latency depends on nothing else."""
    kinds = [layer.kind for layer in network.layers]
    sizes = [network.input_size, *(layer.output_size for layer in network.layers)]
    for model in (MODELS | KINDS).values():
        if (
            kinds == [model.kind] * model.layers + [LinearLayer.kind]
            and [model.hidden_size] * (model.layers + 1) + [model.output_size] == sizes
        ):
            return model
    return None


def build(name: str, seed: int = 0, scale: float = 1.0) -> Network:
    """The benchmark model `name` with weights and biases drawn the way PyTorch initialises, times `scale`.

    Raises
    ------
    ModelError
        Unknown name.
    """
    known = MODELS | KINDS | WINDOWED
    if name not in known:
        raise ModelError(f"unknown benchmark model '{name}'; known: {', '.join(known)}")
    model = known[name]
    rng = np.random.default_rng((seed, _WEIGHTS))
    sizes = [model.input_size or model.hidden_size] + [model.hidden_size] * model.layers
    network = _initialised(rng, sizes, [model.kind] * model.layers, [model.output_size], scale, name)
    return network if model.kind != "dense" else _calibrated(network, seed)


def _calibrated(network: Network, seed: int, steps: int = 64) -> Network:
    """`network` with calibration inputs, which results behind its input need to be known."""
    return replace(network, calibration=_normal(network, steps, (seed, _CALIBRATION), None))


def _initialised(
    rng: np.random.Generator,
    hidden_sizes: list[int],
    kinds: Sequence[str],
    linear_sizes: list[int],
    scale: float,
    name: str,
    activations: Iterable[str] = itertools.repeat("relu"),
    reads: Sequence[int] = (),
) -> Network:
    """A network with PyTorch's initialisation: uniform in +-scale/sqrt(units; linear and dense: inputs).

    Parameters
    ----------
    hidden_sizes
        Input size, then the size of each layer that is not linear.
    kinds
        Of these layers.
    linear_sizes
        Outputs of each linear layer.
    activations
        Of the dense layers.
    reads
        Of how many layers before it each one, linear ones included, reads the results; none: 1 of each.
    """

    def uniform(fan: int, *shape: int) -> Array:
        # Values that float32 holds, like trained weights.
        return (scale * rng.uniform(-1, 1, shape) / np.sqrt(fan)).astype(np.float32).astype(np.float64)

    def layer(kind: str, i: int, h: int) -> Layer:
        if kind == "dense":
            return DenseLayer(uniform(i, h, i), uniform(i, h), next(functions))
        make, gates = (LSTMLayer, 4) if kind == "lstm" else (GRULayer, 3)
        return make(*(uniform(h, *shape) for shape in ((gates * h, i), (gates * h, h), (gates * h,), (gates * h,))))

    functions = iter(activations)
    sizes = [*hidden_sizes, *linear_sizes]
    read = [sum(sizes[number + 1 - count : number + 1]) for number, count in enumerate(reads)] or sizes
    hidden = [layer(*one) for one in zip(kinds, [sizes[0], *read[1:]], hidden_sizes[1:])]
    linear = [LinearLayer(uniform(i, o, i), uniform(i, o)) for i, o in zip(read[len(hidden) :], linear_sizes)]
    return Network((*hidden, *linear), name, reads=tuple(reads))


def random_network(
    rng: np.random.Generator,
    *,
    layers: int,
    linear: int = 1,
    min_size: int = 1,
    max_size: int = 40,
    scale: float = 1.0,
    name: str = "random",
    kinds: Sequence[str] = ("lstm",),
    around: bool = False,
) -> Network:
    """A network for tests, every size drawn for itself from `min_size` to `max_size`, both included.

    Parameters
    ----------
    layers, linear
        Number of other layers and of linear layers behind them.
    scale
        Factor on weights and biases of PyTorch's initialisation.
    kinds
        Of which each layer's is drawn, and of a dense one its activation. With dense layers there are calibration
        inputs, too.
    around
        Some layers read the results of several before them.
    """
    sizes = rng.integers(min_size, max_size + 1, 1 + layers + linear).tolist()
    if tuple(kinds) == ("lstm",) and not around:
        return _initialised(rng, sizes[: layers + 1], ["lstm"] * layers, sizes[layers + 1 :], scale, name)
    drawn = [str(kind) for kind in rng.choice(list(kinds), layers)]
    activations = [str(one) for one in rng.choice([one for one in ACTIVATIONS if one != "identity"], layers)]
    most = [min(number, _MOST_READ) if around and rng.integers(2) else 1 for number in range(layers + linear)]
    reads = [int(rng.integers(1, max(most_read, 1) + 1)) for most_read in most] if around else []
    network = _initialised(rng, sizes[: layers + 1], drawn, sizes[layers + 1 :], scale, name, activations, reads)
    return _calibrated(network, int(rng.integers(1 << 16))) if "dense" in drawn else network


def inputs(network: Network, steps: int, seed: int = 0, spread: ArrayLike | None = None) -> Array:
    """Normally distributed inputs (steps, input_size), rounded to bfloat16.

    Parameters
    ----------
    spread
        (input_size,) standard deviation of each feature; default 1.
    """
    return _normal(network, steps, (seed, _INPUTS), spread)


def _normal(network: Network, steps: int, seed: tuple[int, int], spread: ArrayLike | None) -> Array:
    factors = np.ones(network.input_size) if spread is None else np.asarray(spread, dtype=np.float64)
    return round_bfloat16(np.random.default_rng(seed).standard_normal((steps, network.input_size)) * factors)


def load_inputs(path: str, input_size: int, *, sequences: bool = False) -> Array:
    """Inputs (steps, input_size) from a .npy file, or from a .npz file with one array: real numbers, all finite.

    Parameters
    ----------
    sequences
        Inputs (sequences, steps, input_size) will do as well.

    Raises
    ------
    ModelError
        The file cannot be read, or holds something else; the message starts with the path.
    """
    try:
        with open(path, "rb") as file:
            loaded = np.load(file, allow_pickle=False)
            names = getattr(loaded, "files", None)
            if names is not None and len(names) != 1:
                what = f"several arrays ({', '.join(names)})" if names else "no array"
                raise ModelError(f"{path}: holds {what}; expected one")
            array = loaded if names is None else loaded[names[0]]
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from None
    except ModelError:
        raise
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error):
        raise ModelError(f"{path}: not a .npy file of numbers") from None
    if sequences and np.ndim(array) == 3:
        return real_array(array, ("sequences", "steps", input_size), f"{path}:", error=ModelError)
    return real_array(array, ("steps", input_size), f"{path}:", error=ModelError)


def scale_features(network: Network, spread: ArrayLike, seed: int = 0, steps: int = 64) -> Network:
    """`network` for features of other magnitudes: `inputs(..., spread=spread)` give what `inputs(...)` gave.

    Parameters
    ----------
    spread
        (input_size,) positive factors; the first layer's input weights are divided by them.
    seed, steps
        Of the calibration inputs that the network gets.
    """
    first, *others = network.layers
    assert isinstance(first, LSTMLayer)
    compensated = replace(first, weight_ih=first.weight_ih / np.asarray(spread, dtype=np.float64))
    calibration = _normal(network, steps, (seed, _CALIBRATION), spread)
    return replace(network, layers=(compensated, *others), calibration=calibration)


def resolve(name_or_path: str, seed: int = 0, reading: Reading = WHOLE_MODEL) -> Network:
    """The network that a user names: a benchmark model, a trained example or a file of any kind that can be imported.

    Parameters
    ----------
    seed
        Of a benchmark model's random weights; the others have none.
    reading
        How a file is read.

    Raises
    ------
    ModelError
        Unknown name or suffix, or a file that `load_network` refuses.
    """
    if name_or_path in MODELS | KINDS | WINDOWED:
        for option, _ in reading.options():
            raise ModelError(f"{option}: '{name_or_path}' is no file of a model; supported: those")
        return build(name_or_path, seed)
    if name_or_path in TRAINED:
        path = EXAMPLES / f"{name_or_path}.safetensors"
        if not path.is_file():
            raise ModelError(
                f"trained example '{name_or_path}' has no file {path}: "
                "the examples come with the repository, not with the installed package"
            )
        return load_network(path, layers=reading.layers, from_=reading.from_, to=reading.to)
    if Path(name_or_path).suffix.lower() in SUFFIXES:
        return load_network(name_or_path, layers=reading.layers, from_=reading.from_, to=reading.to)
    raise ModelError(
        f"unknown model '{name_or_path}'; known: {', '.join((*MODELS, *KINDS, *WINDOWED, *TRAINED))}, "
        f"or a path to a file ({', '.join(SUFFIXES)})"
    )

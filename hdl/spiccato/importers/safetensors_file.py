"""Networks in safetensors files: PyTorch's names, which the format keeps in no order, so that metadata may state it."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from ..errors import ModelError
from ..files import write_whole
from ..layers import DenseLayer, Layer
from ..network import Network
from .cut import WHOLE, Cut
from .state_dict import network_from_state_dict

__all__ = ["LAYERS_KEY", "load", "save_safetensors"]

#: Key of a file's metadata that states the order of its modules, as the argument ``layers`` does.
LAYERS_KEY = "spiccato_layers"

# Safetensors names of the accepted data types; None is bfloat16, which numpy does not have.
_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": None}


def load(path: Path, layers: str | Sequence[str] | None = None, cut: Cut = WHOLE) -> Network:
    """The network in a safetensors file of PyTorch names, named after the file.

    Parameters
    ----------
    path : Path
        Weights may be bfloat16, float16, float32 or float64.
    layers, cut
        As for :func:`.state_dict.network_from_state_dict`. [default: what the file's metadata states under
        :data:`LAYERS_KEY`, if anything]

    Raises
    ------
    ModelError
        The file is damaged, or ``network_from_state_dict`` refuses its content.
    OSError
        It cannot be read.
    """
    data = path.read_bytes()
    try:
        entries = safetensors.deserialize(data)
    except safetensors.SafetensorError as error:
        raise ModelError(f"not a complete safetensors file: {error}") from None
    # Sorted, for the library gives them in an order that changes from run to run.
    tensors = {key: _decode(entry) for key, entry in sorted(entries, key=lambda entry: entry[0])}
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    stated = header.get("__metadata__", {}).get(LAYERS_KEY)
    if layers is None and stated is not None:
        return network_from_state_dict(tensors, path.stem, layers=stated, stated_by=f"the file's {LAYERS_KEY}", cut=cut)
    return network_from_state_dict(tensors, path.stem, layers=layers, ordered=False, cut=cut)


@dataclass(frozen=True)
class _Undecoded:
    """A tensor of a type that no network has: its type and its shape are enough to say what it is."""

    dtype: str
    shape: tuple[int, ...]


def _decode(entry: Mapping[str, Any]) -> NDArray[Any] | _Undecoded:
    """One entry of `safetensors.deserialize`, as an array if it holds floating-point numbers."""
    if entry["dtype"] not in _DTYPES:
        return _Undecoded(entry["dtype"], tuple(entry["shape"]))
    dtype = _DTYPES[entry["dtype"]]
    if dtype is None:
        # A bfloat16 is the upper half of a float32.
        array = (np.frombuffer(entry["data"], "<u2").astype("<u4") << 16).view("<f4")
    else:
        array = np.frombuffer(entry["data"], dtype)
    return array.reshape(entry["shape"])


def save_safetensors(network: Network, path: str | os.PathLike[str]) -> None:
    """Write ``network.to_state_dict()`` to ``path``, with its order and activations; loading it gives the same network.

    A tensor is stored as float32 where that is exact, otherwise as float64. The file appears complete or not at all: it
    is written under another name in the same folder, then renamed.

    Raises
    ------
    ModelError
        The file cannot be written.
    """
    tensors = network.to_state_dict()
    chain = [name for module, (*_, last) in network.modules().items() for name in (module, *_activation(last))]
    data = safetensors.numpy.save({key: _smallest(a) for key, a in tensors.items()}, {LAYERS_KEY: ",".join(chain)})
    try:
        write_whole(path, data)
    except OSError as error:
        raise ModelError(f"{path}: cannot be written: {error.strerror}") from None


def _activation(layer: Layer) -> Iterator[str]:
    """The activation of a layer as an order states it, if it has one."""
    if isinstance(layer, DenseLayer) and layer.linear is None:
        yield layer.activation if layer.alpha is None else f"{layer.activation}={layer.alpha!r}"


def _smallest(array: NDArray[np.float64]) -> NDArray[Any]:
    """``array`` as float32 if no value changes, else as it is."""
    with np.errstate(over="ignore"):
        narrow = array.astype(np.float32)
    return narrow if np.array_equal(narrow, array) else array

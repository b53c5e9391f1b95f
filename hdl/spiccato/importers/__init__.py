"""Networks from other frameworks' models and files: PyTorch, safetensors, ONNX, Keras.

Whatever a model does besides a chain of layers is refused by name and place, with a part of it that would do if there
is one; nothing is guessed. What was stated or assumed of a state dict, taken as state or left outside of a part is kept
in :attr:`..network.Network.origin`.
PyTorch, onnx and h5py are only needed for what needs them, and are extras of the package.
"""

import functools
import importlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from numpy.typing import ArrayLike, NDArray

from ..errors import ModelError
from ..network import Network
from . import safetensors_file
from .contents import check_contents
from .cut import Cut, Refusal, told
from .safetensors_file import save_safetensors
from .state_dict import network_from_state_dict

__all__ = ["SUFFIXES", "WHOLE_MODEL", "Reading", "load_network", "save_safetensors"]

#: Suffix of a file -> what it holds.
SUFFIXES = {
    ".safetensors": "PyTorch state dict",
    ".pt": "PyTorch state dict",
    ".pth": "PyTorch state dict",
    ".ckpt": "PyTorch state dict",
    ".onnx": "ONNX model",
    ".keras": "Keras model",
    ".h5": "Keras model",
}


@dataclass(frozen=True)
class Reading:
    """How a model's file is read: the arguments of :func:`load_network` of the same names."""

    layers: str | None = None
    from_: str | None = None
    to: str | None = None

    def options(self) -> Iterator[tuple[str, str]]:
        """(option, value) of the command line for what is stated."""
        if self.layers is not None:
            yield "--layers", self.layers
        yield from Cut(self.from_, self.to).names()


WHOLE_MODEL = Reading()


def load_network(
    source: Any,
    *,
    name: str | None = None,
    calibration: ArrayLike | None = None,
    layers: str | Sequence[str] | None = None,
    example_input: Any = None,
    from_: str | None = None,
    to: str | None = None,
) -> Network:
    """The network in a model or a file, or in a part of it.

    Parameters
    ----------
    source
        A path with one of :data:`SUFFIXES`, a ``torch.nn.Module``, a PyTorch state dict (name -> tensor or array), an
        ``onnx.ModelProto``, a Keras model, or a :class:`Network`.
    name
        The network's name; by default the file's without its suffix, or the module's class.
    calibration
        (steps, features) typical inputs in time order; by default what the file holds, if anything.
    layers
        Of a state dict, the names of all its modules in the order in which data passes through them, with nothing in
        between: ("lstm", "fc") or "lstm,fc". Needed where a state dict leaves doubt.
    example_input
        For a ``torch.nn.Module``, a tensor or an array of the shape that its ``forward`` takes; only needed where
        that is none of the usual ones. With state, a tuple of all arguments: (x, h, c) or (x, (h, c)).
    from_, to
        The part of the model that is taken, if not the whole: from what one of its names reads, to what another one
        gives. Of an ONNX model, names of tensors or nodes; of a PyTorch module, of the modules in it; of a Keras model,
        of layers; of a state dict, of its modules. What lies before and behind stays with its framework.

    Raises
    ------
    ModelError
        The source cannot be read, needs a package that is not installed, or is not a chain of layers. One line: what is
        wrong, where, and what would be right: the longest part that would do, as ``from_`` and ``to``.
    """
    cut = Cut(from_, to)
    # With PyTorch behind Keras, a Keras model is a torch.nn.Module as well.
    is_keras = not isinstance(source, type) and hasattr(source, "to_json") and hasattr(source, "get_weights")
    is_module = "torch" in sys.modules and isinstance(source, sys.modules["torch"].nn.Module) and not is_keras
    if example_input is not None and not is_module:
        raise ModelError("example_input is for a torch.nn.Module; a file or another model tells its own shapes")
    if isinstance(source, (str, os.PathLike)):
        network = _load_file(Path(source), layers, cut)
    elif isinstance(source, Mapping):
        network = _read(lambda part: network_from_state_dict(source, layers=layers, cut=part), cut)
    elif layers is not None:
        raise ModelError(
            f"layers={layers!r}: the {type(source).__name__} tells itself in what order its layers come; "
            "supported: state dicts"
        )
    elif isinstance(source, Network):
        if list(cut.names()):
            raise ModelError(f"{cut.arguments}: a network is no model of another framework; supported: those, in part")
        network = source
    elif is_module:
        network = _read(functools.partial(_importer("torch_module").trace, source, example_input), cut)
    elif "onnx" in sys.modules and isinstance(source, sys.modules["onnx"].ModelProto):
        convert = _importer("onnx_graph").convert
        network = _read(functools.partial(convert, source, source.graph.name or "network"), cut)
    elif is_keras:
        network = _read(functools.partial(_importer("keras").convert, source), cut)
    else:
        raise ModelError(
            f"a {type(source).__name__} is no model; supported: a path, a torch.nn.Module, a PyTorch "
            "state dict, an onnx.ModelProto, a Keras model"
        )
    if calibration is not None:
        network = replace(network, calibration=cast(NDArray, calibration))  # a network converts and checks it
    return replace(network, name=name) if name is not None else network


def _read(read: Callable[[Cut], Network], cut: Cut) -> Network:
    """The network in a part of a model; a refusal tells the longest part that does."""
    try:
        return read(cut)
    except Refusal as refusal:
        raise told(refusal, read) from None


def _load_file(path: Path, layers: str | Sequence[str] | None, cut: Cut) -> Network:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ModelError(f"{path}: unknown kind of model; supported: {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise ModelError(f"{path}: {'is a folder' if path.is_dir() else 'no such file'}")
    try:
        check_contents(path)
        if "state dict" in SUFFIXES[suffix]:
            load = (safetensors_file if suffix == ".safetensors" else _importer("torch_file")).load
            return _read(functools.partial(load, path, layers), cut)
        if layers is not None:
            raise ModelError(
                f"layers={layers!r}: the {SUFFIXES[suffix]} tells itself in what order its layers come; "
                "supported: state dicts"
            )
        load = _importer("onnx_graph" if suffix == ".onnx" else "keras").load
        return _read(functools.partial(load, path), cut)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from None
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None


def _importer(module: str) -> Any:
    """An importer, which imports a package that need not be installed."""
    package, extra = {
        "torch_module": ("torch", "torch"),
        "torch_file": ("torch", "torch"),
        "onnx_graph": ("onnx", "onnx"),
        "keras": ("h5py", "keras"),
    }[module]
    try:
        return importlib.import_module(f".{module}", __package__)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise ModelError(f"the package {package} is needed: pip install 'spiccato[{extra}]'") from None

"""Networks from PyTorch modules, by running them on labels.

A module's ``forward`` is run as it is, on a tensor of labels (:mod:`.chain`) that intercepts every function of PyTorch
that it meets: nn.LSTM's and nn.Linear's are taken down, what merely moves values is executed, anything else is
refused. Nothing is assumed from the order in which modules were defined.
"""

import copy
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn

from ..network import LinearLayer, LSTMLayer, ModelError, Network
from .chain import BATCH, STEPS, Chain

__all__ = ["trace"]

SUPPORTED = "nn.LSTM layers, then nn.Linear layers, in one chain"

#: Functions, methods and properties that only move values.
_MOVES = {
    "transpose", "permute", "movedim", "moveaxis", "swapaxes", "swapdims", "t", "T", "mT", "squeeze", "unsqueeze",
    "reshape", "view", "view_as", "reshape_as", "flatten", "unflatten", "contiguous", "clone", "detach", "data",
    "select", "narrow", "__getitem__", "index_select", "unbind", "split", "chunk", "tensor_split", "cat", "concat",
    "concatenate", "stack", "hstack", "vstack", "expand", "expand_as", "atleast_2d", "atleast_3d", "cpu", "__iter__",
}
#: Those that may be given other tensors, which tell what to take.
_INDEXED = {"__getitem__", "index_select", "view_as", "reshape_as", "expand_as"}
#: Those that tell nothing of the values.
_PROPERTIES = {
    "shape", "size", "dim", "ndim", "ndimension", "dtype", "device", "layout", "is_cuda", "is_cpu", "is_nested",
    "is_sparse", "is_quantized", "is_contiguous", "is_floating_point", "is_complex", "requires_grad", "numel",
    "nelement", "stride", "get_device", "__len__",
}
#: Those that make new tensors of the same type and device.
_NEW = {"zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full"}
_CONVERSIONS = {"to", "type", "type_as", "float", "double"}
_DROPOUTS = {"dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout"}


def trace(module: nn.Module) -> Network:
    """The network that a module computes when it is used (dropout counts as switched off); named after its class.

    Raises:
        ModelError: with the module, the function and the line of the model that is not supported.
    """
    module = getattr(module, "_orig_mod", module)  # of torch.compile
    what = type(module).__name__
    for name, part in module.named_modules():
        if isinstance(part, torch.jit.ScriptModule):
            raise ModelError(f"module '{name or what}' is compiled by TorchScript and cannot be followed; supported: "
                             "modules written in Python")
    lstms = [part for part in module.modules() if isinstance(part, nn.LSTM)]
    if not lstms:
        raise ModelError(f"module {what} has no nn.LSTM; supported: {SUPPORTED}")
    try:
        module = copy.deepcopy(module).cpu().eval()
    except Exception as error:
        raise ModelError(f"module {what} cannot be copied: {_first_line(error)}") from None
    # Labels are exact in both; half precision, which is not, is converted without a loss.
    double = any(parameter.dtype is torch.float64 for parameter in module.parameters())
    module = module.double() if double else module.float()

    # Which LSTM layer comes first, only the model knows: the one that takes the input.
    shapes = [shape for inputs in dict.fromkeys(part.input_size for part in lstms)
              for shape in ((STEPS, BATCH, inputs), (STEPS, inputs))]
    for shape in shapes:
        run = _Run(module)
        try:
            with torch.no_grad():
                result = module(run.input(shape))
        except ModelError:
            raise
        except Exception as error:
            reason = _first_line(error)
            continue
        return run.chain.network(dict(run.results(result)), what)
    raise ModelError(f"{what}.forward fails on an input of shape {shapes[-1]}: {reason}; supported: one argument, "
                     "(steps, sequences, features), (sequences, steps, features) or (steps, features)")


class _Run:
    """One run of a module on labels."""

    def __init__(self, module: nn.Module) -> None:
        self.chain = Chain()
        self._names = {id(part): name for name, part in module.named_modules()}
        self._module = module
        run = self

        class LabelTensor(torch.Tensor):
            """A tensor of labels; they are exact in its type."""

            @classmethod
            def __torch_function__(cls, func, types, args=(), kwargs=None):
                return run.call(super().__torch_function__, func, types, args, kwargs or {})

        self._type = LabelTensor

    def input(self, shape):
        return self._tensor(self.chain.input(shape))

    def _tensor(self, labels):
        dtype = next(self._module.parameters()).dtype
        return torch.from_numpy(labels.copy()).to(dtype).as_subclass(self._type)

    def _labels(self, tensor):
        return tensor.as_subclass(torch.Tensor).to(torch.int64).numpy()

    def results(self, value: Any, name: str = "output") -> Iterator[tuple[str, Any]]:
        """(name, labels) of the tensors in what ``forward`` returns."""
        if isinstance(value, Mapping):
            value = list(value.items())
        elif isinstance(value, (tuple, list)):
            value = list(enumerate(value))
        elif isinstance(value, self._type):
            yield name, self._labels(value)
            return
        elif value is None:
            return
        else:
            raise ModelError(f"forward returns a {type(value).__name__} as {name} that does not depend on its input")
        for key, part in value:
            yield from self.results(part, f"{name}[{key!r}]")

    def call(self, execute, func, types, args, kwargs):
        """A function of PyTorch that got labels."""
        name = getattr(func, "__name__", type(func).__name__)
        if name == "__get__":
            name = func.__self__.__name__
        if name in _PROPERTIES:
            return execute(func, types, args, kwargs)
        if name in _NEW:
            return execute(func, types, args, kwargs).as_subclass(torch.Tensor)
        place = self._place()
        if name == "lstm" and len(args) == 9:
            return self._lstm(place, *args)
        if name == "linear" and isinstance(args[0], self._type):
            weight, bias = [*args[1:], *kwargs.values(), None][:2]
            return self._linear(place, args[0], weight, bias)
        if name in _DROPOUTS:
            training = kwargs.get("training", args[2] if len(args) > 2 else True)
            if not training:
                return args[0]
        elif name in _CONVERSIONS:
            result = execute(func, types, args, kwargs)
            if result.dtype in (torch.float32, torch.float64) and result.device.type == "cpu":
                return result
            raise ModelError(f"{place}: a conversion to {result.dtype} is not supported; supported: torch.float32 and "
                             "torch.float64")
        elif name in _MOVES:
            others = [value for value in _tensors((args, kwargs)) if not isinstance(value, self._type)]
            if not others or name in _INDEXED and isinstance(args[0], self._type):
                return execute(func, types, args, kwargs)
        read = next(value for value in _tensors((args, kwargs)) if isinstance(value, self._type))
        source = self.chain._sources(self._labels(read))[0].what
        raise ModelError(f"{place}: {name.strip('_')} on {source} is not supported; supported: {SUPPORTED}")

    def _place(self) -> str:
        """Where the running code is: the innermost module, and the line of the model if it is not PyTorch's own."""
        torch_folder = os.path.dirname(torch.__file__) + os.sep
        module = line = None
        frame = sys._getframe(2)
        while frame is not None and frame.f_code is not trace.__code__:
            owner = frame.f_locals.get("self")
            if module is None and id(owner) in self._names and isinstance(owner, nn.Module):
                name = self._names[id(owner)]
                kind = type(owner).__name__
                module = f"{'nn.' * (getattr(nn, kind, None) is type(owner))}{kind}{f' {name!r}' * bool(name)}"
            file = frame.f_code.co_filename
            if line is None and not file.startswith(torch_folder) and file != __file__:
                line = f"{os.path.basename(file)}:{frame.f_lineno}"
            frame = frame.f_back
        return f"{module or type(self._module).__name__}{f' ({line})' * bool(line)}"

    def _lstm(self, place, data, states, weights, has_biases, layers, _dropout, _training, bidirectional, batch_first):
        if not isinstance(data, self._type) or not isinstance(states, (tuple, list)):
            raise ModelError(f"{place} reads a packed sequence or a constant; supported: sequences of the same length")
        if bidirectional:
            raise ModelError(f"{place}: bidirectional=True is not supported; supported: one direction")
        per_layer = 4 if has_biases else 2
        if len(weights) != per_layer * layers:
            raise ModelError(f"{place}: proj_size is not supported; supported: proj_size=0")
        for what, state in zip(("h", "c"), states):
            if isinstance(state, self._type) or state.any():
                raise ModelError(f"{place}: the initial {what} is not zero; supported: states that start from zero, "
                                 "as they do by default")
        labels = self._labels(data)
        if batch_first:
            labels = labels.transpose(1, 0, 2)
        last_h, last_c = [], []
        for number in range(layers):
            name = f"{place}, layer {number}" if layers > 1 else place
            try:
                layer = LSTMLayer(*map(_array, weights[per_layer * number:per_layer * (number + 1)]))
            except ModelError as error:
                raise ModelError(f"{name}: {error}") from None
            labels, c = self.chain.lstm(name, labels, layer)
            last_h.append(self._tensor(labels[-1]))
            last_c.append(self._tensor(c))
        if batch_first:
            labels = labels.transpose(1, 0, 2)
        return self._tensor(labels), torch.stack(last_h), torch.stack(last_c)

    def _linear(self, place, data, weight, bias):
        if any(isinstance(value, self._type) for value in (weight, bias)):
            raise ModelError(f"{place}: weights that depend on the input are not supported; supported: {SUPPORTED}")
        try:
            layer = LinearLayer(_array(weight), None if bias is None else _array(bias))
        except ModelError as error:
            raise ModelError(f"{place}: {error}") from None
        return self._tensor(self.chain.linear(place, self._labels(data), layer))


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    """All tensors in nested arguments."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from _tensors(part)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))


def _array(tensor: torch.Tensor) -> NDArray[Any]:
    return tensor.detach().cpu().to(torch.float64).numpy()


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]

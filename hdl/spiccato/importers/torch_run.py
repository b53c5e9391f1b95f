"""One run of a PyTorch module on labels.

``forward`` is run as it is, on a tensor of labels (:mod:`.chain`) that intercepts every function of PyTorch that it
meets: nn.LSTM's and nn.Linear's are taken down, so are constants that are added and multiplied, what merely moves
values is executed, anything else is refused. Nothing is assumed from the order in which modules were defined.

Arguments besides the first one are followed as state (:mod:`.streaming`). So is what the module keeps from call to
call (:mod:`.torch_kept`): a first run shows where, a second one follows it.
"""

import copy
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from types import FrameType
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..errors import ModelError
from ..layers import LinearLayer, LSTMLayer
from ..network import Network
from .chain import SIZES, Chain, Misfit, same_layers
from .streaming import one_for_all, takes_state
from .torch_kept import (
    Slot,
    changed_slots,
    changed_values,
    check_reset,
    fixed_values,
    keeps,
    map_tensors,
    put,
    taken,
    tensors,
)

__all__ = ["SUPPORTED", "Failure", "Run", "StateShape", "StateShapes", "first_line"]

SUPPORTED = "nn.LSTM layers, then nn.Linear layers, in one chain"

#: Functions, methods and properties that only move values.
_MOVES = {
    "transpose",
    "permute",
    "movedim",
    "moveaxis",
    "swapaxes",
    "swapdims",
    "t",
    "T",
    "mT",
    "squeeze",
    "unsqueeze",
    "reshape",
    "view",
    "view_as",
    "reshape_as",
    "flatten",
    "unflatten",
    "contiguous",
    "clone",
    "detach",
    "detach_",
    "data",
    "select",
    "narrow",
    "__getitem__",
    "index_select",
    "gather",
    "take_along_dim",
    "unbind",
    "split",
    "chunk",
    "tensor_split",
    "cat",
    "concat",
    "concatenate",
    "stack",
    "hstack",
    "vstack",
    "flip",
    "expand",
    "expand_as",
    "atleast_2d",
    "atleast_3d",
    "cpu",
    "__iter__",
}
#: Those that move values into another tensor.
_WRITES = {"copy_", "__setitem__"}
#: Those that may be given other tensors, which tell what to take.
_INDEXED = {"__getitem__", "index_select", "gather", "take_along_dim", "view_as", "reshape_as", "expand_as"}
#: Those that may be given sizes that fit one number of steps only.
_SIZED = {"reshape", "view"}
#: Those that tell nothing of the values.
_PROPERTIES = {
    "shape",
    "size",
    "dim",
    "ndim",
    "ndimension",
    "dtype",
    "device",
    "layout",
    "is_cuda",
    "is_cpu",
    "is_nested",
    "is_sparse",
    "is_quantized",
    "is_contiguous",
    "is_floating_point",
    "is_complex",
    "requires_grad",
    "numel",
    "nelement",
    "stride",
    "get_device",
    "__len__",
}
#: Those that make new tensors of the same type and device.
_NEW = {"zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full"}
_LSTM_FIELDS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
_CONVERSIONS = {"to", "type", "type_as", "float", "double"}
_DROPOUTS = {"dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout"}
#: Arithmetic with constants: name without the underscores of methods and of those in place -> operation.
_ARITHMETIC = {
    "add": "add",
    "sub": "sub",
    "subtract": "sub",
    "rsub": "rsub",
    "mul": "mul",
    "multiply": "mul",
    "div": "div",
    "divide": "div",
    "true_divide": "div",
    "neg": "neg",
    "negative": "neg",
}

#: Arguments of torch.nn.functional.batch_norm.
_BATCH_NORM = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")


class StateShape(NamedTuple):
    """A further argument of ``forward``, or a part of one."""

    name: str
    shape: tuple[int, ...]


#: From the shape of the input, nested tuples of :class:`StateShape`.
StateShapes = Callable[[tuple[int, ...]], tuple[Any, ...]]


class Failure(Exception):
    """A module does not take an input of this shape.

    ``refusal`` is what it did before that is not supported, if anything, and ``length`` the number of layers that would
    run by themselves.
    """

    def __init__(self, shape: tuple[int, ...], reason: str, refusal: ModelError | None, length: int) -> None:
        super().__init__(reason)
        self.shape, self.refusal, self.length = shape, refusal, length

    def error(self, module: nn.Module, given: str = "") -> ModelError:
        """What to tell if no other shape is left to try."""
        if self.refusal:
            return self.refusal
        states = _kept_states(module)
        kept = f"; it keeps {', '.join(states)} of an earlier call, which must be reset" if states else ""
        hint = (
            ""
            if given
            else "; others need an example, of which only shapes count: spiccato.load(module, example_input=x), of a "
            "module that takes state example_input=(x, h, c)"
        )
        return ModelError(
            f"{type(module).__name__}.forward fails on {given or 'an input '}of shape {self.shape}: "
            f"{self}{kept}; supported: one argument, (steps, sequences, features), (sequences, steps, "
            f"features), (steps, features), and state of one nn.LSTM besides it{hint}"
        )


def _kept_states(module: nn.Module) -> list[str]:
    """Names of attributes, not parameters or buffers, that look like states of an LSTM layer."""
    units = {part.hidden_size for part in module.modules() if isinstance(part, nn.LSTM)}
    return [
        repr(f"{name}.{key}".lstrip("."))
        for name, part in module.named_modules()
        for key, value in vars(part).items()
        if not key.startswith("_") and any(tensor.ndim > 1 and tensor.shape[-1] in units for tensor in tensors(value))
    ]


class Run:
    """One run of a module on labels. Works on a copy, which shares the parameters: a forward may keep results.

    Parameters
    ----------
    module : nn.Module
    states : function, optional
        From the shape of the input, those of ``forward``'s further arguments: nested as these are, names and shapes.
    kept : dict, optional
        What the module keeps from call to call, by its place: as after a call, to be followed.
    """

    def __init__(
        self, module: nn.Module, states: StateShapes = lambda _: (), kept: Mapping[Slot, Any] | None = None
    ) -> None:
        self.chain = Chain()
        self._original, self._states, self._kept = module, states, dict(kept or {})
        #: Shapes of inputs that sizes in the module would admit, where it failed for them.
        self.fixed_shapes: list[tuple[int, ...]] = []
        module = copy.deepcopy(module, {id(parameter): parameter for parameter in module.parameters()})
        self._names = {id(part): name for name, part in module.named_modules()}
        self._module = module
        run = self

        class LabelTensor(torch.Tensor):
            """A tensor of labels; they are exact in its type."""

            @classmethod
            def __torch_function__(cls, func, types, args=(), kwargs=None):
                return run.call(super().__torch_function__, func, types, args, kwargs or {})

        self._type = LabelTensor
        self._state_names: list[str] = []
        #: Tensors of the module that something which depends on the input was written into.
        self._written: list[torch.Tensor] = []

    def network(self, shape: tuple[int, ...]) -> Network:
        """The network, from a run on an input of this shape.

        Raises
        ------
        ModelError
            The module does what is not supported.
        Failure
            The module does not take such an input.
        """
        try:
            network = self._call(shape)
        except Exception as error:
            refusal = self.chain.refusal() if self.chain.refused else None
            if isinstance(error, ModelError) and not isinstance(error, Misfit):
                raise (refusal or error) from None
            raise Failure(shape, first_line(error), refusal, len(self.chain.part())) from None
        if self._kept:
            return network
        slots = changed_slots(self._module, self._is_label, self._written)
        if not slots:
            return network
        again = Run(self._original, self._states, slots)
        following = again.network(shape)
        if not takes_state(following):
            return network  # what it keeps, nothing starts from
        check_reset(self._original, again.states)
        if not same_layers(network, following):
            raise ModelError(
                f"{type(self._module).__name__}.forward changes {', '.join(map(repr, again.states))} before an LSTM "
                "layer starts from it; supported: state that is read, then handed on"
            )
        return replace(network, origin=following.origin, states=following.states)

    def _call(self, shape: tuple[int, ...]) -> Network:
        """The network of one call of the module."""
        module, name = self._module, type(self._module).__name__
        data = self._tensor(self.chain.input(shape))
        arguments = self._nested(self._states(shape))
        for slot, value in self._kept.items():
            put(module, slot, map_tensors(value, slot.name, self._kept_state))
        before = fixed_values(module, self._is_label)
        with torch.no_grad():
            result = module(data, *arguments)
        kept = dict.fromkeys(self.states)
        for slot in self._kept:
            map_tensors(taken(module, slot), slot.name, lambda path, tensor: kept.update({path: self._after(tensor)}))
        network = self.chain.network(dict(self._results(result)), name, kept)
        # Nothing may start from state at this call that does so at another one.
        is_kept = takes_state(network) or self._kept
        if is_kept and (more := changed_values(before, fixed_values(module, self._is_label))):
            raise ModelError(
                f"module {name} changes {', '.join(map(repr, more))} from call to call; supported: to keep h and c of "
                "LSTM layers, and nothing else"
            )
        return network

    @property
    def states(self) -> list[str]:
        """Names of what the module keeps that is followed."""
        return self._state_names

    def _nested(self, spec: Any) -> Any:
        """Labels for a nested specification of state: (name, shape) or a tuple of them."""
        if isinstance(spec, StateShape):
            return self._tensor(self.chain.state(spec.name, spec.shape))
        return tuple(map(self._nested, spec))

    def _kept_state(self, path: str, tensor: torch.Tensor) -> torch.Tensor:
        self._state_names.append(path)
        return self._tensor(self.chain.state(path, tuple(tensor.shape)))

    def _after(self, tensor: torch.Tensor) -> NDArray[np.int64] | None:
        return self._labels(tensor) if self._is_label(tensor) else None

    def _is_label(self, value: Any) -> bool:
        return isinstance(value, self._type)

    def _tensor(self, labels):
        dtype = next(self._module.parameters()).dtype
        if labels.size and labels.max() >= 2 / torch.finfo(dtype).eps:
            raise Misfit(
                f"an input of this size gives {labels.max()} values to follow; supported: an "
                "example_input of fewer steps"
            )
        return torch.from_numpy(labels.copy()).to(dtype).as_subclass(self._type)

    def _labels(self, tensor):
        return tensor.as_subclass(torch.Tensor).to(torch.int64).numpy()

    def _results(self, value: Any, name: str = "output") -> Iterator[tuple[str, Any]]:
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
            yield from self._results(part, f"{name}[{key!r}]")

    def call(self, execute, func, types, args, kwargs):
        """A function of PyTorch that got labels."""
        name = getattr(func, "__name__", type(func).__name__)
        if name == "__get__":
            name = func.__self__.__name__
        if name in _PROPERTIES:
            return execute(func, types, args, kwargs)
        if name in _NEW:
            return execute(func, types, args, kwargs).as_subclass(torch.Tensor)
        if name in _WRITES and not isinstance(args[0], self._type) and keeps(self._module, args[0]):
            # It shows on the second run what becomes of it.
            self._written.append(args[0])
            return args[0]
        place, layer = self._place()
        try:
            return self._supported(place, layer, name, execute, func, types, args, kwargs)
        except Misfit:
            raise
        except ModelError as error:
            self.chain.refuse(error)
            return self._foreign(place, func, args, kwargs)

    def _foreign(self, place, func, args, kwargs):
        """New labels in the shape of what a function gives that is not supported."""
        for dtype in (torch.float32, torch.int64):

            def plain(value, dtype=dtype):
                if isinstance(value, self._type):
                    kind = value.dtype if dtype.is_floating_point else dtype
                    return torch.zeros(value.shape, dtype=kind)
                if isinstance(value, dict):
                    return {key: plain(part) for key, part in value.items()}
                return type(value)(map(plain, value)) if type(value) in (tuple, list) else value

            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # on a function whose result does not matter
                    result = func(*plain(args), **plain(kwargs))
                break
            except Exception:  # of any kind: the function is not known
                continue
        else:
            raise Misfit(f"{place} cannot be executed")
        single = isinstance(result, torch.Tensor)
        results = [result] if single else result
        if type(results) not in (tuple, list) or not all(isinstance(part, torch.Tensor) for part in results):
            raise self.chain.refusal()
        results = tuple(self._tensor(self.chain.foreign(place, part.shape)) for part in results)
        return results[0] if single else results

    def _supported(self, place, layer, name, execute, func, types, args, kwargs):
        in_place = name.endswith("_") and not name.startswith("_")
        if name == "lstm" and len(args) == 9:
            return self._lstm(place, layer, *args)
        if name == "linear" and isinstance(args[0], self._type):
            weight, bias = [*args[1:], *kwargs.values(), None][:2]
            return self._linear(place, layer, args[0], weight, bias)
        if name in _DROPOUTS:
            training = kwargs.get("training", args[2] if len(args) > 2 else True)
            if not training:
                return args[0]
        elif name == "positive":
            return args[0]
        elif func is nn.functional.batch_norm:
            result = self._batch_norm(place, **dict(zip(_BATCH_NORM, args)) | kwargs)
            if result is not None:
                return result
        elif (operation := _ARITHMETIC.get(name.strip("_"))) and (not in_place or isinstance(args[0], self._type)):
            result = self._arithmetic(place, operation, *args, **kwargs)
            if result is not None:
                if in_place:
                    # In place: whatever else refers to these values sees the result, too.
                    args[0].as_subclass(torch.Tensor).copy_(result.as_subclass(torch.Tensor))
                    return args[0]
                return result
        elif name in _CONVERSIONS:
            result = execute(func, types, args, kwargs)
            if result.dtype in (torch.float32, torch.float64) and result.device.type == "cpu":
                return result
            raise ModelError(
                f"{place}: a conversion to {result.dtype} is not supported; supported: torch.float32 and torch.float64"
            )
        elif name in _WRITES:
            if all(isinstance(value, self._type) for value in (args[0], args[1 if name == "copy_" else 2])):
                return execute(func, types, args, kwargs)
        elif name in _MOVES:
            others = [value for value in tensors((args, kwargs)) if not isinstance(value, self._type)]
            if not others or name in _INDEXED and isinstance(args[0], self._type):
                try:
                    return execute(func, types, args, kwargs)
                except RuntimeError:
                    if name in _SIZED:
                        self._note_sizes(args[1:])
                    raise
        read = next(value for value in tensors((args, kwargs)) if isinstance(value, self._type))
        raise ModelError(
            f"{place}: {name.strip('_')} on {self.chain.what(self._labels(read))} is not supported; "
            f"supported: {SUPPORTED}"
        )

    def _note_sizes(self, sizes):
        """Note the inputs that a module may expect which fixes ``sizes``."""
        sizes = sizes[0] if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)) else sizes
        if len(sizes) == 3 and all(isinstance(size, int) for size in sizes):
            sequences, *rest = (SIZES[0][1] if size == -1 else size for size in sizes)
            self.fixed_shapes += [
                (sequences, *rest),
                (sequences, math.prod(rest)),
                tuple(rest),
                (sequences * math.prod(rest),),
            ]

    def _place(self) -> tuple[str, str]:
        """Where the running code is: the innermost module, and the line of the model if it is not PyTorch's own.

        Returns that in words, and the name of the module if it is one of PyTorch's.
        """
        torch_folder = os.path.dirname(torch.__file__) + os.sep
        module = line = None
        layer = ""
        frame: FrameType | None = sys._getframe(2)
        while frame is not None and frame.f_code is not Run._call.__code__:
            owner = frame.f_locals.get("self")
            if module is None and id(owner) in self._names and isinstance(owner, nn.Module):
                name = self._names[id(owner)]
                kind = type(owner).__name__
                own = getattr(nn, kind, None) is type(owner)
                module = f"{'nn.' * own}{kind}{f' {name!r}' * bool(name)}"
                layer = (name or kind) * own
            file = frame.f_code.co_filename
            if line is None and not file.startswith(torch_folder) and file not in (__file__, copy.__file__):
                line = f"{os.path.basename(file)}:{frame.f_lineno}"
            frame = frame.f_back
        place = f"{module or type(self._module).__name__}{f' ({line})' * bool(line)}"
        return place, layer or place

    def _lstm(
        self,
        place,
        given_name,
        data,
        states,
        weights,
        has_biases,
        layers,
        _dropout,
        _training,
        bidirectional,
        batch_first,
    ):
        if not isinstance(data, self._type) or not isinstance(states, (tuple, list)):
            raise ModelError(f"{place} reads a packed sequence or a constant; supported: sequences of the same length")
        if bidirectional:
            raise ModelError(f"{place}: bidirectional=True is not supported; supported: one direction")
        per_layer = 4 if has_biases else 2
        if len(weights) != per_layer * layers:
            raise ModelError(f"{place}: proj_size is not supported; supported: proj_size=0")
        labels = self._labels(data)
        if batch_first:
            labels = labels.transpose(1, 0, 2)
        last_h, last_c = [], []
        for number in range(layers):
            name = f"{place}, layer {number}" if layers > 1 else place
            own = dict(zip(_LSTM_FIELDS, map(_array, weights[per_layer * number : per_layer * (number + 1)])))
            before: list[NDArray[np.int64] | None] = [None, None]
            for k, (what, state) in enumerate(zip("hc", states)):
                if isinstance(state, self._type):
                    before[k] = self._labels(state)[number]
                elif (start := one_for_all(name, f"the initial {what}", _array(state[number]))) is not None:
                    own[f"{what}0"] = start
            try:
                layer = LSTMLayer(**own)
            except ModelError as error:
                raise ModelError(f"{name}: {error}") from None
            labels, c = self.chain.lstm(name, given_name, labels, layer, (before[0], before[1]))
            last_h.append(self._tensor(labels[-1]))
            last_c.append(self._tensor(c))
        if batch_first:
            labels = labels.transpose(1, 0, 2)
        return self._tensor(labels), torch.stack(last_h), torch.stack(last_c)

    def _linear(self, place, layer, data, weight, bias):
        if any(isinstance(value, self._type) for value in (weight, bias)):
            raise ModelError(f"{place}: weights that depend on the input are not supported; supported: {SUPPORTED}")
        try:
            linear = LinearLayer(_array(weight), *([] if bias is None else [_array(bias)]))
        except ModelError as error:
            raise ModelError(f"{place}: {error}") from None
        return self._tensor(self.chain.linear(place, layer, self._labels(data), linear))

    def _arithmetic(self, place, operation, input, other=None, *, alpha=1, **more):
        """Labels of an operation with a constant; None if it is no such operation."""
        if more.get("out") is not None or more.get("rounding_mode") is not None:
            return None
        if operation == "neg":
            return self._constants(place, input, -1.0)
        if operation == "rsub":
            operation, input, other = "sub", other, input
        reversed_ = not isinstance(input, self._type)
        data, constant = (other, input) if reversed_ else (input, other)
        if isinstance(constant, (self._type, complex)) or isinstance(constant, torch.Tensor) and constant.is_complex():
            return None
        constant = _array(torch.as_tensor(constant))
        if operation == "mul":
            return self._constants(place, data, constant)
        if operation == "div":
            if reversed_:
                return None
            with np.errstate(divide="ignore"):
                return self._constants(place, data, 1 / constant)
        sign = alpha if operation == "add" else -alpha
        return (
            self._constants(place, data, sign, constant)
            if reversed_
            else self._constants(place, data, 1.0, sign * constant)
        )

    def _batch_norm(
        self,
        place,
        input,
        running_mean=None,
        running_var=None,
        weight=None,
        bias=None,
        training=False,
        momentum=0.1,
        eps=1e-5,
    ):
        """Labels of a batch normalisation with constants; None if it takes its numbers from the input."""
        if training or running_mean is None or not isinstance(input, self._type):
            return None
        mean, variance = _array(running_mean), _array(running_var)
        factor = (1.0 if weight is None else _array(weight)) / np.sqrt(variance + eps)
        offset = (0.0 if bias is None else _array(bias)) - mean * factor
        shape = (-1,) + (1,) * (input.ndim - 2)
        return self._constants(place, input, factor.reshape(shape), offset.reshape(shape))

    def _constants(self, place, data, factor, offset=0.0):
        return self._tensor(self.chain.constants(place, "", self._labels(data), factor, offset))


def _array(tensor: torch.Tensor) -> NDArray[Any]:
    return tensor.detach().cpu().to(torch.float64).numpy()


def first_line(error: Exception) -> str:
    """The first line of an error's message, or its class if it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]

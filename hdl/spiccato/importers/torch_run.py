"""One run of a PyTorch module on labels.

``forward`` is run as it is, on a tensor of labels (:mod:`.torch_labels`) that intercepts every function of PyTorch that
it meets (:mod:`.torch_operations`). Nothing is assumed from the order in which modules were defined.

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
from ..network import Network
from . import torch_labels, torch_operations, torch_recurrent
from .chain import Chain
from .confirm import SIZES, same_layers
from .cut import WHOLE, Cut, Refusal
from .result import network_of
from .stages import Misfit, Names
from .torch_functions import NEW, PROPERTIES, WRITES
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
from .torch_labels import LabelTensors
from .torch_operations import Call, Operations

__all__ = ["LAYERS", "Failure", "Run", "StateShape", "StateShapes", "first_line"]

#: Files between a line of the model and here.
_OWN_FILES = (__file__, torch_operations.__file__, torch_labels.__file__, torch_recurrent.__file__)

#: Modules that have state.
LAYERS = (nn.LSTM, nn.GRU, nn.LSTMCell, nn.GRUCell)


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

    def __init__(self, shape: tuple[int, ...], reason: str, refusal: Refusal | None, length: int) -> None:
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
            f"features), (steps, features), and state of one nn.LSTM or nn.GRU besides it{hint}"
        )


def _kept_states(module: nn.Module) -> list[str]:
    """Names of attributes, not parameters or buffers, that look like states of a recurrent layer."""
    units = {part.hidden_size for part in module.modules() if isinstance(part, LAYERS)}
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
    cut : Cut
        The part that is wanted, from and to modules by their names.
    kept : dict, optional
        What the module keeps from call to call, by its place: as after a call, to be followed.
    """

    def __init__(
        self,
        module: nn.Module,
        states: StateShapes = lambda _: (),
        cut: Cut = WHOLE,
        kept: Mapping[Slot, Any] | None = None,
    ) -> None:
        self.chain = Chain(cut)
        self._original, self._states, self._kept = module, states, dict(kept or {})
        module = copy.deepcopy(module, {id(parameter): parameter for parameter in module.parameters()})
        self._names = {id(part): name for name, part in module.named_modules()}
        self._module = module
        # The first parameter tells in which type labels are exact.
        self._tensors = LabelTensors(next(module.parameters()).dtype, self.call)
        self._operations = Operations(self.chain, self._tensors)
        self._state_names: list[str] = []
        #: Tensors of the module that something which depends on the input was written into.
        self._written: list[torch.Tensor] = []
        for name, part in module.named_modules():
            if name == cut.start:
                part.register_forward_pre_hook(self._begin, with_kwargs=True)
            if name:
                part.register_forward_hook(self._ended(name))

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
            if isinstance(error, ModelError) and not isinstance(error, Misfit):
                raise (error if isinstance(error, Refusal) else self.chain.refusal(error)) from None
            refusal = self.chain.refusal() if self.chain.refused else None
            raise Failure(shape, first_line(error), refusal, self.chain.part()) from None
        if self._kept:
            return network
        slots = changed_slots(self._module, self._is_label, self._written)
        if not slots:
            return network
        again = Run(self._original, self._states, self.chain.cut, slots)
        following = again.network(shape)
        if not again.chain.stateful():
            return network  # what it keeps, nothing starts from
        check_reset(self._original, again.states)
        if not same_layers(network, following):
            raise ModelError(
                f"{type(self._module).__name__}.forward changes {', '.join(map(repr, again.states))} before a "
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
        result = None
        with torch.no_grad():
            try:
                result = module(data, *arguments)
            except Exception:
                if not self.chain.finished:
                    raise
                # What lies behind the part does not matter.
        kept = dict.fromkeys(self.states)
        for slot in self._kept:
            map_tensors(taken(module, slot), slot.name, lambda path, tensor: kept.update({path: self._after(tensor)}))
        network = network_of(self.chain, dict(self._results(result)), name, kept)
        # Nothing may start from state at this call that does so at another one.
        is_kept = self.chain.stateful() or self._kept
        if is_kept and (more := changed_values(before, fixed_values(module, self._is_label))):
            raise ModelError(
                f"module {name} changes {', '.join(map(repr, more))} from call to call; supported: to keep h and c of "
                "recurrent layers, and nothing else"
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
        return self._tensors.holds(value)

    def _tensor(self, labels: NDArray[np.int64]) -> torch.Tensor:
        return self._tensors.tensor(labels)

    def _labels(self, tensor: torch.Tensor) -> NDArray[np.int64]:
        return self._tensors.labels(tensor)

    def _begin(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The arguments of the module with which the part begins."""
        values = [*args, *kwargs.values()]
        first = next((number for number, value in enumerate(values) if self._is_label(value)), None)
        if first is None:
            raise ModelError(f"--from {self.chain.cut.start}: the module reads nothing that depends on the input")
        values[first] = self._tensor(self.chain.begin(self._labels(values[first])))
        return tuple(values[: len(args)]), dict(zip(kwargs, values[len(args) :]))

    def _ended(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        """A function for when the module ``name`` has run."""

        def hook(_module: nn.Module, _args: Any, result: Any) -> None:
            labels = next((self._labels(tensor) for tensor in tensors(result) if self._is_label(tensor)), None)
            if labels is None:
                return
            self.chain.call_end(labels, name)
            if name == self.chain.cut.end:
                self.chain.finish(labels)

        return hook

    def _results(self, value: Any, name: str = "output") -> Iterator[tuple[str, Any]]:
        """(name, labels) of the tensors in what ``forward`` returns."""
        if isinstance(value, Mapping):
            value = list(value.items())
        elif isinstance(value, (tuple, list)):
            value = list(enumerate(value))
        elif self._is_label(value):
            yield name, self._labels(value)
            return
        elif value is None:
            return
        elif self.chain.finished:
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
        if not args and "input" in kwargs:
            args, kwargs = (kwargs["input"],), {key: value for key, value in kwargs.items() if key != "input"}
        if name in PROPERTIES:
            return execute(func, types, args, kwargs)
        if name in NEW:
            return execute(func, types, args, kwargs).as_subclass(torch.Tensor)
        if name in WRITES and not self._is_label(args[0]) and keeps(self._module, args[0]):
            # It shows on the second run what becomes of it.
            self._written.append(args[0])
            return args[0]
        place, layer, module = self._place()
        self.chain.names = Names(module, module)
        call = Call(place, layer, name, execute, func, types, args, kwargs)
        try:
            return self._operations.follow(call)
        except Misfit:
            raise
        except ModelError as error:
            self.chain.refuse(error, spoils=call.in_place and not self._is_label(args[0]))
            if not call.in_place or not self._is_label(args[0]):
                return self._foreign(place, func, args, kwargs)
            # Whatever else refers to these values must not take them for what they were.
            changed = self._tensor(self.chain.foreign(place, tuple(args[0].shape)))
            args[0].as_subclass(torch.Tensor).copy_(changed.as_subclass(torch.Tensor))
            return args[0]

    def _foreign(self, place, func, args, kwargs):
        """New labels in the shape of what a function gives that is not supported."""
        for dtype in (torch.float32, torch.int64):

            def plain(value, dtype=dtype):
                if self._is_label(value):
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

    def fixed_shapes(self) -> list[tuple[int, ...]]:
        """Shapes of inputs that sizes in the module would admit, where it failed for them."""
        shapes: list[tuple[int, ...]] = []
        for given in self._operations.failed_sizes:
            sizes = given[0] if len(given) == 1 and isinstance(given[0], (tuple, list)) else given
            if len(sizes) == 3 and all(isinstance(size, int) for size in sizes):
                sequences, *rest = (SIZES[0][1] if size == -1 else size for size in sizes)
                shapes += [
                    (sequences, *rest),
                    (sequences, math.prod(rest)),
                    tuple(rest),
                    (sequences * math.prod(rest),),
                ]
        return shapes

    def _place(self) -> tuple[str, str, str | None]:
        """Where the running code is: the innermost module, and the line of the model if it is not PyTorch's own.

        Returns that in words, what the module's author calls it, and the name of the module if it is one of PyTorch's.
        """
        torch_folder = os.path.dirname(torch.__file__) + os.sep
        module = line = own_name = None
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
                own_name = name if own and name else None
            file = frame.f_code.co_filename
            if line is None and not file.startswith(torch_folder) and file not in (*_OWN_FILES, copy.__file__):
                line = f"{os.path.basename(file)}:{frame.f_lineno}"
            frame = frame.f_back
        place = f"{module or type(self._module).__name__}{f' ({line})' * bool(line)}"
        return place, layer or place, own_name


def first_line(error: Exception) -> str:
    """The first line of an error's message, or its class if it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]

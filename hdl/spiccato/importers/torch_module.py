"""Networks from PyTorch modules.

A copy of the module is run on labels (:mod:`.torch_run`), with inputs of the usual shapes or of a given one.
"""

import copy
import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ..errors import ModelError
from ..network import Network
from .confirm import LONG_SIZES, SIZES, confirm
from .cut import WHOLE, Cut
from .torch_kept import tensors
from .torch_operations import SUPPORTED
from .torch_run import LAYERS, Failure, Run, StateShape, StateShapes, first_line

__all__ = ["trace"]

#: Where layers keep the number of features that they take.
_SIZES_OF_LAYERS = ("input_size", "in_features", "in_channels", "num_features")


def trace(module: nn.Module, example_input: Any = None, cut: Cut = WHOLE) -> Network:
    """The network that a module computes when it is used (dropout counts as switched off); named after its class.

    Parameters
    ----------
    module : nn.Module
    example_input : tensor or array, or tuple, optional
        An input of the shape that ``forward`` takes; its values do not matter. If it takes state as well, a tuple of
        all its arguments: (x, h, c) or (x, (h, c)). By default the usual shapes are tried.
    cut : Cut
        The part that is taken, from and to modules by their names.

    Raises
    ------
    ModelError
        With the module, the function and the line of the model that is not supported, and the part that is.
    """
    module = getattr(module, "_orig_mod", module)  # of torch.compile
    what = type(module).__name__
    for name, part in module.named_modules():
        if isinstance(part, torch.jit.ScriptModule):
            raise ModelError(
                f"module '{name or what}' is compiled by TorchScript and cannot be followed; supported: "
                "modules written in Python"
            )
    if next(module.parameters(), None) is None:
        raise ModelError(f"module {what} has no parameters; supported: {SUPPORTED}")
    cut.check((name for name, _ in module.named_modules() if name), "module")
    examples = example_input if isinstance(example_input, tuple) and example_input else (example_input,)
    if example_input is not None and not hasattr(examples[0], "shape"):
        raise ModelError(f"example_input is a {type(example_input).__name__}; expected a tensor or an array")
    shape = None if example_input is None else tuple(examples[0].shape)
    if shape is not None and 0 in shape:
        raise ModelError(f"example_input, of shape {shape}, is empty; expected at least one step of one sequence")
    names = _arguments(module)[1:]
    given = tuple(
        _example_state(part, names[number] if number < len(names) else f"argument {number + 1}")
        for number, part in enumerate(examples[1:])
    )
    try:
        # What a module keeps of an earlier call belongs to that call's graph, which would not be copied.
        memo = {
            id(tensor): tensor.detach().clone()
            for part in module.modules()
            for tensor in tensors(vars(part))
            if not tensor.is_leaf
        }
        module = copy.deepcopy(module, memo).cpu().eval()
    except Exception as error:
        raise ModelError(f"module {what} cannot be copied: {first_line(error)}") from None
    # Labels are exact in both; half precision, which is not, is converted without a loss.
    double = any(parameter.dtype is torch.float64 for parameter in module.parameters())
    module = module.double() if double else module.float()
    if shape is None:
        return _search(module, cut)

    def states(_: tuple[int, ...]) -> tuple[Any, ...]:
        return given

    run = Run(module, states, cut)
    try:
        network = run.network(shape)
    except Failure as failure:
        raise failure.error(module, "example_input, ") from None
    # A single step shows no order; more of them may be along any axis of size 1.
    axes = [axis for axis, size in enumerate(shape) if size == 1 and run.chain.steps() == 1]
    forms = [lambda steps, _, axis=axis: (*shape[:axis], steps, *shape[axis + 1 :]) for axis in axes]
    confirm(network, functools.partial(_run, module, states, cut), shape, forms, Failure)
    return network


def _run(module: nn.Module, states: StateShapes, cut: Cut, shape: tuple[int, ...]) -> Network:
    return Run(module, states, cut).network(shape)


def _arguments(module: nn.Module) -> list[str]:
    """Names of the arguments that ``forward`` needs."""
    try:
        parameters = inspect.signature(module.forward).parameters.values()
    except (TypeError, ValueError):  # of a callable that tells nothing
        return ["x"]
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [one.name for one in parameters if one.kind in positional and one.default is inspect.Parameter.empty]


def _example_state(value: Any, name: str) -> Any:
    """What an example says of state: its shapes, nested as it is."""
    if isinstance(value, (tuple, list)):
        return tuple(_example_state(part, f"{name}[{number}]") for number, part in enumerate(value))
    if not hasattr(value, "shape"):
        raise ModelError(f"example_input: '{name}' is a {type(value).__name__}; expected tensors, or tuples of them")
    return StateShape(name, tuple(value.shape))


def _state_forms(module: nn.Module) -> list[StateShapes]:
    """The usual forms of state that ``forward`` may take besides its input.

    h and c of one recurrent module, as two arguments or a tuple, or h of a nn.GRU, of as many sequences as the input
    has on one of its first axes, of one, or of a single one without an axis.
    """
    names = _arguments(module)[1:]
    recurrent = [part for part in module.modules() if isinstance(part, LAYERS)]
    if not names or len(names) > 2 or len(recurrent) != 1:
        return [lambda _: ()]
    (layer,) = recurrent
    layers = (layer.num_layers,) if isinstance(layer, (nn.LSTM, nn.GRU)) else ()
    parts = 2 if isinstance(layer, (nn.LSTM, nn.LSTMCell)) else 1

    def form(axis: int | None, sequences: int | None) -> StateShapes:
        def states(shape: tuple[int, ...]) -> tuple[Any, ...]:
            count = shape[axis : axis + 1] if axis is not None else () if sequences is None else (sequences,)
            size = (*layers, *count, layer.hidden_size)
            if len(names) == parts:
                return tuple(StateShape(name, size) for name in names)
            return (tuple(StateShape(f"{names[0]}[{number}]", size) for number in range(parts)),)

        return states

    return [form(1, None), form(0, None), form(None, 1), form(None, None)]


def _search(module: nn.Module, cut: Cut) -> Network:
    """The network by the first of the usual shapes of an input that the module takes."""
    failures: list[Failure] = []
    for sizes in (SIZES[0], LONG_SIZES[0]):
        network = _first_that_fits(module, cut, sizes, failures)
        if network is not None:
            return network
        if not any(failure.refusal for failure in failures):
            break
    raise max(failures, key=lambda failure: failure.refusal is not None).error(module)


def _first_that_fits(module: nn.Module, cut: Cut, sizes: tuple[int, int], failures: list[Failure]) -> Network | None:
    """The same with these numbers of steps and sequences, or None; ``failures`` gets those of the others.

    A shape of a single step counts only if none of several steps does: there, any step is the last one. So does one
    that fits by chance, with one number of steps and sequences only.
    """
    state_forms = _state_forms(module)
    attempts: list[tuple[Callable[..., tuple[int, ...]], StateShapes]] = [
        (functools.partial(form, features=features), states)
        for features in _feature_sizes(module)
        for form in _FORMS[0 if features == 1 else 1 :]
        for states in state_forms
    ]
    single = None
    fixed_shapes: list[tuple[int, ...]] = []
    for form, states in attempts:
        run = Run(module, states, cut)
        shape = form(*sizes)
        try:
            network = run.network(shape)
        except Failure as failure:
            if failure.refusal and failure.length:
                raise failure.error(module) from None
            failures.append(failure)
            # Sizes that a module fixes tell what it takes.
            new = [fixed for fixed in run.fixed_shapes() if fixed not in fixed_shapes]
            fixed_shapes += new
            attempts += [(lambda *_, fixed=fixed: fixed, states) for fixed in new for states in state_forms]
            continue
        is_open = form(*SIZES[1]) != shape
        forms, axis = [form], run.chain.time_axis
        if axis is not None and form(*SIZES[1])[axis] == shape[axis]:
            # As many steps as features, by chance: other numbers of steps are tried as well.
            forms.append(lambda steps, _, shape=shape, axis=axis: (*shape[:axis], steps, *shape[axis + 1 :]))
        taken = confirm(network, functools.partial(_run, module, states, cut), shape, forms, Failure)
        if run.chain.steps() != 1 and taken >= is_open:
            return network
        single = single or network
    return single


def _univariate(steps, sequences, features):
    return sequences, steps


#: Shapes of inputs, from numbers of steps, sequences and features; the first one is for a single feature.
_FORMS = (
    _univariate,
    lambda steps, sequences, features: (steps, sequences, features),
    lambda steps, sequences, features: (steps, features),
    lambda steps, sequences, features: (steps, 1, features),
    lambda steps, sequences, features: (1, steps, features),
    lambda steps, sequences, features: (sequences, features, steps),
    lambda steps, sequences, features: (1, features, steps),
    lambda steps, sequences, features: (sequences, 1, features),
    lambda steps, sequences, features: (1, 1, features),
)


def _feature_sizes(module: nn.Module) -> list[int]:
    """Numbers of features that the module's input may have: those of its layers, first of those that can be run."""
    parts = sorted(module.modules(), key=lambda part: not isinstance(part, LAYERS))
    sizes = (getattr(part, field, None) for part in parts for field in _SIZES_OF_LAYERS)
    return list(dict.fromkeys(size for size in sizes if isinstance(size, int)))

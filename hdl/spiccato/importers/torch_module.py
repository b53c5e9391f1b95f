"""Networks from PyTorch modules.

A copy of the module is run on labels (:mod:`.torch_run`), with inputs of the usual shapes or of a given one.
"""

import copy
from typing import Any

import torch
from torch import nn

from ..errors import ModelError
from ..network import Network
from .chain import SIZES, confirm
from .torch_run import SUPPORTED, Failure, Run, first_line, tensors

__all__ = ["trace"]

#: Where layers keep the number of features that they take.
_SIZES_OF_LAYERS = ("input_size", "in_features", "in_channels", "num_features")


def trace(module: nn.Module, example_input: Any = None) -> Network:
    """The network that a module computes when it is used (dropout counts as switched off); named after its class.

    Parameters
    ----------
    module : nn.Module
    example_input : tensor or array, optional
        An input of the shape that ``forward`` takes; its values do not matter. By default the usual shapes are tried.

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
    if not any(isinstance(part, nn.LSTM) for part in module.modules()):
        raise ModelError(f"module {what} has no nn.LSTM; supported: {SUPPORTED}")
    if example_input is not None and not hasattr(example_input, "shape"):
        raise ModelError(f"example_input is a {type(example_input).__name__}; expected a tensor or an array")
    shape = None if example_input is None else tuple(example_input.shape)
    if shape is not None and 0 in shape:
        raise ModelError(f"example_input, of shape {shape}, is empty; expected at least one step of one sequence")
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
        return _search(module)
    run = Run(module)
    try:
        network = run.network(shape)
    except Failure as failure:
        raise failure.error(module, "example_input, ") from None
    # A single step shows no order; more of them may be along any axis of size 1.
    axes = [axis for axis, size in enumerate(shape) if size == 1 and run.chain.steps() == 1]
    forms = [lambda steps, _, axis=axis: (*shape[:axis], steps, *shape[axis + 1 :]) for axis in axes]
    confirm(network, lambda other: Run(module).network(other), shape, forms, Failure)
    return network


def _search(module: nn.Module) -> Network:
    """The network by the first of the usual shapes of an input that the module takes.

    A shape of a single step counts only if none of several steps does: there, any step is the last one. So does one
    that fits by chance, with one number of steps and sequences only.
    """
    attempts = [
        lambda steps, sequences, form=form, features=features: form(steps, sequences, features)
        for features in _feature_sizes(module)
        for form in _FORMS[0 if features == 1 else 1 :]
    ]
    failures, single = [], None
    fixed_shapes: list[tuple[int, ...]] = []
    for form in attempts:
        run = Run(module)
        shape = form(*SIZES[0])
        try:
            network = run.network(shape)
        except Failure as failure:
            if failure.refusal and failure.length:
                raise failure.error(module) from None
            failures.append(failure)
            # Sizes that a module fixes tell what it takes.
            new = [fixed for fixed in run.fixed_shapes if fixed not in fixed_shapes]
            fixed_shapes += new
            attempts += [lambda *_, fixed=fixed: fixed for fixed in new]
            continue
        is_open = form(*SIZES[1]) != shape
        forms, axis = [form], run.chain.time_axis
        if axis is not None and form(*SIZES[1])[axis] == shape[axis]:
            # As many steps as features, by chance: other numbers of steps are tried as well.
            forms.append(lambda steps, _, shape=shape, axis=axis: (*shape[:axis], steps, *shape[axis + 1 :]))
        taken = confirm(network, lambda other: Run(module).network(other), shape, forms, Failure)
        if run.chain.steps() > 1 and taken >= is_open:
            return network
        single = single or network
    if single is None:
        raise max(failures, key=lambda failure: failure.refusal is not None).error(module)
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
    parts = sorted(module.modules(), key=lambda part: not isinstance(part, nn.LSTM))
    sizes = (getattr(part, field, None) for part in parts for field in _SIZES_OF_LAYERS)
    return list(dict.fromkeys(size for size in sizes if isinstance(size, int)))

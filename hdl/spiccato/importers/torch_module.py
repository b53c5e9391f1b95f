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
    if example_input is None:
        return _search(module)
    try:
        return Run(module).network(tuple(example_input.shape))
    except Failure as failure:
        raise failure.error(module, "example_input, ") from None


def _search(module: nn.Module) -> Network:
    """The network by the first of the usual shapes of an input that the module takes.

    A shape of a single step counts only if none of several steps does: there, any step is the last one.
    """
    attempts = [
        [form(*sizes, features) for sizes in SIZES]
        for features in _feature_sizes(module)
        for form in _FORMS[0 if features == 1 else 1 :]
    ]
    failures, single = [], None
    for shapes in attempts:
        run = Run(module)
        try:
            network = run.network(shapes[0])
        except Failure as failure:
            if failure.refusal and failure.length:
                raise failure.error(module) from None
            failures.append(failure)
            # Sizes that a module fixes tell what it takes.
            attempts += [[shape] for shape in run.fixed_shapes if [shape] not in attempts]
            continue
        confirm(network, lambda shape: Run(module).network(shape), shapes[1:], Failure)
        if run.chain.steps() > 1:
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

"""What a PyTorch module keeps from call to call: buffers, other tensors and numbers among its attributes.

An attribute's value may be nested: tuples, lists, dicts and the like of tensors and anything else.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import nn

from ..errors import ModelError

__all__ = [
    "Slot",
    "changed_slots",
    "changed_values",
    "check_reset",
    "fixed_values",
    "keeps",
    "map_tensors",
    "put",
    "taken",
    "tensors",
]

# Values that hold themselves are followed so far.
_MAX_DEPTH = 6


class Slot(NamedTuple):
    """An attribute of a module inside another."""

    module: str
    key: str

    @property
    def name(self) -> str:
        """The attribute as the user may write it."""
        return f"{self.module}.{self.key}".lstrip(".")


def tensors(value: Any) -> Iterator[torch.Tensor]:
    """All tensors in nested values."""
    return (leaf for _, leaf in _leaves(value, "") if isinstance(leaf, torch.Tensor))


def _leaves(value: Any, path: str, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """(path, value) of whatever is no container."""
    if depth == _MAX_DEPTH:
        return
    if isinstance(value, Mapping):
        parts = [(f"{path}[{key!r}]", part) for key, part in value.items()]
    elif isinstance(value, (tuple, list, deque)):
        parts = [(f"{path}[{number}]", part) for number, part in enumerate(value)]
    else:
        yield path, value
        own = {} if isinstance(value, (torch.Tensor, nn.Module, type)) else getattr(value, "__dict__", {})
        parts = [(f"{path}.{key}", part) for key, part in own.items()]
    for inner, part in parts:
        yield from _leaves(part, inner, depth + 1)


def map_tensors(value: Any, path: str, change: Callable[[str, torch.Tensor], Any]) -> Any:
    """Nested values with ``change(path, tensor)`` in the place of each tensor."""
    if isinstance(value, torch.Tensor):
        return change(path, value)
    if isinstance(value, dict):
        return {key: map_tensors(part, f"{path}[{key!r}]", change) for key, part in value.items()}
    if isinstance(value, (tuple, list, deque)):
        parts = [map_tensors(part, f"{path}[{number}]", change) for number, part in enumerate(value)]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return value


def _slots(module: nn.Module) -> Iterator[tuple[Slot, Any]]:
    """All attributes of a module and of the modules in it but modules themselves."""
    for name, part in module.named_modules():
        for fields in (part._parameters, part._buffers, vars(part)):
            for key, value in fields.items():
                if fields is not vars(part) or not key.startswith("_"):
                    yield Slot(name, key), value


def put(module: nn.Module, slot: Slot, value: Any) -> None:
    """Set an attribute, whatever kind of tensor was there."""
    part = module.get_submodule(slot.module)
    fields = next((fields for fields in (part._parameters, part._buffers) if slot.key in fields), vars(part))
    fields[slot.key] = value


def taken(module: nn.Module, slot: Slot) -> Any:
    """The value of an attribute; None if there is none."""
    return dict(_slots(module)).get(slot)


def keeps(module: nn.Module, tensor: torch.Tensor) -> bool:
    """Whether a tensor is, or is a part of, one that the module keeps."""
    return any(_shares(tensor, kept) for _, value in _slots(module) for kept in tensors(value))


def _shares(tensor: torch.Tensor, kept: torch.Tensor) -> bool:
    return tensor.untyped_storage().data_ptr() == kept.untyped_storage().data_ptr()


def changed_slots(
    module: nn.Module, is_label: Callable[[Any], bool], written: Iterable[torch.Tensor]
) -> dict[Slot, Any]:
    """Attributes that hold, after a call, what depends on the input, and their values.

    Parameters
    ----------
    module
    is_label
        Whether a tensor depends on the input.
    written
        Tensors that something was written into that does.
    """
    written = list(written)
    return {
        slot: value
        for slot, value in _slots(module)
        if any(is_label(tensor) or any(_shares(one, tensor) for one in written) for tensor in tensors(value))
    }


def fixed_values(module: nn.Module, is_label: Callable[[Any], bool]) -> dict[str, Any]:
    """Everything that the module keeps and that does not depend on the input, by its path."""
    return {
        path: leaf.clone() if isinstance(leaf, torch.Tensor) else leaf
        for slot, value in _slots(module)
        for path, leaf in _leaves(value, slot.name)
        if not is_label(leaf)
    }


def changed_values(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Paths of what has another value after a call, or was not there before."""
    return [path for path, value in after.items() if path not in before or not _are_same(before[path], value)]


def _are_same(value: Any, other: Any) -> bool:
    if value is other:
        return True
    if isinstance(value, torch.Tensor) or isinstance(other, torch.Tensor):
        return type(value) is type(other) and torch.equal(value, other)
    return type(value) is type(other) and isinstance(value, (int, float, complex, str, bytes)) and value == other


def check_reset(module: nn.Module, states: Iterable[str]) -> None:
    """Refuse a module whose state is still that of an earlier call."""
    values = {path: leaf for slot, value in _slots(module) for path, leaf in _leaves(value, slot.name)}
    for path in states:
        value = values.get(path)
        if isinstance(value, torch.Tensor) and value.any():
            raise ModelError(
                f"the state '{path}' is not zero: module {type(module).__name__} keeps it of an earlier call, and it "
                "must be reset"
            )

"""The tensors in a state dict, or in a checkpoint that has one among other things."""

import re
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError

__all__ = ["RECURRENT_FIELD", "array_of", "check_shape", "shape_of", "tensors_of"]

TYPES = "floating-point numbers (float64, float32, float16 or bfloat16)"

#: Keys under which checkpoints keep the state dict.
CHECKPOINT_KEYS = ("state_dict", "model_state_dict", "model", "model_state", "net")

# Beside a state dict in a checkpoint: what belongs to the training, and copies of the same network.
_TRAINING = re.compile(r"optimi[sz]er|(?:^|_)(?:optims?|opt|(?:lr_?)?schedulers?|rngs?|random)(?:_|$)", re.IGNORECASE)
_COPIES = re.compile(r"(?:^|_)(?:ema|swa|avg|averaged?|shadow|best)(?:_|$)", re.IGNORECASE)

# Checkpoints in checkpoints are followed so far.
_MAX_DEPTH = 3

# Without a layer number, a field is of a cell. h0_l0 and c0_l0 are no names of PyTorch's, but those under which a
# network's initial states are saved.
RECURRENT_FIELD = re.compile(
    r"(?P<field>(?:weight|bias)_(?:ih|hh|hr)|[hc]0(?=_l))"
    r"(?:_l(?P<layer>0|[1-9][0-9]{0,3})(?P<reverse>_reverse)?)?"
)


def _is_tensor(value: Any) -> bool:
    try:
        return hasattr(value, "dtype") and hasattr(value, "shape") and not isinstance(value, type)
    except Exception:  # nested tensors, and parameters of lazy modules: tensors without a shape
        return True


def shape_of(value: Any) -> tuple[int, ...]:
    """The shape of a tensor of any framework."""
    return tuple(map(int, value.shape))


def check_shape(key: str, value: Any) -> None:
    """Refuse a tensor that has no shape."""
    try:
        shape_of(value)
    except Exception:  # of any kind: tensors of other packages, too
        raise ModelError(
            f"tensor {key!r} has no shape, as nested tensors and those of lazy modules that have not run; "
            "expected a dense one"
        ) from None


def _is_state_dict(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and len(value) > 0
        and all(isinstance(key, str) and _is_tensor(value[key]) for key in value)
    )


def tensors_of(content: Mapping[Any, Any], depth: int = 0) -> tuple[dict[str, Any], str | None]:
    """The tensors of a state dict or checkpoint, and the checkpoint's key."""
    others = [key for key in content if not isinstance(key, str) or not _is_tensor(content[key])]
    if not others:
        return {key: content[key] for key in content}, None
    what = f"{others[0]!r} is a {type(content[others[0]]).__name__}"
    if any(isinstance(key, str) and RECURRENT_FIELD.fullmatch(key.rpartition(".")[2]) for key in content):
        raise ModelError(f"{what}; expected a tensor under a name, as in model.state_dict()")
    found = [key for key in content if isinstance(key, str) and _is_state_dict(content[key])]
    known = [key for key in found if key in CHECKPOINT_KEYS]
    if len(found) == 1 or len(known) == 1:
        key = (known or found)[0]
        _check_rest(content, key, content[key])
        return dict(content[key]), key
    if found:
        names = ", ".join(map(repr, found))
        raise ModelError(
            f"a checkpoint with several state dicts, {names}; give one of them: "
            f"spiccato.load(torch.load(path, weights_only=True)[{found[0]!r}])"
        )
    inner = [key for key in CHECKPOINT_KEYS if isinstance(content.get(key), Mapping)]
    if len(inner) == 1 and depth < _MAX_DEPTH:
        try:
            tensors, _ = tensors_of(content[inner[0]], depth + 1)
        except ModelError as error:
            raise ModelError(f"in {inner[0]!r}: {error}") from None
        _check_rest(content, inner[0], tensors)
        return tensors, inner[0]
    raise ModelError(
        f"{what}; expected a tensor, or a checkpoint with a state dict under one of the keys "
        f"{', '.join(CHECKPOINT_KEYS)}"
    )


def _check_rest(content: Mapping[Any, Any], taken: str, tensors: Mapping[str, Any]) -> None:
    """Refuse a checkpoint that has tensors beside those under ``taken``: parts of the network, or its constants."""
    rest = {key: value for key, value in content.items() if key != taken}
    if more := [key for key in rest if _hastensors_of({key: rest[key]}, tensors)]:
        raise ModelError(
            f"a checkpoint with more than the state dict under {taken!r}: tensors under {', '.join(map(repr, more))}, "
            "too; expected one state dict of the whole model or, if they do not matter, "
            f"spiccato.load(torch.load(path, weights_only=True)[{taken!r}])"
        )


def _hastensors_of(entries: Mapping[Any, Any], taken: Mapping[str, Any]) -> bool:
    """Whether tensors of more than one number are anywhere in entries that may matter beside the tensors ``taken``."""
    seen: dict[int, Any] = {}
    waiting: list[Any] = [entries]
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen[id(value)] = value
        if _is_tensor(value):
            try:
                if shape_of(value):
                    return True
            except Exception:  # no shape: more than one number
                return True
        elif isinstance(value, Mapping):
            if not {"state", "param_groups"} <= value.keys():
                waiting += [one for key, one in value.items() if not _is_of_training(key, one, taken)]
        elif isinstance(value, list | tuple | set | frozenset):
            waiting += value
        elif hasattr(value, "state_dict"):
            return True
    return False


def _is_of_training(key: Any, value: Any, taken: Mapping[str, Any]) -> bool:
    """Whether an entry is of an optimiser or the like, or a copy of the tensors ``taken``."""
    if not isinstance(key, str):
        return False
    is_copy = isinstance(value, Mapping) and value.keys() == taken.keys() and _COPIES.search(key)
    return bool(_TRAINING.search(key) or is_copy)


def array_of(key: str, value: Any) -> NDArray[Any]:
    """A tensor of any framework as an array of floating-point numbers."""
    torch = sys.modules.get("torch")
    try:
        if torch is not None and isinstance(value, torch.Tensor):
            value = _from_torch(torch, key, value)
        array = np.asarray(value)
    except ModelError:
        raise
    except Exception as error:  # of any kind: tensors of other packages read as they like
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(f"tensor {key!r} of type {value.dtype} cannot be read: {reason}") from None
    if array.dtype.kind != "f":
        raise ModelError(f"tensor {key!r} has type {value.dtype}; expected {TYPES}")
    return array


def _from_torch(torch: Any, key: str, value: Any) -> NDArray[Any]:
    if value.is_quantized:
        raise ModelError(
            f"tensor {key!r} is quantised ({value.dtype}); expected {TYPES}: those of the model before it "
            "was quantised, or .dequantize() of each"
        )
    if value.dtype not in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        raise ModelError(f"tensor {key!r} has type {value.dtype}; expected {TYPES}")
    if value.is_meta:
        raise ModelError(f"tensor {key!r} is on the device meta and has no values; expected one with values")
    if value.layout is not torch.strided:
        raise ModelError(f"tensor {key!r} is of layout {value.layout}; expected a dense one: .to_dense()")
    value = value.detach().cpu().resolve_neg()
    return (value.float() if value.dtype is torch.bfloat16 else value).numpy()

"""Networks from PyTorch's state dicts, in memory and in .pt files. Modules are read by :mod:`.torch_module`."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..network import ModelError, Network, network_from_state_dict

__all__ = ["arrays", "load"]

#: Keys under which checkpoints keep the state dict.
CHECKPOINT_KEYS = ("state_dict", "model_state_dict")


def load(path: Path) -> Network:
    """The network in a file with a state dict, or with a checkpoint that has one under one of CHECKPOINT_KEYS."""
    hint = "save a state dict: torch.save(model.state_dict(), path)"
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ModelError(f"holds more than tensors, such as a pickled module, and is not loaded; {hint}") from None
    except OSError:
        raise
    except Exception as error:  # of any kind: damaged files are not expected there
        raise ModelError(f"not a PyTorch state dict ({_first_line(error)}); {hint}") from None
    if not isinstance(content, Mapping):
        raise ModelError(f"holds a {type(content).__name__}; {hint}")
    for key in CHECKPOINT_KEYS:
        if isinstance(content.get(key), Mapping):
            content = content[key]
    return network_from_state_dict(arrays(content), path.stem)


def arrays(state: Mapping[str, Any]) -> dict[str, Any]:
    """A state dict with arrays where it has tensors; types that numpy lacks become float32."""
    result = {}
    for key, value in state.items():
        if isinstance(value, torch.Tensor):
            value = value.detach().cpu()
            value = (value.float() if value.dtype is torch.bfloat16 else value).numpy()
        elif not hasattr(value, "dtype"):
            raise ModelError(f"'{key}' is a {type(value).__name__}; expected a tensor")
        result[str(key)] = value
    return result


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]

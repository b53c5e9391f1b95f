"""Networks in PyTorch's files: state dicts and checkpoints with one. Nothing but tensors is ever unpickled."""

import io
import pickle
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from ..errors import ModelError
from ..network import Network
from .cut import WHOLE, Cut
from .state_dict import network_from_state_dict

__all__ = ["load"]

_HINT = "save a state dict: torch.save(model.state_dict(), path)"


def load(path: Path, layers: str | Sequence[str] | None = None, cut: Cut = WHOLE) -> Network:
    """The network in a file that ``torch.save`` wrote.

    Parameters
    ----------
    path : Path
    layers, cut
        As for :func:`.state_dict.network_from_state_dict`.

    Raises
    ------
    ModelError
        The file is damaged or holds something else than tensors, or ``network_from_state_dict`` refuses its content.
    OSError
        It cannot be read.
    """
    file = io.BytesIO(path.read_bytes())  # so that a damaged file is no failure of the operating system
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old forms of storage, which are read all the same
            content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(_refusal(str(error))) from None
    except Exception as error:  # of any kind: damaged files are not expected there
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(f"not a PyTorch state dict ({reason}); {_HINT}") from None
    if not isinstance(content, Mapping):
        raise ModelError(f"holds a {type(content).__name__}; {_HINT}")
    return network_from_state_dict(content, path.stem, layers=layers, cut=cut)


def _refusal(message: str) -> str:
    """What to say where ``torch.load`` met more than tensors, or something that is no pickle."""
    match = re.search(r"GLOBAL ([\w.]+)", message)
    if match is None:
        return f"not a PyTorch state dict; {_HINT}"
    is_module = match[1].startswith("torch.nn.modules.")
    what = "a pickled module" if is_module else "more than tensors, such as a pickled module"
    return f"holds {what} ({match[1]}), and is not loaded; {_HINT}"

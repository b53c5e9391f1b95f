"""Tensors of labels (:mod:`.stages`), which intercept every function of PyTorch that they meet."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .stages import Misfit
from .streaming import Labels

__all__ = ["LabelTensors", "array_of"]


class LabelTensors:
    """Makes tensors of labels and reads them.

    Parameters
    ----------
    dtype : torch.dtype
        Their type, in which labels are exact.
    call : function
        Called with (execute, function, types, args, kwargs) in the place of a function that meets such a tensor;
        ``execute`` takes the others and does what PyTorch does.
    """

    def __init__(self, dtype: torch.dtype, call: Callable[..., Any]) -> None:
        class LabelTensor(torch.Tensor):
            """A tensor of labels."""

            @classmethod
            def __torch_function__(cls, func, types, args=(), kwargs=None):
                return call(super().__torch_function__, func, types, args, kwargs or {})

        self._type = LabelTensor
        self._dtype = dtype

    def holds(self, value: Any) -> bool:
        """Whether a value is a tensor of labels."""
        return isinstance(value, self._type)

    def tensor(self, labels: Labels) -> torch.Tensor:
        """Labels as a tensor."""
        if labels.size and labels.max() >= 2 / torch.finfo(self._dtype).eps:
            raise Misfit(
                f"an input of this size gives {labels.max()} values to follow; supported: an "
                "example_input of fewer steps"
            )
        return torch.from_numpy(labels.copy()).to(self._dtype).as_subclass(self._type)

    @staticmethod
    def labels(tensor: torch.Tensor) -> Labels:
        """The labels in a tensor."""
        return tensor.as_subclass(torch.Tensor).to(torch.int64).numpy()


def array_of(tensor: torch.Tensor) -> NDArray[np.float64]:
    """A tensor of constants as an array."""
    return tensor.detach().cpu().to(torch.float64).numpy()

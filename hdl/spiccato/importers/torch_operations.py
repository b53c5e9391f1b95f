"""What functions of PyTorch do with labels (:mod:`.stages`): layers, activations and constants are followed.

Whatever merely moves values is executed; anything else is refused.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from ..errors import ModelError
from ..layers import LinearLayer
from .activations import Function, clip, function_named
from .chain import Chain
from .elementwise import added, applied, multiplied
from .reasons import reason_of
from .torch_functions import (
    ACTIVATIONS,
    ARITHMETIC,
    BATCH_NORM,
    CLIPS,
    CONVERSIONS,
    DROPOUTS,
    INDEXED,
    MOVES,
    SIZED,
    WRITES,
)
from .torch_kept import tensors
from .torch_labels import LabelTensors, array_of
from .torch_recurrent import RECURRENT, run_recurrent

__all__ = ["SUPPORTED", "Call", "Operations"]

SUPPORTED = "nn.LSTM, nn.GRU, nn.Linear, activations and constants, in one chain"

#: What torch.nn.functional.hardtanh has for limits.
_HARD_LIMITS = {"min_val": -1.0, "max_val": 1.0}


@dataclass(frozen=True)
class Call:
    """A call of a function: where, the name of the module that it is for, and what it got."""

    place: str
    layer: str
    name: str
    execute: Callable[..., Any]
    function: Any
    types: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @property
    def plain_name(self) -> str:
        """The name without the underscores of methods, and of those in place."""
        return self.name.strip("_")

    @property
    def in_place(self) -> bool:
        """Whether the function changes its first argument."""
        is_named_so = self.name.endswith("_") and not self.name.startswith("_")
        # Functions of torch.nn.functional have an argument for it behind their parameters.
        parameters = ACTIVATIONS.get(self.plain_name, CLIPS.get(self.plain_name))
        more = () if parameters is None else self.args[1 + len(parameters) :]
        return is_named_so or self.name in WRITES or bool(self.kwargs.get("inplace")) or more[:1] == (True,)

    def run(self) -> Any:
        """What PyTorch does."""
        return self.execute(self.function, self.types, self.args, self.kwargs)

    def parameters(self, names: tuple[str, ...]) -> dict[str, Any]:
        """Arguments behind the first one by their names, as far as they are given."""
        return dict(zip(names, self.args[1:])) | {key: self.kwargs[key] for key in names if key in self.kwargs}


@dataclass
class Operations:
    """Functions on the labels of a chain.

    Attributes
    ----------
    chain : Chain
    labels : LabelTensors
    failed_sizes : list
        Sizes of a view or the like that did not fit.
    """

    chain: Chain
    labels: LabelTensors
    failed_sizes: list[Any] = field(default_factory=list)

    def follow(self, call: Call) -> Any:
        """What a function gives.

        Raises
        ------
        ModelError
            It is not supported.
        """
        result = self._computed(call)
        if result is None:
            return self._moved(call)
        if call.in_place and self.labels.holds(call.args[0]) and result is not call.args[0]:
            # Whatever else refers to these values sees the result, too.
            call.args[0].as_subclass(torch.Tensor).copy_(result.as_subclass(torch.Tensor))
            return call.args[0]
        return result

    def _computed(self, call: Call) -> Any:
        """The result of a layer, a function or constants; None if the call is none of these."""
        name, args, kwargs = call.plain_name, call.args, call.kwargs
        if call.in_place and not self.labels.holds(args[0]):
            return None
        if call.name in RECURRENT:
            return run_recurrent(self.chain, self.labels, call.place, call.layer, call.name, args)
        if call.name == "linear" and self.labels.holds(args[0]):
            weight, bias = [*args[1:], *kwargs.values(), None][:2]
            return self._linear(call, weight, bias)
        if call.name in DROPOUTS:
            training = kwargs.get("training", args[2] if len(args) > 2 else True)
            return None if training else args[0]
        if call.name == "positive":
            return args[0]
        if call.function is nn.functional.batch_norm:
            return self._batch_norm(call.place, **dict(zip(BATCH_NORM, args)) | kwargs)
        if name in ARITHMETIC:
            return self._arithmetic(call.place, ARITHMETIC[name], *args, **kwargs)
        if name in ACTIVATIONS or name in CLIPS or name == "prelu":
            return self._activation(call, name)
        return None

    def _moved(self, call: Call) -> Any:
        """The result of a function that moves values."""
        if call.name in CONVERSIONS:
            result = call.run()
            if result.dtype in (torch.float32, torch.float64) and result.device.type == "cpu":
                return result
            raise ModelError(
                f"{call.place}: a conversion to {result.dtype} is not supported; supported: torch.float32 and "
                "torch.float64"
            )
        if call.name in WRITES:
            if all(self.labels.holds(value) for value in (call.args[0], call.args[1 if call.name == "copy_" else 2])):
                return call.run()
        elif call.name in MOVES:
            others = [value for value in tensors((call.args, call.kwargs)) if not self.labels.holds(value)]
            if not others or call.name in INDEXED and self.labels.holds(call.args[0]):
                try:
                    return call.run()
                except RuntimeError:
                    if call.name in SIZED:
                        self.failed_sizes.append(call.args[1:])
                    raise
        read = next(value for value in tensors((call.args, call.kwargs)) if self.labels.holds(value))
        what = f"{call.place}: {call.plain_name} on {self.chain.what(self.labels.labels(read))}"
        reason = reason_of(call.plain_name)
        raise ModelError(f"{what} is not supported{f' ({reason})' if reason else ''}; supported: {SUPPORTED}")

    def _linear(self, call: Call, weight: torch.Tensor, bias: torch.Tensor | None) -> Any:
        if any(self.labels.holds(value) for value in (weight, bias)):
            raise ModelError(
                f"{call.place}: weights that depend on the input are not supported; supported: {SUPPORTED}"
            )
        try:
            linear = LinearLayer(array_of(weight), *([] if bias is None else [array_of(bias)]))
        except ModelError as error:
            raise ModelError(f"{call.place}: {error}") from None
        labels = self.labels.labels(call.args[0])
        return self.labels.tensor(self.chain.linear(call.place, call.layer, labels, linear))

    def _arithmetic(
        self, place: str, operation: str, input: Any, other: Any = None, *, alpha: float = 1, **more: Any
    ) -> Any:
        """Labels of an operation with a constant, or of a sum or product; None if it is no such operation."""
        if more.get("out") is not None or more.get("rounding_mode") is not None:
            return None
        if operation == "neg":
            return self._constants(place, input, -1.0)
        if operation == "rsub":
            operation, input, other = "sub", other, input
        if self.labels.holds(input) and self.labels.holds(other):
            return self._of_two(place, operation, input, other, alpha)
        reversed_ = not self.labels.holds(input)
        data, constant = (other, input) if reversed_ else (input, other)
        if isinstance(constant, complex) or isinstance(constant, torch.Tensor) and constant.is_complex():
            return None
        constant = array_of(torch.as_tensor(constant))
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

    def _of_two(self, place: str, operation: str, one: Any, other: Any, alpha: float) -> Any:
        if operation == "div":
            return None
        one, other = np.broadcast_arrays(self.labels.labels(one), self.labels.labels(other))
        if operation == "mul":
            result = multiplied(self.chain, place, "", one, other)
        else:
            result = added(self.chain, place, "", one, other, sign=alpha if operation == "add" else -alpha)
        return self.labels.tensor(result)

    def _activation(self, call: Call, name: str) -> Any:
        """Labels of an activation; None if it has parameters that are none of numbers."""
        if call.kwargs.get("out") is not None:
            return None
        try:
            function = self._function(call, name)
        except ModelError as error:
            raise ModelError(f"{call.place}: {name} with {error}") from None
        if function is None:
            return None
        try:
            return self.labels.tensor(
                applied(self.chain, call.place, call.layer, self.labels.labels(call.args[0]), function)
            )
        except ModelError as error:
            text = str(error)
            raise type(error)(text if text.startswith(call.place) else f"{call.place}: {text}") from None

    def _function(self, call: Call, name: str) -> Function | None:
        if name == "prelu":
            slopes = np.unique(array_of(call.args[1]))
            if len(slopes) != 1:
                raise ModelError("slopes of each feature is not supported; supported: one for all")
            return Function("leaky_relu", float(slopes[0]))
        if name in CLIPS:
            limits = (_HARD_LIMITS if name == "hardtanh" else {}) | call.parameters(CLIPS[name])
            if any(value is not None and not isinstance(value, (int, float)) for value in limits.values()):
                return None
            low, high = (
                next((value for key, value in limits.items() if key.startswith(end)), None) for end in ("min", "max")
            )
            return clip(low, high)
        behind = call.args[1 + len(ACTIVATIONS[name]) :]
        if not all(isinstance(value, bool) for value in behind) or call.kwargs.keys() - {*ACTIVATIONS[name], "inplace"}:
            return None  # of torch's own elu, scales
        parameters = call.parameters(ACTIVATIONS[name])
        approximate = parameters.pop("approximate", "none")
        if approximate != "none":
            raise ModelError(f"approximate={approximate!r} is not supported; supported: 'none'")
        return function_named(name, *parameters.values())

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
        if training or running_mean is None or not self.labels.holds(input):
            return None
        mean, variance = array_of(running_mean), array_of(running_var)
        factor = (1.0 if weight is None else array_of(weight)) / np.sqrt(variance + eps)
        offset = (0.0 if bias is None else array_of(bias)) - mean * factor
        shape = (-1,) + (1,) * (input.ndim - 2)
        return self._constants(place, input, factor.reshape(shape), offset.reshape(shape))

    def _constants(self, place: str, data: Any, factor: Any, offset: Any = 0.0) -> torch.Tensor:
        return self.labels.tensor(self.chain.constants(place, "", self.labels.labels(data), factor, offset))

"""One node of an ONNX graph while it is run on labels."""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from ..errors import ModelError
from .chain import Chain
from .streaming import Labels

__all__ = ["NodeRun", "name_of"]


def name_of(node: onnx.NodeProto) -> str:
    """What the model's author may call a node."""
    return node.name or next(filter(None, node.output), node.op_type)


@dataclass(frozen=True, eq=False)
class NodeRun:
    """A node, and the values that it reads.

    Attributes
    ----------
    chain : Chain
    proto : onnx.NodeProto
    values : mapping
        Name -> array, of labels or of constants.
    labelled : set
        Names of the values that are labels.
    """

    chain: Chain
    proto: onnx.NodeProto
    values: Mapping[str, NDArray[Any]]
    labelled: Set[str]

    @property
    def kind(self) -> str:
        """The operator."""
        return self.proto.op_type

    @property
    def name(self) -> str:
        """What the model's author may call it."""
        return name_of(self.proto)

    @property
    def place(self) -> str:
        """The node in words."""
        return f"node '{self.name}' ({self.kind})"

    @property
    def attributes(self) -> dict[str, Any]:
        """Its attributes by name."""
        return {entry.name: onnx.helper.get_attribute_value(entry) for entry in self.proto.attribute}

    def has(self, number: int) -> bool:
        """Whether an input is given."""
        return number < len(self.proto.input) and self.proto.input[number] != ""

    def is_labelled(self, number: int) -> bool:
        """Whether an input depends on the model's."""
        return self.proto.input[number] in self.labelled

    def value(self, number: int) -> NDArray[Any]:
        """An input, whatever it is."""
        return self.values[self.proto.input[number]]

    def labels(self, number: int = 0) -> Labels:
        """An input that depends on the model's."""
        if not self.is_labelled(number):
            raise ModelError(f"{self.place}: its input {number} does not depend on the model's input")
        return self.value(number).astype(np.int64)

    def constant(self, number: int, what: str) -> NDArray[np.float64]:
        """An input that does not depend on the model's."""
        if self.is_labelled(number):
            raise ModelError(
                f"{self.place}: {what} (its input {number}) depends on the model's input; supported: constants"
            )
        return np.asarray(self.value(number), dtype=np.float64)

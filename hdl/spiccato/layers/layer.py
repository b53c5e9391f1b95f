"""What all kinds of layers have in common, and the registry of kinds."""

import abc
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import ProgramError
from ..numbers import GATES
from .arithmetic import EXACT, Array, Rounding

if TYPE_CHECKING:
    from .linear import LinearLayer

__all__ = ["KINDS", "Layer", "LoweredLayer", "Step", "kind_named", "register"]


class Step(NamedTuple):
    """One timestep of a layer.

    Attributes
    ----------
    rows : float64 (rows per unit, units)
        The sums of each unit's rows behind their activation functions.
    h : float64 (units,)
        Results.
    c : float64 (state size,)
        New cell state; empty for kinds without one.
    """

    rows: Array
    h: Array
    c: Array


@dataclass(frozen=True, eq=False)
class LoweredLayer:
    """A layer as the accelerator knows it: rows, each unit's next to each other.

    Attributes
    ----------
    kind : type of Layer
    input : float64 (units, rows per unit, inputs)
        Multiplied with the layer's input.
    recurrent : float64 (units, rows per unit, units), or None
        Multiplied with the layer's previous results.
    bias : float64 (units, rows per unit)
    initial_h, initial_c : float64 (units,), or None
        What sequences start from; None: zero.
    activation : (str, float or None), or None
        Name and parameter of a dense layer's function.
    reads : int
        Its input is the results of so many layers before it, one behind the other.
    log2_scale : int64 (units,), or None
        What its results are divided by, so that vectors hold them, which compilation chooses.
    """

    kind: type["Layer"]
    input: Array
    recurrent: Array | None
    bias: Array
    initial_h: Array | None = None
    initial_c: Array | None = None
    activation: tuple[str, float | None] | None = None
    reads: int = 1
    log2_scale: NDArray[np.int64] | None = None

    @property
    def log2_scales(self) -> NDArray[np.int64]:
        """int64 (units,), ``log2_scale``, or zeros."""
        return np.zeros(self.units, dtype=np.int64) if self.log2_scale is None else self.log2_scale

    @property
    def matrices(self) -> tuple[Array, ...]:
        """The input matrix and, if there is one, the recurrent matrix."""
        return (self.input,) if self.recurrent is None else (self.input, self.recurrent)

    @property
    def units(self) -> int:
        """Results of the layer."""
        return self.input.shape[0]

    @property
    def inputs(self) -> int:
        """Elements of the layer's input."""
        return self.input.shape[2]


class Layer(abc.ABC):
    """A layer of a network. Subclasses are frozen dataclasses; arrays among their fields are weights and biases.

    Attributes
    ----------
    kind : str
        The kind's name in :data:`KINDS` and in program files.
    title : str
        What messages call a layer of the kind.
    module : str
        What the PyTorch module is called that :meth:`tensors` are of.
    rows : tuple of str
        Rows of sums that each unit has, by the function that follows: "sigmoid" (which the hardware's tables take at
        half the argument), "tanh" or "linear".
    epilogue : str or None
        Name of what takes a unit's finished sums to its element of a vector; None: the sums are the network's outputs.
    recurrent, has_state, state_is_h : bool
        Whether the layer reads its previous results, whether it has a cell state c, and whether that is h, exactly.
    """

    kind: ClassVar[str]
    title: ClassVar[str]
    module: ClassVar[str]
    rows: ClassVar[tuple[str, ...]]
    epilogue: ClassVar[str | None]
    recurrent: ClassVar[bool] = False
    has_state: ClassVar[bool] = False
    state_is_h: ClassVar[bool] = False

    @property
    @abc.abstractmethod
    def input_size(self) -> int:
        """Number of inputs."""

    @property
    @abc.abstractmethod
    def output_size(self) -> int:
        """Number of units, and of results."""

    @property
    def state_size(self) -> int:
        """Number of elements of c."""
        return self.output_size if self.has_state else 0

    @property
    def state_kinds(self) -> tuple[str, ...]:
        """What a step leaves for the next one, if it has a state: h and c, or h alone if that is c."""
        if not self.has_state:
            return ()
        return ("h",) if self.state_is_h else ("h", "c")

    @property
    def initial_state(self) -> tuple[Array, Array]:
        """Previous results and cell state that sequences start from."""
        return np.zeros(self.output_size), np.zeros(self.state_size)

    @property
    @abc.abstractmethod
    def matrices(self) -> dict[str, Array]:
        """The weight matrices by the names that tables have for them, in the layout of the fields."""

    @property
    def parameters(self) -> int:
        """Number of weights, biases and constants of the initial state, all bias vectors included."""
        return sum(array.size for array in self.arrays().values())

    @property
    def linear(self) -> "LinearLayer | None":
        """The linear layer that it is no more than, or None."""
        return None

    def after(self, first: "LinearLayer") -> Self | None:
        """``first`` and then this layer, multiplied out in float64 as one; None: the kind cannot."""
        return None

    def arrays(self) -> dict[str, Array]:
        """All arrays that are given, by the names of their fields."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # type: ignore[arg-type]
        return {name: array for name, array in fields.items() if isinstance(array, np.ndarray)}

    def with_matrices(self, change: Callable[[Array], Array]) -> Self:
        """The layer with other matrices and the same biases."""
        changed = {name: change(array) for name, array in self.arrays().items() if array.ndim == 2}
        return dataclasses.replace(self, **changed)  # type: ignore[type-var]

    def joins(self, before: "Layer") -> bool:
        """Whether the layer is a further one of the PyTorch module of ``before``."""
        return False

    @abc.abstractmethod
    def tensors(self, number: int) -> dict[str, Array]:
        """Weights and biases under PyTorch's names within a module of which this is layer ``number``."""

    @abc.abstractmethod
    def step(self, x: Array, h: Array, c: Array, rounding: Rounding = EXACT) -> Step:
        """One timestep in float64: inputs ``x``, previous results ``h`` and cell state ``c``."""

    @abc.abstractmethod
    def lowered(self) -> LoweredLayer:
        """The layer as rows."""

    @classmethod
    @abc.abstractmethod
    def from_lowered(cls, lowered: LoweredLayer) -> Self:
        """A layer that computes what these rows do; the inverse of :meth:`lowered`."""


#: Kinds of layers by name.
KINDS: dict[str, type[Layer]] = {}

_Kind = TypeVar("_Kind", bound=type[Layer])


def register(kind: _Kind) -> _Kind:
    """Add a kind to :data:`KINDS`; a class decorator.

    Raises
    ------
    ValueError
        If there is another one of its name, or an epilogue cannot have rows as many as these.
    """
    if kind.epilogue is not None and len(kind.rows) not in (1, GATES):
        raise ValueError(f"kind {kind.kind!r} has {len(kind.rows)} rows a unit; an epilogue takes 1 or {GATES}")
    if kind.kind in KINDS:
        raise ValueError(f"two kinds of layers are named {kind.kind!r}")
    KINDS[kind.kind] = kind
    return kind


def kind_named(name: str) -> type[Layer]:
    """The kind of a name that a program has.

    Raises
    ------
    ProgramError
        If there is none.
    """
    if name not in KINDS:
        raise ProgramError(f"there is no kind of layer {name!r}; known: {', '.join(KINDS)} (others: import their file)")
    return KINDS[name]


def set_fields(instance: object, **fields: Any) -> None:
    """Assign fields of a frozen dataclass; only for use in ``__post_init__``."""
    for name, value in fields.items():
        object.__setattr__(instance, name, value)

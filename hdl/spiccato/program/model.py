"""A model: one compiled network, whatever else is loaded beside it.

Weights, row slots and issue words are counted from 0: a :class:`.program.Program` puts models one behind the other.
"""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..config import Config
from ..isa.issue import issue_word

__all__ = ["ARRAYS", "NAMES", "LayerPlace", "Model", "StateName", "digest_of"]

#: The arrays of a model by their names, and what files hold them as.
ARRAYS = {
    "weights": np.int16,
    "shifts": np.uint8,
    "biases": np.int64,
    "log2_scales": np.int8,
    "adjust": np.int16,
    "enable": np.uint8,
    "initial_h": np.int64,
    "initial_sums": np.int64,
    "initial_c": np.int64,
    "words": np.uint32,
}
#: What says when something is computed, and what only how it is called, and not what.
_TIMING = ("words", "spaced_latency", "initiation_interval", "critical_mac_bound", "full_mac_bound")
NAMES = ("name", "notes", "outputs", "origin", "states")


class StateName(NamedTuple):
    """What a model calls h or c of one of its layers.

    Attributes
    ----------
    name : str
    kind : "h" or "c"
    layer : int
        Number of the layer, of those that have a state.
    result : bool
        It is a result of the model beside its output, and not only what a call hands on to the next one.
    """

    name: str
    kind: str
    layer: int
    result: bool = False


@dataclass(frozen=True)
class LayerPlace:
    """A layer whose results are vectors, and where its state lies.

    Attributes
    ----------
    kind : str
        Its kind's name in :data:`spiccato.layers.KINDS`.
    units : int
        Elements of h, from vector block ``first_block`` on.
    reads : int
        Its input is the results of so many layers before it, one behind the other.
    cells : int
        Elements of c, from slot ``first_slot`` on: as many, or none.
    state_is_h : bool
        c is h, and a remainder below it.
    first_block, first_slot, slots : int
    turns : int
        Elements of h that each lane has of a slot.
    activation : (str, float or None), or None
        Name and parameter of a dense layer's function.
    recurrent : bool
        Its slots keep the recurrent half of their sums for the next inference.
    """

    kind: str
    units: int
    reads: int
    cells: int
    state_is_h: bool
    first_block: int
    first_slot: int
    slots: int
    turns: int
    activation: tuple[str, float | None] | None
    recurrent: bool

    @property
    def all_slots(self) -> slice:
        """Its part of arrays over all slots."""
        return slice(self.first_slot, self.first_slot + self.slots)


@dataclass(frozen=True, eq=False)
class Model:
    """A compiled network.

    Attributes
    ----------
    name : str
    config : Config
        What it was compiled for.
    input_size, output_size : int
    outputs : tuple of (str, int)
        Names and sizes of the parts of the output packet.
    layers : tuple of LayerPlace
    output_reads : int
        How many layers' results the linear layer reads.
    weight_formats : tuple of str
        Of :attr:`spiccato.config.Config.layer_formats`, one for each of ``layers`` and one for the linear layer.
    output_frac_bits : int
        Fraction bits of the output sums.
    spaced_latency, initiation_interval : int
        Predicted, in cycles: to the output of an inference that comes alone, and to the next one's, of whatever model,
        when inputs are always waiting.
    critical_mac_bound, full_mac_bound : int
        Cycles that the multiplications need with every multiplier busy: those the output waits for, and all.
    weights : int16 (cores, words, block, columns)
        Weight memories; 8-bit words hold the even tile in the low bytes and the odd one in the high ones. For 9x9
        multipliers each is one mantissa.
    shifts : uint8 (2, slots, cores, block)
        Row shifts of input and recurrent matrices; with 9x9 multipliers the rows' factors are in the bits above.
    biases : int64 (slots, cores, block)
    log2_scales : int8 (units of all layers,)
        log2 of what h is a multiple of, layer after layer: 0 but for dense layers without a bound.
    adjust, enable : int16, uint8 (input blocks, columns)
        Feature memory.
    initial_h : int64 (units of all layers,)
        h that a sequence starts from, with 17 fraction bits, layer after layer. Empty, like the next two, if h and c
        are zero.
    initial_sums, initial_c : int64 (state slots, cores, block), (state slots, cores, block / 4)
        The state that follows from it.
    words : uint32 (issue words, 32-bit words each)
        Of one inference.
    states : tuple of StateName
        h and c of every layer that has a state, h alone if that is its state; each by one name or more.
    notes : tuple of str
        What a user should know of its numbers, a sentence each (:mod:`spiccato.compiler.notes`). Decides nothing that
        it computes.
    origin : str or None
        ``Network.origin``: what was assumed of its source, taken as state, or left outside.
    """

    name: str
    config: Config
    input_size: int
    output_size: int
    outputs: tuple[tuple[str, int], ...]
    layers: tuple[LayerPlace, ...]
    output_reads: int
    weight_formats: tuple[str, ...]
    output_frac_bits: int
    spaced_latency: int
    initiation_interval: int
    critical_mac_bound: int
    full_mac_bound: int
    weights: NDArray[np.int16]
    shifts: NDArray[np.uint8]
    biases: NDArray[np.int64]
    log2_scales: NDArray[np.int8]
    adjust: NDArray[np.int16]
    enable: NDArray[np.uint8]
    initial_h: NDArray[np.int64]
    initial_sums: NDArray[np.int64]
    initial_c: NDArray[np.int64]
    words: NDArray[np.uint32]
    states: tuple[StateName, ...] = ()
    notes: tuple[str, ...] = ()
    origin: str | None = None

    @property
    def slots(self) -> int:
        """Row slots: so many slots of state memory a context takes, the linear layer's partial sums included."""
        return len(self.biases)

    @property
    def state_slots(self) -> int:
        """The first so many of its slots hold what an inference leaves for the next one."""
        return self.layers[-1].all_slots.stop

    @property
    def layer_inputs(self) -> tuple[int, ...]:
        """How many elements each layer reads, and the linear one at the end."""
        reads = [*(layer.reads for layer in self.layers), self.output_reads]
        units = [layer.units for layer in self.layers]
        return self.input_size, *(sum(units[n - reads[n] : n]) for n in range(1, len(reads)))

    @property
    def stateful_layers(self) -> tuple[LayerPlace, ...]:
        """Those that have a state."""
        return tuple(layer for layer in self.layers if layer.cells)

    @property
    def has_initial(self) -> bool:
        """A sequence starts from another state than zero."""
        return self.initial_h.size > 0

    @property
    def input_beats(self) -> int:
        """Beats of an input packet."""
        return -(-self.input_size // self.config.beat_values)

    @property
    def output_beats(self) -> int:
        """Beats of an output packet."""
        return -(-self.output_size // self.config.beat_values)

    @property
    def vector_blocks(self) -> int:
        """Blocks of the vector file that its slots write."""
        cores, quarters = self.config.cores, self.config.quarters
        return max(-(-layer.slots * layer.turns * cores // quarters) + layer.first_block for layer in self.layers)

    @functools.cached_property
    def digest(self) -> str:
        """64-bit hexadecimal digest of everything that decides what it computes, bit by bit; not of when, nor of names.

        A saved state belongs to all models of the same digest, wherever they are loaded.
        """
        config = {name: getattr(self.config, name) for name in ("cores", "block", "io_format")}
        if self.config.narrow or self.config.columns != self.config.block:
            config |= {name: getattr(self.config, name) for name in ("columns", "multiplier")}
        metadata = {key: value for key, value in self.metadata().items() if key not in (*_TIMING, *NAMES)}
        arrays = {name: getattr(self, name) for name in ARRAYS if name not in _TIMING}
        return digest_of(metadata | {"config": config}, arrays)

    def metadata(self) -> dict[str, Any]:
        """Everything but the configuration and the arrays, as plain data."""
        plain: dict[str, Any] = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in (*ARRAYS, "config")
        }
        plain["layers"] = [dataclasses.asdict(layer) for layer in self.layers]
        plain["weight_formats"], plain["notes"] = list(self.weight_formats), list(self.notes)
        plain["outputs"], plain["states"] = ([list(part) for part in parts] for parts in (self.outputs, self.states))
        return plain

    @classmethod
    def from_metadata(cls, plain: dict[str, Any], config: Config, arrays: dict[str, NDArray]) -> "Model":
        """The inverse of :meth:`metadata`; raises KeyError or TypeError for what is none."""
        fields: dict[str, Any] = plain | {name: tuple(plain[name]) for name in ("weight_formats", "notes")}
        fields |= {"layers": tuple(_place(layer) for layer in plain["layers"]), **arrays}
        fields["outputs"] = tuple((name, size) for name, size in plain["outputs"])
        fields["states"] = tuple(StateName(*state) for state in plain["states"])
        return cls(config=config, **fields)

    def lies_in_c(self, state: StateName) -> bool:
        """Whether the memory of c has it; otherwise that of h has, if the configuration keeps it."""
        return state.kind == "c" or self.stateful_layers[state.layer].state_is_h

    def dealt(self, values: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
        """Values of each layer's units (units,), 0 of layers without a state, as (state slots, cores, lanes)."""
        array = np.zeros((self.state_slots, self.config.cores, self.config.lanes), dtype=np.int64)
        for layer, own in zip(self.layers, values):
            if layer.cells:
                array[layer.all_slots].reshape(-1)[: len(own)] = own
        return array

    def split(self, y: NDArray) -> dict[str, NDArray]:
        """Outputs (..., output_size) by the names of their parts."""
        ends = np.cumsum([size for _, size in self.outputs])[:-1]
        return dict(zip([name for name, _ in self.outputs], np.split(y, ends, axis=-1)))

    def decode(self) -> dict[str, NDArray[np.int64]]:
        """Issue words as {field: int array}."""
        return issue_word(self.config).decode(self.words)


def _place(plain: dict[str, Any]) -> LayerPlace:
    activation = plain["activation"]
    return LayerPlace(**plain | {"activation": None if activation is None else tuple(activation)})


def digest_of(plain: dict[str, Any], arrays: dict[str, NDArray]) -> str:
    """64-bit hexadecimal digest of plain data and of arrays, whose types are those that their names end with."""
    state = hashlib.sha256(json.dumps(plain, sort_keys=True).encode())
    for name, values in arrays.items():
        dtype = np.dtype(ARRAYS[name.rpartition(".")[2]]).newbyteorder("<")
        array = np.ascontiguousarray(values, dtype=dtype)
        state.update(f"{name} {array.shape}".encode())
        state.update(array.data)
    return state.hexdigest()[:16]

"""Where the models of a program lie: one behind the other in every memory that they share."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..config import Config
from ..isa.issue import issue_word
from ..isa.load import state_bits
from .model import Model

__all__ = ["Place", "memory_rows", "place_models", "relocated", "state_base"]


class Place(NamedTuple):
    """Where one model begins.

    Attributes
    ----------
    weight : int, in the weight memories
    slot : int, of all row slots
    tail : int, in the program memory, which has its issue words but for the first ones
    state : int, in the state memories: the range of its first context, each as long as the model has slots
    initial : int or None, the range of its initial state, which follows that of its contexts; None if it is zero
    """

    weight: int
    slot: int
    tail: int
    state: int
    initial: int | None


def place_models(models: Iterable[Model], streams: Sequence[int], head_words: int) -> list[Place]:
    """The models' places, and behind them where everything ends."""
    places, weight, slot, tail, state = [], 0, 0, 0, 0
    for model, contexts in zip(models, streams, strict=True):
        initial = state + contexts * model.slots
        places.append(Place(weight, slot, tail, state, initial if model.has_initial else None))
        weight += model.weights.shape[1]
        slot += model.slots
        tail += len(model.words) - head_words
        state = initial + model.slots * model.has_initial
    return [*places, Place(weight, slot, tail, state, None)]


def state_base(config: Config, place: Place, first: int) -> int:
    """What is added to a slot's number, modulo the width of an address, where a range of state begins at ``first``."""
    return (first - place.slot) % (1 << state_bits(config))


def relocated(model: Model, place: Place) -> NDArray[np.uint32]:
    """The model's issue words as they are where it lies. Idle words name nothing."""
    fields = model.decode()
    for name, offset in (("weight", place.weight), ("slot", place.slot)):
        fields[name] += offset * fields["valid"]
    return issue_word(model.config).encode(fields)


def memory_rows(
    config: Config,
    *,
    weights: int,
    slots: int,
    state_slots: int,
    vector_blocks: int,
    input_blocks: int,
    tail_words: int,
    output_beats: int,
    models: int,
    streams: int,
) -> list[tuple[str, int, int, str]]:
    """What is used of each memory and table, as rows (memory, used, capacity, unit)."""
    return [
        ("weight memory", weights, config.weight_depth, "words a core"),
        ("accumulator file", slots, config.slots, "slots"),
        ("state memory", state_slots, config.state_slots, "slots"),
        ("vector file", vector_blocks, config.vector_blocks, "blocks"),
        ("input buffer", input_blocks, config.input_blocks, "blocks"),
        ("program memory", tail_words, config.program_depth, "issue words"),
        ("output queue", output_beats, config.output_beats, "beats"),
        ("model table", models, config.models, "models"),
        ("context table", streams, config.streams, "streams a model"),
    ]

"""What lies where in the accelerator's memories, read from a program."""

from typing import NamedTuple

import numpy as np

from .trace import layer_names, trace

__all__ = ["Region", "memory_map"]


class Region(NamedTuple):
    """Consecutive addresses of one memory.

    Attributes
    ----------
    memory : str, as :meth:`spiccato.compiler.Program.memory_use` calls it
    owner : str, what lies there
    kind : str, a kind of :data:`.trace.KIND_COLOURS` for what belongs to one kind of issue word, else "other"
    first, size : int, in the memory's unit
    """

    memory: str
    owner: str
    kind: str
    first: int
    size: int


def memory_map(program):
    """The regions of all memories of ``program``, in the order of addresses; what is left is free.

    Weight addresses are those that the issue words use.

    Returns
    -------
    list of Region
    """
    regions: list[Region] = []
    for number, (model, place) in enumerate(zip(program.models, program.places)):
        # What is of one model only is not told apart by its name.
        prefix = f"{model.name}: " if len(program.models) > 1 else ""
        streams = program.streams[number]
        regions += [
            region._replace(owner=prefix + region.owner)
            for region in (
                *_weights(model, place.weight),
                *_slots(model, place.slot),
                *_states(model, streams, place),
                Region("program memory", "inference", "other", place.tail, len(model.words) - program.head_words),
                Region("model table", "model", "other", number, 1),
            )
        ]
    # Models take turns with the others.
    widest = max(program.models, key=lambda model: model.vector_blocks)
    used = {memory: count for memory, count, _, _ in program.memory_use()}
    blocks = [*(layer.first_block for layer in widest.layers), used["vector file"]]
    regions += [
        Region("vector file", f"h of {name}", "other", first, last - first)
        for name, first, last in zip(layer_names(widest), blocks, blocks[1:])
    ]
    regions += [
        Region("input buffer", "x", "input", 0, used["input buffer"]),
        Region("output queue", "one output packet", "linear", 0, used["output queue"]),
        Region("context table", "contexts", "other", 0, used["context table"]),
    ]
    order = list(used)
    return sorted(regions, key=lambda region: (order.index(region.memory), region.first))


def _weights(model, start):
    """Regions of weights, from word ``start`` on."""
    words = trace(model)
    for layer, name in enumerate(layer_names(model)):
        for kind in ("input", "recurrent", "linear"):
            used = words.fields["weight"][(words.kinds == kind) & (words.layers == layer)]
            if len(used):
                owner = name if kind == "linear" else f"{name} {kind}"
                yield Region("weight memory", owner, kind, start + int(used.min()), int(np.ptp(used)) + 1)


def _slots(model, start):
    """Regions of row slots, from slot ``start`` on."""
    names = layer_names(model)
    slots = [*(layer.first_slot for layer in model.layers), model.state_slots, model.slots]
    for name, first, last in zip(names, slots, slots[1:]):
        yield Region("accumulator file", name, "linear" if name == names[-1] else "other", start + first, last - first)


def _states(model, streams, place):
    """Regions of the state memories."""
    owner = "state" if streams == 1 else f"{streams} states"
    yield Region("state memory", owner, "recurrent", place.state, streams * model.slots)
    if place.initial is not None:
        yield Region("state memory", "initial state", "other", place.initial, model.slots)

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
    names = layer_names(program)
    regions = []
    words = trace(program)
    for layer, name in enumerate(names):
        for kind in ("input", "recurrent", "linear"):
            used = words.fields["weight"][(words.kinds == kind) & (words.layers == layer)]
            if len(used):
                owner = name if kind == "linear" else f"{name} {kind}"
                regions.append(Region("weight memory", owner, kind, int(used.min()), int(np.ptp(used)) + 1))
    regions.sort(key=lambda region: region.first)

    slots = [layer.first_slot for layer in program.layers]
    slots += [program.layers[-1].first_slot + program.layers[-1].slots, len(program.biases)]
    regions += [
        Region("accumulator file", name, "linear" if name == names[-1] else "other", first, last - first)
        for name, first, last in zip(names, slots, slots[1:])
    ]
    used = {memory: count for memory, count, _, _ in program.memory_use()}
    blocks = [*(layer.first_block for layer in program.layers), used["vector file"]]
    regions += [
        Region("vector file", f"h of {name}", "other", first, last - first)
        for name, first, last in zip(names, blocks, blocks[1:])
    ]
    regions += [
        Region("input buffer", "x", "input", 0, used["input buffer"]),
        Region("program memory", "state from zero", "other", 0, program.body),
        Region("program memory", "inference", "other", program.body, len(program.words) - program.body),
        Region("output queue", "one output packet", "linear", 0, used["output queue"]),
    ]
    return regions

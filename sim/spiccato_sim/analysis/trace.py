"""What the accelerator does in every cycle of one inference, read from a model's issue words."""

from dataclasses import dataclass

import numpy as np

from spiccato.isa.issue import VectorFrom
from spiccato.rtl.accelerator import Timing

__all__ = ["KIND_COLOURS", "Trace", "layer_names", "runs", "trace"]

#: What the multipliers can be busy with, and how pictures show it.
KIND_COLOURS = {"input": "#1f5fa8", "recurrent": "#e8963c", "linear": "#3c9a5f", "idle": "#d8d8d8"}


@dataclass(frozen=True, eq=False)
class Trace:
    """One inference that comes alone. Cycle 0 accepts its first input beat.

    Attributes
    ----------
    cycles : int64 (words,)
        Cycle in which each issue word is issued, one word a cycle.
    kinds : str (words,)
        "input", "recurrent", "linear" or "idle".
    layers : int64 (words,)
        LSTM layer; the number of LSTM layers for the linear layer, -1 for idle words.
    fields : dict
        The issue words as :meth:`spiccato.compiler.Model.decode` gives them.
    input_cycles, output_cycles : int64 (beats,)
        Cycles in which input and output beats are accepted, neither stream pausing.
    h_ready : int64 (words,)
        For words that finish a slot of an LSTM layer: first cycle that may read its h; -1 for others.
    """

    cycles: np.ndarray
    kinds: np.ndarray
    layers: np.ndarray
    fields: dict
    input_cycles: np.ndarray
    output_cycles: np.ndarray
    h_ready: np.ndarray


def trace(model):
    """The :class:`Trace` of an inference of ``model``."""
    fields = model.decode()
    timing = Timing(model.config)
    first = model.config.beats_per_block - 1 + timing.input
    cycles = first + np.arange(len(fields["valid"]))
    starts = [layer.first_slot for layer in model.layers]
    busy = (fields["valid"] == 1) & (fields["vector_from"] != VectorFrom.NONE.value)
    linear = fields["slot"] >= model.state_slots
    layers = np.searchsorted(starts, fields["slot"], side="right") - 1
    sends = np.flatnonzero(fields["output"])
    dependency = np.array([timing.dependency_of[name] for name in model.config.epilogues])
    epilogue = fields.get("epilogue", np.zeros(len(cycles), dtype=np.int64))
    return Trace(
        cycles=cycles,
        kinds=np.select([~busy, linear, fields["recurrent"] == 1], ["idle", "linear", "recurrent"], "input"),
        layers=np.where(busy, np.where(linear, len(starts), layers), -1),
        fields=fields,
        input_cycles=np.arange(model.input_beats),
        output_cycles=np.concatenate(
            [cycles[at] + timing.output + np.arange(fields["output_beats"][at] + 1) for at in sends]
        ),
        h_ready=np.where(fields["cell"] == 1, cycles + dependency[epilogue], -1),
    )


def layer_names(model):
    """Names of a model's layers, indexed as :attr:`Trace.layers`: "layer 0", ..., "linear"."""
    return [f"layer {number}" for number in range(len(model.layers))] + ["linear"]


def runs(cycles):
    """Increasing cycles as runs of consecutive ones: list of (first, length)."""
    cycles = np.asarray(cycles, dtype=np.int64)
    if not len(cycles):
        return []
    parts = np.split(cycles, np.flatnonzero(np.diff(cycles) != 1) + 1)
    return [(int(part[0]), len(part)) for part in parts]

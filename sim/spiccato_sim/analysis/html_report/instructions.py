"""Issue words in words, for the page's chart of the schedule."""

import numpy as np

from spiccato.isa.issue import Pass, Source, VectorFrom
from spiccato.rtl.accelerator import Timing

from ..trace import layer_names

__all__ = ["instructions"]

_SOURCES = {
    Source.CONTINUE: "goes on",
    Source.BIAS: "starts from the bias",
    Source.PREVIOUS: "starts from the recurrent half",
    Source.STORED: "goes on from a stored sum",
}

_PASSES = {
    Pass.ONLY: "",
    Pass.HIGH: ", upper halves",
    Pass.LOW_WEIGHT: ", lower halves of weights, upper ones of elements",
    Pass.LOW_ELEMENT: ", upper halves of weights, lower ones of elements",
}

_FLAGS = {"wait_block": "waits for an input block", "start": "first of the inference", "commit": "commits the state"}


def instructions(compiled, words):
    """Columns of texts, an entry for each issue word."""
    fields, timing = words.fields, Timing(compiled.config)
    names = layer_names(compiled)
    starts = [layer.first_slot for layer in compiled.layers]
    starts.append(starts[-1] + compiled.layers[-1].slots)
    producers = [layer.first_block for layer in compiled.layers]
    columns: dict[str, list[str]] = {name: [] for name in ("what", "vector", "weight", "slot_text", "effect", "flags")}
    what, vector, weight, slot, effect, flags = columns.values()
    for at, (kind, layer) in enumerate(zip(words.kinds, words.layers.tolist())):
        word = {name: int(values[at]) for name, values in fields.items()}
        flags.append(", ".join(text for name, text in _FLAGS.items() if word[name]) or "-")
        if kind == "idle":
            for column, text in ((what, "idle"), (vector, "-"), (weight, "-"), (slot, "-"), (effect, "-")):
                column.append(text)
            continue
        what.append(names[layer] if kind == "linear" else f"{names[layer]}, {kind} matrix")
        number = word["vector"]
        if word["vector_from"] == VectorFrom.X.value:
            vector.append(f"x, block {number}")
        else:
            producer = int(np.searchsorted(producers, number, side="right")) - 1
            vector.append(f"h of layer {producer}, block {number - producers[producer]} (vector file {number})")
        half = f", {'high' if word['high'] else 'low'} bytes" if word.get("int8") else ""
        half += _PASSES[Pass(word.get("multiplied", Pass.ONLY))]
        weight.append(f"{word['weight']}{half}")
        slot.append(
            f"{word['slot']} (slot {word['slot'] - starts[layer]} of the layer): {_SOURCES[Source(word['source'])]}"
        )
        if word["output"]:
            first = words.cycles[at] + timing.output
            effect.append(f"outputs, beats in cycles {first} to {first + word['output_beats']}")
        elif word["cell"]:
            effect.append(f"slot finished, its h readable from cycle {words.h_ready[at]}")
        else:
            effect.append("sum stored" if word["store"] else "sum stays in the accumulators")
    return columns

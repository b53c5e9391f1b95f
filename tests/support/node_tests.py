"""The node tests for recurrent layers that the onnx package ships, and what becomes of each: a table for the docs.

Run as a program, this writes the table into ``docs/howto-import.md``.
"""

import importlib
import re
from collections.abc import Iterator

import numpy as np
import onnx
import onnx.backend.test.case.node as cases
import onnx.reference

from paths import ROOT
from spiccato.errors import ModelError
from spiccato.importers import load_network
from spiccato_sim.models.reference import Reference

__all__ = ["PAGE", "models", "outcome", "page", "table"]

PAGE = ROOT / "docs" / "howto-import.md"
_BEGIN, _END = "<!-- node tests: begin -->\n", "<!-- node tests: end -->\n"
_KINDS = ("LSTM", "GRU", "RNN")
#: Inputs of a node that its tests give and a model has as constants: W, R, B, sequence_lens, initial h and c, P.
_FIRST_CONSTANT = 1


def models() -> Iterator[tuple[str, onnx.ModelProto, list[np.ndarray], list[np.ndarray]]]:
    """(name, model, inputs of the data, expected outputs); weights are initialisers.

    The package's GRU tests all have the default ``linear_before_reset=0``. Each of them is there once more with 1, with
    what onnx' reference implementation gives.
    """
    for kind in _KINDS:
        importlib.import_module(f"{cases.__name__}.{kind.lower()}")
    for case in cases._NodeTestCases:
        kind = case.model.graph.node[0].op_type
        if kind not in _KINDS:
            continue
        ((inputs, outputs),) = case.data_sets
        yield case.name, _with_constants(case.model, inputs), inputs[:1], outputs
        if kind == "GRU":
            model = onnx.ModelProto()
            model.CopyFrom(case.model)
            model.graph.node[0].attribute.append(onnx.helper.make_attribute("linear_before_reset", 1))
            names = [value.name for value in model.graph.input]
            given = onnx.reference.ReferenceEvaluator(model).run(None, dict(zip(names, inputs)))
            yield f"{case.name}, linear_before_reset=1", _with_constants(model, inputs), inputs[:1], given


def _with_constants(model: onnx.ModelProto, inputs: list[np.ndarray]) -> onnx.ModelProto:
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    graph = changed.graph
    names = [value.name for value in graph.input]
    for name, array in list(zip(names, inputs))[_FIRST_CONSTANT:]:
        graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    del graph.input[_FIRST_CONSTANT:]
    return changed


def outcome(model: onnx.ModelProto, x: np.ndarray, outputs: list[np.ndarray]) -> str | None:
    """None if the network computes the expected outputs, else the refusal."""
    try:
        network = load_network(model)
    except ModelError as error:
        return str(error)
    by_sequence = any(entry.name == "layout" and entry.i for entry in model.graph.node[0].attribute)
    sequences = x if by_sequence else x.swapaxes(0, 1)
    ys = np.array([Reference(network).run(sequence) for sequence in sequences])  # (sequences, steps, units)
    last = ys[:, -1:] if by_sequence else ys[None, :, -1]
    every = ys[:, :, None] if by_sequence else ys.swapaxes(0, 1)[:, None]
    for name, expected in zip(filter(None, model.graph.node[0].output), outputs):
        np.testing.assert_allclose(every if name == "Y" else last, expected, rtol=1e-5, atol=1e-6)
    return None


def table() -> str:
    """A line for each test."""
    lines = ["| test | |", "|---|---|"]
    for name, model, (x,), outputs in models():
        refusal = outcome(model, x, outputs)
        lines.append(f"| `{name.removeprefix('test_')}` | {'passes' if refusal is None else f'refused: {refusal}'} |")
    return "\n".join(lines) + "\n"


def page(made: str) -> str:
    """The docs' page with the table ``made``."""
    return re.sub(f"(?s)(?<={_BEGIN}).*(?={_END})", lambda _: made, PAGE.read_text())


if __name__ == "__main__":
    PAGE.write_text(page(table()))

"""Whether a network fits: weight formats, what is needed of each memory, and what would fit if it does not."""

import dataclasses
from collections.abc import Sequence

from ..errors import FitError, SpiccatoError
from ..layers import LoweredLayer
from ..program import memory_rows
from ..registry import targets
from ..rtl.accelerator import Timing
from .layout import Layout, Matrix
from .schedule import Schedule, schedule

__all__ = [
    "WEIGHT_FORMATS",
    "fit_error",
    "fitting_schedule",
    "issue_words",
    "matrix_words",
    "weight_formats",
    "weight_words",
]

WEIGHT_FORMATS = ("int16", "int8")


def weight_formats(layout: Layout, weight_format: str | Sequence[str]) -> list[str]:
    """Resolve ``weight_format`` of :func:`.compile.compile_network` to a list.

    One for each layer, the linear one last.
    """
    layers = len(layout.hidden)
    if isinstance(weight_format, str) and weight_format in WEIGHT_FORMATS:
        return [weight_format] * layers + ["int16"]
    if weight_format == "auto":
        formats = ["int16"] * (layers + 1)
        for layer in sorted(layout.hidden, key=lambda layer: -layer.tiles):
            if weight_words(layout, formats) <= layout.config.weight_depth:
                break
            formats[layer.number] = "int8"
        return formats
    formats = list(weight_format) if not isinstance(weight_format, str) else [weight_format]
    if len(formats) != layers + 1 or any(f not in WEIGHT_FORMATS for f in formats):
        raise SpiccatoError(
            f"weight format {weight_format!r}: expected auto, {', '.join(WEIGHT_FORMATS)}, or one of "
            f"these for each of {layers} layers and the linear layer"
        )
    return formats


def matrix_words(matrix: Matrix, formats: Sequence[str]) -> int:
    """Words of weight memory that a matrix takes in each core."""
    return -(-matrix.tiles // 2) if formats[matrix.layer] == "int8" else matrix.tiles


def weight_words(layout: Layout, formats: Sequence[str]) -> int:
    """Words of weight memory that each core needs."""
    return sum(matrix_words(matrix, formats) for matrix in layout.matrices)


def issue_words(layout: Layout, timing: Timing, plan: Schedule | None = None) -> int:
    """Words of program memory: those that start the state, and one for each cycle of an inference.

    From a zero state, the recurrent half of every slot is its bias. Idle words keep the first reload at distance.
    Without its schedule ``plan``, an inference is counted as one word for each tile, the least that it can take.
    """
    inference = sum(matrix.tiles for matrix in layout.matrices) if plan is None else len(plan.matrix)
    return len(layout.seeded) + timing.reload + inference


def _shortages(layout: Layout, formats: Sequence[str], timing: Timing, plan: Schedule | None = None) -> str:
    """What a network needs more of than its configuration has, for messages; empty if it fits.

    Without its schedule ``plan``, which takes a while to make for a network that is far too large, an empty answer is
    not the last word: idle words may fill the program memory.
    """
    rows = memory_rows(
        layout.config,
        weights=weight_words(layout, formats),
        slots=layout.slots,
        vector_blocks=layout.vector_blocks,
        input_blocks=layout.input_blocks,
        words=issue_words(layout, timing, plan),
        output_beats=layout.output_beats,
    )
    at_least = {"program memory": "program memory at least"} if plan is None else {}
    built = layout.config.epilogues
    missing = {layer.kind.epilogue: layer.kind.title for layer in layout.hidden if layer.kind.epilogue not in built}
    short = [f"epilogue {name!r} for a {title} (built: {', '.join(built)})" for name, title in missing.items()]
    short += [
        f"{at_least.get(memory, memory)} {needed} of {available} {unit}"
        for memory, needed, available, unit in rows
        if needed > available
    ]
    return ", ".join(short)


def fitting_schedule(layout: Layout, formats: Sequence[str], timing: Timing) -> tuple[Schedule | None, str]:
    """The schedule of a network that fits, or None, and what it needs more of than there is, for messages."""
    short = _shortages(layout, formats, timing)
    if short:
        return None, short
    plan = schedule(layout, timing)
    return plan, _shortages(layout, formats, timing, plan)


def fit_error(
    name: str, lowered: Sequence[LoweredLayer], layout: Layout, weight_format: str | Sequence[str], short: str
) -> FitError:
    """The refusal of network ``name``, which needs ``short`` more than there is: with what would fit."""
    config = layout.config
    boards = [
        dataclasses.replace(target.config, io_format=config.io_format)
        for target in targets().values()
        if target.name != config.name and not target.simulated_only
    ]
    fitting = []
    for other in [config, *boards]:
        elsewhere, timing = Layout(lowered, other), Timing(other)
        fitting += [
            f"{other.name} with {form} weights"
            for form in WEIGHT_FORMATS
            if not fitting_schedule(elsewhere, weight_formats(elsewhere, form), timing)[1]
        ]
    wanted = weight_format if isinstance(weight_format, str) else ", ".join(weight_format)
    return FitError(
        f"network {name!r} does not fit {config.name!r} with {wanted} weights: needs {short}; "
        f"would fit: {', '.join(fitting) or 'no board'}"
    )

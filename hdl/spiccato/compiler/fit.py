"""Whether a network fits: weight formats, what is needed of each memory, and what would fit if it does not."""

import dataclasses
import json
from collections.abc import Iterable, Sequence

from ..config import WIDE, Config
from ..errors import FitError, SpiccatoError
from ..layers import LoweredLayer
from ..program import memory_rows
from ..registry import targets
from ..rtl.accelerator import Timing
from .heads import HEAD_WORDS, LEAST_WORDS
from .layout import Layout, Matrix
from .schedule import Schedule, schedule

__all__ = [
    "WEIGHT_FORMATS",
    "fit_error",
    "fitting_schedule",
    "issue_words",
    "tiles_per_word",
    "matrix_format",
    "matrix_words",
    "missing_epilogues",
    "shared_formats",
    "shortages",
    "suited",
    "weight_formats",
    "weight_words",
]

#: Of all configurations; each takes some of them (:attr:`spiccato.config.Config.layer_formats`).
WEIGHT_FORMATS = ("int16", "int8", "int9", WIDE)


def weight_formats(layout: Layout, weight_format: str | Sequence[str]) -> list[str]:
    """Resolve ``weight_format`` of :func:`.compile.compile_network` to a list.

    One for each layer, the linear one last.
    """
    return shared_formats([layout], [weight_format])[0]


def shared_formats(layouts: Sequence[Layout], wanted: Sequence[str | Sequence[str]]) -> list[list[str]]:
    """The same for networks that share the weight memories, each with its own ``weight_format``.

    Of those that are "auto" the largest layers have 8 bits, as many as it takes until all fit.
    """
    formats = [_stated_formats(layout, one) for layout, one in zip(layouts, wanted, strict=True)]
    free = [
        (layer, own) for layout, own, one in zip(layouts, formats, wanted) if one == "auto" for layer in layout.hidden
    ]
    for layer, own in sorted(free, key=lambda pair: -pair[0].tiles):
        if sum(map(weight_words, layouts, formats)) <= layouts[0].config.weight_depth:
            break
        own[layer.number] = layouts[0].config.weight_formats[-1]
    return formats


def _stated_formats(layout: Layout, weight_format: str | Sequence[str]) -> list[str]:
    """The formats that are stated for a network, and the widest for "auto"."""
    layers, config = len(layout.hidden), layout.config
    widest = config.weight_formats[0]
    if weight_format == "auto":
        return [widest] * (layers + 1)
    if isinstance(weight_format, str) and weight_format in config.layer_formats:
        return [weight_format] * layers + [widest]
    formats = list(weight_format) if not isinstance(weight_format, str) else [weight_format]
    wrong = [one for one in formats if one not in config.layer_formats]
    if wrong and wrong[0] in WEIGHT_FORMATS:
        raise SpiccatoError(
            f"weight format {wrong[0]!r}: the {config.multiplier} multipliers of {config.name!r} take "
            f"{', '.join(config.layer_formats)} weights; expected one of these or auto, or a configuration with others"
        )
    if wrong or len(formats) != layers + 1:
        raise SpiccatoError(
            f"weight format {weight_format!r}: expected auto, {', '.join(config.layer_formats)}, or one of "
            f"these for each layer: {layers} and the linear one"
        )
    return formats


def tiles_per_word(config: Config, weight_format: str) -> int:
    """Tiles in a word of weight memory: two of 8 bits lie where one of 16 bits can."""
    return 2 if weight_format == "int8" and not config.narrow else 1


def matrix_format(config: Config, weight_format: str, *, recurrent: bool) -> str:
    """The format of one of a layer's matrices: of a wide layer, only the input matrix is wide."""
    return config.weight_formats[0] if weight_format == WIDE and recurrent else weight_format


def matrix_words(config: Config, matrix: Matrix, formats: Sequence[str]) -> int:
    """Words of weight memory that a matrix takes in each core."""
    form = matrix_format(config, formats[matrix.layer], recurrent=matrix.recurrent)
    if form == WIDE:
        return 2 * matrix.tiles
    return -(-matrix.tiles // tiles_per_word(config, form))


def weight_words(layout: Layout, formats: Sequence[str]) -> int:
    """Words of weight memory that each core needs."""
    return sum(matrix_words(layout.config, matrix, formats) for matrix in layout.matrices)


def issue_words(layout: Layout, plan: Schedule | None = None) -> int:
    """Issue words of an inference, one for each of its cycles.

    Without its schedule ``plan``, those are counted that multiply, the least that it can take.
    """
    least = sum(matrix.words for matrix in layout.matrices)
    return max(least, LEAST_WORDS) if plan is None else len(plan.matrix)


def shortages(rows: Iterable[tuple[str, int, int, str]]) -> list[str]:
    """Of rows (memory, used, capacity, unit), what is used more of than there is, for messages."""
    return [
        f"{memory} {needed} of {available} {unit}" for memory, needed, available, unit in rows if needed > available
    ]


def missing_epilogues(layout: Layout) -> list[str]:
    """Epilogues that a network's layers ask for and that are not built, for messages."""
    built = layout.config.epilogues
    missing = {layer.kind.epilogue: layer.kind.title for layer in layout.hidden if layer.kind.epilogue not in built}
    return [f"epilogue {name!r} for a {title} (built: {', '.join(built)})" for name, title in missing.items()]


#: Fields of configurations that make a single network neither faster nor slower.
_BESIDE = ("name", "epilogues", "state_slots", "program_depth")


def suited(lowered: Sequence[LoweredLayer], configs: Iterable[Config]) -> list[Config]:
    """Of configurations that differ in epilogues, and in room for states and words, alone, the first that suits.

    It has the epilogues of the layers; if none has, it is the first of them. What a network's layers do not ask for
    makes it neither faster nor slower. One that has room for more words than those before it counts as well.
    """
    needed = {layer.kind.epilogue for layer in lowered} - {None}
    alike: dict[str, list[Config]] = {}
    for config in configs:
        rest = {name: value for name, value in config.to_dict().items() if name not in _BESIDE}
        alike.setdefault(json.dumps(rest, sort_keys=True), []).append(config)
    found = []
    for group in alike.values():
        suiting = [one for one in group if needed <= {*one.epilogues}] or group[:1]
        for i, one in enumerate(suiting):
            if all(one.program_depth > other.program_depth for other in suiting[:i]):
                found.append(one)
    return found


def _shortages(layout: Layout, formats: Sequence[str], plan: Schedule | None = None) -> str:
    """What a network alone, with one context, needs more of than there is, for messages; empty if it fits.

    Without its schedule ``plan``, which takes a while to make for a network that is far too large, an empty answer is
    not the last word: idle words may fill the program memory.
    """
    rows = memory_rows(
        layout.config,
        weights=weight_words(layout, formats),
        slots=layout.slots,
        state_slots=layout.slots * (1 + layout.has_initial),
        vector_blocks=layout.vector_blocks,
        input_blocks=layout.input_blocks,
        tail_words=issue_words(layout, plan) - HEAD_WORDS,
        output_beats=layout.output_beats,
        models=1,
        streams=1,
    )
    at_least = {"program memory": "program memory at least"} if plan is None else {}
    short = missing_epilogues(layout)
    short += shortages((at_least.get(row[0], row[0]), *row[1:]) for row in rows)
    return ", ".join(short)


def fitting_schedule(layout: Layout, formats: Sequence[str], timing: Timing) -> tuple[Layout, Schedule | None, str]:
    """Of a network in these formats its layout, its schedule if it fits, and what it needs more of than there is.

    The last is for messages.
    """
    layout = layout.in_formats(formats)
    short = _shortages(layout, formats)
    if short:
        return layout, None, short
    plan = schedule(layout, timing)
    return layout, plan, _shortages(layout, formats, plan)


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
    for other in suited(lowered, [config, *boards]):
        elsewhere, timing = Layout(lowered, other), Timing(other)
        for form in other.weight_formats:
            formats = weight_formats(elsewhere, form)
            *_, lacking = fitting_schedule(elsewhere, formats, timing)
            if not lacking:
                fitting.append(f"{other.name} with {form} weights")
    wanted = weight_format if isinstance(weight_format, str) else ", ".join(weight_format)
    return FitError(
        f"network {name!r} does not fit {config.name!r} with {wanted} weights: needs {short}; "
        f"would fit: {', '.join(fitting) or 'no board'}"
    )

"""The options that verbs share, and how a shell completes them."""

import functools

import click
from click.shell_completion import CompletionItem

from spiccato.compiler.fit import WEIGHT_FORMATS
from spiccato.config import IO_FORMATS
from spiccato.families import FAMILIES
from spiccato.importers import Reading
from spiccato.registry import BOARD_SUFFIX, targets
from spiccato_sim.models.zoo import KINDS, MODELS, TRAINED, WINDOWED

__all__ = [
    "board_option",
    "boards_option",
    "calibration_option",
    "complete",
    "contexts_option",
    "io_option",
    "json_option",
    "reading_options",
    "model_argument",
    "model_option",
    "models_argument",
    "profile_option",
    "profiles_option",
    "seed_option",
    "steps_option",
    "weights_each_option",
    "weights_option",
]

#: Timesteps that a command takes on: as many as a virtual machine computes in a day or so.
_MOST_STEPS = 10_000_000


class _ModelName(click.ParamType):
    """A model by name or by file; told apart by :func:`spiccato_sim.models.zoo.resolve`."""

    name = "model"

    def shell_complete(self, ctx, param, incomplete):
        names = [name for name in (*MODELS, *KINDS, *WINDOWED, *TRAINED) if name.startswith(incomplete)]
        return [CompletionItem(name) for name in names] + [CompletionItem(incomplete, type="file")]


class _BoardName(click.ParamType):
    """A board by name or by file; told apart by :func:`spiccato.registry.find`."""

    name = "board"

    def shell_complete(self, ctx, param, incomplete):
        names = [name for name in targets() if name.startswith(incomplete)]
        return [CompletionItem(name) for name in names] + [CompletionItem(incomplete, type="file")]


def complete(*words):
    """A function that completes an option with one of ``words``."""
    return lambda ctx, param, incomplete: [word for word in words if word.startswith(incomplete)]


model_argument = click.argument("model", type=_ModelName())
models_argument = functools.partial(click.argument, "models", type=_ModelName(), nargs=-1)
model_option = functools.partial(click.option, "--model", type=_ModelName())
board_option = functools.partial(
    click.option, "--board", type=_BoardName(), help=f"Board, by name or file (*{BOARD_SUFFIX})."
)
boards_option = click.option(
    "--board",
    "boards",
    multiple=True,
    type=_BoardName(),
    help=f"Only this board, by name or file (*{BOARD_SUFFIX}); may be repeated.",
)
_PROFILE = "Which optional pipeline registers there are: aggressive, the fewest cycles, or conservative"
_profile_option = functools.partial(
    click.option,
    "--profile",
    shell_complete=complete(*dict.fromkeys(name for family in FAMILIES.values() for name in family.profiles)),
)
profile_option = _profile_option(metavar="NAME", help=f"{_PROFILE}.  [default: the board's own]")
profiles_option = _profile_option(
    metavar="NAME[,NAME]", help=f"{_PROFILE}; or both, with a comma.  [default: the board's own]"
)
_WEIGHTS = (
    f"Weight format: {', '.join(WEIGHT_FORMATS)}, or auto (8 bits for the largest layers if 16 do not fit; with 9x9 "
    "multipliers int8, int9 on an ECP5, and wide only if named); with slashes, one for each layer, the linear one last."
)
weights_option = click.option(
    "--weights", default="auto", show_default=True, shell_complete=complete(*WEIGHT_FORMATS, "auto"), help=_WEIGHTS
)
weights_each_option = click.option(
    "--weights",
    multiple=True,
    default=("auto",),
    show_default=True,
    shell_complete=complete(*WEIGHT_FORMATS, "auto"),
    help=f"{_WEIGHTS} Several, with commas or repeated: one for each model.",
)
contexts_option = functools.partial(
    click.option,
    "--contexts",
    metavar="N[,N...]",
    help="Contexts, of a state each: of every model, or one number for each model.",
)
io_option = click.option(
    "--format",
    "io_format",
    type=click.Choice(list(IO_FORMATS)),
    default="bfloat16",
    show_default=True,
    help="Values on the input and output streams.",
)
seed_option = click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of random weights and inputs."
)
calibration_option = click.option(
    "--calibration",
    type=click.Path(dir_okay=False),
    help="Typical inputs: a .npy file (steps, features). Features of very different magnitude get scales by them, and "
    "weights of 8 and 9 bits are rounded such that sums on them are off least.",
)
_READING = (
    click.option(
        "--layers",
        metavar="NAME,NAME",
        help="Of a state dict, the names of all its modules in the order of computation, with the activations between "
        "them; needed where the file leaves doubt.",
    ),
    click.option(
        "--from",
        "from_",
        metavar="NAME",
        help="Take only a part of the model, from what this tensor, node, layer or module reads.",
    ),
    click.option("--to", metavar="NAME", help="Take only a part of the model, to what this one gives."),
)


def reading_options(command):
    """The options that tell how a model's file is read; the command gets them as one argument ``reading``."""

    @functools.wraps(command)
    def collected(*args, layers, from_, to, **options):
        return command(*args, reading=Reading(layers, from_, to), **options)

    for option in reversed(_READING):
        collected = option(collected)
    return collected


json_option = click.option("--json", "as_json", is_flag=True, help="Write JSON to standard output, and nothing else.")


def steps_option(least=1, **options):
    """The option ``--steps``, of at least ``least`` timesteps."""
    return click.option("--steps", type=click.IntRange(least, _MOST_STEPS), **options)

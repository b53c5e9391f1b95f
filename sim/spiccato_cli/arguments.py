"""What arguments stand for: programs, networks, numbers of steps."""

import os
from dataclasses import replace

import click

from spiccato.errors import ProgramError, SpiccatoError
from spiccato.importers import SUFFIXES, WHOLE_MODEL
from spiccato.program import Program
from spiccato_sim.models.zoo import KINDS, MODELS, TRAINED, WINDOWED, inputs, load_inputs, resolve

__all__ = [
    "PROGRAM_SUFFIX",
    "STREAMED",
    "choices_of",
    "contexts_of",
    "inputs_of",
    "model_of",
    "network_of",
    "networks_of",
    "numbers_of",
    "program_of",
    "refuse_compiling",
    "spaced_of",
    "weights_of",
]

PROGRAM_SUFFIX = ".spiccato"

#: Inferences that a comparison on the RTL streams, at least, besides one that comes alone.
STREAMED = 4


def program_of(path):
    """The program in a file; a model in its place is told apart, for those are easily mixed up."""
    if path in (*MODELS, *KINDS, *WINDOWED, *TRAINED) or os.path.splitext(path)[1].lower() in SUFFIXES:
        raise ProgramError(
            f"{path} is a model, not a program: compile it first (spiccato compile {path} -o NAME{PROGRAM_SUFFIX})"
        )
    return Program.load(path)


def network_of(model, seed, calibration=None, reading=WHOLE_MODEL):
    """The network that MODEL names, with calibration inputs from a file if one is given."""
    network = resolve(model, seed, reading)
    if calibration is None:
        return network
    return replace(network, calibration=load_inputs(calibration, network.input_size))


def spaced_of(steps):
    """How many of that many inferences on the RTL come alone; the others are streamed."""
    return max(1, min(10, steps // 2, steps - STREAMED))


def refuse_compiling(model, reading, *parameters):
    """Raise SpiccatoError if it is stated how to read or compile a model, for a program.

    Besides ``reading``, ``--weights``, ``--calibration`` and what else of the command's ``parameters``.
    """
    context = click.get_current_context()
    stated = [
        parameter.opts[0]
        for parameter in context.command.params
        if parameter.name in ("weights", "calibration", *parameters)
        and context.get_parameter_source(parameter.name) is click.core.ParameterSource.COMMANDLINE
    ]
    for option in [*(option for option, _ in reading.options()), *stated]:
        raise SpiccatoError(f"{model}: {option} is for files of models; a program is compiled already")


def networks_of(models, seed, calibration=None, reading=WHOLE_MODEL):
    """The networks that MODEL... names; what tells of one model's inputs or modules is for one model alone."""
    for option in [*["--calibration"] * (calibration is not None), *(option for option, _ in reading.options())]:
        if len(models) > 1:
            raise SpiccatoError(f"{option} is for one model, not for {len(models)} ({', '.join(models)})")
    return [network_of(model, seed, calibration, reading) for model in models]


def inputs_of(model, network, path, steps, seed):
    """What errors are measured with: (where it comes from, at most ``steps`` timesteps)."""
    from spiccato_sim.models import series

    if path is not None:
        return path, load_inputs(path, network.input_size)[:steps]
    if model in series.TASKS:
        return "series", series.load(model).inputs[:steps]
    if network.calibration is not None:
        return "calibration", network.calibration[:steps]
    return "random", inputs(network, steps, seed)


def numbers_of(option, text, low, high, *, power=False, words=None):
    """Numbers from what an option was given: ``4,6`` or ``1-12``, with commas; ``words`` stand for values of their own.

    Raises
    ------
    SpiccatoError
        If one is something else, below ``low`` or above ``high``, or, with ``power``, no power of two.
    """
    found = []
    for part in text.split(","):
        if words and part in words:
            found.append(words[part])
            continue
        ends = part.split("-")
        numbers = [int(end) for end in ends if end.isascii() and end.isdigit() and len(end) <= len(str(high))]
        if len(numbers) != len(ends) or len(ends) > 2 or not low <= numbers[0] <= numbers[-1] <= high:
            numbers = []
        values = list(range(numbers[0], numbers[-1] + 1)) if numbers else []
        if not values or power and any(value & (value - 1) for value in values):
            also = "".join(f" or {word}" for word in words or ())
            raise SpiccatoError(
                f"{option} {text}: expected {'powers of two' if power else 'numbers'} in {low}..{high}{also}, "
                f"several with commas, not {part!r}"
            )
        found += values
    return list(dict.fromkeys(found))


def choices_of(option, text, known):
    """Words from what an option was given, with commas; raises SpiccatoError for one that is not ``known``."""
    parts = text.split(",")
    for part in parts:
        if part not in known:
            raise SpiccatoError(f"{option} {text}: expected {', '.join(known)}, several with commas, not {part!r}")
    return list(dict.fromkeys(parts))


def weights_of(texts, count):
    """The weight formats of each of ``count`` models, from what ``--weights`` was given: one, or one a layer."""
    given = [one for text in texts for one in text.split(",")]
    formats = [one.split("/") if "/" in one else one for one in given]
    if len(formats) not in (1, count):
        raise SpiccatoError(
            f"--weights {','.join(given)}: {len(given)} formats for {count} model{'s' * (count > 1)}; "
            "expected one, or one for each"
        )
    return formats * count if len(formats) == 1 else formats


def contexts_of(text, count):
    """How many contexts each of ``count`` models has, from what ``--contexts`` was given; 1 if nothing was."""
    if text is None:
        return [1] * count
    parts = text.split(",")
    if len(parts) not in (1, count) or not all(part.isascii() and part.isdigit() and int(part) for part in parts):
        each = f", or {count} of them with commas" if count > 1 else ""
        raise SpiccatoError(f"--contexts {text}: expected a number from 1 on{each}")
    return [int(part) for part in parts] * (count if len(parts) == 1 else 1)


def model_of(program, name):
    """The number of the model of a program that ``--model`` names, by name or number; its only one if it is None."""
    names = [model.name for model in program.models]
    known = ", ".join(f"{number} ({name})" for number, name in enumerate(names))
    if name is None:
        if len(names) > 1:
            raise ProgramError(f"program {program.name!r} has {len(names)} models: choose one with --model: {known}")
        return 0
    if names.count(name) > 1:
        raise ProgramError(
            f"--model {name}: program {program.name!r} has several of that name; choose by number: {known}"
        )
    if name in names:
        return names.index(name)
    if name.isascii() and name.isdigit() and int(name) < len(names):
        return int(name)
    raise ProgramError(f"--model {name}: program {program.name!r} has no such model; it has {known}")

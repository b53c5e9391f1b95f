"""The linker: models and numbers of contexts in, a program out.

Models share nothing but time: each has weights, row slots and issue words of its own, and each context a range of the
state memories. What is in time is that one model's inference may follow another's at once: idle words at its end keep
their outputs apart. All else that keeps inferences at a distance is within a context.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from ..errors import FitError, SpiccatoError
from ..isa.issue import issue_word
from ..program import Model, Program
from .fit import shortages
from .heads import HEAD_WORDS

__all__ = ["lengths_in_turns", "link", "most_contexts"]


def link(models: Sequence[Model], *, contexts: int | Sequence[int] = 1, name: str | None = None) -> Program:
    """Put models together as a program.

    Parameters
    ----------
    models : sequence of Model
        All compiled for the same configuration. Packets name them by their numbers.
    contexts : int or sequence of int
        How many streams each model has, of a state each.
    name : str, optional
        [default: the models' names, with a ``+`` in between]

    Returns
    -------
    Program

    Raises
    ------
    FitError
        If they do not fit: with what they need, what there is, and how many contexts would fit.
    SpiccatoError
        If there is no model, if they were compiled for different configurations, or if ``contexts`` are not numbers
        of contexts, one for each model.
    """
    models = list(models)
    if not models:
        raise SpiccatoError("a program needs a model")
    config = models[0].config
    for model in models:
        if model.config.digest != config.digest:
            raise SpiccatoError(
                f"model {model.name!r} was compiled for configuration {model.config.name!r} (digest "
                f"{model.config.digest}), {models[0].name!r} for {config.name!r} (digest {config.digest})"
            )
    streams = _streams(models, contexts)
    program = Program(
        name="+".join(model.name for model in models) if name is None else name,
        config=config,
        models=tuple(_padded(models)),
        streams=streams,
        head_words=HEAD_WORDS,
    )
    short = shortages(program.memory_use())
    if short:
        raise FitError(_refusal(program, short))
    return program


def _streams(models: Sequence[Model], contexts: int | Sequence[int]) -> tuple[int, ...]:
    streams = [contexts] * len(models) if isinstance(contexts, int) else list(contexts)
    if len(streams) != len(models) or any(type(number) is not int or number < 1 for number in streams):
        each = f", or one for each of {len(models)} models" * (len(models) > 1)
        raise SpiccatoError(f"contexts {contexts!r}: expected a number from 1 on{each}")
    return tuple(streams)


def _padded(models: Sequence[Model]) -> list[Model]:
    """The models with so many idle words at their ends that any of them may follow at once.

    An inference sends its first output when the one before has sent its last.
    """
    result = []
    for model, length in zip(models, lengths_in_turns([_outputs(model) for model in models])):
        missing = length - len(model.words)
        if missing > 0:
            word = issue_word(model.config)
            fields = {
                name: np.append(values, np.zeros(missing, dtype=np.int64)) for name, values in model.decode().items()
            }
            fields["commit"][[len(model.words) - 1, -1]] = 0, 1
            model = dataclasses.replace(model, words=word.encode(fields), initiation_interval=length)
        result.append(model)
    return result


def lengths_in_turns(outputs: Sequence[tuple[int, int]]) -> list[int]:
    """Words that inferences have at least if any of them may follow.

    Parameters
    ----------
    outputs : sequence of (int, int)
        Of each model, from its first word on: when its first output slot is finished, and when the last one's beats
        have passed.
    """
    earliest = min(first for first, _ in outputs)
    return [end - earliest for _, end in outputs]


def _outputs(model: Model) -> tuple[int, int]:
    """From the first word on: when the first output slot is finished, and when the last one's beats have passed."""
    fields = model.decode()
    sends = np.flatnonzero(fields["output"])
    return int(sends[0]), int(sends[-1] + fields["output_beats"][sends[-1]] + 1)


def most_contexts(models: Sequence[Model]) -> int:
    """How many contexts of each model there is room for, the model's own configuration being what is built."""
    config = models[0].config
    room = config.state_slots - sum(model.slots for model in models if model.has_initial)
    return max(0, min(room // sum(model.slots for model in models), config.streams))


def _refusal(program: Program, short: Sequence[str]) -> str:
    """Why a program does not fit, in one line."""
    models, most = program.models, most_contexts(program.models)
    taken = ", ".join(
        f"{model.name!r} {streams} context{'s' * (streams != 1)} of {model.slots} slots"
        + f" and {model.slots} for its initial state" * model.has_initial
        for model, streams in zip(models, program.streams)
    )
    would = f"{most or 'not one'} context{'s' * (most > 1)}{' of each' * (len(models) > 1)} would fit"
    if not most or any(not one.startswith(("state memory", "context table")) for one in short):
        would += " the state memory"
    return f"program {program.name!r} does not fit {program.config.name!r}: needs {', '.join(short)} ({taken}); {would}"

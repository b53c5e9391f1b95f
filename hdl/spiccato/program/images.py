"""A program's memories as a load over the bus, or as files that a simulator preloads."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..isa.load import Record, RecordKind, context_word, feature_word, load_stream, model_word, parameters_word
from ..isa.word import Word, pack_bits
from ..numbers import ACC_BITS, ADJUST_OFFSET, C_BITS, FLOAT_BIAS, FLOAT_EXPONENT_BITS, SHIFT_BITS
from .model import Model
from .placement import Place, state_base

if TYPE_CHECKING:
    from .program import Program

__all__ = ["load_words", "write_preload"]


def load_words(program: "Program", *, memories: bool = True) -> NDArray[np.uint32]:
    """The words to write to ``load_data``, one after the other.

    ``memories=False`` leaves out what :func:`write_preload` covers.
    """
    return load_stream([*(_memories(program) if memories else ()), *_tables(program)], program.config.digest)


def _memories(program: "Program") -> Iterator[Record]:
    """The contents of all memories that are preloaded."""
    config = program.config
    for model, place in zip(program.models, program.places):
        for core in range(config.cores):
            for row in range(config.block):
                weights = pack_bits(model.weights[core, :, row], config.operands.weight)
                yield Record(RecordKind.WEIGHTS, weights, addr=place.weight, core=core, row=row)
            for recurrent in range(2):
                shifts = pack_bits(model.shifts[recurrent, :, core], SHIFT_BITS + config.factor_bits)
                yield Record(RecordKind.SHIFTS, shifts, addr=recurrent * config.slots + place.slot, core=core)
        yield from _sums_records(model.biases, 2 * config.state_slots + place.slot)
        if place.initial is not None:
            yield from _sums_records(model.initial_sums, place.initial)
    tails = [program.words(number)[program.head_words :] for number in range(len(program.models))]
    yield Record(RecordKind.ISSUE_WORDS, np.concatenate(tails))


def _sums_records(sums: NDArray[np.int64], addr: int) -> Iterator[Record]:
    """Sums (slots, cores, block) for the accumulator files."""
    for core in range(sums.shape[1]):
        for row in range(sums.shape[2]):
            yield Record(
                RecordKind.ACCUMULATORS, pack_bits(sums[:, core, row, None], ACC_BITS), addr=addr, core=core, row=row
            )


def _cells_records(cells: NDArray[np.int64], addr: int) -> Iterator[Record]:
    """Cell states (slots, cores, lanes) for the memories of c."""
    for core in range(cells.shape[1]):
        yield Record(RecordKind.CELL_STATE, pack_bits(cells[:, core], C_BITS), addr=addr, core=core)


def write_preload(program: "Program", folder: Path) -> None:
    """Write the block memories as hex files for the simulator's preload; see :class:`spiccato.rtl.memory.Ram`.

    A row's weights are as many banks as the configuration has segments, the first columns first. Where rows share their
    memories, one's words are behind the other's.
    """
    config = program.config
    files = {
        RecordKind.WEIGHTS: "weights",
        RecordKind.SHIFTS: "shifts",
        RecordKind.ACCUMULATORS: "biases",
        RecordKind.ISSUE_WORDS: "words",
    }
    texts: dict[str, list[str]] = {}
    for kind, image, addr, core, row in _memories(program):
        segments, sharing = (config.weight_segments, config.weight_sharing) if kind is RecordKind.WEIGHTS else (1, 1)
        first = addr + row % sharing * (1 << (config.weight_depth - 1).bit_length())
        for segment, part in enumerate(np.split(image, segments, axis=1)):
            # Most significant digit first.
            entries = np.ascontiguousarray(part[:, ::-1]).astype(">u4")
            lines = "\n".join(entry.tobytes().hex() for entry in entries)
            name = f"{files[kind]}_{core}_{row // sharing * segments + segment}.hex"
            texts.setdefault(name, []).append(f"@{first:x}\n{lines}\n")
    for name, parts in texts.items():
        (folder / name).write_text("".join(parts))


def _tables(program: "Program") -> Iterator[Record]:
    """What is always loaded: what the hardware knows of models and contexts, and initial c.

    Packets for models that there are not are taken as those of the first one, as long as they are.
    """
    config = program.config
    entries = []
    for number in range(config.models):
        known = number if number < len(program.models) else 0
        model, place = program.models[known], program.places[known]
        # An address is the model's number above that of a beat, or a word.
        yield Record(RecordKind.FEATURES, _features(model), addr=number * config.input_beats)
        heads = program.words(known)[: program.head_words]
        yield Record(RecordKind.HEADS, heads, addr=number << (program.head_words - 1).bit_length())
        entries.append(_model_entry(program, model, place))
        if place.initial is not None and known == number:
            yield from _cells_records(model.initial_c, place.initial)
    yield Record(RecordKind.MODELS, _entries(model_word(config), entries))
    yield Record(RecordKind.CONTEXTS, _context_table(program))
    yield Record(RecordKind.PARAMETERS, _entries(parameters_word, [{"digest": int(program.digest, 16)}]))


def _features(model: Model) -> NDArray[np.uint32]:
    """The feature memory's entries, one for each input beat."""
    adjust, enable = feature_word["adjust"], feature_word["enable"]
    entries = (model.adjust.astype(np.int64) + ADJUST_OFFSET << adjust.offset) | (
        model.enable.astype(np.int64) << enable.offset
    )
    return pack_bits(entries.reshape(-1, model.config.beat_values), feature_word.size)


def _model_entry(program: "Program", model: Model, place: Place) -> dict[str, int]:
    """A model's entry in the table of models."""
    config = program.config
    return {
        "last_input_beat": model.input_beats - 1,
        "output_beats": model.output_beats,
        "last_values": (model.output_size - 1) % config.beat_values,
        "output_exponent": (FLOAT_BIAS - model.output_frac_bits) % (1 << FLOAT_EXPONENT_BITS),
        "first": place.tail,
        "before_last": place.tail + len(model.words) - program.head_words - 2,
        "has_initial": int(model.has_initial),
        "initial": 0 if place.initial is None else state_base(config, place, place.initial),
    }


def _context_table(program: "Program") -> NDArray[np.uint32]:
    """An entry for each context that a packet may name."""
    config = program.config
    entries: list[dict[str, int]] = [{} for _ in range(config.models * config.streams)]
    for number, (place, streams) in enumerate(zip(program.places, program.streams)):
        for stream in range(streams):
            base = state_base(config, place, program.state_slot(number, stream))
            entries[program.tid(number, stream)] = {"known": 1, "base": base}
    return _entries(context_word(config), entries)


def _entries(word: Word, entries: list[dict[str, int]]) -> NDArray[np.uint32]:
    """Entries (n, 32-bit words) of a table."""
    return np.array([word.split(word.pack(**entry)) for entry in entries], dtype=np.uint32)

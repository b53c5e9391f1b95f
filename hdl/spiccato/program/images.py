"""A program's memories as a load over the bus, or as files that a simulator preloads."""

import numpy as np

from ..isa.load import Record, RecordKind, feature_word, load_stream, parameters_word
from ..isa.word import pack_bits
from ..numbers import ACC_BITS, ADJUST_OFFSET, FLOAT_BIAS, FLOAT_EXPONENT_BITS, SHIFT_BITS, WEIGHT_BITS

__all__ = ["load_words", "write_preload"]


def load_words(program, *, memories=True):
    """The words to write to ``load_data``, one after the other (uint32 array).

    ``memories=False`` leaves out what :func:`write_preload` covers.
    """
    adjust, enable = feature_word["adjust"], feature_word["enable"]
    entries = (program.adjust.astype(np.int64) + ADJUST_OFFSET << adjust.offset) | (
        program.enable.astype(np.int64) << enable.offset
    )
    features = pack_bits(entries.reshape(-1, program.config.beat_values), feature_word.size)
    return load_stream(
        [
            *(_memories(program) if memories else ()),
            Record(RecordKind.FEATURES, features),
            Record(RecordKind.PARAMETERS, _parameters(program)),
        ],
        RecordKind.BEGIN_PROGRAM,
        program.config.digest,
    )


def _memories(program):
    """The contents of all block memories."""
    config = program.config
    for core in range(config.cores):
        for row in range(config.block):
            yield Record(RecordKind.WEIGHTS, pack_bits(program.weights[core, :, row], WEIGHT_BITS), core=core, row=row)
        for recurrent in range(2):
            yield Record(
                RecordKind.SHIFTS,
                pack_bits(program.shifts[recurrent, :, core], SHIFT_BITS),
                addr=recurrent * config.slots,
                core=core,
            )
        for row in range(config.block):
            yield Record(
                RecordKind.ACCUMULATORS,
                pack_bits(program.biases[:, core, row, None], ACC_BITS),
                addr=2 * config.slots,
                core=core,
                row=row,
            )
    yield Record(RecordKind.ISSUE_WORDS, program.words)


def write_preload(program, folder):
    """Write the block memories as hex files for the simulator's preload; see :class:`spiccato.rtl.memory.Ram`.

    A row's weights are as many banks as the configuration has segments, the first columns first.
    """
    files = {
        RecordKind.WEIGHTS: "weights",
        RecordKind.SHIFTS: "shifts",
        RecordKind.ACCUMULATORS: "biases",
        RecordKind.ISSUE_WORDS: "words",
    }
    texts: dict[str, list[str]] = {}
    for kind, image, addr, core, row in _memories(program):
        segments = program.config.weight_segments if kind is RecordKind.WEIGHTS else 1
        for segment, part in enumerate(np.split(image, segments, axis=1)):
            # Most significant digit first.
            entries = np.ascontiguousarray(part[:, ::-1]).astype(">u4")
            lines = "\n".join(entry.tobytes().hex() for entry in entries)
            name = f"{files[kind]}_{core}_{row * segments + segment}.hex"
            texts.setdefault(name, []).append(f"@{addr:x}\n{lines}\n")
    for name, parts in texts.items():
        (folder / name).write_text("".join(parts))


def _parameters(program):
    """The parameters as one entry."""
    word = parameters_word(program.config)
    return np.array(
        [
            word.split(
                word.pack(
                    digest=int(program.digest, 16),
                    last_input_beat=program.input_beats - 1,
                    output_beats=program.output_beats,
                    last_values=(program.output_size - 1) % program.config.beat_values,
                    output_exponent=(FLOAT_BIAS - program.output_frac_bits) % (1 << FLOAT_EXPONENT_BITS),
                    body=program.body,
                    before_last=len(program.words) - 2,
                )
            )
        ],
        dtype=np.uint32,
    )

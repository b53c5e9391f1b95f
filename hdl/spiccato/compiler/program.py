"""A program: the image of every memory, the issue words and what a host has to know. One file holds it all.

The file is a safetensors container: arrays under the names of :class:`Program`'s attributes, the rest as JSON in the
header, with a digest over everything. It can be read without this package.
"""

import dataclasses
import functools
import hashlib
import json
import os
import zlib
from dataclasses import dataclass

import numpy as np
import safetensors
import safetensors.numpy

from ..config import Config
from ..errors import ProgramError, SpiccatoError
from ..files import write_whole
from ..numbers import ACC_BITS, C_BITS, SHIFT_BITS, VECTOR_BITS, WEIGHT_BITS
from ..rtl.accumulator import RowAccumulator
from ..rtl.control import RecordKind, parameters_layout, record_header
from ..rtl.ingress import ADJUST_OFFSET, feature_layout
from ..rtl.row import DotProductRow
from ..rtl.sequencer import issue_word_layout
from ..rtl.vector_file import QUARTERS

__all__ = ["Program", "LayerPlace", "FORMAT_VERSION"]

FORMAT_VERSION = 3
#: Key of the container's header; one, because the container does not keep keys in order.
_HEADER = "spiccato program"
_ARRAYS = {
    "weights": np.int16, "shifts": np.uint8, "biases": np.int64, "adjust": np.int16, "enable": np.uint8,
    "words": np.uint32,
}


@dataclass(frozen=True)
class LayerPlace:
    """Where an LSTM layer's state lies: ``units`` of h from vector block ``first_block`` on, and of c from slot
    ``first_slot`` on."""

    units: int
    first_block: int
    first_slot: int
    slots: int


@dataclass(frozen=True, eq=False)
class Program:
    """A compiled network.

    Attributes
    ----------
    name : str
    config : Config
    input_size, output_size : int
    layers : tuple of LayerPlace
    weight_formats : tuple of "int16" or "int8", one for each LSTM layer and one for the linear layer
    output_frac_bits : int
        Fraction bits of the output sums.
    body : int
        Number of issue words before those of an inference; they start the state from zero.
    spaced_latency, initiation_interval : int
        Predicted, in cycles.
    critical_mac_bound, full_mac_bound : int
        Cycles that the multiplications need with every multiplier busy: those the output waits for, and all.
    weights : int16 (cores, words, block rows, block columns)
        Weight memories; 8-bit words hold the even tile in the low bytes and the odd one in the high ones.
    shifts : uint8 (2, slots, cores, block)
        Row shifts of input and recurrent matrices.
    biases : int64 (slots, cores, block)
    adjust, enable : int16, uint8 (input blocks, block)
        Feature memory.
    words : uint32 (issue words, 32-bit words each)
    notes : tuple of str
        What a user should know of its numbers, a sentence each (:mod:`.notes`). Decides nothing that it computes.
    """

    name: str
    config: Config
    input_size: int
    output_size: int
    layers: tuple
    weight_formats: tuple
    output_frac_bits: int
    body: int
    spaced_latency: int
    initiation_interval: int
    critical_mac_bound: int
    full_mac_bound: int
    weights: np.ndarray
    shifts: np.ndarray
    biases: np.ndarray
    adjust: np.ndarray
    enable: np.ndarray
    words: np.ndarray
    notes: tuple = ()

    @property
    def input_beats(self):
        """Beats of an input packet."""
        return -(-self.input_size // self.config.beat_values)

    @property
    def output_beats(self):
        """Beats of an output packet."""
        return -(-self.output_size // self.config.beat_values)

    def memory_use(self):
        """Memories as rows (memory, used, capacity, unit)."""
        config = self.config
        return [
            ("weight memory", self.weights.shape[1], config.weight_depth, "words a core"),
            ("accumulator file", len(self.biases), config.slots, "slots"),
            ("vector file", max(-(-layer.slots * config.cores // QUARTERS) + layer.first_block
                                for layer in self.layers), config.vector_blocks, "blocks"),
            ("input buffer", len(self.adjust), config.input_blocks, "blocks"),
            ("program memory", len(self.words), config.program_depth, "issue words"),
            ("output queue", self.output_beats, config.output_beats, "beats"),
        ]

    @functools.cached_property
    def digest(self):
        """64-bit hexadecimal digest of everything that decides what the program computes, and when (no names)."""
        relevant = self._metadata() | {"name": None, "config": self.config.digest}
        del relevant["notes"]
        state = hashlib.sha256(json.dumps(relevant, sort_keys=True).encode())
        for name, dtype in _ARRAYS.items():
            array = np.ascontiguousarray(getattr(self, name), dtype=np.dtype(dtype).newbyteorder("<"))
            state.update(f"{name} {array.shape}".encode())
            state.update(array)
        return state.hexdigest()[:16]

    def _metadata(self):
        plain = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)
                 if field.name not in _ARRAYS}
        plain["config"] = self.config.to_dict()
        plain["layers"] = [dataclasses.asdict(layer) for layer in self.layers]
        plain["weight_formats"], plain["notes"] = list(self.weight_formats), list(self.notes)
        return plain

    def _checksum(self):
        """CRC-32 of the metadata, with the names and notes that the digest leaves out."""
        return zlib.crc32(json.dumps(self._metadata(), sort_keys=True).encode())

    def save(self, path):
        """Write the program to ``path``, all or nothing."""
        header = {"version": FORMAT_VERSION, "digest": self.digest, "config_digest": self.config.digest,
                  "program": self._metadata(), "checksum": self._checksum()}
        arrays = {name: np.ascontiguousarray(getattr(self, name)) for name in _ARRAYS}
        try:
            write_whole(path, safetensors.numpy.save(arrays, metadata={_HEADER: json.dumps(header, sort_keys=True)}))
        except OSError as error:
            raise ProgramError(f"{path}: cannot be written: {error.strerror}") from None

    @classmethod
    def load(cls, path):
        """Read a program.

        Raises
        ------
        ProgramError
            If the file is missing, damaged, or not a program of this version.
        """
        path = os.fspath(path)
        try:
            with safetensors.safe_open(path, framework="numpy") as file:
                header = json.loads((file.metadata() or {}).get(_HEADER, "null"))
                arrays = {name: file.get_tensor(name) for name in file.keys()}
        except FileNotFoundError:
            raise ProgramError(f"{path}: no such file") from None
        except OSError as error:
            raise ProgramError(f"{path}: cannot be read: {error.strerror or error}") from None
        except safetensors.SafetensorError as error:
            raise ProgramError(f"{path}: damaged, or not a program file: {error}") from None
        except json.JSONDecodeError as error:
            raise ProgramError(f"{path}: damaged header: {error}") from None
        if header is None:
            raise ProgramError(f"{path}: not a program file (compile the network to get one)")
        version = header.get("version") if isinstance(header, dict) else None
        if version != FORMAT_VERSION:
            raise ProgramError(f"{path}: damaged, or program format {version}; this version reads "
                               f"{FORMAT_VERSION}: compile the network again")
        try:
            plain = dict(header["program"])
            plain["config"] = Config.from_dict(plain["config"])
            plain["layers"] = tuple(LayerPlace(**layer) for layer in plain["layers"])
            plain["weight_formats"], plain["notes"] = tuple(plain["weight_formats"]), tuple(plain["notes"])
            program = cls(**plain, **arrays)
            damaged = ([program.digest, program.config.digest, program._checksum()]
                       != [header[key] for key in ("digest", "config_digest", "checksum")])
        except (SpiccatoError, ValueError, KeyError, TypeError, AttributeError):
            damaged = True
        if damaged:
            raise ProgramError(f"{path}: damaged: the contents do not match the digest in the header")
        return program

    def require(self, config):
        """Raise ProgramError unless the program runs on ``config``."""
        if self.config.digest != config.digest:
            mine, other = self.config.to_dict(), config.to_dict()
            differing = ", ".join(f"{key} {mine[key]} instead of {other[key]}" for key in mine
                                  if mine[key] != other[key] and key not in ("name", "clock_mhz"))
            raise ProgramError(f"program {self.name!r} was compiled for configuration {self.config.name!r}, not for "
                               f"{config.name!r} ({differing}): compile the network for {config.name!r}")

    def load_words(self, *, memories=True):
        """The words to write to ``load_data``, one after the other (uint32 array).

        ``memories=False`` leaves out what :meth:`write_preload` covers.
        """
        adjust, enable = feature_layout["adjust"], feature_layout["enable"]
        entries = ((self.adjust.astype(np.int64) + ADJUST_OFFSET << adjust.offset)
                   | (self.enable.astype(np.int64) << enable.offset))
        features = pack_bits(entries.reshape(-1, self.config.beat_values), feature_layout.size)
        return _load([*(self._memory_images() if memories else ()),
                      (RecordKind.FEATURES, features, 0, 0, 0),
                      (RecordKind.PARAMETERS, self._parameters(), 0, 0, 0)], RecordKind.END_PROGRAM)

    def state_words(self, h, c):
        """The words of a state image: after it has been loaded, inferences go on from this state (uint32 array).

        The hardware has to run this program. It keeps the recurrent half of every sum rather than h, so these words
        hold the halves that ``h`` leads to. (``probe`` shows the h of the last inference, which the next one never
        reads.)

        Parameters
        ----------
        h, c : sequences of integer arrays (units,), one for each LSTM layer
            As read back: 17 fraction bits, 18 and 27 bits wide.

        Raises
        ------
        ProgramError
            If there are not as many layers or units as the program has, or a value is out of range.
        """
        config = self.config
        h, c = (self._state_arrays(name, values, bits)
                for name, values, bits in (("h", h, VECTOR_BITS), ("c", c, C_BITS)))
        lstm_slots = max(layer.first_slot + layer.slots for layer in self.layers)
        cells = np.zeros((lstm_slots, config.cores, config.lanes), dtype=np.int64)
        for layer, values in zip(self.layers, c):
            cells[layer.first_slot:layer.first_slot + layer.slots].reshape(-1)[:layer.units] = values
        halves = self._recurrent_halves(h)[:lstm_slots]
        images = [(RecordKind.CELL_STATE, pack_bits(cells[:, core], C_BITS), 0, core, 0)
                  for core in range(config.cores)]
        images += [(RecordKind.ACCUMULATORS, pack_bits(halves[:, core, row, None], ACC_BITS), 0, core, row)
                   for core in range(config.cores) for row in range(config.block)]
        return _load(images, RecordKind.END_STATE)

    def _state_arrays(self, name, values, bits):
        values = [np.asarray(value) for value in values]
        shapes, wanted = [value.shape for value in values], [(layer.units,) for layer in self.layers]
        if shapes != wanted:
            raise ProgramError(f"state of program {self.name!r}: {name} has shapes {shapes}, the layers have {wanted}")
        for number, value in enumerate(values):
            if value.dtype.kind not in "iu" or (value >> (bits - 1) != value >> 63).any():
                raise ProgramError(f"state of program {self.name!r}: {name} of layer {number} has to hold integers of "
                                   f"{bits} bits, as they are read back")
        return [value.astype(np.int64) for value in values]

    def _recurrent_halves(self, h):
        """Sums (slots, cores, block) of biases and W_hh h, as an inference leaves them for the next one."""
        config, fields = self.config, self.decode()
        vectors = np.zeros((config.vector_blocks, config.block), dtype=np.int64)
        for layer, values in zip(self.layers, h):
            vectors.reshape(-1)[config.block * layer.first_block:][:layer.units] = values
        sums = self.biases.astype(np.int64)
        for word in np.flatnonzero((fields["valid"] == 1) & (fields["recurrent"] == 1)):
            tile = DotProductRow.widen(self.weights[:, fields["weight"][word]], fields["int8"][word] == 1,
                                       fields["high"][word] == 1)
            slot = fields["slot"][word]
            sums[slot] += RowAccumulator.align(tile @ vectors[fields["vector"][word]], self.shifts[1, slot])
        return sums

    def _memory_images(self):
        """All block memories' contents: (kind, entries of 32-bit words, first address, core, row)."""
        config = self.config
        for core in range(config.cores):
            for row in range(config.block):
                yield RecordKind.WEIGHTS, pack_bits(self.weights[core, :, row], WEIGHT_BITS), 0, core, row
            for recurrent in range(2):
                yield (RecordKind.SHIFTS, pack_bits(self.shifts[recurrent, :, core], SHIFT_BITS),
                       recurrent * config.slots, core, 0)
            for row in range(config.block):
                yield (RecordKind.ACCUMULATORS, pack_bits(self.biases[:, core, row, None], ACC_BITS),
                       2 * config.slots, core, row)
        yield RecordKind.ISSUE_WORDS, self.words, 0, 0, 0

    def write_preload(self, folder):
        """Write the block memories as hex files for the simulator's preload; see :class:`spiccato.rtl.memory.Ram`."""
        files = {RecordKind.WEIGHTS: "weights", RecordKind.SHIFTS: "shifts", RecordKind.ACCUMULATORS: "biases",
                 RecordKind.ISSUE_WORDS: "words"}
        for kind, image, addr, core, row in self._memory_images():
            # Most significant digit first.
            entries = np.ascontiguousarray(image[:, ::-1]).astype(">u4")
            text = "\n".join(entry.tobytes().hex() for entry in entries)
            with open(folder / f"{files[kind]}_{core}_{row}.hex", "w" if addr == 0 or kind is not RecordKind.SHIFTS
                      else "a") as file:
                file.write(f"@{addr:x}\n{text}\n")

    def _parameters(self):
        layout = parameters_layout(self.config)
        value = layout.const({
            "digest": int(self.digest, 16),
            "last_input_beat": self.input_beats - 1,
            "output_beats": self.output_beats,
            "last_values": (self.output_size - 1) % self.config.beat_values,
            "output_exponent": (127 - self.output_frac_bits) & 0xFF,
            "body": self.body,
            "before_last": len(self.words) - 2,
        }).as_value().value
        count = -(-layout.size // 32)
        return np.array([[(value >> 32 * i) & 0xFFFFFFFF for i in range(count)]], dtype=np.uint32)

    def decode(self):
        """Issue words as {field: int array}."""
        layout = issue_word_layout(self.config)
        bits = np.unpackbits(self.words.astype("<u4").view(np.uint8), axis=1, bitorder="little")
        fields = {}
        for name, field in layout:
            part = bits[:, field.offset:field.offset + field.width].astype(np.int64)
            fields[name] = part @ (1 << np.arange(field.width, dtype=np.int64))
        return fields


def _load(images, end):
    """The words of a load: records of all images (kind, entries of 32-bit words, first address, core, row), the
    record ``end``, and the CRC."""
    stream = []
    limit = 1 << 12  # entries of a record
    for kind, image, addr, core, row in images:
        for start in range(0, len(image), limit):
            part = image[start:start + limit]
            stream.append(np.array(record_header(kind, core=core, row=row, words=image.shape[1],
                                                 addr=addr + start, entries=len(part)), dtype=np.uint32))
            stream.append(part.reshape(-1))
    stream.append(np.array(record_header(end)[:1], dtype=np.uint32))
    words = np.concatenate(stream)
    return np.append(words, np.uint32(zlib.crc32(words.astype("<u4").tobytes())))


def encode_words(fields, config):
    """Issue words (n, 32-bit words) from {field: int array}; fields left out are zero."""
    layout = issue_word_layout(config)
    count = len(next(iter(fields.values())))
    width = -(-layout.size // 32) * 32
    bits = np.zeros((count, width), dtype=np.uint8)
    for name, values in fields.items():
        field = layout[name]
        values = np.asarray(values, dtype=np.int64)
        if values.min(initial=0) < 0 or values.max(initial=0) >> field.width:
            raise ValueError(f"issue word field {name}: a value does not fit {field.width} bits")
        bits[:, field.offset:field.offset + field.width] = (values[:, None] >> np.arange(field.width)) & 1
    return np.packbits(bits, axis=1, bitorder="little").view("<u4").astype(np.uint32)


def pack_bits(values, bits):
    """Pack the integers of each row (entries, n) little-endian, ``bits`` each, into 32-bit words."""
    values = np.asarray(values, dtype=np.int64)
    expanded = ((values[..., None] >> np.arange(bits)) & 1).astype(np.uint8).reshape(len(values), -1)
    missing = -expanded.shape[1] % 32
    expanded = np.pad(expanded, ((0, 0), (0, missing)))
    return np.packbits(expanded, axis=1, bitorder="little").view("<u4").astype(np.uint32)

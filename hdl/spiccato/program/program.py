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
from ..isa.issue import issue_word
from ..numbers import QUARTERS
from . import images

__all__ = ["FORMAT_VERSION", "LayerPlace", "Program", "memory_rows"]

FORMAT_VERSION = 3
#: Key of the container's header; one, because the container does not keep keys in order.
_HEADER = "spiccato program"
_ARRAYS = {
    "weights": np.int16,
    "shifts": np.uint8,
    "biases": np.int64,
    "adjust": np.int16,
    "enable": np.uint8,
    "words": np.uint32,
}


@dataclass(frozen=True)
class LayerPlace:
    """A layer whose results are vectors, and where its state lies.

    Attributes
    ----------
    kind : str
        Its kind's name in :data:`spiccato.layers.KINDS`.
    units : int
        Elements of h, from vector block ``first_block`` on.
    cells : int
        Elements of c, from slot ``first_slot`` on: as many, or none.
    first_block, first_slot, slots : int
    """

    kind: str
    units: int
    cells: int
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
    weight_formats : tuple of "int16" or "int8", one for each of ``layers`` and one for the linear layer
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
        What a user should know of its numbers, a sentence each (:mod:`spiccato.compiler.notes`). Decides nothing that
        it computes.
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
        blocks = max(-(-layer.slots * self.config.cores // QUARTERS) + layer.first_block for layer in self.layers)
        return memory_rows(
            self.config,
            weights=self.weights.shape[1],
            slots=len(self.biases),
            vector_blocks=blocks,
            input_blocks=len(self.adjust),
            words=len(self.words),
            output_beats=self.output_beats,
        )

    @functools.cached_property
    def digest(self):
        """64-bit hexadecimal digest of everything that decides what the program computes, and when (no names)."""
        relevant = self._metadata() | {"name": None, "config": self.config.digest}
        del relevant["notes"]
        state = hashlib.sha256(json.dumps(relevant, sort_keys=True).encode())
        for name, dtype in _ARRAYS.items():
            array = np.ascontiguousarray(getattr(self, name), dtype=np.dtype(dtype).newbyteorder("<"))
            state.update(f"{name} {array.shape}".encode())
            state.update(array.data)
        return state.hexdigest()[:16]

    def _metadata(self):
        plain = {
            field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name not in _ARRAYS
        }
        plain["config"] = self.config.to_dict()
        plain["layers"] = [dataclasses.asdict(layer) for layer in self.layers]
        plain["weight_formats"], plain["notes"] = list(self.weight_formats), list(self.notes)
        return plain

    def _checksum(self):
        """CRC-32 of the metadata, with the names and notes that the digest leaves out."""
        return zlib.crc32(json.dumps(self._metadata(), sort_keys=True).encode())

    def save(self, path):
        """Write the program to ``path``, all or nothing."""
        header = {
            "version": FORMAT_VERSION,
            "digest": self.digest,
            "config_digest": self.config.digest,
            "program": self._metadata(),
            "checksum": self._checksum(),
        }
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
        if os.path.isdir(path):
            raise ProgramError(f"{path}: is a folder; expected a program file")
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
            raise ProgramError(
                f"{path}: damaged, or program format {version}; this version reads "
                f"{FORMAT_VERSION}: compile the network again"
            )
        try:
            plain = dict(header["program"])
            plain["config"] = Config.from_dict(plain["config"])
            plain["layers"] = tuple(LayerPlace(**layer) for layer in plain["layers"])
            plain["weight_formats"], plain["notes"] = tuple(plain["weight_formats"]), tuple(plain["notes"])
            program = cls(**plain, **arrays)
            damaged = [program.digest, program.config.digest, program._checksum()] != [
                header[key] for key in ("digest", "config_digest", "checksum")
            ]
        except (SpiccatoError, ValueError, KeyError, TypeError, AttributeError):
            damaged = True
        if damaged:
            raise ProgramError(f"{path}: damaged: the contents do not match the digest in the header")
        return program

    def require(self, config):
        """Raise ProgramError unless the program runs on ``config``."""
        if self.config.digest != config.digest:
            mine, other = self.config.to_dict(), config.to_dict()
            differing = ", ".join(
                f"{key} {mine[key]} instead of {other[key]}"
                for key in mine
                if mine[key] != other[key] and key not in ("name", "clock_mhz")
            )
            raise ProgramError(
                f"program {self.name!r} was compiled for configuration {self.config.name!r}, not for "
                f"{config.name!r} ({differing}): compile the network for {config.name!r}, profile {config.profile!r}"
            )

    def load_words(self, *, memories=True):
        """The words to write to ``load_data``, one after the other (uint32 array).

        ``memories=False`` leaves out what :meth:`write_preload` covers.
        """
        return images.load_words(self, memories=memories)

    def write_preload(self, folder):
        """Write the block memories as hex files for the simulator's preload; see :class:`spiccato.rtl.memory.Ram`."""
        images.write_preload(self, folder)

    def decode(self):
        """Issue words as {field: int array}."""
        return issue_word(self.config).decode(self.words)


def memory_rows(config, *, weights, slots, vector_blocks, input_blocks, words, output_beats):
    """What is used of each memory, as rows (memory, used, capacity, unit)."""
    return [
        ("weight memory", weights, config.weight_depth, "words a core"),
        ("accumulator file", slots, config.slots, "slots"),
        ("vector file", vector_blocks, config.vector_blocks, "blocks"),
        ("input buffer", input_blocks, config.input_blocks, "blocks"),
        ("program memory", words, config.program_depth, "issue words"),
        ("output queue", output_beats, config.output_beats, "beats"),
    ]

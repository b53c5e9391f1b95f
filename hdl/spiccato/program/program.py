"""A program: models that are loaded together, with their contexts. One file holds it all.

The file is a safetensors container: arrays under the names of :class:`.model.Model`'s attributes, each with its model's
number and a dot in front, the rest as JSON in the header, with a digest over everything. It can be read without this
package.
"""

import functools
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..config import Config
from ..errors import ProgramError, SpiccatoError
from . import images
from .container import checksum, read_container, write_container
from .model import ARRAYS, NAMES, Model, digest_of
from .placement import Place, memory_rows, place_models, relocated

__all__ = ["FORMAT_VERSION", "Program"]

FORMAT_VERSION = 7


@dataclass(frozen=True, eq=False)
class Program:
    """Compiled networks and their contexts, as :func:`spiccato.compiler.link` puts them together.

    Attributes
    ----------
    name : str
    config : Config
    models : tuple of Model
        A packet names one by its number.
    streams : tuple of int
        How many contexts each model has.
    head_words : int
        Issue words of a model that the hardware keeps apart from the program memory, its first ones.
    """

    name: str
    config: Config
    models: tuple[Model, ...]
    streams: tuple[int, ...]
    head_words: int

    @property
    def model(self) -> Model:
        """The only model.

        Raises
        ------
        ProgramError
            If there are several.
        """
        if len(self.models) > 1:
            names = ", ".join(repr(model.name) for model in self.models)
            raise ProgramError(f"program {self.name!r} has {len(self.models)} models ({names}); expected one")
        return self.models[0]

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes of all models."""
        if len(self.models) == 1:
            return self.models[0].notes
        return tuple(f"{model.name}: {note}" for model in self.models for note in model.notes)

    @functools.cached_property
    def _places(self) -> list[Place]:
        return place_models(self.models, self.streams, self.head_words)

    @property
    def places(self) -> list[Place]:
        """Where each model lies."""
        return self._places[:-1]

    def has_context(self, model: int, stream: int) -> bool:
        """Whether a packet may name this stream of this model."""
        return 0 <= model < len(self.models) and 0 <= stream < self.streams[model]

    def require_context(self, model: int, stream: int) -> Model:
        """The model of a context.

        Raises
        ------
        ProgramError
            If there is no such model or context.
        """
        if not 0 <= model < len(self.models):
            raise ProgramError(f"program {self.name!r} has no model {model!r}; it has 0 to {len(self.models) - 1}")
        if not 0 <= stream < self.streams[model]:
            raise ProgramError(
                f"program {self.name!r} has no stream {stream!r} of model {model} ({self.models[model].name!r}); "
                f"it has 0 to {self.streams[model] - 1}"
            )
        return self.models[model]

    def state_slot(self, model: int, stream: int) -> int:
        """First slot of state memory of a context's range; raises ProgramError if there is no such context."""
        return self.places[model].state + stream * self.require_context(model, stream).slots

    def tid(self, model: int, stream: int) -> int:
        """The number by which packets name a context."""
        return model * self.config.streams + stream

    def words(self, model: int) -> NDArray[np.uint32]:
        """Issue words of one inference of a model, as they are loaded (issue words, 32-bit words each)."""
        return relocated(self.models[model], self.places[model])

    def memory_use(self) -> list[tuple[str, int, int, str]]:
        """Memories and tables as rows (memory, used, capacity, unit)."""
        end = self._places[-1]
        return memory_rows(
            self.config,
            weights=end.weight,
            slots=end.slot,
            state_slots=end.state,
            vector_blocks=max(model.vector_blocks for model in self.models),
            input_blocks=max(len(model.adjust) for model in self.models),
            tail_words=end.tail,
            output_beats=max(model.output_beats for model in self.models),
            models=len(self.models),
            streams=max(self.streams),
        )

    @functools.cached_property
    def digest(self) -> str:
        """64-bit hexadecimal digest of everything that decides what the program computes, and when (no names)."""
        relevant = self._metadata() | {"name": None, "config": self.config.digest}
        relevant["models"] = [model | dict.fromkeys(NAMES) for model in relevant["models"]]
        return digest_of(relevant, self._arrays())

    def _arrays(self) -> dict[str, NDArray]:
        return {f"{number}.{name}": getattr(model, name) for number, model in enumerate(self.models) for name in ARRAYS}

    def _metadata(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "config": self.config.to_dict(),
            "models": [model.metadata() for model in self.models],
            "streams": list(self.streams),
            "head_words": self.head_words,
        }

    def save(self, path: str | os.PathLike) -> None:
        """Write the program to ``path``, all or nothing."""
        metadata = self._metadata()
        header = {
            "digest": self.digest,
            "config_digest": self.config.digest,
            "program": metadata,
            # With the names, notes and origins that the digest leaves out.
            "checksum": checksum(metadata),
        }
        write_container(path, "program", FORMAT_VERSION, header, self._arrays())

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Program":
        """Read a program.

        Raises
        ------
        ProgramError
            If the file is missing, damaged, or not a program of this version.
        """
        header, arrays = read_container(path, "program", FORMAT_VERSION, "compile the network")
        try:
            plain = header["program"]
            config = Config.from_dict(plain["config"])
            program = cls(
                name=plain["name"],
                config=config,
                models=tuple(
                    Model.from_metadata(model, config, {name: arrays.pop(f"{number}.{name}") for name in ARRAYS})
                    for number, model in enumerate(plain["models"])
                ),
                streams=tuple(plain["streams"]),
                head_words=plain["head_words"],
            )
            damaged = bool(arrays) or [program.digest, config.digest, checksum(program._metadata())] != [
                header[key] for key in ("digest", "config_digest", "checksum")
            ]
        except (SpiccatoError, ValueError, KeyError, TypeError, AttributeError):
            damaged = True
        if damaged:
            raise ProgramError(f"{os.fspath(path)}: damaged: the contents do not match the digest in the header")
        return program

    def require(self, config: Config) -> None:
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

    def load_words(self, *, memories: bool = True) -> NDArray[np.uint32]:
        """The words to write to ``load_data``, one after the other (uint32 array).

        ``memories=False`` leaves out what :meth:`write_preload` covers.
        """
        return images.load_words(self, memories=memories)

    def write_preload(self, folder) -> None:
        """Write the block memories as hex files for the simulator's preload; see :class:`spiccato.rtl.memory.Ram`."""
        images.write_preload(self, folder)

"""Configuration of the accelerator: what is built, in which size.

A :class:`Config` is all that the hardware generator, the compiler and the models need to know about a
design; everything else is derived from it. Boards bring theirs: see :mod:`spiccato.registry`.
"""

import dataclasses
import hashlib
import json
import math
import re
from dataclasses import dataclass
from typing import Any

from .errors import ConfigError
from .families import FAMILIES, Profile
from .numbers import EXPONENT_BITS, FACTOR_BITS, GATES, NARROW_BITS, SHIFT_BITS, VECTOR_BITS, WEIGHT_BITS, Operands

__all__ = ["Config", "IO_FORMATS", "MULTIPLIERS", "WIDE", "shape_text"]

IO_FORMATS = {"bfloat16": 16, "float32": 32}
MULTIPLIERS = ("18x18", "9x9")
#: Weight format of layers whose input matrix is multiplied in several passes, for 9x9 multipliers.
WIDE = "wide"


@dataclass(frozen=True, kw_only=True)
class Config:
    """Parameters of one accelerator. Integers are Python's ``int``: neither ``True`` nor ``8.0`` is one.

    Parameters
    ----------
    name : str
        What messages and files call it: letters, digits, ``_`` and ``-``, the first a letter or digit.
    cores : int, 1..12
        Cores of the matrix-vector unit (MVU). All execute the same issue word on different rows.
    block : int, power of two, 4..64
        Rows in a core.
    columns : int, ``block`` or twice that; ``block`` by default
        Values in a vector block, and multipliers in a row: a core does ``block * columns`` multiply-accumulates a
        cycle.
    multiplier : "18x18" or "9x9"
        What a row is made of. The latter take vector elements of 9 bits, and no weights but 8-bit ones (9-bit, where
        the family's memory has the bit); where a block does as many more of them, columns are twice the rows.
    weight_depth : int
        Blocks of ``block x columns`` weights (of 16-bit weights, or of pairs of 8-bit ones, with 18x18 multipliers) in
        each core.
    slots : int, power of two
        Row slots of all models together. A slot is ``cores * block`` rows: ``cores * block / 4`` hidden units.
    models : int, power of two, at most 16
        Models that can be loaded at once.
    streams : int, power of two, at most 1024
        Streams of each model that a packet's ``tid`` can name. A model and a stream are a context.
    state_slots : int
        Row slots of state memory, all contexts together: each takes as many as its model has.
    vector_blocks : int, power of two
        Blocks of h that the vector file holds (twice: committed and new).
    input_blocks : int, power of two, at most 64
        Blocks of one input packet (two packets are held).
    program_depth : int
        Issue words.
    output_beats : int, at most 64
        Beats that the output queue holds; at least one inference's worth has to fit.
    io_format : "bfloat16" or "float32"
        Values on the input and output streams. A beat is ``block`` 16-bit lanes either way.
    family : str
        Device family, key of :data:`spiccato.families.FAMILIES`: what its multipliers do decides some latencies.
    profile : str
        One of the family's profiles: how far signals may reach, and which optional registers there are.
    epilogues : sequence of str
        What takes a slot's finished sums to vectors: names in :data:`spiccato.rtl.epilogue.EPILOGUES`, which the kinds
        of layers ask for (:mod:`spiccato.layers`). A lane has one of each.
    keep_h : bool
        Each context keeps h beside c, for the host to read (:meth:`spiccato.host.Context.states`): one more memory in
        each core, as deep as that of c. Nothing that is computed needs it.
    clock_mhz : int or float, positive and finite
        Clock the board is designed for; used only to turn cycles into microseconds.

    Raises
    ------
    ConfigError
        If a value is of another type or outside its range; the message quotes it.
    """

    name: str
    cores: int
    block: int
    columns: int = None  # type: ignore[assignment]  # an integer once constructed
    multiplier: str = "18x18"
    weight_depth: int = 1024
    slots: int = 128
    models: int = 1
    streams: int = 1
    state_slots: int = 128
    vector_blocks: int = 128
    input_blocks: int = 32
    program_depth: int = 2048
    output_beats: int = 32
    io_format: str = "bfloat16"
    family: str = "portable"
    profile: str = "aggressive"
    epilogues: tuple[str, ...] = ("lstm",)
    keep_h: bool = False
    clock_mhz: float = 300.0

    def __post_init__(self):
        def require(condition, message):
            if not condition:
                raise ConfigError(f"configuration {self.name!r}: {message}")

        def require_integer(field, low, high, power=False):
            value = getattr(self, field)
            require(
                type(value) is int and low <= value <= high and not (power and value & (value - 1)),
                f"{field} must be {'a power of two' if power else 'an integer'} in {low}..{high}, not {value!r}",
            )

        require(
            isinstance(self.name, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", self.name),
            f"name must be letters, digits, _ and -, not {self.name!r}",
        )
        require_integer("cores", 1, 12)
        require_integer("block", 4, 64, power=True)
        if self.columns is None:
            object.__setattr__(self, "columns", self.block)
        require(
            type(self.columns) is int and self.columns in (self.block, 2 * self.block),
            f"columns must be {self.block} or {2 * self.block} with block {self.block}, not {self.columns!r}",
        )
        require(
            isinstance(self.multiplier, str) and self.multiplier in MULTIPLIERS,
            f"multiplier must be one of {', '.join(MULTIPLIERS)}, not {self.multiplier!r}",
        )
        require_integer("weight_depth", 2, 1 << 16)
        require_integer("slots", 2, 1 << 12, power=True)
        require_integer("models", 1, 16, power=True)
        require_integer("streams", 1, 1024, power=True)
        require_integer("state_slots", 1, 1 << 14)
        require_integer("vector_blocks", 4, 1 << 12, power=True)
        require_integer("input_blocks", 2, 64, power=True)
        require_integer("program_depth", 4, 1 << 18)
        require_integer("output_beats", 2, 64)
        require(
            isinstance(self.io_format, str) and self.io_format in IO_FORMATS,
            f"io_format must be one of {', '.join(IO_FORMATS)}, not {self.io_format!r}",
        )
        require(
            self.input_beats <= 64,
            f"input_blocks must be at most {64 // self.beats_per_block} with {self.io_format} streams, "
            f"not {self.input_blocks!r}",
        )
        require(
            isinstance(self.family, str) and self.family in FAMILIES,
            f"family must be one of {', '.join(FAMILIES)}, not {self.family!r}",
        )
        profiles = FAMILIES[self.family].profiles
        require(
            isinstance(self.profile, str) and self.profile in profiles,
            f"profile must be one of {', '.join(profiles)} with family {self.family}, not {self.profile!r}",
        )
        names = self.epilogues
        require(
            isinstance(names, (tuple, list))
            and len(names) > 0
            and all(isinstance(name, str) and re.fullmatch(r"[a-z][a-z0-9_]*", name) for name in names)
            and len(set(names)) == len(names),
            f"epilogues must be different names in lower case, at least one, not {names!r}",
        )
        # Files have lists.
        object.__setattr__(self, "epilogues", tuple(names))
        require(type(self.keep_h) is bool, f"keep_h must be True or False, not {self.keep_h!r}")
        clock = self.clock_mhz
        require(
            type(clock) in (int, float) and 0 < clock < math.inf, f"clock_mhz must be a positive number, not {clock!r}"
        )

    @property
    def label(self) -> str:
        """Name of files and folders: the name, and the profile if it is not the usual one, with a dot."""
        return self.name if self.profile == Config.profile else f"{self.name}.{self.profile}"

    @property
    def stages(self) -> Profile:
        """How far signals may reach, and which optional registers there are."""
        return FAMILIES[self.family].profiles[self.profile]

    @property
    def size(self) -> str:
        """Cores and block as tables have them, and columns where these are not as many as rows."""
        return f"{self.cores} x {self.block}" + f" x {self.columns}" * (self.columns != self.block)

    @property
    def narrow(self) -> bool:
        """The rows are made of 9x9 multipliers."""
        return self.multiplier == "9x9"

    @property
    def operands(self) -> Operands:
        """Bits of what the rows multiply."""
        if self.narrow:
            return Operands(FAMILIES[self.family].narrow_weight_bits, NARROW_BITS)
        return Operands(WEIGHT_BITS, VECTOR_BITS)

    @property
    def weight_formats(self) -> tuple[str, ...]:
        """Formats that weights may have in as many cycles as any, the widest first."""
        return (f"int{self.operands.weight}",) if self.narrow else ("int16", "int8")

    @property
    def layer_formats(self) -> tuple[str, ...]:
        """All formats that a layer may be told to have."""
        return (*self.weight_formats, *[WIDE] * self.narrow)

    @property
    def exponent_bits(self) -> int:
        """Bits of a block's exponent as rows get it: in single bits with 9x9 multipliers, else in steps of four."""
        return SHIFT_BITS if self.narrow else EXPONENT_BITS

    @property
    def factor_bits(self) -> int:
        """Bits of a row's factor, which is stored above its shift: rows of 9x9 multipliers have one."""
        return FACTOR_BITS if self.narrow else 0

    @property
    def row_sum_bits(self) -> int:
        """Width of what a row gives: its dot product, times up to 7 where rows have a factor of 4 to 7 quarters."""
        return self.operands.sum_bits(self.columns) + (self.factor_bits and self.factor_bits + 1)

    @property
    def align_left(self) -> int:
        """What this is shifted left by, so that row shifts mean the same in all configurations."""
        return self.operands.align_left - self.factor_bits

    @property
    def row_products(self) -> int:
        """Products of a row that a DSP block adds."""
        family = FAMILIES[self.family]
        return family.narrow_products if self.narrow else 1 + family.adds_products

    @property
    def quarters(self) -> int:
        """Parts of a vector block, each one core's share of one slot: as many as a unit has gates, or twice that."""
        return self.columns * GATES // self.block

    @property
    def weight_sharing(self) -> int:
        """Rows whose weights lie in one memory, each with a port: two in large blocks, where half the depth will do."""
        return 2 if FAMILIES[self.family].large_ports and 1024 < self.weight_depth <= 2048 else 1

    @property
    def ultra_weights(self) -> bool:
        """The weight memories are deep enough for the family's large blocks, if it has any."""
        return self.weight_sharing > 1 or self.weight_depth >= 4096

    @property
    def weight_segments(self) -> int:
        """Memories that a row's weights are cut into, so that an address register reaches each."""
        segments = 1
        while self._weight_blocks(segments) > self.stages.reach.blocks:
            segments *= 2
        return segments

    @property
    def weight_blocks(self) -> float:
        """Memory blocks of one of a row's weight segments; where rows share a memory, of all of its rows'."""
        return self._weight_blocks(self.weight_segments)

    def _weight_blocks(self, segments):
        return FAMILIES[self.family].memory_blocks(
            self.operands.weight * self.columns // segments,
            self.weight_depth * self.weight_sharing,
            ultra=self.ultra_weights,
        )[1]

    @property
    def lanes(self):
        """Hidden units of one core in one slot: a quarter of its rows."""
        return self.block // 4

    @property
    def slot_units(self):
        """Hidden units of one slot of the whole MVU."""
        return self.cores * self.lanes

    @property
    def slot_rows(self):
        """Matrix rows of one slot of the whole MVU."""
        return self.cores * self.block

    @property
    def model_bits(self):
        """Bits of a model's number, at least one."""
        return max(1, (self.models - 1).bit_length())

    @property
    def stream_bits(self):
        """Bits of a stream's number in ``tid``."""
        return (self.streams - 1).bit_length()

    @property
    def tid_bits(self):
        """Bits of ``tid`` on both streams: the model, and below it the stream. One that is always 0 if there is one."""
        return max(1, (self.models * self.streams - 1).bit_length())

    @property
    def multipliers(self):
        """Multiplications a cycle."""
        return self.cores * self.block * self.columns

    @property
    def io_bits(self):
        """Bits of one value on the streams."""
        return IO_FORMATS[self.io_format]

    @property
    def beat_bits(self):
        """Data bits of a stream beat."""
        return 16 * self.block

    @property
    def beat_values(self):
        """Values in a stream beat."""
        return self.beat_bits // self.io_bits

    @property
    def beats_per_block(self):
        """Input beats that make one vector block."""
        return self.columns // self.beat_values

    @property
    def beats_per_core(self):
        """Output beats that one core's sums of a slot make."""
        return self.block // self.beat_values

    @property
    def input_beats(self):
        """Beats of the largest input packet."""
        return self.input_blocks * self.beats_per_block

    def resized(self, cores: int, block: int, **changes: Any) -> "Config":
        """The same in another size: columns stay as many times the rows as they are. Raises ConfigError."""
        columns = block * self.columns // self.block
        return dataclasses.replace(self, cores=cores, block=block, columns=columns, **changes)

    def to_dict(self):
        """Plain data, as written to files."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data):
        """Inverse of :meth:`to_dict`; raises ConfigError for what is no dictionary, and for unknown or missing keys."""
        if not isinstance(data, dict):
            raise ConfigError(f"not a configuration: expected a dictionary, not {data!r}")
        fields = dataclasses.fields(cls)
        unknown = [key for key in data if key not in {field.name for field in fields}]
        missing = [field.name for field in fields if field.default is dataclasses.MISSING and field.name not in data]
        for what, keys in (("unknown", unknown), ("missing", missing)):
            if keys:
                raise ConfigError(f"not a configuration: {what} {', '.join(map(str, keys))}")
        return cls(**data)

    @property
    def digest(self):
        """64-bit hexadecimal digest of everything that decides whether a program can run (not the name or clock).

        Of the family only what decides latencies counts.
        """
        unsaid = ["name", "clock_mhz", "family", "profile"]
        if not self.keep_h:
            unsaid.append("keep_h")  # what is not built decides nothing
        if not self.narrow:
            unsaid += ["multiplier"] + ["columns"] * (self.columns == self.block)
        relevant = {key: value for key, value in self.to_dict().items() if key not in unsaid}
        relevant |= self.stages.registers
        if self.narrow:
            relevant |= {"row_products": self.row_products, "weight_bits": self.operands.weight}
        else:
            relevant["adds_products"] = self.row_products > 1
        return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()[:16]


def shape_text(config):
    """The shape of an accelerator, by its ``cores``, ``block`` and ``columns``, for messages."""
    size = f"block {config.block}" if config.columns == config.block else f"{config.block} x {config.columns}"
    return f"{config.cores} {'core' if config.cores == 1 else 'cores'} of {size}"

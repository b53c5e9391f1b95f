"""Configuration of the accelerator: what is built, in which size.

A :class:`Config` is all that the hardware generator, the compiler and the models need to know about a
design; everything else is derived from it. Named configurations are in :data:`PRESETS`.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass

from .errors import ConfigError

__all__ = ["Config", "PRESETS", "IO_FORMATS", "preset", "shape_text"]

IO_FORMATS = {"bfloat16": 16, "float32": 32}


@dataclass(frozen=True, kw_only=True)
class Config:
    """Parameters of one accelerator.

    Parameters
    ----------
    name : str
        What messages and files call it.
    cores : int, 1..12
        Cores of the matrix-vector unit (MVU). All execute the same issue word on different rows.
    block : int, power of two, 4..64
        Values in a vector block, rows in a core, and multipliers in a row: a core does ``block**2``
        multiply-accumulates a cycle.
    weight_depth : int
        Blocks of ``block x block`` 16-bit weights (or pairs of 8-bit blocks) in each core.
    slots : int, power of two
        Row slots of the accumulator file. A slot is ``cores * block`` rows: ``cores * block / 4`` hidden units.
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
    pair_sum : bool
        A DSP block adds two products (Agilex: two 18x19 and their sum), which saves one adder level.
    relaxed_cells : bool
        More registers in the cell units, between multiplication and addition and in front of the activation tables:
        for devices whose DSP blocks do not add and whose memories are far apart.
    clock_mhz : float
        Clock the board is designed for; used only to turn cycles into microseconds.

    Raises
    ------
    ConfigError
        If a value is outside its range; the message quotes it.
    """

    name: str
    cores: int
    block: int
    weight_depth: int = 1024
    slots: int = 128
    vector_blocks: int = 128
    input_blocks: int = 32
    program_depth: int = 2048
    output_beats: int = 32
    io_format: str = "bfloat16"
    pair_sum: bool = False
    relaxed_cells: bool = False
    clock_mhz: float = 300.0

    def __post_init__(self):
        def require(condition, message):
            if not condition:
                raise ConfigError(f"configuration {self.name!r}: {message}")

        def require_range(field, low, high):
            value = getattr(self, field)
            require(isinstance(value, int) and low <= value <= high,
                    f"{field} must be an integer in {low}..{high}, not {value!r}")

        require_range("cores", 1, 12)
        require(self.block in (4, 8, 16, 32, 64),
                f"block must be a power of two in 4..64, not {self.block!r}")
        require_range("weight_depth", 2, 1 << 16)
        require_range("slots", 2, 1 << 12)
        require_range("vector_blocks", 4, 1 << 12)
        for field in ("slots", "vector_blocks", "input_blocks"):
            value = getattr(self, field)
            require(value & (value - 1) == 0, f"{field} must be a power of two, not {value!r}")
        require_range("input_blocks", 2, 64)
        require_range("program_depth", 4, 1 << 18)
        require_range("output_beats", 2, 64)
        require(self.io_format in IO_FORMATS,
                f"io_format must be one of {', '.join(IO_FORMATS)}, not {self.io_format!r}")
        require(self.input_blocks * self.beats_per_block <= 64,
                f"input_blocks must be at most {64 // self.beats_per_block} with {self.io_format} streams, "
                f"not {self.input_blocks!r}")
        require(self.clock_mhz > 0, f"clock_mhz must be positive, not {self.clock_mhz!r}")

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
    def multipliers(self):
        """Multiplications a cycle."""
        return self.cores * self.block**2

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
        return self.block // self.beat_values

    def to_dict(self):
        """Plain data, as written to files."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data):
        """Inverse of :meth:`to_dict`; raises ConfigError for unknown or missing keys."""
        try:
            return cls(**data)
        except TypeError as error:
            raise ConfigError(f"not a configuration: {error}") from None

    @property
    def digest(self):
        """64-bit hexadecimal digest of everything that decides whether a program can run (not the name or clock)."""
        relevant = {key: value for key, value in self.to_dict().items() if key not in ("name", "clock_mhz")}
        return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()[:16]


PRESETS = {
    config.name: config
    for config in (
        Config(name="ia420f", cores=6, block=32, pair_sum=True, clock_mhz=320.0),
        Config(name="ia840f", cores=3, block=64, pair_sum=True, clock_mhz=320.0),
        Config(name="v80", cores=6, block=32, weight_depth=4096, program_depth=8192, clock_mhz=300.0),
        Config(name="ulx3s", cores=1, block=8, weight_depth=1024, slots=64, vector_blocks=32, input_blocks=16,
               program_depth=2048, output_beats=16, relaxed_cells=True, clock_mhz=100.0),
        Config(name="test4", cores=1, block=4, weight_depth=512, slots=32, vector_blocks=16, input_blocks=8,
               program_depth=1024, output_beats=8),
        Config(name="test8", cores=2, block=8, weight_depth=256, slots=32, vector_blocks=16, input_blocks=8,
               program_depth=512, output_beats=8, pair_sum=True),
    )
}


def shape_text(config):
    """The shape of an accelerator, by its ``cores`` and ``block``, for messages."""
    return f"{config.cores} {'core' if config.cores == 1 else 'cores'} of block {config.block}"


def preset(name, io_format=None):
    """The configuration of a board by name, with another ``io_format`` if one is given.

    Raises
    ------
    ConfigError
        If there is none of that name; the message gives the names.
    """
    if name not in PRESETS:
        raise ConfigError(f"unknown board {name!r}; known: {', '.join(PRESETS)}")
    return dataclasses.replace(PRESETS[name], io_format=io_format) if io_format else PRESETS[name]

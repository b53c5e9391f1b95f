"""What is known of a board: its device, what the device holds, and the accelerator it gets by default."""

from dataclasses import dataclass, field

from spiccato.errors import BoardError
from spiccato.families import FAMILIES, Family
from spiccato.registry import Target

__all__ = ["Board", "Resources", "RECALLED"]

#: Source of a figure that no document at hand confirms. It is good enough to tell what fits with room to
#: spare.
RECALLED = "recalled"


@dataclass(frozen=True)
class Resources:
    """Blocks of a device, or of a design on it.

    Attributes
    ----------
    logic : number
        The family's logic cells: ALMs or LUTs.
    dsp : number
        DSP blocks.
    memory : dict
        Memory blocks by kind, those of the family; a half block is 0.5.
    registers : int or None
        Register bits outside DSP and memory blocks. None for a device, whose logic cells hold them.
    """

    logic: float
    dsp: float
    memory: dict = field(default_factory=dict)
    registers: int | None = None

    @property
    def counts(self):
        """The counts that a device has, too, in one {kind: number}."""
        return {"logic": self.logic, "dsp": self.dsp, **self.memory}


@dataclass(frozen=True, kw_only=True)
class Board(Target):
    """One board.

    Attributes
    ----------
    config : Config
        The accelerator that the board gets by default; its name is the board's, as commands take it, and its
        ``clock_mhz`` is the target clock.
    title : str
    device : str
        The device, as its vendor's overview names it.
    platform : type
        Amaranth's platform class: the ordering part, the known pins and the tool's settings for this board.
    resources : Resources
        What the device holds.
    sources : dict
        Where the facts come from: {fact: source}, a source being :data:`RECALLED` where there is none. Facts
        are "part", the kinds of resources, and "pins" if the platform knows any.

    Raises
    ------
    BoardError
        If the configuration is none, the memory kinds are not the family's, or a fact has no source.
    """

    title: str
    device: str
    platform: type
    resources: Resources
    sources: dict

    def __post_init__(self):
        super().__post_init__()
        kinds = tuple(self.family.memory)
        if tuple(self.resources.memory) != kinds:
            raise BoardError(
                f"board {self.name}: memory kinds must be {', '.join(kinds)}, not {', '.join(self.resources.memory)}"
            )
        facts = {"part", *self.resources.counts} | ({"pins"} if self.platform.resources else set())
        if facts != set(self.sources) or not all(self.sources.values()):
            raise BoardError(
                f"board {self.name}: sources must be given for {', '.join(sorted(facts))}, "
                f"not for {', '.join(sorted(self.sources))}"
            )

    @property
    def simulated_only(self):
        """A board has a device."""
        return False

    @property
    def family(self) -> Family:
        """Its device family, which the configuration names."""
        return FAMILIES[self.config.family]

    @property
    def style(self):
        """How memories and multipliers are marked: for the family's tool."""
        return self.family.style

    @property
    def part(self):
        """The device, as it is ordered and as the vendor's tool knows it."""
        return self.platform.part

    @property
    def recalled(self):
        """Facts without a document to confirm them."""
        return [fact for fact, source in self.sources.items() if source == RECALLED]

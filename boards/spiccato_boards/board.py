"""What is known of a board: its device, what the device holds, and the accelerator it gets by default."""

from dataclasses import dataclass, field

from spiccato.config import Config

__all__ = ["Board", "Resources", "FAMILIES", "RECALLED"]

#: Device families, and the blocks that their tools count: logic cells, then kinds of memory.
FAMILIES = {"agilex7": ("ALM", ("m20k",)), "versal": ("LUT", ("bram36", "uram"))}

#: Source of a figure that no document at hand confirms. It is good enough to tell what fits with room to
#: spare.
RECALLED = "recalled"


@dataclass(frozen=True)
class Resources:
    """Blocks of a device, or of a design on it.

    Attributes
    ----------
    logic : int
        ALMs (Agilex 7) or LUTs (Versal).
    dsp : int
        DSP blocks.
    memory : dict
        Memory blocks by kind: "m20k", or "bram36" and "uram".
    """

    logic: int
    dsp: int
    memory: dict = field(default_factory=dict)

    @property
    def counts(self):
        """All counts in one {kind: number}."""
        return {"logic": self.logic, "dsp": self.dsp, **self.memory}


@dataclass(frozen=True, kw_only=True)
class Board:
    """One board.

    Attributes
    ----------
    name : str
        As commands take it; also the name of its configuration's preset.
    title : str
    device : str
        The device, as its vendor's overview names it.
    part : str
        The device, as it is ordered and as the vendor's tool knows it.
    family : str
        Key of :data:`FAMILIES`.
    config : Config
        The accelerator that the board gets by default.
    resources : Resources
        What the device holds.
    sources : dict
        Where the facts come from: {fact: source}, a source being :data:`RECALLED` where there is none.
    """

    name: str
    title: str
    device: str
    part: str
    family: str
    config: Config
    resources: Resources
    sources: dict

    def __post_init__(self):
        if self.family not in FAMILIES:
            raise ValueError(f"board {self.name}: family must be one of {', '.join(FAMILIES)}, "
                             f"not {self.family!r}")
        kinds = FAMILIES[self.family][1]
        if tuple(self.resources.memory) != kinds:
            raise ValueError(f"board {self.name}: memory kinds must be {', '.join(kinds)}, "
                             f"not {', '.join(self.resources.memory)}")

    @property
    def logic_unit(self):
        """What ``resources.logic`` counts."""
        return FAMILIES[self.family][0]

    @property
    def recalled(self):
        """Facts without a document to confirm them."""
        return [fact for fact, source in self.sources.items() if source == RECALLED]

"""What is known of a board: its device, what the device holds, and the accelerator it gets by default."""

from dataclasses import dataclass, field

from amaranth.build import Platform

from spiccato.errors import BoardError
from spiccato.families import FAMILIES, Family
from spiccato.registry import Target

from .flows.flow import Flow
from .shells.serial import Serial
from .shells.shell import BoardDesign, Shell

__all__ = ["ALL_KINDS", "Board", "Resources", "RECALLED"]

#: Source of a figure that no document at hand confirms. It is good enough to tell what fits with room to
#: spare.
RECALLED = "recalled"
#: Epilogues of a configuration for networks of all kinds of layers; the first is that of all other ones.
ALL_KINDS = ("lstm", "gru", "dense")


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
    configurations : dict
        The accelerators that the board may get, by name; "default" is the one it gets if none is named. Their
        ``clock_mhz`` is the target clock.
    title : str
    device : str
        The device, as its vendor's overview names it.
    platform : type
        Amaranth's platform class: the ordering part, the known pins and the tool's settings for this board.
    flow : Flow
        The tools by which a design gets onto it.
    shells : tuple of Shell
        What may stand around the accelerator, the default first.
    resources : Resources
        What the device holds.
    sources : dict
        Where the facts come from: {fact: source}, a source being :data:`RECALLED` where there is none. Facts
        are "part", the kinds of resources, and "pins" if the platform knows any.

    Raises
    ------
    BoardError
        If there is no default configuration, they are of several families, the memory kinds are not the family's, a
        shell does not suit the flow or the board, or a fact has no source.
    """

    title: str
    device: str
    platform: type[Platform]
    flow: Flow
    shells: tuple[Shell, ...]
    resources: Resources
    sources: dict

    def __post_init__(self):
        super().__post_init__()
        if len({config.family for config in self.configurations.values()}) > 1:
            raise BoardError(f"board {self.name}: the configurations must be of one family, the device's")
        self._check_shells()
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

    def _check_shells(self):
        if not self.shells:
            raise BoardError(f"board {self.name}: there must be a shell")
        for shell in self.shells:
            if not isinstance(shell, self.flow.shells):
                raise BoardError(f"board {self.name}: {self.flow.tool} does not build the shell {shell.name!r}")
            missing = shell.missing(self.platform)
            if missing:
                raise BoardError(
                    f"board {self.name}: the shell {shell.name!r} needs {', '.join(missing)}, which the platform lacks"
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
    def verilog_family(self):
        """Its own."""
        return self.config.family

    @property
    def top(self):
        """What becomes Verilog of its first shell, if that is a design for pins."""
        shell = self.shells[0]
        return shell.part(self.config) if isinstance(shell, BoardDesign) else None

    @property
    def baud(self):
        """Its serial shell's."""
        return next((shell.baud for shell in self.shells if isinstance(shell, Serial)), None)

    @property
    def part(self):
        """The device, as it is ordered and as the vendor's tool knows it."""
        return self.platform.part

    @property
    def recalled(self):
        """Facts without a document to confirm them."""
        return [fact for fact, source in self.sources.items() if source == RECALLED]

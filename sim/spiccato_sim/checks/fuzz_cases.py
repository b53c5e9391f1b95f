"""What a seed of ``make fuzz`` gives: sets of random models, packets of any context, states that move."""

import dataclasses
from dataclasses import dataclass
from functools import partial

import numpy as np

from spiccato.compiler import compile_network, link
from spiccato.config import Config
from spiccato.errors import FitError
from spiccato.formats import to_bits
from spiccato.layers import GRULayer, Layer, LSTMLayer
from spiccato.network import Network
from spiccato.program import Model, Program

from ..benches.moves import Move
from ..benches.traffic import Segment, Send
from ..models import zoo

__all__ = ["CONFIGS", "Case", "draw"]

_ALL_KINDS = ("lstm", "gru", "dense")
_SMALL = partial(Config, weight_depth=512, slots=64, vector_blocks=32, input_blocks=8, program_depth=2048)
_NARROW = partial(_SMALL, multiplier="9x9", models=2, streams=2)

#: Both profiles, blocks of 4 and 8, both formats of the streams, numbers of models and streams, an odd number of cores,
#: all kinds of multipliers, 9x9 ones with columns twice the rows and as many, and of layers, h that is kept; weights
#: whose memory two rows share; state memories of sizes that are no power of two, output queues that are soon full.
CONFIGS = {
    config.name: config
    for config in (
        _SMALL(name="single", cores=1, block=4, state_slots=31, output_beats=8),
        _SMALL(
            name="odd",
            cores=3,
            block=4,
            models=2,
            streams=4,
            state_slots=100,
            io_format="float32",
            output_beats=13,
            epilogues=_ALL_KINDS,
            keep_h=True,
        ),
        _SMALL(
            name="registered",
            cores=2,
            block=4,
            models=4,
            streams=8,
            state_slots=200,
            output_beats=9,
            family="agilex7",
            profile="conservative",
            epilogues=("dense", "gru", "lstm"),
        ),
        _SMALL(
            name="wide",
            cores=1,
            block=8,
            models=4,
            streams=8,
            state_slots=150,
            io_format="float32",
            output_beats=16,
            family="agilex7",
            epilogues=("gru", "lstm"),
        ),
        _SMALL(
            name="unaccompanied", cores=5, block=4, models=4, state_slots=60, output_beats=10, profile="conservative"
        ),
        _SMALL(
            name="streams",
            cores=1,
            block=8,
            streams=8,
            state_slots=90,
            output_beats=6,
            family="ecp5",
            epilogues=("lstm", "dense"),
        ),
        _NARROW(
            name="fast",
            cores=2,
            block=4,
            columns=8,
            streams=4,
            state_slots=90,
            output_beats=8,
            family="agilex7",
            epilogues=_ALL_KINDS,
            keep_h=True,
        ),
        _NARROW(
            name="fast-shared",
            cores=3,
            block=8,
            columns=16,
            models=4,
            weight_depth=2048,
            state_slots=70,
            io_format="float32",
            output_beats=12,
            family="versal",
        ),
        _NARROW(
            name="fast-nine",
            cores=1,
            block=8,
            columns=16,
            state_slots=80,
            output_beats=8,
            family="ecp5",
            profile="conservative",
        ),
        _NARROW(name="fast-square", cores=5, block=4, state_slots=60, output_beats=10, epilogues=("lstm", "dense")),
    )
}

#: Packets for each network, and programs that are loaded one after the other.
PACKETS, PROGRAMS = 100, 2
#: Packets for each move of a state, and for how many at most the others then go on without that context.
_PACKETS_PER_MOVE, _LONGEST_ABSENCE = 8, 60


@dataclass(frozen=True, eq=False)
class Case:
    """What one seed gives.

    Attributes
    ----------
    seed : int
    segments : list of Segment
    alone : list
        For each segment its program's models as they were compiled, each by itself.
    """

    seed: int
    segments: list[Segment]
    alone: list[list[Model]]

    @property
    def config(self) -> Config:
        """Of all its programs."""
        return self.alone[0][0].config

    @property
    def networks(self) -> int:
        """How many networks there are."""
        return sum(len(segment.program.models) for segment in self.segments if segment.program is not None)

    @property
    def packets(self) -> int:
        """How many packets there are."""
        return sum(len(segment.sends) for segment in self.segments)

    @property
    def moves(self) -> int:
        """How often a state is saved, loaded or forgotten."""
        return sum(len(segment.moves) for segment in self.segments)


def draw(seed: int, *, packets: int = PACKETS, programs: int = PROGRAMS) -> Case:
    """The case of a seed, with so many packets for each network.

    Seeds that follow each other have the configurations of :data:`CONFIGS` in turn.
    """
    rng = np.random.default_rng(seed)
    config = list(CONFIGS.values())[seed % len(CONFIGS)]
    segments: list[Segment] = []
    alone: list[list[Model]] = []
    # The models that the saved states are of.
    saved: list[str] = []
    for _ in range(programs):
        program, compiled = _program(rng, config, alone[-1] if alone else [])
        count = packets * len(compiled)
        # As fast as it goes or at a distance, then with pauses of both streams, then with a host that hardly takes any.
        shares = ((None, 2), ((0.3, 0.3), 1), ((0.2, 0.95), 1))
        for number, (pauses, share) in enumerate(shares):
            sends, moves = _traffic(rng, program, max(1, count * share // 4), saved, spaced=pauses is None)
            seeded = None if pauses is None else (int(rng.integers(1 << 32)), *pauses)
            first = number == 0
            reset = None if first else (None, "reset_state", "reset")[rng.integers(3)]
            segments.append(Segment(sends, seeded, program=program if first else None, reset=reset, moves=moves))
            alone.append(compiled)
    return Case(seed, segments, alone)


def _program(rng: np.random.Generator, config: Config, earlier: list[Model]) -> tuple[Program, list[Model]]:
    """Models that fit together, some of them from ``earlier``, and the same as they were compiled by themselves."""
    while True:
        wanted = int(rng.integers(1, config.models + 1))
        kept = [model for model in earlier if rng.integers(2)][:wanted]
        try:
            compiled = kept + [_model(rng, config, number) for number in range(wanted - len(kept))]
            compiled = [compiled[number] for number in rng.permutation(wanted)]
            contexts = [int(number) for number in rng.integers(1, config.streams + 1, wanted)]
            return link(compiled, contexts=contexts), compiled
        except FitError:
            continue


def _model(rng: np.random.Generator, config: Config, number: int) -> Model:
    network = zoo.random_network(
        rng,
        layers=int(rng.integers(1, 4)),
        linear=int(rng.integers(0, 3)),
        max_size=int(rng.integers(2, 4 * config.slot_units + 2)),
        scale=float(rng.choice([1, 3])),
        name=f"m{number}",
        kinds=config.epilogues,
        around=True,
    )
    if rng.integers(3) == 0:
        network = _with_initial(rng, network)
    formats = [str(one) for one in rng.choice(config.layer_formats, size=len(network.hidden_layers) + 1)]
    return compile_network(network, config, weight_format=formats)


def _with_initial(rng: np.random.Generator, network: Network) -> Network:
    """The network with an initial state that is not zero."""
    layers: list[Layer] = []
    for layer in network.layers:
        if isinstance(layer, LSTMLayer | GRULayer):
            layer = dataclasses.replace(layer, h0=rng.uniform(-1, 1, layer.output_size))
        if isinstance(layer, LSTMLayer):
            layer = dataclasses.replace(layer, c0=rng.uniform(-2, 2, layer.output_size))
        layers.append(layer)
    return dataclasses.replace(network, layers=tuple(layers))


def _traffic(
    rng: np.random.Generator, program: Program, count: int, saved: list[str], *, spaced: bool
) -> tuple[list[Send], list[Move]]:
    """Packets of any contexts, also of such that there are not, of any kind, and moves of states between them."""
    distances = [0, 0, 0, 0, 30, 80, 500] if spaced and rng.integers(2) else [0]
    sends: list[Send] = []
    moves: list[Move] = []
    # Up to which packet a context has none, if that can be.
    absent: dict[tuple[int, int], int] = {}
    for number in range(count):
        if rng.integers(_PACKETS_PER_MOVE) == 0:
            move = _move(rng, program, number, saved)
            moves.append(move)
            absent[move.model, move.stream] = number + int(rng.integers(_LONGEST_ABSENCE))
        for _ in range(_LONGEST_ABSENCE):
            context = _context(rng, program)
            if absent.get(context, 0) <= number:
                break
        sends.append(_send(rng, program, *context, int(rng.choice(distances))))
    return sends, moves


def _move(rng: np.random.Generator, program: Program, after: int, saved: list[str]) -> Move:
    """A move of any context; what is loaded was saved from one of the same model, perhaps in another program."""
    model = int(rng.integers(len(program.models)))
    stream = int(rng.integers(program.streams[model]))
    digest = program.models[model].digest
    states = [number for number, one in enumerate(saved) if one == digest]
    kind = str(rng.choice(["save", "save", "reset", *["load"] * (2 * bool(states))]))
    if kind == "save":
        saved.append(digest)
    return Move(after, kind, model, stream, int(rng.choice(states)) if kind == "load" else None)


def _send(rng: np.random.Generator, program: Program, model: int, stream: int, spacing: int) -> Send:
    """A packet of a context, or of one that there is not."""
    found = program.models[model if model < len(program.models) else 0]
    x = rng.normal(size=found.input_size) * 2.0 ** rng.integers(-6, 6)
    if rng.integers(12) == 0:
        x[rng.integers(len(x))] = rng.choice([np.nan, np.inf, -np.inf, 1e30])
    other = max(1, found.input_beats + int(rng.integers(-2, 4)))
    return Send(
        to_bits(x, program.config.io_format),
        model,
        stream,
        start=bool(rng.integers(8) == 0),
        quiet=bool(rng.integers(4) == 0),
        beats=other if rng.integers(8) == 0 else None,
        spacing=spacing,
    )


def _context(rng: np.random.Generator, program: Program) -> tuple[int, int]:
    """Model and stream: mostly of a context that there is, often the same as others'."""
    config = program.config
    if rng.integers(12) == 0:
        return int(rng.integers(config.models)), int(rng.integers(config.streams))
    model = int(rng.integers(len(program.models)))
    streams = program.streams[model]
    return model, int(rng.integers(streams if rng.integers(2) else min(2, streams)))

"""What arguments stand for: programs, networks, numbers of steps."""

import os
from dataclasses import replace

from spiccato.errors import ProgramError, SpiccatoError
from spiccato.importers import SUFFIXES
from spiccato.program import Program
from spiccato_sim.models.zoo import MODELS, TRAINED, load_inputs, resolve

__all__ = ["PROGRAM_SUFFIX", "STREAMED", "network_of", "program_of", "refuse_layers", "spaced_of"]

PROGRAM_SUFFIX = ".spiccato"

#: Inferences that a comparison on the RTL streams, at least, besides one that comes alone.
STREAMED = 4


def program_of(path):
    """The program in a file; a model in its place is told apart, for those are easily mixed up."""
    if path in MODELS or path in TRAINED or os.path.splitext(path)[1].lower() in SUFFIXES:
        raise ProgramError(
            f"{path} is a model, not a program: compile it first (spiccato compile {path} -o NAME{PROGRAM_SUFFIX})"
        )
    return Program.load(path)


def network_of(model, seed, calibration=None, layers=None):
    """The network that MODEL names, with calibration inputs from a file if one is given."""
    network = resolve(model, seed, layers)
    if calibration is None:
        return network
    return replace(network, calibration=load_inputs(calibration, network.input_size))


def spaced_of(steps):
    """How many of that many inferences on the RTL come alone; the others are streamed."""
    return max(1, min(10, steps // 2, steps - STREAMED))


def refuse_layers(model, layers):
    """Raise SpiccatoError if an order of layers is stated for a program."""
    if layers is not None:
        raise SpiccatoError(f"{model}: --layers is for state dicts; a program is compiled already")

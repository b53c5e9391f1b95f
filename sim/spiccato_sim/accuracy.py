"""Errors of a program against float64, step by step, beside those of a bfloat16 pipeline on the same inputs."""

from dataclasses import dataclass

import numpy as np
from spiccato.arrays import real_array
from spiccato.compiler import quantised_network
from spiccato.network import ModelError
from spiccato.numbers import H_FRAC_BITS

from .bfloat16 import BFloat16Pipeline, round_bfloat16
from .reference import Reference
from .vm import VirtualMachine, from_bits, to_bits

__all__ = ["Accuracy", "Errors", "MatrixError", "accuracy", "as_streamed", "matrix_errors", "rms"]


def rms(values):
    """Root of the mean square of an array of any shape."""
    return float(np.sqrt(np.mean(np.square(values))))


def as_streamed(xs, io_format):
    """Inputs (steps, features), one step at least, rounded to the streams' format.

    Raises
    ------
    ModelError
        If they have another shape, hold something else than real numbers, or one is beyond the format's range.
    """
    xs = real_array(xs, ("steps", "features"), "inputs", error=ModelError)
    xs = from_bits(to_bits(xs, io_format), io_format)
    if not np.isfinite(xs).all():
        step, feature = np.argwhere(~np.isfinite(xs))[0].tolist()
        raise ModelError(f"input [{step}, {feature}] is beyond the range of {io_format}")
    return xs


@dataclass(frozen=True, eq=False)
class Errors:
    """Differences of one computation from the reference.

    Attributes
    ----------
    steps : float64 (steps,), RMS over the outputs of each step
    rms, largest : float, over all outputs of all steps
    layers : list of float
        RMS over all units and steps of h, one for each LSTM layer.
    """

    steps: np.ndarray
    rms: float
    largest: float
    layers: list


@dataclass(frozen=True, eq=False)
class Accuracy:
    """What :func:`accuracy` found.

    Attributes
    ----------
    sent : Errors
        Of the outputs as the accelerator sends them, rounded to the streams' format.
    exact : Errors
        Of the same before that rounding.
    weights : Errors or None
        Of float64 arithmetic with the program's weights: the share of the weights' rounding.
    bfloat16 : Errors or None
        Of the bfloat16 pipeline.
    output_rms : float
        RMS of the reference's outputs, to compare errors with.
    flags : dict
        Number of steps that the accelerator marked, by the mark's name.
    """

    sent: Errors
    exact: Errors
    weights: Errors | None
    bfloat16: Errors | None
    output_rms: float
    flags: dict


class _Machine:
    """A virtual machine whose step and h are real numbers, outputs not yet rounded; it notes the rest."""

    def __init__(self, program):
        self._machine, self.sent, self.flags = VirtualMachine(program), [], []

    def step(self, x):
        program = self._machine.program
        result = self._machine.step_bits(to_bits(x, program.config.io_format))
        self.sent.append(from_bits(result.bits, program.config.io_format))
        self.flags.append(result.flags)
        return np.ldexp(result.sums.astype(np.float64), -program.output_frac_bits)

    @property
    def h(self):
        return [np.ldexp(h.astype(np.float64), -H_FRAC_BITS) for h in self._machine.h]


def accuracy(program, network, xs, *, track=iter):
    """Run ``xs`` through a program and through what it is compared with, all from a cleared state.

    Parameters
    ----------
    program : spiccato.compiler.Program
    network : spiccato.network.Network or None
        What the program was compiled from: the reference. Without it the reference is float64 arithmetic with the
        program's own weights, and there is nothing to tell of weights and bfloat16.
    xs : float array (steps, input_size)
        Rounded to the streams' format here, for the reference as well.
    track : function
        Wraps the list of steps, to show progress.

    Returns
    -------
    Accuracy

    Raises
    ------
    ModelError
        If an input is beyond the streams' format.
    """
    xs = as_streamed(xs, program.config.io_format)
    quantised = quantised_network(program)
    machine = _Machine(program)
    models = {"reference": Reference(network or quantised), "exact": machine}
    if network is not None:
        models |= {"weights": Reference(quantised), "bfloat16": BFloat16Pipeline(network)}
    outputs = {name: [] for name in models}
    squares = {name: [np.zeros(len(program.layers))] for name in models}
    for x in track(list(xs)):
        for name, model in models.items():
            outputs[name].append(model.step(x))
        states = {name: model.h for name, model in models.items()}
        for name, state in states.items():
            squares[name].append([np.mean(np.square(h - exact)) for h, exact in zip(state, states["reference"])])
    outputs["sent"], squares["sent"] = machine.sent, squares["exact"]
    reference = np.array(outputs.pop("reference"))

    def errors(name):
        if name not in outputs:
            return None
        difference = np.array(outputs[name]) - reference
        layers = np.sqrt(np.sum(squares[name], axis=0) / len(xs))
        return Errors(steps=np.sqrt(np.mean(np.square(difference), axis=1)), rms=rms(difference),
                      largest=float(np.abs(difference).max()), layers=layers.tolist())

    return Accuracy(**{name: errors(name) for name in ("sent", "exact", "weights", "bfloat16")},
                    output_rms=rms(reference),
                    flags={name: sum(flags[name] for flags in machine.flags) for name in machine.flags[0]})


@dataclass(frozen=True)
class MatrixError:
    """Rounding of one weight matrix.

    Attributes
    ----------
    layer : int
        LSTM layer, or the number of LSTM layers for the linear one.
    matrix : str
        "W_ih", "W_hh" or "W".
    shape : tuple of int
    weight_format : str
    rms, bfloat16_rms : float
        RMS of the rounding errors over the RMS of the weights, as the program stores them and in bfloat16.
    largest, bfloat16_largest : float
        Largest rounding error over the largest weight.
    """

    layer: int
    matrix: str
    shape: tuple
    weight_format: str
    rms: float
    bfloat16_rms: float
    largest: float
    bfloat16_largest: float


def matrix_errors(program, network):
    """Rounding errors of the weights of ``network`` in ``program``: a list of :class:`MatrixError`.

    Those of a matrix of zeros are 0. Consecutive linear layers count as the one that they are multiplied out to.
    """
    quantised = quantised_network(program)
    matrices = [(number, name, getattr(layer, field), getattr(stored, field))
                for number, (layer, stored) in enumerate(zip(network.lstm, quantised.lstm))
                for name, field in (("W_ih", "weight_ih"), ("W_hh", "weight_hh"))]
    matrices.append((len(network.lstm), "W", network.output_map()[0], quantised.linear[0].weight))

    def relative(function, rounded, weights):
        size = function(weights)
        return float(function(rounded - weights) / size) if size else 0.0

    def largest(values):
        return np.abs(values).max()

    return [MatrixError(number, name, weights.shape, program.weight_formats[number],
                        relative(rms, stored, weights), relative(rms, round_bfloat16(weights), weights),
                        relative(largest, stored, weights), relative(largest, round_bfloat16(weights), weights))
            for number, name, weights, stored in matrices]

"""Errors of a program against float64, step by step, beside those of a bfloat16 pipeline on the same inputs."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from spiccato.arrays import real_array
from spiccato.compiler import compile_network, multiples, quantised_network
from spiccato.compiler.fit import matrix_format
from spiccato.compiler.moments import moments
from spiccato.compiler.notes import numbers_text, saturation
from spiccato.errors import ModelError
from spiccato.numbers import H_FRAC_BITS

from ..models.bfloat16 import BFloat16Pipeline, round_bfloat16
from ..models.reference import Reference
from ..models.vm import VirtualMachine, from_bits, to_bits
from .slow_gates import GateWatch

__all__ = [
    "Accuracy",
    "Errors",
    "MatrixError",
    "accuracy",
    "as_streamed",
    "input_saturation",
    "matrix_errors",
    "rms",
    "saturation_notes",
    "stream_notes",
]

#: Rounding the inputs is told of when it costs more than this many times all else,
_INPUTS_DOMINATE = 2
#: rounding the outputs when it costs an output more than this share of what it varies by.
_OUTPUTS_COARSE = 0.05
#: Means of this many times a feature's or output's spread are what makes rounding expensive.
_FAR_FROM_ZERO = 8


def rms(values):
    """Root of the mean square of an array of any shape."""
    return float(np.sqrt(np.mean(np.square(values))))


def as_streamed(xs, io_format):
    """Inputs (steps, features) or (sequences, steps, features), one at least, rounded to the streams' format.

    Raises
    ------
    ModelError
        If they have another shape, hold something else than real numbers, or one is beyond the format's range.
    """
    shape = ("sequences", "steps", "features")
    xs = real_array(xs, shape if np.ndim(xs) == 3 else shape[1:], "inputs", error=ModelError)
    xs = from_bits(to_bits(xs, io_format), io_format)
    if not np.isfinite(xs).all():
        place = np.argwhere(~np.isfinite(xs))[0].tolist()
        raise ModelError(f"input {place} is beyond the range of {io_format}")
    return xs


def _spread(values):
    """Means and standard deviations over the steps (steps, n)."""
    return np.abs(values.mean(axis=0)), values.std(axis=0)


def _far(values):
    """Columns of values (steps, n) whose mean is many times their spread, in words; empty if there are none."""
    mean, spread = _spread(values)
    far = np.flatnonzero((mean > _FAR_FROM_ZERO * spread) & (spread > 0))
    return numbers_text(far.tolist()) if far.size else ""


def saturation_notes(model, xs):
    """Notes (none or one) on inputs (steps, features) that are beyond the model's range."""
    found = input_saturation(model, xs)
    return (
        []
        if found is None
        else [
            f"inputs: {found}; smaller inputs help, and calibration inputs like these if "
            "compile then has nothing to say"
        ]
    )


def input_saturation(model, xs):
    """What of inputs (steps, features) saturates in ``model``: a Saturation, or None if nothing does."""
    return saturation(xs, model.adjust.reshape(-1)[: model.input_size], model.config.io_format)


def stream_notes(xs, given, streamed, exact, sent, io_format):
    """Notes on what the streams' format costs, where that is most of the error.

    Parameters
    ----------
    xs : float array (steps, features)
        Inputs as they are given.
    given, streamed : float arrays (steps, outputs)
        The reference's outputs, for these inputs and for the same rounded to the streams' format.
    exact, sent : float arrays (steps, outputs)
        The accelerator's outputs, before and after they are rounded to it.
    io_format : "bfloat16" or "float32"

    Returns
    -------
    list of str
    """
    notes = []
    wider = "float32 streams avoid it (--format float32)" if io_format == "bfloat16" else ""
    inputs, rest = rms(given - streamed), rms(sent - streamed)
    if inputs > _INPUTS_DOMINATE * rest:
        far = _far(np.asarray(xs))
        ways = [
            wider,
            f"subtract the means of features {far} before they are sent, they are large beside the spread, "
            "and add W_ih times these to the bias"
            if far
            else "",
        ]
        notes.append(
            f"rounding the inputs to {io_format} costs an RMS error of {inputs:.1e}, all else {rest:.1e}"
            + "".join(f"; {way}" for way in ways if way)
        )
    rounding = np.sqrt(np.square(sent - exact).mean(axis=0))
    _, spread = _spread(streamed)
    coarse = np.flatnonzero((spread > 0) & (rounding > _OUTPUTS_COARSE * spread))
    if coarse.size:
        worst = (rounding[coarse] / spread[coarse]).max()
        ways = [
            wider,
            "take large constants out of the last bias and add them behind the outputs"
            if _far(streamed[:, coarse])
            else "",
        ]
        notes.append(
            f"rounding the outputs to {io_format} costs output{'s' * (coarse.size > 1)} "
            f"{numbers_text(coarse.tolist())} up to {worst:.1%} of the spread"
            + "".join(f"; {way}" for way in ways if way)
        )
    return notes


@dataclass(frozen=True, eq=False)
class Errors:
    """Differences of one computation from the reference.

    Attributes
    ----------
    steps : float64 (steps,), RMS over the outputs of each step
    rms, largest : float, over all outputs of all steps
    layers : list of float
        RMS over all units and steps of h, one for each layer but the linear one.
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
    seen : Errors
        Of the outputs as the accelerator sends them, from what they would be for the inputs as given: what a user
        sees, the rounding of inputs and outputs to the streams' format included.
    sent : Errors
        Of the same outputs, but from the reference on inputs that are rounded to the streams' format, as is all that
        follows: the accelerator's own error.
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
    notes : list of str
        What these inputs show that a user should know.
    """

    seen: Errors
    sent: Errors
    exact: Errors
    weights: Errors | None
    bfloat16: Errors | None
    output_rms: float
    flags: dict
    notes: list


class _Machine:
    """A virtual machine whose step and h are real numbers, outputs not yet rounded; it notes the rest."""

    def __init__(self, program):
        self._machine, self.sent, self.flags = VirtualMachine(program), [], []
        self._multiples = multiples(program.model)

    def step(self, x):
        model = self._machine.program.model
        result = self._machine.step_bits(to_bits(x, model.config.io_format))
        self.sent.append(from_bits(result.bits, model.config.io_format))
        self.flags.append(result.flags)
        return np.ldexp(result.sums.astype(np.float64), -model.output_frac_bits)

    @property
    def h(self):
        elements = [np.ldexp(h.astype(np.float64), -H_FRAC_BITS) for h in self._machine.h]
        return [h * multiple for h, multiple in zip(elements, self._multiples)]


def accuracy(program, network, xs, *, track=iter):
    """Run ``xs`` through a program and through what it is compared with, all from the initial state.

    Parameters
    ----------
    program : spiccato.compiler.Program
        With one model.
    network : spiccato.network.Network or None
        What the program was compiled from: the reference. Without it the reference is float64 arithmetic with the
        program's own weights, and there is nothing to tell of weights and bfloat16.
    xs : float array (steps, input_size)
        As given. Rounded to the streams' format here, for the reference as well where ``seen`` is not concerned.
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
    io_format = program.config.io_format
    raw = real_array(xs, ("steps", "features"), "inputs", error=ModelError)
    xs = as_streamed(raw, io_format)
    quantised = quantised_network(program.model)
    machine = _Machine(program)
    truth = (network or quantised).as_computed
    reference = Reference(truth)
    models: dict[str, Any] = {"given": Reference(truth), "reference": reference, "exact": machine}
    if network is not None:
        models |= {"weights": Reference(quantised), "bfloat16": BFloat16Pipeline(truth)}
    # What each is compared with, and whose h that is about.
    compared = {
        "seen": ("given", "exact"),
        "sent": ("reference", "exact"),
        **{name: ("reference", name) for name in models if name not in ("given", "reference")},
    }
    watch = GateWatch(truth)
    steps: dict[str, list] = {name: [] for name in models}
    squares = {name: np.zeros(len(program.model.layers)) for name in compared}
    for given, x in track(list(zip(raw, xs))):
        for name, model in models.items():
            steps[name].append(model.step(given if name == "given" else x))
        watch.see(reference)
        states = {name: model.h for name, model in models.items()}
        for name, (base, own) in compared.items():
            squares[name] += [np.mean(np.square(h - exact)) for h, exact in zip(states[own], states[base])]
    steps["seen"] = steps["sent"] = machine.sent
    outputs = {name: np.array(values) for name, values in steps.items()}

    def errors(name):
        if name not in compared:
            return None
        difference = outputs[name] - outputs[compared[name][0]]
        return Errors(
            steps=np.sqrt(np.mean(np.square(difference), axis=1)),
            rms=rms(difference),
            largest=float(np.abs(difference).max()),
            layers=np.sqrt(squares[name] / len(xs)).tolist(),
        )

    notes = [
        *saturation_notes(program.model, xs),
        *stream_notes(raw, outputs["given"], outputs["reference"], outputs["exact"], outputs["sent"], io_format),
    ]
    return Accuracy(
        **{name: errors(name) for name in ("seen", "sent", "exact", "weights", "bfloat16")},
        output_rms=rms(outputs["reference"]),
        flags={name: sum(flags[name] for flags in machine.flags) for name in machine.flags[0]},
        notes=notes + watch.notes(),
    )


@dataclass(frozen=True)
class MatrixError:
    """Rounding of one weight matrix.

    Attributes
    ----------
    layer : int
        Number of the layer; consecutive linear layers count as one.
    matrix : str
        "W_ih", "W_hh" or "W".
    shape : tuple of int
    weight_format : str
    rms, bfloat16_rms : float
        RMS of the rounding errors over the RMS of the weights, as the program stores them and in bfloat16.
    largest, bfloat16_largest : float
        Largest rounding error over the largest weight.
    sums, nearest_sums : float or None
        RMS of what rounding changes of the rows' sums on the calibration inputs, over the RMS of these sums: as the
        program's weights are rounded, and if each were rounded to the nearest. None if there are no such inputs.
    """

    layer: int
    matrix: str
    shape: tuple
    weight_format: str
    rms: float
    bfloat16_rms: float
    largest: float
    bfloat16_largest: float
    sums: float | None = None
    nearest_sums: float | None = None


def matrix_errors(model, network):
    """Rounding errors of the weights of ``network`` in ``model``: a list of :class:`MatrixError`.

    Those of a matrix of zeros are 0. Consecutive linear layers count as the one that they are multiplied out to.
    """
    quantised = quantised_network(model)
    known = moments(network)
    nearest = quantised
    if known is not None:
        plain = compile_network(network, model.config, weight_format=model.weight_formats, feedback=False)
        nearest = quantised_network(plain)
    layers = [*network.hidden_layers, network.output_layer]
    matrices = [
        (number, name, weights, stored.matrices[name], rounded.matrices[name])
        for number, (layer, stored, rounded) in enumerate(zip(layers, quantised.layers, nearest.layers))
        for name, weights in layer.matrices.items()
    ]

    def relative(function, rounded, weights):
        size = function(weights)
        return float(function(rounded - weights) / size) if size else 0.0

    def largest(values):
        return np.abs(values).max()

    def of_sums(number, name, rounded, weights):
        if known is None:
            return None
        products = known[number].recurrent if name == "W_hh" else known[number].input
        return relative(lambda rows: np.sqrt(np.einsum("rc,rc->", rows @ products, rows)), rounded, weights)

    return [
        MatrixError(
            number,
            name,
            weights.shape,
            matrix_format(model.config, model.weight_formats[number], recurrent=name == "W_hh"),
            relative(rms, stored, weights),
            relative(rms, round_bfloat16(weights), weights),
            relative(largest, stored, weights),
            relative(largest, round_bfloat16(weights), weights),
            of_sums(number, name, stored, weights),
            of_sums(number, name, rounded, weights),
        )
        for number, name, weights, stored, rounded in matrices
    ]

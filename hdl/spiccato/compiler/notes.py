"""Notes: what a user should know of a program's numbers because results may be worse than usual. A sentence each.

They are no errors. The compiler records them in the program, what runs one adds its own, and the command line prints
each as a line.
"""

import itertools
from dataclasses import dataclass

import numpy as np

from ..formats import from_bits, to_bits
from ..numbers import EXPONENT_RANGE, FLOAT_BIAS, H_FRAC_BITS
from .rows import GATE_LIMIT

__all__ = ["Saturation", "calibration_note", "input_limits", "numbers_text", "output_note", "saturation"]

#: An output that keeps fewer bits of its range than this is told of; h has 17.
_OUTPUT_BITS = 14


def input_limits(adjust):
    """Magnitudes from which on inputs saturate: float64 of the shape of ``adjust`` (:class:`.program.Program`)."""
    return np.ldexp(1.0, EXPONENT_RANGE - FLOAT_BIAS - np.asarray(adjust, dtype=np.int64))


@dataclass(frozen=True)
class Saturation:
    """Input values that are beyond a program's range.

    Attributes
    ----------
    values, of : int
        How many there are, of how many.
    features, steps : list of int
        Where.
    of_steps : int
    largest : float or None
        The largest of them, as a multiple of its feature's limit; None if it is infinite.
    """

    values: int
    of: int
    features: list
    steps: list
    of_steps: int
    largest: float | None

    def __str__(self):
        return (
            f"{self.values:,} of {self.of:,} values are beyond the program's range and saturate: "
            f"feature{'s' * (len(self.features) > 1)} {numbers_text(self.features)}, in {len(self.steps):,} of "
            f"{self.of_steps:,} steps (first: {self.steps[0]}), up to "
            f"{'infinity' if self.largest is None else f'{self.largest:.2g} times the limit'}"
        )


def saturation(xs, adjust, io_format):
    """What of inputs is beyond the range.

    Parameters
    ----------
    xs : float array (steps, features)
    adjust : int array (features,), of the program
    io_format : "bfloat16" or "float32"

    Returns
    -------
    Saturation or None
        None if nothing is.
    """
    ratio = np.abs(from_bits(to_bits(xs, io_format), io_format)) / input_limits(adjust)
    beyond = ratio >= 1
    if not beyond.any():
        return None
    largest = float(ratio[beyond].max())
    return Saturation(
        int(beyond.sum()),
        beyond.size,
        np.flatnonzero(beyond.any(axis=0)).tolist(),
        np.flatnonzero(beyond.any(axis=1)).tolist(),
        len(beyond),
        largest if np.isfinite(largest) else None,
    )


def calibration_note(calibration, adjust, io_format):
    """Notes (none or one) on calibration inputs that saturate whatever the scales."""
    found = saturation(calibration, adjust, io_format)
    return (
        []
        if found is None
        else [
            f"calibration inputs: {found}; products with the input weights would be beyond the accumulators "
            f"({2.0**GATE_LIMIT:.3g}): are they in the units that the network was trained on?"
        ]
    )


def output_note(weight, bias, frac_bits):
    """Notes (none or one) on outputs that lose bits because all outputs share one binary point.

    Parameters
    ----------
    weight, bias : float64 (outputs, units), (outputs,), of the linear layers multiplied out
    frac_bits : int, of the output sums
    """
    # What an output can vary by, |h| being below 1.
    ranges = np.abs(weight).sum(axis=1)
    reach = ranges + np.abs(bias)
    ranges = np.where(ranges > 0, ranges, reach)
    resolution = 2.0**-frac_bits
    coarse = np.flatnonzero((ranges > 0) & (ranges < resolution * 2.0**_OUTPUT_BITS))
    if not coarse.size:
        return []
    relative = resolution / ranges[coarse]
    lost = min(H_FRAC_BITS, int(np.ceil(H_FRAC_BITS + np.log2(relative.max()))))
    largest = int(np.argmax(reach))
    return [
        f"output{'s' * (coarse.size > 1)} {numbers_text(coarse.tolist())} lose{'s' * (coarse.size == 1)} up to "
        f"{lost} of {H_FRAC_BITS} bits: all outputs share one binary point, and output "
        f"{largest} reaches {reach[largest]:.3g}, so they are resolved to {resolution:.2g}, up to "
        f"{relative.max():.2g} of the largest that they can be, and several times that of what they usually are; "
        "train on targets of like size, or add large constants behind the outputs"
    ]


def numbers_text(numbers):
    """Ascending integers in words: "0 to 3, 7 and 9"; long lists are cut."""
    places = itertools.count()
    runs = [list(group) for _, group in itertools.groupby(numbers, key=lambda number: number - next(places))]
    texts = [f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs]
    shown = 6
    if len(texts) > shown:
        return f"{', '.join(texts[:shown])} and others ({len(numbers)} in all)"
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"

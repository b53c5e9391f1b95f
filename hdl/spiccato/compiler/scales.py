"""The features' scales: which power of two each input is divided by before values of a block share an exponent.

A feature's weight column carries the scale inversely. Scales decide what is lost: features that are much smaller than
others of their block lose mantissa bits, but a column that is scaled up costs the other columns of its rows bits, for
a row has one exponent, too. Without samples the scales come from the weight columns. With samples, several ways to
choose them are tried on the samples, block by block, and the best is taken: never one that measures worse than none.
"""

from dataclasses import dataclass

import numpy as np

from ..config import WIDE
from ..errors import FitError
from ..formats import from_bits, to_bits
from ..isa.issue import VectorFrom
from ..numbers import (
    ADJUST_MIN,
    EXPONENT_RANGE,
    EXPONENT_STEP,
    FLOAT_BIAS,
    GATE_FRAC_BITS,
    GATES,
    LOW_BITS,
    MANTISSA_BITS,
    NARROW_SHIFT,
    WEIGHT_BITS,
)
from ..rtl.alignment import Alignment
from ..rtl.ingress import Ingress
from .rows import GATE_LIMIT, format_bits, halved_rows, quantise_matrix, row_point

__all__ = ["InputScale", "calibrated_scale", "check_input_weights", "scale_error", "weight_scale"]

#: Of scales that are guessed from weights.
_SCALE_LIMIT = 60
#: What a single unit's weights of a feature count at most for the size of its column, in times the largest of the other
#: units': scales that follow one weight far beyond all others would cost the other features their bits.
_OUTLIER = 32
#: Exponents of the streams' normal numbers.
_LEAST, _LARGEST = 1 - FLOAT_BIAS, FLOAT_BIAS
#: Samples that scales are compared on, evenly spaced: as many as this many input weights times samples allow.
_SAMPLES = range(32, 257)
_WORK = 100_000_000
#: Errors that other scales have to stay below, as a share of those without samples: smaller gains drown in the
#: roundings of h and of the gates, which are as likely to turn them into a loss.
_GAIN = 0.75


@dataclass(frozen=True, eq=False)
class InputScale:
    """How inputs become mantissas.

    Attributes
    ----------
    log2_scale : int64 (features,)
        The weight columns are multiplied by 2**log2_scale, the features divided.
    cap : int
        Largest exponent of a scaled input that does not saturate.
    """

    log2_scale: np.ndarray
    cap: int

    @property
    def adjust(self):
        """int64 (features,), what is added to the exponent field of a value."""
        return EXPONENT_RANGE - 1 - FLOAT_BIAS - self.cap - self.log2_scale


def check_input_weights(weight_ih, name):
    """Refuse weights of inputs that no input is small enough for; raises FitError."""
    largest, limit = np.abs(weight_ih).max(), 2.0 ** (GATE_LIMIT + FLOAT_BIAS)
    if largest >= limit:
        raise FitError(
            f"{name}: an input weight of magnitude {largest:.3g} is beyond the accumulators' range for any input; at "
            f"most {limit:.3g}"
        )


def weight_scale(weight_ih, name):
    """Scales without samples.

    Features whose weight columns are smaller than the largest are taken to be as much larger than the others, which is
    right for networks trained on raw features and costs nothing for others. A single unit's weights that are far beyond
    all others of their column do not make it the largest.

    Parameters
    ----------
    weight_ih : float64 (rows, features)
    name : str
        For messages.

    Returns
    -------
    InputScale

    Raises
    ------
    FitError
        If inputs around 1 would be beyond the accumulators' range.
    """
    norms = np.sqrt((weight_ih**2).sum(axis=0))
    descending = -np.sort(-np.abs(weight_ih), axis=0)
    others = descending[min(GATES, len(descending) - 1)]
    limits = np.where(others > 0, _OUTLIER * others, np.inf)
    largest = np.sqrt((np.minimum(descending, limits) ** 2).sum(axis=0)).max()
    ratio = np.where(norms > 0, largest / np.where(norms > 0, norms, 1), 1)
    log2_scale = np.clip(np.rint(np.log2(ratio)), 0, _SCALE_LIMIT).astype(np.int64)
    typical = 1
    scale = _capped(weight_ih, log2_scale, typical)
    if scale.cap < typical:
        row_sum = np.ldexp(np.abs(weight_ih), log2_scale).sum(axis=1).max()
        raise FitError(
            f"{name}: input weights of row sum {row_sum:.3g} are beyond the accumulators' range; "
            "if the features are small, calibration inputs tell so"
        )
    return scale


def _capped(weight_ih, log2_scale, typical):
    """The scale whose range is the largest that cannot overflow an accumulator, aligned.

    Values of exponent ``typical`` sit at the top of their group of exponents, where mantissas have most bits.
    """
    row_sum = np.ldexp(np.abs(weight_ih), log2_scale).sum(axis=1).max()
    limit = GATE_LIMIT - 1 - (int(np.ceil(np.log2(row_sum))) if row_sum > 0 else 0)
    limit = min(
        limit, typical + EXPONENT_RANGE // 2, EXPONENT_RANGE - 1 - FLOAT_BIAS - ADJUST_MIN - int(log2_scale.max())
    )
    return InputScale(log2_scale, limit - (limit - typical) % EXPONENT_STEP)


def calibrated_scale(layer, calibration, *, config, weight_format, name):
    """The best scales for samples, as measured by :func:`scale_error`.

    Each block of features tries the scales of their largest magnitudes, of their RMS, of their weight columns, and one
    scale for all. The blocks' best together, each of these for all blocks, and the scales that there would be without
    samples are compared; the last are kept unless another one is clearly better. So by that measure samples
    never make errors larger on these samples; output errors nearly always follow.

    Parameters
    ----------
    layer : LoweredLayer
        The first one.
    calibration : float64 (steps, features)
    config : Config
    weight_format : str
    name : str
        For messages.

    Returns
    -------
    InputScale

    Raises
    ------
    FitError
        If a sample is beyond the streams' format.
    """
    io_format, block = config.io_format, config.columns
    beyond = ~np.isfinite(from_bits(to_bits(calibration, io_format), io_format))
    if beyond.any():
        step, feature = np.argwhere(beyond)[0].tolist()
        raise FitError(
            f"{name}: calibration input [{step}, {feature}] is {calibration[step, feature]:.3g}, beyond the "
            f"range of {io_format} streams (3.4e+38)"
        )
    weights = layer.input.reshape(-1, layer.inputs)
    try:
        without = weight_scale(weights, name)
    except FitError:
        without = None
    measure = _Measure(layer, calibration, config, weight_format, name)
    patterns = _patterns(weights, calibration, block)
    tried = [measure(_capped(weights, log2_scale, 0)) for log2_scale in patterns]
    best_of_block = np.argmin([blocks for _, _, blocks in tried], axis=0)
    mixed = np.choose(np.repeat(best_of_block, block)[: layer.inputs], patterns)
    tried.append(measure(_capped(weights, mixed, 0)))
    error, best, _ = min(tried, key=lambda one: one[0])  # the first of equals
    return best if without is None or error < _GAIN * measure(without)[0] else without


def _patterns(weight_ih, calibration, block):
    """Ways to choose log2 scales: list of int64 (features,).

    The largest scaled sample of each block has exponent 0, but for the second one.
    """
    largest = np.abs(calibration).max(axis=0)
    quiet = largest < 2.0**_LEAST

    def exponents(magnitudes):
        return np.frexp(np.where(quiet, 2.0**_LEAST, magnitudes))[1].astype(np.int64) - 1

    def per_block(values, function):
        starts = np.arange(0, len(values), block)
        return np.repeat(function.reduceat(values, starts), block)[: len(values)]

    peaks = exponents(largest)
    # A few times the RMS: what most samples keep to, where single ones are far larger.
    usual = np.minimum(peaks, exponents(4 * np.sqrt((calibration**2).mean(axis=0))))
    flat = per_block(peaks, np.maximum)
    norms = np.sqrt((weight_ih**2).sum(axis=0))
    columns = -np.frexp(np.where(norms > 0, norms, norms.max() or 1.0))[1].astype(np.int64)
    columns += per_block(peaks - columns, np.maximum)
    # Features that are always zero take no part.
    return [np.where(quiet, 0, np.clip(one, _LEAST, _LARGEST)) for one in (peaks, usual, flat, columns)]


def scale_error(layer, calibration, scale, *, config, weight_format, name="layer 0"):
    """RMS error of the first layer's rows on samples that comes from rounding inputs and input weights.

    Rows count behind their activation functions. Inputs go through the integer model of the hardware, input weights are
    quantised; all else is exact, and h is zero. Parameters as for :func:`calibrated_scale`.
    """
    return _Measure(layer, calibration, config, weight_format, name)(scale)[0]


class _Measure:
    """Called with a scale: (error of :func:`scale_error`, the scale, RMS error that each block would cause alone)."""

    def __init__(self, layer, calibration, config, weight_format, name):
        samples = min(len(calibration), max(_SAMPLES[0], min(_SAMPLES[-1], _WORK // layer.input.size)))
        steps = np.linspace(0, len(calibration) - 1, samples).astype(int)
        self._config, self._name, self._weight_bits = config, name, format_bits(config, weight_format)
        self._low_bits = LOW_BITS if weight_format == WIDE else 0
        self._block, self._io_format = config.columns, config.io_format
        self._weights = self._columns(layer.input.reshape(-1, layer.inputs))
        self._bits = self._columns(to_bits(calibration[steps], config.io_format))
        self._features = layer.inputs
        self._rows = layer.kind.rows
        self._halved = 1 + halved_rows(self._rows, (len(self._weights),))
        self._curved = np.resize([function != "linear" for function in self._rows], len(self._weights))
        inputs = from_bits(self._bits, config.io_format)
        self._sums = _products(inputs, self._weights)
        self._arguments = self._sums.sum(axis=0) + layer.bias.reshape(-1)
        self._results = self._functions(self._arguments)

    def _columns(self, array):
        """(n, features) to (n, blocks, block), zero-padded."""
        padded = np.pad(array, ((0, 0), (0, -array.shape[1] % self._block)))
        return padded.reshape(len(array), -1, self._block)

    def __call__(self, scale):
        shape = self._bits.shape
        adjust, log2_scale = (self._columns(one[None])[0] for one in (scale.adjust, scale.log2_scale))
        enable = self._columns(np.ones((1, self._features), dtype=np.uint8))[0]
        mantissas, exponents, _ = Ingress.compute(
            self._bits.reshape(-1, self._block),
            np.tile(adjust, (shape[0], 1)),
            np.tile(enable, (shape[0], 1)),
            self._io_format,
        )
        powers = scale.cap + 1 - MANTISSA_BITS - EXPONENT_STEP * exponents
        # Both halves together are the mantissas.
        if self._config.narrow and not self._low_bits:
            mantissas, rest = Alignment.compute(mantissas, Alignment.positions(np.abs(mantissas)))
            powers += NARROW_SHIFT - rest
        inputs = np.ldexp(mantissas.astype(np.float64), powers[:, None]).reshape(shape)
        dealt = np.ldexp(self._weights, log2_scale)[None, None]
        point = row_point(self._rows, dealt.shape[:3], GATE_FRAC_BITS, VectorFrom.X, scale.cap)
        bits, fine = self._weight_bits, self._config.narrow
        width = max(bits, WEIGHT_BITS)
        quantised = quantise_matrix(dealt, point, bits, self._name, width=width, fine=fine, low_bits=self._low_bits)
        weights = np.ldexp(quantised.mantissas[0, 0] * quantised.scales[0, 0, :, None, None], 1 - width)
        errors = _products(inputs, weights) - self._sums
        alone = np.array([self._rms(one) for one in errors])
        return self._rms(errors.sum(axis=0)), scale, alone

    def _rms(self, errors):
        """RMS change of the rows' results when errors (steps, rows) are added."""
        changed = self._functions(self._arguments + errors)
        return float(np.sqrt(np.mean(np.square(changed - self._results))))

    def _functions(self, arguments):
        """The rows' results, but for the 1/2 in sigmoid(z) = tanh(z / 2) / 2 + 1/2."""
        return np.where(self._curved, np.tanh(arguments / self._halved) / self._halved, arguments)


def _products(inputs, weights):
    """Sums of each block: inputs (steps, blocks, block) and weights (rows, blocks, block) to (blocks, steps, rows)."""
    return inputs.swapaxes(0, 1) @ weights.transpose(1, 2, 0)

"""Second pass: what the results of dense layers are divided by, so that each is an element of a vector, in -1..1.

Of bounded functions that is known. Results of others get a power of two: one for each unit where the function allows it
(f(a x) = a f(x)), which then is in the unit's rows, else one for the layer, which the hardware shifts by. The next
layer's columns are multiplied by it.

How large results may be follows from the weights: what a vector holds is bounded, so the sum of a row's magnitudes and
its bias bound its sum. After the network's input it does not follow; there, and wherever they tell less, it is taken
from calibration inputs, with headroom. Results beyond that saturate, and mark the output.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import FitError
from ..isa.activation import FACTOR_FRAC_BITS, Function
from ..layers import ACTIVATIONS, DenseLayer, LoweredLayer
from ..layers.arithmetic import Array
from ..network import Network
from ..numbers import DENSE_BITS, DENSE_FRAC_BITS
from ..program import Model

__all__ = ["Way", "multiple", "multiples", "scale_units", "settings", "unscaled", "way_of"]

#: What a result may be of the largest in the calibration inputs.
_HEADROOM = 4
#: log2 of the least and of the largest scale.
_SCALE_RANGE = (-40, 40)
#: What scales that the hardware shifts by may be: log2 of the sums that it takes.
_SHIFTED_RANGE = DENSE_BITS - 1 - DENSE_FRAC_BITS


class Way(NamedTuple):
    """How the dense unit computes an activation.

    Attributes
    ----------
    function : Function
    gain, offset : float
        The unit takes ``gain x + offset``.
    result : float
        What of x's function it gives is divided by this, and by the unit's scale.
    scaled : bool
        It has a scale, for it is not bounded.
    marks : bool
        Results that saturate mark the output.
    """

    function: Function
    gain: float = 1.0
    offset: float = 0.0
    result: float = 1.0
    scaled: bool = False
    marks: bool = False


def way_of(activation: str, alpha: float | None) -> Way:
    """How the hardware computes an activation."""
    ways = {
        "identity": Way(Function.LINEAR, scaled=True, marks=True),
        "relu": Way(Function.RELU, scaled=True, marks=True),
        "leaky_relu": Way(Function.LEAKY, scaled=True, marks=True),
        "elu": Way(Function.ELU, scaled=True, marks=True),
        "silu": Way(Function.SILU, gain=0.5, scaled=True, marks=True),
        "gelu": Way(Function.GELU, scaled=True, marks=True),
        "sigmoid": Way(Function.SIGMOID, gain=0.5),
        "tanh": Way(Function.TANH),
        "hard_tanh": Way(Function.LINEAR),
        "hard_sigmoid": Way(Function.RELU, gain=alpha or 0.0, offset=0.5),
        "relu6": Way(Function.RELU, gain=1 / 6, result=6.0),
    }
    return ways[activation]


def multiple(activation: tuple[str, float | None] | None, log2_scale: NDArray[np.int64]) -> Array:
    """What a layer's results are multiples of, by its activation, if it has one, and its units' scales."""
    return (1.0 if activation is None else way_of(*activation).result) * np.ldexp(1.0, log2_scale)


def scale_units(network: Network, lowered: Sequence[LoweredLayer]) -> list[LoweredLayer]:
    """The layers with the scales of their units: in ``scale``, in their rows, and in the columns that read them.

    Raises
    ------
    FitError
        If how large a function's results are is not known, or is beyond what the hardware can hold.
    """
    layers = network.hidden_layers
    seen = None if network.calibration is None else _largest_sums(network, network.calibration)
    result: list[LoweredLayer] = []
    #: What each layer's results are multiples of, and so at most: what the other kinds give is below 1 in magnitude.
    scales: list[Array] = []
    for number, (layer, low) in enumerate(zip([*layers, network.output_layer], lowered)):
        read = np.concatenate(scales[-low.reads :]) if number else None
        if read is not None:
            low = dataclasses.replace(low, input=low.input * read)
        if isinstance(layer, DenseLayer):
            name = f"{network.name}: layer {number}"
            sums = None if read is None else np.abs(layer.weight) @ read + np.abs(layer.bias)
            if seen is not None:
                likely = _HEADROOM * seen[number]
                sums = likely if sums is None else np.minimum(sums, likely)
            low, own = _scaled(layer, low, sums, name)
            scales.append(own)
        else:
            scales.append(np.ones(low.units))
        result.append(low)
    return result


def _scaled(layer: DenseLayer, low: LoweredLayer, sums: Array | None, name: str) -> tuple[LoweredLayer, Array]:
    """A dense layer with its scales, and what its results are multiples of."""
    way = way_of(layer.activation, layer.alpha)
    if way.function is Function.LEAKY and layer.alpha is not None and layer.alpha > 1:
        raise FitError(f"{name}: the slope of leaky_relu is {layer.alpha:g}; at most 1 is computed")
    log2 = np.zeros(low.units, dtype=np.int64)
    if way.scaled:
        if sums is None:
            raise FitError(
                f"{name}: how large the results of {layer.activation} behind the network's input are is not known; "
                "calibration inputs tell"
            )
        # Above, not at the bound.
        log2 = np.frexp(np.where(sums > 0, sums, 2.0 ** _SCALE_RANGE[0]))[1].astype(np.int64)
        log2 = np.clip(log2, *_SCALE_RANGE)
        if not layer.function.homogeneous:
            least = 1 if way.function is Function.SILU else max(0, int(np.ceil(np.log2(max(layer.alpha or 0, 1)))))
            largest = max(least, int(log2.max()))
            if largest > _SHIFTED_RANGE:
                raise FitError(
                    f"{name}: results of {layer.activation} up to {2.0**largest:.3g} are possible; at most "
                    f"{2**_SHIFTED_RANGE} is computed; calibration inputs may tell that they are smaller"
                )
            log2 = np.full(low.units, largest)
    in_rows = np.ldexp(1.0, -log2) if layer.function.homogeneous and way.scaled else np.ones(low.units)
    gains = way.gain * in_rows
    scaled = dataclasses.replace(
        low, input=low.input * gains[:, None, None], bias=low.bias * gains[:, None] + way.offset, log2_scale=log2
    )
    return scaled, way.result * np.ldexp(1.0, log2)


def unscaled(low: LoweredLayer, log2_scale: NDArray[np.int64]) -> tuple[LoweredLayer, Array]:
    """The inverse of what :func:`scale_units` does with a dense layer: its rows as they were, and its multiples."""
    assert low.activation is not None
    way = way_of(*low.activation)
    in_rows = way.scaled and ACTIVATIONS[low.activation[0]].homogeneous
    gains = way.gain * (np.ldexp(1.0, -log2_scale) if in_rows else np.ones(low.units))
    restored = dataclasses.replace(
        low, input=low.input / gains[:, None, None], bias=(low.bias - way.offset) / gains[:, None]
    )
    return restored, way.result * np.ldexp(1.0, log2_scale)


def multiples(model: Model) -> list[Array]:
    """What the elements of a model's vectors are multiples of: float64 (units,) of each layer."""
    found, first = [], 0
    for place in model.layers:
        log2_scale = model.log2_scales[first : first + place.units].astype(np.int64)
        found.append(multiple(place.activation, log2_scale))
        first += place.units
    return found


def settings(low: LoweredLayer) -> dict[str, int]:
    """The fields of the issue words that finish a layer's slots; empty for kinds without."""
    if low.activation is None:
        return {}
    name, alpha = low.activation
    way = way_of(name, alpha)
    assert low.log2_scale is not None
    log2 = int(low.log2_scale.max(initial=0))
    shift, factor = 0, 0.0
    if way.function is Function.LEAKY:
        factor = alpha or 0.0
    elif way.function is Function.ELU:
        shift, factor = log2, np.ldexp(alpha or 0.0, -log2)
    elif way.function is Function.SILU:
        # It takes half the sum.
        shift = log2 - 1
    elif way.function is Function.GELU:
        shift = log2
    return {
        "function": int(way.function),
        "shift": shift,
        "factor": int(np.rint(np.ldexp(factor, FACTOR_FRAC_BITS))),
        "marks": int(way.marks),
    }


def _largest_sums(network: Network, calibration: Array) -> list[NDArray[np.float64]]:
    """Largest magnitudes of each layer's sums before its function, over the calibration inputs (dense layers only)."""
    layers = network.hidden_layers
    states = [layer.initial_state for layer in layers]
    largest = [np.zeros(layer.output_size) for layer in layers]
    for x in calibration:
        results = [x]
        for number, (layer, reads) in enumerate(zip(layers, network.computed_reads)):
            read = np.concatenate(results[-reads:])
            if isinstance(layer, DenseLayer):
                largest[number] = np.maximum(largest[number], np.abs(layer.weight @ read + layer.bias))
            step = layer.step(read, *states[number])
            states[number] = step.h, step.c
            results.append(step.h)
    return largest

"""What the calibration inputs make of each matrix's inputs: their second moments, by which errors of weights count."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..network import Network

__all__ = ["Moments", "moments"]


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean products of a layer's inputs.

    Attributes
    ----------
    input : float64 (inputs, inputs)
        Of what its input matrix is multiplied with.
    recurrent : float64 (units, units), or None
        Of its previous results; None if it does not read them.
    """

    input: NDArray[np.float64]
    recurrent: NDArray[np.float64] | None


def moments(network: Network) -> Sequence[Moments] | None:
    """Those of each layer, the linear one last; None without calibration inputs.

    The network runs over them in float64, from its initial state.
    """
    xs = network.calibration
    if xs is None:
        return None
    result, steps = [], len(xs)
    values: NDArray[np.float64] = np.asarray(xs)
    for layer in network.hidden_layers:
        h, c = layer.initial_state
        before, after = np.empty((steps, layer.output_size)), np.empty((steps, layer.output_size))
        for step, x in enumerate(values):
            before[step] = h
            _, h, c = layer.step(x, h, c)
            after[step] = h
        result.append(Moments(values.T @ values / steps, before.T @ before / steps if layer.recurrent else None))
        values = after
    return [*result, Moments(values.T @ values / steps, None)]

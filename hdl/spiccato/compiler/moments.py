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
    #: The inputs, and each layer's results.
    results: list[NDArray[np.float64]] = [np.asarray(xs)]
    *reads, output_reads = network.computed_reads
    for layer, count in zip(network.hidden_layers, reads):
        values = np.concatenate(results[-count:], axis=1)
        h, c = layer.initial_state
        before, after = np.empty((steps, layer.output_size)), np.empty((steps, layer.output_size))
        for step, x in enumerate(values):
            before[step] = h
            _, h, c = layer.step(x, h, c)
            after[step] = h
        result.append(Moments(_mean_products(values), _mean_products(before) if layer.recurrent else None))
        results.append(after)
    return [*result, Moments(_mean_products(np.concatenate(results[-output_reads:], axis=1)), None)]


def _mean_products(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean products of (steps, n) values, those of different ones being made smaller by what chance makes of them.

    Of few steps many products are not zero that would be, of more; by how much all are made smaller is what makes the
    expected error of all together least, if steps are independent (Schaefer and Strimmer, 2005). A single step does not
    tell what is chance.
    """
    steps = len(values)
    products, squares = values.T @ values / steps, values**2
    others = ~np.eye(values.shape[1], dtype=bool)
    variance = (squares.T @ squares / steps - products**2)[others].sum() / max(steps - 1, 1)
    size = (products[others] ** 2).sum()
    kept = max(0.0, 1 - variance / size) if size > 0 and steps > 1 else 0.0
    return np.where(others, kept * products, products)

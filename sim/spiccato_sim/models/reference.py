"""A network as the equations say, in float64: what every other model is measured against."""

import numpy as np
from numpy.typing import ArrayLike

from spiccato.arrays import real_array
from spiccato.layers.arithmetic import EXACT, Array, Rounding
from spiccato.network import Network

__all__ = ["Reference"]


class Reference:
    """A network in float64, one timestep at a time. The equations are the layers' (:mod:`spiccato.layers`).

    Parameters
    ----------
    network : Network
    rounding : Rounding
        What another machine's arithmetic would round.

    Attributes
    ----------
    network : Network
    layers : list of Layer
        The network's layers but for linear ones.
    h, c : lists of float64 arrays (units,)
        The state vectors, one for each of these; after :meth:`reset` those that the network's sequences
        start from. Layers without a cell state have an empty c.
    rows : list of float64 arrays (rows per unit, units)
        The same layers' last sums behind their activation functions: an LSTM layer's i, f, g, o. Zeros after
        :meth:`reset`.
    """

    h: list[Array]
    c: list[Array]
    rows: list[Array]

    def __init__(self, network: Network, rounding: Rounding = EXACT) -> None:
        self.network = network
        self.layers = [layer for layer in network.layers if layer.epilogue is not None]
        self._rounding = rounding
        self.reset()

    def reset(self) -> None:
        """Set h and c of all layers to the initial state."""
        states = [layer.initial_state for layer in self.layers]
        self.h = [self._rounding.vector(h) for h, _ in states]
        self.c = [self._rounding.cell(c) for _, c in states]
        self.rows = [np.zeros((len(layer.rows), layer.output_size)) for layer in self.layers]

    def step(self, x: ArrayLike) -> Array:
        """One timestep: x of shape (input_size,) in, y of shape (output_size,) out.

        Raises
        ------
        InputError
            If x has another shape, or holds something else than real numbers.
        """
        results = [self._rounding.vector(real_array(x, (self.network.input_size,), "x", finite=False))]
        nothing, k = np.zeros(0), 0
        for layer, reads in zip(self.network.layers, self.network.layer_reads):
            read = np.concatenate(results[-reads:])
            if layer.epilogue is None:
                results.append(layer.step(read, nothing, nothing, self._rounding).h)
            else:
                self.rows[k], self.h[k], self.c[k] = layer.step(read, self.h[k], self.c[k], self._rounding)
                results.append(self.h[k])
                k += 1
        return results[-1]

    def run(self, xs: ArrayLike) -> Array:
        """All timesteps of xs (steps, input_size), from the present state; returns (steps, output_size).

        Raises
        ------
        InputError
            If xs has another shape, or holds something else than real numbers.
        """
        xs = real_array(xs, ("steps", self.network.input_size), "xs", empty=True, finite=False)
        return np.array([self.step(x) for x in xs]).reshape(len(xs), self.network.output_size)

"""The LSTM as the equations say, in float64: what every other model is measured against."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spiccato.arrays import real_array
from spiccato.network import Network

__all__ = ["Reference", "sigmoid"]

Array = NDArray[np.float64]


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)) of any shape, without overflow for any x."""
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, e) / (1 + e)


class Reference:
    """A network in float64, one timestep at a time.

    For each LSTM layer, with s the sigmoid function::

        i = s(W_ii x + b_ii + W_hi h + b_hi)        f = s(W_if x + b_if + W_hf h + b_hf)
        g = tanh(W_ig x + b_ig + W_hg h + b_hg)     o = s(W_io x + b_io + W_ho h + b_ho)
        c' = f c + i g                              h' = o tanh(c')

    Attributes
    ----------
    network
        The network.
    h, c
        Lists of the state vectors of shape (hidden_size,), one for each layer; zeros after `reset`.
    gates
        List of the last step's i, f, g, o of shape (4, hidden_size), one for each layer; zeros after `reset`.
    """

    h: list[Array]
    c: list[Array]
    gates: list[Array]

    def __init__(self, network: Network) -> None:
        self.network = network
        self.reset()

    def reset(self) -> None:
        """Clear h and c of all layers."""
        self.h = [np.zeros(layer.hidden_size) for layer in self.network.lstm]
        self.c = [np.zeros(layer.hidden_size) for layer in self.network.lstm]
        self.gates = [np.zeros((4, layer.hidden_size)) for layer in self.network.lstm]

    def step(self, x: ArrayLike) -> Array:
        """One timestep: x of shape (input_size,) in, y of shape (output_size,) out.

        Raises
        ------
        InputError
            x has another shape, or holds something else than real numbers.
        """
        y = real_array(x, (self.network.input_size,), "x", finite=False)
        for k, layer in enumerate(self.network.lstm):
            gates = layer.weight_ih @ y + layer.bias_ih + layer.weight_hh @ self.h[k] + layer.bias_hh
            i, f, g, o = np.split(gates, 4)
            self.gates[k] = i, f, g, o = np.array([sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)])
            self.c[k] = f * self.c[k] + i * g
            self.h[k] = y = o * np.tanh(self.c[k])
        for linear in self.network.linear:
            y = linear.weight @ y + linear.bias
        return y

    def run(self, xs: ArrayLike) -> Array:
        """All timesteps of xs (steps, input_size), from the present state; returns (steps, output_size).

        Raises
        ------
        InputError
            xs has another shape, or holds something else than real numbers.
        """
        xs = real_array(xs, ("steps", self.network.input_size), "xs", empty=True, finite=False)
        return np.array([self.step(x) for x in xs]).reshape(len(xs), self.network.output_size)

"""The bfloat16 number format, and an LSTM computed in it to compare accuracy with."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spiccato.arrays import real_array
from spiccato.formats import bfloat16_from_bits as from_bits
from spiccato.formats import bfloat16_to_bits as to_bits
from spiccato.network import Network

from .reference import sigmoid

__all__ = ["BFloat16Pipeline", "from_bits", "round_bfloat16", "to_bits"]

Array = NDArray[np.float64]


def round_bfloat16(x: ArrayLike) -> Array:
    """The bfloat16 numbers nearest to `x`, as float64; see `to_bits` for the corners."""
    return from_bits(to_bits(x))


class BFloat16Pipeline:
    """A network computed the way bfloat16 accelerators do: the yardstick of the accuracy figures.

    Weights, x, h and the results of the four gate activations are rounded to bfloat16. Dot products accumulate in
    float64, biases are exact, c and tanh(c) are kept in float32, and what the linear layers give is not rounded,
    so that this errs on the side of the pipeline. `h` and `c` are lists of the state vectors of shape
    (hidden_size,), one for each layer.
    """

    def __init__(self, network: Network) -> None:
        self._sizes = network.input_size, network.output_size
        self._lstm = [
            [round_bfloat16(layer.weight_ih), round_bfloat16(layer.weight_hh), layer.bias_ih, layer.bias_hh]
            for layer in network.lstm
        ]
        self._linear = [[round_bfloat16(layer.weight), layer.bias] for layer in network.linear]
        self.reset()

    def reset(self) -> None:
        """Clear h and c of all layers."""
        self.h = [np.zeros(weight_hh.shape[1]) for _, weight_hh, _, _ in self._lstm]
        self.c = [np.zeros(weight_hh.shape[1], dtype=np.float32) for _, weight_hh, _, _ in self._lstm]

    def step(self, x: ArrayLike) -> Array:
        """One timestep: x of shape (input_size,) in, y of shape (output_size,) out.

        Raises
        ------
        InputError
            x has another shape, or holds something else than real numbers.
        """
        y = round_bfloat16(real_array(x, self._sizes[:1], "x", finite=False))
        for k, (weight_ih, weight_hh, bias_ih, bias_hh) in enumerate(self._lstm):
            i, f, g, o = np.split(weight_ih @ y + weight_hh @ self.h[k] + bias_ih + bias_hh, 4)
            i, f, o = (round_bfloat16(sigmoid(gate)) for gate in (i, f, o))
            self.c[k] = (f * self.c[k] + i * round_bfloat16(np.tanh(g))).astype(np.float32)
            y = self.h[k] = round_bfloat16(o * np.tanh(self.c[k]))
        for weight, bias in self._linear:
            y = weight @ y + bias
        return y

    def run(self, xs: ArrayLike) -> Array:
        """All timesteps of xs (steps, input_size), from the present state; returns (steps, output_size).

        Raises
        ------
        InputError
            xs has another shape, or holds something else than real numbers.
        """
        xs = real_array(xs, ("steps", self._sizes[0]), "xs", empty=True, finite=False)
        return np.array([self.step(x) for x in xs]).reshape(len(xs), self._sizes[1])

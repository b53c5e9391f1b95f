"""Small networks, and a configuration on which several of them have room."""

import dataclasses

import numpy as np

from spiccato.config import Config
from spiccato.layers import LinearLayer
from spiccato_sim.models import zoo

__all__ = ["CONFIG", "network", "with_initial"]

CONFIG = Config(
    name="shared",
    cores=2,
    block=4,
    weight_depth=512,
    slots=64,
    models=4,
    streams=8,
    state_slots=256,
    vector_blocks=16,
    input_blocks=8,
    program_depth=1024,
    output_beats=16,
)


def network(seed, layers=2, outputs=None, **sizes):
    rng = np.random.default_rng(seed)
    drawn = zoo.random_network(rng, layers=layers, name=f"net{seed}", **({"min_size": 3, "max_size": 12} | sizes))
    if outputs is None:
        return drawn
    hidden = drawn.output_layer.input_size
    linear = LinearLayer(rng.uniform(-1, 1, (outputs, hidden)), np.zeros(outputs))
    return dataclasses.replace(drawn, layers=(*drawn.hidden_layers, linear))


def with_initial(plain, seed=0, scale=1.0):
    """The network with an initial state that is not zero."""
    rng = np.random.default_rng(seed)
    layers = [
        dataclasses.replace(
            layer,
            h0=scale * rng.uniform(-1, 1, layer.hidden_size),
            c0=2 * scale * rng.uniform(-1, 1, layer.hidden_size),
        )
        for layer in plain.hidden_layers
    ]
    return dataclasses.replace(plain, layers=(*layers, *plain.layers[len(layers) :]))

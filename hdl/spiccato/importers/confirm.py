"""Sees that a model computes the same with inputs of any number of steps and sequences."""

import itertools
from collections.abc import Callable, Iterable
from dataclasses import fields, replace

import numpy as np

from ..errors import ModelError
from ..layers import Layer
from ..network import Network
from .cut import Refusal
from .stages import Misfit

__all__ = ["LONG_SIZES", "SIZES", "confirm", "same_layers"]

#: What importers put in for sizes that a model leaves open: (steps, sequences), different and more than one. A model
#: counts as read when both pairs give the same network: an index that is the last step's for one is not for the other.
SIZES = ((5, 3), (7, 4))

#: What they put in if a model that does what is not supported takes none of those: a convolution without padding needs
#: as many steps as its kernel has. Either size may be that of time.
LONG_SIZES = ((1021, 3), (5, 1021))

#: Sizes with which a model is run again, in groups; of each group, the first that it takes. Either size may be that of
#: time. A window over time shows only where there are more steps than it has.
_OTHER_SIZES = (
    SIZES[1:],
    ((1021, 2), (1021, 1), (251, 2), (61, 2), (17, 2)),
    ((2, 1021), (1, 1021), (2, 251), (2, 61), (2, 17)),
)


def confirm(
    network: Network,
    run: Callable[[tuple[int, ...]], Network],
    shape: tuple[int, ...],
    forms: Iterable[Callable[[int, int], tuple[int, ...]]] = (),
    misfit: type[Exception] = Misfit,
) -> bool:
    """See that a model computes the same once more, and with inputs of other shapes, where it takes them.

    Parameters
    ----------
    network : Network
        What was read with an input of ``shape``.
    run
        Gives the network with another; raises ``misfit`` if the model does not take it.
    forms
        Give a shape from two sizes; that is where the model may have any number of steps and sequences.

    Returns
    -------
    bool
        Whether it took an input of another shape.

    Raises
    ------
    ModelError
        It computes something else.
    """
    if not _are_same(network, run(shape)):
        raise ModelError("constants that the model uses differ from run to run; supported: the same in every run")
    seen, taken = {shape}, False
    for form, group in itertools.product(forms, _OTHER_SIZES):
        for other in (form(*sizes) for sizes in group):
            if other in seen:
                continue
            seen.add(other)
            try:
                again = run(other)
            except misfit:
                continue
            except ModelError as error:
                cuts = error.cuts if isinstance(error, Refusal) else ()
                raise Refusal(f"on an input of shape {other}, {error}", cuts) from None
            if not _are_same(network, again):
                raise ModelError(
                    "constants that the model uses, or its layers, depend on the number of steps or sequences: inputs "
                    f"of shape {shape} and {other} give different ones; supported: the same for any number"
                )
            taken = True
            break
    return taken


def _are_same(network: Network, other: Network) -> bool:
    """Whether two networks have the same layers, which read the same ones."""
    same_chain = len(network.layers) == len(other.layers) and network.layer_reads == other.layer_reads
    return same_chain and all(map(_is_same, network.layers, other.layers))


def _is_same(layer: Layer, other: Layer) -> bool:
    pairs = [(getattr(layer, field.name), getattr(other, field.name, None)) for field in fields(layer)]  # type: ignore
    return type(layer) is type(other) and all(
        np.array_equal(np.asarray(one), np.asarray(another)) for one, another in pairs
    )


def same_layers(network: Network, other: Network) -> bool:
    """Whether two networks compute the same, whatever their sequences start from."""
    return _are_same(_without_start(network), _without_start(other))


def _without_start(network: Network) -> Network:
    layers = [
        replace(layer, **{field.name: None for field in fields(layer) if field.name in ("h0", "c0")})  # type: ignore
        for layer in network.layers
    ]
    return replace(network, layers=tuple(layers))

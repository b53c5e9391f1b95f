"""Several results of a model as one packet: branches behind the last layer that all of them share, side by side."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError
from ..layers import DenseLayer, Layer, LinearLayer
from ..network import Network
from .chain import Chain, combined
from .stages import Stage
from .streaming import Labels

__all__ = ["Head", "heads_of", "network_of_heads", "not_whole", "whole_rows"]


@dataclass(frozen=True, eq=False)
class Head:
    """A part of what a model gives, from one layer.

    Attributes
    ----------
    name : str
        Of the result that it is a part of.
    last : Stage
        The layer.
    rows : Labels
        The rows of the layer's results that it holds, each for every feature.
    features : int64 (outputs,), or None
        The features that it holds, in order; None: all.
    labels : Labels
        What it holds, (rows, outputs).
    """

    name: str
    last: Stage
    rows: Labels
    features: NDArray[np.int64] | None
    labels: Labels

    @property
    def size(self) -> int:
        """Number of outputs."""
        return self.labels.shape[-1]


def heads_of(chain: Chain, name: str, labels: Labels) -> list[Head]:
    """What a result consists of: all features of one layer in any layout, or features of layers side by side."""
    place = f"the model's result '{name}'"
    labels = np.atleast_1d(labels)
    if len(chain.sources(labels)) == 1:
        last = chain.source(place, labels)
        whole = whole_rows(last, labels)
        if whole is not None:
            row, values = whole
            return [Head(name, last, row, None, values)]
    columns = labels.reshape(-1, labels.shape[-1])
    firsts = [chain.source(place, columns[:, number]) for number in range(columns.shape[1])]
    heads = []
    begin = 0
    for end in range(1, len(firsts) + 1):
        if end < len(firsts) and firsts[end] is firsts[begin]:
            continue
        heads.append(_side_by_side(place, name, firsts[begin], columns[:, begin:end]))
        begin = end
    return heads


def whole_rows(stage: Stage, labels: Labels) -> tuple[Labels, Labels] | None:
    """The row of each label, and all in order, (rows, features), if these are all values of some rows, each once."""
    features = stage.shape[-1]
    flat = labels.reshape(-1)
    row, feature = np.divmod(flat - stage.first, features)
    order = np.argsort(row, kind="stable")
    if labels.size % features or (feature[order].reshape(-1, features) != np.arange(features)).any():
        return None
    return row, flat[order].reshape(-1, features)


def not_whole(place: str, stage: Stage) -> str:
    """What is told of labels of a stage that are not :func:`whole_rows`."""
    return f"{place} does not hold all {stage.shape[-1]} values of {stage.what}, in order and once"


def _side_by_side(place: str, name: str, last: Stage, labels: Labels) -> Head:
    """Some features of a layer, the same at every step."""
    rows, features = np.divmod(labels - last.first, last.shape[-1])
    if (rows != rows[:, :1]).any() or (features != features[0]).any() or len(np.unique(rows[:, 0])) != len(rows):
        raise ModelError(f"{not_whole(place, last)}, nor some of them at every step")
    is_whole = np.array_equal(features[0], np.arange(last.shape[-1]))
    return Head(name, last, rows.reshape(-1), None if is_whole else features[0], labels)


def network_of_heads(chain: Chain, heads: Sequence[Head], name: str, origin: str | None) -> Network:
    """The network of the layers that all heads share, with what each has behind them."""
    paths = [head.last.path() for head in heads]
    shared = 0
    while len({id(path[shared]) if shared < len(path) else None for path in paths}) == 1 and shared < len(paths[0]):
        shared += 1
    trunk = [(stage.layer, stage.reads) for stage in paths[0][:shared] if stage.layer is not None]
    common, reads = [layer for layer, _ in trunk], [count for _, count in trunk]
    branches = [_branch(chain, head, path[shared:]) for head, path in zip(heads, paths)]
    if len(branches) == 1:
        layers = [*trunk, *branches[0]]
        return Network(
            tuple(layer for layer, _ in layers), name, origin=origin, reads=tuple(count for _, count in layers)
        )
    if not common:
        raise ModelError(
            f"the model gives {' and '.join(_names(heads))}, which read its input each for itself; supported: results "
            "behind a layer that they share"
        )
    whole = LinearLayer.identity(common[-1].output_size)
    # Parts of one result, side by side, are heads of their own until all are joined.
    first = {branch[0][1] if branch else 1 for branch in branches}
    if len(first) > 1 or any(count > 1 for branch in branches for _, count in branch[1:]):
        raise ModelError(
            f"the model gives {' and '.join(_names(heads))}, which read different sums of layers' results; supported: "
            "the same one in front of all"
        )
    own = [[layer for layer, _ in branch] or [whole] for branch in branches]
    chains = {f"{number}, {head.name}": branch for number, (head, branch) in enumerate(zip(heads, own))}
    if len(_names(heads)) == len(heads):
        chains = {head.name: branch for head, branch in zip(heads, chains.values())}
    network = Network.with_heads(common, chains, name=name, origin=origin, reads=(*reads, *first))
    sizes = [
        (one, sum(head.size for head in heads if head.name == one))
        for one in dict.fromkeys(head.name for head in heads)
    ]
    return replace(network, outputs=tuple(sizes) if len(sizes) > 1 else ())


def _names(heads: Sequence[Head]) -> list[str]:
    return [repr(name) for name in dict.fromkeys(head.name for head in heads)]


def _branch(chain: Chain, head: Head, path: Sequence[Stage]) -> list[tuple[Layer, int]]:
    """The layers of a head behind those that all share, and how many each reads."""
    layers = [(stage.layer, stage.reads) for stage in path if stage.layer is not None]
    last, reads = layers[-1] if layers else (None, 1)
    if head.last.constants is not None or head.last.addends:
        # No layer follows that could take constants and sums up.
        selected = LinearLayer(_selection(head))
        if head.last.constants is not None:
            factor, offset = chain.columns(f"the model's result '{head.name}'", head.labels, head.last)
            selected = LinearLayer(factor[:, None] * selected.weight, offset)
        count = 1
        if head.last.base.addends:
            combination, count = combined(head.last.base)
            selected = selected.after(combination)
        return [*layers, (selected, count)]
    if head.features is None:
        return layers
    if isinstance(last, (LinearLayer, DenseLayer)):
        some = replace(last, weight=last.weight[head.features], bias=last.bias[head.features])
        return [*layers[:-1], (some, reads)]
    return [*layers, (LinearLayer(_selection(head)), 1)]


def _selection(head: Head) -> NDArray[np.float64]:
    """The matrix that takes the features that a head holds."""
    identity = np.eye(head.last.shape[-1])
    return identity if head.features is None else identity[head.features]

"""From what a model gives to the network that computes it."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ..errors import ModelError
from ..network import Network
from ..program import StateName
from .chain import Chain
from .heads import Head, heads_of, network_of_heads, not_whole, whole_rows
from .stages import Stage
from .streaming import Labels, handed_on, in_words, named_states

__all__ = ["network_of"]

#: Operations outside of a part that a line names.
_MOST_PLACES = 12


def network_of(
    chain: Chain, results: Mapping[str, Labels], name: str, kept: Mapping[str, Labels | None] | None = None
) -> Network:
    """The network that computes what a model gives, or a part of it.

    Parameters
    ----------
    chain : Chain
        What the model has computed.
    results : mapping
        Name -> labels; some hand state on, are h or c of layers on the way to others or, where the model takes no
        state, final states of recurrent layers. The others are the network's outputs, one behind the other. Of a part,
        the result is what that gives.
    name : str
    kept : mapping
        What the states that the model keeps hold after the call (:func:`.streaming.handed_on`).

    Raises
    ------
    Refusal
        The model does what is not supported.
    """
    try:
        return _network(chain, {**results, **chain.finished}, name, kept or {})
    except ModelError as error:
        raise chain.refusal(error) from None


def _network(chain: Chain, results: dict[str, Labels], name: str, kept: Mapping[str, Labels | None]) -> Network:
    if chain.refused:
        raise chain.refusal()
    if chain.cut.end is not None and not chain.finished:
        raise ModelError(f"--to {chain.cut.end}: the model computes its result without it")
    if not results:
        raise ModelError("the model gives no result; supported: results of layers")
    empty = next((key for key, labels in results.items() if not labels.size), None)
    if empty is not None:
        steps = chain.steps()
        after = "" if steps is None else f" after {steps} steps"
        raise ModelError(f"the model's result '{empty}' is empty{after}; supported: all steps, or the last one")
    stateful = chain.stateful()
    layers = [layer for _, layer in stateful]
    handed = handed_on(chain.states, layers, results, kept)
    keys = _outputs(chain, results, handed)
    heads = [head for key in keys for head in heads_of(chain, key, results[key])]
    paths = [head.last.path() for head in heads]
    for head, path in zip(heads, paths):
        place = f"the model's result '{head.name}'"
        if head.last.root is not chain.begun:
            raise ModelError(f"{place} is computed from {head.last.root.what}, not from {chain.begun.what} alone")
        if not path:
            raise ModelError(f"{place} is its input; supported: a chain of layers")
        _check_rows(place, head)
    path = list({id(stage): stage for path in paths for stage in path}.values())
    if stateful:
        _check_streaming(path, [stage for stage, _ in stateful], keys[0])
    own = [stage for stage in path if stage.layer is not None and stage.layer.has_state]
    read = {}
    for key, labels in results.items():
        # Final states are no news where the model does not start from them.
        is_news = stateful or not _is_state(chain, labels)
        if is_news and not chain.finished and key not in (*keys, *handed.values()):
            read[key] = _read_state(chain, key, labels, own, keys[0])
    states = [*named_states(handed, chain.states, [(own.index(stage), layer) for stage, layer in stateful])]
    told = {key: f"{state.kind} of '{own[state.layer].name}'" for key, state in read.items()}
    origins = [
        in_words(handed, chain.states, layers, told),
        _outside(chain, [head.last for head in heads]),
        _left_out(chain),
    ]
    network = network_of_heads(chain, heads, name, "; ".join(filter(None, origins)) or None)
    return replace(network, states=(*states, *read.values()))


def _outputs(chain: Chain, results: dict[str, Labels], handed: Mapping[str, str | None]) -> list[str]:
    """The names of the results that are neither state nor h of a layer on the way to another one."""
    if chain.finished:
        return list(chain.finished)
    # A model may give h but once, as its state and as its result.
    rest = {key: labels for key, labels in results.items() if key not in handed.values()} or results
    proper = {key: labels for key, labels in rest.items() if not _is_state(chain, labels)}
    if not proper:
        # The model ends with a recurrent layer's last h, or with a single step.
        last = {key: chain.sources(labels) for key, labels in rest.items()}
        whole = {key: sources[0] for key, sources in last.items() if [one.is_cell_state for one in sources] == [False]}
        if not whole:
            named = ", ".join(f"'{key}'" for key in rest)
            raise ModelError(
                f"the model gives {named}; supported: a layer's results, besides the final states of recurrent layers"
            )
        return [max(whole, key=lambda key: len(whole[key].path()))]
    bases = {key: [stage.base for stage in chain.sources(labels)] for key, labels in proper.items()}
    return [
        key
        for key, labels in proper.items()
        if not _is_whole_h(chain, labels)
        or not any(bases[key][0] in list(base.back())[1:] for more in bases.values() for base in more)
    ]


def _is_whole_h(chain: Chain, labels: Labels) -> bool:
    """Whether these are all values of h of a layer with a state, as it is."""
    stage, *more = chain.sources(labels)
    return not more and stage.layer is not None and stage.layer.has_state and whole_rows(stage, labels) is not None


def _read_state(chain: Chain, name: str, labels: Labels, own: list[Stage], result: str) -> StateName:
    """What of a context's state another result of the model is; refuses what is none."""
    stage, *more = chain.sources(labels)
    layer = stage.parent if stage.is_cell_state else stage
    if more or layer not in own:
        raise ModelError(
            f"the model gives '{name}', {chain.what(labels)}, besides '{result}'; supported: outputs, and h and c, as "
            "they are, of the layers that compute them"
        )
    place = f"the model's result '{name}'"
    whole = whole_rows(stage, labels)
    if whole is None:
        raise ModelError(not_whole(place, stage))
    row, values = whole
    _check_rows(place, Head(name, stage, row, None, values))
    return StateName(name, "c" if stage.is_cell_state else "h", own.index(layer), result=True)


def _is_state(chain: Chain, labels: Labels) -> bool:
    """Whether these are final states only: c, or h after the last step."""
    flat = labels.reshape(-1)
    for stage in chain.sources(flat):
        if not stage.is_cell_state:
            if stage.layer is None or not stage.layer.recurrent:
                return False
            last = stage.labels[-1].reshape(-1)
            own = flat[(flat >= stage.first) & (flat <= last[-1])]
            if (own < last[0]).any():
                return False
    return True


def _check_rows(place: str, head: Head) -> None:
    """Refuse a result that is not a layer's at every step or the last one, in all sequences."""
    last, row = head.last, head.rows
    *rows, _ = last.shape
    if not last.is_timed:
        if set(row) != set(range(int(np.prod(rows)))):
            raise ModelError(f"{place} holds only a part of what {last.what} holds; supported: all of it")
        return
    steps, sequences = rows
    step, sequence = np.divmod(row, sequences)
    if len(np.unique(sequence)) != sequences:
        raise ModelError(
            f"{place} holds only a part of the batch; supported: all sequences "
            "(is a recurrent layer's batch_first set wrongly?)"
        )
    if set(step) not in ({steps - 1}, set(range(steps))):
        held = [*map(str, np.unique(step) + 1)]
        held = held if len(held) <= 8 else [*held[:3], "...", held[-1]]
        raise ModelError(f"{place} holds steps {', '.join(held)} of {steps}; supported: all steps, or the last one")


def _check_streaming(path: list[Stage], stateful: list[Stage], result: str) -> None:
    """Refuse a model of which a context would not hold exactly what it hands on."""
    for stage in path:
        if stage.layer is not None and stage.layer.recurrent and stage not in stateful:
            raise ModelError(
                f"'{stage.name}' starts anew at every call, other layers from state that is handed on; supported: "
                "all recurrent layers from state, or none"
            )
    for stage in stateful:
        if stage not in path:
            raise ModelError(
                f"the state of '{stage.name}' is handed on, but the model's result '{result}' does not depend on "
                "it; supported: h and c of the layers that compute the result"
            )


def _outside(chain: Chain, ends: list[Stage]) -> str | None:
    """One line on what stays outside of the part that was asked for; None if the whole model was."""
    if not list(chain.cut.names()):
        return None
    before, after = (_listed(places) for places in chain.outside(ends))
    return f"the part {chain.cut}; outside stay: before it {before}, elsewhere {after}"


def _left_out(chain: Chain) -> str | None:
    """One line on roundings of the model's that the accelerator has not; None if there are none."""
    if not chain.left_out:
        return None
    return f"left out, for the accelerator computes finer: {_listed(list(chain.left_out))}"


def _listed(places: list[str]) -> str:
    shown = places if len(places) <= _MOST_PLACES else [*places[: _MOST_PLACES - 1], "..."]
    return ", ".join(shown) or "nothing"

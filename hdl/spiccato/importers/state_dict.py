"""Networks from state dicts: tensors under PyTorch's names, in memory or from a file.

A state dict says nothing of what lies between its modules, and a file may not even keep their order. What names, order
and sizes leave no doubt about is taken; everything else is refused unless the user states the order of all modules,
with the activations that lie between.
What was assumed or stated is kept in :attr:`..network.Network.origin`.

What no state dict can tell is that ``forward`` applies a function without parameters, or adds the input to the result.
"""

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import ModelError
from ..layers import Layer
from ..network import Network
from .activations import Function, function_named
from .checkpoint import array_of, check_shape, tensors_of
from .cut import WHOLE, Cut, Refusal
from .state_modules import BUILDERS, SUPPORTED, StateModule, is_in_torch_order, modules_of

__all__ = ["network_from_state_dict"]

#: What a chain consists of: modules, and activations by the names under which they were stated.
_Link = StateModule | tuple[str, Function]


def network_from_state_dict(
    state: Mapping[str, Any],
    name: str = "network",
    *,
    layers: str | Sequence[str] | None = None,
    ordered: bool = True,
    stated_by: str = "layers",
    cut: Cut = WHOLE,
) -> Network:
    """The network in a state dict, or in a checkpoint that has one, or a part of it.

    Accepted are, under any names, one nn.LSTM, nn.GRU or cell of one; then one nn.Linear with a bias, or none. Their
    sizes have to admit no other order, and where the order is known, they have to come in this one. A recurrent module
    without biases has zeros for them. A tensor ``calibration`` becomes :attr:`Network.calibration`.

    Parameters
    ----------
    state : mapping
        PyTorch's name -> tensor or array of floating-point numbers; or a checkpoint that has such a mapping.
    name : str
        The network's name.
    layers : str or sequence of str, optional
        States the order in which data passes through the modules: the names of all of them, and of the activations that
        lie between ("relu", "leaky_relu=0.2"). A str separates them by commas. [default: what leaves no doubt]
    ordered : bool
        Whether ``state`` keeps the order in which PyTorch gave it. That is believed only as far as each recurrent
        module's own tensors are in PyTorch's order, too.
    stated_by : str
        What messages about ``layers`` call it.
    cut : Cut
        The part that is taken, from and to modules by their names; their order has to be known.

    Raises
    ------
    ModelError
        If there is doubt, naming the modules found and the ways out; or naming the tensor that is missing, unknown, of
        a wrong shape or type, or not finite.
    """
    tensors, key = tensors_of(state)
    for field, value in tensors.items():
        check_shape(field, value)
    calibration = tensors.pop("calibration", None)
    modules = modules_of(tensors)
    found = ", ".join(module.description for module in modules)
    if not modules:
        raise ModelError(f"network {name!r} has no layers; at least one LSTM, GRU or linear layer is needed")
    cut.check((one for module in modules for one in (module.label, module.name)), "module")
    ordered = ordered and is_in_torch_order(tensors)
    chain: Sequence[_Link]
    if layers is not None:
        chain, outside = _part(_stated(modules, layers, stated_by), cut)
        _require_known(chain, found, ())
        how = f"as stated by {stated_by}"
    else:
        if not ordered and list(cut.names()):
            raise ModelError(f"{cut}: the file does not keep the order of its modules; state it: --layers NAME,NAME")
        inside, outside = _part(modules, cut)
        others = _cuts(modules, cut) if ordered else []
        _require_known(inside, found, others)
        chain, doubt = _evident(inside, ordered)
        if doubt:
            raise Refusal(
                f"a state dict does not tell {doubt}; found, {'in this order' if ordered else 'in unknown order'}: "
                f"{found}. Give the module itself, an ONNX file or the names in the order of computation, with the "
                "activations between them (relu, leaky_relu=0.2): --layers NAME,NAME (in Python layers=)",
                others,
            )
        how = "in the order of its tensors" if ordered else "in the only order that names and sizes admit"
    modules = [link for link in chain if isinstance(link, StateModule)]
    for before, after in itertools.pairwise(modules):
        if before.layers[-1].output_size != after.layers[0].input_size:
            raise ModelError(
                f"{after.label} takes {after.layers[0].input_size} inputs; expected "
                f"{before.layers[-1].output_size}, the outputs of {before.label}; found: {found}"
            )
    source = "a state dict" if key is None else f"the state dict under {key!r}"
    return Network(
        tuple(_layers(chain, stated_by)),
        name,
        None if calibration is None else array_of("calibration", calibration),
        _origin(source, how, chain, cut, outside),
    )


def _origin(source: str, how: str, chain: Sequence[_Link], cut: Cut, outside: Sequence[_Link]) -> str:
    """One line on what was stated or assumed."""
    counts = [
        f"{_label(link)} ({len(link.layers)} layers)"
        if isinstance(link, StateModule) and len(link.layers) > 1
        else _label(link)
        for link in chain
    ]
    if list(cut.names()):
        left = ", ".join(map(_label, outside)) or "nothing"
        return f"taken from {source}, {how}: {', then '.join(counts)}; the part {cut}; outside stay: {left}"
    if len(chain) == 1:
        return f"taken from {source}: {counts[0]}; nothing before or after"
    return f"taken from {source}, {how}: {', then '.join(counts)}; nothing before, between or after"


def _label(link: _Link) -> str:
    return link.label if isinstance(link, StateModule) else link[0]


def _layers(chain: Sequence[_Link], stated_by: str) -> list[Layer]:
    layers: list[Layer] = []
    for link in chain:
        if isinstance(link, StateModule):
            layers += link.layers
        elif not layers:
            raise ModelError(f"{stated_by}: the activation {link[0]!r} comes before all modules; supported: behind one")
        else:
            layers[-1:] = link[1].behind(layers[-1])
    return layers


def _require_known(chain: Sequence[_Link], found: str, cuts: Sequence[Cut]) -> None:
    """Refuse modules that cannot be run."""
    strange = [link for link in chain if isinstance(link, StateModule) and link.kind not in BUILDERS]
    if strange:
        raise Refusal(
            f"{strange[0].description} is {strange[0].kind}; found: {found}; supported: {SUPPORTED}; the "
            "module itself or an ONNX file would tell what it does",
            cuts,
        )
    for link in chain:
        if isinstance(link, StateModule) and not link.layers:
            BUILDERS[link.kind](link)  # tells what its tensors lack


# Order.


def _part(chain: Sequence[Any], cut: Cut) -> tuple[list[Any], list[Any]]:
    """What of a chain lies between the ends of a cut, and what outside."""

    def place(end: str | None, otherwise: int) -> int:
        names = [(link.label, link.name) if isinstance(link, StateModule) else () for link in chain]
        return next((number for number, own in enumerate(names) if end in own), otherwise)

    first, last = place(cut.start, 0), place(cut.end, len(chain) - 1)
    if first > last:
        raise ModelError(f"{cut}: {cut.start} comes behind {cut.end}; supported: from one that comes before")
    return list(chain[first : last + 1]), [*chain[:first], *chain[last + 1 :]]


def _cuts(modules: Sequence[StateModule], cut: Cut) -> list[Cut]:
    """Parts of neighbouring modules that can be run, the longest first."""
    count = len(modules)
    cuts = [
        Cut(
            None if first == 0 else modules[first].label,
            None if first + size == count else modules[first + size - 1].label,
        )
        for size in range(count - 1, 0, -1)
        for first in range(count - size + 1)
        if all(module.layers for module in modules[first : first + size])
    ]
    return [one for one in cuts if one != cut]


def _evident(modules: Sequence[StateModule], ordered: bool) -> tuple[list[StateModule], str | None]:
    """The modules in the order in which data passes through them; or none, and what there is doubt about."""
    recurrent = [module for module in modules if module.kind != "linear"]
    linears = [module for module in modules if module.kind == "linear"]
    if len(recurrent) > 1:
        return [], f"in what order {_listed(recurrent)} come, and what lies between them"
    if not recurrent:
        return [], f"what lies before, between or behind {_listed(linears)}"
    (layer,) = recurrent
    inputs, hidden = layer.layers[0].input_size, layer.layers[-1].output_size
    # A list of cells may hold one, which no nn.Sequential can.
    if _has_number(re.sub(r"(^|\.)0$", "", layer.name) if layer.kind.endswith("Cell") else layer.name):
        return [], _hidden(layer)
    for linear in linears:
        if ordered and modules.index(linear) < modules.index(layer):
            return [], f"what {linear.label}, which comes before {layer.label}, does there"
    if len(linears) > 1:
        return [], f"what lies between {_listed(linears)}"
    for linear in linears:
        rows, columns = linear.layers[0].output_size, linear.layers[0].input_size
        if "bias" not in linear.fields:
            return [], f"whether {linear.label} is an nn.Embedding or an nn.Linear without bias"
        if _has_number(linear.name):
            return [], _hidden(linear)
        if columns != hidden:
            return (
                [],
                f"where {linear.label}, which takes {columns} inputs, fits: the last {layer.kind} layer gives {hidden}",
            )
        if rows == inputs:
            return [], f"whether {linear.label} is computed before or after {layer.label}: it fits both"
    return recurrent + linears, None


def _hidden(module: StateModule) -> str:
    return f"what else the container of {module.label} holds: activations leave no tensors"


def _listed(modules: Sequence[StateModule]) -> str:
    return " and ".join(module.label for module in modules)


def _has_number(name: str) -> bool:
    """Whether the name says that the module is in an nn.Sequential, nn.ModuleList or the like."""
    return any(part.isdigit() for part in name.split("."))


def _stated(modules: Sequence[StateModule], layers: str | Sequence[str], stated_by: str) -> list[_Link]:
    """The modules and activations in the order that the user states."""
    if not isinstance(layers, Sequence) or not all(isinstance(name, str) for name in layers):
        raise ModelError(f"{stated_by}: {layers!r} is no sequence of names; the state dict has {_every(modules)}")
    by_name = {module.name: module for module in modules} | {module.label: module for module in modules}
    chain: list[_Link] = []
    for name in [name.strip() for name in layers.split(",")] if isinstance(layers, str) else layers:
        module = by_name.get(name)
        if module is None and (function := _activation(name, stated_by)) is not None:
            chain.append((name, function))
            continue
        if module is None or module in chain:
            wrong = "unknown" if module is None else "there twice"
            raise ModelError(
                f"{stated_by}: {name!r} is {wrong}; the state dict has {_every(modules)}, each to be named once"
            )
        chain.append(module)
    if missing := [module.label for module in modules if module not in chain]:
        raise ModelError(
            f"{stated_by}: {', '.join(missing)} left out; the state dict has {_every(modules)}, each to be named once"
        )
    return chain


def _activation(text: str, stated_by: str) -> Function | None:
    """The activation that "relu" or "leaky_relu=0.2" states; None if there is none of that name."""
    name, _, parameter = text.partition("=")
    try:
        return function_named(name, float(parameter) if parameter else None)
    except ValueError as error:
        raise ModelError(f"{stated_by}: {text!r}: {error}") from None


def _every(modules: Sequence[StateModule]) -> str:
    return ", ".join(module.label for module in modules)

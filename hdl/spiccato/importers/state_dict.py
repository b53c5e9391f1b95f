"""Networks from state dicts: tensors under PyTorch's names, in memory or from a file.

A state dict says nothing of what lies between its modules, and a file may not even keep their order. What names, order
and sizes leave no doubt about is taken; everything else is refused unless the user states the order of all modules.
What was assumed or stated is kept in :attr:`..network.Network.origin`.

What no state dict can tell is that ``forward`` applies a function without parameters, or adds the input to the result.
"""

import itertools
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError
from ..layers import LinearLayer, LSTMLayer
from ..network import Network

__all__ = ["network_from_state_dict"]

SUPPORTED = "nn.LSTM layers (one direction, no projection), then nn.Linear layers, and 'calibration'"
TYPES = "floating-point numbers (float64, float32, float16 or bfloat16)"

#: Keys under which checkpoints keep the state dict.
CHECKPOINT_KEYS = ("state_dict", "model_state_dict", "model", "model_state", "net")

# Beside a state dict in a checkpoint: what belongs to the training, and copies of the same network.
_TRAINING = re.compile(r"optimi[sz]er|(?:^|_)(?:optims?|opt|(?:lr_?)?schedulers?|rngs?|random)(?:_|$)", re.IGNORECASE)
_COPIES = re.compile(r"(?:^|_)(?:ema|swa|avg|averaged?|shadow|best)(?:_|$)", re.IGNORECASE)

# Checkpoints in checkpoints are followed so far.
_MAX_DEPTH = 3

# Without a layer number, a field is of an nn.LSTMCell. h0_l0 and c0_l0 are no names of PyTorch's, but those under which
# a network's initial states are saved.
_LSTM_FIELD = re.compile(
    r"(?P<field>(?:weight|bias)_(?:ih|hh|hr)|[hc]0(?=_l))"
    r"(?:_l(?P<layer>0|[1-9][0-9]{0,3})(?P<reverse>_reverse)?)?"
)
_FIELD_ORDER = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "h0", "c0")


def network_from_state_dict(
    state: Mapping[str, Any],
    name: str = "network",
    *,
    layers: str | Sequence[str] | None = None,
    ordered: bool = True,
    stated_by: str = "layers",
) -> Network:
    """The network in a state dict, or in a checkpoint that has one.

    Accepted are, under any names, one nn.LSTM or one nn.LSTMCell; then one nn.Linear with a bias, or none. Their sizes
    have to admit no other order, and where the order is known, they have to come in this one. An LSTM without biases
    has zeros for them. A tensor ``calibration`` becomes :attr:`Network.calibration`.

    Parameters
    ----------
    state : mapping
        PyTorch's name -> tensor or array of floating-point numbers; or a checkpoint that has such a mapping.
    name : str
        The network's name.
    layers : str or sequence of str, optional
        States the order in which data passes through the modules, with nothing in between: the names of all of them,
        LSTM modules first. A str separates them by commas. [default: what leaves no doubt]
    ordered : bool
        Whether ``state`` keeps the order in which PyTorch gave it. That is believed only as far as each LSTM's own
        tensors are in PyTorch's order, too.
    stated_by : str
        What messages about ``layers`` call it.

    Raises
    ------
    ModelError
        If there is doubt, naming the modules found and the ways out; or naming the tensor that is missing, unknown, of
        a wrong shape or type, or not finite.
    """
    tensors, key = _tensors(state)
    for field, value in tensors.items():
        _check_shape(field, value)
    calibration = tensors.pop("calibration", None)
    modules = _modules(tensors)
    found = ", ".join(module.description for module in modules)
    if strange := [module for module in modules if module.kind not in _BUILDERS]:
        raise ModelError(
            f"{strange[0].description} is {strange[0].kind}; found: {found}; supported: {SUPPORTED}; the "
            "module itself or an ONNX file would tell what it does"
        )
    if not any(isinstance(module.layers[0], LSTMLayer) for module in modules):
        raise ModelError(
            f"network {name!r} has no LSTM layer{f'; found: {found}' * bool(found)}; at least one is needed"
        )
    if layers is not None:
        chain, how = _stated(modules, layers, stated_by), f"as stated by {stated_by}"
    else:
        ordered = ordered and _is_in_torch_order(tensors)
        chain, doubt = _evident(modules, ordered)
        if doubt:
            raise ModelError(
                f"a state dict does not tell {doubt}; found, {'in this order' if ordered else 'in unknown order'}: "
                f"{found}. Give the module itself, an ONNX file or, if nothing else lies between and LSTM layers come "
                "first, the names in the order of computation: --layers NAME,NAME (in Python layers=)"
            )
        how = "in the order of its tensors" if ordered else "in the only order that names and sizes admit"
    for before, after in itertools.pairwise(chain):
        if before.layers[-1].output_size != after.layers[0].input_size:
            raise ModelError(
                f"{after.label} takes {after.layers[0].input_size} inputs; expected "
                f"{before.layers[-1].output_size}, the outputs of {before.label}; found: {found}"
            )
    source = "a state dict" if key is None else f"the state dict under {key!r}"
    counts = [
        f"{module.label} ({len(module.layers)} layers)" if len(module.layers) > 1 else module.label for module in chain
    ]
    origin = (
        f"taken from {source}: {counts[0]}; nothing before or after"
        if len(chain) == 1
        else f"taken from {source}, {how}: {', then '.join(counts)}; nothing before, between or after"
    )
    return Network(
        tuple(layer for module in chain for layer in module.layers),
        name,
        None if calibration is None else _array("calibration", calibration),
        origin,
    )


# Tensors.


def _is_tensor(value: Any) -> bool:
    try:
        return hasattr(value, "dtype") and hasattr(value, "shape") and not isinstance(value, type)
    except Exception:  # nested tensors, and parameters of lazy modules: tensors without a shape
        return True


def _check_shape(key: str, value: Any) -> None:
    """Refuse a tensor that has no shape."""
    try:
        _shape(value)
    except Exception:  # of any kind: tensors of other packages, too
        raise ModelError(
            f"tensor {key!r} has no shape, as nested tensors and those of lazy modules that have not run; "
            "expected a dense one"
        ) from None


def _is_state_dict(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and len(value) > 0
        and all(isinstance(key, str) and _is_tensor(value[key]) for key in value)
    )


def _tensors(content: Mapping[Any, Any], depth: int = 0) -> tuple[dict[str, Any], str | None]:
    """The tensors of a state dict or checkpoint, and the checkpoint's key."""
    others = [key for key in content if not isinstance(key, str) or not _is_tensor(content[key])]
    if not others:
        return {key: content[key] for key in content}, None
    what = f"{others[0]!r} is a {type(content[others[0]]).__name__}"
    if any(isinstance(key, str) and _LSTM_FIELD.fullmatch(key.rpartition(".")[2]) for key in content):
        raise ModelError(f"{what}; expected a tensor under a name, as in model.state_dict()")
    found = [key for key in content if isinstance(key, str) and _is_state_dict(content[key])]
    known = [key for key in found if key in CHECKPOINT_KEYS]
    if len(found) == 1 or len(known) == 1:
        key = (known or found)[0]
        _check_rest(content, key, content[key])
        return dict(content[key]), key
    if found:
        names = ", ".join(map(repr, found))
        raise ModelError(
            f"a checkpoint with several state dicts, {names}; give one of them: "
            f"spiccato.load(torch.load(path, weights_only=True)[{found[0]!r}])"
        )
    inner = [key for key in CHECKPOINT_KEYS if isinstance(content.get(key), Mapping)]
    if len(inner) == 1 and depth < _MAX_DEPTH:
        try:
            tensors, _ = _tensors(content[inner[0]], depth + 1)
        except ModelError as error:
            raise ModelError(f"in {inner[0]!r}: {error}") from None
        _check_rest(content, inner[0], tensors)
        return tensors, inner[0]
    raise ModelError(
        f"{what}; expected a tensor, or a checkpoint with a state dict under one of the keys "
        f"{', '.join(CHECKPOINT_KEYS)}"
    )


def _check_rest(content: Mapping[Any, Any], taken: str, tensors: Mapping[str, Any]) -> None:
    """Refuse a checkpoint that has tensors beside those under ``taken``: parts of the network, or its constants."""
    rest = {key: value for key, value in content.items() if key != taken}
    if more := [key for key in rest if _has_tensors({key: rest[key]}, tensors)]:
        raise ModelError(
            f"a checkpoint with more than the state dict under {taken!r}: tensors under {', '.join(map(repr, more))}, "
            "too; expected one state dict of the whole model or, if they do not matter, "
            f"spiccato.load(torch.load(path, weights_only=True)[{taken!r}])"
        )


def _has_tensors(entries: Mapping[Any, Any], taken: Mapping[str, Any]) -> bool:
    """Whether tensors of more than one number are anywhere in entries that may matter beside the tensors ``taken``."""
    seen: dict[int, Any] = {}
    waiting: list[Any] = [entries]
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen[id(value)] = value
        if _is_tensor(value):
            try:
                if _shape(value):
                    return True
            except Exception:  # no shape: more than one number
                return True
        elif isinstance(value, Mapping):
            if not {"state", "param_groups"} <= value.keys():
                waiting += [one for key, one in value.items() if not _is_of_training(key, one, taken)]
        elif isinstance(value, list | tuple | set | frozenset):
            waiting += value
        elif hasattr(value, "state_dict"):
            return True
    return False


def _is_of_training(key: Any, value: Any, taken: Mapping[str, Any]) -> bool:
    """Whether an entry is of an optimiser or the like, or a copy of the tensors ``taken``."""
    if not isinstance(key, str):
        return False
    is_copy = isinstance(value, Mapping) and value.keys() == taken.keys() and _COPIES.search(key)
    return bool(_TRAINING.search(key) or is_copy)


def _array(key: str, value: Any) -> NDArray[Any]:
    """A tensor of any framework as an array of floating-point numbers."""
    torch = sys.modules.get("torch")
    try:
        if torch is not None and isinstance(value, torch.Tensor):
            value = _from_torch(torch, key, value)
        array = np.asarray(value)
    except ModelError:
        raise
    except Exception as error:  # of any kind: tensors of other packages read as they like
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(f"tensor {key!r} of type {value.dtype} cannot be read: {reason}") from None
    if array.dtype.kind != "f":
        raise ModelError(f"tensor {key!r} has type {value.dtype}; expected {TYPES}")
    return array


def _from_torch(torch: Any, key: str, value: Any) -> NDArray[Any]:
    if value.is_quantized:
        raise ModelError(
            f"tensor {key!r} is quantised ({value.dtype}); expected {TYPES}: those of the model before it "
            "was quantised, or .dequantize() of each"
        )
    if value.dtype not in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        raise ModelError(f"tensor {key!r} has type {value.dtype}; expected {TYPES}")
    if value.is_meta:
        raise ModelError(f"tensor {key!r} is on the device meta and has no values; expected one with values")
    if value.layout is not torch.strided:
        raise ModelError(f"tensor {key!r} is of layout {value.layout}; expected a dense one: .to_dense()")
    value = value.detach().cpu().resolve_neg()
    return (value.float() if value.dtype is torch.bfloat16 else value).numpy()


# Modules.


@dataclass(frozen=True, eq=False)
class _Module:
    """A module of a state dict.

    Attributes
    ----------
    name, label : str
        As in the tensors' names; and without what all names begin with.
    kind : str
        "LSTM", "LSTMCell", "linear", or what it probably is.
    fields : dict
        Name within the module -> tensor, as given.
    layers : tuple
        Its layers; none if it cannot be run.
    """

    name: str
    label: str
    kind: str
    fields: dict[str, Any]
    layers: tuple[LSTMLayer, ...] | tuple[LinearLayer] | tuple[()] = ()

    @property
    def description(self) -> str:
        """The module in a list."""
        if not self.layers:
            # What makes it strange first.
            fields = sorted(self.fields, key=lambda field: bool(_LSTM_FIELD.fullmatch(field)))
            shapes = [f"{_shown(field)} {_shape(self.fields[field])}" for field in fields]
            return f"{self.label} ({', '.join(shapes[:2])}{', ...' * (len(shapes) > 2)})"
        count = f", {len(self.layers)} layers" * (len(self.layers) > 1)
        bias = ", no bias" * (self.kind == "linear" and "bias" not in self.fields)
        return f"{self.label} ({self.kind}, {self.layers[0].input_size} to {self.layers[-1].output_size}{count}{bias})"


def _modules(tensors: Mapping[str, Any]) -> list[_Module]:
    """The modules in the order in which their first tensors come."""
    fields: dict[str, dict[str, Any]] = {}
    for key, value in tensors.items():
        module, _, field = key.rpartition(".")
        fields.setdefault(module, {})[field] = value
    labels = _labels(list(fields))
    modules = [_Module(name, label, _kind(name, fields[name]), fields[name]) for name, label in zip(fields, labels)]
    strange = any(module.kind not in _BUILDERS for module in modules)
    return [_built(module, strange) for module in modules]


def _built(module: _Module, lenient: bool) -> _Module:
    """A module with its layers; if ``lenient``, without any where its tensors make none."""
    if module.kind not in _BUILDERS:
        return module
    try:
        return replace(module, layers=_BUILDERS[module.kind](module))
    except ModelError:
        if lenient:
            return module
        raise


def _labels(names: Sequence[str]) -> list[str]:
    """Names without what wrappers put before all of them (``module.``, ``_orig_mod.``, ``model.``)."""
    paths = [name.split(".") for name in names]
    # The names of containers stay: a number alone says little.
    while paths and all(
        len(path) > 1 and path[0] == paths[0][0] and not path[0].isdigit() and not path[1].isdigit() for path in paths
    ):
        paths = [path[1:] for path in paths]
    return [_shown(".".join(path)) for path in paths]


def _shown(name: str) -> str:
    """A name as it can stand in a line."""
    return name if re.fullmatch(r"[\w.-]+", name) else repr(name) if name else "(root)"


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(map(int, value.shape))


def _kind(name: str, fields: Mapping[str, Any]) -> str:
    """What kind of module has these fields."""
    matches = [_LSTM_FIELD.fullmatch(field) for field in fields]
    weight = _shape(fields["weight"]) if "weight" in fields else None
    if all(matches):
        if len({match["layer"] is None for match in matches if match}) == 1:
            return "LSTM" if matches[0]["layer"] else "LSTMCell"  # type: ignore[index]
        return "of an unknown kind"
    if fields.keys() <= {"weight", "bias"} and (weight is None or len(weight) == 2):
        return "linear"
    if any(field.startswith(("running_", "num_batches_")) for field in fields):
        return "probably a batch normalisation"
    if ".parametrizations." in f".{name}." or any(field.endswith(("_g", "_v", "_orig", "_mask")) for field in fields):
        return "probably of weight normalisation, pruning or the like, to be removed before saving"
    if any(field.startswith("in_proj") for field in fields):
        return "probably an attention layer"
    if weight is not None and len(weight) == 1:
        return "probably a normalisation, or an activation with weights"
    if weight is not None and len(weight) > 2:
        return "probably a convolution"
    return "of an unknown kind"


def _lstm(module: _Module) -> tuple[LSTMLayer, ...]:
    numbers: dict[int, dict[str, Any]] = {}
    for field, value in module.fields.items():
        match = _LSTM_FIELD.fullmatch(field)
        assert match is not None
        if match["reverse"]:
            raise ModelError(f"tensor {_key(module, field)!r} is of a bidirectional LSTM; supported: {SUPPORTED}")
        numbers.setdefault(int(match["layer"]), {})[match["field"]] = value
    if missing := set(range(len(numbers))) - set(numbers):
        raise ModelError(f"tensor {_key(module, f'weight_ih_l{min(missing)}')!r} is missing")
    layers = tuple(_layer(LSTMLayer, module, f"_l{k}", numbers[k]) for k in sorted(numbers))
    _check_biases(module, [f"_l{k}" for k in sorted(numbers)])
    return layers


def _check_biases(module: _Module, suffixes: Sequence[str]) -> None:
    """Refuse an LSTM some of whose biases are missing."""
    biases = [field + suffix for suffix in suffixes for field in ("bias_ih", "bias_hh")]
    missing = [field for field in biases if field not in module.fields]
    if 0 < len(missing) < len(biases):
        raise ModelError(f"tensor {_key(module, missing[0])!r} is missing; expected all biases of an LSTM, or none")


def _cell(module: _Module) -> tuple[LSTMLayer, ...]:
    layer = _layer(LSTMLayer, module, "", module.fields)
    _check_biases(module, [""])
    return (layer,)


def _linear(module: _Module) -> tuple[LinearLayer]:
    return (_layer(LinearLayer, module, "", module.fields),)


_BUILDERS: dict[str, Callable[[_Module], tuple[LSTMLayer, ...] | tuple[LinearLayer]]] = {
    "LSTM": _lstm,
    "LSTMCell": _cell,
    "linear": _linear,
}


def _key(module: _Module, field: str) -> str:
    return f"{module.name}.{field}" if module.name else field


def _layer(kind: Any, module: _Module, suffix: str, fields: Mapping[str, Any]) -> Any:
    """``kind(**fields)``, its errors quoting the tensors' full names."""
    for field in ("weight",) if kind is LinearLayer else ("weight_ih", "weight_hh"):
        if field not in fields:
            raise ModelError(f"tensor {_key(module, field + suffix)!r} is missing")
    if "weight_hr" in fields:
        raise ModelError(
            f"tensor {_key(module, f'weight_hr{suffix}')!r} is of an LSTM with proj_size; supported: {SUPPORTED}"
        )
    if "bias_hr" in fields:
        raise ModelError(f"tensor {_key(module, f'bias_hr{suffix}')!r} is unknown; supported: {SUPPORTED}")
    arrays = {field: _array(_key(module, field + suffix), value) for field, value in fields.items()}
    try:
        return kind(**arrays)
    except ModelError as error:
        # The message starts with the field's name: make that the tensor's.
        field, rest = re.match(r"(\w+)(.*)", str(error), re.DOTALL).groups()  # type: ignore[union-attr]
        raise ModelError(f"tensor {_key(module, field + suffix)!r}{rest}") from None


# Order.


def _is_in_torch_order(tensors: Mapping[str, Any]) -> bool:
    """Whether the tensors of every LSTM come together and in PyTorch's order, so that nothing has sorted them."""
    seen: list[tuple[str, int, int]] = []
    for key in tensors:
        module, _, field = key.rpartition(".")
        if match := _LSTM_FIELD.fullmatch(field):
            seen.append((module, int(match["layer"] or 0), _FIELD_ORDER.index(match["field"])))
    firsts = {module: number for number, module in enumerate(dict.fromkeys(module for module, _, _ in seen))}
    places = [(firsts[module], layer, field) for module, layer, field in seen]
    return places == sorted(places)


def _evident(modules: Sequence[_Module], ordered: bool) -> tuple[list[_Module], str | None]:
    """The modules in the order in which data passes through them; or none, and what there is doubt about."""
    lstms = [module for module in modules if module.kind != "linear"]
    linears = [module for module in modules if module.kind == "linear"]
    if len(lstms) > 1:
        return [], f"in what order {_listed(lstms)} come, and what lies between them"
    (lstm,) = lstms
    inputs, hidden = lstm.layers[0].input_size, lstm.layers[-1].output_size
    # A list of cells may hold one, which no nn.Sequential can.
    if _has_number(re.sub(r"(^|\.)0$", "", lstm.name) if lstm.kind == "LSTMCell" else lstm.name):
        return [], _hidden(lstm)
    for linear in linears:
        if ordered and modules.index(linear) < modules.index(lstm):
            return [], f"what {linear.label}, which comes before {lstm.label}, does there"
    if len(linears) > 1:
        return [], f"what lies between {_listed(linears)}"
    for linear in linears:
        rows, columns = linear.layers[0].output_size, linear.layers[0].input_size
        if "bias" not in linear.fields:
            return [], f"whether {linear.label} is an nn.Embedding or an nn.Linear without bias"
        if _has_number(linear.name):
            return [], _hidden(linear)
        if columns != hidden:
            return [], f"where {linear.label}, which takes {columns} inputs, fits: the last LSTM layer gives {hidden}"
        if rows == inputs:
            return [], f"whether {linear.label} is computed before or after {lstm.label}: it fits both"
    return lstms + linears, None


def _hidden(module: _Module) -> str:
    return f"what else the container of {module.label} holds: activations leave no tensors"


def _listed(modules: Sequence[_Module]) -> str:
    return " and ".join(module.label for module in modules)


def _has_number(name: str) -> bool:
    """Whether the name says that the module is in an nn.Sequential, nn.ModuleList or the like."""
    return any(part.isdigit() for part in name.split("."))


def _stated(modules: Sequence[_Module], layers: str | Sequence[str], stated_by: str) -> list[_Module]:
    """The modules in the order that the user states."""
    if not isinstance(layers, Sequence) or not all(isinstance(name, str) for name in layers):
        raise ModelError(f"{stated_by}: {layers!r} is no sequence of names; the state dict has {_every(modules)}")
    by_name = {module.name: module for module in modules} | {module.label: module for module in modules}
    chain: list[_Module] = []
    for name in [name.strip() for name in layers.split(",")] if isinstance(layers, str) else layers:
        module = by_name.get(name)
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
    for before, after in itertools.pairwise(chain):
        if before.kind == "linear" and after.kind != "linear":
            raise ModelError(
                f"{stated_by}: the linear layer {before.label} comes before {after.label}; supported: "
                "LSTM layers first, then linear layers"
            )
    return chain


def _every(modules: Sequence[_Module]) -> str:
    return ", ".join(module.label for module in modules)

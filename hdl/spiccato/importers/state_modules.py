"""The modules of a state dict: of what kind each one probably is, and its layers if it can be run."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..errors import ModelError
from ..layers import GRULayer, Layer, LinearLayer, LSTMLayer
from .checkpoint import RECURRENT_FIELD, array_of, shape_of

__all__ = ["BUILDERS", "SUPPORTED", "StateModule", "is_in_torch_order", "modules_of"]

SUPPORTED = "nn.LSTM and nn.GRU layers (one direction, no projection), nn.Linear layers, and 'calibration'"

_FIELD_ORDER = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "h0", "c0")


@dataclass(frozen=True, eq=False)
class StateModule:
    """A module of a state dict.

    Attributes
    ----------
    name, label : str
        As in the tensors' names; and without what all names begin with.
    kind : str
        "LSTM", "LSTMCell", "GRU", "GRUCell", "linear", or what it probably is.
    fields : dict
        Name within the module -> tensor, as given.
    layers : tuple
        Its layers; none if it cannot be run.
    """

    name: str
    label: str
    kind: str
    fields: dict[str, Any]
    layers: tuple[Layer, ...] = ()

    @property
    def description(self) -> str:
        """The module in a list."""
        if not self.layers:
            # What makes it strange first.
            fields = sorted(self.fields, key=lambda field: bool(RECURRENT_FIELD.fullmatch(field)))
            shapes = [f"{_shown(field)} {shape_of(self.fields[field])}" for field in fields]
            return f"{self.label} ({', '.join(shapes[:2])}{', ...' * (len(shapes) > 2)})"
        count = f", {len(self.layers)} layers" * (len(self.layers) > 1)
        bias = ", no bias" * (self.kind == "linear" and "bias" not in self.fields)
        return f"{self.label} ({self.kind}, {self.layers[0].input_size} to {self.layers[-1].output_size}{count}{bias})"


def modules_of(tensors: Mapping[str, Any]) -> list[StateModule]:
    """The modules in the order in which their first tensors come."""
    fields: dict[str, dict[str, Any]] = {}
    for key, value in tensors.items():
        module, _, field = key.rpartition(".")
        fields.setdefault(module, {})[field] = value
    labels = _labels(list(fields))
    modules = [StateModule(name, label, _kind(name, fields[name]), fields[name]) for name, label in zip(fields, labels)]
    strange = any(module.kind not in BUILDERS for module in modules)
    return [_built(module, strange) for module in modules]


def _built(module: StateModule, lenient: bool) -> StateModule:
    """A module with its layers; if ``lenient``, without any where its tensors make none."""
    if module.kind not in BUILDERS:
        return module
    try:
        return replace(module, layers=BUILDERS[module.kind](module))
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


def _kind(name: str, fields: Mapping[str, Any]) -> str:
    """What kind of module has these fields."""
    matches = [RECURRENT_FIELD.fullmatch(field) for field in fields]
    weight = shape_of(fields["weight"]) if "weight" in fields else None
    if all(matches):
        if len({match["layer"] is None for match in matches if match}) == 1:
            return _cell_kind(fields) + ("" if matches[0]["layer"] else "Cell")  # type: ignore[index]
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


def _cell_kind(fields: Mapping[str, Any]) -> str:
    """GRU if the matrices are those of three gates, else LSTM, which tells what is wrong with others."""
    for field, value in fields.items():
        shape = shape_of(value)
        if field.startswith("weight_hh") and len(shape) == 2 and shape[0] == 3 * shape[1]:
            return "GRU"
    return "LSTM"


def _recurrent(module: StateModule) -> tuple[Layer, ...]:
    numbers: dict[int, dict[str, Any]] = {}
    for field, value in module.fields.items():
        match = RECURRENT_FIELD.fullmatch(field)
        assert match is not None
        if match["reverse"]:
            raise ModelError(
                f"tensor {_key(module, field)!r} is of a bidirectional {module.kind}; supported: {SUPPORTED}"
            )
        numbers.setdefault(int(match["layer"]), {})[match["field"]] = value
    if missing := set(range(len(numbers))) - set(numbers):
        raise ModelError(f"tensor {_key(module, f'weight_ih_l{min(missing)}')!r} is missing")
    layers = tuple(_layer(_RECURRENT[module.kind], module, f"_l{k}", numbers[k]) for k in sorted(numbers))
    _check_biases(module, [f"_l{k}" for k in sorted(numbers)])
    return layers


def _with_article(module: StateModule) -> str:
    kind = module.kind.removesuffix("Cell")
    return f"{'an' if kind == 'LSTM' else 'a'} {kind}"


def _check_biases(module: StateModule, suffixes: Sequence[str]) -> None:
    """Refuse a module some of whose biases are missing."""
    biases = [field + suffix for suffix in suffixes for field in ("bias_ih", "bias_hh")]
    missing = [field for field in biases if field not in module.fields]
    if 0 < len(missing) < len(biases):
        raise ModelError(
            f"tensor {_key(module, missing[0])!r} is missing; expected all biases of {_with_article(module)}, or none"
        )


def _cell(module: StateModule) -> tuple[Layer, ...]:
    layer = _layer(_RECURRENT[module.kind.removesuffix("Cell")], module, "", module.fields)
    _check_biases(module, [""])
    return (layer,)


def _linear(module: StateModule) -> tuple[LinearLayer]:
    return (_layer(LinearLayer, module, "", module.fields),)


_RECURRENT: dict[str, type[LSTMLayer] | type[GRULayer]] = {"LSTM": LSTMLayer, "GRU": GRULayer}

#: Kind of a module -> its layers.
BUILDERS: dict[str, Callable[[StateModule], tuple[Layer, ...]]] = {
    "LSTM": _recurrent,
    "LSTMCell": _cell,
    "GRU": _recurrent,
    "GRUCell": _cell,
    "linear": _linear,
}


def _key(module: StateModule, field: str) -> str:
    return f"{module.name}.{field}" if module.name else field


def _layer(kind: Any, module: StateModule, suffix: str, fields: Mapping[str, Any]) -> Any:
    """``kind(**fields)``, its errors quoting the tensors' full names."""
    for field in ("weight",) if kind is LinearLayer else ("weight_ih", "weight_hh"):
        if field not in fields:
            raise ModelError(f"tensor {_key(module, field + suffix)!r} is missing")
    if "weight_hr" in fields:
        raise ModelError(
            f"tensor {_key(module, f'weight_hr{suffix}')!r} is of {_with_article(module)} with proj_size; supported: "
            f"{SUPPORTED}"
        )
    if "bias_hr" in fields:
        raise ModelError(f"tensor {_key(module, f'bias_hr{suffix}')!r} is unknown; supported: {SUPPORTED}")
    arrays = {field: array_of(_key(module, field + suffix), value) for field, value in fields.items()}
    try:
        return kind(**arrays)
    except ModelError as error:
        # The message starts with the field's name: make that the tensor's.
        field, rest = re.match(r"(\w+)(.*)", str(error), re.DOTALL).groups()  # type: ignore[union-attr]
        raise ModelError(f"tensor {_key(module, field + suffix)!r}{rest}") from None


def is_in_torch_order(tensors: Mapping[str, Any]) -> bool:
    """Whether each recurrent module's tensors come together, in PyTorch's order, so that nothing has sorted them."""
    seen: list[tuple[str, int, int]] = []
    for key in tensors:
        module, _, field = key.rpartition(".")
        if match := RECURRENT_FIELD.fullmatch(field):
            seen.append((module, int(match["layer"] or 0), _FIELD_ORDER.index(match["field"])))
    firsts = {module: number for number, module in enumerate(dict.fromkeys(module for module, _, _ in seen))}
    places = [(firsts[module], layer, field) for module, layer, field in seen]
    return places == sorted(places)

"""The compiler: networks and a configuration in, a program out. A row of passes, each in its own file."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from ..config import Config
from ..errors import FitError, SpiccatoError
from ..layers import LoweredLayer
from ..network import Network
from ..program import LayerPlace, Model, Program, StateName
from ..program.halves import recurrent_sums
from ..rtl.accelerator import Timing
from .check import check_schedule
from .fit import fit_error, fitting_schedule, shared_formats, weight_formats
from .images import WeightMemory, encode
from .layout import Layout
from .link import link
from .lower import lower
from .quantise import quantise

__all__ = ["compile_network", "compile_program"]


def compile_network(
    network: Network, config: Config, *, weight_format: str | Sequence[str] = "auto", feedback: bool = True
) -> Model:
    """Compile ``network`` for ``config``, by itself; :func:`.link` makes a program of it.

    Parameters
    ----------
    network : spiccato.network.Network
    config : spiccato.config.Config
    weight_format : str or sequence of str
        "int16"; "int8" (LSTM layers; the linear layer keeps 16 bits); one of these for each LSTM layer and for the
        linear layer; or "auto": 16 bits where they fit, the largest layers at 8 bits where they do not. With 9x9
        multipliers all layers have the one format that these take, or are told to be "wide": their input matrices are
        then multiplied in three passes, with weights and vector elements of 16 bits or more.
    feedback : bool
        With calibration inputs, round weights of 8 or 9 bits such that the sums on these inputs are off least; else to
        the nearest.

    Returns
    -------
    Model
        With ``notes`` on what may be less accurate than usual.

    Raises
    ------
    FitError
        If the network does not fit: with what it needs, what there is, and what would fit.
    """
    _check_results(network, config)
    lowered = lower(network)
    layout, timing = Layout(lowered, config), Timing(config)
    formats = weight_formats(layout, weight_format)
    layout, plan, short = fitting_schedule(layout, formats, timing)
    if plan is None or short:
        raise fit_error(network.name, lowered, layout, weight_format, short)
    check_schedule(plan, layout, timing)
    integers = quantise(network, lowered, layout, formats, feedback=feedback)
    memory = WeightMemory(layout, formats)
    model = Model(
        name=network.name,
        config=config,
        input_size=network.input_size,
        output_size=network.output_size,
        outputs=network.output_parts,
        layers=tuple(
            LayerPlace(
                kind=layer.kind.kind,
                units=layer.units,
                reads=layer.reads,
                cells=layer.units * layer.kind.has_state,
                state_is_h=layer.kind.state_is_h,
                first_block=layer.first_block,
                first_slot=layer.first_slot,
                slots=layer.slots,
                turns=layer.turns,
                activation=low.activation,
                recurrent=layer.recurrent is not None,
            )
            for layer, low in zip(layout.hidden, lowered)
        ),
        output_reads=layout.output.reads,
        weight_formats=tuple(formats),
        output_frac_bits=integers.output_frac_bits,
        spaced_latency=plan.spaced_latency,
        initiation_interval=plan.initiation_interval,
        critical_mac_bound=_mac_bound(layout, lowered, critical=True),
        full_mac_bound=_mac_bound(layout, lowered, critical=False),
        weights=memory.image(integers.mantissas),
        shifts=integers.shifts,
        biases=integers.biases,
        log2_scales=np.concatenate([low.log2_scales.astype(np.int8) for low in lowered[:-1]]),
        adjust=layout.columns(integers.scale.adjust.astype(np.int16), layout.input_blocks),
        enable=layout.columns(np.ones(network.input_size, dtype=np.uint8), layout.input_blocks),
        initial_h=np.zeros(0, dtype=np.int64),
        initial_sums=np.zeros((0, config.cores, config.block), dtype=np.int64),
        initial_c=np.zeros((0, config.cores, config.lanes), dtype=np.int64),
        words=encode(layout, plan, memory),
        states=_state_names(network),
        notes=tuple(integers.notes),
        origin=network.origin,
    )
    if not layout.has_initial:
        return model
    return dataclasses.replace(
        model,
        initial_h=np.concatenate(integers.initial_h),
        initial_sums=recurrent_sums(model, integers.initial_h),
        initial_c=model.dealt(integers.initial_c),
    )


def _check_results(network: Network, config: Config) -> None:
    """Refuse a network that gives h beside its output, if contexts do not keep it."""
    for state in network.states:
        kept_as_c = network.stateful_layers[state.layer].state_is_h
        if state.result and state.kind == "h" and not (config.keep_h or kept_as_c):
            raise FitError(
                f"network {network.name!r} gives {state.name!r}, h of layer {state.layer}, besides its output, and "
                f"configuration {config.name!r} does not keep h: needs keep_h=True, with which a context's states() "
                "has it; or rows of an identity in the linear layer, which make it a part of the output"
            )


def _state_names(network: Network) -> tuple[StateName, ...]:
    """Names for h and c of all layers that have a state: the model's own, or ``h_l0``, ``c_l0`` and so on."""
    states = list(network.states)
    known = {(state.kind, state.layer) for state in states}
    for number, layer in enumerate(network.stateful_layers):
        for kind in layer.state_kinds:
            if (kind, number) not in known:
                name = f"{kind}_l{number}"
                while any(state.name == name for state in states):
                    name += "_"
                states.append(StateName(name, kind, number))
    return tuple(states)


def compile_program(
    networks: Sequence[Network],
    config: Config,
    *,
    contexts: int | Sequence[int] = 1,
    weight_formats: str | Sequence[str | Sequence[str]] = "auto",
    name: str | None = None,
) -> Program:
    """Compile networks that are loaded together.

    Parameters
    ----------
    networks : sequence of Network
        A packet names one by its number.
    config : Config
    contexts : int or sequence of int
        How many streams each network has, of a state each.
    weight_formats : str or sequence
        "int16", "int8" or "auto" for all networks, or for each what :func:`compile_network` takes. Of those that are
        "auto", the largest layers have 8 bits where not all fit.
    name : str, optional
        Of the program. [default: the networks' names, with a ``+`` in between]

    Returns
    -------
    Program

    Raises
    ------
    FitError
        If a network alone, or all together, do not fit: with what they need, what there is, and what would fit.
    """
    wanted: list[str | Sequence[str]]
    if isinstance(weight_formats, str):
        wanted = [weight_formats] * len(networks)
    else:
        wanted = list(weight_formats)
    if len(wanted) != len(networks):
        raise SpiccatoError(f"{len(wanted)} weight formats for {len(networks)} networks; expected one for each")
    if len(networks) == 1:
        models = [compile_network(networks[0], config, weight_format=wanted[0])]
    else:
        formats = shared_formats([Layout(lower(network), config) for network in networks], wanted)
        models = [compile_network(network, config, weight_format=own) for network, own in zip(networks, formats)]
    return link(models, contexts=contexts, name=name)


def _mac_bound(layout: Layout, lowered: Sequence[LoweredLayer], *, critical: bool) -> int:
    """Cycles with every multiplier busy: each matrix's multiplications, in all passes, over the multipliers."""
    macs = [
        matrix.size * len(place.passes)
        for layer, placed in zip(lowered, layout.layers)
        for matrix, place in zip(layer.matrices[: 1 if critical else None], placed.matrices)
    ]
    return sum(-(-m // layout.config.multipliers) for m in macs)

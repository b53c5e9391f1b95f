"""The compiler: a network and a configuration in, a program out. A row of passes, each in its own file."""

from collections.abc import Sequence

import numpy as np

from ..config import Config
from ..layers import LoweredLayer
from ..network import Network
from ..program import LayerPlace, Program
from ..rtl.accelerator import Timing
from .check import check_schedule
from .fit import fit_error, fitting_schedule, weight_formats
from .images import WeightMemory, encode
from .layout import Layout
from .lower import lower
from .quantise import quantise

__all__ = ["compile_network"]


def compile_network(network: Network, config: Config, *, weight_format: str | Sequence[str] = "auto") -> Program:
    """Compile ``network`` for ``config``.

    Parameters
    ----------
    network : spiccato.network.Network
    config : spiccato.config.Config
    weight_format : str or sequence of str
        "int16"; "int8" (LSTM layers; the linear layer keeps 16 bits); one of these for each LSTM layer and for the
        linear layer; or "auto": 16 bits where they fit, the largest layers at 8 bits where they do not.

    Returns
    -------
    Program
        With ``notes`` on what may be less accurate than usual.

    Raises
    ------
    FitError
        If the network does not fit: with what it needs, what there is, and what would fit.
    """
    lowered = lower(network)
    layout, timing = Layout(lowered, config), Timing(config)
    formats = weight_formats(layout, weight_format)
    plan, short = fitting_schedule(layout, formats, timing)
    if plan is None or short:
        raise fit_error(network.name, lowered, layout, weight_format, short)
    check_schedule(plan, layout, timing)
    integers = quantise(network, lowered, layout, formats)
    memory = WeightMemory(layout, formats)
    words, body = encode(layout, plan, memory, timing)
    return Program(
        name=network.name,
        config=config,
        input_size=network.input_size,
        output_size=network.output_size,
        layers=tuple(
            LayerPlace(
                kind=layer.kind.kind,
                units=layer.units,
                cells=layer.units * layer.kind.has_state,
                first_block=layer.first_block,
                first_slot=layer.first_slot,
                slots=layer.slots,
            )
            for layer in layout.hidden
        ),
        weight_formats=tuple(formats),
        output_frac_bits=integers.output_frac_bits,
        body=body,
        spaced_latency=plan.spaced_latency,
        initiation_interval=plan.initiation_interval,
        critical_mac_bound=_mac_bound(lowered, config, critical=True),
        full_mac_bound=_mac_bound(lowered, config, critical=False),
        weights=memory.image(integers.mantissas),
        shifts=integers.shifts,
        biases=integers.biases,
        adjust=layout.columns(integers.scale.adjust.astype(np.int16), layout.input_blocks),
        enable=layout.columns(np.ones(network.input_size, dtype=np.uint8), layout.input_blocks),
        words=words,
        notes=tuple(integers.notes),
    )


def _mac_bound(lowered: Sequence[LoweredLayer], config: Config, *, critical: bool) -> int:
    """Cycles with every multiplier busy: each matrix's multiplications over the multipliers, rounded up."""
    macs = [matrix.size for layer in lowered for matrix in (layer.matrices[:1] if critical else layer.matrices)]
    return sum(-(-m // config.multipliers) for m in macs)

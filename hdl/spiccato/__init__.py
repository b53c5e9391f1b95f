"""Spiccato: an open LSTM accelerator for FPGAs, its compiler and its Verilog generator.

From a trained model to a program for the accelerator::

    import spiccato

    network = spiccato.load("model.onnx")  # or .pt, .safetensors, .keras, a torch.nn.Module, a state dict
    program = spiccato.compile(network, board="ia420f")
    program.save("model.spiccato")

The models of the hardware are in :mod:`spiccato_sim`.
"""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .config import Config
from .errors import SpiccatoError
from .importers import load_network as load
from .network import Network
from .registry import Target, configuration, targets

if TYPE_CHECKING:
    from .program import Program

__all__ = ["Config", "Network", "SpiccatoError", "Target", "compile", "configuration", "load", "targets"]


def compile(
    network: Network | Any,
    *more: Network | Any,
    board: str | os.PathLike | Target | None = None,
    config: Config | None = None,
    weights: Any = "auto",
    io_format: str | None = None,
    profile: str | None = None,
    contexts: int | Sequence[int] = 1,
) -> "Program":
    """Compile a network, or several that are loaded together, for a board or a configuration.

    Parameters
    ----------
    network, *more : Network, or whatever :func:`load` takes
    board : str, path or Target
        Name of a board (:func:`spiccato.registry.targets` has them all), or its file. Either this or ``config`` has
        to be given.
    config : Config
    weights : str or sequence of str
        "int16", "int8", "wide", "auto" or one format for each layer; of several networks one of these for all, or a
        sequence with an entry for each. See :func:`spiccato.compiler.compile_program`.
    io_format : "bfloat16" or "float32", optional
        Values on the streams, with ``board``. [default: the board's own]
    profile : str, optional
        Which optional pipeline registers the hardware has, with ``board``: "aggressive", the fewest cycles, or
        "conservative". [default: the board's own]
    contexts : int or sequence of int
        How many streams each network has, of a state each.

    Returns
    -------
    Program
        Its ``models`` have predicted latencies in cycles; ``program.save(path)`` writes it.

    Raises
    ------
    SpiccatoError
        If the board or profile is unknown, the model cannot be imported, or it does not fit: what it needs, and what
        would fit.
    TypeError
        If not exactly one of ``board`` and ``config`` is given.
    """
    from .compiler import compile_program

    if board is not None and config is None:
        config = configuration(board, io_format, profile)
    elif board is not None or config is None:
        raise TypeError("compile() takes either board or config")
    formats = weights if more or isinstance(weights, str) else [weights]
    networks = [load(one) for one in (network, *more)]
    return compile_program(networks, config, contexts=contexts, weight_formats=formats)

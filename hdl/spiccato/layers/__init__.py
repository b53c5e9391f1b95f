"""Kinds of layers, a file each: what a layer of a kind is, how it computes, and how it lies on the hardware.

Kinds are found by name in :data:`KINDS`, where :func:`register` puts them. A kind whose results are vectors also names
the *epilogue* that takes its finished sums to them (:mod:`spiccato.rtl.epilogue`).
"""

from .activations import ACTIVATIONS, Activation
from .arithmetic import EXACT, Rounding, sigmoid
from .dense import DenseLayer
from .gru import GRULayer
from .layer import KINDS, Layer, LoweredLayer, Step, kind_named, register
from .linear import LinearLayer
from .lstm import LSTMLayer

__all__ = [
    "ACTIVATIONS",
    "Activation",
    "DenseLayer",
    "EXACT",
    "GRULayer",
    "KINDS",
    "LSTMLayer",
    "Layer",
    "LinearLayer",
    "LoweredLayer",
    "Rounding",
    "Step",
    "kind_named",
    "register",
    "sigmoid",
]

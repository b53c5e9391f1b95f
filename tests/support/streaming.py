"""Streams that take turns on one accelerator, to be compared with a framework that steps each by itself."""

import dataclasses

import numpy as np

from programs import CONFIG
from spiccato.compiler import compile_program
from spiccato_sim.models.bfloat16 import BFloat16Pipeline
from spiccato_sim.models.vm import VirtualMachine

__all__ = ["OF_ALL_KINDS", "WIDE", "assert_accurate", "turns"]

WIDE = dataclasses.replace(CONFIG, name="wide", block=16, columns=16, io_format="float32")
#: The same with every kind of layer.
OF_ALL_KINDS = dataclasses.replace(WIDE, name="wide_of_all_kinds", epilogues=("lstm", "gru", "dense"))
#: Largest RMS error of 16-bit weights, as a multiple of a bfloat16 pipeline's.
BAR = 1 / 20


def turns(xs, seed=0):
    """(stream, x) of all inputs (streams, steps, features): each stream's in order, the streams mixed at random."""
    left = [iter(stream) for stream in xs]
    order = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(xs)), len(xs[0])))
    return [(int(stream), next(left[stream])) for stream in order]


def assert_accurate(network, xs, expected, config=WIDE):
    """Contexts that take turns give what is expected (streams, steps, outputs), as exactly as 16-bit weights do."""
    machine = VirtualMachine(compile_program([network], config, contexts=len(xs), weight_formats="int16"))
    ys = [[] for _ in xs]
    for stream, x in turns(xs):
        ys[stream].append(machine.step(x, stream=stream))
    bfloat16 = np.array([BFloat16Pipeline(network).run(x) for x in xs])
    assert _rms(np.array(ys) - expected) <= BAR * _rms(bfloat16 - expected)


def _rms(errors):
    return float(np.sqrt(np.mean(np.square(errors))))

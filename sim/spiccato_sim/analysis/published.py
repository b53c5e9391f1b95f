"""The published figures of the closed product that the benchmark compares with.

They are in ``data/published_latency.csv``, ``data/published_io.csv`` and ``data/published_resources.csv``, whose
first lines tell where they come from. The documentation has been published several times; comparisons of latency
use the newest version of each board and model.

A published latency goes from host to host over PCIe. What the accelerator itself takes is that less the
round trip without any compute, published for the same number of input bytes; rounding of both leaves it
uncertain by 0.1 us.
"""

import csv
import functools
import importlib.resources
import re
from dataclasses import dataclass

import numpy as np

__all__ = ["PublishedLatency", "boards", "latency", "resources", "round_trip_us", "compute_us", "source"]

_LATENCY, _IO, _RESOURCES = "published_latency.csv", "published_io.csv", "published_resources.csv"


@dataclass(frozen=True)
class PublishedLatency:
    """One row of the latency tables: mean and 99th percentile, and the version of the documentation."""

    mean_us: float
    p99_us: float
    version: str


def _lines(file):
    text = importlib.resources.files(__package__).joinpath("data", file).read_text(encoding="utf-8")
    return text.splitlines()


def source(file=_LATENCY):
    """What the first lines of one of the data files say of its origin."""
    return " ".join(line.removeprefix("#").strip() for line in _lines(file) if line.startswith("#"))


def _rows(file):
    return list(csv.DictReader(line for line in _lines(file) if not line.startswith("#")))


def _order(version):
    """Versions as tuples of numbers, for comparison: "27.1", "early (0.12)"."""
    return tuple(int(number) for number in re.findall(r"\d+", version))


@functools.cache
def _newest():
    newest: dict[tuple[str, str], PublishedLatency] = {}
    for row in _rows(_LATENCY):
        key = row["board"], row["model"]
        found = PublishedLatency(float(row["mean_us"]), float(row["p99_us"]), row["version"])
        if key not in newest or _order(found.version) > _order(newest[key].version):
            newest[key] = found
    return newest


def boards():
    """Names of the boards that anything was published for."""
    return {board for board, _ in _newest()}


def latency(board, model):
    """The newest published latency of a model on a board, by name; None if the model does not fit that board.

    None, too, for boards and models that were never published.
    """
    return _newest().get((board, model))


@functools.cache
def _round_trips():
    rows = _rows(_IO)
    return [[float(row[name]) for row in rows] for name in ("input_bytes", "mean_us")]


def round_trip_us(input_bytes):
    """Mean PCIe round trip without compute, interpolated between the published input sizes.

    Smaller inputs than published take as long as the smallest published one.

    Raises
    ------
    ValueError
        For inputs larger than the published ones, which these figures say nothing of.
    """
    sizes, times = _round_trips()
    if not 0 < input_bytes <= sizes[-1]:
        raise ValueError(f"no published round trip for {input_bytes} bytes: they are for up to {sizes[-1]:.0f}")
    return float(np.interp(input_bytes, sizes, times))


def compute_us(board, model, input_size):
    """The part of a published mean latency that is not the PCIe round trip of the inputs; None if there is none.

    The product takes values of 16 bits. Raises as :func:`round_trip_us`.
    """
    published = latency(board, model)
    return None if published is None else published.mean_us - round_trip_us(2 * input_size)


def resources(cores, block):
    """The published resources on Agilex of that many cores: {"logic": ALMs, "dsp": blocks, "m20k": blocks}.

    None for sizes that were not published.
    """
    for row in _rows(_RESOURCES):
        if (int(row["cores"]), int(row["block"])) == (cores, block):
            return {"logic": int(row["alm"]), "dsp": int(row["dsp"]), "m20k": int(row["m20k"])}
    return None

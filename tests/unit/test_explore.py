"""Exploring a board: what is predicted of each point, the front, what is kept, what users type wrong."""

import contextlib
import csv
import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from paths import FIXTURES
from spiccato import registry
from spiccato.compiler import compile_program, most_contexts
from spiccato.config import Config
from spiccato.errors import SpiccatoError
from spiccato_boards import Resources, boards
from spiccato_boards.derived import board_file
from spiccato_boards.resources import estimate
from spiccato_cli import main
from spiccato_sim.analysis import explore as module
from spiccato_sim.analysis.accuracy import accuracy
from spiccato_sim.analysis.cluster import cluster, run_all
from spiccato_sim.analysis.explore import explore, pareto
from spiccato_sim.analysis.explore_files import columns
from spiccato_sim.analysis.points import Device, Point, Space, evaluate
from spiccato_sim.analysis.shapes import Shape
from spiccato_sim.models.zoo import inputs, random_network, resolve

distributed = pytest.importorskip("distributed")

MODEL = str(FIXTURES / "torch_dynamo.onnx")
#: Some of everything: points of two shapes fit, one is too large.
SPACE = Space(profiles=("aggressive",), cores=(1, 2, 12), blocks=(4,), weights=("int16", "int8"), contexts=(1, 16))


@pytest.fixture(scope="module")
def client():
    """Who works in this process."""
    with (
        distributed.LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            processes=False,
            dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"dashboard": False},
            memory_limit=None,
        ) as local,
        distributed.Client(local) as found,
    ):
        yield found


@pytest.fixture
def board():
    """The ULX3S, but with a third of its multipliers."""
    full = boards()["ulx3s"]
    return dataclasses.replace(full, resources=Resources(logic=83_640, dsp=60, memory=full.resources.memory))


def networks(count=1):
    return [
        random_network(np.random.default_rng(seed), layers=2, min_size=8, max_size=20, name=f"n{seed}")
        for seed in range(count)
    ]


def series(of):
    return [inputs(network, 6) for network in of]


@pytest.mark.parametrize("count", [1, 2])
def test_as_the_compiler_says(board, count):
    """Of every point that fits: latencies, intervals and contexts of the program, and what the configuration takes."""
    of = networks(count)
    space = dataclasses.replace(SPACE, profiles=("aggressive", "conservative"), cores=(1, 2))
    for point in space.points():
        [found] = evaluate([point], Device.of(board, "bfloat16"), of, share=1)
        assert found.fits and found.config.profile == point.profile
        program = compile_program(of, found.config, contexts=point.contexts, weight_formats=[point.weights] * count)
        assert found.spaced_cycles == tuple(model.spaced_latency for model in program.models)
        assert found.interval_cycles == tuple(model.initiation_interval for model in program.models)
        assert found.contexts_that_fit == most_contexts(program.models) >= point.contexts
        taken = estimate(found.config, board)
        assert found.resources == {"dsp": taken.dsp, **taken.memory}


def test_the_least_depth_is_what_the_weights_take(board):
    """One memory block less would not hold them."""
    [network] = networks()
    shape = Shape(board.config.resized(1, 4), [network])
    words = shape.words[network.name]
    for form in ("int16", "int8"):
        [found] = evaluate([Point("aggressive", 1, 4, None, form, 1)], Device.of(board, "bfloat16"), [network], 1)
        assert found.config.weight_depth - 512 < words[form] <= found.config.weight_depth


def test_what_does_not_fit(board):
    """Each reason by its words, with figures."""
    of, device = networks(), Device.of(board, "bfloat16")

    def reasons(point, share=1.0, device=device):
        [found] = evaluate([point], device, of, share)
        assert not found.fits and found.config is None
        return found.reasons, found.detail

    assert reasons(Point("aggressive", 1, 8, None, "int16", 1)) == (
        ("DSP blocks",),
        "needs more than 100% of the DSP blocks for multipliers and weights alone",
    )
    found, text = reasons(Point("aggressive", 1, 4, 2, "int16", 1))
    assert found == ("weight memory",) and text.endswith(" of 2 words a core")
    found, text = reasons(Point("aggressive", 1, 4, None, "int16", 1024))
    assert found == ("limits of configurations",) and "state_slots must be an integer in 1..16384" in text
    found, text = reasons(Point("aggressive", 1, 4, 1 << 16, "int16", 1))
    assert found == ("memory blocks",)
    # Not the multipliers of the rows alone.
    found, text = reasons(Point("aggressive", 1, 4, None, "int16", 1), share=20 / 60)
    assert found == ("DSP blocks",) and text.endswith(" of 20 DSP blocks")


def test_pareto():
    """Against the definition, on random figures with many ties, and on corners."""
    values = np.random.default_rng(0).integers(0, 4, (200, 3))

    def beats(one, other):
        return all(a <= b for a, b in zip(one, other)) and any(a < b for a, b in zip(one, other))

    assert pareto(values).tolist() == [not any(beats(one, other) for one in values) for other in values]
    assert pareto([[1, 2], [1, 2], [2, 1], [2, 2]]).tolist() == [True, True, True, False]
    assert pareto(np.zeros((0, 3))).tolist() == []


def test_explore(board, client, tmp_path):
    """Rows in the order of the space; errors are the virtual machine's; the front is of each profile."""
    of = networks()
    space = dataclasses.replace(SPACE, profiles=("aggressive", "conservative"))
    told = []
    rows = explore(
        board, of, series(of), space, client, folder=tmp_path, share=0.8, on_progress=lambda *what: told.append(what)
    )
    assert [row["number"] for row in rows] == list(range(24))
    assert [Point(*(row[field.name] for field in dataclasses.fields(Point))).shape for row in rows] == [
        point.shape for point in space.points()
    ]
    assert told[0] == ("points", 0, 24) and ("points", 24, 24) in told and told[-1] == ("errors", 2, 2)
    assert {row["fits"] for row in rows if row["cores"] == 12} == {False}
    fitting = [row for row in rows if row["fits"]]
    for row in fitting[:4]:
        config = Config.from_dict(row["configuration"])
        program = compile_program(of, config, weight_formats=[row["weights"]])
        assert row["rms_errors"] == [accuracy(program, of[0], series(of)[0]).exact.rms]
        assert row["spaced_us"] == [row["spaced_cycles"][0] / 100]
        assert row["shares"]["dsp"] == row["resources"]["dsp"] / 60
    assert {row["profile"] for row in rows if row["pareto"]} == {"aggressive", "conservative"}
    assert 0 < sum(row["pareto"] for row in rows) < len(fitting)


def test_an_interrupted_run_goes_on(board, client, tmp_path, monkeypatch):
    """What is known is not computed again; a line that was not finished is; another model or share begins anew."""
    of = networks()
    monkeypatch.setattr(module, "_evaluated", _counted)

    def run(of=of, **options):
        CALLS.clear()
        rows = explore(board, of, series(of), SPACE, client, folder=tmp_path, **options)
        return rows, sorted(CALLS)

    class Stop(Exception):
        pass

    def stop(what, done, total):
        if done == 8:
            raise Stop

    with pytest.raises(Stop):
        run(on_progress=stop)
    # Whatever was begun has ended.
    client.submit(_known, 0, 0, pure=False).result()
    [kept] = (tmp_path / "kept").glob("points_*.jsonl")
    lines = kept.read_text().splitlines(keepends=True)
    assert len(lines) == 8
    kept.write_text("".join(lines[:-1]) + lines[-1][:20])
    first, calls = run()
    assert calls == [1, 4]
    whole = kept.read_text()
    assert run() == (first, []) and kept.read_text() == whole
    assert run(share=0.5)[1] == run(of=networks(2)[1:])[1] == [4, 4, 4]


#: How many points were evaluated at a time.
CALLS = []


def _counted(points, *others):
    CALLS.append(len(points))
    return module.CODE, evaluate(points, *others)


def test_a_worker_of_another_version(client):
    """Is refused, whatever it computes; as is one that lacks a package."""

    def all_of(function, code):
        found = {}
        run_all(client, function, [(1,), (2,)], (3,), code, found.__setitem__)
        return found

    assert all_of(_known, "code") == {(1,): 4, (2,): 5}
    with pytest.raises(SpiccatoError, match="a worker has another version of Spiccato than this one"):
        all_of(_known, "other")
    with pytest.raises(SpiccatoError, match="a worker has no nonesuch: install this version of Spiccato there"):
        all_of(_lacking, "code")


@pytest.mark.parametrize(
    "error, told",
    [
        (RuntimeError("Error during deserialization of the task graph."), "the scheduler cannot read the tasks"),
        (distributed.KilledWorker("task", None, 3), "workers die of a task"),
    ],
)
def test_what_is_wrong_elsewhere(client, monkeypatch, error, told):
    """One line; what is wrong with the code itself stays as it is."""

    def fail(future):
        raise error

    monkeypatch.setattr(distributed.Future, "result", fail)
    with pytest.raises(SpiccatoError, match=told):
        run_all(client, _known, [(1,)], (3,), "code", print)
    error = RuntimeError("a fault")
    with pytest.raises(RuntimeError, match="a fault"):
        run_all(client, _known, [(1,)], (3,), "code", print)


def _known(number, more):
    return "code", number + more


def _lacking(number, more):
    import nonesuch  # noqa: F401


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nonesuch", "tcp://", "ftp://127.0.0.1:1"])
def test_no_scheduler(address):
    with pytest.raises(SpiccatoError, match=f"^{address}: no Dask scheduler answers there"), cluster(address):
        pass


def test_a_scheduler_that_runs(client, board, tmp_path):
    """By its address; without a worker it is refused."""
    with cluster(client.scheduler.address) as other:
        of = networks()
        assert explore(board, of, series(of), SPACE, other, folder=tmp_path)
    with (
        distributed.LocalCluster(
            n_workers=0, processes=False, dashboard_address="127.0.0.1:0", scheduler_kwargs={"dashboard": False}
        ) as idle,
        pytest.raises(SpiccatoError, match="the scheduler has no worker"),
        cluster(idle.scheduler_address),
    ):
        pass


def test_two_models_of_one_name(board, client, tmp_path):
    of = networks() * 2
    with pytest.raises(SpiccatoError, match="models n0, n0: expected different names"):
        explore(board, of, series(of), SPACE, client, folder=tmp_path)


def test_columns():
    """Of one model and of several; nothing is nested."""
    row = {"number": 1, "reasons": ["a", "b"], "spaced_cycles": [3], "shares": {"dsp": 0.5}, "configuration": {}}
    assert columns(row, ["m"]) == {"number": 1, "reasons": "a; b", "spaced_cycles": 3, "shares.dsp": 0.5}
    several = columns(row | {"spaced_cycles": [3, 4]}, ["m", "n"])
    assert (several["spaced_cycles.m"], several["spaced_cycles.n"]) == (3, 4)


def run(*arguments):
    return CliRunner().invoke(main, ["explore", *map(str, arguments)])


@pytest.fixture
def here(client, installed_boards, monkeypatch, tmp_path):
    """The command's work is done in this process, and its files are in an empty folder; options for a small space."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("spiccato_sim.analysis.cluster.cluster", lambda *_: contextlib.nullcontext(client))
    return [MODEL, "--board", "ulx3s", "--cores", "1,2,12", "--block", "4,16", "--contexts", "4", "--steps", "4"]


def test_command(here, tmp_path):
    """Table, data and files say the same, and the same again; a point that is written is the board's, as predicted."""
    first, again = run(*here), run(*here)
    assert first.exit_code == 0, first.output
    assert first.output == again.output and "nothing was simulated" in first.output
    told = json.loads(run(*here, "--json").stdout)
    rows = told["points"]
    assert rows == json.loads((tmp_path / "build/explore/points.json").read_text())
    with open(tmp_path / "build/explore/points.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert [int(line["number"]) for line in table] == [row["number"] for row in rows] == list(range(12))
    assert (tmp_path / "build/explore/pareto.png").read_bytes().startswith(b"\x89PNG")
    front = [row for row in rows if row["pareto"]]
    shown = [line.split() for line in first.output.splitlines() if " int16 " in line or " int8 " in line]
    assert {int(cells[0]) for cells in shown} == {row["number"] for row in front}
    assert [int(cells[6]) for cells in shown] == sorted(row["spaced_cycles"][0] for row in front)
    lacking = [row for row in rows if not row["fits"]]
    assert lacking and sum(map(int, re.findall(r": (\d+)", _line(first.output, "points that do not fit")))) == len(
        lacking
    )

    chosen = front[0]
    written = run(*here, "--write", chosen["number"], "mine.py")
    assert "to measure it: spiccato sim" in written.output and "--board mine.py" in written.output
    target = registry.find("mine.py")
    assert target.config == Config.from_dict(chosen["configuration"]) and target.part == registry.find("ulx3s").part
    program = compile_program(
        [resolve(MODEL)], target.config, contexts=chosen["contexts"], weight_formats=chosen["weights"]
    )
    assert [program.model.spaced_latency] == chosen["spaced_cycles"]
    subprocess.run(["ruff", "format", "--check", "mine.py"], check=True, env={"PATH": str(Path(sys.executable).parent)})


def _line(text, start):
    [line] = [line for line in text.splitlines() if line.startswith(start)]
    return line


def test_nothing_fits(here):
    """One line, besides what was counted; nothing is written for a point that does not fit."""
    options = [*here, "--share", "1"]
    result = run(*options)
    assert result.exit_code == 1 and result.stderr.count("\n") == 1
    assert "no point fits 1 % of the device; needs more than 1% of the DSP blocks" in result.stderr
    refused = run(*options, "--write", "0", "mine.py")
    assert refused.exit_code == 1 and not Path("mine.py").exists()
    assert "--write 0 mine.py: the point does not fit: needs more than 1%" in refused.stderr


@pytest.mark.parametrize(
    "options, text",
    [
        (["--board", "test4"], "'test4' is for simulation only, it has no device"),
        (["--cores", "0"], "--cores 0: expected numbers in 1..12, several with commas, not '0'"),
        (["--cores", "4-2"], "not '4-2'"),
        (["--cores", "1-2-3"], "not '1-2-3'"),
        (["--cores", "1,,2"], "not ''"),
        (["--cores", "9" * 30], "expected numbers in 1..12"),
        (["--block", "4,12"], "--block 4,12: expected powers of two in 4..64, several with commas, not '12'"),
        (["--depth", "most"], "--depth most: expected numbers in 2..65536 or least, several with commas, not 'most'"),
        (["--weights", "int4"], "--weights int4: expected int16, int8, several with commas, not 'int4'"),
        (["--contexts", "-1"], "--contexts -1: expected numbers in 1..1024"),
        (["--profile", "aggressive,bold"], "profile must be one of aggressive, conservative with family ecp5"),
        (["--write", "0", "mine.txt"], "--write 0 mine.txt: a board's file ends in .py"),
        (["--write", "99", "mine.py"], "--write 99 mine.py: there are points 0 to 11"),
        (["--write", "0", "nonesuch/mine.py"], "nonesuch/mine.py: cannot be written"),
        ([MODEL, "--input", "x.npy"], "--input is for one model, not for 2"),
        (["--input", "x.npy"], "x.npy: cannot be read"),
    ],
)
def test_refusals(here, options, text):
    result = run(*here, *options)
    assert result.exit_code == 1 and result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
    assert text in result.stderr and not Path("build").exists()


def test_without_dask(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(SpiccatoError, match=r"exploring needs Dask: pip install 'spiccato\[explore\]'"), cluster():
        pass


@pytest.mark.long
# Dask's, of a machine that has much to do.
@pytest.mark.filterwarnings("ignore:Creating scratch directories")
def test_processes(installed_boards, tmp_path, monkeypatch):
    """The command as it is, with processes of its own, and a board that they cannot import."""
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(board_file("ulx3s", dataclasses.replace(registry.find("ulx3s").config, name="own")))
    result = run(MODEL, "--board", "own.py", "--cores", "1", "--block", "4", "--steps", "2", "--workers", "2")
    assert result.exit_code == 0, result.output
    assert "on own (Radiona ULX3S 85F)" in result.output

"""The command line: what users type wrong gets one line and a non-zero exit status."""

import dataclasses
import json

import pytest
from click.testing import CliRunner
from spiccato.config import PRESETS
from spiccato_boards import BOARDS
from spiccato_sim.cli import main


def run(*arguments):
    return CliRunner().invoke(main, arguments)


@pytest.mark.parametrize("arguments, text", [
    (["sim", "--board", "nonesuch"], "unknown board 'nonesuch'; known: ia420f, ia840f, v80"),
    (["sim", "--model", "nonesuch"], "unknown model 'nonesuch'; known: lstm_tiny"),
    (["sim", "--model", "none.spiccato"], "none.spiccato: no such file"),
    (["sim", "--model", "none.safetensors"], "none.safetensors"),
    (["sim", "--model", "lstm_large"], "does not fit 'ia420f'"),
    (["compile", "lstm_tiny", "--weights", "int4"], "weight format 'int4'"),
    (["compile", "lstm_tiny", "-o", "/nonesuch/folder/p.spiccato"], "cannot be written"),
    (["inspect", "pyproject.toml"], "damaged, or not a program file"),
    (["verilog", "--board", "nonesuch"], "unknown board"),
])
def test_refusals(arguments, text):
    result = run(*arguments)
    assert result.exit_code == 1
    assert text in result.output
    errors = [line for line in result.output.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "Traceback" not in result.output


def test_boards():
    """The table, and the same as data."""
    shown, data = run("boards"), json.loads(run("boards", "--json").output)
    assert shown.exit_code == 0
    rows = {row["board"]: row for row in data}
    assert set(rows) == set(BOARDS)
    assert rows["ia420f"]["published"]["dsp"] == 3744 and rows["v80"]["published"] is None
    for row in data:
        assert row["estimate"]["dsp"] <= row["device"]["dsp"]
        assert f"{row['estimate']['dsp']:,}" in shown.output


def test_what_does_not_fit_a_board_is_refused(monkeypatch):
    """Before anything is written or compiled."""
    monkeypatch.setitem(PRESETS, "ia420f", dataclasses.replace(PRESETS["ia840f"], name="ia420f"))
    for arguments in (["verilog", "--board", "ia420f"], ["compile", "lstm_tiny"], ["project"]):
        result = run(*arguments)
        assert result.exit_code == 1
        assert "does not fit BittWare IA-420F" in result.output and "6,528 of 4,510 DSP blocks" in result.output


def test_compile_and_inspect(tmp_path):
    """A program written by compile is shown by inspect, with the same predictions."""
    path = tmp_path / "p.spiccato"
    compiled = run("compile", "lstm_tiny", "-o", str(path))
    shown = run("inspect", str(path))
    assert compiled.exit_code == shown.exit_code == 0
    assert "predicted spaced latency: 77 cycles" in compiled.output
    assert "3,456 of 4,510 DSP blocks (77%)" in compiled.output
    assert [line for line in compiled.output.splitlines() if not line.startswith("wrote")] == (
        shown.output.splitlines())


def test_sim_refuses_program_of_another_board(tmp_path):
    path = tmp_path / "p.spiccato"
    assert run("compile", "lstm_tiny", "--board", "ia840f", "-o", str(path)).exit_code == 0
    result = run("sim", "--model", str(path))
    assert result.exit_code == 1
    assert "compiled for configuration 'ia840f', not for 'ia420f'" in result.output

"""The wheel: complete, and it works in an empty folder, without the repository."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from paths import ROOT

pytest.importorskip("hatchling")

MODEL = ROOT / "tests" / "fixtures" / "torch.safetensors"
PACKAGES = ("hdl/spiccato", "sim/spiccato_sim", "boards/spiccato_boards", "sim/spiccato_cli")


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """The folder with what the wheel installs."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    [wheel] = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site-packages")
    return folder / "site-packages"


def test_contents(unpacked):
    """Every file of the packages, and nothing beside them."""
    there = {
        str(path.relative_to(unpacked))
        for path in unpacked.rglob("*")
        if path.is_file() and ".dist-info" not in str(path)
    }
    wanted = {
        str(path.relative_to((ROOT / package).parent))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert there == wanted
    assert {Path(name).suffix for name in there} >= {".py", ".csv", ".tcl", ".html", ".vlt", ".v"}


def test_empty_folder(unpacked, tmp_path):
    """From a model to a report; the packages are the wheel's."""

    def python(*arguments):
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=tmp_path,
            check=True,
            text=True,
            env=os.environ | {"PYTHONPATH": str(unpacked)},
            stdout=subprocess.PIPE,
        ).stdout

    def spiccato(*arguments):
        return python("-m", "spiccato_cli", *arguments)

    where = python(
        "-c",
        "import spiccato, spiccato_sim, spiccato_boards as b; "
        "print(spiccato.__file__, spiccato_sim.__file__, b.__file__)",
    )
    assert where.count(str(unpacked)) == 3
    np.save(tmp_path / "x.npy", np.ones((8, 5)))
    assert json.loads(spiccato("estimate", MODEL, "--steps", 2, "--json"))["rows"][0]["fits"]
    spiccato("compile", MODEL, "-o", "p.spiccato")
    assert "8 steps, 3 outputs each" in spiccato("run", "p.spiccato", "--input", "x.npy", "-o", "y.npy")
    spiccato("report", "p.spiccato", "--input", "x.npy", "-o", "report.html")
    assert "<!doctype html>" in (tmp_path / "report.html").read_text().lower()
    assert {path.name for path in tmp_path.iterdir()} == {"x.npy", "p.spiccato", "y.npy", "report.html"}

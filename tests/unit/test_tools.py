"""The open tools are compiled once for a machine, whichever processes run them first."""

import hashlib
import subprocess
import sys

import pytest

from spiccato_boards.flows import tools

pytestmark = pytest.mark.fast
pytest.importorskip("platformdirs")

#: A tool that does what YoWASP's do: tells that it compiles, and keeps the code, over whatever is there.
PACKAGE = """\
import hashlib, os, sys
from pathlib import Path

def run_a_tool(arguments):
    code = Path(os.environ["YOWASP_CACHE_DIR"], "a_package", "a-tool.wasm", hashlib.sha1(b"source").hexdigest())
    if not code.exists():
        print("Preparing", file=sys.stderr)
        code.parent.mkdir(parents=True, exist_ok=True)
        if "EARLY" in os.environ:
            # Meanwhile another process has come as far, and runs from there.
            Path(os.environ["EARLY"]).write_text("of another process")
            os.link(os.environ["EARLY"], os.environ["RUNS"])
        code.write_text("code")
        with open(os.environ["COMPILED"], "a") as log:
            log.write(" ".join(arguments))
    print("ran", *arguments)
"""


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Where the tool's code is kept."""
    package = tmp_path / "site" / "a_package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(PACKAGE)
    (package / "a-tool.wasm").write_bytes(b"source")
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    monkeypatch.setenv("YOWASP_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("COMPILED", str(tmp_path / "compiled"))
    monkeypatch.setitem(tools._TOOLS, "a-tool", ("a_package", "run_a_tool", "extra"))
    tools._compile.cache_clear()
    yield tmp_path / "cache" / "a_package" / "a-tool.wasm"
    tools._compile.cache_clear()
    sys.modules.pop("a_package", None)


def run(*arguments):
    done = subprocess.run([*tools.tool_command("a-tool"), *arguments], capture_output=True, text=True, check=True)
    return done.stdout, done.stderr


def test_compiled_before_it_runs(cache, tmp_path):
    """Once, and nothing of it is among the output."""
    for _ in range(2):
        tools._compile.cache_clear()
        assert run("-q", "script") == ("ran -q script\n", "")
    assert (tmp_path / "compiled").read_text() == "--version"
    (code,) = cache.iterdir()
    assert code.name == hashlib.sha1(b"source").hexdigest() and code.read_text() == "code"


def test_code_that_runs_is_never_written_over(cache, tmp_path, monkeypatch):
    """Of two processes that are as early, neither takes away what the other one executes."""
    code = cache / hashlib.sha1(b"source").hexdigest()
    monkeypatch.setenv("EARLY", str(code))
    monkeypatch.setenv("RUNS", str(tmp_path / "runs"))
    run()
    assert (tmp_path / "runs").read_text() == "of another process" and code.read_text() == "code"

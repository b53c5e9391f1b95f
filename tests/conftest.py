"""Fixtures shared by all tests, and the guard against runs that simulate nothing."""

import sys

import pytest

from paths import BUILD
from spiccato import registry

_simulated = []


def pytest_addoption(parser):
    parser.addoption(
        "--require-simulation", action="store_true", help="fail if no test that simulates the RTL has passed"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """For parallel runs: what tests share is made once, and the workers end at about the same time."""
    for item in items:
        shared = {
            name for name, (*_, fixture) in item._fixtureinfo.name2fixturedefs.items() if fixture.scope == "module"
        }
        if shared and not item.get_closest_marker("xdist_group"):
            parameters = {
                name: item.callspec.indices[name]
                for name in sorted(shared)
                if hasattr(item, "callspec") and name in item.callspec.indices
            }
            item.add_marker(pytest.mark.xdist_group(f"{item.module.__name__}{parameters or ''}"))
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


def pytest_collection_finish(session):
    """Of a parallel run: that the workers' names of tests hold the groups, by which xdist keeps them together."""
    if getattr(session.config.option, "loadgroup", False):
        for item in session.items:
            if item.get_closest_marker("xdist_group") and "@" not in item.nodeid.rpartition("]")[2]:
                raise pytest.UsageError(f"{item.nodeid} would not run with its group")


def pytest_runtest_logreport(report):
    if report.when == "call" and report.passed and "simulates" in report.keywords:
        _simulated.append(report.nodeid.split("::")[-1].split("@")[0])


def pytest_sessionfinish(session):
    # Workers of a parallel run report to the controller, which alone has seen all.
    is_worker = hasattr(session.config, "workerinput")
    if session.config.getoption("--require-simulation") and not is_worker and not _simulated:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter):
    """Name the simulations that passed: the last figure of random ones is their seed."""
    terminalreporter.write_line(f"{len(_simulated)} simulations of the RTL passed: {', '.join(sorted(_simulated))}")


@pytest.fixture
def installed_boards(monkeypatch):
    """No board's file has been read, and what the test reads is forgotten."""
    monkeypatch.setattr(registry, "_loaded", {})
    yield
    for name in [name for name in sys.modules if name.startswith("_spiccato_board_")]:
        del sys.modules[name]


@pytest.fixture(scope="session")
def build_folder():
    """Where simulators are kept between tests and runs."""
    return BUILD

"""Fixtures shared by all tests."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def build_folder():
    """Where simulators are kept between tests and runs."""
    return Path(__file__).parent.parent / "build"

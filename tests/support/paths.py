"""Where things lie in the repository."""

from pathlib import Path

__all__ = ["BUILD", "DATA", "FIXTURES", "ROOT"]

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "tests" / "fixtures"
DATA = ROOT / "tests" / "data"
#: Where simulators are kept between tests and runs.
BUILD = ROOT / "build"

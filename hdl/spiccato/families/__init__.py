"""Device families: what their memories and multipliers are, and the profiles from which latencies follow.

Each module of this package that has a ``FAMILY`` is a family: a new one is one new file.
"""

import importlib
import pkgutil

from .family import Family, Profile, Reach, Shape
from .style import Style

__all__ = ["FAMILIES", "Family", "Profile", "Reach", "Shape", "Style"]


def _discover() -> dict[str, Family]:
    modules = (importlib.import_module(f".{info.name}", __name__) for info in pkgutil.iter_modules(__path__))
    found = [module.FAMILY for module in modules if hasattr(module, "FAMILY")]
    return {family.name: family for family in sorted(found, key=lambda family: family.name)}


#: All families by name.
FAMILIES = _discover()

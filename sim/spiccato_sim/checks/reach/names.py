"""Names from the source for the bits of a netlist, and the regions in which they lie."""

import re
from typing import Any

__all__ = ["Names", "pattern", "region"]

REGION = re.compile(r"(?:^|\.)(core_\d+|vectors|ingress|egress)(?=\.|$)")


class Names:
    """The names of a module's bits."""

    def __init__(self, netlist: dict):
        self._names: dict[Any, list[tuple[str, dict]]] = {}
        for name, net in netlist["netnames"].items():
            if not net.get("hide_name") and not re.search(r"(^|\.)\\?\$", name):
                width = len(net["bits"])
                for index, bit in enumerate(net["bits"]):
                    label = f"{name}[{index}]" if width > 1 else name
                    self._names.setdefault(bit, []).append((label, net["attributes"]))

    def label(self, bit: int, default: str = "") -> str:
        """The shortest name of a bit."""
        return min((name for name, _ in self._names.get(bit, ())), key=len, default=default)

    def register(self, bit: int, cell: dict) -> str:
        """The name under which a register was declared; its bit may have others where it is connected to."""
        known = self._names.get(bit, [])
        own = _origin(cell["attributes"])
        best = (
            [name for name, attributes in known if "init" in attributes]
            or [name for name, attributes in known if _origin(attributes) == own]
            or [name for name, _ in known]
        )
        return min(best, key=len, default="register")

    def first(self, bits: list) -> str:
        """A name that one of some bits has."""
        return next((name for bit in bits if (name := self.label(bit))), "")


def _origin(attributes: dict) -> str:
    """Where something was declared: the instances, and the file."""
    return re.sub(r":[^|]*$", "", attributes.get("src", ""))


def region(name: str) -> str:
    """The region of the device to which a hierarchical name belongs."""
    found = REGION.search(name)
    return found[1] if found else "rest"


def pattern(name: str) -> str:
    """A name without its numbers: what makes bits alike."""
    return re.sub(r"\d+", "*", name)

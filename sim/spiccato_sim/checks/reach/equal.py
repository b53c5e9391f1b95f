"""Registers that are equal in several instances of a module: kept modules hide from yosys what a tool may merge."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from spiccato.families import Reach

from .graph import Driver, Graph, Instance, Port

__all__ = ["Equal", "Merged", "placed"]


class Merged(NamedTuple):
    """Equal registers that a tool may merge, and what they reach together; ``name`` is that of the first."""

    name: str
    reach: Reach
    registers: int


def placed(graph: Graph, number: int, driver: Driver) -> Driver:
    """A driver of an instance as one of the module that holds it.

    Equal ones are of the same kind there: they depend alike on bits that are the same.
    """
    instance = graph.instances[number]
    name = f"{instance.name}.{driver.name}"
    if driver.support is None:
        return driver._replace(name=name, kind=(number, driver.kind))
    pins = _pins(instance, driver.support)
    kind = (instance.module, driver.kind, pins)
    return driver._replace(name=name, kind=kind, support=graph.support(pins))


def _pins(instance: Instance, ports: Iterable[Port]) -> tuple:
    return tuple(instance.pins[port][index] if port in instance.pins else None for port, index in sorted(ports))


class Equal:
    """Adds up what equal registers reach, module by module, each after its children."""

    def __init__(self) -> None:
        #: By module: of each kind of driver the first one, what all reach, and how many there are.
        self._found: dict[str, dict[Any, tuple[Driver, Reach, int]]] = {}
        self.merged: list[Merged] = []

    def add(self, module: str, driver: Driver, reach: Reach, registers: int = 1) -> None:
        """Account for a driver of a module."""
        first, before, number = self._found.setdefault(module, {}).get(driver.kind, (driver, Reach(0, 0), 0))
        total = Reach(*map(sum, zip(before, reach)))
        self._found[module][driver.kind] = first, total, number + registers

    def finish(self, graph: Graph, path: str) -> None:
        """Account for what is in a module's instances; what has equals beyond it is left to those that hold it."""
        for number, instance in enumerate(graph.instances):
            for driver, reach, registers in self._found[instance.module].values():
                self.add(graph.name, placed(graph, number, driver), reach, registers)
        left = {}
        for kind, (driver, reach, registers) in self._found.setdefault(graph.name, {}).items():
            if driver.support is not None:
                left[kind] = driver, reach, registers
            elif registers > 1:
                self.merged.append(Merged(path + driver.name, reach, registers))
        self._found[graph.name] = left

"""What each driver reaches, over the hierarchy."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from spiccato.families import Family, Reach

from ..depth.check import bottom_up
from .equal import Equal, Merged, placed
from .graph import Driver, Graph, Port
from .names import region

__all__ = ["Crossing", "Hierarchy", "Reached"]


class Reached(NamedTuple):
    """What one driver reaches, in each of some equal instances; ``name`` is that of the first.

    ``outputs``: of the top module.
    """

    name: str
    reach: Reach
    instances: int
    outputs: int


@dataclass
class Crossing:
    """Bits from one region that reach another.

    Attributes
    ----------
    bits : driving bits.
    deep : of them, bits with more than one LUT level on the way; an adder is two.
    levels, worst : the most LUT levels, and the driver with them.
    """

    bits: int = 0
    deep: int = 0
    levels: int = -1
    worst: str = ""


@dataclass
class Cone:
    """The bits of a module to which a driver in it leads, or one in an instance (``child``) in it."""

    graph: Graph
    seeds: dict[int, int]
    child: "tuple[int, Cone] | None" = None
    levels: dict[int, int] = field(default_factory=dict)

    def copy(self) -> "Cone":
        """One that can be extended without changing this one."""
        child = (self.child[0], self.child[1].copy()) if self.child else None
        return Cone(self.graph, dict(self.seeds), child, self.levels)


class Hierarchy:
    """The graphs of all modules, and what is counted on them.

    Attributes
    ----------
    graphs : by module, each after its children.
    instances : of each module in the design.
    paths : of each module's first instance: "" for the top module, otherwise with a dot at the end.
    crossings : by pair of regions; filled by :meth:`drivers`.
    merged : registers that are equal in several instances, and what they reach together; filled by :meth:`drivers`.
    """

    def __init__(self, modules: dict, top: str, family: Family):
        self.top = top
        self.graphs: dict[str, Graph] = {}
        for name in bottom_up(modules, top):
            self.graphs[name] = Graph(name, modules[name], self.graphs, family, name == top)
        self.instances = Counter({top: 1})
        self.paths = {top: ""}
        for name in reversed(self.graphs):
            for instance in self.graphs[name].instances:
                self.instances[instance.module] += self.instances[name]
                self.paths.setdefault(instance.module, f"{self.paths[name]}{instance.name}.")
        self.crossings: dict[tuple[str, str], Crossing] = {}
        self.merged: list[Merged] = []
        self._within: dict[tuple[str, frozenset[Port]], Reach] = {}
        self._deepest: dict[tuple[str, Port], int | None] = {}

    def within(self, module: str, ports: frozenset[Port]) -> Reach:
        """What some input bits of a module reach inside."""
        key = module, ports
        if key not in self._within:
            graph = self.graphs[module]
            self._within[key] = self._count(graph, graph.closure({graph.inputs[port]: 0 for port in ports}))
        return self._within[key]

    def _count(self, graph: Graph, levels: dict[int, int], without: int | None = None) -> Reach:
        """What some bits reach, but for one instance."""
        ends: set[int] = set()
        inside: dict[int, set[Port]] = {}
        for bit in levels:
            ends.update(graph.ends.get(bit, ()))
            for number, port in graph.pins.get(bit, ()):
                if number != without:
                    inside.setdefault(number, set()).add(port)
        blocks = sum(graph.blocks[end] for end in ends)
        total = Reach(blocks, len(ends) - blocks)
        for number, ports in inside.items():
            total = _sum(total, self.within(graph.instances[number].module, frozenset(ports)))
        return total

    def drivers(self) -> list[Reached]:
        """All drivers with what they reach; one whose signal leaves its module, for each instance."""
        found: list[Reached] = []
        equal = Equal()
        leaving: dict[str, list[tuple[Driver, Cone]]] = {}
        for name, graph in self.graphs.items():
            cones = [(driver, Cone(graph, {driver.bit: 0})) for driver in graph.drivers]
            for number, instance in enumerate(graph.instances):
                for driver, inside in leaving[instance.module]:
                    child = inside.copy()
                    cone = Cone(graph, self._leave(graph, number, child), (number, child))
                    cones.append((placed(graph, number, driver), cone))
            leaving[name] = []
            for driver, cone in cones:
                self._settle(cone)
                if name != self.top and any(bit in graph.at_output for bit in cone.levels):
                    leaving[name].append((driver, cone))
                else:
                    reach = self._total(cone)
                    outputs = len(graph.arrive(cone.levels)) if name == self.top else 0
                    found.append(Reached(self.paths[name] + driver.name, reach, self.instances[name], outputs))
                    equal.add(name, driver, reach)
                    if name == self.top and not driver.name.startswith("input "):
                        self._cross(driver, cone)
            equal.finish(graph, self.paths[name])
        self.merged = equal.merged
        return found

    # Cones

    def _settle(self, cone: Cone):
        """Follow the seeds; and what comes back to the instance from which they came, there."""
        while True:
            cone.levels = cone.graph.closure(cone.seeds)
            if cone.child is None:
                return
            number, child = cone.child
            back = {
                child.graph.inputs[port]: here
                for bit, here in cone.levels.items()
                for other, port in cone.graph.pins.get(bit, ())
                if other == number and child.graph.inputs[port] not in child.levels
            }
            if not back:
                return
            child.seeds |= back
            self._settle(child)
            cone.seeds |= self._leave(cone.graph, number, child)

    @staticmethod
    def _leave(graph: Graph, number: int, child: Cone) -> dict[int, int]:
        """The bits behind an instance's outputs at which a cone inside it arrives."""
        seeds: dict[int, int] = {}
        for port, here in child.graph.arrive(child.levels).items():
            if (bit := graph.instances[number].bit(port)) is not None:
                seeds[bit] = max(here, seeds.get(bit, 0))
        return seeds

    def _total(self, cone: Cone) -> Reach:
        if cone.child is None:
            return self._count(cone.graph, cone.levels)
        number, child = cone.child
        return _sum(self._count(cone.graph, cone.levels, number), self._total(child))

    # Crossings

    def _cross(self, driver: Driver, cone: Cone):
        """Account for the regions in which a cone of the top module ends."""
        start = region(driver.name)
        regions: dict[str, int] = {}
        for levels, place in self._arrivals(cone.graph, cone.levels):
            other = region(place)
            regions[other] = max(levels, regions.get(other, 0))
        for other, levels in regions.items():
            if other != start:
                crossing = self.crossings.setdefault((start, other), Crossing())
                crossing.bits += 1
                crossing.deep += levels > 1
                if levels > crossing.levels:
                    crossing.levels, crossing.worst = levels, driver.name

    def _arrivals(self, graph: Graph, levels: dict[int, int]) -> Iterator[tuple[int, str]]:
        """(LUT levels, a name there) of the end points that some bits lead to."""
        for bit, here in levels.items():
            for end in graph.ends.get(bit, ()):
                yield here, graph.places[end]
            for number, port in graph.pins.get(bit, ()):
                instance = graph.instances[number]
                if (more := self._deep(instance.module, port)) is not None:
                    yield here + more, instance.name

    def _deep(self, module: str, port: Port) -> int | None:
        """The most LUT levels from an input bit of a module to an end point inside, if there is one."""
        key = module, port
        if key not in self._deepest:
            graph = self.graphs[module]
            found = self._arrivals(graph, graph.closure({graph.inputs[port]: 0}))
            self._deepest[key] = max((levels for levels, _ in found), default=None)
        return self._deepest[key]


def _sum(one: Reach, other: Reach) -> Reach:
    return Reach(*map(sum, zip(one, other)))

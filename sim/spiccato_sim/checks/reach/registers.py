"""The registers around multipliers and memory blocks."""

import heapq
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from spiccato.families import Profile

from .graph import Graph, Port
from .hierarchy import Hierarchy
from .names import pattern

__all__ = ["KINDS", "Registered", "kinds_of", "registered"]

#: Blocks of which a profile asks for registers of their own: what is in their names, from the top on.
KINDS = {"rows": ".row_", "interpolations": ".line_", "activation tables": "_table"}

#: What may be registered of a memory: pins.
MEMORY = {"read address": ("RD_ADDR", "RD_EN"), "write port": ("WR_ADDR", "WR_DATA", "WR_EN")}


@dataclass
class Registered:
    """The blocks of one kind: how many of them have which register.

    Attributes
    ----------
    name : of the first of them.
    number : of blocks.
    have : what there is -> of how many blocks. Of a multiplier, "operand", "product" and "result": the block's own
        registers. Of a memory, "read address", "write port" and "output": registers without logic between.
    needed : what the profile asks for.
    """

    name: str
    number: int = 0
    have: Counter = field(default_factory=Counter)
    needed: tuple[str, ...] = ()

    @property
    def missing(self) -> list[str]:
        """What the profile asks for and not every block has."""
        return [what for what in self.needed if self.have[what] < self.number]


class Multiplier(NamedTuple):
    """A multiplication, with the least number of registers before and behind it, up to its module's ports."""

    name: str
    before: int
    behind: int

    @property
    def have(self) -> set[str]:
        """The registers that there are."""
        there = {"operand": self.before > 0, "product": self.behind > 1, "result": self.behind > 0}
        return {what for what, is_there in there.items() if is_there}


class Memory(NamedTuple):
    """A memory: what is registered, and what depends on which ports of the module."""

    name: str
    have: set[str]
    open: dict[str, frozenset[Port]]


def registered(hierarchy: Hierarchy, profile: Profile) -> list[Registered]:
    """Multipliers in DSP stages, and memories in blocks, by kind."""
    found: dict[str, Registered] = {}
    multipliers: dict[str, list[Multiplier]] = {}
    memories: dict[str, list[Memory]] = {}

    def add(graph: Graph, name: str, have: set[str], needed: tuple[str, ...]):
        name = hierarchy.paths[graph.name] + name
        kind = found.setdefault(pattern(name), Registered(name, needed=needed))
        kind.number += hierarchy.instances[graph.name]
        for what in have:
            kind.have[what] += hierarchy.instances[graph.name]

    for name, graph in hierarchy.graphs.items():
        inner = [_multiplier(graph, pins) for pins in graph.multipliers]
        held = [_memory(hierarchy, graph, *memory) for memory in graph.memories]
        for number, instance in enumerate(graph.instances):
            for multiplier in multipliers[instance.module]:
                inner.append(_placed_multiplier(graph, number, multiplier))
            for memory in memories[instance.module]:
                held.append(_placed_memory(hierarchy, graph, number, memory))
        multipliers[name], memories[name] = [], []
        for multiplier in inner:
            # Up to the DSP stage that holds all of them.
            if graph.is_dsp:
                multipliers[name].append(multiplier)
            else:
                kinds = kinds_of(hierarchy.paths[graph.name] + multiplier.name)
                add(graph, multiplier.name, multiplier.have, _multiplier_needs(kinds, profile))
        for memory in held:
            if memory.open and name != hierarchy.top:
                memories[name].append(memory)
            else:
                kinds = kinds_of(hierarchy.paths[graph.name] + memory.name)
                add(graph, memory.name, memory.have | set(memory.open), _memory_needs(kinds, profile))
    return list(found.values())


def kinds_of(name: str) -> list[str]:
    """Of which :data:`KINDS` the block of this name is."""
    return [kind for kind, part in KINDS.items() if part in f".{name}"]


def _multiplier_needs(kinds: list[str], profile: Profile) -> tuple[str, ...]:
    if "rows" in kinds:
        operand, product = True, profile.row_product_register
    else:
        operand = profile.table_word_register if "interpolations" in kinds else profile.operand_register
        product = profile.product_register
    return ("operand",) * operand + ("product",) * product + ("result",)


def _memory_needs(kinds: list[str], profile: Profile) -> tuple[str, ...]:
    # In front of all others there is one if there is one in front of the last of them, the table of contexts.
    read_address = profile.table_address_register and ("activation tables" in kinds or profile.context_register)
    return ("read address",) * read_address + ("write port",) * profile.write_register + ("output",)


# Multipliers


def _multiplier(graph: Graph, pins: dict) -> Multiplier:
    """A multiplication; outside DSP stages no register is known to be its own."""
    if not graph.is_dsp:
        return Multiplier("", 0, 0)
    before = min(_registers(graph, graph.inputs.values(), pins[operand]) for operand in "AB")
    return Multiplier("", before, _registers(graph, pins["Y"], graph.outputs.values()))


def _placed_multiplier(graph: Graph, number: int, multiplier: Multiplier) -> Multiplier:
    instance = graph.instances[number]
    name = f"{instance.name}.{multiplier.name}".rstrip(".")
    if not graph.is_dsp:
        return multiplier._replace(name=name)
    bits = {bit for bits in instance.pins.values() for bit in bits if isinstance(bit, int)}
    return Multiplier(
        name,
        multiplier.before + _registers(graph, graph.inputs.values(), bits),
        multiplier.behind + _registers(graph, bits - set(graph.inputs.values()), graph.outputs.values()),
    )


def _registers(graph: Graph, start: Iterable[int], goal: Iterable[int]) -> int:
    """The least number of registers on the way between some bits; 0 if there is none."""
    goal = set(goal)
    queue = [(0, bit) for bit in start if isinstance(bit, int)]
    best: dict[int, int] = {}
    while queue:
        count, bit = heapq.heappop(queue)
        if bit in goal:
            return count
        if bit not in best:
            best[bit] = count
            for other, _ in graph.next.get(bit, ()):
                heapq.heappush(queue, (count, other))
            for other in graph.steps.get(bit, ()):
                heapq.heappush(queue, (count + 1, other))
    return 0


# Memories


def _memory(hierarchy: Hierarchy, graph: Graph, label: str, pins: dict) -> Memory:
    data = [bit for bit in pins["RD_DATA"] if isinstance(bit, int)]
    straight = all(bit not in graph.next and bit not in graph.pins and bit not in graph.at_output for bit in data)
    memory = Memory(label, {"output"} if straight else set(), {})
    for what, names in MEMORY.items():
        _resolve(hierarchy, graph, memory, what, [bit for name in names for bit in pins.get(name, ())])
    return memory


def _placed_memory(hierarchy: Hierarchy, graph: Graph, number: int, memory: Memory) -> Memory:
    instance = graph.instances[number]
    placed = Memory(f"{instance.name}.{memory.name}", set(memory.have), {})
    for what, ports in memory.open.items():
        _resolve(hierarchy, graph, placed, what, [instance.bit(port) for port in ports])
    return placed


def _resolve(hierarchy: Hierarchy, graph: Graph, memory: Memory, what: str, bits: list):
    """Note whether all of some bits come straight from registers, or on which ports that depends."""
    ports: set[Port] = set()
    for bit in bits:
        if isinstance(bit, int):
            found = _origin(hierarchy, graph, bit)
            if found is None:
                return
            ports |= found
    if ports:
        memory.open[what] = frozenset(ports)
    else:
        memory.have.add(what)


def _origin(hierarchy: Hierarchy, graph: Graph, bit: int) -> set[Port] | None:
    """The ports from which a bit comes straight: none if it is a register, and no set if there is logic between.

    A block's pins invert by themselves.
    """
    bit = graph.inverted.get(bit, bit)
    if bit in graph.registers:
        return set()
    if bit in graph.ports:
        return {graph.ports[bit]}
    if bit not in graph.from_instance:
        return None
    number, port = graph.from_instance[bit]
    instance = graph.instances[number]
    child = hierarchy.graphs[instance.module]
    inner = _origin(hierarchy, child, child.outputs[port])
    if inner is None:
        return None
    outer: set[Port] = set()
    for port in inner:
        other = instance.bit(port)
        found = set() if other is None else _origin(hierarchy, graph, other)
        if found is None:
            return None
        outer |= found
    return outer

"""Clocked blocks: registers that change under the same conditions, together."""

from dataclasses import dataclass

from .rtlil import ALWAYS, Assign, Switch, Value, width

__all__ = ["Block", "blocks"]


@dataclass(eq=False)
class Block:
    """What happens at an edge of a clock.

    ``keep``: no tool may merge its registers with others. ``reset``, if any, is a pair: condition, and what is assigned
    when it holds; otherwise ``body`` is. A register keeps its value unless something is assigned to it.
    """

    clock: Value
    edge: str
    body: tuple
    keep: bool = False
    reset: tuple | None = None


def blocks(registers) -> list[Block]:
    """The blocks of some registers, in the order of each block's first register.

    Registers come together whose assignments depend on the same conditions in the same order, but those that are to be
    kept never with others.
    """
    groups: dict = {}
    for register in registers:
        key = register.clock, register.edge, "keep" in register.wire.attributes, _conditions(register.body)
        groups.setdefault(key, []).append(register.body)
    found = []
    for (clock, edge, keep, _), bodies in groups.items():
        body = _merged(bodies)
        block = Block(clock, edge, body, keep)
        if body and _is_reset(body):
            test, ((_, values),) = body[-1]
            block.body, block.reset = body[:-1], (test, values)
        found.append(block)
    return found


def _conditions(body):
    """Tests and patterns of a body's switches."""
    return tuple(
        (item.test, tuple(patterns for patterns, _ in item.cases)) for item in body if isinstance(item, Switch)
    )


def _merged(bodies):
    """One body that does what all of ``bodies``, of which each assigns to a wire of its own, do."""
    groups: dict = {}
    for body in bodies:
        groups.setdefault(_conditions(body), []).append(body)
    found: list = []
    for same in groups.values():
        if len(same) == 1:
            found += same[0]
            continue
        found += [item for body in same for item in body if isinstance(item, Assign)]
        switches = [[item for item in body if isinstance(item, Switch)] for body in same]
        for together in zip(*switches):
            found.append(
                Switch(
                    together[0].test,
                    tuple(
                        (patterns, _merged([switch.cases[number][1] for switch in together]))
                        for number, (patterns, _) in enumerate(together[0].cases)
                    ),
                )
            )
    return tuple(found)


def _is_reset(body):
    """Whether the last item is one condition under which every register of the body is set."""
    last = body[-1]
    if not isinstance(last, Switch) or width(last.test) != 1 or last.test == ALWAYS:
        return False
    if [patterns for patterns, _ in last.cases] != [("1",)]:
        return False
    values = last.cases[0][1]
    whole = {
        item.target.wire for item in values if isinstance(item, Assign) and item.target.width == item.target.wire.width
    }
    return len(body) > 1 and all(isinstance(item, Assign) for item in values) and _targets(body) <= whole


def _targets(body):
    """Wires that a body assigns to."""
    found = set()
    for item in body:
        if isinstance(item, Assign):
            found.add(item.target.wire)
        else:
            for _, inner in item.cases:
                found |= _targets(inner)
    return found

"""What bits of a module depend on, where that is nothing but its inputs, past and present."""

from collections import deque

__all__ = ["supports"]


def supports(made_of: dict[int, list], inputs: dict) -> dict[int, frozenset]:
    """The inputs on which each bit depends that depends on nothing else, loops being something else.

    Parameters
    ----------
    made_of : bit -> bits of which it is made; those that are no numbers are constants.
    inputs : bit -> what it is called.
    """
    sources = {bit: {other for other in others if isinstance(other, int)} for bit, others in made_of.items()}
    waiting = {bit: len(others) for bit, others in sources.items()}
    behind: dict[int, list[int]] = {}
    for bit, others in sources.items():
        for other in others:
            behind.setdefault(other, []).append(bit)
    found = {bit: frozenset([name]) for bit, name in inputs.items()}
    queue = deque(found)
    while queue:
        for bit in behind.get(queue.popleft(), ()):
            waiting[bit] -= 1
            if not waiting[bit] and bit not in inputs:
                found[bit] = frozenset().union(*(found[other] for other in sources[bit]))
                queue.append(bit)
    return found

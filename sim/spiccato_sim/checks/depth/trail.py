"""Paths while they are searched for: linked lists that share their beginnings."""

from typing import NamedTuple

from .rules import Cost

__all__ = ["FREE", "Step", "Trail", "front"]

#: Of a path on which nothing lies.
FREE = Cost()


class Step(NamedTuple):
    """One element of a path: a start, a cell, an end, or a path within an instance (``inner``)."""

    kind: str
    label: str
    module: str
    inner: "Trail | None" = None


class Trail(NamedTuple):
    """A path as a linked list, last step first, so that paths share their beginnings."""

    cost: Cost
    before: "Trail | None"
    step: Step | None

    def steps(self, prefix: str = "") -> list[Step]:
        """The steps in order, instances expanded."""
        chain: list[Step] = []
        trail: Trail | None = self
        while trail is not None:
            if trail.step is not None:
                chain.append(trail.step)
            trail = trail.before
        steps: list[Step] = []
        for step in reversed(chain):
            if step.inner is None:
                steps.append(step._replace(label=prefix + step.label))
            else:
                steps += step.inner.steps(f"{prefix}{step.label}.")
        return steps


def front(trails) -> list[Trail]:
    """The trails whose cost no other trail reaches or exceeds in every member."""
    by_cost = {trail.cost: trail for trail in trails}
    if len(by_cost) == 1:
        return list(by_cost.values())
    return [
        trail
        for cost, trail in by_cost.items()
        if not any(other != cost and all(a >= b for a, b in zip(other, cost)) for other in by_cost)
    ]

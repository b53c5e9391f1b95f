"""No shell at all: the accelerator alone."""

from typing import ClassVar

from .shell import Shell

__all__ = ["OutOfContext"]


class OutOfContext(Shell):
    """The accelerator alone at its target clock, for which no pins need to be known.

    Paths from and to its ports are not timed: the design around it has to register them.
    """

    name: ClassVar[str] = "out_of_context"

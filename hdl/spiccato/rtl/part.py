"""How parts are put together, for the simulator and for Verilog.

The accelerator has a few kinds of parts in hundreds of copies. Amaranth writes one Verilog module per copy; for
readable Verilog in reasonable time, each kind is converted once and placed with an ``Instance``. :func:`place`
hides the difference: by itself a part is a plain submodule, as for Amaranth's simulator and its platforms; while a
:class:`Library` is active, such as the one that writes Verilog, it is what the library makes of it.
"""

import abc
import contextlib
import contextvars
import inspect

from amaranth.hdl import ClockSignal, Instance, ResetInserter, Value
from amaranth.lib import wiring

__all__ = ["Part", "Library", "module_instance", "place", "ports"]

#: The library that takes the parts that are placed.
_LIBRARY: contextvars.ContextVar["Library | None"] = contextvars.ContextVar("library", default=None)


class Part(wiring.Component):
    """A component that exists once per kind: equal ``kind`` means equal hardware, which a :class:`Library` checks.

    Subclasses pass their ``kind``, after which the Verilog module is named. The first paragraphs of their docstring
    are the module's comment. A part may define ``verilog(style)`` and return the text of its module (memories, whose
    Verilog form the vendors' tools prescribe).

    Attributes
    ----------
    arguments : dict
        What the part was made with, by parameter, defaults included.
    module : str
        Name of its Verilog module.
    """

    #: The field of :class:`spiccato.families.Style` whose attribute the whole module gets, if any.
    module_style: str | None = None

    # A part that is placed as an instance is never elaborated itself, and parts are also made to ask for their
    # latency: neither is the mistake that Amaranth's warning about unused elaboratables is for.
    _MustUse__silence = True

    def __new__(cls, *args, **kwargs):
        part = super().__new__(cls)
        bound = inspect.signature(cls.__init__).bind(part, *args, **kwargs)
        bound.apply_defaults()
        part.arguments = dict(list(bound.arguments.items())[1:])
        return part

    def __init__(self, kind, signature):
        self.kind = kind
        super().__init__(signature)
        for name, (_, signal) in ports(self).items():
            signal.name = name

    @property
    def module(self):
        return f"spiccato_{self.kind}"


class Library(abc.ABC):
    """What :func:`place` hands the parts to while the library is :meth:`active`, instead of making them submodules.

    Attributes
    ----------
    parts : dict
        A part of each kind.
    """

    def __init__(self):
        self.parts = {}

    @abc.abstractmethod
    def instance(self, part, reset):
        """What is placed instead of the part. Asks :meth:`knows` first."""

    @contextlib.contextmanager
    def active(self):
        """Parts that are placed meanwhile go to this library."""
        token = _LIBRARY.set(self)
        try:
            yield self
        finally:
            _LIBRARY.reset(token)

    def knows(self, part):
        """Whether the library has the part's kind.

        Raises
        ------
        ValueError
            If what it has is other hardware: other ports, or made with other arguments.
        """
        known = self.parts.get(part.kind)
        if known is None:
            return False
        if type(known) is not type(part):
            differing = f"{type(known).__name__} and {type(part).__name__}"
        else:
            differing = ", ".join(
                f"{name} {known.arguments[name]!r} and {value!r}"
                for name, value in part.arguments.items()
                if known.arguments[name] != value
            )
        if not differing and known.signature != part.signature:
            differing = "ports"
        if differing:
            raise ValueError(f"two different parts of kind {part.kind!r} ({differing}): each needs a kind of its own")
        return True


def ports(part):
    """The ports of a part's module besides clock and reset, in the order of the part's declaration.

    Members of interfaces have the interface's name in front, with one underscore, as is usual for AXI.

    Returns
    -------
    dict
        (member, its value) by the port's name.

    Raises
    ------
    ValueError
        If two ports would have the same name.
    """
    found = {}
    for path, member, value in part.signature.flatten(part):
        name = "_".join(map(str, path))
        if name in found or name in ("clk", "rst"):
            raise ValueError(f"part of kind {part.kind!r}: two ports are called {name}")
        found[name] = member, Value.cast(value)
    return found


def module_instance(part, *, clock=True, reset):
    """An ``Instance`` of a part's module whose ports are the part's own signals, and the clock domain's.

    ``reset`` is the value of its reset port; None if it has none.
    """
    connections = {}
    if clock:
        connections["i_clk"] = ClockSignal()
    if reset is not None:
        connections["i_rst"] = reset
    for name, (member, value) in ports(part).items():
        connections[f"{'i' if member.flow is wiring.In else 'o'}_{name}"] = value
    return Instance(part.module, **connections)


def place(m, name, part, *, reset=None):
    """Add ``part`` to module ``m`` under ``name`` and return it.

    ``reset``, if given, is the part's reset instead of the domain's: a signal that is also high during the latter.
    """
    library = _LIBRARY.get()
    if library is None:
        m.submodules[name] = part if reset is None else ResetInserter(reset)(part)
        return part
    m.submodules[name] = library.instance(part, reset)
    # What the instance's ports are connected to gets the instance's name.
    for port, (_, signal) in ports(part).items():
        signal.name = f"{name}__{port}"
    return part

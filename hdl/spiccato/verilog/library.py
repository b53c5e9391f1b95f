"""The modules of a design: each kind of part as Verilog, once."""

import inspect
import re
import textwrap

from amaranth.back import rtlil
from amaranth.hdl import Elaboratable, ResetSignal, Shape
from amaranth.lib import wiring

from ..families import FAMILIES
from ..rtl.dsp import Registers
from ..rtl.part import Library, module_instance, ports
from . import primitives
from .rtlil import parse
from .text import LINE, module_name, write_module

__all__ = ["VerilogLibrary", "latencies"]


class VerilogLibrary(Library):
    """Collects the Verilog of each kind of part, in the order in which they were first finished (leaves first).

    Parameters
    ----------
    family : str
        Key of :data:`~spiccato.families.FAMILIES`: whose attributes memories and multipliers get.

    Attributes
    ----------
    modules : dict
        Texts by module name.
    """

    def __init__(self, family="portable"):
        super().__init__()
        self.style, self.modules = FAMILIES[family].style, {}

    def add(self, part):
        """Convert ``part`` unless its kind is known already; return the module's text.

        Raises
        ------
        ValueError
            If the kind stands for other hardware already.
        RtlilError
            If the part holds what the writer does not know, or a register without a name.
        """
        if not self.knows(part):
            # Modules that it places come before it.
            self.modules[part.module], self.parts[part.kind] = self.convert(part), part
        return self.modules[part.module]

    def convert(self, part):
        """The text of the part's module; modules within it that are no parts are added."""
        body = self.primitives(part)
        if body is not None:
            return _comment(part) + primitives.module(part, body)
        if hasattr(part, "verilog"):
            return _comment(part) + part.verilog(self.style)
        own, *inner = parse(self.netlist(part))
        for module in inner:
            name = module_name(module.name)
            if name in self.modules:
                raise ValueError(f"two modules are called {name}")
            self.modules[name] = f"// Within {part.module}.\n{self.text(module)}"
        text = self.text(own, list(ports(part)))
        if part.module_style and getattr(self.style, part.module_style):
            text = f"(* {getattr(self.style, part.module_style)} *)\n{text}"
        return _comment(part) + text

    def primitives(self, part) -> str | None:
        """What a part's module holds if it is to be made of primitives of the family; None: it is converted.

        The portable library has none.
        """
        return None

    def netlist(self, part):
        """Amaranth's RTLIL of a part and of modules within it; the parts that it places are added."""
        with self.active():
            return rtlil.convert(_Flat(part), name=part.module, platform=None, emit_src=False)

    def text(self, module, port_names=()):
        """The Verilog of one module of a netlist; see :func:`.text.write_module`."""
        return write_module(module, port_names, self.style.copy).text

    def instance(self, part, reset=None):
        """An instance of the part's module whose ports are the part's own signals.

        ``reset`` as in :func:`~spiccato.rtl.part.place`.
        """
        text = self.add(part)
        header = re.search(rf"^module {part.module}\s*\((.*?)\);", text, re.S | re.M)
        if header is None:
            raise ValueError(f"no module {part.module} in the text of the part of kind {part.kind!r}")
        names = set(re.findall(r"\w+", header[1]))
        if "rst" not in names:
            return module_instance(part, clock="clk" in names, reset=None)
        return module_instance(part, clock="clk" in names, reset=ResetSignal() if reset is None else reset)


class _Flat(Elaboratable):
    """A part without interfaces: its ports as members of its own, by which Amaranth names them."""

    def __init__(self, part):
        self._part = part
        found = ports(part)
        self.signature = wiring.Signature({name: member.flow(len(value)) for name, (member, value) in found.items()})
        self.__dict__.update({name: value for name, (_, value) in found.items()})

    def elaborate(self, platform):
        return self._part


def latencies(part):
    """All cycle counts that a part names ``latency`` or ``*_latency``."""
    names = [name for name in dir(part) if name == "latency" or name.endswith("_latency")]
    return {name: getattr(part, name) for name in names}


def _comment(part):
    """A module's comment.

    It has the docstring's paragraphs before its first section, the latencies, and what the part was made with as far as
    that is said in a word.
    """
    text = re.split(r"\n\n?[A-Z]\w*\n-+\n", inspect.getdoc(type(part)) or "")[0]
    # Without the markup.
    text = re.sub(r":\w+:`(?:~[\w.]*\.(?=\w+`)|\.*)?([^`]*)`", r"\1", text).replace("``", "")
    paragraphs = text.strip().split("\n\n")
    cycles = ", ".join(
        f"{name.removesuffix('_latency').replace('_', ' ')} {count}".replace("latency ", "")
        for name, count in latencies(part).items()
    )
    if cycles:
        paragraphs.append(f"Latency in cycles: {cycles}.")
    made = ", ".join(
        f"{name} = {value!r}"
        for name, value in part.arguments.items()
        if name != "kind" and isinstance(value, (bool, int, str, Shape, Registers))
    )
    if made:
        paragraphs.append(f"Parameters: {made}.")
    lines = "\n\n".join("\n".join(textwrap.wrap(" ".join(paragraph.split()), LINE - 3)) for paragraph in paragraphs)
    return "".join(f"// {line}".rstrip() + "\n" for line in lines.split("\n"))

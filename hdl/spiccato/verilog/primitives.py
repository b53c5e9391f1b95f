"""What the libraries of device families have in common: modules that are made of a family's primitives."""

import textwrap

from amaranth.hdl import Shape
from amaranth.lib import wiring

from ..rtl.part import ports
from .text import LINE

__all__ = ["delay", "extended", "instance", "module", "signed_width"]


def module(part, body):
    """The text of a part's module around ``body``: a clock, the part's ports, no reset."""
    found = ports(part)
    text = f"module {part.module}(clk, {', '.join(found)});\n  input clk;\n"
    for name, (member, value) in found.items():
        direction = "input" if member.flow is wiring.In else "output"
        text += f"  {direction} [{len(value) - 1}:0] {name};\n"
    return f"{text}{body}endmodule\n"


def extended(name, shape, bits, shift=0):
    """Verilog text of ``bits`` bits: the value ``name`` of ``shape``, shifted left, extended by its sign or zeros."""
    shape = Shape.cast(shape)
    room = bits - shift
    pieces = [name if shape.width <= room else f"{name}[{room - 1}:0]"]
    if shape.width < room:
        fill = f"{name}[{shape.width - 1}]" if shape.signed else "1'b0"
        pieces.insert(0, f"{{{room - shape.width}{{{fill}}}}}")
    if shift:
        pieces.append(f"{shift}'d0")
    return f"{{{', '.join(pieces)}}}" if len(pieces) > 1 else pieces[0]


def signed_width(shape):
    """Bits that the values of a shape take where only signed ones can be had."""
    shape = Shape.cast(shape)
    return shape.width + (not shape.signed)


def delay(name, bits, cycles):
    """Registers in a row behind the value ``name``: (Verilog text, name of the last one)."""
    text, last = "", name
    for cycle in range(1, cycles + 1):
        text += f"  reg [{bits - 1}:0] {name}_{cycle};\n  always @(posedge clk)\n    {name}_{cycle} <= {last};\n"
        last = f"{name}_{cycle}"
    return text, last


def instance(kind, name, parameters, pins):
    """The text of an instance.

    ``parameters``: integers, or Verilog text of numbers, or strings that are to be quoted, by name. ``pins``: what each
    is connected to.
    """
    given = [f".{parameter}({_value(value)})" for parameter, value in parameters.items()]
    connected = [f".{pin}({value})" for pin, value in pins.items()]
    return f"  {kind} #(\n{_listing(given)}\n  ) {name} (\n{_listing(connected)}\n  );\n"


def _value(value):
    return str(value) if isinstance(value, int) or "'" in value else f'"{value}"'


def _listing(items):
    # Spaces within an item are no places to break it at.
    held = ", ".join(item.replace(" ", "\0") for item in items)
    wrapped = textwrap.wrap(held, LINE - 4, break_long_words=False, break_on_hyphens=False)
    return "\n".join(f"    {line}" for line in wrapped).replace("\0", " ")

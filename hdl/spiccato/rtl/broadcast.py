"""Signals on their way: registers in a row, and trees of registers where many need one signal.

Registers of a tree are equal to each other, and no tool may merge them: a signal that reaches too far in a cycle is
what they are for (:class:`spiccato.families.Reach`).
"""

from amaranth.hdl import Array, Cat, Mux, Signal, Value

__all__ = [
    "DelayLine",
    "batches",
    "chosen",
    "copies",
    "equal_register",
    "held_reset",
    "power_of_two",
    "select",
    "slices",
    "take",
]

#: What a register of a tree drives, unless the schedule leaves less time than that takes.
_BRANCHES = 8


def power_of_two(there_are, most):
    """The largest power of two that is at most ``most``, and at most ``there_are``, which is one."""
    return min(there_are, 1 << int(max(1, most)).bit_length() - 1)


def equal_register(name, shape=1, *, init=None, resettable=False):
    """A register that is one of several equal ones; who makes it says how it changes.

    Returns
    -------
    Signal
    """
    return Signal(shape, name=name, init=init, reset_less=not resettable, attrs={"keep": "true"})


def held_reset(m, name):
    """A register that is high in the cycle after each one in which the domain is in reset: the reset of a part.

    Returns
    -------
    Signal
    """
    register = equal_register(f"reset_{name}", init=1, resettable=True)
    m.d.sync += register.eq(0)
    return register


def copies(m, name, value, number, *, resettable=False):
    """``number`` equal registers that hold ``value`` one cycle later.

    The Verilog gives them the family's attributes (:attr:`spiccato.families.Style.copy`).

    Returns
    -------
    list of Signal
    """
    return [_copy(m, f"{name}_{i}", value, resettable) for i in range(number)]


def _copy(m, name, value, resettable):
    register = Signal.like(value, name=name, reset_less=not resettable, attrs={"keep": "true"})
    m.d.sync += register.eq(value)
    return register


def batches(registers, reach, *, bits=len):
    """``registers`` in order, as lists of at most ``reach`` bits together: for a copy of what they all need.

    ``bits`` tells how many a register counts.
    """
    lists: list[list] = [[]]
    for register in registers:
        if lists[-1] and sum(map(bits, lists[-1])) + bits(register) > reach:
            lists.append([])
        lists[-1].append(register)
    return lists


def slices(bits, reach):
    """Slices of ``bits`` bits, at most ``reach`` each: for a copy of what takes all of them."""
    return [slice(low, min(bits, low + reach)) for low in range(0, bits, reach)]


def take(m, name, register, value, when, reach):
    """``register`` takes ``value`` in the cycle after ``when``, which is copied as often as the reach asks for.

    ``value`` is that of the later cycle; the copies are called ``name``.
    """
    parts = slices(len(register), reach)
    for bits, copy in zip(parts, copies(m, name, when, len(parts))):
        with m.If(copy):
            m.d.sync += register[bits].eq(value[bits])


def select(m, name, values, number, reach):
    """A register that holds one of ``values``, by their ``number`` of the cycle before: copied as the reach asks for.

    Returns
    -------
    Signal
    """
    result = Signal.like(values[0], name=name, reset_less=True)
    parts = slices(len(result), reach)
    for bits, copy in zip(parts, copies(m, f"{name}_number", number, len(parts))):
        m.d.sync += result[bits].eq(Array(value[bits] for value in values)[copy])
    return result


def chosen(line, cycle, name, if_true, if_false, reach):
    """One of two values of equal width by a bit as it is in ``cycle``, a copy of it for each ``reach`` bits.

    Parameters
    ----------
    line : DelayLine
    name : str
        Of the copies.
    if_true, if_false : values
    reach : int

    Returns
    -------
    Value
        Unsigned.
    """
    ours, others = Value.cast(if_true), Value.cast(if_false)
    parts = slices(len(ours), reach)
    selects = line.spread(cycle, len(parts), name)
    return Cat(Mux(select, ours[part], others[part]) for select, part in zip(selects, parts))


class DelayLine:
    """A signal as it was some cycles ago: one register per cycle, made when first asked for.

    ``start`` is the cycle in which ``signal`` itself is valid, in the caller's own count (0 = issue register), so
    that the caller asks for absolute cycles: ``line.at(7)``.
    """

    def __init__(self, m, name, signal, start=0, *, resettable=False):
        self._m, self._name, self._start, self._resettable = m, name, start, resettable
        self._stages = [signal]

    def at(self, cycle):
        """The signal as valid in ``cycle`` >= start."""
        if cycle < self._start:
            raise ValueError(f"{self._name} is not known before cycle {self._start}, asked for {cycle}")
        while len(self._stages) <= cycle - self._start:
            previous = self._stages[-1]
            stage = Signal.like(
                previous, name=f"{self._name}_{self._start + len(self._stages)}", reset_less=not self._resettable
            )
            self._m.d.sync += stage.eq(previous)
            self._stages.append(stage)
        return self._stages[cycle - self._start]

    def spread(self, cycle, number, name=None):
        """``number`` equal registers with the signal as valid in ``cycle`` > start, neighbours fed by one register.

        They are the leaves of a tree as deep as its branches ask for, or as the cycles since ``start`` allow. Its
        registers are called ``name``, the line's own by default, with their cycle and number.
        """
        levels = cycle - self._start
        if levels < 1:
            raise ValueError(f"{self._name}: no cycle for a register between {self._start} and {cycle}")
        branches = _BRANCHES
        while branches**levels < number:
            branches += 1
        sizes = [number]
        while sizes[0] > branches or sizes[0] > 1 and len(sizes) < levels:
            sizes.insert(0, -(-sizes[0] // branches))
        first = cycle - len(sizes)
        registers = [self.at(first)]
        for level, size in enumerate(sizes, first + 1):
            parents, registers = registers, []
            for i in range(size):
                parent = parents[i * len(parents) // size]
                registers.append(_copy(self._m, f"{name or self._name}_{level}_{i}", parent, self._resettable))
        return registers

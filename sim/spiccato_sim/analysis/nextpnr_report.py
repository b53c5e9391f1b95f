"""What nextpnr's timing report says, with the names of the design."""

import re
from typing import NamedTuple

__all__ = ["Arrival", "TimingPath", "arrivals", "grouped", "worst_path"]

#: What yosys appends to the name of a register's signal to call the flip-flop of one of its bits.
_REGISTER_SUFFIX = re.compile(r"_(?:TRELLIS_FF|DFF[A-Z]*)_Q(?:_\d+)?$")
#: And to the name of a signal to call the logic that it comes from.
_LOGIC_SUFFIX = re.compile(r"_(?:LUT\d|PFUMX|L6MUX21|CCU2C|ALU|MUX2_LUT\d|TRELLIS_FF|DFF[A-Z]*)_.*$")
#: Pins of flip-flops.
_RESETS = ("LSR", "RESET", "SET")


class TimingPath(NamedTuple):
    """The slowest path between registers of the design's clock.

    Attributes
    ----------
    source, sink : str
        Where it begins and ends: hierarchical name of the signal, or of the block and its pin.
    logic_ns, routing_ns : float
        Its two parts; the former has the register's own delay and the set-up time.
    levels : int
        Cells of logic in it.
    nets : list of (str, float, int)
        Name and delay, ns, of each net, and how many columns and rows of the device it spans; without carry chains.
    """

    source: str
    sink: str
    logic_ns: float
    routing_ns: float
    levels: int
    nets: list

    @property
    def ns(self):
        """The whole delay."""
        return self.logic_ns + self.routing_ns


class Arrival(NamedTuple):
    """The endpoints of one kind: how late data come to the latest of them, and how many come nearly as late."""

    sink: str
    ns: float
    net: str
    late: int


def _signal(name):
    """Name of a signal, or of the one that some logic is for; without the design around the accelerator."""
    name = re.sub(r"^(?:\w+\.)?accelerator\.", "", name)
    stem, logic = _LOGIC_SUFFIX.subn("", name)
    return f"{stem} (logic)" if logic else name


def _pin(end):
    """Name of an endpoint: the register's signal, or the block with the pins' common name."""
    cell, port = end["cell"], end["port"]
    register, found = _REGISTER_SUFFIX.subn("", cell)
    if found:
        return _signal(register) + (" (enable)" if port == "CE" else " (reset)" if port in _RESETS else "")
    return f"{_signal(cell)}.{port.rstrip('0123456789')}"


def grouped(name):
    """A name with all numbers replaced, so that equal things in different places have one."""
    return re.sub(r"(?<=_)\d+|(?<=\[)\d+", "*", name)


def _clock(report):
    """The design's clock: the one from which most is asked."""
    return max(report["fmax"], key=lambda name: report["fmax"][name]["constraint"])


def worst_path(report):
    """The slowest path from a register to a register.

    Parameters
    ----------
    report : dict
        nextpnr's report.

    Returns
    -------
    TimingPath
    """
    event = f"posedge {_clock(report)}"
    (steps,) = (found["path"] for found in report["critical_paths"] if found["from"] == event and found["to"] == event)
    wires = [step for step in steps if step["type"] == "routing"]
    nets = [
        (
            _signal(step["net"]),
            round(step["delay"], 2),
            sum(abs(here - there) for here, there in zip(step["from"]["loc"], step["to"]["loc"])),
        )
        for step in wires
        if step["delay"]
    ]
    routing = sum(step["delay"] for step in wires)
    return TimingPath(
        nets[0][0],
        _pin(steps[-1]["to"]),
        round(sum(step["delay"] for step in steps) - routing, 2),
        round(routing, 2),
        sum(step["type"] == "logic" for step in steps),
        nets,
    )


def arrivals(report, count, share=0.9):
    """The kinds of endpoints to which data come latest, the latest first; without the set-up time of the endpoint.

    Parameters
    ----------
    report : dict
        nextpnr's report with details.
    count : int
        Of the kinds.
    share : float
        What counts as nearly as late: of the latest arrival of all.

    Returns
    -------
    list of Arrival
    """
    event = f"posedge {_clock(report)}"
    kinds: dict[str, list[tuple[float, str]]] = {}
    for net in report["detailed_net_timings"]:
        for end in net["endpoints"]:
            if net["event"] == event and end["event"] == event:
                kinds.setdefault(grouped(_pin(end)), []).append((max(end["delay"]), grouped(_signal(net["net"]))))
    late = share * max((ns for found in kinds.values() for ns, _ in found), default=0)
    latest = [
        Arrival(sink, round(max(found)[0], 2), max(found)[1], sum(ns >= late for ns, _ in found))
        for sink, found in kinds.items()
    ]
    return sorted(latest, key=lambda arrival: -arrival.ns)[:count]

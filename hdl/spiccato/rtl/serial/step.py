"""STEP: an input packet to the accelerator, and the output packet that it leads to.

Beats are wide, and what moves them has to reach all of their bits: they are cut into lanes, each of which has registers
of its own for that.
"""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib.wiring import In, Out

from ...isa.frames import STEP_HEADER_BYTES, TID_BYTES, Status
from ...isa.marks import request_word
from ..axi import input_stream, output_stream
from ..broadcast import DelayLine, equal_register, held_reset
from ..part import Part, place
from ..words import layout
from .execution import Execution, Outcome
from .lane import Lane

__all__ = ["Step"]


class Step(Part):
    """STEP: see :class:`StepInput` and :class:`StepOutput`.

    Parameters
    ----------
    config : Config

    Attributes
    ----------
    link : :class:`.execution.Execution`
    m_axis_input : out, s_axis_output : in, to and from the accelerator; beats are passed on whole, whatever ``tkeep``
        says
    """

    def __init__(self, config):
        self.config = config
        super().__init__(
            "link_step",
            {
                "link": Out(Execution()),
                "m_axis_input": Out(input_stream(config)),
                "s_axis_output": In(output_stream(config)),
            },
        )

    def elaborate(self, platform):
        m = Module()
        link, request, answer = self.link, self.m_axis_input, self.s_axis_output
        sending = place(m, "input", StepInput(self.config), reset=held_reset(m, "input"))
        receiving = place(m, "output", StepOutput(self.config), reset=held_reset(m, "output"))
        m.d.comb += [
            *(part.link.overdue.eq(link.overdue) for part in (sending, receiving)),
            *(getattr(sending.link, name).eq(getattr(link, name)) for name in ("go", "byte", "settled", "more")),
            receiving.link.go.eq(sending.receive),
            link.take.eq(sending.link.take),
            *(getattr(link, name).eq(getattr(receiving.link, name)) for name in ("reply_en", "reply")),
            *(
                getattr(link, name).eq(getattr(sending.link, name) | getattr(receiving.link, name))
                for name in ("waiting", "done", "status")
            ),
        ]
        # Beats are the lanes'.
        for name in ("tid", "tuser", "tlast", "tvalid"):
            m.d.comb += [
                getattr(request, name).eq(getattr(sending.axis, name)),
                getattr(receiving.axis, name).eq(getattr(answer, name)),
            ]
        m.d.comb += [sending.axis.tready.eq(request.tready), answer.tready.eq(receiving.axis.tready)]
        lanes = [
            place(m, f"lane_{i}", Lane(self.config.input_beats), reset=Const(0))
            for i in range(self.config.beat_bits // Lane.width)
        ]
        # Bytes go from each lane to the one below.
        for i, (lane, upper) in enumerate(zip(lanes, [*(lane.lower for lane in lanes[1:]), link.byte])):
            bits = slice(i * Lane.width, (i + 1) * Lane.width)
            m.d.comb += [
                lane.shift.eq(sending.shift | receiving.shift),
                lane.load.eq(receiving.load),
                lane.write.eq(sending.write),
                lane.at.eq(sending.at),
                lane.upper.eq(upper),
                lane.beat.eq(answer.tdata[bits]),
                request.tdata[bits].eq(lane.tdata),
            ]
        m.d.comb += receiving.lower.eq(lanes[0].lower)
        return m


class StepInput(Part):
    """Collects an input packet, so that its beats follow each other as in any other design, and sends it.

    It begins when the accelerator is ready for a packet, which then takes one beat a cycle. What tells so reaches
    nothing but a register: a beat that was not taken is noticed when it is too late, and ends the session.

    Parameters
    ----------
    config : Config

    Attributes
    ----------
    link : :class:`.execution.Execution`; ``done`` if there is to be no output, or at once if the packet was not taken
    axis : out, the packet, but for ``tdata``
    shift, write, at : out, to the lanes
    receive : out, a pulse: the packet is sent, and is to be answered
    """

    def __init__(self, config):
        self.config = config
        self.beat_bytes = config.beat_bits // 8
        super().__init__(
            "link_step_input",
            {
                "link": Out(Execution()),
                "axis": Out(input_stream(config)),
                "shift": Out(1),
                "write": Out(1),
                "at": Out(range(config.input_beats)),
                "receive": Out(1),
            },
        )

    def elaborate(self, platform):
        m = Module()
        link, axis = self.link, self.axis
        outcome = Outcome(m, link, after=1)
        header = Signal(8 * STEP_HEADER_BYTES, reset_less=True)
        asked = Signal(layout(request_word))
        index = Signal(range(self.beat_bytes), reset_less=True)
        at = Signal.like(self.at, name="packet_at", reset_less=True)
        to_come = Signal(range(self.config.input_beats + 1), reset_less=True)
        clears, rewinds, heads, runs = (Signal(name=name) for name in ("clears", "rewinds", "heads", "runs"))
        ends = Signal(name="runs_last")
        # As it was when the accelerator saw them, whether it took the beat.
        ready, sent, sent_last = (Signal(name=name, reset_less=True) for name in ("ready", "sent", "sent_last"))
        m.d.comb += [
            asked.eq(header[8 * TID_BYTES :]),
            axis.tid.eq(header),
            axis.tuser.eq(asked),
            axis.tvalid.eq(DelayLine(m, "runs", runs, resettable=True).at(Lane.latency)),
            axis.tlast.eq(DelayLine(m, "runs_last", ends).at(Lane.latency)),
            self.at.eq(at),
            ends.eq(to_come == 1),
        ]
        m.d.sync += (pulse.eq(0) for pulse in (clears, rewinds, heads, self.shift, self.write, self.receive))
        m.d.sync += [ready.eq(axis.tready), sent.eq(axis.tvalid), sent_last.eq(axis.tlast)]
        with m.If(heads):
            m.d.sync += header.eq(Cat(header[8:], link.byte))
        with m.If(clears):
            m.d.sync += to_come.eq(0)
        with m.Elif(self.write):
            m.d.sync += to_come.eq(to_come + 1)
        with m.Elif(runs):
            m.d.sync += to_come.eq(to_come - 1)
        with m.If(clears | rewinds):
            m.d.sync += at.eq(0)
        with m.Elif(self.write | runs):
            m.d.sync += at.eq(at + 1)
        with m.If(ends):
            m.d.sync += runs.eq(0)
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += index.eq(0)
                with m.If(link.go):
                    m.d.sync += clears.eq(1)
                    m.next = "HEADER"
            with m.State("HEADER"):
                with m.If(link.settled):
                    m.d.sync += [heads.eq(1), index.eq(index + 1)]
                    m.d.comb += link.take.eq(1)
                    with m.If(index == STEP_HEADER_BYTES - 1):
                        m.d.sync += index.eq(0)
                        m.next = "BEAT"
            with m.State("BEAT"):
                with m.If(link.settled):
                    m.d.sync += [self.shift.eq(1), index.eq(index + 1)]
                    m.d.comb += link.take.eq(1)
                    with m.If(index.all()):
                        m.next = "BEAT END"
            with m.State("BEAT END"):
                with m.If(link.settled):
                    m.d.sync += self.write.eq(1)
                    m.next = "BEAT"
                    with m.If(~link.more):
                        m.next = "REWIND"
            with m.State("REWIND"):
                m.d.sync += rewinds.eq(1)
                m.next = "BEGIN"
            with m.State("BEGIN"):
                m.d.comb += link.waiting.eq(1)
                with m.If(ready):
                    m.d.sync += runs.eq(1)
                    m.next = "SEND"
                with m.If(link.overdue):
                    m.d.sync += runs.eq(0)
                    outcome.is_(Status.TIMEOUT)
                    m.next = "IDLE"
            with m.State("SEND"):
                with m.If(sent & sent_last):
                    m.next = "IDLE"
                    with m.If(asked.quiet):
                        outcome.is_(Status.OK)
                    with m.Else():
                        m.d.sync += self.receive.eq(1)
                with m.If(sent & ~ready):
                    m.d.sync += [runs.eq(0), self.receive.eq(0)]
                    outcome.is_(Status.TIMEOUT)
                    m.next = "IDLE"
        return m


class StepOutput(Part):
    """Receives an output packet, and makes it the response's payload.

    Parameters
    ----------
    config : Config

    Attributes
    ----------
    link : :class:`.execution.Execution`, without payload
    axis : in, the packet, but for ``tdata``
    load, shift : out, to the lanes
    lower : in, the lowest byte in the lanes
    """

    def __init__(self, config):
        self.config = config
        self.beat_bytes = config.beat_bits // 8
        super().__init__(
            "link_step_output",
            {
                "link": Out(Execution()),
                "axis": In(output_stream(config)),
                "load": Out(1),
                "shift": Out(1),
                "lower": In(8),
            },
        )

    def elaborate(self, platform):
        m = Module()
        link, axis = self.link, self.axis
        # A reply is three registers behind the state: the lanes' commands, their own, and the reply.
        outcome = Outcome(m, link, after=3)
        ends = Signal(reset_less=True)
        trailer = Signal(8 * (1 + TID_BYTES), reset_less=True)
        index = Signal(range(self.beat_bytes), reset_less=True)
        beats_left = Signal(range(self.config.output_beats), reset_less=True)
        trails, shifts, trailing = (Signal(name=name) for name in ("trails", "shifts", "trailing"))
        # High in the cycle in which the lanes take the beat.
        ready, loads = (equal_register(name, resettable=True) for name in ("ready", "loads"))
        m.d.comb += axis.tready.eq(ready)
        m.d.sync += [
            *(pulse.eq(0) for pulse in (self.load, self.shift, trails)),
            ready.eq(self.load),
            loads.eq(self.load),
            shifts.eq(self.shift),
            trailing.eq(trails),
            link.reply_en.eq(shifts | trailing),
            link.reply.eq(self.lower),
        ]
        with m.If(trailing):
            m.d.sync += [link.reply.eq(trailer[:8]), trailer[:-8].eq(trailer[8:])]
        with m.If(loads):
            m.d.sync += trailer.eq(Cat(axis.tuser.as_value() | Const(0, 8), axis.tid))
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [index.eq(0), beats_left.eq(self.config.output_beats - 1)]
                with m.If(link.go):
                    m.next = "RECEIVE"
            with m.State("RECEIVE"):
                m.d.comb += link.waiting.eq(1)
                with m.If(axis.tvalid):
                    m.d.sync += [self.load.eq(1), ends.eq(axis.tlast)]
                    m.next = "BEAT"
                with m.If(link.overdue):
                    outcome.is_(Status.TIMEOUT)
                    m.next = "IDLE"
            with m.State("BEAT"):
                m.d.sync += [self.shift.eq(1), index.eq(index + 1)]
                with m.If(index.all()):
                    m.d.sync += beats_left.eq(beats_left - 1)
                    m.next = "RECEIVE"
                    with m.If(ends):
                        m.next = "TRAILER"
                    with m.Elif(beats_left == 0):
                        # More than the accelerator's queue holds: this will never end.
                        outcome.is_(Status.TIMEOUT)
                        m.next = "IDLE"
            with m.State("TRAILER"):
                m.d.sync += [trails.eq(1), index.eq(index + 1)]
                with m.If(index == TID_BYTES):
                    outcome.is_(Status.OK)
                    m.next = "IDLE"
        return m

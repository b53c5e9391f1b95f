"""Output stream: from accumulators to floating-point values, through a queue.

Stages, from the accumulator registers (0): capture of all cores' sums, from which one beat a cycle is taken (1);
magnitude and thermometer code of its leading group of four bits (2); the window of bits from there (3); fine
normalisation (4); rounding, half away from zero, and exponent in one addition (5); the queue, valid for the host (6).
With the profile's ``capture_register`` the sums arrive one cycle later.
"""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out, connect, flipped

from ..isa.issue import issue_word
from ..isa.marks import marks_word
from ..numbers import ACC_BITS, FLOAT_EXPONENT_BITS
from .axi import output_stream
from .broadcast import DelayLine, equal_register
from .output_lane import OutputLane
from .output_queue import OutputQueue
from .part import Part, place
from .words import layout

__all__ = ["Egress", "output_event_layout"]


def output_event_layout(config):
    """A finished slot of the linear layer, with the issue word that finished it."""
    return data.StructLayout(
        {
            "last_beat": issue_word(config)["output_beats"].width,  # beats of the slot less one
            "last": 1,  # ends the packet
            "flags": layout(marks_word),
            "tid": config.tid_bits,
            "blank": 1,  # zeros instead of the sums
            "exponent": FLOAT_EXPONENT_BITS,  # 127 less the fraction bits of the sums
            "last_values": (config.beat_values - 1).bit_length(),  # values of the packet's last beat, less one
            "started": 32,
        }
    )


class Egress(Part):
    """Takes finished slots of the linear layer from the accumulators and queues their beats for the host.

    Slots have to come at least as many cycles apart as they have beats, and only when the queue has room (the
    sequencer counts it): nothing here ever waits, save the queue for the host.

    Attributes
    ----------
    valid, event : in, :func:`output_event_layout`, ``capture_lead`` cycles before the accumulators
    acc : in, all cores' accumulators
    now : in, cycle counter
    axis : out, the packets; ``tuser``: marks of the inference
    taken : out, a pulse for each beat that left for the host
    done : out, a pulse for each complete packet, with ``cycles``: from its input's first beat to ``tvalid`` of its
        last output beat, time in the queue not counted
    latency : int
        Cycles from the accumulators to ``tvalid`` of a slot's first beat, the queue being empty.
    wake_cycles : int
        Cycles after a reset until slots may come: by then nothing is left of what was there before.
    """

    #: How far ahead of its accumulators a slot is announced: the time for a tree to all the registers that take them.
    capture_lead = 4
    #: From the acceptance of a beat to ``taken``.
    taken_latency = OutputQueue.taken_latency

    def __init__(self, config):
        self.config = config
        #: Cycle of the accumulators at the registers that capture them, and of a beat at the queue.
        self._capture = int(config.stages.capture_register)
        self._beat = self._capture + 1 + OutputLane.latency
        self.latency = self._beat + OutputQueue.latency
        self.wake_cycles = self.capture_lead + self.latency + OutputQueue.clear_latency
        super().__init__(
            "egress",
            {
                "valid": In(1),
                "event": In(output_event_layout(config)),
                "acc": In(data.ArrayLayout(data.ArrayLayout(signed(ACC_BITS), config.block), config.cores)),
                "now": In(32),
                "axis": Out(output_stream(config)),
                "taken": Out(1),
                "done": Out(1),
                "cycles": Out(32),
            },
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        reach = config.stages.reach.registers
        values = config.beat_values
        width = ACC_BITS * values
        chunks = config.cores * config.beats_per_core
        start = -self.capture_lead

        # What goes with the slot, a cycle after it has come. Beats are counted from there on.
        arrived = DelayLine(m, "arrived", self.event, start).at(start + 1)
        holds_started, counts, holds, captures = DelayLine(m, "slot_valid", self.valid, start).spread(start + 1, 4)
        event = Signal.like(self.event, reset_less=True)
        taken_with_slot = [name for name in event.shape().members if name not in ("started", "last_beat")]
        remaining = Signal(range(chunks + 1), reset_less=True)
        with m.If(holds_started):
            m.d.sync += event.started.eq(arrived.started)
        with m.If(holds):
            m.d.sync += [event[name].eq(arrived[name]) for name in taken_with_slot]
        with m.If(counts):
            m.d.sync += remaining.eq(arrived.last_beat + 1)
        with m.Elif(remaining.any()):
            m.d.sync += remaining.eq(remaining - 1)
        held = start + 2
        last = Signal()
        m.d.comb += last.eq((remaining == 1) & event.last)
        # Reported at once, as of the cycle in which the beat will be there.
        now, cycles = Signal(32, name="now_ahead", reset_less=True), Signal(32, name="packet_cycles", reset_less=True)
        done = Signal(name="packet_done")
        m.d.sync += [now.eq(self.now + (self.latency - held + 1)), done.eq(last), cycles.eq(now - event.started)]
        m.d.comb += [self.done.eq(done), self.cycles.eq(cycles)]

        # Capture; then one beat a cycle moves to the front, whether there is one or not. The last place is free to take
        # whatever comes. In front, signs are there twice: they go to all bits of their values.
        acc = DelayLine(m, "acc", self.acc.as_value(), 0).at(self._capture)
        sizes = [width + (values if k == 0 else 0) for k in range(chunks)]
        number = sum(-(-size // reach) for size in sizes[:-1])
        selects = iter(DelayLine(m, "capture", captures, start + 1).spread(self._capture, number) if number else [])
        following: Value | None = None
        for k in reversed(range(chunks)):
            taken = acc.word_select(k, width)
            chunk: Value = Signal(width, name=f"chain_{k}", reset_less=True)
            if k == 0:
                taken, following = _with_signs(taken), None if following is None else _with_signs(following)
                chunk = Cat(chunk, equal_register("signs", values))
            if following is None:
                m.d.sync += chunk.eq(taken)
            else:
                for low in range(0, sizes[k], reach):
                    bits = slice(low, min(low + reach, sizes[k]))
                    m.d.sync += chunk[bits].eq(Mux(next(selects), taken[bits], following[bits]))
            following = chunk
        # The first in the chain is the last one made.
        front = chunk

        queue = place(m, "queue", OutputQueue(config))
        # Of a value, these drive the addend's bits, and what makes it zero: all of them.
        per_exponent = max(1, reach // config.io_bits)
        scales = DelayLine(m, "scale", Cat(event.exponent, event.blank), held).spread(
            self._beat - OutputLane.latency + OutputLane.exponent_cycle, -(-values // per_exponent)
        )
        for i in range(values):
            lane = place(m, f"lane_{i}", OutputLane(config.io_bits))
            m.d.comb += [
                lane.sum.eq(front[:width].word_select(i, ACC_BITS)),
                lane.sign.eq(front[width + i]),
                Cat(lane.exponent, lane.blank).eq(scales[i // per_exponent]),
                queue.values[i].eq(lane.value),
            ]
        announced = self._beat - OutputQueue.lead
        asleep = Signal(range(self.wake_cycles + 1), init=self.wake_cycles - OutputQueue.clear_latency)
        with m.If(asleep.any()):
            m.d.sync += asleep.eq(asleep - 1)
        m.d.comb += [
            queue.valid.eq(DelayLine(m, "valid", remaining.any(), held).at(announced)),
            queue.last.eq(DelayLine(m, "last", last, held).at(announced)),
            queue.last_values.eq(DelayLine(m, "last_values", event.last_values, held).at(announced)),
            *(
                Value.cast(getattr(queue, name)).eq(DelayLine(m, name, Value.cast(event[name]), held).at(self._beat))
                for name in ("flags", "tid")
            ),
            queue.clear.eq(asleep.any()),
            self.taken.eq(queue.taken),
        ]
        connect(m, flipped(self.axis), queue.axis)
        return m


def _with_signs(sums):
    """A beat's sums, and their signs once more."""
    return Cat(sums, *(sums[low + ACC_BITS - 1] for low in range(0, len(sums), ACC_BITS)))

"""Output stream: from accumulators to floating-point values, through a queue.

Stages, from the accumulator registers (0): capture of all cores' sums, from which one beat a cycle is taken (1);
magnitude and thermometer code of its leading group of four bits (2); the window of bits from there (3); fine
normalisation (4); rounding, half away from zero, and exponent in one addition (5); output register (6).
"""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from ..isa.issue import issue_word
from ..isa.marks import marks_word
from ..numbers import ACC_BITS, FLOAT_EXPONENT_BITS
from .axi import AxiStream
from .broadcast import DelayLine
from .memory import DistributedRam
from .output_lane import OutputLane
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
            "started": 32,
        }
    )


class Egress(Part):
    """Takes finished slots of the linear layer from the accumulators and queues their beats for the host.

    Slots have to come at least as many cycles apart as they have beats, and only when the queue has room (the
    sequencer counts it): nothing here ever waits, save the queue for the host.

    Attributes
    ----------
    valid, event : in, :func:`output_event_layout`, with the accumulators
    acc : in, all cores' accumulators
    exponent : in, 127 less the fraction bits of the linear layer's sums
    last_values : in, values of the packet's last beat, less one
    now : in, cycle counter
    axis : out, the packets; ``tuser``: marks of the inference
    taken : out, a pulse for each beat that left for the host
    done : out, a pulse for each complete packet, with ``cycles``: from its input's first beat to ``tvalid`` of its
        last output beat, time in the queue not counted
    """

    #: Cycles from the accumulators to ``tvalid`` of a slot's first beat, the queue being empty.
    latency = 1 + OutputLane.latency + 1
    #: From the acceptance of a beat to ``taken``.
    taken_latency = 1

    def __init__(self, config):
        self.config = config
        super().__init__(
            "egress",
            {
                "valid": In(1),
                "event": In(output_event_layout(config)),
                "acc": In(data.ArrayLayout(data.ArrayLayout(signed(ACC_BITS), config.block), config.cores)),
                "exponent": In(FLOAT_EXPONENT_BITS),
                "last_values": In((config.beat_values - 1).bit_length()),
                "now": In(32),
                "axis": Out(AxiStream(config.beat_bits, keep=True, user=layout(marks_word))),
                "taken": Out(1),
                "done": Out(1),
                "cycles": Out(32),
            },
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        width = ACC_BITS * config.beat_values
        chunks = config.cores * config.beats_per_block

        # Capture; then one beat a cycle moves to the front.
        chain = [Signal(width, name=f"chain_{k}", reset_less=True) for k in range(chunks)]
        event = Signal.like(self.event, reset_less=True)
        remaining = Signal(range(chunks + 1))
        capture = self.valid
        for k in range(chunks):
            with m.If(capture):
                m.d.sync += chain[k].eq(self.acc.as_value().word_select(k, width))
            with m.Elif(remaining.any()):
                m.d.sync += chain[k].eq(chain[k + 1] if k + 1 < chunks else 0)
        with m.If(capture):
            m.d.sync += [event.eq(self.event), remaining.eq(self.event.last_beat + 1)]
        with m.Elif(remaining.any()):
            m.d.sync += remaining.eq(remaining - 1)

        lanes = []
        for i in range(config.beat_values):
            lane = place(m, f"lane_{i}", OutputLane(config.io_bits))
            m.d.comb += [lane.sum.eq(chain[0].word_select(i, ACC_BITS)), lane.exponent.eq(self.exponent)]
            lanes.append(lane)

        ready = 1 + OutputLane.latency
        last = DelayLine(m, "last", (remaining == 1) & event.last, 1, resettable=True)
        valid = DelayLine(m, "valid", remaining.any(), 1, resettable=True).at(ready)
        beat = Signal(
            data.StructLayout(
                {"data": config.beat_bits, "last": 1, "last_values": len(self.last_values), "flags": layout(marks_word)}
            )
        )
        m.d.comb += [
            beat.data.eq(Cat(lane.value for lane in lanes)),
            beat.last.eq(last.at(ready)),
            beat.last_values.eq(self.last_values),
            beat.flags.eq(DelayLine(m, "flags", event.flags.as_value(), 1).at(ready)),
        ]
        # Reported from the output register on, whose cycle it is that counts.
        m.d.sync += [
            self.done.eq(DelayLine(m, "finished", beat.last & valid, ready, resettable=True).at(ready + 1)),
            self.cycles.eq(self.now - DelayLine(m, "started", event.started, 1).at(ready + 1)),
        ]

        # Queue: straight to the output register when there is nothing ahead.
        queue = place(
            m, "queue", DistributedRam("ram_output_queue", width=beat.shape().size, depth=config.output_beats)
        )
        level = Signal(range(config.output_beats + 1))
        write_at = Signal(queue.addr_bits)
        read_at = Signal(queue.addr_bits)
        output = Signal(beat.shape(), reset_less=True)
        waiting = Signal()
        move = Signal()
        through = Signal()
        pop = Signal()
        push = Signal()

        def following(pointer):
            return Mux(pointer == config.output_beats - 1, 0, pointer + 1)

        m.d.comb += [
            move.eq(~self.axis.tvalid | self.axis.tready),
            through.eq(move & ~waiting),
            pop.eq(move & waiting),
            push.eq(valid & ~through),
            queue.w_en.eq(push),
            queue.w_addr.eq(write_at),
            queue.w_data.eq(beat),
            queue.r_addr.eq(read_at),
        ]
        change = Cat(push ^ pop, (pop & ~push).replicate(len(level) - 1))
        m.d.sync += [level.eq(level + change), waiting.eq(push | level[1:].any() | (level[0] & ~pop))]
        with m.If(push):
            m.d.sync += write_at.eq(following(write_at))
        with m.If(pop):
            m.d.sync += read_at.eq(following(read_at))
        with m.If(move):
            m.d.sync += [output.eq(Mux(waiting, queue.r_data, beat.as_value())), self.axis.tvalid.eq(waiting | valid)]
        full = Signal(config.beat_values)
        bytes_per_value = config.io_bits // 8
        m.d.comb += full.eq(Cat(~output.last | (i <= output.last_values) for i in range(config.beat_values)))
        m.d.comb += [
            self.axis.tdata.eq(output.data),
            self.axis.tkeep.eq(Cat(bit.replicate(bytes_per_value) for bit in full)),
            self.axis.tlast.eq(output.last),
            self.axis.tuser.eq(output.flags),
        ]
        m.d.sync += self.taken.eq(self.axis.tvalid & self.axis.tready)
        return m

"""Output stream: from accumulators to floating-point values, through a queue.

Stages, from the accumulator registers (0): capture of all cores' sums, from which one beat a cycle is taken (1);
magnitude and thermometer code of its leading group of four bits (2); the window of bits from there (3); fine
normalisation (4); rounding, half away from zero, and exponent in one addition (5); output register (6).

Negative sums are treated in one's complement: their magnitude is one unit of the 48-bit sum short, far below what
the output format resolves, and no carry chain is spent on it.
"""

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from ..formats import mantissa_bits
from ..isa.issue import issue_word
from ..isa.marks import marks_word
from ..numbers import ACC_BITS, FLOAT_BIAS, FLOAT_EXPONENT_BITS
from .memory import DistributedRam
from .part import DelayLine, Part, place
from .words import layout

__all__ = ["OutputLane", "Egress", "output_event_layout"]

GROUP_BITS = 4
GROUPS = ACC_BITS // GROUP_BITS


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


class OutputLane(Part):
    """A 48-bit sum to bfloat16 or float32, in ``latency`` cycles; no handshake.

    Attributes
    ----------
    sum : in, signed 48, with ``frac_bits`` fraction bits given by ``exponent``
    exponent : in, constant while running: 127 - frac_bits
    value : out
    """

    latency = 4

    def __init__(self, io_bits):
        self.io_bits = io_bits
        self.m_bits = io_bits - 1 - FLOAT_EXPONENT_BITS
        super().__init__(
            "output_lane", {"sum": In(signed(ACC_BITS)), "exponent": In(FLOAT_EXPONENT_BITS), "value": Out(io_bits)}
        )

    @staticmethod
    def compute(sums, frac_bits, io_format):
        """Integer model: sums (any shape, int64) to bit patterns (int64)."""
        m_bits = mantissa_bits(io_format)
        sums = np.asarray(sums, dtype=np.int64)
        negative = sums < 0
        magnitude = np.where(negative, ~sums, sums)
        lead = np.frexp(np.maximum(magnitude, 1).astype(np.float64))[1].astype(np.int64) - 1
        # One bit more than the significand, for rounding; bits below are cut off.
        shift = lead - m_bits - 1
        window = np.where(shift >= 0, magnitude >> np.maximum(shift, 0), magnitude << np.maximum(-shift, 0))
        rounded = (window + 1) >> 1
        exponent = FLOAT_BIAS - frac_bits + lead - 1
        bits = (exponent << m_bits) + rounded
        return np.where(magnitude == 0, 0, bits) | (negative.astype(np.int64) << (m_bits + FLOAT_EXPONENT_BITS))

    def elaborate(self, platform):
        m = Module()
        sign = self.sum[-1]

        # Stage 1: one's complement magnitude; bit k tells that group k or a higher one is not zero.
        magnitude = Signal(ACC_BITS, reset_less=True)
        at_least = Signal(GROUPS, reset_less=True)
        sign_1 = Signal(reset_less=True)
        m.d.sync += [
            magnitude.eq(self.sum ^ sign.replicate(ACC_BITS)),
            at_least.eq(
                Cat(
                    (self.sum[GROUP_BITS * k :] ^ sign.replicate(ACC_BITS - GROUP_BITS * k)).any()
                    for k in range(GROUPS)
                )
            ),
            sign_1.eq(sign),
        ]

        # Stage 2: the bits from the leading group down: the group, the rest of the significand, one for rounding.
        window_bits = GROUP_BITS + self.m_bits + 1
        window = Signal(window_bits, reset_less=True)
        group = Signal(range(GROUPS), reset_less=True)
        sign_2 = Signal(reset_less=True)
        zero_2 = Signal(reset_less=True)
        padded = Cat(Signal(window_bits, name="padding"), magnitude)
        leading = [at_least[k] & (~at_least[k + 1] if k + 1 < GROUPS else 1) for k in range(GROUPS)]
        merged_window, merged_group = 0, 0
        for k in range(GROUPS):
            top = window_bits + GROUP_BITS * (k + 1)
            merged_window |= padded[top - window_bits : top] & leading[k].replicate(window_bits)
            merged_group |= leading[k].replicate(len(group)) & k
        m.d.sync += [window.eq(merged_window), group.eq(merged_group), sign_2.eq(sign_1), zero_2.eq(~at_least[0])]

        # Stage 3: the leading one at the top of the window.
        position = Signal(range(GROUP_BITS))
        m.d.comb += position.eq(Mux(window[-1], 3, Mux(window[-2], 2, Mux(window[-3], 1, 0))))
        exact_bits = self.m_bits + 2
        normal = Signal(exact_bits, reset_less=True)
        lead = Signal(len(group) + len(position), reset_less=True)
        sign_3 = Signal(reset_less=True)
        zero_3 = Signal(reset_less=True)
        m.d.sync += [normal.eq(window >> position), lead.eq(Cat(position, group)), sign_3.eq(sign_2), zero_3.eq(zero_2)]

        # Stage 4: the leading one is implied; a carry out of the fraction goes on into the exponent.
        with m.If(zero_3):
            m.d.sync += self.value[:-1].eq(0)
        with m.Else():
            fraction = normal[1 : self.m_bits + 1]
            # The rounding bit enters as the carry into the lowest place.
            carry = normal[0]
            m.d.sync += self.value[:-1].eq(
                (Cat(carry, fraction, lead) + Cat(carry, Const(0, self.m_bits), self.exponent)) >> 1
            )
        m.d.sync += self.value[-1].eq(sign_3)
        return m


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
    tdata, tkeep, tuser, tlast, tvalid : out; tready : in
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
                "tdata": Out(config.beat_bits),
                "tkeep": Out(config.beat_bits // 8),
                "tuser": Out(layout(marks_word)),
                "tlast": Out(1),
                "tvalid": Out(1),
                "tready": In(1),
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
            move.eq(~self.tvalid | self.tready),
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
            m.d.sync += [output.eq(Mux(waiting, queue.r_data, beat.as_value())), self.tvalid.eq(waiting | valid)]
        full = Signal(config.beat_values)
        bytes_per_value = config.io_bits // 8
        m.d.comb += full.eq(Cat(~output.last | (i <= output.last_values) for i in range(config.beat_values)))
        m.d.comb += [
            self.tdata.eq(output.data),
            self.tkeep.eq(Cat(bit.replicate(bytes_per_value) for bit in full)),
            self.tlast.eq(output.last),
            self.tuser.eq(output.flags),
        ]
        m.d.sync += self.taken.eq(self.tvalid & self.tready)
        return m

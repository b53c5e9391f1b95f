"""Input stream: from floating-point values to vector blocks with one exponent each.

A value x = 1.m * 2^e of feature j becomes ``q = e + adjust_j`` (the feature's power-of-two scale and the program's
range, one addition), kept in 0..63: below, the value counts as zero; above, it saturates, as
infinity does (``adjust`` is at least ``ADJUST_MIN``). ``q`` splits into a group
``q // 4`` and a position ``q % 4``. The block's exponent is the largest group among its values, found as the OR of
thermometer codes; the mantissas of lower groups are shifted right by 4 bits a group and rounded half away from zero::

    mantissa = (1.m * 2^(13 + q % 4)) >> 4 (largest group - group)        signed 18 bits
    exponent = 15 - largest group                                         what rows add, times 4, to their shift

Stages, from the cycle in which a beat is accepted (0): beat register (1), exponent addition (2), thermometer codes
and the first OR (3), second OR and each lane's distance, beside the rounded mantissas for each distance (4), the one it
is (5); the vector file's write register (6). With the profile's ``input_register`` there is one more stage behind the
beat register, and one behind the second OR.
"""

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from ..formats import mantissa_bits
from ..isa.load import feature_word
from ..isa.marks import MARKS, marks_word
from ..numbers import (
    EXPONENT_BITS,
    EXPONENT_RANGE,
    EXPONENT_STEP,
    EXPONENT_STEP_BITS,
    FLOAT_EXPONENT_BITS,
    MANTISSA_BITS,
    VECTOR_BITS,
)
from .axi import AxiStream
from .broadcast import DelayLine, copies
from .features import Features
from .input_lane import GROUPS, InputLane
from .part import Part, place
from .vector_file import VectorFile
from .words import layout

__all__ = ["Ingress"]

#: Lanes whose thermometer codes are merged in the same stage as they are made; the rest of the OR is the next one's.
_OR_LANES = 16


class Ingress(Part):
    """Receives packets, converts them, and keeps account of two of them.

    Every packet becomes one inference. A packet that ends early is filled up with zeros, one that goes on is
    discarded up to its ``tlast``; both are marked malformed. A packet of the right length whose last block lacks a
    beat (float32) is filled up, too.

    Attributes
    ----------
    axis : in, the packets
    beats : in, beats of a packet less one: equal copies, for packets and for features
    w_feature : in, ``{en, addr, data}`` of the feature memory
    now : in, cycle counter
    x_en, x_block, x_side_w, x, x_exponent : out, to the vector file, the first three as early as it wants them
    block_ready : out, a pulse for each block, ``lead`` cycles before ``x_en`` has put it in the write register
    release : in, the older packet's inference has ended
    enable : in, begin to take packets
    drop : in, for ``drop_cycles`` or more: forget all packets; the rest of one that is being received is discarded
    half_packet : out, a pulse: ``drop`` came, and there is such a rest
    flags, started : out, of both packets: marks, and the cycle counter at the first beat
    latency : int
        Cycles from the acceptance of a block's last beat to the vector file's inputs.
    """

    #: Cycles after a reset until packets are taken.
    wake_cycles = 3

    def __init__(self, config, *, lead):
        self.config, self.lead = config, lead
        self._wait = int(config.stages.input_register)
        #: Cycle in which a beat arrives at its lanes.
        self._arrival = 1 + self._wait
        self.latency = self._arrival + 4 + self._wait
        #: Cycle of the block_ready pulse: the write register is one further than the vector file's inputs.
        self.ready_cycle = self.latency + 1 - lead
        if self.ready_cycle < 1:
            raise ValueError(f"a block cannot be announced {lead} cycles ahead")
        #: By then nothing that was taken before, or in the first cycle of ``drop``, is still to be announced.
        self.drop_cycles = self.ready_cycle + 1
        beat_index_bits = max(1, (config.input_blocks * config.beats_per_block - 1).bit_length())
        self.feature_bits = feature_word.size * config.beat_values
        super().__init__(
            "ingress",
            {
                "axis": In(AxiStream(config.beat_bits)),
                "beats": In(beat_index_bits).array(2),
                "w_feature_en": In(1),
                "w_feature_addr": In(beat_index_bits),
                "w_feature_data": In(self.feature_bits),
                "now": In(32),
                "x_en": Out(1),
                "x_block": Out((config.input_blocks - 1).bit_length()),
                "x_side_w": Out(1),
                "x": Out(data.ArrayLayout(signed(VECTOR_BITS), config.block)),
                "x_exponent": Out(EXPONENT_BITS),
                "block_ready": Out(1),
                "release": In(1),
                "enable": In(1),
                "drop": In(1),
                "half_packet": Out(1),
                "flags": Out(data.ArrayLayout(layout(marks_word), 2)),
                "started": Out(data.ArrayLayout(32, 2)),
            },
        )

    @staticmethod
    def compute(bits, adjust, enable, io_format):
        """Integer model, one block a row.

        Parameters
        ----------
        bits : unsigned array (blocks, block), as on the wire
        adjust, enable : arrays of the same shape
        io_format : "bfloat16" or "float32"

        Returns
        -------
        mantissas (blocks, block) int64, exponents (blocks,) int64, dict of flags
        """
        bits = np.asarray(bits, dtype=np.int64)
        m_bits = mantissa_bits(io_format)
        fraction = bits & ((1 << m_bits) - 1)
        e = (bits >> m_bits) & ((1 << FLOAT_EXPONENT_BITS) - 1)
        negative = (bits >> (m_bits + FLOAT_EXPONENT_BITS)) & 1
        enable = np.asarray(enable, dtype=bool)
        special = e == (1 << FLOAT_EXPONENT_BITS) - 1
        nan = special & (fraction != 0) & enable
        q = e + adjust
        live = enable & (e != 0) & ~nan & (q >= 0)
        over = live & (q >= EXPONENT_RANGE)
        group = np.where(over, GROUPS - 1, (q % EXPONENT_RANGE) // EXPONENT_STEP)
        position = q % EXPONENT_STEP
        significand = fraction | (1 << m_bits)
        lead = MANTISSA_BITS - EXPONENT_STEP
        placed = ((significand << position) << lead) >> m_bits
        mantissa = np.where(over, (1 << MANTISSA_BITS) - 1, placed) * live
        largest = np.max(np.where(live, group, 0), axis=1)
        shift = np.minimum(EXPONENT_STEP * (largest[:, None] - np.where(live, group, 0)), 2 * MANTISSA_BITS)
        rounded = np.where(shift > 0, ((mantissa << 1 >> shift) + 1) >> 1, mantissa)
        flags = {"nan": bool(nan.any()), "saturated": bool(over.any())}
        return np.where(negative == 1, -rounded, rounded), GROUPS - 1 - largest, flags

    def elaborate(self, platform):
        m = Module()
        config = self.config
        reach, arrival = config.stages.reach.registers, self._arrival
        values, halves = config.beat_values, config.beats_per_block

        # Packets end with whole beats, blocks may need one more.
        last, features_last = (beats | (halves - 1) for beats in self.beats)

        # Packets: which beat is next, whether to fill up or to discard.
        beat = Signal(len(last))
        side = Signal()
        # Full until the features have begun anew.
        occupied = Signal(2, init=2)
        asleep = Signal(2, init=self.wake_cycles)
        inside = Signal()
        filling = Signal()
        discarding = Signal()
        expected_end = Signal()
        last_beat = Signal()
        overlong = Signal()
        accept = Signal()
        take = Signal()
        first = Signal()
        m.d.comb += [
            self.axis.tready.eq(~filling & (discarding | inside | (self.enable & ~occupied[1]))),
            accept.eq(self.axis.tready & self.axis.tvalid),
            take.eq((accept & ~discarding) | filling),
            expected_end.eq(beat == self.beats[0]),
            last_beat.eq(beat == last),
            first.eq(take & ~inside & ~filling),
        ]
        m.d.sync += occupied.eq(occupied + first - self.release)
        malformed = Signal()
        m.d.comb += malformed.eq(accept & ~discarding & (self.axis.tlast ^ expected_end))
        with m.If(take):
            m.d.sync += [beat.eq(Mux(last_beat, 0, beat + 1)), inside.eq(~last_beat)]
            with m.If(last_beat):
                m.d.sync += [side.eq(~side), filling.eq(0), discarding.eq(Mux(filling, overlong, ~self.axis.tlast))]
            with m.Elif(~filling & (self.axis.tlast | expected_end)):
                m.d.sync += [filling.eq(1), overlong.eq(~self.axis.tlast)]
        with m.Elif(accept & self.axis.tlast):
            m.d.sync += discarding.eq(0)
        now = Signal.like(self.now, reset_less=True)
        m.d.sync += now.eq(self.now)
        for s in range(2):
            started = Signal.like(now, name=f"started_{s}", reset_less=True)
            with m.If(DelayLine(m, f"begun_{s}", first & (side == s), 0).at(1)):
                m.d.sync += started.eq(now)
            m.d.comb += self.started[s].eq(started)
        unfinished = Signal()
        dropped = Signal()
        m.d.comb += unfinished.eq((discarding | Mux(filling, overlong, inside)) & ~(accept & self.axis.tlast))
        m.d.sync += [dropped.eq(self.drop), self.half_packet.eq(self.drop & ~dropped & unfinished)]
        with m.If(self.drop):
            m.d.sync += [occupied.eq(0), beat.eq(0), inside.eq(0), side.eq(0), filling.eq(0), discarding.eq(unfinished)]
        with m.If(asleep.any()):
            m.d.sync += [asleep.eq(asleep - 1), occupied.eq(Mux(asleep == 1, 0, 2))]

        # The beat and its features.
        features = place(m, "features", Features(config, len(beat)))
        takes = DelayLine(m, "take", take, 0, resettable=True)
        clear = self.drop | asleep.any()
        clears = DelayLine(m, "clear", clear, 0)
        m.d.comb += [
            features.w_en.eq(self.w_feature_en),
            features.w_addr.eq(self.w_feature_addr),
            features.w_data.eq(self.w_feature_data),
            features.take.eq(Cat(takes.spread(arrival - 1, 2, "take_feature")) if arrival > 1 else take.replicate(2)),
            features.last.eq(features_last),
            features.clear.eq(Cat(clears.spread(arrival - 1, 2)) if arrival > 1 else clear.replicate(2)),
        ]
        arrived = DelayLine(m, "beat", self.axis.tdata, 0).at(arrival)
        half = beat[0] if halves == 2 else Const(0)

        # How many registers each signal to the lanes may have: see :class:`InputLane` for what it reaches there.
        lanes_per_largest = (reach - EXPONENT_BITS) // InputLane.steps
        largest_copies = -(-config.block // lanes_per_largest)
        # Groups are merged as often as that, unless the result has registers again.
        merged_copies = 1 if self._wait else largest_copies
        merged_per_lane = (reach - InputLane.own_reach) // (GROUPS - 1)
        lane_copies = -(-merged_copies // merged_per_lane)
        # Over and group of each copy and the lane's own, live of each copy; position, fraction and sign.
        held_bits = (1 + EXPONENT_BITS) * (1 + lane_copies) + lane_copies
        held_bits += EXPONENT_STEP_BITS + mantissa_bits(config.io_format) + 1
        holds = -(-held_bits // reach) if halves == 2 else 0
        # Live of each copy, and both marks.
        lanes_per_blank = reach // (lane_copies + 2)
        blanks = DelayLine(m, "filling", filling, 0).spread(arrival, -(-config.block // lanes_per_blank))
        halfway = DelayLine(m, "half", half, 0).spread(arrival, holds * values) if holds else []
        lanes = []
        for i in range(config.block):
            # Those of a block's first beat keep its values until the second one has come.
            held = holds if i < config.block - values else 0
            kind = InputLane(config.io_bits, merged=lane_copies, holds=held, wait=self._wait)
            lane = place(m, f"lane_{i}", kind)
            m.d.comb += [
                lane.value.eq(arrived.word_select(i % values, config.io_bits)),
                lane.feature.eq(features.feature[i % values]),
                lane.blank.eq(blanks[i // lanes_per_blank]),
                self.x[i].eq(lane.mantissa),
            ]
            if held:
                m.d.comb += lane.hold.eq(Cat(halfway[held * i : held * (i + 1)]))
            lanes.append(lane)

        # The largest group of the block, each copy for a few lanes; the last few are fewer.
        largests = []
        for number in range(merged_copies):
            groups = [lane.groups[number // merged_per_lane] for lane in lanes]
            partial = [
                copies(m, f"groups_{k}_{number}", _any_of(groups[k : k + _OR_LANES]), 1)[0]
                for k in range(0, config.block, _OR_LANES)
            ]
            largests.append(_any_of(partial))
        if self._wait:
            largests = copies(m, "largest", largests[0], largest_copies)
        m.d.comb += [lane.largest.eq(largests[i // lanes_per_largest]) for i, lane in enumerate(lanes)]
        # Binary code of the number of set bits of a thermometer code, inverted.
        largest = largests[-1]
        group = Cat(
            Cat(
                largest[j - 1] & (~largest[j + (1 << bit) - 1] if j + (1 << bit) < GROUPS else 1)
                for j in range(1 << bit, GROUPS, 2 << bit)
            ).any()
            for bit in range(EXPONENT_BITS)
        )
        m.d.comb += self.x_exponent.eq(DelayLine(m, "exponent", ~group, arrival + 2 + self._wait).at(self.latency))

        announced = self.latency - VectorFile.x_lead
        block_done = take & (half == halves - 1)
        block_number = (beat >> (halves - 1))[: len(self.x_block)]
        m.d.comb += [
            self.x_en.eq(DelayLine(m, "block_done", block_done, 0).at(announced)),
            self.x_block.eq(DelayLine(m, "x_block", block_number, 0).at(announced)),
            self.x_side_w.eq(DelayLine(m, "x_side", side, 0).at(announced)),
            self.block_ready.eq(DelayLine(m, "block_ready", block_done, 0, resettable=True).at(self.ready_cycle)),
        ]

        # Marks: the lanes that keep nothing tell what came in with the beat of the cycle before.
        told = lanes[-values:]
        seen_at = arrival + 2
        seen = Signal(layout(marks_word), reset_less=True)
        m.d.sync += [
            seen.malformed.eq(DelayLine(m, "malformed", malformed, 0).at(seen_at - 1)),
            seen.nan.eq(Cat(lane.nan for lane in told).any()),
            seen.saturated.eq(Cat(lane.saturated for lane in told).any()),
        ]
        first_seen, side_seen = (
            DelayLine(m, name, value, 0).at(seen_at) for name, value in (("first", first), ("side", side))
        )
        for s in range(2):
            flags = Signal(len(MARKS), name=f"flags_{s}", reset_less=True)
            with m.If(takes.at(seen_at) & (side_seen == s)):
                m.d.sync += flags.eq(seen.as_value() | (flags & ~first_seen.replicate(len(MARKS))))
            m.d.comb += self.flags[s].as_value().eq(flags)
        return m


def _any_of(codes):
    """The OR of thermometer codes."""
    return Cat(Cat(code[j] for code in codes).any() for j in range(GROUPS - 1))

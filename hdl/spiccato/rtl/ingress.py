"""Input stream: from floating-point values to vector blocks with one exponent each.

A value x = 1.m * 2^e of feature j becomes ``q = e + adjust_j`` (the feature's power-of-two scale and the program's
range, one addition), kept in 0..63: below, the value counts as zero; above, it saturates, as
infinity does (``adjust`` is at least ``ADJUST_MIN``). ``q`` splits into a group
``q // 4`` and a position ``q % 4``. The block's exponent is the largest group among its values, found as the OR of
thermometer codes; the mantissas of lower groups are shifted right by 4 bits a group and rounded half away from zero::

    mantissa = (1.m * 2^(13 + q % 4)) >> 4 (largest group - group)        signed 18 bits
    exponent = 15 - largest group                                         what rows add, times 4, to their shift

Stages, from the cycle in which a beat is accepted (0): beat register (1), exponent addition (2), thermometer codes
and the first OR (3), second OR and each lane's distance (4), shift (5); the rounding addition ends in the vector
file's write register (6).
"""

import numpy as np
from amaranth.hdl import Array, Cat, Module, Mux, Signal, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from ..formats import mantissa_bits
from ..isa.load import feature_word
from ..isa.marks import MARKS, marks_word
from ..numbers import (
    ADJUST_BITS,
    EXPONENT_BITS,
    EXPONENT_RANGE,
    EXPONENT_STEP,
    FLOAT_EXPONENT_BITS,
    MANTISSA_BITS,
    VECTOR_BITS,
)
from .memory import DistributedRam
from .part import DelayLine, Part, place
from .words import layout

__all__ = ["InputLane", "Ingress"]

#: Groups of exponents that a block can have.
GROUPS = 1 << EXPONENT_BITS
#: Lanes whose thermometer codes are merged in the same stage as they are made; the rest of the OR is the next one's.
_OR_LANES = 16


class InputLane(Part):
    """One value's way to a mantissa. Cycles as in the module's description, the beat register being cycle 1.

    Attributes
    ----------
    value, feature, load : in, cycle 1 (``load`` low: the lane keeps its value, for blocks of two beats)
    groups : out, cycle 2, thermometer code of the group: bit j - 1 tells group >= j
    nan, saturated : out, cycle 2
    largest : in, cycle 3, thermometer code of the block
    mantissa : out, cycle 5, not registered here
    """

    def __init__(self, io_bits):
        self.io_bits = io_bits
        super().__init__(
            "input_lane",
            {
                "value": In(io_bits),
                "feature": In(layout(feature_word)),
                "load": In(1),
                "groups": Out(GROUPS - 1),
                "nan": Out(1),
                "saturated": Out(1),
                "largest": In(GROUPS - 1),
                "mantissa": Out(signed(VECTOR_BITS)),
            },
        )

    def elaborate(self, platform):
        m = Module()
        m_bits = self.io_bits - 1 - FLOAT_EXPONENT_BITS
        m_in, e_in, sign_in = self.value[:m_bits], self.value[m_bits:-1], self.value[-1]

        # Cycle 2: exponent in the program's range.
        q = Signal(ADJUST_BITS + 1)
        in_range = q[len(q) - 2 :].any()
        over = q[-1] | (q[-2] & q[EXPONENT_RANGE.bit_length() - 1 : -2].any())
        special = Signal()
        off = Signal()
        m.d.comb += [
            q.eq(e_in + self.feature.adjust),
            special.eq(e_in.all()),
            off.eq(~self.feature.enable | ~e_in.any() | (special & m_in.any())),
        ]
        live_2 = Signal(reset_less=True)
        over_2 = Signal(reset_less=True)
        q_2 = Signal(range(EXPONENT_RANGE), reset_less=True)
        fraction_2 = Signal(m_bits, reset_less=True)
        sign_2 = Signal(reset_less=True)
        with m.If(self.load):
            m.d.sync += [live_2.eq(in_range), over_2.eq(over), q_2.eq(q), fraction_2.eq(m_in), sign_2.eq(sign_in)]
            with m.If(off):
                m.d.sync += live_2.eq(0)
        group_2, position_2 = q_2[2:], q_2[:2]
        # Marks are of this beat only, whatever the lane keeps.
        m.d.sync += [self.nan.eq(self.load & special & m_in.any() & self.feature.enable), self.saturated.eq(over)]
        with m.If(off | ~self.load):
            m.d.sync += self.saturated.eq(0)
        m.d.comb += self.groups.eq(Cat(live_2 & (over_2 | (group_2 >= j)) for j in range(1, GROUPS)))

        # Cycle 3: mantissa at its position in the group.
        group_3 = Signal(EXPONENT_BITS, reset_less=True)
        mantissa_3 = Signal(MANTISSA_BITS, reset_less=True)
        significand = Cat(fraction_2, 1)
        keep = MANTISSA_BITS - EXPONENT_STEP + 1
        if len(significand) < keep:
            significand = Cat(Signal(keep - len(significand), name="padding"), significand)
        m.d.sync += [
            group_3.eq(group_2 | over_2.replicate(EXPONENT_BITS)),
            mantissa_3.eq(((significand << position_2) >> (len(significand) - keep)) | over_2.replicate(MANTISSA_BITS)),
        ]
        with m.If(~live_2):
            m.d.sync += mantissa_3.eq(0)
        sign_3 = Signal(reset_less=True)
        m.d.sync += sign_3.eq(sign_2)

        # Cycle 4: how many groups below the largest.
        steps = MANTISSA_BITS // EXPONENT_STEP + 1
        below_4 = Signal(steps, reset_less=True)
        mantissa_4 = Signal(MANTISSA_BITS, reset_less=True)
        sign_4 = Signal(reset_less=True)
        below = [Signal(name=f"larger_by_{k}") for k in range(steps)]
        m.d.comb += [
            bit.eq(Array([self.largest[g + k] if g + k < GROUPS - 1 else 0 for g in range(GROUPS)])[group_3])
            for k, bit in enumerate(below)
        ]
        m.d.sync += [below_4.eq(Cat(below)), mantissa_4.eq(mantissa_3), sign_4.eq(sign_3)]

        # Cycle 5: shifted, with the bit below for rounding.
        mantissa_5 = Signal(MANTISSA_BITS, reset_less=True)
        round_5 = Signal(reset_less=True)
        sign_5 = Signal(reset_less=True)
        m.d.sync += [sign_5.eq(sign_4), mantissa_5.eq(mantissa_4), round_5.eq(0)]
        for k in range(steps):
            with m.If(below_4[k]):
                shift = EXPONENT_STEP * (k + 1)
                m.d.sync += [
                    mantissa_5.eq(mantissa_4 >> shift),
                    round_5.eq(mantissa_4[shift - 1] if shift <= MANTISSA_BITS else 0),
                ]
        m.d.comb += self.mantissa.eq((mantissa_5 ^ sign_5.replicate(VECTOR_BITS)).as_signed() + (round_5 ^ sign_5))
        return m


class Ingress(Part):
    """Receives packets, converts them, and keeps account of two of them.

    Every packet becomes one inference. A packet that ends early is filled up with zeros, one that goes on is
    discarded up to its ``tlast``; both are marked malformed. A packet of the right length whose last block lacks a
    beat (float32) is filled up, too.

    Attributes
    ----------
    tdata, tvalid, tlast : in; tready : out
    beats : in, beats of a packet less one
    w_feature : in, ``{en, addr, data}`` of the feature memory
    now : in, cycle counter
    x_en, x_block, x_side_w, x, x_exponent : out, to the vector file
    block_ready : out, a pulse for each block, ``lead`` cycles before ``x_en`` has put it in the write register
    release : in, the older packet's inference has ended
    enable : in, begin to take packets
    drop : in, for ``drop_cycles`` or more: forget all packets; the rest of one that is being received is discarded
    half_packet : out, a pulse: ``drop`` came, and there is such a rest
    flags, started : out, of both packets: marks, and the cycle counter at the first beat
    """

    #: Cycles from the acceptance of a block's last beat to the vector file's inputs.
    latency = 5

    def __init__(self, config, *, lead):
        self.config, self.lead = config, lead
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
                "tdata": In(config.beat_bits),
                "tvalid": In(1),
                "tlast": In(1),
                "tready": Out(1),
                "beats": In(beat_index_bits),
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
        values, halves = config.beat_values, config.beats_per_block

        # Packets: which beat is next, whether to fill up or to discard.
        beat = Signal.like(self.beats)
        side = Signal()
        occupied = Signal(2)
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
            self.tready.eq(~filling & (discarding | inside | (self.enable & ~occupied[1]))),
            accept.eq(self.tready & self.tvalid),
            take.eq((accept & ~discarding) | filling),
            expected_end.eq(beat == self.beats),
            # Packets end with whole beats, blocks may need one more.
            last_beat.eq(beat == (self.beats | (halves - 1))),
            first.eq(take & ~inside & ~filling),
        ]
        m.d.sync += occupied.eq(occupied + first - self.release)
        malformed_1 = Signal()
        m.d.sync += malformed_1.eq(accept & ~discarding & (self.tlast ^ expected_end))
        with m.If(take):
            m.d.sync += [beat.eq(Mux(last_beat, 0, beat + 1)), inside.eq(~last_beat)]
            with m.If(last_beat):
                m.d.sync += [side.eq(~side), filling.eq(0), discarding.eq(Mux(filling, overlong, ~self.tlast))]
            with m.Elif(~filling & (self.tlast | expected_end)):
                m.d.sync += [filling.eq(1), overlong.eq(~self.tlast)]
        with m.Elif(accept & self.tlast):
            m.d.sync += discarding.eq(0)
        with m.If(first):
            m.d.sync += self.started[side].eq(self.now)
        unfinished = Signal()
        dropped = Signal()
        m.d.comb += unfinished.eq((discarding | Mux(filling, overlong, inside)) & ~(accept & self.tlast))
        m.d.sync += [dropped.eq(self.drop), self.half_packet.eq(self.drop & ~dropped & unfinished)]
        with m.If(self.drop):
            m.d.sync += [occupied.eq(0), beat.eq(0), inside.eq(0), side.eq(0), filling.eq(0), discarding.eq(unfinished)]

        # Cycle 1: the beat and its features.
        features = place(m, "features", DistributedRam("ram_features", width=self.feature_bits, depth=1 << len(beat)))
        beat_1 = Signal(config.beat_bits, reset_less=True)
        features_1 = Signal(self.feature_bits, reset_less=True)
        m.d.comb += [
            features.w_en.eq(self.w_feature_en),
            features.w_addr.eq(self.w_feature_addr),
            features.w_data.eq(self.w_feature_data),
            features.r_addr.eq(beat),
        ]
        m.d.sync += [beat_1.eq(Mux(filling, 0, self.tdata)), features_1.eq(features.r_data)]
        half = beat[0] if halves == 2 else 0
        block_done = DelayLine(m, "block_done", take & (half == halves - 1), 0, resettable=True)
        take_1, first_1, side_1 = (Signal(name=f"{name}_1") for name in ("take", "first", "side"))
        m.d.sync += [take_1.eq(take), first_1.eq(first), side_1.eq(side)]
        half_1 = Signal()
        m.d.sync += half_1.eq(half)

        lanes = []
        for i in range(config.block):
            lane = place(m, f"lane_{i}", InputLane(config.io_bits))
            m.d.comb += [
                lane.value.eq(beat_1.word_select(i % values, config.io_bits)),
                lane.feature.eq(features_1.word_select(i % values, feature_word.size)),
                lane.load.eq(take_1 & (half_1 == i // values)),
                self.x[i].eq(lane.mantissa),
            ]
            lanes.append(lane)

        # Cycles 2 and 3: the largest group of the block.
        partial = []
        for k in range(0, config.block, _OR_LANES):
            merged = Signal(GROUPS - 1, name=f"groups_{k}", reset_less=True)
            m.d.sync += merged.eq(
                Cat(Cat(lane.groups[j] for lane in lanes[k : k + _OR_LANES]).any() for j in range(GROUPS - 1))
            )
            partial.append(merged)
        largest = Signal(GROUPS - 1)
        m.d.comb += largest.eq(Cat(Cat(part[j] for part in partial).any() for j in range(GROUPS - 1)))
        m.d.comb += [lane.largest.eq(largest) for lane in lanes]
        # Binary code of the number of set bits of a thermometer code, inverted.
        group = Cat(
            Cat(
                largest[j - 1] & (~largest[j + (1 << bit) - 1] if j + (1 << bit) < GROUPS else 1)
                for j in range(1 << bit, GROUPS, 2 << bit)
            ).any()
            for bit in range(EXPONENT_BITS)
        )
        exponent_4 = Signal(EXPONENT_BITS, reset_less=True)
        m.d.sync += exponent_4.eq(~group)
        m.d.comb += self.x_exponent.eq(DelayLine(m, "exponent", exponent_4, 4).at(self.latency))

        block_number = beat >> (halves - 1)
        m.d.comb += [
            self.x_en.eq(block_done.at(self.latency)),
            self.x_block.eq(DelayLine(m, "x_block", block_number[: len(self.x_block)], 0).at(self.latency)),
            self.x_side_w.eq(DelayLine(m, "x_side", side, 0).at(self.latency)),
            self.block_ready.eq(block_done.at(self.ready_cycle)),
        ]

        # Marks: lanes report in cycle 2 what came in with the beat of cycle 1.
        take_2, first_2, side_2, malformed_2 = (
            Signal(name=f"{name}_2") for name in ("take", "first", "side", "malformed")
        )
        m.d.sync += [take_2.eq(take_1), first_2.eq(first_1), side_2.eq(side_1), malformed_2.eq(malformed_1)]
        seen_3 = Signal(layout(marks_word))
        take_3, first_3, side_3 = (Signal(name=f"{name}_3") for name in ("take", "first", "side"))
        m.d.sync += [
            seen_3.malformed.eq(malformed_2),
            seen_3.nan.eq(Cat(lane.nan for lane in lanes).any()),
            seen_3.saturated.eq(Cat(lane.saturated for lane in lanes).any()),
            take_3.eq(take_2),
            first_3.eq(first_2),
            side_3.eq(side_2),
        ]
        for s in range(2):
            with m.If(take_3 & (side_3 == s)):
                m.d.sync += (
                    self.flags[s]
                    .as_value()
                    .eq(seen_3.as_value() | (self.flags[s].as_value() & ~first_3.replicate(len(MARKS))))
                )
        return m

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
from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from ..formats import mantissa_bits
from ..isa.load import feature_word
from ..isa.marks import MARKS, marks_word
from ..numbers import EXPONENT_BITS, EXPONENT_RANGE, EXPONENT_STEP, FLOAT_EXPONENT_BITS, MANTISSA_BITS, VECTOR_BITS
from .axi import AxiStream
from .broadcast import DelayLine
from .input_lane import GROUPS, InputLane
from .memory import DistributedRam
from .part import Part, place
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
                "axis": In(AxiStream(config.beat_bits)),
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
            self.axis.tready.eq(~filling & (discarding | inside | (self.enable & ~occupied[1]))),
            accept.eq(self.axis.tready & self.axis.tvalid),
            take.eq((accept & ~discarding) | filling),
            expected_end.eq(beat == self.beats),
            # Packets end with whole beats, blocks may need one more.
            last_beat.eq(beat == (self.beats | (halves - 1))),
            first.eq(take & ~inside & ~filling),
        ]
        m.d.sync += occupied.eq(occupied + first - self.release)
        malformed_1 = Signal()
        m.d.sync += malformed_1.eq(accept & ~discarding & (self.axis.tlast ^ expected_end))
        with m.If(take):
            m.d.sync += [beat.eq(Mux(last_beat, 0, beat + 1)), inside.eq(~last_beat)]
            with m.If(last_beat):
                m.d.sync += [side.eq(~side), filling.eq(0), discarding.eq(Mux(filling, overlong, ~self.axis.tlast))]
            with m.Elif(~filling & (self.axis.tlast | expected_end)):
                m.d.sync += [filling.eq(1), overlong.eq(~self.axis.tlast)]
        with m.Elif(accept & self.axis.tlast):
            m.d.sync += discarding.eq(0)
        with m.If(first):
            m.d.sync += self.started[side].eq(self.now)
        unfinished = Signal()
        dropped = Signal()
        m.d.comb += unfinished.eq((discarding | Mux(filling, overlong, inside)) & ~(accept & self.axis.tlast))
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
        m.d.sync += [beat_1.eq(Mux(filling, 0, self.axis.tdata)), features_1.eq(features.r_data)]
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

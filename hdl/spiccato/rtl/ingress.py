"""Input stream: from floating-point values to vector blocks with one exponent each.

A value x = 1.m * 2^e of feature j becomes ``q = e + adjust_j`` (the feature's power-of-two scale and the program's
range, one addition), kept in 0..63: below, the value counts as zero; above, it saturates, as
infinity does (``adjust`` is at least ``ADJUST_MIN``). ``q`` splits into a group
``q // 4`` and a position ``q % 4``. The block's exponent is the largest group among its values, found as the OR of
thermometer codes; the mantissas of lower groups are shifted right by 4 bits a group and rounded half away from zero::

    mantissa = (1.m * 2^(13 + q % 4)) >> 4 (largest group - group)        signed 18 bits
    exponent = 15 - largest group                                         what rows add, times 4, to their shift

Stages, from the cycle in which a beat is accepted (0): exponent addition (1), for every adjustment that it may turn out
to be; choice of the sum (2), thermometer codes and the first OR (3), second OR and each lane's distance, beside the
rounded mantissas for each distance (4), the one it is (5); the vector file's write register (6). With the profile's
``input_register`` there is a beat register in front of the addition, and one more stage behind the second OR.
"""

from typing import NamedTuple

import numpy as np
from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from ..formats import mantissa_bits
from ..isa.load import feature_word, model_word
from ..isa.marks import MARKS, marks_word
from ..numbers import (
    EXPONENT_BITS,
    EXPONENT_RANGE,
    EXPONENT_STEP,
    EXPONENT_STEP_BITS,
    FLOAT_EXPONENT_BITS,
    MANTISSA_BITS,
    NARROW_SHIFT,
    VECTOR_BITS,
)
from .axi import input_stream
from .broadcast import DelayLine, copies
from .contexts import packet_layout
from .features import PARITIES, Features
from .input_lane import GROUPS, CodedInputLane, InputLane
from .part import Part, place
from .vector_file import VectorFile
from .words import layout

__all__ = ["Ingress"]

#: Lanes whose thermometer codes are merged in the same stage as they are made; the rest of the OR is the next one's.
_OR_LANES = 16
#: As many parts the next stage can merge at most.
_PARTIALS = 4


class _Beat(NamedTuple):
    """The beat that is accepted, or filled up with, in this cycle."""

    #: Of the packet, and of the block.
    number: Value
    half: Value
    model: Value
    side: Value
    #: It counts; it begins a packet; it ends one; it is filled up with.
    take: Value
    first: Value
    last: Value
    filling: Value
    malformed: Value
    #: There are no packets any more.
    clear: Value


class Ingress(Part):
    """Receives packets, converts them, and keeps account of two of them.

    Every packet becomes one inference. A packet that ends early is filled up with zeros, one that goes on is
    discarded up to its ``tlast``; both are marked malformed. A packet of the right length whose last block lacks a
    beat (float32) is filled up, too.

    Attributes
    ----------
    axis : in, the packets; ``tid`` and ``tuser`` of the first beat count
    models : in, table of the models: constant while packets are taken
    packet : out, of both packets, :func:`.contexts.packet_layout`, and ``announce``, a pulse when one has begun, both
        in the cycle after its first beat was accepted; they take turns with the sides, side 0 first
    model, coming : out, the same for what ``tid`` says of the model; what that is from the next cycle on
    w_feature : in, ``{en, addr, data}`` of the feature memory
    now : in, cycle counter
    x_en, x_block, x_side_w, x, x_exponent : out, to the vector file, the first three as early as it wants them
    x_codes : out, with ``x``, for 9x9 multipliers: of each quarter, :func:`.alignment.leading_code` of its magnitudes
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
    #: From the acceptance of a packet's first beat to ``announce``.
    announce_latency = 1

    def __init__(self, config, *, lead):
        self.config, self.lead = config, lead
        #: Cycle in which a beat arrives at its lanes.
        self._arrival = int(config.stages.input_register)
        #: A block's largest exponent has registers again where it goes to more lanes than one reaches.
        self._wait = max(self._arrival, int(config.columns > config.stages.reach.registers))
        self.latency = self._arrival + 5 + self._wait
        #: Cycle of the block_ready pulse: the write register is one further than the vector file's inputs.
        self.ready_cycle = self.latency + 1 - lead
        if self.ready_cycle < 1:
            raise ValueError(f"a block cannot be announced {lead} cycles ahead")
        #: By then nothing that was taken before, or in the first cycle of ``drop``, is still to be announced.
        self.drop_cycles = self.ready_cycle + 1
        reach = config.stages.reach.registers
        self._lanes_per_largest = (reach - EXPONENT_BITS) // InputLane.steps
        self._largest_copies = -(-config.columns // self._lanes_per_largest)
        #: Groups are merged as often as that, unless the result has registers again.
        self._merged_copies = 1 if self._wait else self._largest_copies
        self._merged_per_lane = (reach - InputLane.own_reach) // (GROUPS - 1)
        self._beat_bits = beat_index_bits = max(1, (config.input_beats - 1).bit_length())
        self.feature_bits = feature_word.size * config.beat_values
        super().__init__(
            "ingress",
            {
                "axis": In(input_stream(config)),
                "models": In(layout(model_word(config))).array(config.models),
                "packet": Out(packet_layout(config)).array(2),
                "model": Out(config.model_bits).array(2),
                "coming": Out(config.model_bits).array(2),
                "announce": Out(1),
                "w_feature_en": In(1),
                "w_feature_addr": In(config.model_bits + beat_index_bits),
                "w_feature_data": In(self.feature_bits),
                "now": In(32),
                "x_en": Out(1),
                "x_block": Out((config.input_blocks - 1).bit_length()),
                "x_side_w": Out(1),
                "x": Out(data.ArrayLayout(signed(VECTOR_BITS), config.columns)),
                "x_exponent": Out(EXPONENT_BITS),
                **({"x_codes": Out(data.ArrayLayout(NARROW_SHIFT, config.quarters))} if config.narrow else {}),
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
        beat = self._packets(m)
        lanes = self._lanes(m, beat)
        self._largest_group(m, lanes)
        if self.config.narrow:
            self._codes(m, lanes)
        self._blocks(m, beat)
        self._marks(m, beat, lanes[-self.config.beat_values :])
        return m

    def _packets(self, m):
        """Which beat is next, whether to fill up or to discard.

        Returns
        -------
        _Beat
            The one that is accepted.
        """
        config = self.config
        halves = config.beats_per_block
        beat = Signal(self._beat_bits)
        side = Signal()
        next_side = Signal()
        # Full until the features have begun anew.
        occupied = Signal(2, init=2)
        next_occupied = Signal(2)
        asleep = Signal(2, init=self.wake_cycles)
        inside = Signal()
        next_inside = Signal()
        filling = Signal()
        discarding = Signal()
        expected_end = Signal()
        first_is_last = Signal()
        later_is_last = Signal()
        last_beat = Signal()
        overlong = Signal(reset_less=True)
        accept = Signal()
        take = Signal()
        first = Signal()

        # Of the model: known from the port in the first beat's cycle. Packets end with whole beats, blocks may need one
        # more.
        model = self.axis.tid[config.stream_bits :][: config.model_bits] if config.models > 1 else Const(0, 1)
        single = Signal(config.models, reset_less=True)
        packet_end = Signal.like(beat, name="packet_end", reset_less=True)
        blocks_end = packet_end | (halves - 1)
        m.d.sync += single.eq(Cat(entry.last_input_beat == 0 for entry in self.models))
        one_beat = single.bit_select(model, 1) if config.models > 1 else single
        m.d.comb += [
            self.axis.tready.eq(~filling & (discarding | inside | (self.enable & ~occupied[1]))),
            accept.eq(self.axis.tready & self.axis.tvalid),
            take.eq((accept & ~discarding) | filling),
            expected_end.eq(Mux(inside, beat == packet_end, one_beat)),
            first_is_last.eq(one_beat if halves == 1 else 0),
            later_is_last.eq(beat == blocks_end),
            last_beat.eq(Mux(inside, later_is_last, first_is_last)),
            first.eq(take & ~inside),
        ]
        # What follows the port until a packet has begun, so that none of it waits for tvalid.
        with m.If(copies(m, "follow_end", ~next_inside, 1)[0]):
            m.d.sync += packet_end.eq(Array(entry.last_input_beat for entry in self.models)[model])
        self._follow(m, model, ~next_inside, next_occupied[1], next_side)
        m.d.comb += self.announce.eq(
            DelayLine(m, "announce", first & ~self.drop, 0, resettable=True).at(self.announce_latency)
        )
        malformed = Signal()
        m.d.comb += malformed.eq(accept & ~discarding & (self.axis.tlast ^ expected_end))
        m.d.comb += [next_inside.eq(inside), next_side.eq(side), next_occupied.eq(occupied + first - self.release)]
        with m.If(take):
            # Only the lowest bit waits for what the port says of the model.
            m.d.sync += [
                beat[0].eq(Mux(inside, ~(later_is_last | beat[0]), ~first_is_last)),
                beat[1:].eq(Mux(inside & ~later_is_last, (beat + 1)[1:], 0)),
            ]
            m.d.comb += next_inside.eq(~last_beat)
            with m.If(last_beat):
                m.d.comb += next_side.eq(~side)
                m.d.sync += [filling.eq(0), discarding.eq(Mux(filling, overlong, ~self.axis.tlast))]
            with m.Elif(~filling & (self.axis.tlast | expected_end)):
                m.d.sync += [filling.eq(1), overlong.eq(~self.axis.tlast)]
        with m.Elif(accept & self.axis.tlast):
            m.d.sync += discarding.eq(0)
        self._stamp(m, first, side)
        unfinished = Signal()
        dropped = Signal(reset_less=True)
        m.d.comb += unfinished.eq((discarding | Mux(filling, overlong, inside)) & ~(accept & self.axis.tlast))
        m.d.sync += [dropped.eq(self.drop), self.half_packet.eq(self.drop & ~dropped & unfinished)]
        with m.If(self.drop):
            m.d.comb += [next_occupied.eq(0), next_inside.eq(0), next_side.eq(0)]
            m.d.sync += [beat.eq(0), filling.eq(0), discarding.eq(unfinished)]
        with m.If(asleep.any()):
            m.d.comb += next_occupied.eq(Mux(asleep == 1, 0, 2))
            m.d.sync += asleep.eq(asleep - 1)
        m.d.sync += [inside.eq(next_inside), side.eq(next_side), occupied.eq(next_occupied)]

        half = (beat[0] if halves == 2 else beat[: (halves - 1).bit_length()]) if halves > 1 else Const(0)
        return _Beat(beat, half, model, side, take, first, last_beat, filling, malformed, self.drop | asleep.any())

    def _follow(self, m, model, following, full, at_side):
        """What the port says of a packet until it has begun; of an older one it stays on its side until its release."""
        number_of = -(-2 * len(Cat(self.packet[0], self.model[0])) // self.config.stages.reach.registers)
        follows, fulls, at_sides = (
            copies(m, name, value, number_of)
            for name, value in (("follow", following), ("full", full), ("at_side", at_side))
        )
        for s in range(2):
            packet = Signal(packet_layout(self.config), name=f"packet_{s}", reset_less=True)
            number = Signal(self.config.model_bits, name=f"model_{s}", reset_less=True)
            follow, full, at_side = (registers[s % number_of] for registers in (follows, fulls, at_sides))
            m.d.comb += self.coming[s].eq(number)
            m.d.sync += number.eq(self.coming[s])
            with m.If(follow & ~full & (at_side == s)):
                m.d.comb += self.coming[s].eq(model)
                m.d.sync += [
                    packet.tid.eq(self.axis.tid),
                    packet.start.eq(self.axis.tuser.start),
                    packet.quiet.eq(self.axis.tuser.quiet),
                ]
            m.d.comb += [self.packet[s].eq(packet), self.model[s].eq(number)]

    def _stamp(self, m, first, side):
        """The cycle counter at each packet's first beat."""
        now = Signal.like(self.now, reset_less=True)
        m.d.sync += now.eq(self.now)
        for s in range(2):
            started = Signal.like(now, name=f"started_{s}", reset_less=True)
            with m.If(DelayLine(m, f"begun_{s}", first & (side == s), 0).at(1)):
                m.d.sync += started.eq(now)
            m.d.comb += self.started[s].eq(started)

    def _lanes(self, m, beat):
        """The beat's values to their lanes, each with its feature; those of a block's earlier beats are held there."""
        config = self.config
        reach, arrival = config.stages.reach.registers, self._arrival
        values, halves = config.beat_values, config.beats_per_block

        # How many registers each signal to the lanes may have: see :class:`InputLane` for what it reaches there.
        merged_copies = self._merged_copies
        lane_copies = -(-merged_copies // self._merged_per_lane)
        # Over and group of each copy and the lane's own, live of each copy; position, fraction and sign.
        held_bits = (1 + EXPONENT_BITS) * (1 + lane_copies) + lane_copies
        held_bits += EXPONENT_STEP_BITS + mantissa_bits(config.io_format) + 1
        holds = -(-held_bits // reach) if halves > 1 else 0
        lanes_per_hold = max(1, reach // held_bits)
        holds_per_beat = holds * -(-values // lanes_per_hold)
        # Live of each copy, and both marks.
        lanes_per_blank = reach // (lane_copies + 2)
        blanks = DelayLine(m, "filling", beat.filling, 0).spread(arrival + 1, -(-config.columns // lanes_per_blank))
        halfway = []
        for number in range(halves - 1):
            name, later = ("half", beat.half) if halves == 2 else (f"beyond_{number}", beat.half > number)
            halfway += DelayLine(m, name, later, 0).spread(arrival + 1, holds_per_beat)
        lanes_per_choice = reach // InputLane.choice_reach(lane_copies)

        features = place(m, "features", Features(config, self._beat_bits, -(-config.columns // lanes_per_choice)))

        def at_arrival(name, value, number):
            """As it is when the beat arrives, ``number`` times: from registers of their own if there is a cycle."""
            return DelayLine(m, name, value, 0).spread(arrival, number) if arrival else [value] * number

        m.d.comb += [
            features.w_en.eq(self.w_feature_en),
            features.w_addr.eq(self.w_feature_addr),
            features.w_data.eq(self.w_feature_data),
            *(
                port.eq(copy)
                for port, copy in zip(features.model, at_arrival("port_model", beat.model, len(features.model)))
            ),
            features.take.eq(Cat(at_arrival("features_take", beat.take, len(features.take)))),
            features.ends.eq(at_arrival("features_ends", beat.last, 1)[0]),
            features.clear.eq(at_arrival("features_clear", beat.clear, 1)[0]),
        ]
        arrived = at_arrival("beat", self.axis.tdata, halves)
        lanes = []
        lane_kind = CodedInputLane if config.narrow else InputLane
        for i in range(config.columns):
            # Those of a block's earlier beats keep their values until the last one has come.
            held = holds if i < config.columns - values else 0
            kind = lane_kind(config, merged=lane_copies, holds=held, wait=self._wait)
            lane = place(m, f"lane_{i}", kind)
            parity = i // values % PARITIES if held else 0
            m.d.comb += [
                lane.value.eq(arrived[i // values].word_select(i % values, config.io_bits)),
                *(port.eq(words[i % values]) for port, words in zip(lane.inner, features.inner[parity:])),
                *(
                    port.eq(words[i % values])
                    for ports, models in zip(lane.early, features.early[parity:])
                    for port, words in zip(ports, models)
                ),
                lane.choice.eq(features.choice[i // lanes_per_choice]),
                lane.blank.eq(blanks[i // lanes_per_blank]),
                self.x[i].eq(lane.mantissa),
            ]
            if held:
                at = i // values * holds_per_beat + held * (i % values // lanes_per_hold)
                m.d.comb += lane.hold.eq(Cat(halfway[at : at + held]))
            lanes.append(lane)
        return lanes

    def _largest_group(self, m, lanes):
        """The largest group of the block to all lanes, each copy for a few; the last few are fewer. Its exponent."""
        columns = self.config.columns
        largests = []
        or_lanes = max(_OR_LANES, columns // _PARTIALS)
        for number in range(self._merged_copies):
            groups = [lane.groups[number // self._merged_per_lane] for lane in lanes]
            partial = [
                copies(m, f"groups_{k}_{number}", _any_of(groups[k : k + or_lanes]), 1)[0]
                for k in range(0, columns, or_lanes)
            ]
            largests.append(_any_of(partial))
        if self._wait:
            largests = copies(m, "largest", largests[0], self._largest_copies)
        m.d.comb += [lane.largest.eq(largests[i // self._lanes_per_largest]) for i, lane in enumerate(lanes)]
        # Binary code of the number of set bits of a thermometer code, inverted.
        largest = largests[-1]
        group = Cat(
            Cat(
                largest[j - 1] & (~largest[j + (1 << bit) - 1] if j + (1 << bit) < GROUPS else 1)
                for j in range(1 << bit, GROUPS, 2 << bit)
            ).any()
            for bit in range(EXPONENT_BITS)
        )
        m.d.comb += self.x_exponent.eq(
            DelayLine(m, "exponent", ~group, self._arrival + 3 + self._wait).at(self.latency)
        )

    def _codes(self, m, lanes):
        """Of each quarter of the block, the code of its largest value: none of the largest group has less than six."""
        size = self.config.lanes
        for quarter in range(self.config.quarters):
            code = Signal(NARROW_SHIFT, name=f"x_code_{quarter}", reset_less=True)
            first, *others = (
                Cat(lane.code[j] for lane in lanes[quarter * size : (quarter + 1) * size]).any()
                for j in range(EXPONENT_STEP)
            )
            m.d.sync += code.eq(Cat(first.replicate(NARROW_SHIFT - len(others)), *others))
            m.d.comb += self.x_codes[quarter].eq(code)

    def _blocks(self, m, beat):
        """Blocks to the vector file and the sequencer."""
        halves = self.config.beats_per_block
        announced = self.latency - VectorFile.x_lead
        block_done = beat.take & (beat.half == halves - 1)
        block_number = (beat.number >> (halves - 1).bit_length())[: len(self.x_block)]
        m.d.comb += [
            self.x_en.eq(DelayLine(m, "block_done", block_done, 0).at(announced)),
            self.x_block.eq(DelayLine(m, "x_block", block_number, 0).at(announced)),
            self.x_side_w.eq(DelayLine(m, "x_side", beat.side, 0).at(announced)),
            self.block_ready.eq(DelayLine(m, "block_ready", block_done, 0, resettable=True).at(self.ready_cycle)),
        ]

    def _marks(self, m, beat, told):
        """Marks of both packets, of which ``told``, the lanes that keep nothing, tell what came in with each beat."""
        seen_at = self._arrival + 3
        seen = Signal(layout(marks_word), reset_less=True)
        m.d.sync += [
            # That a context is unknown is found out elsewhere.
            seen.unknown.eq(0),
            seen.malformed.eq(DelayLine(m, "malformed", beat.malformed, 0).at(seen_at - 1)),
            seen.nan.eq(Cat(lane.nan for lane in told).any()),
            seen.saturated.eq(Cat(lane.saturated for lane in told).any()),
        ]
        first_seen, side_seen = (
            DelayLine(m, name, value, 0).at(seen_at) for name, value in (("first", beat.first), ("side", beat.side))
        )
        taken = DelayLine(m, "take", beat.take, 0, resettable=True).at(seen_at)
        for s in range(2):
            flags = Signal(len(MARKS), name=f"flags_{s}", reset_less=True)
            with m.If(taken & (side_seen == s)):
                m.d.sync += flags.eq(seen.as_value() | (flags & ~first_seen.replicate(len(MARKS))))
            m.d.comb += self.flags[s].as_value().eq(flags)


def _any_of(codes):
    """The OR of thermometer codes."""
    return Cat(Cat(code[j] for code in codes).any() for j in range(GROUPS - 1))

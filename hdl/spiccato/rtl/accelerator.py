"""The accelerator: all parts, and the timing that follows from them."""

from amaranth.hdl import Array, Module, Mux, Signal, signed
from amaranth.lib.wiring import In, Out, connect, flipped

from ..isa.issue import RUN_TIME_FIELDS, VectorFrom, core_word
from ..isa.load import RecordKind
from ..isa.marks import marks_word
from ..numbers import C_BITS, QUARTERS, VECTOR_BITS
from .axi import AxiLite, AxiStream
from .broadcast import DelayLine
from .control import Control
from .control.probe import Probe
from .core import Core, CoreTiming
from .egress import Egress, output_event_layout
from .ingress import Ingress
from .part import Part, place
from .sequencer import Sequencer
from .vector_file import VectorFile
from .words import layout

__all__ = ["Accelerator", "Timing"]


class Timing(CoreTiming):
    """All cycle counts the compiler and the models need, composed from the parts.

    Besides the core's cycles (counted from the issue register):

    ``dependency``
        From the issue word that finishes a slot to the first that may read its h.
    ``input``
        From the acceptance of a block's last beat to the first issue word that may read it.
    ``output``
        From the issue word that finishes an output slot to ``tvalid`` of its first beat.
    """

    def __init__(self, config):
        super().__init__(config)
        # A read sees what is in the vector file's write register `forward` cycles after its issue.
        self.dependency = self.h + VectorFile.h_latency - VectorFile.forward
        self.input = Ingress.latency + VectorFile.x_latency - VectorFile.forward
        self.output = self.acc + Egress.latency
        #: From the acceptance of an output beat to the first issue word that its room in the queue lets start.
        self.room = Egress.taken_latency + Accelerator.room_latency + Sequencer.room_to_issue
        #: How far ahead of the write register the input has to announce a block.
        self.block_lead = VectorFile.forward + Sequencer.block_to_issue


class Accelerator(Part):
    """The top level. Ports as AXI names them; see the register map and the stream formats in the documentation.

    Attributes
    ----------
    s_axis_input : in, packets of one timestep's inputs
    m_axis_output : out, packets of one timestep's outputs; ``tuser``: marks of the inference
    s_axil : in, control
    """

    #: From ``taken`` to ``room``: the change, the number of free beats, the comparison.
    room_latency = 3
    #: From c or h to what control reads: two levels of multiplexers.
    probe_latency = 2

    def __init__(self, config):
        self.config = config
        self.timing = Timing(config)
        super().__init__(
            "accelerator",
            {
                "s_axis_input": In(AxiStream(config.beat_bits)),
                "m_axis_output": Out(AxiStream(config.beat_bits, keep=True, user=layout(marks_word))),
                "s_axil": In(AxiLite()),
            },
        )

    def elaborate(self, platform):
        m = Module()
        config, timing = self.config, self.timing
        if max(timing.h + VectorFile.latency, timing.output) >= Sequencer.drain_cycles:
            raise ValueError(f"the pipeline is not empty after {Sequencer.drain_cycles} cycles")
        if timing.c_old + self.probe_latency >= Probe.cycles:
            raise ValueError(f"state cannot be read back within {Probe.cycles} cycles")
        control = place(m, "control", Control(config))
        # Vector file and cores never wait: they have run empty when a reset of the others ends.
        sequencer = place(m, "sequencer", Sequencer(config), reset=control.reset)
        ingress = place(m, "ingress", Ingress(config, lead=timing.block_lead), reset=control.reset)
        if control.least_drop_cycles < ingress.drop_cycles:
            raise ValueError(f"packets are not forgotten within {control.least_drop_cycles} cycles")
        vectors = place(m, "vectors", VectorFile(config))
        egress = place(m, "egress", Egress(config), reset=control.reset)
        cores = [place(m, f"core_{i}", Core(config)) for i in range(config.cores)]

        connect(m, flipped(self.s_axil), control.axil)
        connect(m, flipped(self.s_axis_input), ingress.axis)
        connect(m, flipped(self.m_axis_output), egress.axis)

        # Program load, and parameters.
        load, parameters = control.load, control.parameters
        features_load = Signal()
        words_load = Signal()
        load_addr = Signal.like(load.addr)
        load_data = Signal.like(load.data)
        m.d.sync += [
            features_load.eq(load.enable & (load.target == RecordKind.FEATURES)),
            words_load.eq(load.enable & (load.target == RecordKind.ISSUE_WORDS)),
            load_addr.eq(load.addr),
            load_data.eq(load.data),
        ]
        m.d.comb += [
            ingress.w_feature_en.eq(features_load),
            ingress.w_feature_addr.eq(load_addr),
            ingress.w_feature_data.eq(load_data),
            sequencer.w_en.eq(words_load),
            sequencer.w_addr.eq(load_addr),
            sequencer.w_data.eq(load_data),
            ingress.beats.eq(parameters.last_input_beat),
            sequencer.body.eq(parameters.body),
            sequencer.before_last.eq(parameters.before_last),
            egress.exponent.eq(parameters.output_exponent),
            egress.last_values.eq(parameters.last_values),
        ]

        # Room in the output queue, counted in whole inferences when they start.
        credits = Signal(range(config.output_beats + 1), init=config.output_beats)
        change = Signal(signed(len(parameters.output_beats) + 1))
        room = Signal()
        m.d.sync += [
            change.eq(
                egress.taken - (parameters.output_beats & sequencer.started.replicate(len(parameters.output_beats)))
            ),
            credits.eq(credits + change),
            room.eq(credits >= parameters.output_beats),
        ]
        with m.If(control.reset):
            m.d.sync += credits.eq(config.output_beats)

        # Sequencer. An inference's last word is in the issue register when ``committed`` tells of it.
        word = sequencer.word
        marks = Signal.like(ingress.flags[0])
        m.d.comb += marks.eq(Mux(sequencer.x_side, ingress.flags[1].as_value(), ingress.flags[0].as_value()))
        m.d.comb += [
            sequencer.block_ready.eq(ingress.block_ready),
            sequencer.room.eq(room),
            sequencer.malformed.eq(marks.malformed),
            sequencer.enable.eq(control.enable),
            sequencer.restart.eq(control.restart),
            sequencer.drop.eq(control.drop),
            ingress.drop.eq(control.drop),
            ingress.enable.eq(control.enable),
            control.half_packet.eq(ingress.half_packet),
            sequencer.keep_c.eq(control.keep_c),
            control.idle.eq(sequencer.idle),
            ingress.release.eq(sequencer.committed),
            control.inference.eq(sequencer.committed),
            control.flags.eq(marks),
            control.stall.eq(sequencer.stalled),
            control.done.eq(egress.done),
            control.cycles.eq(egress.cycles),
            ingress.now.eq(control.now),
            egress.now.eq(control.now),
        ]

        # Vector file and cores.
        finished = DelayLine(m, "finished", word.valid & word.cell, resettable=True).at(timing.h - 1)
        m.d.comb += [
            vectors.source.eq(word.vector_from),
            vectors.block.eq(word.vector),
            vectors.side.eq(sequencer.side),
            vectors.x_side.eq(sequencer.x_side),
            vectors.h_en.eq(finished),
            vectors.h_quarter.eq(DelayLine(m, "quarter", word.quarter).at(timing.h - 1)),
            vectors.h_side.eq(DelayLine(m, "h_side", sequencer.side).at(timing.h - 1)),
            vectors.x_en.eq(ingress.x_en),
            vectors.x_block.eq(ingress.x_block),
            vectors.x_side_w.eq(ingress.x_side_w),
            vectors.x.eq(ingress.x),
            vectors.x_exponent.eq(ingress.x_exponent),
        ]
        for i, core in enumerate(cores):
            m.d.comb += [
                core.index.eq(i),
                *(core.issue[name].eq(word[name]) for name in core_word(config).fields if name not in RUN_TIME_FIELDS),
                core.issue.side.eq(sequencer.side),
                core.issue.zero_c.eq(sequencer.zero_c),
                core.vector.eq(vectors.vector),
                core.exponent.eq(vectors.exponent),
                core.load.eq(load),
                vectors.h[i].eq(core.h),
                egress.acc[i].eq(core.acc),
            ]

        # Outputs.
        event = Signal(output_event_layout(config))
        m.d.comb += [
            event.last_beat.eq(word.output_beats),
            event.last.eq(word.output_last),
            event.flags.eq(marks),
            event.started.eq(Mux(sequencer.x_side, ingress.started[1], ingress.started[0])),
        ]
        valid = DelayLine(m, "event_valid", word.valid & word.output, resettable=True).at(timing.acc)
        m.d.comb += egress.event.eq(DelayLine(m, "event", event).at(timing.acc))
        m.d.comb += egress.valid.eq(valid)

        # Read-back of the state, one element at a time.
        m.d.comb += [
            sequencer.probe.eq(control.probe.valid),
            sequencer.probe_word.vector_from.eq(VectorFrom.H),
            sequencer.probe_word.vector.eq(control.probe.address),
            sequencer.probe_word.slot.eq(control.probe.address),
            # h is read where this word's side says, c where the previous inference's words wrote it.
            sequencer.probe_word.seed.eq(~control.probe.cell),
        ]
        probed_h = Signal(VECTOR_BITS)
        probed_quarters = [Signal(VECTOR_BITS, name=f"probed_quarter_{i}") for i in range(QUARTERS)]
        probed_lanes = [Signal(C_BITS, name=f"probed_lane_{i}") for i in range(config.cores)]
        probed_c = Signal(C_BITS)
        quarter_bits = (config.lanes - 1).bit_length()
        for quarter, value in enumerate(probed_quarters):
            lanes = [vectors.vector[quarter * config.lanes + lane] for lane in range(config.lanes)]
            m.d.sync += value.eq(Array(lanes)[control.probe.lane[:quarter_bits]])
        m.d.sync += probed_h.eq(Array(probed_quarters)[control.probe.lane[quarter_bits : quarter_bits + 2]])
        for i, core in enumerate(cores):
            m.d.sync += probed_lanes[i].eq(Array(core.c_old)[control.probe.lane])
        m.d.sync += probed_c.eq(Array(probed_lanes)[control.probe.core])
        with m.If(sequencer.zero_c):
            m.d.comb += control.probe.data.eq(0)
        with m.Elif(control.probe.cell):
            m.d.comb += control.probe.data.eq(probed_c.as_signed())
        with m.Else():
            m.d.comb += control.probe.data.eq(probed_h.as_signed())
        return m

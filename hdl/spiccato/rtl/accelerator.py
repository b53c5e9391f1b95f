"""The accelerator: all parts, and the timing that follows from them."""

from amaranth.hdl import Array, Const, Module, Mux, Signal, Value, signed
from amaranth.lib.wiring import In, Out, connect, flipped

from ..isa.load import RecordKind
from ..isa.marks import marks_word
from ..numbers import C_BITS, QUARTERS, VECTOR_BITS
from .axi import AxiLite, AxiStream
from .broadcast import DelayLine, copies, equal_register
from .control import Control
from .control.loader import Loader
from .control.probe import Probe
from .core import Core
from .core_timing import CoreTiming
from .egress import Egress, output_event_layout
from .features import Features
from .ingress import Ingress
from .load_tree import LoadTree
from .part import Part, place
from .sequencer import Sequencer
from .vector_file import VectorFile, h_write_layout
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
        #: How far ahead of the write register the input has to announce a block.
        self.block_lead = VectorFile.forward + Sequencer.block_to_issue
        self.input = Ingress(config, lead=self.block_lead).latency + VectorFile.x_latency - VectorFile.forward
        self.output = self.acc + Egress(config).latency
        #: From the acceptance of an output beat to the first issue word that its room in the queue lets start.
        self.room = Egress.taken_latency + Accelerator.room_latency + Sequencer.room_to_issue


class Accelerator(Part):
    """The top level. Ports as AXI names them; see the register map and the stream formats in the documentation.

    Attributes
    ----------
    s_axis_input : in, packets of one timestep's inputs
    m_axis_output : out, packets of one timestep's outputs; ``tuser``: marks of the inference
    s_axil : in, control
    """

    #: From the load bus to the write ports of program and features.
    load_latency = 1
    #: From ``taken`` to ``room``: the change, the number of free beats, the comparison.
    room_latency = 3
    #: From c or h to what control reads: three levels of multiplexers.
    probe_latency = 3

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
        if Sequencer.probe_to_issue + timing.c_old + self.probe_latency >= Probe.cycles:
            raise ValueError(f"state cannot be read back within {Probe.cycles} cycles")
        # Of a load's last entry: in its memory before anything reads there.
        core_write = LoadTree.latency + config.stages.write_register + 1
        core_read = Sequencer.block_to_issue + min(
            timing.weight_addr, timing.shift_addr, timing.operand_addr, timing.c_old_addr
        )
        feature_write = self.load_latency + Features.load_latency + 1
        if feature_write > Loader.margin or core_write > Loader.margin + core_read:
            raise ValueError("inferences start before the last entry of a load is in its memory")
        control = place(m, "control", Control(config))
        # Everything that could hang has a reset of its own. Vector file and cores never wait: they have none, and have
        # run empty when that of the others ends.
        resets = {
            name: equal_register(f"reset_{name}", init=1, resettable=True)
            for name in ("sequencer", "ingress", "egress", "room", "ports")
        }
        m.d.sync += [reset.eq(control.reset) for reset in resets.values()]
        vectors = place(m, "vectors", VectorFile(config), reset=Const(0))
        cores = [place(m, f"core_{i}", Core(config)) for i in range(config.cores)]
        sequencer = place(m, "sequencer", Sequencer(config, reads=len(vectors.read)), reset=resets["sequencer"])
        ingress = place(m, "ingress", Ingress(config, lead=timing.block_lead), reset=resets["ingress"])
        if control.least_drop_cycles < ingress.drop_cycles:
            raise ValueError(f"packets are not forgotten within {control.least_drop_cycles} cycles")
        egress = place(m, "egress", Egress(config), reset=resets["egress"])
        if timing.output < egress.wake_cycles:
            raise ValueError(f"an output may come less than {egress.wake_cycles} cycles after a reset")

        connect(m, flipped(self.s_axil), control.axil)
        # To the outside the streams are in reset a cycle before their parts are.
        for there, port in ((ingress.axis, self.s_axis_input), (self.m_axis_output, egress.axis)):
            m.d.comb += [
                getattr(there, name).eq(getattr(port, name)) for name in port.signature.members if name != "tready"
            ]
            m.d.comb += port.tready.eq(there.tready)
        with m.If(resets["ports"]):
            m.d.comb += [self.s_axis_input.tready.eq(0), self.m_axis_output.tvalid.eq(0)]

        # Program load, and parameters: a register in front of each part.
        load = control.load
        for part, target, port in (
            (ingress, RecordKind.FEATURES, "w_feature"),
            (sequencer, RecordKind.ISSUE_WORDS, "w"),
        ):
            enable = Signal(name=f"{target.name.lower()}_load_en", reset_less=True)
            m.d.sync += enable.eq(load.enable & (load.target == target))
            m.d.comb += getattr(part, f"{port}_en").eq(enable)
            for name in ("addr", "data"):
                there = Value.cast(getattr(part, f"{port}_{name}"))
                bus = getattr(load, name)
                register = Signal(len(there), name=f"{target.name.lower()}_load_{name}", reset_less=True)
                m.d.sync += register.eq(bus)
                m.d.comb += there.eq(register)
        for ports, parameter in (
            (ingress.beats, "last_input_beat"),
            ([sequencer.body], "body"),
            ([sequencer.before_last], "before_last"),
            ([egress.exponent], "output_exponent"),
            ([egress.last_values], "last_values"),
        ):
            value = control.parameters[parameter]
            for port, register in zip(ports, copies(m, f"parameter_{parameter}", value, len(ports))):
                m.d.comb += port.eq(register)

        # Room in the output queue, counted in whole inferences when they start.
        output_beats = Signal.like(control.parameters.output_beats, reset_less=True)
        credits = Signal(range(config.output_beats + 1), init=config.output_beats, reset_less=True)
        change = Signal(signed(len(output_beats) + 1), reset_less=True)
        room = Signal(reset_less=True)
        m.d.sync += [
            output_beats.eq(control.parameters.output_beats),
            change.eq(egress.taken - (output_beats & sequencer.started.replicate(len(output_beats)))),
            credits.eq(credits + change),
            room.eq(credits >= output_beats),
        ]
        with m.If(resets["room"]):
            m.d.sync += credits.eq(config.output_beats)

        # Sequencer. An inference's last word is in the issue register when ``committed`` tells of it.
        finish = sequencer.finish
        marks = Signal.like(ingress.flags[0])
        m.d.comb += marks.eq(Mux(finish.x_side, ingress.flags[1].as_value(), ingress.flags[0].as_value()))
        m.d.comb += [
            sequencer.block_ready.eq(ingress.block_ready),
            sequencer.room.eq(room),
            sequencer.malformed.eq(marks.malformed),
            sequencer.enable.eq(control.enable[0]),
            sequencer.restart.eq(control.restart),
            sequencer.drop.eq(control.drop[0]),
            ingress.drop.eq(control.drop[1]),
            ingress.enable.eq(control.enable[1]),
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
        h_write = Signal(h_write_layout(config))
        m.d.comb += [
            h_write.enable.eq(finish.valid & finish.cell),
            h_write.quarter.eq(finish.quarter),
            h_write.side.eq(finish.side),
            *(port.eq(read) for port, read in zip(vectors.read, sequencer.read)),
            vectors.x_en.eq(ingress.x_en),
            vectors.x_block.eq(ingress.x_block),
            vectors.x_side_w.eq(ingress.x_side_w),
            vectors.x.eq(ingress.x),
            vectors.x_exponent.eq(ingress.x_exponent),
        ]
        h_known = DelayLine(m, "h_write", h_write.as_value()).at(timing.h - VectorFile.h_lead)
        m.d.comb += vectors.h_write.eq(h_known)
        for i, core in enumerate(cores):
            m.d.comb += [
                core.index.eq(i),
                core.issue.eq(sequencer.issue[i]),
                core.vector.eq(vectors.vector),
                core.exponent.eq(vectors.exponent),
                core.load.eq(load),
                vectors.h[i].eq(core.h),
                egress.acc[i].eq(core.acc),
            ]

        # Outputs. What is known of the packet is taken a cycle late, before its place can be another one's.
        x_side_1 = DelayLine(m, "x_side", finish.x_side).spread(1, 2)
        event = Signal(output_event_layout(config))
        word_1 = {name: DelayLine(m, name, finish[name]).at(1) for name in ("output_beats", "output_last")}
        m.d.comb += [
            event.last_beat.eq(word_1["output_beats"]),
            event.last.eq(word_1["output_last"]),
            event.flags.eq(Mux(x_side_1[0], ingress.flags[1].as_value(), ingress.flags[0].as_value())),
            event.started.eq(Mux(x_side_1[1], ingress.started[1], ingress.started[0])),
        ]
        known = timing.acc - Egress.capture_lead
        m.d.comb += [
            egress.event.eq(DelayLine(m, "event", event, 1).at(known)),
            egress.valid.eq(DelayLine(m, "event_valid", finish.valid & finish.output).at(known)),
        ]

        # Read-back of the state, one element at a time.
        m.d.comb += [
            sequencer.probe.eq(control.probe.valid),
            sequencer.probe_word.vector.eq(control.probe.address),
            sequencer.probe_word.slot.eq(control.probe.address),
            # h is read where this word's side says, c where the previous inference's words wrote it.
            sequencer.probe_word.seed.eq(~control.probe.cell),
        ]
        # What chooses it stays as it is; each multiplexer has a copy.
        *quarter_lanes, h_lane = copies(m, "probe_lane_h", control.probe.lane, QUARTERS + 1)
        core_lanes = copies(m, "probe_lane_c", control.probe.lane, config.cores)
        (probe_core,), (probe_cell,) = (
            copies(m, f"probe_{name}", getattr(control.probe, name), 1) for name in ("core", "cell")
        )
        (probe_zero,) = copies(m, "probe_zero", sequencer.issue[0].zero_c, 1)
        probed_h = Signal(signed(VECTOR_BITS), reset_less=True)
        probed_quarters = [Signal(VECTOR_BITS, name=f"probed_quarter_{i}", reset_less=True) for i in range(QUARTERS)]
        probed_lanes = [Signal(C_BITS, name=f"probed_lane_{i}", reset_less=True) for i in range(config.cores)]
        probed_c = Signal(signed(C_BITS), reset_less=True)
        probed = Signal(len(control.probe.data), reset_less=True)
        quarter_bits = (config.lanes - 1).bit_length()
        for quarter, (value, lane) in enumerate(zip(probed_quarters, quarter_lanes)):
            lanes = [vectors.vector[quarter * config.lanes + i] for i in range(config.lanes)]
            m.d.sync += value.eq(Array(lanes)[lane[:quarter_bits]])
        m.d.sync += probed_h.eq(Array(probed_quarters)[h_lane[quarter_bits : quarter_bits + 2]])
        for value, core, lane in zip(probed_lanes, cores, core_lanes):
            m.d.sync += value.eq(Array(core.c_old)[lane])
        m.d.sync += [
            probed_c.eq(Array(probed_lanes)[probe_core]),
            probed.eq(Mux(probe_zero, 0, Mux(probe_cell, probed_c, probed_h))),
        ]
        m.d.comb += control.probe.data.eq(probed)
        return m

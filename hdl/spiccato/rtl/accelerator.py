"""The accelerator: all parts, and the timing that follows from them."""

from typing import NamedTuple

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out, connect, flipped

from ..isa.load import RecordKind
from ..isa.marks import MARKS, marks_word
from .axi import AxiLite, input_stream, output_stream
from .broadcast import DelayLine, copies, equal_register, select
from .contexts import Contexts
from .control import Control
from .control.loader import Loader
from .core import Core
from .core_timing import CoreTiming
from .egress import Egress, output_event_layout
from .epilogue import epilogues
from .features import Features
from .ingress import Ingress
from .load_tree import LoadTree
from .models import ModelTable
from .output_room import OutputRoom
from .part import Part, place
from .sequencer import Sequencer
from .vector_file import VectorFile, h_write_layout
from .weights import Weights
from .words import layout

__all__ = ["Accelerator", "Timing"]


class Timing(CoreTiming):
    """All cycle counts the compiler and the models need, composed from the parts.

    Besides the core's cycles (counted from the issue register):

    ``dependency_of``
        From the issue word that finishes a slot to the first that may read its h, or the first of its h, one turn after
        the other: by the name of the epilogue. ``dependency`` is the longest.
    ``input``
        From the acceptance of a block's last beat to the first issue word that may read it.
    ``output``
        From the issue word that finishes an output slot to ``tvalid`` of its first beat.
    """

    def __init__(self, config):
        super().__init__(config)
        # A read sees what is in the vector file's write register `forward` cycles after its issue.
        h_latency = VectorFile(config).h_latency
        self.dependency_of = {name: h + h_latency - VectorFile.forward for name, h in self.h_of.items()}
        self.dependency = max(self.dependency_of.values())
        #: How far ahead of the write register the input has to announce a block.
        self.block_lead = VectorFile.forward + Sequencer.block_to_issue
        self.input = Ingress(config, lead=self.block_lead).latency + VectorFile.x_latency - VectorFile.forward
        self.output = self.acc + Egress(config).latency
        #: From the acceptance of an output beat to the first issue word that its room in the queue lets start.
        self.room = Egress.taken_latency + OutputRoom.latency + Sequencer.room_to_issue


class _Parts(NamedTuple):
    """What the accelerator consists of, as placed."""

    control: Control
    vectors: VectorFile
    cores: list[Core]
    sequencer: Sequencer
    ingress: Ingress
    contexts: Contexts
    room: OutputRoom
    egress: Egress


class Accelerator(Part):
    """The top level. Ports as AXI names them; see the register map and the stream formats in the documentation.

    Attributes
    ----------
    s_axis_input : in, packets of one timestep's inputs; ``tid``: the context, ``tuser``: what is asked for
    m_axis_output : out, packets of one timestep's outputs; ``tid``: the context, ``tuser``: marks of the inference
    s_axil : in, control
    """

    #: From the load bus to the write ports of program and features.
    load_latency = 1

    def __init__(self, config):
        self.config = config
        self.timing = Timing(config)
        super().__init__(
            "accelerator",
            {
                "s_axis_input": In(input_stream(config)),
                "m_axis_output": Out(output_stream(config)),
                "s_axil": In(AxiLite()),
            },
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        self._check_latencies()
        # Everything that could hang has a reset of its own. Vector file and cores never wait: they have none, and have
        # run empty when that of the others ends.
        resets = {
            name: equal_register(f"reset_{name}", init=1, resettable=True)
            for name in ("sequencer", "ingress", "egress", "room", "contexts", "ports")
        }
        control = place(m, "control", Control(config))
        m.d.sync += [reset.eq(control.reset) for reset in resets.values()]
        vectors = place(m, "vectors", VectorFile(config), reset=Const(0))
        cores = [place(m, f"core_{i}", Core(config)) for i in range(config.cores)]
        sequencer = place(m, "sequencer", Sequencer(config, reads=len(vectors.read)), reset=resets["sequencer"])
        ingress = place(m, "ingress", Ingress(config, lead=self.timing.block_lead), reset=resets["ingress"])
        contexts = place(m, "contexts", Contexts(config), reset=resets["contexts"])
        room = place(m, "output_room", OutputRoom(config), reset=resets["room"])
        egress = place(m, "egress", Egress(config), reset=resets["egress"])
        parts = _Parts(control, vectors, cores, sequencer, ingress, contexts, room, egress)

        self._ports(m, parts, resets["ports"])
        output_table = self._load(m, parts)
        output_model = self._announce(m, parts)
        # What is known of an output when its sums are captured.
        known = self.timing.acc - Egress.capture_lead
        saturated = self._saturated(m, known, cores, sequencer.started)
        self._control(m, parts, known, saturated)
        self._transfers(m, parts)
        self._data_path(m, parts)
        self._outputs(m, parts, output_model, output_table, known, saturated)
        return m

    def _check_latencies(self):
        """What the parts rely on of each other's latencies; raises ValueError where one has become too long."""
        config, timing = self.config, self.timing
        vectors = VectorFile(config)
        kept = (timing.h_kept + config.stages.write_register + 1) * config.keep_h
        if max(timing.h + vectors.latency, timing.output, kept) >= Sequencer.drain_cycles:
            raise ValueError(f"the pipeline is not empty after {Sequencer.drain_cycles} cycles")
        # Of a load's last entry: in its memory before anything reads there.
        core_write = max(LoadTree.latency + config.stages.write_register, Weights.load_cycles(config)) + 1
        core_read = Sequencer.block_to_issue + min(
            timing.weight_addr, timing.shift_addr, timing.operand_addr, timing.c_old_addr
        )
        write = max(self.load_latency + max(Features.load_latency, Sequencer.load_latency) + 1, ModelTable.load_latency)
        # The bus is one register further, and states are forgotten in between.
        margin = Loader.margin + Contexts.clear_cycles(config) - 1
        if write > margin or core_write > margin + core_read:
            raise ValueError("inferences start before the last entry of a load is in its memory")
        delay = Contexts(config).announce_delay
        if OutputRoom.charge_latency + Sequencer.room_to_issue > Sequencer.head_words + Sequencer.least_tail:
            raise ValueError("an inference may start before the one before has taken its room")
        if timing.input < 1 + delay + Sequencer.announce_to_issue:
            raise ValueError("a packet's first block can be there before its first word")
        least_drop = Loader(config).least_drop_cycles
        ingress = Ingress(config, lead=timing.block_lead)
        if least_drop < max(ingress.drop_cycles + delay, Sequencer.drop_cycles):
            raise ValueError(f"packets are not forgotten within {least_drop} cycles")
        wake_cycles = Egress(config).wake_cycles
        if timing.output < wake_cycles:
            raise ValueError(f"an output may come less than {wake_cycles} cycles after a reset")

    def _ports(self, m, parts, reset):
        """The outside, where the streams are in reset a cycle before their parts are."""
        connect(m, flipped(self.s_axil), parts.control.axil)
        for there, port in ((parts.ingress.axis, self.s_axis_input), (self.m_axis_output, parts.egress.axis)):
            m.d.comb += [
                getattr(there, name).eq(getattr(port, name)) for name in port.signature.members if name != "tready"
            ]
            m.d.comb += port.tready.eq(there.tready)
        with m.If(reset):
            m.d.comb += [self.s_axis_input.tready.eq(0), self.m_axis_output.tvalid.eq(0)]

    def _load(self, m, parts):
        """Program load: a register in front of each part. Returns the table of the models for the outputs."""
        load = parts.control.loads[0]
        for part, target, port in (
            (parts.ingress, RecordKind.FEATURES, "w_feature"),
            (parts.sequencer, RecordKind.ISSUE_WORDS, "w_tail"),
            (parts.sequencer, RecordKind.HEADS, "w_head"),
            (parts.contexts, RecordKind.CONTEXTS, "w"),
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
        users = parts.sequencer, parts.ingress, parts.contexts, parts.room
        models = place(m, "models", ModelTable(self.config, users=len(users) + 1))
        m.d.comb += models.load.eq(load)
        *tables, output_table = models.tables
        for part, table in zip(users, tables):
            m.d.comb += [port.eq(entry) for port, entry in zip(part.models, table)]
        return output_table

    def _announce(self, m, parts):
        """Packets, from their first beat on. Returns the model of each side's, for the outputs."""
        sequencer, ingress, contexts, room = parts.sequencer, parts.ingress, parts.contexts, parts.room
        delay = contexts.announce_delay
        for name, part in (("room", room), ("contexts", contexts)):
            for s, port in enumerate(part.model):
                m.d.comb += port.eq(copies(m, f"{name}_model_{s}", ingress.model[s], 1)[0])
        output_model = [copies(m, f"output_model_{s}", model, 1)[0] for s, model in enumerate(ingress.model)]
        for s, port in enumerate(sequencer.coming):
            m.d.comb += port.eq(DelayLine(m, f"coming_{s}", ingress.coming[s]).at(delay))
        m.d.comb += [
            sequencer.announce.eq(DelayLine(m, "announce", ingress.announce).at(delay)),
            contexts.announce.eq(ingress.announce),
            *(port.eq(packet) for port, packet in zip(contexts.packet, ingress.packet)),
            *(room.quiet[s].eq(packet.quiet) for s, packet in enumerate(ingress.packet)),
            room.unknown.eq(contexts.unknown),
            room.started.eq(sequencer.started),
            room.side.eq(sequencer.side),
            room.taken.eq(parts.egress.taken),
        ]
        return output_model

    def _control(self, m, parts, known, saturated):
        """Sequencer and control. An inference's last word is in the issue register when ``committed`` tells of it."""
        control, sequencer, ingress, contexts = parts.control, parts.sequencer, parts.ingress, parts.contexts
        finish = sequencer.finish
        marks = Signal.like(ingress.flags[0])
        m.d.comb += marks.eq(Mux(finish.side, ingress.flags[1].as_value(), ingress.flags[0].as_value()))
        ended, ended_marks = sequencer.committed, _marked(marks, contexts.unknown.bit_select(finish.side, 1))
        if saturated is not None:
            ended = DelayLine(m, "ended", ended).at(known)
            ended_marks = _also_saturated(DelayLine(m, "ended_marks", ended_marks).at(known), saturated)
        m.d.comb += [
            sequencer.block_ready.eq(ingress.block_ready),
            sequencer.room.eq(parts.room.room),
            sequencer.enable.eq(control.enable[0]),
            sequencer.drop.eq(control.drop[0]),
            ingress.drop.eq(control.drop[1]),
            ingress.enable.eq(control.enable[1]),
            control.half_packet.eq(ingress.half_packet),
            control.idle.eq(sequencer.idle),
            ingress.release.eq(sequencer.committed),
            control.inference.eq(ended),
            control.flags.eq(ended_marks),
            control.stall.eq(sequencer.stalled),
            control.done.eq(parts.egress.done),
            control.cycles.eq(parts.egress.cycles),
            ingress.now.eq(control.now),
            parts.egress.now.eq(control.now),
            *(port.eq(state) for port, state in zip(contexts.word, sequencer.state)),
            contexts.malformed.eq(marks.malformed),
            contexts.drop.eq(control.drop[0]),
            contexts.clear.eq(control.clear),
        ]

    def _transfers(self, m, parts):
        """h and c of a context, element by element, for the control port."""
        config, cores, contexts = self.config, parts.cores, parts.contexts
        transfer = parts.control.transfer
        elements = [core.element for core in cores]
        element = select(m, "element", elements, transfer.core, config.stages.reach.registers)
        lanes, of_c = (
            copies(m, f"transfer_{name}", getattr(transfer, name), config.cores) for name in ("lane", "cell")
        )
        if config.keep_h:
            of_h = copies(m, "transfer_result", transfer.result, config.cores)
            m.d.comb += [core.of_h.eq(one) for core, one in zip(cores, of_h)]
        m.d.comb += [
            contexts.ask_tid.eq(transfer.tid),
            contexts.ask_slot.eq(transfer.slot),
            contexts.move.eq(transfer.move),
            contexts.mark.eq(transfer.mark),
            contexts.alive.eq(transfer.alive),
            transfer.moved.eq(contexts.moved),
            transfer.marked.eq(contexts.marked),
            transfer.addr.eq(contexts.ask_addr),
            transfer.known.eq(contexts.ask_known),
            transfer.has_state.eq(contexts.ask_alive),
            transfer.running.eq(contexts.ask_running),
            transfer.element.eq(element),
            *(core.lane.eq(lane) for core, lane in zip(cores, lanes)),
            *(core.of_c.eq(one) for core, one in zip(cores, of_c)),
        ]

    def _data_path(self, m, parts):
        """Blocks from the ingress to the vector file, vectors to the cores, and what these make of them back."""
        config, vectors, sequencer, ingress = self.config, parts.vectors, parts.sequencer, parts.ingress
        m.d.comb += [
            *(port.eq(read) for port, read in zip(vectors.read, sequencer.read)),
            vectors.x_en.eq(ingress.x_en),
            vectors.x_block.eq(ingress.x_block),
            vectors.x_side_w.eq(ingress.x_side_w),
            vectors.x.eq(ingress.x),
            vectors.x_exponent.eq(ingress.x_exponent),
            *([vectors.x_codes.eq(ingress.x_codes)] if config.narrow else []),
        ]
        m.d.comb += vectors.h_write.eq(self._h_write(m, sequencer.finish))
        loads = parts.control.loads
        for i, core in enumerate(parts.cores):
            m.d.comb += [
                core.index.eq(i),
                core.issue.eq(sequencer.issue[i]),
                core.access.eq(parts.contexts.access[i]),
                core.vector.eq(vectors.vector),
                core.exponent.eq(vectors.exponent),
                core.load.eq(loads[i * len(loads) // config.cores]),
                vectors.h[i].eq(core.h),
                parts.egress.acc[i].eq(core.acc),
            ]

    def _outputs(self, m, parts, output_model, output_table, known, saturated):
        """What goes with an output's sums. It is taken a cycle late, before the packet's place can be another one's."""
        config, finish, ingress, egress = self.config, parts.sequencer.finish, parts.ingress, parts.egress
        word_1 = {
            name: DelayLine(m, name, finish[name]).at(1) for name in ("valid", "output", "output_beats", "output_last")
        }
        sides = DelayLine(m, "side", finish.side).spread(1, 3)
        event = Signal(output_event_layout(config))
        packet = Array(ingress.packet)[sides[0]]
        model = Array(output_table)[Array(output_model)[sides[0]]]
        unknown = parts.contexts.unknown.bit_select(sides[2], 1)
        flags = Mux(sides[2], ingress.flags[1].as_value(), ingress.flags[0].as_value())
        m.d.comb += [
            # Of an unknown context's packet, a beat of zeros remains.
            event.last_beat.eq(Mux(unknown, 0, word_1["output_beats"])),
            event.last.eq(word_1["output_last"]),
            event.flags.eq(_marked(data.View(layout(marks_word), flags), unknown)),
            event.tid.eq(packet.tid),
            event.blank.eq(unknown),
            event.exponent.eq(model.output_exponent),
            event.last_values.eq(Mux(unknown, config.beat_values - 1, model.last_values)),
            event.started.eq(Mux(sides[1], ingress.started[1], ingress.started[0])),
        ]
        valid = word_1["valid"] & word_1["output"] & ~packet.quiet & (word_1["output_last"] | ~unknown)
        arrived = DelayLine(m, "event", event, 1).at(known)
        m.d.comb += [egress.event.eq(arrived), egress.valid.eq(DelayLine(m, "event_valid", valid, 1).at(known))]
        if saturated is not None:
            m.d.comb += egress.event.flags.eq(_also_saturated(arrived.flags.as_value(), saturated))

    def _h_write(self, m, finish):
        """Where h goes that the cores have: of each epilogue as many cycles after the word as it takes."""
        config, timing = self.config, self.timing
        groups: dict[tuple[int, int], list[int]] = {}
        for number, name in enumerate(config.epilogues):
            groups.setdefault((timing.h_of[name], timing.turns_of[name]), []).append(number)
        writes = []
        for (h, turns), numbers in groups.items():
            name = "h_write" if len(groups) == 1 else f"{config.epilogues[numbers[0]]}_write"
            word = Signal(h_write_layout(config), name=name)
            finished = finish.valid & finish.cell
            if len(groups) > 1:
                finished &= Cat(finish.epilogue == number for number in numbers).any()
            m.d.comb += [word.enable.eq(finished), word.quarter.eq(finish.quarter), word.side.eq(finish.side)]
            known = DelayLine(m, name, word.as_value()).at(h - VectorFile.h_lead)
            writes.append(data.View(h_write_layout(config), known))
            for turn in range(1, turns):
                following = Signal(h_write_layout(config), name=f"{name}_turn_{turn}", reset_less=True)
                m.d.sync += [following.eq(writes[-1]), following.quarter.eq(writes[-1].quarter + config.cores)]
                writes.append(following)
        merged, *others = writes
        if others:
            # The schedule has one at a time.
            first, merged = merged, Signal(h_write_layout(config), name="merged_write")
            m.d.comb += merged.eq(first)
            for write in others:
                with m.If(write.enable):
                    m.d.comb += merged.eq(write)
        return merged

    def _saturated(self, m, known, cores, started):
        """Whether a result of the inference was beyond the range of h, ``known`` cycles after its output words.

        By then all that an output depends on has told so, and nothing of the next inference. None: nothing can.
        """
        if "saturated" not in cores[0].signature.members:
            return None
        timing = self.timing
        some, ever = Signal(name="some_saturated", reset_less=True), Signal(name="ever_saturated", reset_less=True)
        told = timing.acc + cores[0].saturated_latency + 2
        if (
            any(
                "saturated" in unit.signature.members and told > timing.dependency_of[unit.name] + known
                for unit in epilogues(self.config)
            )
            or known > told - 2
        ):
            raise ValueError("what saturates is not known when the output is marked")
        m.d.sync += [
            some.eq(Cat(core.saturated for core in cores).any()),
            ever.eq(some | (ever & ~DelayLine(m, "started", started).at(known))),
        ]
        return ever


def _also_saturated(marks, saturated):
    """Marks of a packet, and ``saturated`` unless its context is unknown."""
    view = data.View(layout(marks_word), marks)
    return Cat(
        value | (saturated & ~view.unknown) if name == "saturated" else value
        for name, value in ((n, view[n]) for n in MARKS)
    )


def _marked(marks, unknown):
    """Marks of a packet, of which no other counts if its context is ``unknown``."""
    return Cat(value & ~unknown if name != "unknown" else unknown for name, value in ((n, marks[n]) for n in MARKS))

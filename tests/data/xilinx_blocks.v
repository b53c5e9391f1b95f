// Simulation models of AMD's DSP blocks, DSP58 and DSP48E2, in the modes that are used here; others end the
// simulation. They were written from AM004 (Versal DSP Engine) and UG579 (UltraScale DSP Slice): ports, attributes,
// multiplexers W, X, Y and Z. They are not the vendor's.

// verilator lint_off DECLFILENAME
// verilator lint_off UNUSEDSIGNAL
// verilator lint_off UNUSEDPARAM
// verilator lint_off WIDTHEXPAND
// verilator lint_off WIDTHTRUNC
module xilinx_dsp_model #(
  parameter A_BITS = 34,
  parameter B_BITS = 24,
  parameter P_BITS = 58,
  parameter integer AREG = 1,
  parameter integer BREG = 1,
  parameter integer CREG = 1,
  parameter integer MREG = 1,
  parameter integer PREG = 1,
  parameter integer DOT = 0,
  parameter [P_BITS-1:0] RND = 0
) (
  input clk,
  input ce_a2, ce_b2, ce_c, ce_m, ce_p,
  input signed [A_BITS-1:0] a,
  input signed [B_BITS-1:0] b,
  input signed [P_BITS-1:0] c,
  input [8:0] opmode,
  output signed [P_BITS-1:0] p
);
  reg signed [A_BITS-1:0] a_2;
  reg signed [B_BITS-1:0] b_2;
  reg signed [P_BITS-1:0] c_1, m_1, p_1;
  // The multiplier takes 27 bits of A.
  wire signed [26:0] factor_a = AREG == 1 ? a_2[26:0] : a[26:0];
  wire signed [B_BITS-1:0] factor_b = BREG == 1 ? b_2 : b;
  // INT8: the dot product of three factors of 9 bits and three of 8.
  wire signed [23:0] factors_b = factor_b;
  wire signed [P_BITS-1:0] dot = $signed(factor_a[8:0]) * $signed(factors_b[7:0])
    + $signed(factor_a[17:9]) * $signed(factors_b[15:8]) + $signed(factor_a[26:18]) * $signed(factors_b[23:16]);
  wire signed [P_BITS-1:0] multiplied = DOT ? dot : factor_a * factor_b;
  wire signed [P_BITS-1:0] m = MREG == 1 ? m_1 : multiplied;
  wire signed [P_BITS-1:0] addend = CREG == 1 ? c_1 : c;
  wire signed [P_BITS-1:0] w = opmode[8:7] == 2'b10 ? RND : 0;
  wire signed [P_BITS-1:0] z = opmode[6:4] == 3'b011 ? addend : 0;
  wire signed [P_BITS-1:0] sum = z + w + m;
  assign p = PREG == 1 ? p_1 : sum;

  always @(posedge clk) begin
    if (ce_a2) a_2 <= a;
    if (ce_b2) b_2 <= b;
    if (ce_c) c_1 <= c;
    if (ce_m) m_1 <= multiplied;
    if (ce_p) p_1 <= sum;
    if (opmode[3:0] !== 4'b0101 || (opmode[8:4] !== 5'b00000 && opmode[8:4] !== 5'b00011 && opmode[8:4] !== 5'b10000))
    begin
      $display("DSP block: no model of this OPMODE");
      $finish;
    end
  end
endmodule

module DSP58 #(
  parameter AMULTSEL = "A",
  parameter A_INPUT = "DIRECT",
  parameter BMULTSEL = "B",
  parameter B_INPUT = "DIRECT",
  parameter USE_MULT = "MULTIPLY",
  parameter DSP_MODE = "INT24",
  parameter RESET_MODE = "SYNC",
  parameter integer ACASCREG = 1,
  parameter integer ADREG = 1,
  parameter integer ALUMODEREG = 1,
  parameter integer AREG = 1,
  parameter integer BCASCREG = 1,
  parameter integer BREG = 1,
  parameter integer CARRYINREG = 1,
  parameter integer CARRYINSELREG = 1,
  parameter integer CREG = 1,
  parameter integer DREG = 1,
  parameter integer INMODEREG = 1,
  parameter integer MREG = 1,
  parameter integer OPMODEREG = 1,
  parameter integer PREG = 1,
  parameter [57:0] RND = 58'd0
) (
  input CLK,
  input [33:0] A, ACIN,
  input [23:0] B, BCIN,
  input [57:0] C, PCIN,
  input [26:0] D,
  input [8:0] OPMODE,
  input [3:0] ALUMODE,
  input [4:0] INMODE,
  input [2:0] CARRYINSEL,
  input CARRYIN, CARRYCASCIN, MULTSIGNIN,
  input CEA1, CEA2, CEAD, CEALUMODE, CEB1, CEB2, CEC,
  input CECARRYIN, CECTRL, CED, CEINMODE, CEM, CEP,
  input RSTALLCARRYIN, RSTALUMODE, RSTA, RSTB, RSTC, RSTCTRL, RSTD, RSTINMODE, RSTM, RSTP,
  input ASYNC_RST,
  input [2:0] NEGATE,
  output [57:0] P
);
  xilinx_dsp_model #(
    .A_BITS(34), .B_BITS(24), .P_BITS(58), .AREG(AREG), .BREG(BREG), .CREG(CREG), .MREG(MREG), .PREG(PREG), .RND(RND),
    .DOT(DSP_MODE == "INT8")
  ) model (
    .clk(CLK), .ce_a2(CEA2), .ce_b2(CEB2), .ce_c(CEC), .ce_m(CEM), .ce_p(CEP), .a(A), .b(B), .c(C),
    .opmode(OPMODE), .p(P)
  );

  initial
    if (AMULTSEL != "A" || BMULTSEL != "B" || A_INPUT != "DIRECT" || B_INPUT != "DIRECT" || USE_MULT != "MULTIPLY"
        || AREG > 1 || BREG > 1 || ACASCREG != AREG || BCASCREG != BREG || OPMODEREG != 0 || ALUMODEREG != 0
        || INMODEREG != 0 || CARRYINREG != 0 || CARRYINSELREG != 0 || (DSP_MODE != "INT24" && DSP_MODE != "INT8")) begin
      $display("DSP58: no model of this mode");
      $finish;
    end
  always @(posedge CLK)
    if (ALUMODE !== 0 || INMODE !== 0 || CARRYIN !== 0 || CARRYINSEL !== 0 || NEGATE !== 0 || ASYNC_RST !== 0
        || {RSTALLCARRYIN, RSTALUMODE, RSTA, RSTB, RSTC, RSTCTRL, RSTD, RSTINMODE, RSTM, RSTP} !== 0) begin
      $display("DSP58: no model of these controls");
      $finish;
    end
endmodule

module DSP48E2 #(
  parameter AMULTSEL = "A",
  parameter A_INPUT = "DIRECT",
  parameter BMULTSEL = "B",
  parameter B_INPUT = "DIRECT",
  parameter USE_MULT = "MULTIPLY",
  parameter integer ACASCREG = 1,
  parameter integer ADREG = 1,
  parameter integer ALUMODEREG = 1,
  parameter integer AREG = 1,
  parameter integer BCASCREG = 1,
  parameter integer BREG = 1,
  parameter integer CARRYINREG = 1,
  parameter integer CARRYINSELREG = 1,
  parameter integer CREG = 1,
  parameter integer DREG = 1,
  parameter integer INMODEREG = 1,
  parameter integer MREG = 1,
  parameter integer OPMODEREG = 1,
  parameter integer PREG = 1,
  parameter [47:0] RND = 48'd0
) (
  input CLK,
  input [29:0] A, ACIN,
  input [17:0] B, BCIN,
  input [47:0] C, PCIN,
  input [26:0] D,
  input [8:0] OPMODE,
  input [3:0] ALUMODE,
  input [4:0] INMODE,
  input [2:0] CARRYINSEL,
  input CARRYIN, CARRYCASCIN, MULTSIGNIN,
  input CEA1, CEA2, CEAD, CEALUMODE, CEB1, CEB2, CEC,
  input CECARRYIN, CECTRL, CED, CEINMODE, CEM, CEP,
  input RSTALLCARRYIN, RSTALUMODE, RSTA, RSTB, RSTC, RSTCTRL, RSTD, RSTINMODE, RSTM, RSTP,
  output [47:0] P
);
  xilinx_dsp_model #(
    .A_BITS(30), .B_BITS(18), .P_BITS(48), .AREG(AREG), .BREG(BREG), .CREG(CREG), .MREG(MREG), .PREG(PREG), .RND(RND)
  ) model (
    .clk(CLK), .ce_a2(CEA2), .ce_b2(CEB2), .ce_c(CEC), .ce_m(CEM), .ce_p(CEP), .a(A), .b(B), .c(C),
    .opmode(OPMODE), .p(P)
  );

  initial
    if (AMULTSEL != "A" || BMULTSEL != "B" || A_INPUT != "DIRECT" || B_INPUT != "DIRECT" || USE_MULT != "MULTIPLY"
        || AREG > 1 || BREG > 1 || ACASCREG != AREG || BCASCREG != BREG || OPMODEREG != 0 || ALUMODEREG != 0
        || INMODEREG != 0 || CARRYINREG != 0 || CARRYINSELREG != 0) begin
      $display("DSP48E2: no model of this mode");
      $finish;
    end
  always @(posedge CLK)
    if (ALUMODE !== 0 || INMODE !== 0 || CARRYIN !== 0 || CARRYINSEL !== 0
        || {RSTALLCARRYIN, RSTALUMODE, RSTA, RSTB, RSTC, RSTCTRL, RSTD, RSTINMODE, RSTM, RSTP} !== 0) begin
      $display("DSP48E2: no model of these controls");
      $finish;
    end
endmodule

// Simulation models of the two ECP5 blocks that yosys has no models for, DP16KD and MULT18X18D, in the modes that
// are used here; others end the simulation. After FPGA-TN-02204 (memories) and FPGA-TN-02205 (DSP) of Lattice.

module DP16KD (
  input DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2,
    DIA1, DIA0,
  input ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0,
  input CEA, OCEA, CLKA, WEA, RSTA, CSA2, CSA1, CSA0,
  output DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2,
    DOA1, DOA0,
  input DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2,
    DIB1, DIB0,
  input ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0,
  input CEB, OCEB, CLKB, WEB, RSTB, CSB2, CSB1, CSB0,
  output DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2,
    DOB1, DOB0
);
  parameter DATA_WIDTH_A = 18;
  parameter DATA_WIDTH_B = 18;
  parameter REGMODE_A = "NOREG";
  parameter REGMODE_B = "NOREG";
  parameter RESETMODE = "SYNC";
  parameter ASYNC_RESET_RELEASE = "SYNC";
  parameter CLKAMUX = "CLKA";
  parameter CLKBMUX = "CLKB";
  parameter WRITEMODE_A = "NORMAL";
  parameter WRITEMODE_B = "NORMAL";
  parameter CSDECODE_A = "0b000";
  parameter CSDECODE_B = "0b000";
  parameter GSR = "DISABLED";
  parameter INIT_DATA = "STATIC";
  parameter [319:0] INITVAL_00 = 320'd0;
  parameter [319:0] INITVAL_01 = 320'd0;
  parameter [319:0] INITVAL_02 = 320'd0;
  parameter [319:0] INITVAL_03 = 320'd0;
  parameter [319:0] INITVAL_04 = 320'd0;
  parameter [319:0] INITVAL_05 = 320'd0;
  parameter [319:0] INITVAL_06 = 320'd0;
  parameter [319:0] INITVAL_07 = 320'd0;
  parameter [319:0] INITVAL_08 = 320'd0;
  parameter [319:0] INITVAL_09 = 320'd0;
  parameter [319:0] INITVAL_0A = 320'd0;
  parameter [319:0] INITVAL_0B = 320'd0;
  parameter [319:0] INITVAL_0C = 320'd0;
  parameter [319:0] INITVAL_0D = 320'd0;
  parameter [319:0] INITVAL_0E = 320'd0;
  parameter [319:0] INITVAL_0F = 320'd0;
  parameter [319:0] INITVAL_10 = 320'd0;
  parameter [319:0] INITVAL_11 = 320'd0;
  parameter [319:0] INITVAL_12 = 320'd0;
  parameter [319:0] INITVAL_13 = 320'd0;
  parameter [319:0] INITVAL_14 = 320'd0;
  parameter [319:0] INITVAL_15 = 320'd0;
  parameter [319:0] INITVAL_16 = 320'd0;
  parameter [319:0] INITVAL_17 = 320'd0;
  parameter [319:0] INITVAL_18 = 320'd0;
  parameter [319:0] INITVAL_19 = 320'd0;
  parameter [319:0] INITVAL_1A = 320'd0;
  parameter [319:0] INITVAL_1B = 320'd0;
  parameter [319:0] INITVAL_1C = 320'd0;
  parameter [319:0] INITVAL_1D = 320'd0;
  parameter [319:0] INITVAL_1E = 320'd0;
  parameter [319:0] INITVAL_1F = 320'd0;
  parameter [319:0] INITVAL_20 = 320'd0;
  parameter [319:0] INITVAL_21 = 320'd0;
  parameter [319:0] INITVAL_22 = 320'd0;
  parameter [319:0] INITVAL_23 = 320'd0;
  parameter [319:0] INITVAL_24 = 320'd0;
  parameter [319:0] INITVAL_25 = 320'd0;
  parameter [319:0] INITVAL_26 = 320'd0;
  parameter [319:0] INITVAL_27 = 320'd0;
  parameter [319:0] INITVAL_28 = 320'd0;
  parameter [319:0] INITVAL_29 = 320'd0;
  parameter [319:0] INITVAL_2A = 320'd0;
  parameter [319:0] INITVAL_2B = 320'd0;
  parameter [319:0] INITVAL_2C = 320'd0;
  parameter [319:0] INITVAL_2D = 320'd0;
  parameter [319:0] INITVAL_2E = 320'd0;
  parameter [319:0] INITVAL_2F = 320'd0;
  parameter [319:0] INITVAL_30 = 320'd0;
  parameter [319:0] INITVAL_31 = 320'd0;
  parameter [319:0] INITVAL_32 = 320'd0;
  parameter [319:0] INITVAL_33 = 320'd0;
  parameter [319:0] INITVAL_34 = 320'd0;
  parameter [319:0] INITVAL_35 = 320'd0;
  parameter [319:0] INITVAL_36 = 320'd0;
  parameter [319:0] INITVAL_37 = 320'd0;
  parameter [319:0] INITVAL_38 = 320'd0;
  parameter [319:0] INITVAL_39 = 320'd0;
  parameter [319:0] INITVAL_3A = 320'd0;
  parameter [319:0] INITVAL_3B = 320'd0;
  parameter [319:0] INITVAL_3C = 320'd0;
  parameter [319:0] INITVAL_3D = 320'd0;
  parameter [319:0] INITVAL_3E = 320'd0;
  parameter [319:0] INITVAL_3F = 320'd0;

  // 2048 groups of 9 bits: a word of 9 bits is one, a word of 18 bits two.
  reg [8:0] mem [0:2047];
  reg [17:0] latch_a, latch_b, out_a, out_b;
  wire [13:0] ada = {ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0}, adb =
    {ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0};
  wire [17:0] dia = {DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4,
    DIA3, DIA2, DIA1, DIA0};
  wire [17:0] dib = {DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4,
    DIB3, DIB2, DIB1, DIB0};
  wire [10:0] group_a = ada[13:3], group_b = adb[13:3];
  wire wide_a = DATA_WIDTH_A == 18, wide_b = DATA_WIDTH_B == 18;

  task fill(input [319:0] value, input integer row);
    integer i;
    for (i = 0; i < 16; i = i + 1) begin
      mem[32 * row + 2 * i] = value[20 * i +: 9];
      mem[32 * row + 2 * i + 1] = value[20 * i + 9 +: 9];
    end
  endtask

  initial begin
    if ((DATA_WIDTH_A != 18 && DATA_WIDTH_A != 9) || (DATA_WIDTH_B != 18 && DATA_WIDTH_B != 9)
        || WRITEMODE_A != "NORMAL" || WRITEMODE_B != "NORMAL" || CLKAMUX != "CLKA" || CLKBMUX != "CLKB") begin
      $display("DP16KD: no model of this mode");
      $finish;
    end
    fill(INITVAL_00, 0);
    fill(INITVAL_01, 1);
    fill(INITVAL_02, 2);
    fill(INITVAL_03, 3);
    fill(INITVAL_04, 4);
    fill(INITVAL_05, 5);
    fill(INITVAL_06, 6);
    fill(INITVAL_07, 7);
    fill(INITVAL_08, 8);
    fill(INITVAL_09, 9);
    fill(INITVAL_0A, 10);
    fill(INITVAL_0B, 11);
    fill(INITVAL_0C, 12);
    fill(INITVAL_0D, 13);
    fill(INITVAL_0E, 14);
    fill(INITVAL_0F, 15);
    fill(INITVAL_10, 16);
    fill(INITVAL_11, 17);
    fill(INITVAL_12, 18);
    fill(INITVAL_13, 19);
    fill(INITVAL_14, 20);
    fill(INITVAL_15, 21);
    fill(INITVAL_16, 22);
    fill(INITVAL_17, 23);
    fill(INITVAL_18, 24);
    fill(INITVAL_19, 25);
    fill(INITVAL_1A, 26);
    fill(INITVAL_1B, 27);
    fill(INITVAL_1C, 28);
    fill(INITVAL_1D, 29);
    fill(INITVAL_1E, 30);
    fill(INITVAL_1F, 31);
    fill(INITVAL_20, 32);
    fill(INITVAL_21, 33);
    fill(INITVAL_22, 34);
    fill(INITVAL_23, 35);
    fill(INITVAL_24, 36);
    fill(INITVAL_25, 37);
    fill(INITVAL_26, 38);
    fill(INITVAL_27, 39);
    fill(INITVAL_28, 40);
    fill(INITVAL_29, 41);
    fill(INITVAL_2A, 42);
    fill(INITVAL_2B, 43);
    fill(INITVAL_2C, 44);
    fill(INITVAL_2D, 45);
    fill(INITVAL_2E, 46);
    fill(INITVAL_2F, 47);
    fill(INITVAL_30, 48);
    fill(INITVAL_31, 49);
    fill(INITVAL_32, 50);
    fill(INITVAL_33, 51);
    fill(INITVAL_34, 52);
    fill(INITVAL_35, 53);
    fill(INITVAL_36, 54);
    fill(INITVAL_37, 55);
    fill(INITVAL_38, 56);
    fill(INITVAL_39, 57);
    fill(INITVAL_3A, 58);
    fill(INITVAL_3B, 59);
    fill(INITVAL_3C, 60);
    fill(INITVAL_3D, 61);
    fill(INITVAL_3E, 62);
    fill(INITVAL_3F, 63);
  end

  always @(posedge CLKA) begin
    if (OCEA) out_a <= RSTA ? 18'd0 : latch_a;
    if (CEA) begin
      if (WEA) begin
        if (!wide_a) mem[group_a] <= dia[8:0];
        if (wide_a && ada[0]) mem[{group_a[10:1], 1'b0}] <= dia[8:0];
        if (wide_a && ada[1]) mem[{group_a[10:1], 1'b1}] <= dia[17:9];
      end else
        latch_a <= wide_a ? {mem[{group_a[10:1], 1'b1}], mem[{group_a[10:1], 1'b0}]} : {9'd0, mem[group_a]};
    end
  end

  always @(posedge CLKB) begin
    if (OCEB) out_b <= RSTB ? 18'd0 : latch_b;
    if (CEB) begin
      if (WEB) begin
        if (!wide_b) mem[group_b] <= dib[8:0];
        if (wide_b && adb[0]) mem[{group_b[10:1], 1'b0}] <= dib[8:0];
        if (wide_b && adb[1]) mem[{group_b[10:1], 1'b1}] <= dib[17:9];
      end else
        latch_b <= wide_b ? {mem[{group_b[10:1], 1'b1}], mem[{group_b[10:1], 1'b0}]} : {9'd0, mem[group_b]};
    end
  end

  assign {DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2,
    DOA1, DOA0} = REGMODE_A == "OUTREG" ? out_a : latch_a;
  assign {DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2,
    DOB1, DOB0} = REGMODE_B == "OUTREG" ? out_b : latch_b;
endmodule

module MULT18X18D (
  input A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0,
  input B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0,
  input C17, C16, C15, C14, C13, C12, C11, C10, C9, C8, C7, C6, C5, C4, C3, C2, C1, C0,
  input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB,
  input CLK0, CLK1, CLK2, CLK3, CE0, CE1, CE2, CE3, RST0, RST1, RST2, RST3,
  output P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18, P17, P16, P15,
    P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0
);
  parameter REG_INPUTA_CLK = "NONE";
  parameter REG_INPUTA_CE = "CE0";
  parameter REG_INPUTA_RST = "RST0";
  parameter REG_INPUTB_CLK = "NONE";
  parameter REG_INPUTB_CE = "CE0";
  parameter REG_INPUTB_RST = "RST0";
  parameter REG_INPUTC_CLK = "NONE";
  parameter REG_INPUTC_CE = "CE0";
  parameter REG_INPUTC_RST = "RST0";
  parameter REG_PIPELINE_CLK = "NONE";
  parameter REG_PIPELINE_CE = "CE0";
  parameter REG_PIPELINE_RST = "RST0";
  parameter REG_OUTPUT_CLK = "NONE";
  parameter REG_OUTPUT_CE = "CE0";
  parameter REG_OUTPUT_RST = "RST0";
  parameter GSR = "DISABLED";
  parameter RESETMODE = "SYNC";

  localparam HAS_CLOCK = REG_INPUTA_CLK == "CLK0" || REG_INPUTB_CLK == "CLK0" || REG_PIPELINE_CLK == "CLK0"
    || REG_OUTPUT_CLK == "CLK0";
  wire [17:0] a_in = {A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0};
  wire [17:0] b_in = {B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0};
  reg [17:0] a_reg, b_reg;
  reg signed [37:0] pipeline_reg, p_reg;
  wire [17:0] a = REG_INPUTA_CLK == "CLK0" ? a_reg : a_in;
  wire [17:0] b = REG_INPUTB_CLK == "CLK0" ? b_reg : b_in;
  wire signed [18:0] factor_a = {SIGNEDA & a[17], a};
  wire signed [18:0] factor_b = {SIGNEDB & b[17], b};
  wire signed [37:0] multiplied = factor_a * factor_b;
  wire signed [37:0] product = REG_PIPELINE_CLK == "CLK0" ? pipeline_reg : multiplied;
  wire [37:0] p = REG_OUTPUT_CLK == "CLK0" ? p_reg : product;

  initial
    if ((HAS_CLOCK && (RST0 === 1'b1 || CE0 === 1'b0))
        || SOURCEA === 1'b1 || SOURCEB === 1'b1) begin
      $display("MULT18X18D: no model of this mode");
      $finish;
    end

  generate
    if (HAS_CLOCK) begin : registers
      always @(posedge CLK0) begin
        a_reg <= a_in;
        b_reg <= b_in;
        pipeline_reg <= multiplied;
        p_reg <= product;
      end
    end
  endgenerate

  assign {P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18, P17, P16, P15,
    P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0} = p[35:0];
endmodule

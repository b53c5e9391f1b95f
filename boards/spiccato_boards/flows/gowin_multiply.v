// What yosys' mul2dsp makes of a product, as a block of the Gowin GW5A family.
module spiccato_gw5a_multiply (
  input [26:0] A,
  input [17:0] B,
  output [Y_WIDTH-1:0] Y
);
  parameter A_WIDTH = 27, B_WIDTH = 18, Y_WIDTH = 45, A_SIGNED = 1, B_SIGNED = 1;
  wire [47:0] product;
  assign Y = product[Y_WIDTH-1:0];
  MULTALU27X18 block (
    .DOUT(product), .A(A), .B(B), .C(48'd0), .D(26'd0), .SIA(27'd0), .CASI(48'd0),
    .ACCSEL(1'b0), .CASISEL(1'b0), .ASEL(1'b0), .CSEL(1'b0), .ADDSUB(2'd0), .PSEL(1'b0), .PADDSUB(1'b0),
    .CLK(2'd0), .CE(2'd0), .RESET(2'd0)
  );
endmodule

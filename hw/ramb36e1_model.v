// The block RAM of 7-series parts as Yosys maps a wide memory onto it, for simulation: Yosys has only
// its ports. After Xilinx' UG473; other modes stop the simulation.

module RAMB36E1 #(
  parameter RAM_MODE = "TDP", WRITE_MODE_A = "WRITE_FIRST", WRITE_MODE_B = "WRITE_FIRST",
  parameter READ_WIDTH_A = 0, READ_WIDTH_B = 0, WRITE_WIDTH_A = 0, WRITE_WIDTH_B = 0,
  parameter DOA_REG = 0, DOB_REG = 0,
  parameter [71:0] INIT_A = 0, INIT_B = 0, SRVAL_A = 0, SRVAL_B = 0
) (
  input CLKARDCLK, CLKBWRCLK, ENARDEN, ENBWREN, REGCEAREGCE, REGCEB,
  input RSTRAMARSTRAM, RSTRAMB, RSTREGARSTREG, RSTREGB,
  input [15:0] ADDRARDADDR, ADDRBWRADDR,
  input [31:0] DIADI, DIBDI, input [3:0] DIPADIP, DIPBDIP,
  input [3:0] WEA, input [7:0] WEBWE,
  output [31:0] DOADO, DOBDO, output [3:0] DOPADOP, DOPBDOP
);
  // One port reads and one writes 512 words of 72 bits: eight bytes and a parity bit for each.
  initial
    if (RAM_MODE != "SDP" || READ_WIDTH_A != 72 || WRITE_WIDTH_B != 72 || DOA_REG != 0
        || WRITE_MODE_A != "READ_FIRST" || WRITE_MODE_B != "READ_FIRST")
      $fatal(1, "RAMB36E1: this mode is not modelled");
  always @(posedge CLKARDCLK)
    if (RSTRAMARSTRAM) $fatal(1, "RAMB36E1: a reset is not modelled");
  reg [71:0] memory [0:511];
  reg [71:0] word;
  wire [63:0] data = {DIBDI, DIADI};
  wire [7:0] parity = {DIPBDIP, DIPADIP};
  integer i;
  always @(posedge CLKBWRCLK)
    if (ENBWREN)
      for (i = 0; i < 8; i = i + 1)
        if (WEBWE[i]) begin
          memory[ADDRBWRADDR[14:6]][8*i+:8] <= data[8*i+:8];
          memory[ADDRBWRADDR[14:6]][64+i] <= parity[i];
        end
  always @(posedge CLKARDCLK)
    if (ENARDEN) word <= memory[ADDRARDADDR[14:6]];
  assign {DOPBDOP, DOPADOP, DOBDO, DOADO} = word;
endmodule

// The two ECP5 cells that Yosys has no simulation models of, in the modes that hw/ecp5.py and Yosys'
// own mapping of memories use. After Lattice's sysDSP and memory usage guides; other modes stop the
// simulation.

module MULT18X18D #(
  parameter REG_INPUTA_CLK = "NONE", REG_INPUTA_CE = "CE0", REG_INPUTA_RST = "RST0",
  parameter REG_INPUTB_CLK = "NONE", REG_INPUTB_CE = "CE0", REG_INPUTB_RST = "RST0",
  parameter REG_INPUTC_CLK = "NONE",
  parameter REG_PIPELINE_CLK = "NONE", REG_PIPELINE_CE = "CE0", REG_PIPELINE_RST = "RST0",
  parameter REG_OUTPUT_CLK = "NONE", REG_OUTPUT_CE = "CE0", REG_OUTPUT_RST = "RST0",
  parameter GSR = "ENABLED"
) (
  input CLK0, CE0, CE1, RST0, SIGNEDA, SIGNEDB, SOURCEA, SOURCEB,
  input A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0,
  input B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0,
  output P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18,
  output P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0
);
  // All registers, or that of the output alone.
  localparam ALL = REG_INPUTA_CLK != "NONE";
  localparam INNER = ALL ? "CLK0" : "NONE", OUTPUT_CE = ALL ? "CE1" : "CE0";
  initial
    if (REG_INPUTA_CLK != INNER || REG_INPUTB_CLK != INNER || REG_PIPELINE_CLK != INNER
        || REG_OUTPUT_CLK != "CLK0" || REG_OUTPUT_CE != OUTPUT_CE || ALL
        && (REG_INPUTA_CE != "CE0" || REG_INPUTB_CE != "CE1" || REG_PIPELINE_CE != "CE1"))
      $fatal(1, "MULT18X18D: these registers are not modelled");
  wire [17:0] a = {A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0};
  wire [17:0] b = {B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0};
  wire signed [18:0] wide_a = {SIGNEDA & a[17], a}, wide_b = {SIGNEDB & b[17], b};
  reg signed [18:0] ra, rb;
  reg signed [35:0] pipeline, result;
  always @(posedge CLK0) begin
    if (CE0) ra <= wide_a;
    if (CE1) begin
      rb <= wide_b;
      pipeline <= 36'(ra * rb);
    end
    if (ALL ? CE1 : CE0) result <= ALL ? pipeline : 36'(wide_a * wide_b);
  end
  assign {P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18,
          P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0} = result;
endmodule

module DP16KD #(
  parameter DATA_WIDTH_A = 18, DATA_WIDTH_B = 18, REGMODE_A = "NOREG", REGMODE_B = "NOREG",
  parameter WRITEMODE_A = "NORMAL", WRITEMODE_B = "NORMAL", RESETMODE = "SYNC",
  parameter ASYNC_RESET_RELEASE = "SYNC", GSR = "AUTO", CLKAMUX = "CLKA", CLKBMUX = "CLKB",
  parameter CSDECODE_A = "0b000", CSDECODE_B = "0b000"
) (
  input CLKA, CEA, OCEA, WEA, RSTA, CSA2, CSA1, CSA0, CLKB, CEB, OCEB, WEB, RSTB, CSB2, CSB1, CSB0,
  input ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0,
  input ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0,
  input DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4,
  input DIA3, DIA2, DIA1, DIA0,
  input DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4,
  input DIB3, DIB2, DIB1, DIB0,
  output DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4,
  output DOA3, DOA2, DOA1, DOA0,
  output DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4,
  output DOB3, DOB2, DOB1, DOB0
);
  // Port A writes and port B reads; a word of 36 bits takes the data pins of both. Whole bytes of 9
  // bits have write enables in the lowest address bits.
  localparam WIDTH = DATA_WIDTH_A, SHIFT = $clog2(WIDTH + 1) - 1, BYTES = WIDTH < 18 ? 1 : WIDTH / 9;
  localparam EACH = WIDTH / BYTES;
  initial
    if (DATA_WIDTH_A != DATA_WIDTH_B || REGMODE_A != "NOREG" || CLKAMUX != "CLKA"
        || CLKBMUX != "CLKB" || CSDECODE_A != "0b000" || CSDECODE_B != "0b000")
      $fatal(1, "DP16KD: this mode is not modelled");
  always @(posedge CLKB)
    if (RSTA || RSTB) $fatal(1, "DP16KD: a reset is not modelled");
  wire [13:0] ada = {ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2,
                     ADA1, ADA0};
  wire [13:0] adb = {ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2,
                     ADB1, ADB0};
  wire [35:0] di = {DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6,
                    DIB5, DIB4, DIB3, DIB2, DIB1, DIB0, DIA17, DIA16, DIA15, DIA14, DIA13, DIA12,
                    DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0};
  reg [WIDTH-1:0] memory [0:(1<<14-SHIFT)-1];
  reg [WIDTH-1:0] word, out;
  wire writing = CEA && WEA;
  integer i;
  always @(posedge CLKA)
    if (writing)
      for (i = 0; i < BYTES; i = i + 1)
        if (BYTES == 1 || ada[i]) memory[ada >> SHIFT][i*EACH+:EACH] <= di[i*EACH+:EACH];
  // What a read gives in the cycle of a write to its address is not defined: here it is wrong.
  wire collision = writing && ada >> SHIFT == adb >> SHIFT;
  always @(posedge CLKB) begin
    if (CEB) word <= collision ? ~memory[adb >> SHIFT] : memory[adb >> SHIFT];
    if (OCEB) out <= word;
  end
  wire [WIDTH-1:0] read = REGMODE_B == "OUTREG" ? out : word;
  wire [35:0] do_pins = WIDTH == 36 ? 36'(read) : {18'(read), 18'b0};
  assign {DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5,
          DOB4, DOB3, DOB2, DOB1, DOB0, DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10,
          DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2, DOA1, DOA0} = do_pins;
endmodule

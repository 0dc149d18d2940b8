// Timing of Artix-7 cells that Yosys' cells_sim.v gives no arcs, or arcs that `sta` cannot use.
// Picoseconds, all from that file.

// The six-input function is LUT6's, the five-input one LUT5's. That is the carry of I0 to I2 in
// hw/ternary_adder.py, the only place with this cell: I3 and I4 do not change it.
(* blackbox *)
module LUT6_2(output O6, output O5, input I0, I1, I2, I3, I4, I5);
  specify
    (I0 => O6) = 642; (I0 => O5) = 631;
    (I1 => O6) = 631; (I1 => O5) = 472;
    (I2 => O6) = 472; (I2 => O5) = 407;
    (I3 => O6) = 407;
    (I4 => O6) = 238;
    (I5 => O6) = 127;
  endspecify
endmodule

// Yosys keeps one arc for an output: without these it is that of the asynchronous input.
(* blackbox *)
module FDCE(output Q, input C, CE, CLR, D);
  specify
    (posedge C => (Q : D)) = 303;
    $setup(D, posedge C, 0); $setup(CE, posedge C, 109); $setup(CLR, posedge C, 404);
  endspecify
endmodule

(* blackbox *)
module FDPE(output Q, input C, CE, PRE, D);
  specify
    (posedge C => (Q : D)) = 303;
    $setup(D, posedge C, 0); $setup(CE, posedge C, 109); $setup(PRE, posedge C, 404);
  endspecify
endmodule

// The single port is that of RAM128X1D.
(* blackbox *)
module RAM128X1S(output O, input A0, A1, A2, A3, A4, A5, A6, D, WCLK, WE);
  specify
    (A0 => O) = 1010; (A1 => O) = 999; (A2 => O) = 840; (A3 => O) = 775;
    (A4 => O) = 606; (A5 => O) = 495; (A6 => O) = 451;
    (posedge WCLK => (O : D)) = 1545;
    $setup(A0, posedge WCLK, 616); $setup(A1, posedge WCLK, 362);
    $setup(A2, posedge WCLK, 245); $setup(A3, posedge WCLK, 208);
    $setup(A4, posedge WCLK, 147); $setup(A5, posedge WCLK, 68);
    $setup(A6, posedge WCLK, 66);
    $setup(D, posedge WCLK, 453); $setup(WE, posedge WCLK, 654);
  endspecify
endmodule

"""From the design to Verilog, to figures of synthesis, to bitstreams."""

"""The machine's RTL, compiled by Verilator, with DDR around it."""

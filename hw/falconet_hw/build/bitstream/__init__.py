"""From a board's design to a bitstream: one module a toolchain."""

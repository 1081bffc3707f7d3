"""The instruction-set simulator: what the machine does."""

"""The golden model: what the answer is."""

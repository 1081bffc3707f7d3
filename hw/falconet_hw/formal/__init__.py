"""Proofs about the hardware; docs/formal.md says what they show."""

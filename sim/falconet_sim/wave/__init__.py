"""Waveforms: read from VCD files, drawn as pictures."""

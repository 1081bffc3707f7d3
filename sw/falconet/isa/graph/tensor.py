"""What is said of a tensor of the integer graph: int8 [C, H, W], batch 1."""

from __future__ import annotations

__all__ = ["HI", "LO", "Range", "Shape"]

LO, HI = -128, 127
"""What it stores."""

Shape = tuple[int, int, int]
Range = tuple[int, int]
"""Least and greatest value, both included."""

"""What an ONNX operator is for whoever quantises: which of its values are stored, and how.

A handler says it when it registers (``context.operator``); the quantiser derives from it where a
network is quantised, so that what can be imported can be quantised.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

__all__ = ["AXES", "ROLES", "Axis", "Role", "having", "weight_axis"]

Axis = int | Callable[[Mapping[str, Any]], int]


class Role(Enum):
    """Every operator's activations are its inputs that are no constants."""

    WEIGHTED = "constant weights, int8 with a scale per output channel, and a bias; one result"
    LAYER = "computes; its result has a scale of its own"
    COMBINATION = "as LAYER, of several activations, or of one and a constant"
    FUNCTION = "every value by itself, of one tensor: a table"
    CLAMP = "as FUNCTION; directly behind what computes it is a part of that one's output stage"
    MOVE = "moves or compares values: inputs and outputs share one scale and zero point"
    VIEW = "as MOVE, and of stored weights too"
    QUANTISE = "makes stored values of real ones, or the other way round"


ROLES: dict[str, Role] = {}
"""By ONNX operator; filled by ``context.operator``."""

AXES: dict[str, Axis] = {}
"""Axis of the weights' output channels, or how attributes tell it, by operator of role WEIGHTED."""


def having(*roles: Role) -> frozenset[str]:
    """The operators of these roles."""
    return frozenset(name for name, role in ROLES.items() if role in roles)


def weight_axis(op: str, attrs: Mapping[str, Any], rank: int) -> int:
    """The axis of the output channels of the weights, of ``rank`` axes, of a WEIGHTED operator."""
    axis = AXES[op]
    return (axis if isinstance(axis, int) else axis(attrs)) % rank

"""Between int8 arrays [C, H, W] and the way tensors lie in DDR (falconet.isa.program.forms)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.isa import FalconetError
from falconet.runtime.device import Int8

__all__ = ["image_view", "lane_positions", "n_blocks", "pack_blocks", "pack_input", "unpack_blocks",
           "unpack_output"]

Bytes = NDArray[np.uint8]


def lane_positions(tensor: dict[str, Any]) -> NDArray[np.int64]:
    """Position of every channel among the ``blocks * lanes`` channels stored."""
    channels = int(tensor["shape"][0])
    position = np.asarray(tensor.get("lane_of") or range(channels), np.int64)
    if position.shape != (channels,):
        raise FalconetError(
            f"tensor '{tensor['name']}': lane_of has {len(position)} entries for {channels} "
            "channels; recompile the network"
        )
    return position


def n_blocks(tensor: dict[str, Any], lanes: int) -> int:
    """Channel blocks stored: ``blocks`` if the program says so, else as few as will do."""
    needed = int(lane_positions(tensor).max()) // lanes + 1
    blocks = int(tensor.get("blocks") or needed)
    if blocks < needed:
        raise FalconetError(
            f"tensor '{tensor['name']}': blocks={blocks}, but lane_of needs {needed}; "
            "recompile the network"
        )
    return blocks


def pack_blocks(array: Int8, position: NDArray[np.int64], blocks: int, lanes: int, fill: int
                ) -> Int8:
    """[C, H, W] -> [H, blocks, W, lanes]; lanes without a channel hold ``fill``."""
    _, h, w = array.shape
    out = np.full((blocks * lanes, h, w), fill, np.int8)
    out[position] = array
    return np.ascontiguousarray(out.reshape(blocks, lanes, h, w).transpose(2, 0, 3, 1))


def unpack_blocks(stored: Int8, position: NDArray[np.int64]) -> Int8:
    """[H, blocks, W, lanes] -> [C, H, W]."""
    h, blocks, w, lanes = stored.shape
    return np.ascontiguousarray(
        stored.transpose(1, 3, 0, 2).reshape(blocks * lanes, h, w)[position]
    )


def pack_input(array: Int8, tensor: dict[str, Any], lanes: int) -> Bytes:
    """The bytes of an input tensor, to be put at ``tensor["offset"]`` of segment INPUT.

    ``tensor`` is an entry of ``header["inputs"]``. Format "image": H rows of W x C interleaved
    bytes, ``pitch`` bytes apart; "blocks": H x blocks x W x lanes. Bytes that hold no channel are
    the zero point.
    """
    form, zero = tensor["format"], int(tensor["zero_point"])
    if form == "blocks":
        stored = pack_blocks(array, lane_positions(tensor), n_blocks(tensor, lanes), lanes, zero)
        return stored.reshape(-1).view(np.uint8)
    if form != "image":
        raise FalconetError(
            f"input '{tensor['name']}': format '{form}' is unknown; recompile the network"
        )
    c, h, w = array.shape
    pitch = int(tensor["pitch"])
    if pitch < w * c:
        raise FalconetError(
            f"input '{tensor['name']}': pitch={pitch} is less than a row of {w * c} bytes; "
            "recompile the network"
        )
    rows = np.full((h, pitch), zero, np.int8)
    rows[:, : w * c] = array.transpose(1, 2, 0).reshape(h, w * c)
    return rows.reshape(-1)[: (h - 1) * pitch + w * c].view(np.uint8)


def image_view(segment: Bytes, tensor: dict[str, Any]) -> Int8:
    """The pixels of an input tensor of format "image" in segment INPUT: int8 [H, W, C], a view."""
    c, h, w = (int(v) for v in tensor["shape"])
    at, pitch = int(tensor["offset"]), int(tensor["pitch"])
    size = (h - 1) * pitch + w * c
    if pitch < w * c or at < 0 or at + size > len(segment):
        raise FalconetError(
            f"input '{tensor['name']}': {size} bytes at {at} with pitch={pitch} are not in segment "
            f"INPUT of {len(segment)} bytes; recompile the network"
        )
    pixels = segment[at : at + size].view(np.int8)
    return np.lib.stride_tricks.as_strided(pixels, (h, w, c), (pitch, c, 1))


def unpack_output(segment: Bytes, tensor: dict[str, Any], lanes: int) -> Int8:
    """An output tensor [C, H, W] out of the bytes of segment OUTPUT (a copy).

    ``tensor`` is an entry of ``header["outputs"]``: stored as H x blocks x W x lanes at ``offset``.
    """
    _, h, w = (int(v) for v in tensor["shape"])
    blocks, at = n_blocks(tensor, lanes), int(tensor["offset"])
    size = h * blocks * w * lanes
    if at < 0 or at + size > len(segment):
        raise FalconetError(
            f"output '{tensor['name']}': bytes {at} to {at + size} are not in segment OUTPUT of "
            f"{len(segment)} bytes; recompile the network"
        )
    stored = segment[at : at + size].view(np.int8).reshape(h, blocks, w, lanes)
    return unpack_blocks(stored, lane_positions(tensor))

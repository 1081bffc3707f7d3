"""The serial line of a board without a processor: frames that read and write words (8N1).

All numbers are little-endian; a word has 4 bytes; a frame carries 1 to FRAME_WORDS of them, for
consecutive addresses from a multiple of 4 on::

    request   begin  tag  count - 1  address (4)  words, if it writes  CRC (4)
    reply     begin  tag             words, if it read     response    CRC (4)

The CRC is ``zlib.crc32`` of all before it. A request whose CRC is wrong, or that stops for
GAP_BITS, is dropped without an answer, and so is every byte that does not begin one. Nothing is
written before the CRC has been seen. ``response`` is that of the bus: the first that was not OKAY.

One request at a time: what arrives before its reply has ended is lost. A request that brought no
reply may be sent again with the same tag: a write whose tag is that of the request before is
answered and not done again. So every new request has a new tag, and the first one reads.
"""

from __future__ import annotations

import struct

__all__ = [
    "BAUD", "BEGIN_READ", "BEGIN_REPLY", "BEGIN_WRITE", "CRC_BYTES", "FRAME_WORDS", "GAP_BITS",
    "REPLY_HEAD", "REPLY_TAIL", "REQUEST",
]

BAUD = 1_000_000
"""Bits a second."""

GAP_BITS = 1 << 15
"""A request that pauses for so many bits is over: 33 ms, longer than a USB adapter pauses."""

FRAME_WORDS = 256

BEGIN_READ, BEGIN_WRITE, BEGIN_REPLY = 0xA5, 0xC3, 0x5A

REQUEST = struct.Struct("<BBBI")
"""What comes before a request's words: begin, tag, count - 1, address."""

CRC_BYTES = 4

REPLY_HEAD, REPLY_TAIL = 2, 1 + CRC_BYTES
"""Bytes of a reply before its words (begin, tag) and after them (response, CRC)."""

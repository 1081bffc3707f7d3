"""The program file: what the compiler writes and every device runs.

Layout, little endian: ``b"FALCONET"``, uint32 format version, uint32 length of the header,
uint64 length of the payload, the header (JSON, UTF-8), the payload, SHA-256 of all before it.
The payload is segment CODE: instructions first, then weights. Header keys:

``arch``            the Arch as a dict; ``arch_hash`` and ``isa_version`` repeat its identity
``model``           name of the network
``instructions``    how many, END included
``segments``        bytes needed in ``input``, ``output`` and ``work``
``inputs``          list of tensors: name, shape [C, H, W], scale, zero_point, ``format``
                    ("image": int8 H x W x C rows at ``pitch`` bytes; "blocks": H x CB x W x
                    lanes), ``offset``, ``pitch``
``outputs``         list of tensors: name, shape, scale, zero_point, ``offset``, ``lane_of``
                    (position of each channel in the CB x lanes channels stored), ``blocks``;
                    stored H x CB x W x lanes
``layers``          list: name, op, engine, macs
``steps``           one per instruction: [layer or -1, tensor or -1, y0, y1, block0, block1],
                    the tile of ``tensors`` that the instruction writes
``tensors``         list: name, height, width, blocks, channels, lane_of
``detect``          the detection head in integers, if the program has one (below)
``meta``            what the model's author added (pre-processing, class names, anchors ...)

``detect`` holds ``mode`` (name of a Suppression, lower case), ``agnostic``, ``limit`` (records that
there is room for), ``points`` (landmarks, 0: none), ``score``, ``iou``, ``sigma`` (defaults of the
run-time options), ``rows`` (R of MARK, 0 without
landmarks), ``output`` (byte offset in segment OUTPUT: the row of counts, then ``limit`` records,
then ``limit * rows`` rows of landmarks), ``weights`` (byte offset in segment INPUT of the 2048
bytes of Gaussian weights that the driver writes, or -1), and ``levels``, a list of objects:
``scores``, ``boxes``, ``objectness`` and ``landmarks`` (names of graph tensors; the last two may be
""), ``options`` (byte offset in segment INPUT of the 16 bytes of options that the driver writes),
``n_class``, ``height``, ``width``, ``stride`` [x, y], ``grid``, ``form``, ``centre_shift``,
``size_shift``, ``mark_shift``, ``clip`` [x_lo, x_hi, y_lo, y_hi], ``anchors`` (list of [width,
height, centre x, centre y], 1/16 pixel), and the tables ``score``, ``objectness_table``,
``centre``, ``size``, ``mark`` (256 integers each, entry ``q + 128``; empty where not needed).

:mod:`falconet.isa.header` checks all of it when a file is read.
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from falconet.isa.arch import ISA_VERSION, Arch
from falconet.isa.checks import Fields, read_json
from falconet.isa.errors import FalconetError, shown
from falconet.isa.fields import Instruction, decode
from falconet.isa.header import check, check_arch

__all__ = ["FORMAT_VERSION", "Program"]

FORMAT_VERSION = 1
_MAGIC = b"FALCONET"
_HEAD = struct.Struct("<8sIIQ")


@dataclass
class Program:
    """A compiled network: the machine it is for, segment CODE, and a description of the rest."""

    arch: Arch
    code: bytes
    header: dict[str, Any] = field(default_factory=dict)

    @property
    def n_instructions(self) -> int:
        return int(self.header["instructions"])

    def instructions(self) -> list[Instruction]:
        size = Arch.INSTRUCTION_BYTES
        return [decode(self.code[i * size : (i + 1) * size]) for i in range(self.n_instructions)]

    def to_bytes(self) -> bytes:
        head = dict(self.header)
        head["arch"] = self.arch.to_dict()
        head["arch_hash"] = self.arch.hash
        head["isa_version"] = ISA_VERSION
        text = json.dumps(head, separators=(",", ":"), sort_keys=True).encode()
        body = _HEAD.pack(_MAGIC, FORMAT_VERSION, len(text), len(self.code)) + text + self.code
        return body + hashlib.sha256(body).digest()

    def save(self, path: str | Path) -> None:
        Path(path).write_bytes(self.to_bytes())

    @classmethod
    def from_bytes(cls, data: bytes, name: str = "program") -> Program:
        """Parse and check a program file; every fault is a FalconetError that names the file."""
        if len(data) < _HEAD.size + 32 or data[:8] != _MAGIC:
            raise FalconetError(f"{name}: not a Falconet program; make one with 'falconet compile'")
        _, version, n_text, n_code = _HEAD.unpack_from(data)
        if version != FORMAT_VERSION:
            raise FalconetError(
                f"{name}: program format {version}, this is Falconet for {FORMAT_VERSION}; "
                "recompile the network"
            )
        if len(data) != _HEAD.size + n_text + n_code + 32:
            raise FalconetError(f"{name}: the file is cut short or too long; copy it again")
        if hashlib.sha256(data[:-32]).digest() != data[-32:]:
            raise FalconetError(f"{name}: checksum mismatch; the file is damaged, copy it again")
        try:
            header = read_json(data[_HEAD.size : _HEAD.size + n_text])
            top = Fields(header, "header")
            isa = top.get("isa_version")
            if isa == ISA_VERSION:
                check_arch(top.get("arch"))
                arch = Arch.from_dict(header["arch"])
        except (ValueError, FalconetError) as e:
            raise FalconetError(f"{name}: unreadable header ({e}); recompile the network") from None
        if isa != ISA_VERSION or top.get("arch_hash") != arch.hash:
            raise FalconetError(
                f"{name}: made for instruction set {shown(isa)}, this is {ISA_VERSION}; "
                "recompile the network"
            )
        try:
            check(header, arch, n_code)
        except FalconetError as e:
            raise FalconetError(f"{name}: unusable header ({e}); recompile the network") from None
        return cls(arch, data[_HEAD.size + n_text : -32], header)

    @classmethod
    def load(cls, path: str | Path) -> Program:
        try:
            data = Path(path).read_bytes()
        except OSError as e:
            why = e.strerror or e
            raise FalconetError(f"{path}: {why}; give the path of a program file") from None
        return cls.from_bytes(data, str(path))

"""The program file: what the compiler writes and every device runs.

Layout, little endian: ``b"FALCONET"``, uint32 format version, uint32 length of the header,
uint64 length of the payload, the header (JSON, UTF-8), the payload, SHA-256 of all before it.
The payload is segment CODE: instructions first, then weights. :mod:`falconet.isa.program.forms` is
what the header says, docs/program.schema.json the same for others; all of it is checked when a file
is read (:mod:`falconet.isa.program.header`).
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from falconet.isa.checks import Fields, read_json
from falconet.isa.errors import FalconetError, shown
from falconet.isa.files import written
from falconet.isa.machine.arch import ISA_VERSION, Arch
from falconet.isa.machine.fields import Instruction, decode
from falconet.isa.program.forms import Detect
from falconet.isa.program.header import check
from falconet.isa.schema import read

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

    @cached_property
    def detect(self) -> Detect | None:
        """The detection head of the header, read once; None if the machine evaluates none."""
        found = self.header.get("detect")
        return None if found is None else read(Detect, found, "detect")

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
        with written(Path(path)) as part:
            part.write_bytes(self.to_bytes())

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
                arch = Arch.from_dict(top.get("arch"))
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

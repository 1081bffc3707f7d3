"""Whatever happens to a program file, the answer is a program or one sentence."""

from __future__ import annotations

import hashlib
import json
import random
import struct
from pathlib import Path
from typing import Any

import pytest

from falconet.isa import End, FalconetError, Load, Program, preset

NAME = "net.flc"


@pytest.fixture
def program() -> Program:
    code = Load(run=3).encode() + End(wait_load=1).encode() + bytes(range(64))
    return Program(preset("tiny"), code, {
        "instructions": 2, "model": "net", "meta": {"k": [1]}, "inputs": [], "outputs": [],
        "segments": {"input": 0, "output": 0, "work": 0}, "layers": [], "tensors": [],
        "steps": [[-1, -1, 0, 0, 0, 0]] * 2})


def rebuilt(data: bytes, change: Any) -> bytes:
    """The file with its header passed through ``change`` and lengths and checksum mended."""
    _, version, n_text, n_code = struct.unpack_from("<8sIIQ", data)
    header = json.loads(data[24 : 24 + n_text])
    text = json.dumps(change(header)).encode()
    body = struct.pack("<8sIIQ", b"FALCONET", version, len(text), n_code)
    body += text + data[24 + n_text : -32]
    return body + hashlib.sha256(body).digest()


def resealed(data: bytes) -> bytes:
    return data[:-32] + hashlib.sha256(data[:-32]).digest()


def test_round_trip(program: Program, tmp_path: Path) -> None:
    path = tmp_path / NAME
    program.save(path)
    again = Program.load(path)
    assert again.arch == program.arch
    assert again.code == program.code
    assert again.instructions() == [Load(run=3), End(wait_load=1)]
    assert again.header["meta"] == {"k": [1]} and again.header["model"] == "net"
    assert again.to_bytes() == program.to_bytes()


def test_truncated_at_every_length(program: Program) -> None:
    data = program.to_bytes()
    for n in range(len(data)):
        with pytest.raises(FalconetError, match=rf"^{NAME}: "):
            Program.from_bytes(data[:n], NAME)


def test_longer_than_it_says(program: Program) -> None:
    with pytest.raises(FalconetError, match=rf"^{NAME}: "):
        Program.from_bytes(program.to_bytes() + b"x", NAME)


def test_every_byte_flipped(program: Program) -> None:
    data = program.to_bytes()
    rng = random.Random(7)
    for i in range(len(data)):
        bad = bytearray(data)
        bad[i] ^= rng.randrange(1, 256)
        with pytest.raises(FalconetError, match=rf"^{NAME}: "):
            Program.from_bytes(bytes(bad), NAME)


def test_damage_beneath_a_mended_checksum(program: Program) -> None:
    data = program.to_bytes()
    rng = random.Random(8)
    for i in range(len(data) - 32):
        bad = bytearray(data)
        bad[i] ^= rng.randrange(1, 256)
        try:
            Program.from_bytes(resealed(bytes(bad)), NAME).instructions()
        except FalconetError:
            pass


@pytest.mark.parametrize("version", [0, 2, 0xFFFFFFFF])
def test_other_format_version(program: Program, version: int) -> None:
    data = bytearray(program.to_bytes())
    struct.pack_into("<I", data, 8, version)
    with pytest.raises(FalconetError, match=rf"^{NAME}: .*{version}.*recompile"):
        Program.from_bytes(resealed(bytes(data)), NAME)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda h: {**h, "isa_version": 99}, "made for instruction set 99"),
        (lambda h: {**h, "arch_hash": 1}, "recompile"),
        (lambda h: {**h, "instructions": 0}, "instructions: 0 is no whole number from 1"),
        (lambda h: {**h, "instructions": 4}, "instructions: 4 do not fit"),
        (lambda h: {**h, "instructions": -1}, "instructions: -1 is no whole number"),
        (lambda h: {k: v for k, v in h.items() if k != "arch"}, "unreadable header"),
        (lambda h: {k: v for k, v in h.items() if k != "instructions"}, "instructions: it is miss"),
        (lambda h: {**h, "arch": {**h["arch"], "lanes": 3}}, "lanes=3 is impossible"),
        (lambda h: {**h, "arch": {**h["arch"], "colour": 3}}, "arch: 'colour' is unknown"),
        (lambda h: {**h, "arch": {"name": "x", "lanes": "y"}}, "'y' is no whole number"),
        (lambda h: {**h, "segments": {**h["segments"], "work": 10**12}}, "segments.work: 10000000"),
        (lambda h: {**h, "segments": {"input": 1 << 30, "output": 1, "work": 0}}, "more than"),
        (lambda h: {**h, "model": "a\nb"}, r"model: 'a.nb' is no line"),
        (lambda h: {**h, "meta": {"k": float("nan")}}, "nan is no number"),
        (lambda h: {**h, "meta": {"k": 1 << 64}}, "more than 64 bits"),
        (lambda h: {**h, "meta": {"k": "\ud800"}}, "surrogates not allowed"),
        (lambda h: {**h, "meta": {"postprocess": {"kind": "detection"}}}, "labels: it is missing"),
        (lambda h: {**h, "meta": {"postprocess": [1]}}, "is no object"),
        (lambda h: {**h, "detect": {}}, "detect.mode: it is missing"),
        (lambda h: {**h, "steps": h["steps"][1:]}, "steps: 1 for 2 instructions"),
        (lambda h: {**h, "steps": [[0] * 6] * 2}, "no such layer"),
        (lambda h: {**h, "inputs": [{
            "name": "x", "shape": [8, 1, 1], "scale": 1.0, "zero_point": 0, "format": "blocks",
            "offset": 0}]}, "bytes 0 to 8 are not in a segment of 0"),
        (lambda h: {**h, "graph": {}, "graph_offset": 0}, "graph.tensors: it is missing"),
        (lambda h: {**h, "instructions": "many"}, "'many' is no whole number"),
        (lambda h: [h], "unreadable header"),
        (lambda h: None, "unreadable header"),
    ],
)
def test_bad_headers(program: Program, change: Any, sentence: str) -> None:
    with pytest.raises(FalconetError, match=sentence):
        Program.from_bytes(rebuilt(program.to_bytes(), change), NAME)


@pytest.mark.parametrize("data", [b"", b"FALCONET", b"\x08\x07onnx" * 30, b"\0" * 4096])
def test_not_a_program(data: bytes) -> None:
    with pytest.raises(FalconetError, match=r"falconet compile|checksum|format"):
        Program.from_bytes(data, NAME)


def test_damaged_instruction(program: Program) -> None:
    bad = Program(program.arch, b"\xee" + program.code[1:], program.header)
    with pytest.raises(FalconetError, match="opcode 238 is unknown"):
        Program.from_bytes(bad.to_bytes()).instructions()


def test_missing_file_and_directory(tmp_path: Path) -> None:
    for path in (tmp_path / "none.flc", tmp_path):
        with pytest.raises(FalconetError, match="give the path of a program file"):
            Program.load(path)


def test_nesting(program: Program) -> None:
    """A hundred thousand brackets are one sentence too."""
    body = program.to_bytes()
    text = b'{"meta":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    head = struct.pack("<8sIIQ", b"FALCONET", 1, len(text), len(program.code))
    with pytest.raises(FalconetError, match="nested too deeply"):
        Program.from_bytes(resealed(head + text + program.code + body[-32:]), NAME)

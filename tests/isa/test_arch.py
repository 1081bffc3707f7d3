"""Presets validate; every impossible value is refused by the name of its field."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from pathlib import Path

import pytest
from wide import WIDE

from falconet.isa import ISA_VERSION, PRESETS, Arch, FalconetError, preset

IMPOSSIBLE = [
    ("lanes", 4), ("lanes", 12), ("lanes", 32),
    ("rows", 4), ("rows", 12), ("rows", 32), ("rows", -8),
    ("banks", 0), ("banks", 3), ("banks", 32),
    ("bank_words", 0), ("bank_words", -1), ("bank_words", 4097),
    ("weight_words", 0), ("weight_words", 500), ("weight_words", 4096),
    ("vector_words", 0), ("vector_words", 100), ("vector_words", 4096),
    ("taps", 2), ("taps", 8),
    ("acc_bits", 19), ("acc_bits", 33),
    ("mult_bits", 11), ("mult_bits", 18),
    ("queue_depth", 1), ("queue_depth", 12), ("queue_depth", 128),
    ("masters", 1), ("masters", 3),
    ("burst_beats", 2), ("burst_beats", 32),
    ("clock_mhz", 0.0), ("clock_mhz", float("nan")),
]


@pytest.mark.parametrize(("field", "value"), IMPOSSIBLE)
def test_impossible_values_are_refused(field: str, value: int) -> None:
    arch = dataclasses.replace(preset("pynq-z2"), **{field: value})
    with pytest.raises(FalconetError, match=f"preset 'pynq-z2': {field}={value} is impossible"):
        arch.validate()


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets(name: str) -> None:
    arch = preset(name)
    assert arch.name == name
    assert arch.validate() is arch
    assert Arch.from_dict(arch.to_dict()) == arch
    assert arch.scratchpad_words * arch.lanes <= 140 * 4096
    assert 0 <= arch.hash < 1 << 32


def test_an_array_that_is_not_square(tmp_path: Path) -> None:
    square = preset("pynq-z2")
    assert (square.rows, square.columns, square.macs_per_cycle) == (16, 16, 256)
    assert "rows" not in square.to_dict(), "programs of square machines say what they said before"
    assert dataclasses.replace(square, rows=0) == square
    assert (WIDE.rows, WIDE.columns, WIDE.macs_per_cycle, WIDE.word_steps) == (8, 16, 128, 2)
    assert Arch.from_dict(WIDE.to_dict()) == WIDE
    file = tmp_path / "wide.json"
    file.write_text(json.dumps(WIDE.to_dict()))
    assert Arch.load(file) == WIDE
    assert WIDE.hash != dataclasses.replace(WIDE, rows=0).hash
    with pytest.raises(FalconetError, match="preset 'x': rows=16 is impossible"):
        Arch("x", lanes=8, rows=16).validate()


def test_the_hash_of_a_square_machine_is_as_before_rows() -> None:
    """Bitstreams and programs of that time still name their machine."""
    arch = preset("pynq-z2")
    fields = {f.name: getattr(arch, f.name) for f in dataclasses.fields(Arch)
              if f.name not in ("name", "clock_mhz", "rows")}
    text = json.dumps({"isa": ISA_VERSION, **fields}, sort_keys=True)
    assert arch.hash == int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")


def test_unknown_preset_lists_the_known_ones() -> None:
    with pytest.raises(FalconetError, match=r"preset 'zcu' is unknown; .*pynq-z2, tiny"):
        preset("zcu")


def test_hash_is_identity_not_name_or_clock() -> None:
    arch = preset("pynq-z2")
    assert dataclasses.replace(arch, name="other", clock_mhz=1.0).hash == arch.hash
    for f in dataclasses.fields(Arch):
        if f.name not in ("name", "clock_mhz"):
            other = dataclasses.replace(arch, **{f.name: getattr(arch, f.name) + 1})
            assert other.hash != arch.hash, f.name
    assert len({a.hash for a in PRESETS.values()}) == len(PRESETS)


def test_arch_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        preset("tiny").lanes = 16  # type: ignore[misc]


def test_unknown_member_is_refused() -> None:
    with pytest.raises(FalconetError, match=r"arch: 'sparkle' is unknown"):
        Arch.from_dict({**preset("tiny").to_dict(), "sparkle": 1})


def test_a_machine_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    file.write_text('{"lanes": 8, "bank_words": 1024}')
    assert preset(str(file)) == Arch("mine", lanes=8, bank_words=1024)
    file.write_text(json.dumps(preset("tiny").to_dict()))
    assert preset(str(file)) is not preset("tiny") and preset(str(file)) == preset("tiny")


@pytest.mark.parametrize(("text", "why"), [
    ("{", "Expecting property name"),
    ("[]", r"machine: \[\] is no object"),
    ('{"lanes": 8, "lanes": 16}', "'lanes' is there twice"),
    ('{"lane": 8}', "machine: 'lane' is unknown; did you mean 'lanes'"),
    ('{"lanes": "8"}', "machine.lanes: '8' is no whole number"),
    ('{"lanes": 8.0}', r"machine.lanes: 8\.0 is no whole number"),
    ('{"lanes": 12}', "lanes=12 is impossible; it must be 8 or 16"),
    ('{"clock_mhz": 0}', "machine.clock_mhz: 0 is no number"),
    ('{"name": "tiny"}', "machine.name: 'tiny' is a preset"),
    ('{"name": "../tiny"}', "name=../tiny is impossible"),
    ('{"name": 7}', "machine.name: 7 is no line of text"),
])
def test_no_machine_in_a_file(text: str, why: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    file.write_text(text)
    with pytest.raises(FalconetError, match=rf"^{re.escape(str(file))}: .*{why}"):
        preset(str(file))


def test_no_file_of_a_machine(tmp_path: Path) -> None:
    with pytest.raises(FalconetError, match=r"none\.json: No such file .*; give a JSON file"):
        preset(str(tmp_path / "none.json"))

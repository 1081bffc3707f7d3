"""Presets validate; every impossible value is refused by the name of its field."""

from __future__ import annotations

import dataclasses

import pytest

from falconet.isa import PRESETS, Arch, FalconetError, preset

IMPOSSIBLE = [
    ("lanes", 4), ("lanes", 12), ("lanes", 32),
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
    with pytest.raises(FalconetError, match=r"arch description: .*sparkle"):
        Arch.from_dict({**preset("tiny").to_dict(), "sparkle": 1})

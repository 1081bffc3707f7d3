"""Every instruction: encode and decode are inverse, and nothing out of range gets through."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from falconet.isa import (
    INSTRUCTION_BITS,
    End,
    FalconetError,
    Field,
    Instruction,
    Load,
    Mac,
    decode,
    instruction_classes,
)

CLASSES = instruction_classes()
IDS = [c.mnemonic for c in CLASSES]
FIELDS = [(c, f) for c in CLASSES for f in c.layout if f.name != "opcode"]
FIELD_IDS = [f"{c.mnemonic}.{f.name}" for c, f in FIELDS]


def values_of(cls: type[Instruction]) -> st.SearchStrategy[dict[str, int]]:
    return st.fixed_dictionaries(
        {f.name: st.integers(f.lo, f.hi) for f in cls.layout if f.name != "opcode"}
    )


def independent_bits(cls: type[Instruction], values: dict[str, int]) -> bytes:
    """Fields written as binary text, last field leftmost: no shifting or masking shared."""
    text = ""
    for f in cls.layout:
        v = cls.opcode if f.name == "opcode" else values[f.name]
        text = format(v + (1 << f.width if v < 0 else 0), f"0{f.width}b") + text
    return int(text, 2).to_bytes(INSTRUCTION_BITS // 8, "little")


@pytest.mark.parametrize("cls", CLASSES, ids=IDS)
@settings(max_examples=50, deadline=None, derandomize=True)
@given(data=st.data())
def test_round_trip(cls: type[Instruction], data: st.DataObject) -> None:
    values = data.draw(values_of(cls))
    instruction = cls(**values)
    code = instruction.encode()
    assert len(code) == 64
    assert code == independent_bits(cls, values)
    again = decode(code)
    assert type(again) is cls
    assert again == instruction and hash(again) == hash(instruction)
    assert {f.name: v for f, v in again.values() if f.name != "opcode"} == values


@pytest.mark.parametrize(("cls", "field"), FIELDS, ids=FIELD_IDS)
def test_edges_pass_and_beyond_is_refused(cls: type[Instruction], field: Field) -> None:
    for edge in (field.lo, field.hi):
        assert getattr(decode(cls(**{field.name: edge}).encode()), field.name) == edge
    for beyond in (field.lo - 1, field.hi + 1):
        with pytest.raises(FalconetError) as e:
            cls(**{field.name: beyond})
        assert str(e.value) == (
            f"{cls.mnemonic}.{field.name}={beyond} not in [{field.lo}, {field.hi}]"
        )


@pytest.mark.parametrize(
    ("cls", "field"),
    [(c, f) for c, f in FIELDS if f.minimum is not None and f.minimum > 0],
    ids=lambda v: v.name if isinstance(v, Field) else v.mnemonic,
)
def test_decoder_refuses_a_zero_count(cls: type[Instruction], field: Field) -> None:
    word = int.from_bytes(cls().encode(), "little")
    mask = ((1 << field.width) - 1) << field.offset
    with pytest.raises(FalconetError, match=rf"{cls.mnemonic}\.{field.name}=0"):
        decode((word & ~mask).to_bytes(64, "little"))


@pytest.mark.parametrize("cls", CLASSES, ids=IDS)
def test_unused_bits_must_be_zero(cls: type[Instruction]) -> None:
    last = cls.layout[-1]
    for bit in (last.offset + last.width, INSTRUCTION_BITS - 1):
        if bit < INSTRUCTION_BITS and bit >= last.offset + last.width:
            word = int.from_bytes(cls().encode(), "little") | 1 << bit
            with pytest.raises(FalconetError, match=f"{cls.mnemonic} has bits set beyond"):
                decode(word.to_bytes(64, "little"))


def test_unknown_opcodes_are_refused() -> None:
    known = {c.opcode for c in CLASSES}
    for opcode in set(range(256)) - known:
        with pytest.raises(FalconetError, match=f"opcode {opcode} is unknown"):
            decode(bytes([opcode]) + bytes(63))


def test_random_bytes_never_do_anything_but_decode_or_refuse() -> None:
    rng = random.Random(1)
    for _ in range(500):
        data = bytearray(rng.randbytes(64))
        data[0] = rng.choice(CLASSES).opcode
        try:
            assert decode(bytes(data)).encode() == bytes(data)
        except FalconetError:
            pass


@pytest.mark.parametrize("cls", CLASSES, ids=IDS)
def test_layout_has_no_gap_and_no_overlap(cls: type[Instruction]) -> None:
    at = 0
    for f in cls.layout:
        assert f.offset == at
        at += f.width
    assert at <= INSTRUCTION_BITS
    assert cls.layout[: len(End.layout)] == End.layout


def test_colliding_definitions_fail_when_they_are_made() -> None:
    with pytest.raises(TypeError, match="opcode 1 of CLASH is taken"):
        type("Clash", (Instruction,), {"mnemonic": "CLASH", "opcode": 1, "engine": None})
    with pytest.raises(TypeError, match="WIDE needs"):
        type("Wide", (Instruction,), {
            "mnemonic": "WIDE", "opcode": 250, "engine": None, "fields": (Field("a", 500, ""),),
        })
    with pytest.raises(TypeError, match="TWICE names a field twice"):
        type("Twice", (Instruction,), {
            "mnemonic": "TWICE", "opcode": 251, "engine": None,
            "fields": (Field("a", 1, ""), Field("a", 1, "")),
        })


def test_unknown_field_is_refused() -> None:
    with pytest.raises(TypeError, match="MAC has no field colour"):
        Mac(colour=1)


def test_replace_and_text() -> None:
    one = Mac(n_ob=2, wait_load=7)
    two = one.replace(n_ob=3)
    assert (one.n_ob, two.n_ob, two.wait_load) == (2, 3, 7)
    assert str(two).startswith("MAC    wait_load=7 ") and "n_ob=3" in str(two)


def test_a_memory_that_does_not_exist_is_refused() -> None:
    with pytest.raises(FalconetError, match=r"LOAD\.dst=6 not in \[0, 5\]"):
        Load(dst=6)

"""YAML by the core schema of 1.2; what multiplies, nests or repeats is refused at its line."""

from __future__ import annotations

import math
import tracemalloc
from typing import Any

import pytest
import yaml

from falconet.isa import FalconetError
from falconet.isa.limits import LIMITS
from falconet_models.yaml12 import dump_yaml, parse_yaml, read_yaml

pytestmark = pytest.mark.timeout(60)

# Example 10.2 and section 10.3.2 of the specification, and what 1.1 has otherwise.
CORE: list[tuple[str, Any]] = [
    ("null", None), ("Null", None), ("~", None), ("", None), ("nUll", "nUll"),
    ("true", True), ("FALSE", False), ("yes", "yes"), ("no", "no"), ("on", "on"), ("Off", "Off"),
    ("y", "y"), ("0", 0), ("-19", -19), ("+5", 5), ("010", 10), ("0o7", 7), ("0x3A", 58),
    ("0b1", "0b1"), ("1_000", "1_000"), ("1:30", "1:30"), ("2001-12-14", "2001-12-14"),
    ("0.", 0.0), ("-0.0", -0.0), (".5", 0.5), ("+12e03", 12000.0), ("-2E+05", -200000.0),
    ("4e-3", 0.004), (".inf", math.inf), ("-.Inf", -math.inf), ("inf", "inf"), ("1.10", 1.1),
    ("<<", "<<"), ("=", "="), ("'1'", "1"), ('"null"', "null"), ("!!str 1", "1"), ("! 1", "1"),
]


@pytest.mark.parametrize("text, value", CORE)
def test_core_schema(text: str, value: Any) -> None:
    found = parse_yaml(f"a: {text}\n", "f")["a"]
    assert type(found) is type(value) and found == value


def test_not_a_number() -> None:
    assert math.isnan(parse_yaml("a: .NaN", "f")["a"])


@pytest.mark.parametrize("text, names", [
    ("[yes, no, on]", ["yes", "no", "on"]),
    ("[1.10, null, ~, 0x10]", ["1.10", "null", "~", "0x10"]),
    ("{0: true, 1: 1e3}", {0: "true", 1: "1e3"}),
])
def test_names_are_texts(text: str, names: Any) -> None:
    assert parse_yaml(f"names: {text}\nnc: 3", "f") == {"names": names, "nc": 3}


@pytest.mark.parametrize("text, said", [
    ("a: 1\nb: 2\na: 3", "f:3: the key 'a' is there twice"),
    ("a:\n  0: x\n  0x0: y", "f:3: the key 0 is there twice"),
    ("a: &x [1, 2]\nb: [*x, *x]", "f:2: the alias '*x' is not taken"),
    ("a: &x [*x]", "f:1: the alias"),
    ("a: !!python/object/apply:os.system [ls]", "f:1: the tag 'tag:yaml.org,2002:python"),
    ("a: 1\n---\nb: 1", "f:2: a second document"),
    ("? [1]\n: 2", "f:1: a list or mapping stands for a key"),
    ("true: 2", "f:1: the key 'true' is no text"),
    ("\na: " + "9" * 5000, "f:2: a number of more than 18 digits"),
    ("a: 0x" + "f" * 19, "f:1: a number of more than 18 digits"),
    ("a: " + "[" * 17, "f:1: nested deeper than 16"),
    ("- " * 17 + "1", "f:1: nested deeper than 16"),
    ("[" * 100_000, "f:1: nested deeper than 16"),
    ("a: {" * 50_000, "f:1: nested deeper than 16"),
    ("- a\n" * 20_001, "f:20000: there are more than 20,000 values"),
    ("a: [1", "f:1: malformed YAML"), ("a: 1\n\tb: 2", "f:2: malformed YAML"),
    ("a: 1\nb: \x00", "f:2: malformed YAML"), ('"\\UFFFFFFFF"', "f: malformed YAML"),
    (f"%YAML {'9' * 5000}.1\n--- a", "f: malformed YAML"),
])
def test_refusals(text: str, said: str) -> None:
    tracemalloc.start()
    with pytest.raises(FalconetError) as e:
        parse_yaml(text, "f")
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert str(e.value).startswith(said)
    assert str(e.value).isprintable() and len(str(e.value)) < 250
    assert most < 64 << 20


def test_depth_and_digits_of_the_table_are_taken() -> None:
    assert parse_yaml("[" * 16 + "]" * 16, "f")
    assert parse_yaml("9" * 18, "f") == 10**18 - 1


def test_bytes(tmp_path: Any) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("a: 1\n#" + "x" * (LIMITS["yaml"].bytes - 6))
    assert read_yaml(file, "mend it") == {"a": 1}
    file.write_text(file.read_text() + "x")
    with pytest.raises(FalconetError, match=r"a\.yaml: has more than 262,144 bytes; mend it"):
        read_yaml(file, "mend it")
    file.write_bytes(b"\xef\xbb\xbfa: 1")
    assert read_yaml(file, "mend it") == {"a": 1}
    file.write_bytes(b"a: 1\nb: \xff")
    with pytest.raises(FalconetError, match=r"a\.yaml:2: not a text in UTF-8"):
        read_yaml(file, "mend it")
    with pytest.raises(FalconetError, match="Is a directory; mend it"):
        read_yaml(tmp_path, "mend it")


def test_what_is_written_is_read_by_both_versions() -> None:
    value = {"texts": ["1e3", "0o17", "yes", "1.10", ".5e3", "", "~", "+.inf", "1_0", "é", "a: b"],
             "others": [1e-5, 1e300, 3.0, -0.0, math.inf, None, True, -7, {}, []]}
    text = dump_yaml(value)
    assert parse_yaml(text, "f") == value == yaml.safe_load(text)

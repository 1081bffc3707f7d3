"""Mutations of bytes and of JSON values; all from one random generator."""

from __future__ import annotations

import copy
import random
from typing import Any

HUGE = [0, -1, 1, 2, 127, 128, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32, 2**53, 2**63 - 1,
        -(2**31), -(2**63), 2**64, 10**12, 10**40]
ODD: list[Any] = [
    None, True, False, "", "x", "a\nb", "\ud800", "é" * 400, "0", "nan", [], {}, [[]], [None],
    {"": 0}, 0.5, -0.0, 1e-320, 1e308, float("nan"), float("inf"), -float("inf"), *HUGE,
]


def change_bytes(rng: random.Random, data: bytes, times: int = 4) -> bytes:
    """Flip, cut, repeat, insert and overwrite, up to ``times`` times."""
    out = bytearray(data)
    for _ in range(rng.randint(1, times)):
        at = rng.randrange(len(out) + 1)
        kind = rng.randrange(6)
        if kind == 0 and at < len(out):
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and at < len(out):
            out[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        elif kind == 2:
            del out[at : at + rng.choice((1, 2, 4, 8, 64))]
        elif kind == 3:
            out[at:at] = rng.randbytes(rng.choice((1, 2, 4, 8)))
        elif kind == 4:
            piece = out[at : at + rng.choice((1, 4, 16, 64))]
            to = rng.randrange(len(out) + 1)
            out[to:to] = piece
        else:
            value = rng.choice(HUGE) & (2**64 - 1)
            size = rng.choice((1, 2, 4, 8))
            out[at : at + size] = value.to_bytes(8, "little")[:size]
    return bytes(out)


TOKENS = [
    "9" * 30, "9" * 5000, "1e999", "-1", "nan", "NaN", ".inf", "1_0", "0x1F", "\x00", "\ufeff",
    "\r", "\u2028", "\ud800", "[" * 2000, "{" * 2000, "- " * 200, "<a>" * 200, "&x;", "&#0;", "&a ",
    "*a ", "<!DOCTYPE a [<!ENTITY x 'y'>]>", "<![CDATA[", "<?xml version='1.0' encoding='utf-16'?>",
    "]]>", "!!python/object:os.system ", "!!binary ", "<<: ", "? ", ": ", "# ", "---\n",
    "%YAML 1.1\n---\n", "null", "yes", "1.10", "''", '"', "../../x", "/dev/zero", "\t", "\n", " ",
    ",", "[]", "{}", "|\n",
]
"""What upsets readers of texts."""


def change_text(rng: random.Random, text: str, times: int = 3) -> str:
    """Insert tokens, and drop, repeat, swap and re-indent lines, up to ``times`` times."""
    for _ in range(rng.randint(1, times)):
        lines, at = text.split("\n"), rng.randrange(len(text) + 1)
        n, m = rng.randrange(len(lines)), rng.randrange(len(lines))
        kind = rng.randrange(6)
        if kind == 0:
            lines[n : n + 1] = [lines[n]] * rng.choice((0, 2, 2, 50))
        elif kind == 1:
            lines[n], lines[m] = lines[m], lines[n]
        elif kind == 2:
            lines[n] = " " * rng.randrange(8) + lines[n].lstrip()
        if kind < 3:
            text = "\n".join(lines)
            continue
        word = rng.choice(TOKENS)
        cut = rng.choice((0, 0, 1, 4, len(word)))
        text = text[:at] + word + text[at + cut :]
    return text


def change_value(rng: random.Random, value: Any, times: int = 3) -> Any:
    """A copy of a JSON value with up to ``times`` places changed."""
    out = {"root": copy.deepcopy(value)}
    for _ in range(rng.randint(1, times)):
        holder: Any = out
        key: Any = "root"
        while isinstance(holder[key], (dict, list)) and holder[key] and rng.random() < 0.85:
            holder = holder[key]
            key = rng.choice(list(holder)) if isinstance(holder, dict) else (
                rng.randrange(len(holder)))
        _change(rng, holder, key)
    return out["root"]


def _change(rng: random.Random, holder: Any, key: Any) -> None:
    now, kind = holder[key], rng.randrange(8)
    if kind == 0 and (isinstance(holder, list) or key != "root"):
        del holder[key]
    elif kind == 1 and isinstance(holder, list):
        holder[key:key] = [copy.deepcopy(now)] * rng.choice((1, 1, 2, 40))
    elif kind == 2 and isinstance(holder, dict) and key != "root":
        holder[rng.choice((key + "x", "a\nb", "\ud800", ""))] = holder.pop(key)
    elif kind == 3:
        for _ in range(rng.choice((1, 2, 50))):
            holder[key] = [holder[key]] if rng.random() < 0.9 else {"k": holder[key]}
    elif kind in (4, 5) and type(now) in (int, float):
        holder[key] = rng.choice((now + 1, now - 1, -now, now * 2, now * 256, now / 3, float(now)))
    elif kind == 6 and isinstance(holder, list) and holder:
        holder[key] = copy.deepcopy(rng.choice(holder))
    else:
        holder[key] = copy.deepcopy(rng.choice(ODD))

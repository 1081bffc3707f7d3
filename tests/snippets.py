"""Fenced blocks of a page of Markdown, run as they stand, and compared with what the page says.

The words behind the three backticks say what a block is:

``sh``, ``python``          run, in the page's order, in one folder
``json NAME``, ``yaml NAME``  written to that file
``output``                  what the block before it prints
``sh not run: REASON``      left out; so may ``python`` be
nothing                     a figure
"""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]

_FENCE = re.compile(r"^```(.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NUMBER = r"\d[\d,]*(?:\.\d+)?"
_KINDS = ("", "sh", "python", "json", "yaml", "output")


@dataclass(frozen=True)
class Snippet:
    """One block: where it is, its language, what stands behind that, its text."""

    where: str
    kind: str
    rest: str
    text: str
    prints: str | None

    @property
    def reason(self) -> str | None:
        """Why it is not run; None if it is."""
        return self.rest.partition("not run: ")[2] or None


def snippets(page: Path) -> list[Snippet]:
    """The blocks of a page; ``output`` becomes ``prints`` of the block before it."""
    text, found = page.read_text(encoding="utf-8"), []
    assert text.count("\n```") == 2 * len(_FENCE.findall(text)), f"{page}: a fence is not closed"
    for match in _FENCE.finditer(text):
        kind, _, rest = match[1].partition(" ")
        where = f"{page.name}:{text.count(chr(10), 0, match.start()) + 1}"
        assert kind in _KINDS, f"{where}: a block of '{kind}'; use one of {_KINDS}"
        assert not rest or rest.startswith("not run: ") or kind in ("json", "yaml"), where
        if kind == "output":
            last = found[-1]
            assert last.kind in ("sh", "python") and last.prints is None, where
            found[-1] = Snippet(last.where, last.kind, last.rest, last.text, match[2])
        else:
            found.append(Snippet(where, kind, rest, match[2], None))
    return found


def difference(expected: str, printed: str) -> str | None:
    """None if ``printed`` is what was expected, else what is not.

    ``...`` stands for any text of a line; alone in a line for any lines. Numbers may differ by 2 %,
    and with a decimal point by one in their last place; digits before ``...`` may not. Spaces at
    the end of a line do not count.
    """
    printed = re.sub(r"(?m) +$", "", printed)
    place, pattern, numbers = 0, "", []
    for piece in re.finditer(rf"(?m)^\.\.\.\n|(\d[\d.,]*?)?\.\.\.|{_NUMBER}", expected):
        pattern += re.escape(expected[place : piece.start()])
        if piece[0] == "...\n":
            pattern += "(?:.*\n)*?"
        elif piece[0].endswith("..."):
            pattern += re.escape(piece[1] or "") + ".*?"
        else:
            pattern += f"({_NUMBER})"
            numbers.append(piece[0])
        place = piece.end()
    match = re.fullmatch(pattern + re.escape(expected[place:]), printed)
    if match is None:
        return "other text"
    for was, now in zip(numbers, match.groups(), strict=True):
        a, b = (float(number.replace(",", "")) for number in (was, now))
        places = len(was.partition(".")[2])
        if not math.isclose(a, b, rel_tol=0.02, abs_tol=1.01 * 10**-places if places else 0):
            return f"{now}, not {was}"
    return None


def run(snippet: Snippet, folder: Path, timeout: float = 300) -> str:
    """What a block prints; what is not its way of ending is an error that tells all.

    What Falconet builds goes where this process has it, so that a machine is built once.
    """
    if snippet.kind in ("json", "yaml"):
        (folder / snippet.rest).write_text(snippet.text, encoding="utf-8")
        return ""
    scripts = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    places = os.pathsep.join(str(ROOT / part) for part in ("sw", "hw", "sim", "models"))
    from falconet.isa import build_folder

    variables = {**os.environ, "PATH": scripts, "PYTHONPATH": places, "COLUMNS": "200",
                 "FALCONET_BUILD": str(build_folder().absolute())}
    command = (["bash", "-euo", "pipefail", "-c", snippet.text] if snippet.kind == "sh"
               else [sys.executable, "-c", snippet.text])
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True,
                          timeout=timeout, check=False)
    wrong = f"ends with {done.returncode}" if done.returncode else (
        None if snippet.prints is None else difference(snippet.prints, done.stdout))
    if wrong:
        raise AssertionError(f"{snippet.where}: {wrong}\n{snippet.text}\n{done.stdout}{done.stderr}"
                             f"\nexpected:\n{snippet.prints}")
    return done.stdout

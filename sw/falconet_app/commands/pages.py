"""Tables: on the screen, as JSON, and as sections of a page of documentation."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from falconet.isa import FalconetError
from falconet.isa.files import check_place, written
from falconet.isa.paths import checkout
from falconet_app.commands.console import print_json, results

__all__ = ["Json", "Page", "put_section", "revision", "show"]

_SECTION = re.compile(r"<!-- begin (.+?) -->.*?<!-- end \1 -->", re.DOTALL)



def _read(page: Path) -> str:
    try:
        return page.read_text(encoding="utf-8")
    except FileNotFoundError:
        return "# Performance\n"
    except (OSError, ValueError) as e:
        reason = e.strerror if isinstance(e, OSError) else "no text"
        raise FalconetError(f"{page}: {reason}; give a page of Markdown, or a new one") from None


def _usable(page: Path | None) -> Path | None:
    """What is wrong with it is told before figures are measured, which may take an hour."""
    if page is not None:
        _read(page)
        check_place(page)
    return page


Page = Annotated[
    Path | None, typer.Option("--markdown", dir_okay=False, callback=_usable,
                              help="Put the figures into this page.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object.")]


def revision() -> str:
    """The commit of the checkout, with a plus if code has local changes (pages do not count).

    ``unknown`` outside one, even if another repository is around the package.
    """
    def git(*command: str) -> str:
        done = subprocess.run(["git", *command], capture_output=True, text=True, check=True,
                              cwd=Path(__file__).parent)
        return done.stdout.strip()

    if checkout() is None:
        return "unknown"
    try:
        changed = git("status", "--porcelain", "--untracked-files=no", ":/", ":(top,exclude)docs")
        return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def put_section(page: Path, key: str, text: str) -> None:
    """Replace what stands between ``<!-- begin KEY -->`` and ``<!-- end KEY -->`` in ``page``.

    A heading that ``text`` begins with goes one level below the one that it stands under.
    """
    begin, end = f"<!-- begin {key} -->", f"<!-- end {key} -->"
    old = _read(page)
    above = re.findall(r"^(#+) ", _SECTION.sub("", old.partition(begin)[0]), re.MULTILINE)
    text = re.sub(r"^#+ ", f"{above[-1] if above else '#'}# ", text)
    section = f"{begin}\n{text}{end}"
    if begin in old and end in old.partition(begin)[2]:
        before, _, rest = old.partition(begin)
        new = before + section + rest.partition(end)[2]
    else:
        new = old.rstrip("\n") + "\n\n" + section + "\n"
    with written(page) as part:
        part.write_text(new, encoding="utf-8")


def show(rows: list[dict[str, str]], page: Path | None, key: str, title: str, command: str,
          as_json: bool) -> None:
    """Print ``rows``, which have the same keys; with ``page`` put them there as section ``key``."""
    if as_json:
        print_json(rows)
    else:
        table = Table(box=None)
        for head in rows[0]:
            table.add_column(head)
        for r in rows:
            table.add_row(*r.values())
        results.print(table)
    if page is not None:
        heads = list(rows[0])
        lines = [heads, ["---"] * len(heads), *(list(r.values()) for r in rows)]
        text = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        put_section(page, key, f"## {title}\n\n`{command}` at commit {revision()}.\n\n{text}\n")
